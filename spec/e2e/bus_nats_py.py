"""Talks to a neap bus with nats-py: what bus_nats_py_test.sh runs. Ends with 0 when all is as the
client's own documentation has it."""

import asyncio
import sys

import nats
from nats.errors import NoRespondersError, TimeoutError

URL = sys.argv[1]
PASSED = []


def check(condition, what):
    if not condition:
        raise AssertionError(what)
    PASSED.append(what)


async def connect(**options):
    return await nats.connect(URL, connect_timeout=5, allow_reconnect=False, **options)


async def publish_and_subscribe(nc):
    sub = await nc.subscribe("orders.*.created")
    rest = await nc.subscribe("orders.>")
    await nc.publish("orders.eu.created", b"\x00\r\n\xff")
    await nc.publish("orders.us", b"2")
    await nc.flush()
    msg = await sub.next_msg(timeout=5)
    check((msg.subject, msg.data) == ("orders.eu.created", b"\x00\r\n\xff"), "wildcard *")
    got = [(await rest.next_msg(timeout=5)).subject for _ in range(2)]
    check(got == ["orders.eu.created", "orders.us"], "wildcard >")
    await sub.unsubscribe()
    await rest.unsubscribe()


async def callbacks_and_maximum(nc):
    got = []

    async def on_message(msg):
        got.append(msg.data)

    sub = await nc.subscribe("limited", cb=on_message)
    await sub.unsubscribe(limit=3)
    for i in range(10):
        await nc.publish("limited", b"%d" % i)
    await nc.flush()
    while len(got) < 3:
        await asyncio.sleep(0)
    await nc.flush()
    check(got == [b"0", b"1", b"2"], "unsubscribe after a maximum")


async def requests(nc, other):
    answer = await nc.request("lua.upper", b"abc", timeout=5, headers={"Trace": "t1"})
    check(answer.data == b"ABC", "request to a script")
    check(answer.headers["Seen"] == "t1", "headers both ways")
    answers = await asyncio.gather(
        *(nc.request("lua.upper", b"n%d" % i, timeout=5) for i in range(200))
    )
    check([a.data for a in answers] == [b"N%d" % i for i in range(200)], "200 requests at once")
    answer = await nc.request("lua.upper", b"old", timeout=5, old_style=True)
    check(answer.data == b"OLD", "request with an inbox of its own")
    try:
        await nc.request("nobody.here", b"", timeout=5)
        check(False, "no responders")
    except NoRespondersError:
        check(True, "no responders")

    async def serve(msg):
        await msg.respond(b"python:" + msg.data)

    sub = await other.subscribe("py.svc", cb=serve)
    await other.flush()
    answer = await nc.request("py.svc", b"x", timeout=5)
    check(answer.data == b"python:x", "request from client to client")
    answer = await nc.request("lua.ask", b"py.svc", timeout=5)
    check(answer.data == b"python:from lua", "request from a script to a client")
    answer = await nc.request("lua.ask", b"nobody", timeout=5)
    check(answer.data == b"ENORESPONDERS", "a script's request that nobody takes")
    await sub.unsubscribe()


async def queue_groups(nc, other):
    counts = [0, 0]

    def counter(i):
        async def on_message(msg):
            counts[i] += 1

        return on_message

    await nc.subscribe("share", queue="workers", cb=counter(0))
    await other.subscribe("share", queue="workers", cb=counter(1))
    await nc.flush()
    await other.flush()
    for _ in range(300):
        await nc.publish("share", b"")
    await nc.flush()
    await other.flush()
    script = 0
    for _ in range(200):
        script = int((await nc.request("lua.share", timeout=5)).data)
        if sum(counts) + script == 300:
            break
        await asyncio.sleep(0.01)
    check(sum(counts) + script == 300, "a queue group gets each message once")
    check(min(counts[0], counts[1], script) > 30, "its members share, scripts and clients alike")


async def large_messages(nc):
    check(nc.max_payload == 1024 * 1024, "max_payload")
    sub = await nc.subscribe("large")
    data = bytes(range(256)) * 4096
    await nc.publish("large", data)
    check((await sub.next_msg(timeout=5)).data == data, "a message of 1 MiB")
    await sub.unsubscribe()


async def no_echo():
    nc = await connect(no_echo=True)
    other = await connect()
    sub = await nc.subscribe("echo")
    await nc.flush()
    await nc.publish("echo", b"mine")
    await nc.flush()
    await other.publish("echo", b"theirs")
    check((await sub.next_msg(timeout=5)).data == b"theirs", "no echo")
    await nc.close()
    await other.close()


async def drain():
    nc = await connect()
    got = []

    async def on_message(msg):
        got.append(msg.data)

    await nc.subscribe("drained", cb=on_message)
    for i in range(100):
        await nc.publish("drained", b"%d" % i)
    await nc.drain()
    check(len(got) == 100, "drain gets all that was published before")
    check(nc.is_closed, "drain closes")


async def pedantic_and_verbose():
    nc = await connect(verbose=True, pedantic=True)
    sub = await nc.subscribe("v")
    await nc.publish("v", b"x")
    check((await sub.next_msg(timeout=5)).data == b"x", "verbose and pedantic")
    await nc.close()


async def quiet(nc):
    sub = await nc.subscribe("quiet")
    try:
        await sub.next_msg(timeout=1)
    except TimeoutError:
        pass
    await nc.flush()
    check(nc.is_connected, "a quiet client answers pings and stays")
    await sub.unsubscribe()


async def main():
    nc, other = await connect(name="one"), await connect(name="two")
    await publish_and_subscribe(nc)
    await callbacks_and_maximum(nc)
    await requests(nc, other)
    await queue_groups(nc, other)
    await large_messages(nc)
    await no_echo()
    await drain()
    await pedantic_and_verbose()
    await quiet(nc)
    await nc.close()
    await other.close()
    print(f"{len(PASSED)} checks passed with nats-py")


asyncio.run(main())
