"""The bus of several workers: clients of any of them share it, and reloads lose and double nothing."""

import os
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import service as s

RELOADS = 10
SCRIPT = """
local neap = require "neap"
local generation = @generation@
local server = assert(neap.bus.serve { port = 0 })
neap.bus.subscribe("square", function(msg)
  msg:respond(("%d %d"):format(tonumber(msg.data) ^ 2 // 1, neap.worker.id))
end, { queue = "squarers" })
neap.bus.subscribe("tap", function(msg)
  neap.bus.publish("tapped", ("%s %d"):format(msg.data, neap.worker.id))
end)
neap.bus.subscribe("generation", function(msg) msg:respond(tostring(generation)) end, { queue = "g" })
if neap.worker.id == 0 then print("listening on " .. server.address) end
"""
BRIDGED = """
local neap = require "neap"
local connection = assert(neap.bus.connect("@url@", { name = "@name@" }))
neap.bus.subscribe("tap", function(msg)
  neap.bus.publish("tapped", ("%s %d"):format(msg.data, neap.worker.id))
end)
neap.bus.subscribe("status", function(msg) msg:respond(connection.status) end)
"""
REMOTE = """
local neap = require "neap"
local server = assert(neap.bus.serve { port = 0 })
neap.bus.subscribe("stats", function(msg)
  local stats = server:stats()
  msg:respond(stats.accepted .. " " .. stats.clients)
end)
print("listening on " .. server.address)
"""


class Client:
    """A NATS client: what came stands in `messages`, as (subject, data)."""

    def __init__(self, address):
        self.socket = socket.create_connection(address)
        self.file = self.socket.makefile("rb")
        self.messages, self.pongs, self.ended = [], 0, False
        self.change = threading.Condition()
        s.check(self.file.readline().startswith(b"INFO "), "INFO comes first")
        self.say('CONNECT {"verbose":false,"headers":true,"no_responders":true,"protocol":1}')
        threading.Thread(target=self.read, daemon=True).start()

    def say(self, *lines):
        self.socket.sendall("".join(line + "\r\n" for line in lines).encode())

    def read(self):
        for line in self.file:
            words = line.decode().split()
            with self.change:
                if words[0] in ("MSG", "HMSG"):
                    data = self.file.read(int(words[-1]) + 2)[:-2].decode()
                    self.messages.append((words[1], data))
                elif words[0] == "PING":
                    self.say("PONG")
                elif words[0] == "PONG":
                    self.pongs += 1
                self.change.notify_all()
        with self.change:
            self.ended = True
            self.change.notify_all()

    def publish(self, subject, data, reply=""):
        self.say(f"PUB {subject} {reply} {len(data)}", data)

    def flush(self):
        """Its server has seen all that was said."""
        with self.change:
            wanted = self.pongs + 1
            self.say("PING")
            s.check(self.change.wait_for(lambda: self.pongs >= wanted or self.ended, s.PATIENCE), "PONG")
            s.check(not self.ended, "the connection was closed")

    def of(self, subject):
        with self.change:
            return [data for name, data in self.messages if name == subject]

    def await_count(self, subject, count):
        s.until(lambda: len(self.of(subject)) >= count or self.ended, f"{count} messages on {subject}")
        s.check(not self.ended, "the connection was closed")
        return self.of(subject)

    def request(self, subject, data=""):
        inbox = f"_INBOX.{id(self)}.{len(self.messages)}"
        self.say(f"SUB {inbox} r{len(self.messages)}")
        self.publish(subject, data, inbox)
        return self.await_count(inbox, 1)[0]


def script(generation):
    return s.write("service.lua", SCRIPT.replace("@generation@", str(generation)))


def clients_share_one_bus():
    service = s.Service(script(1), options=["--workers", "2", "--hand-out"])  # clients on both
    clients = [Client(service.address()) for _ in range(4)]
    for client in clients:
        client.say("SUB all 1", "SUB group q 2", "SUB answers 3")
        client.flush()
    s.until(lambda: clients[0].request("generation") == "1", "an answer")
    for client in clients:
        client.publish("all", "hello")
    for client in clients:
        s.equal(client.await_count("all", 4), ["hello"] * 4, "what each client hears")
    for i in range(400):
        clients[i % 4].publish("group", str(i))
    s.until(lambda: sum(len(c.of("group")) for c in clients) >= 400, "400 messages of the group")
    for client in clients:
        s.check(client.of("group"), "each member of the group gets some")
    s.equal(sorted(int(n) for c in clients for n in c.of("group")), list(range(400)), "the group's messages")
    for i in range(200):
        clients[0].publish("square", str(i), "answers")
    answers = clients[0].await_count("answers", 200)
    s.equal(sorted(int(a.split()[0]) for a in answers), [i * i for i in range(200)], "the answers")
    s.equal({a.split()[1] for a in answers}, {"0", "1"}, "the workers that answered")
    service.signal(s.signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


class Asker:
    """Asks without an end, and counts."""

    def __init__(self, client):
        self.client, self.sent, self.stop = client, 0, False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop:
            for _ in range(20):
                self.client.publish("square", str(self.sent), "answers")
                self.client.publish("tap", str(self.sent))
                self.sent += 1
            self.client.await_count("answers", self.sent)  # no more under way than a queue holds

    def finish(self):
        self.stop = True
        self.thread.join()


def reloads_lose_and_double_nothing():
    service = s.Service(script(0), options=["--workers", "2"])
    client = Client(service.address())
    client.say("SUB answers 1", "SUB tapped 2")
    client.flush()
    s.until(lambda: {client.request("square", "2") for _ in range(10)} == {"4 0", "4 1"}, "both workers")
    asker = Asker(client)
    for generation in range(1, RELOADS + 1):
        script(generation)
        service.reload()
        seen = asker.sent
        s.until(lambda: asker.sent > seen + 100, "it goes on")
    asker.finish()
    s.equal(client.request("generation"), str(RELOADS), "the generation in the end")
    tapped = client.await_count("tapped", 2 * asker.sent)
    client.flush()
    s.equal(sorted(tapped), sorted(f"{i} {w}" for i in range(asker.sent) for w in (0, 1)), "what each worker heard")
    answers = client.of("answers")
    s.equal(sorted(int(a.split()[0]) for a in answers), [i * i for i in range(asker.sent)], "the answers")
    s.check(not client.ended, "the client's connection was closed")
    print(f"   {asker.sent} messages over {RELOADS} reloads")
    service.signal(s.signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def connections_stay_over_reloads():
    remote = s.Service(s.write("remote.lua", REMOTE))
    client = Client(remote.address())
    client.say("SUB tapped 1")
    client.flush()

    def bridged(name):
        url = "nats://%s:%d" % remote.address()
        return s.write("bridged.lua", BRIDGED.replace("@url@", url).replace("@name@", name))

    def taps(marker):
        before = len(client.of("tapped"))
        client.publish("tap", marker)
        client.await_count("tapped", before + 2)
        client.flush()
        s.equal(sorted(client.of("tapped")[before:]), [f"{marker} 0", f"{marker} 1"], "who heard it")

    service = s.Service(bridged("one"), options=["--workers", "2"])
    s.until(lambda: client.request("stats") == "3 3", "two workers and a client")

    def both():
        before = len(client.of("tapped"))
        client.publish("tap", "?")
        try:
            return s.until(lambda: len(client.of("tapped")) == before + 2, "both", patience=0.2)
        except s.Failed:
            return False  # once more: one of them is not connected yet

    s.until(both, "both workers hear")
    for i in range(5):
        service.reload()
        taps(f"reload {i}")
    s.equal(client.request("stats"), "3 3", "connections that the remote has seen, and has")
    bridged("two")  # other options: a connection of its own, and the old one goes
    service.reload()
    s.until(lambda: client.request("stats") == "5 3", "two new connections in the place of two")
    taps("after")
    s.write("bridged.lua", "error 'broken'")
    service.reload(wanted="reload failed", other="reloaded in")
    taps("still")
    s.equal(client.request("stats"), "5 3", "connections after a reload that failed")
    for each in (service, remote):
        each.signal(s.signal.SIGTERM)
        s.equal(each.ended(), 0, "the exit code")


s.run(clients_share_one_bus, reloads_lose_and_double_nothing, connections_stay_over_reloads)
