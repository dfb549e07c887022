"""Connections that mean harm: too many of them, slow ones, storms, floods of headers, through the real binary.

docs/http-limits.md says what is refused and how; test/unit/http_guard.c has every malformed head, and
test/differential those that nobody thought of.
"""

import collections
import http.client
import os
import re
import resource
import select
import socket
import time

import pytest

import fes
from fes import PLAIN_BINARY, Stopwatch, cpu_seconds, wait_until

EVENT = b'{"reason":"x"}'


def post_bytes(size=len(EVENT)):
    return b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size


def descriptors(server):
    return len(os.listdir(f"/proc/{server.process.child.pid}/fd"))


def answer_of(client):
    """All that comes until the server closes."""
    data = b""
    while True:
        try:
            part = client.recv(65536)
        except ConnectionResetError:
            return data
        if not part:
            return data
        data += part


def crowd(server, n, say=b""):
    """n connections that send this and no more. Not blocking: those beyond the backlog go on connecting."""
    clients = []
    for _ in range(n):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", server.port))
        clients.append(client)
    if say:
        for client in clients:
            try:
                client.send(say)
            except OSError:
                pass
    return clients


def seconds_of(server, seconds, act=lambda: None):
    """What the server uses of one processor in that time."""
    start, cpu = time.monotonic(), cpu_seconds(server)
    while time.monotonic() - start < seconds:
        act()
        select.select([], [], [], 0.02)
    return (cpu_seconds(server) - cpu) / (time.monotonic() - start)


def answers_within(server, seconds):
    watch = Stopwatch(server)
    assert server.get("/healthz", timeout=fes.DEADLINE).status == 200
    took = watch.seconds()
    assert took < seconds, f"an answer after {took:.2f} s"


def limited(monkeypatch, tmp_path, n):
    """From now on the server starts with so many descriptors, which it cannot raise."""
    program = tmp_path / "limited"
    program.write_text(f'#!/bin/sh\nulimit -n {n}\nexec "{fes.SERVER_BINARY}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(fes, "SERVER_BINARY", str(program))


@pytest.mark.parametrize("say", [b"", b"POST /events HTTP/1.1\r\nHost: x\r\nA: ", b"BREW / HTTP/1.1\r\n\r\n"])
def test_two_thousand_connections_with_256_descriptors(make_server, monkeypatch, tmp_path, say):
    """Silent, slow or refused: whoever sends a request is served all the while, since the others end for it."""
    limited(monkeypatch, tmp_path, 256)
    server = make_server()
    came = time.monotonic()
    clients = crowd(server, 2000, say)
    try:
        watch = Stopwatch(server)
        assert server.post(EVENT).status == 200
        assert watch.seconds() < 8, "the others' deadlines were what made room"
        used = seconds_of(server, 2)
        assert used < 0.2, f"{used:.0%} of a processor"
        assert descriptors(server) < 200
        assert re.search(r"^flux_event_store_http_connections_shed_total [1-9]", server.get("/metrics").text, re.MULTILINE)
    finally:
        for client in clients:
            client.close()
    answers_within(server, 1)
    said = collections.Counter(line["msg"] for line in server.logs() if "connection" in str(line.get("msg")))
    assert said and max(said.values()) <= time.monotonic() - came + 1, said  # once a second for each cause


def admin_port(server):
    return next(int(line["address"].rsplit(":", 1)[1]) for line in server.logs()
                if line.get("serves") == "http, probes and metrics")


def probes_answer(server, port, times=20):
    """On the listener of their own, each at once, however many knock at the other one."""
    for _ in range(times):
        for path in ("/healthz", "/readyz", "/metrics"):
            watch = Stopwatch(server)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=fes.DEADLINE)
            connection.request("GET", path)
            assert connection.getresponse().status == 200
            connection.close()
            took = watch.seconds()
            assert took < 1, f"{path} after {took:.2f} s"


def paused(server, port, cause):
    """How often accepting was paused for this cause."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=fes.DEADLINE)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return int(re.search(rf'accept_paused_total{{cause="{cause}"}} (\d+)', text).group(1))


def test_out_of_descriptors(make_server):
    """The limit is met unforeseen: no busy loop, a line a second, probes all the while, and all is well again at once.

    At the main listener the probe stands behind two thousand clients, and is served when the kernel hands it over."""
    server = make_server("--admin-listen", "127.0.0.1:0")
    port = admin_port(server)
    pid = server.process.child.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(server) + 50, before[1]))
    start = time.monotonic()
    clients = crowd(server, 2000)
    try:
        used = seconds_of(server, 2)
        assert used < 0.2, f"{used:.0%} of a processor"
        probes_answer(server, port)
        answers_within(server, fes.DEADLINE)
        assert paused(server, port, "error") > 0
    finally:
        for client in clients:
            client.close()
    answers_within(server, 1)
    lines = [line for line in server.logs() if line.get("msg") == "cannot accept connections"]
    assert 1 <= len(lines) <= time.monotonic() - start + 2, lines


def test_probes_while_every_connection_is_being_answered(make_server, monkeypatch, tmp_path):
    """At the limit, and nobody may end for another: who comes waits in the kernel, and the probes have their own room."""
    limited(monkeypatch, tmp_path, 400)
    server = make_server("--admin-listen", "127.0.0.1:0")
    port = admin_port(server)
    clients = crowd(server, 200, b"GET /wait?revision=never&timeout=1m HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        wait_until(lambda: paused(server, port, "connections") > 0, what="the limit is reached")
        probes_answer(server, port)
        with server.socket() as late:
            late.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert not select.select([late], [], [], 0.3)[0], "somebody ended for it"
            probes_answer(server, port, 1)
            for client in clients:
                client.close()
            assert late.recv(4096).startswith(b"HTTP/1.1 200 ")
    finally:
        for client in clients:
            client.close()


def test_a_storm_of_connections_leaves_nothing(make_server):
    """Connecting and leaving without a word, by FIN and by reset, while events are posted. The bench has the rates."""
    server = make_server()
    assert server.post(EVENT).status == 200
    before, end, n = descriptors(server), time.monotonic() + 1.5, 0
    while time.monotonic() < end:
        for client in crowd(server, 50):
            if n % 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
            n += 1
        assert server.post(EVENT).status == 200
    wait_until(lambda: descriptors(server) <= before, what="as many descriptors as before")


def test_a_flood_of_headers_costs_nothing(make_server, monkeypatch):
    """Ten thousand header lines, and one of 1 MiB: refused when the limit is met, below 1 ms of processor time."""
    monkeypatch.setattr(fes, "SERVER_BINARY", PLAIN_BINARY)  # its processor time is measured
    server = make_server()
    floods = [b"A: b\r\n" * 10000, b"A: " + b"b" * (1 << 20), b"A" * (1 << 20)]
    for flood in floods:
        used = []
        for _ in range(10):
            with server.socket() as client:
                cpu = cpu_seconds(server)
                client.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n" + flood[:16384])
                assert client.recv(4096).startswith(b"HTTP/1.1 431 ")
                used.append(cpu_seconds(server) - cpu)
                try:
                    client.sendall(flood[16384:])  # read and dropped, so that the answer is not lost
                except OSError:
                    pass
                assert answer_of(client) in (b"", b'{"error":"the request line and headers are larger than 16 KiB"}\n')
        assert min(used) < 0.001, used  # what else the machine does only adds to it


def trickle(clients, byte, closed):
    """Sends a byte on each connection; notes the answer and the time where the server has ended it."""
    for name, (client, start) in clients.items():
        if name in closed:
            continue
        readable, _, _ = select.select([client], [], [], 0)
        if readable:
            closed[name] = (time.monotonic() - start, answer_of(client))
            continue
        try:
            client.send(byte)
        except OSError:
            pass


@pytest.mark.slow
def test_heads_and_bodies_have_deadlines(make_server):
    """10 s for a head and 30 s for a body, whether a byte comes now and then or not; events are stored meanwhile."""
    server = make_server()
    clients, closed = {}, {}
    for i in range(50):
        for name, say in (("silent", b""), ("head", b"GET /events HTTP/1.1\r\nA: "), ("body", post_bytes(100000))):
            client = server.socket()
            client.sendall(say)
            clients[name, i] = client, time.monotonic()

    def all_closed():
        trickle({key: value for key, value in clients.items() if key[0] != "silent" or key in closed}, b"x", closed)
        trickle({key: value for key, value in clients.items() if key[0] == "silent"}, b"", closed)
        assert server.post(EVENT).status == 200
        select.select([], [], [], 0.2)
        return len(closed) == len(clients)
    wait_until(all_closed, deadline=45, what="the server ends all of them")
    for (name, _), (seconds, answer) in closed.items():
        low, high = (29.5, 36) if name == "body" else (9.5, 16)
        assert low < seconds < high, f"{name} ended after {seconds:.1f} s"
        assert answer.startswith(b"HTTP/1.1 408 ") if name != "silent" else answer == b"", (name, answer)
    text = server.get("/metrics").text
    for cause in ("head_timeout", "body_timeout"):
        assert f'http_rejected_total{{cause="{cause}"}} 50\n' in text, cause
    for client, _ in clients.values():
        client.close()


@pytest.mark.slow
def test_how_long_a_connection_may_be_idle(make_server):
    """120 s: not the 90 s after which Flux's side lets go of it, or its next notification would meet a closed socket."""
    server = make_server()
    assert server.post(EVENT).status == 200
    with server.socket() as idle:
        idle.sendall(post_bytes() + EVENT)
        assert idle.recv(4096).startswith(b"HTTP/1.1 200 ")
        start = time.monotonic()
        wait_until(lambda: select.select([idle], [], [], 0.5)[0], 150, "the server ends it")
        assert idle.recv(4096) == b""
        assert 119 < time.monotonic() - start < 135


@pytest.mark.slow
def test_whoever_waits_for_an_answer_is_not_idle(make_server):
    """A /wait is quiet for longer than an idle connection may be, and gets its answer."""
    server = make_server()
    with server.socket() as client:
        client.sendall(b"GET /wait?revision=r&timeout=1h HTTP/1.1\r\nHost: x\r\n\r\n")
        start = time.monotonic()
        assert not select.select([client], [], [], 125)[0], f"it ended after {time.monotonic() - start:.1f} s"
        assert server.post(b'{"metadata":{"revision":"r"},"reason":"BuildFailed","severity":"error"}').status == 200
        assert client.recv(4096).startswith(b"HTTP/1.1 409 ")
