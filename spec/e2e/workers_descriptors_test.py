"""No descriptors left: who comes is told 503, who is there is served, and when some are free again it goes on."""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import service as s

SCRIPT = """
local neap = require "neap"
local app = neap.http.app()
app:get("/", function() return "ok" end)
local server = assert(neap.http.serve { app = app, port = 0 })
if neap.worker.id == 0 then print("listening on " .. server.address) end
"""


def exhausted(*options):
    service = s.Service(s.write("service.lua", SCRIPT), options=options, files=64)
    address = service.address()
    served, refused = [], []

    def ask():
        client = s.Client(address)
        status = client.get("/")[0]
        s.check(status in (200, 503), f"what a client gets: {status}")
        (served if status == 200 else refused).append(client)
        return len(refused) >= 20

    s.until(ask, "twenty are refused")
    print(f"   {' '.join(options) or 'one worker'}: {len(served)} served, {len(refused)} told 503")
    s.check(len(served) >= 20, "hardly anybody is served")
    for client in served:
        s.equal(client.get("/"), (200, "ok"), "a connection that was there before")
    for client in refused:
        client.close()
    service.await_line("cannot accept .*[Tt]oo many open files")
    for client in served[::2]:
        client.close()
    s.until(lambda: s.get(address, "/") == (200, "ok"), "a new client is served again")
    again = []

    def one_more():
        client = s.Client(address)  # a new one each time: who is told 503 is told to close, too
        if client.get("/") == (200, "ok"):
            again.append(client)
        else:
            client.close()
        return len(again) >= len(served) // 4

    s.until(one_more, "as many as have left are served again")
    for client in served[1::2]:
        s.equal(client.get("/"), (200, "ok"), "a connection that was there all along")
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def one_worker():
    exhausted()


def two_workers():
    exhausted("--workers", "2")


def one_that_hands_out():
    exhausted("--workers", "2", "--hand-out")


s.run(one_worker, two_workers, one_that_hands_out)
