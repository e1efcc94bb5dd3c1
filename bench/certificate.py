"""A certificate for localhost that signs itself, for as long as a benchmark runs."""

import contextlib
import os
import subprocess
import tempfile


@contextlib.contextmanager
def made(key_type="ec"):
    with tempfile.TemporaryDirectory(prefix="neap-bench-") as scratch:
        cert, key = os.path.join(scratch, "cert.pem"), os.path.join(scratch, "key.pem")
        kind = ["-newkey", key_type]
        if key_type == "ec":
            kind += ["-pkeyopt", "ec_paramgen_curve:P-256"]
        subprocess.run(["openssl", "req", "-x509", *kind, "-nodes", "-keyout", key, "-out", cert, "-days", "2",
                        "-subj", "/CN=localhost"], check=True, stderr=subprocess.DEVNULL)
        yield cert, key
