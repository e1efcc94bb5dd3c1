"""What scanners say of neap's TLS as it is by default: sslscan and testssl.sh, not one warning of weakness."""

import json
import os
import sys
import xml.etree.ElementTree

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import peers  # noqa: E402
from peers import ca_file, cert, serve  # noqa: E402
from service import check, equal, path, run  # noqa: E402

peers.need("openssl")

STRONG = {
    "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305",
    "DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384", "DHE-RSA-CHACHA20-POLY1305",
}


def scan(address):
    text = peers.run("sslscan", "--xml=-", f"{address[0]}:{address[1]}", patience=60)
    return xml.etree.ElementTree.fromstring(text[text.index("<?xml"):]).find("ssltest")


def sslscan():
    if not peers.shutil.which("sslscan"):
        print("sslscan is not installed")
        return
    for key in "p256", "rsa2048":
        name = f"{key}.test"
        cert("server", name, "127.0.0.1", "--key", key)
        _, address, _ = serve(tls={"cert": path(f"certs/{name}-fullchain.pem"), "key": path(f"certs/{name}-key.pem")})
        found = scan(address)
        on = {p.get("type") + p.get("version") for p in found.findall("protocol") if p.get("enabled") == "1"}
        equal(on, {"tls1.2", "tls1.3"}, "protocols")
        ciphers = found.findall("cipher")
        names = {c.get("cipher") for c in ciphers}
        check(names and names <= STRONG, f"a cipher that is not among the strong: {names - STRONG}")
        check(all(int(c.get("bits")) >= 128 for c in ciphers), "bits of ciphers")
        for group in found.findall("group"):
            check(int(group.get("bits")) >= 112, f"a weak group: {group.get('name')}")
        check(all(h.get("vulnerable") == "0" for h in found.findall("heartbleed")), "Heartbleed")
        renegotiation = found.find("renegotiation")
        check(renegotiation is None or renegotiation.get("supported") == "0" or renegotiation.get("secure") == "1",
              "insecure renegotiation")
        compression = found.find("compression")
        check(compression is None or compression.get("supported") == "0", "compression")


# Of a development authority, which has no public face: no address of its list of revoked certificates, no CAA record,
# no OCSP.
NOT_OURS = {"cert_revocation", "DNS_CAArecord", "OCSP_stapling"}
# WARN is testssl.sh's word for what it could not look into: an engine that its openssl has not, a session ticket of
# TLS 1.3 that its own client did not wait for.
NO_WEAKNESS = {"OK", "INFO", "WARN", "DEBUG"}


def testssl():
    if not peers.shutil.which("testssl"):
        print("testssl.sh is not installed")
        return
    cert("localhost")
    _, address, _ = serve(tls={"cert": path("certs/localhost-fullchain.pem"), "key": path("certs/localhost-key.pem")})
    report = path("testssl.json")
    # Protocols, ciphers, forward secrecy, the server's defaults, vulnerabilities.
    peers.run("testssl", "--quiet", "--color", "0", "--warnings", "batch", "--ip", "127.0.0.1", "--add-ca", ca_file(),
              "--jsonfile", report, "-p", "-s", "-f", "-S", "-U", f"localhost:{address[1]}", code=None, patience=150)
    with open(report) as f:
        findings = json.load(f)
    ids = {f["id"] for f in findings}
    check(len(ids) > 50 and {"TLS1_3", "cert_trust", "heartbleed", "LUCKY13"} <= ids,
          f"it went all the way: {sorted(ids)}")
    bad = [f for f in findings if f["severity"] not in NO_WEAKNESS and f["id"] not in NOT_OURS]
    check(not bad, "\n".join(f"{f['severity']} {f['id']}: {f['finding']}" for f in bad))


run(sslscan, testssl)
