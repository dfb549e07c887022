#!/usr/bin/env python3
"""Sends mutated requests to the real server stack (driver.c), and reads them with a second parser: h11.

    compare.py DRIVER COUNT [SEED]      writes TAP

What must hold for each case, whatever the bytes are:
  - a request that the server's handlers could see is one that h11 reads at the same place of the connection, with the
    same method, target, header fields and body. No more of them than h11 finds: none is smuggled.
  - the server may be stricter than h11; then it says so: one refusal of its own, `Connection: close`, and the end of
    the connection, so that nothing behind it is read as a request.
  - no request is lost: what the guard admits is dispatched, unless an earlier one asked for the connection's end.
h11 (MIT, Debian's python3-h11) was written for strictness, by other people, and shares no code with libevent.
"""

import collections
import concurrent.futures
import random
import re
import struct
import subprocess
import sys
import time

import h11

import mutate

BATCH = 256
LENIENT = re.compile(rb"(?<!\r)\n|\n[ \t]")  # h11 ends lines at a bare LF, and joins folded ones; others do not
Request = collections.namedtuple("Request", "method target headers body closes")
Seen = collections.namedtuple("Seen", "requests admitted refusal statuses closed said_close")


class Driver:
    """The server's side. Cases are written beside the reading of the results, so that no pipe fills up for ever."""

    def __init__(self, program):
        self.child = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.writer = concurrent.futures.ThreadPoolExecutor(1)

    def send(self, cases):
        data = b"".join(struct.pack("=II", len(data), cut) + data for data, cut in cases)

        def write():
            self.child.stdin.write(data)
            self.child.stdin.flush()
        return self.writer.submit(write)

    def number(self):
        return struct.unpack("=I", self.exactly(4))[0]

    def text(self):
        return self.exactly(self.number())

    def exactly(self, size):
        data = self.child.stdout.read(size)
        assert len(data) == size, f"the driver ended with {self.child.wait()}"
        return data

    def request(self):
        method, target, body = self.text(), self.text(), self.text()
        headers = [(self.text().lower(), self.text().strip(b" \t")) for _ in range(self.number())]
        return Request(method, target, headers, body, False)

    def result(self):
        requests = [self.request() for _ in range(self.number())]
        admitted, refusal = self.number(), self.number()
        statuses = [self.number() for _ in range(self.number())]
        return Seen(requests, admitted, refusal, statuses, self.number() == 1, self.number() == 1)

    def end(self):
        self.child.stdin.close()
        self.writer.shutdown()
        return self.child.wait()


def read_one(data):
    """(the first request of data, what follows), or (None, why not)."""
    end = data.find(b"\r\n\r\n")
    if LENIENT.search(data[:end + 4] if end >= 0 else data):
        return None, "a line end or a folding that h11 forgives"
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 16)
    try:
        peer.receive_data(data)
        head = peer.next_event()
        if not isinstance(head, h11.Request):
            return None, "incomplete"
        closes = head.http_version < b"1.1" or any(
            option.strip().lower() == b"close" for name, value in head.headers if name == b"connection" for option in value.split(b","))
        body = b""
        while True:
            event = peer.next_event()
            if isinstance(event, h11.EndOfMessage):
                break
            if not isinstance(event, h11.Data):
                return None, "incomplete"
            body += bytes(event.data)
    except h11.RemoteProtocolError as error:
        return None, str(error)
    headers = [(bytes(name), bytes(value).strip(b" \t")) for name, value in head.headers.raw_items()]
    return Request(head.method, head.target, [(name.lower(), value) for name, value in headers], body, closes), peer.trailing_data[0]


def read_all(data, most):
    """At most so many requests of data by h11, and why there are no more."""
    found = []
    while len(found) < most:
        request, rest = read_one(data)
        if request is None:
            return found, rest
        found.append(request)
        data = rest
    return found, ""


def judge(data, seen):
    """What is wrong with what the server made of the bytes; None: nothing."""
    found, why = read_all(data, len(seen.requests))
    for i, request in enumerate(seen.requests):
        if i >= len(found):
            return f"request {i} does not exist for h11 ({why}): {request}"
        for field in ("method", "target", "body", "headers"):
            if getattr(request, field) != getattr(found[i], field):
                return f"request {i}, {field}: {getattr(request, field)!r}, by h11 {getattr(found[i], field)!r}"
        if found[i].closes and i + 1 < len(seen.requests) and not asks_to_stay(found[i]):
            return f"request {i} ends the connection, and another one was read behind it"
    closes = any(request.closes for request in found)
    if len(seen.requests) != seen.admitted and not closes:
        return f"{seen.admitted} requests were admitted, {len(seen.requests)} arrived"
    if len(seen.statuses) != len(seen.requests) + (seen.refusal != 0) and not closes:
        return f"{len(seen.requests)} requests, refusal {seen.refusal}, but the answers are {seen.statuses}"
    if seen.refusal and len(seen.requests) == seen.admitted and not closes:
        if seen.statuses[-1] != seen.refusal:
            return f"refused with {seen.refusal}, answered {seen.statuses}"
        if not seen.closed or not seen.said_close:
            return f"refused with {seen.refusal}, and the connection stays"
    return None


def asks_to_stay(request):
    """HTTP/1.0 with keep-alive, which h11 does not know."""
    return (b"connection", b"keep-alive") in [(name, value.lower()) for name, value in request.headers]


def main(program, count, seed):
    driver, wrong, refused, served, start = Driver(program), 0, collections.Counter(), 0, time.monotonic()
    print(f"# {count} cases, seed {seed}, h11 {h11.__version__}", flush=True)
    for first in range(0, count, BATCH):
        cases = [mutate.case(random.Random(seed * 1_000_000_007 + i)) for i in range(first, min(first + BATCH, count))]
        written = driver.send(cases)
        for i, (data, cut) in enumerate(cases, first):
            seen = driver.result()
            problem = judge(data, seen)
            served += len(seen.requests)
            refused[seen.refusal] += 1
            if problem:
                wrong += 1
                if wrong <= 20:
                    print(f"# case {i}, cut at {cut}: {problem}\n#   {data!r}", flush=True)
        written.result()
    code = driver.end()
    refusals = ", ".join(f"{status}: {n}" for status, n in sorted(refused.items()) if status)
    print(f"# {served} requests served, refusals {refusals}; {time.monotonic() - start:.0f} s")
    print(f"{'ok' if wrong == 0 else 'not ok'} 1 - {count} mutated connections: {wrong} read otherwise than by h11")
    enough = served > count // 4 and sum(refused.values()) - refused[0] > count // 4
    print(f"{'ok' if enough else 'not ok'} 2 - both kinds are there: requests that are served, and such that are refused")
    print(f"{'ok' if code == 0 else 'not ok'} 3 - the driver ended with {code}\n1..3")
    return 0 if wrong == 0 and enough and code == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1))
