#!/usr/bin/env python3
"""sweep_runs.py INSTRUMENTED PLAIN FAIL_NTH FAKE POINTS [CALL]: the n-th call fails, where TLS and the API server are used.

As sweep.c, for what that leaves out: a listener with TLS, and the Kubernetes role against the API server of test/fake. For
each row the server is run without a fault, to count the calls up to where it is ready, and in all; then once for each of
POINTS, divided by the row's share, n's: a quarter of them before it is ready, the rest evenly spread over what follows.

Each time it takes events that are about a revision each; they are sent again until they are acknowledged. With the
Kubernetes role a CustomRun waits for each: half of them were there before the start, the others come just before their
event; one more waits for a revision that never comes. Then it is stopped, and one without a fault goes on.

Whatever fails: nobody waits longer than LIMIT; the process does not end by a signal or with an address error, and by
itself only where the row says so, with an error as its last line. A process that has acknowledged all events ends their
Runs, too, within LIMIT; one that ended has its successor do so. That one also knows that the last Run waits, and gives back
what was acknowledged, byte by byte, under ids without a gap.
"""

import collections
import errno
import http.client
import json
import os
import queue
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from multiprocessing.pool import ThreadPool

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../integration"))

import fes  # noqa: E402  (needs the path above)

EVENTS = 12
LIMIT = 5.0
WORKERS = 2
ASAN = "detect_leaks=0:verify_asan_link_order=0:allocator_may_return_null=1"
NEVER, AT_START, ANY_TIME = range(3)
Programs = collections.namedtuple("Programs", "instrumented plain fail_nth")

# where, the call (see fail_nth.c), its error, when that may end the process, and the share
ROWS = [
    ("TLS", "read", "ECONNRESET", NEVER, 4),
    ("TLS", "write", "EPIPE", NEVER, 4),
    ("TLS", "fdatasync", "EIO", ANY_TIME, 8),
    ("TLS", "malloc", "ENOMEM", ANY_TIME, 2),
    ("TLS", "own", "ENOMEM", ANY_TIME, 2),
    ("Runs", "read", "ECONNRESET", NEVER, 4),
    ("Runs", "write", "EPIPE", NEVER, 4),
    ("Runs", "socket", "EMFILE", AT_START, 8),
    ("Runs", "connect", "ECONNREFUSED", NEVER, 8),
    ("Runs", "fdatasync", "EIO", ANY_TIME, 8),
    ("Runs", "malloc", "ENOMEM", ANY_TIME, 1),
    ("Runs", "own", "ENOMEM", ANY_TIME, 1),
    ("Runs, plain", "readv", "ECONNRESET", NEVER, 4),
    ("Runs, plain", "writev", "EPIPE", NEVER, 4),
]


class Ended(Exception):
    """The server ended by itself."""


class Bad(Exception):
    """What must not be."""


class Life:
    """One server, on the port of its world."""

    def __init__(self, world, binary, env):
        self.world = world
        self.ready = False
        self.process = fes.Process("flux-event-store", [binary, *world.flags], os.path.join(world.trial, "log"),
                                   {**os.environ, **env})

    def until(self, condition, what):
        """Looks until condition() is true."""
        end, pause, seen = time.monotonic() + LIMIT, 0.001, None
        while not (seen := condition()):
            if self.process.child.poll() is not None:
                raise Ended
            if time.monotonic() > end:
                runs = self.world.statuses() if self.world.fake else ""
                raise Bad(f"not within {LIMIT} s: {what} {runs}\n{self.process.tail(6)}")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)
        return seen

    def start(self):
        def is_ready():
            answer = self.world.ask("GET", "/readyz")
            return answer and answer.status == 200
        self.until(is_ready, "/readyz is 200")
        self.ready = True

    def stop(self):
        """Ends it. False when it had ended, or ended otherwise than it was asked to."""
        running = self.process.child.poll() is None
        self.process.signal(signal.SIGTERM)
        try:
            return self.process.wait_exit(LIMIT) == 0 and running
        except AssertionError as error:
            self.process.kill9()
            raise Bad(f"does not stop: {error}") from None

    def said(self):
        return [line for line in self.process.stderr().splitlines() if not line.startswith("fail_nth:")]

    def calls(self):
        return max([int(line.split()[1]) for line in self.process.stderr().splitlines() if line.endswith(" calls")],
                   default=0)

    def fired(self):
        return "fail_nth: fired" in self.process.stderr()

    def judge_end(self, may_end):
        """It ended by itself: in the way it may."""
        code, last = self.process.child.returncode, (self.said() or [""])[-1]
        is_error = '"level":"error"' in last or last.startswith("flux-event-store: ")
        if code <= 0 or not is_error or may_end == NEVER or (may_end == AT_START and self.ready):
            raise Bad(f"ended: {self.process.tail(6)}")

    def judge_log(self):
        if "Sanitizer" in self.process.stderr() or "runtime error" in self.process.stderr():
            raise Bad(self.process.tail(60))


class Fake(fes.Fake):
    """All requests come over one connection: a handshake for each would be most of the work."""

    kept = None

    def request(self, method, path, body=None, **options):
        self.kept = self.kept or self.connect()
        return fes.Answer(self.send(self.kept, method, path, body, **options))

    def stop(self):
        if self.kept:
            self.kept.close()
        super().stop()


class World:
    """What a worker keeps from trial to trial: a port, a certificate, an API server; and the trial's own."""

    def __init__(self, directory, serves):
        self.dir = directory
        self.trials = 0
        self.trial = None
        self.flags = []
        self.acked = {}  # id by n
        self.created = set()
        # Bound and not listening: the server can bind it, too (SO_REUSEADDR), and nobody else is given it.
        self.port_holder = socket.socket()
        self.port_holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port_holder.bind(("127.0.0.1", 0))
        self.port = self.port_holder.getsockname()[1]
        self.tls = self.certificate() if serves == "TLS" else None
        self.fake = Fake(os.path.join(directory, "fake"), *(["--plain"] if "plain" in serves else [])) \
            if serves.startswith("Runs") else None
        self.connection = None

    def certificate(self):
        cert, key = os.path.join(self.dir, "tls.crt"), os.path.join(self.dir, "tls.key")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=sweep", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        return ssl.create_default_context(cafile=cert)

    def begin(self):
        """A new data directory and new Runs, some of which wait already."""
        self.trials += 1
        self.trial = os.path.join(self.dir, str(self.trials))
        os.mkdir(self.trial)
        self.flags = ["--listen", f"127.0.0.1:{self.port}", "--data-dir", os.path.join(self.trial, "data"),
                      "--allow-network-fs"]
        self.acked, self.created = {}, set()
        if self.tls:
            self.flags += ["--tls-cert-file", os.path.join(self.dir, "tls.crt"),
                           "--tls-key-file", os.path.join(self.dir, "tls.key")]
        if not self.fake:
            self.flags.append("--no-kube")
            return
        self.flags += ["--kube-api", self.fake.url]
        if not self.fake.plain:
            self.flags += ["--kube-token-file", self.fake.token_file, "--kube-ca-file", self.fake.ca_file]
        for n in range(EVENTS // 2):
            self.create(n)
        self.fake.create_customrun("patient", "never")

    def create(self, n):
        if n not in self.created:
            self.fake.create_customrun(f"run{n}", f"revision{n}")
        self.created.add(n)

    def clear(self):
        shutil.rmtree(self.trial)
        if self.fake:
            self.fake.serve("customruns", False)  # and with the CRD go the Runs
            self.fake.serve("customruns", True)

    def statuses(self):
        """What the API server holds: the Succeeded condition of each Run, None before it has one."""
        lines = self.fake.table("customruns").splitlines()[1:]
        return {fields[0]: fields[1] if len(fields) > 1 else None for fields in map(str.split, lines)}

    def hang_up(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self, method, path, body=None, headers=None):
        """One request, on a connection that is kept. None when there is no answer."""
        try:
            if not self.connection:
                self.connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=LIMIT, context=self.tls) \
                    if self.tls else http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
            self.connection.request(method, path, body, headers or {})
            return fes.Answer(self.connection.getresponse())
        except TimeoutError:
            self.hang_up()
            raise Bad(f"no answer within {LIMIT} s to {method} {path}") from None
        except (OSError, http.client.HTTPException):
            self.hang_up()
            return None

    def bystander(self, path):
        """A connection that waits meanwhile, so that what serves it meets the faults, too. None: it was not let in."""
        plain = None
        try:
            plain = socket.create_connection(("127.0.0.1", self.port), LIMIT)
            one = self.tls.wrap_socket(plain, server_hostname="127.0.0.1") if self.tls else plain
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode())
            return one
        except TimeoutError:
            raise Bad(f"no handshake within {LIMIT} s") from None
        except OSError:
            if plain:
                plain.close()
            return None

    def stop(self):
        self.hang_up()
        self.port_holder.close()
        if self.fake:
            self.fake.stop()


def body_of(n):
    return json.dumps({"metadata": {"revision": f"revision{n}"}, "reason": "ReconciliationSucceeded", "message": f"m{n}",
                       "timestamp": "2026-08-01T10:00:00Z", "severity": "info", "involvedObject":
                       {"kind": "Kustomization", "namespace": "default", "name": f"app{n}"}})


def post(life, n):
    """Sends event n until it is acknowledged. Every third one comes over a connection of its own."""
    world = life.world
    if n % 3 == 0:
        world.hang_up()

    def acknowledged():
        answer = world.ask("POST", "/events", body_of(n), {"Content-Type": "application/json"})
        if answer and answer.status not in (200, 408, 503):
            raise Bad(f"event {n}: {answer}")
        return answer if answer and answer.status == 200 else None
    world.acked[n] = life.until(acknowledged, f"event {n} is acknowledged").json()["id"]


def load(life):
    """Posts what was not acknowledged yet, and sees the Runs end."""
    world = life.world
    if world.fake:
        life.until(lambda: all(world.statuses().values()), "all Runs are waited for")
    others = [one for one in map(world.bystander, ("/events?after=0", "/wait?revision=never&timeout=60s")) if one]
    try:
        for n in [n for n in range(EVENTS) if n not in world.acked]:
            if world.fake:
                world.create(n)
            post(life, n)
        if world.fake:
            wanted = {"patient": "Unknown", **{f"run{n}": "True" for n in range(EVENTS)}}
            life.until(lambda: world.statuses() == wanted, "the Runs have ended")
    finally:
        for one in others:
            one.close()


def read_back(life):
    world = life.world
    if sorted(map(int, world.acked.values())) != list(range(1, EVENTS + 1)):
        raise Bad(f"ids: {world.acked}")
    for n, number in world.acked.items():
        answer = world.ask("GET", f"/events/{number}", headers={"Accept": "application/octet-stream"})
        if not answer or answer.status != 200 or answer.text != body_of(n):
            raise Bad(f"event {n}, acknowledged as {number}, is now {answer}")
    if world.fake:
        def waiting():
            answer = world.ask("GET", "/runs")
            return answer and [run["name"] for run in answer.json()["waiting"]] == ["patient"]
        life.until(waiting, "patient waits, alone")


class Trial:
    """What came of one: a life with a fault, what was left to do without one, and a look at what is stored."""

    def __init__(self, nth, only_start=False):
        self.nth, self.only_start = nth, only_start
        self.calls, self.fired, self.ended, self.why = 0, False, False, None

    def run(self, world, row, programs):
        try:
            world.begin()
            self.live(world, row, programs)
            if not self.only_start:
                self.afterwards(world, programs)
        except Bad as bad:
            self.why = str(bad)
        world.clear()
        return self

    def live(self, world, row, programs):
        _, call, error, may_end, _ = row
        life = Life(world, programs.instrumented, {
            "LD_PRELOAD": programs.fail_nth, "FES_FAIL_CALL": call, "FES_FAIL_NTH": str(self.nth),
            "FES_FAIL_ERRNO": str(getattr(errno, error)), "ASAN_OPTIONS": ASAN})
        try:
            life.start()
            if not self.only_start:
                load(life)
            self.ended = not life.stop()
        except Ended:
            self.ended = True
        finally:
            self.reap(life)
            self.calls, self.fired = life.calls(), life.fired()
            life.judge_log()
        if self.ended:
            life.judge_end(may_end)

    def afterwards(self, world, programs):
        life = Life(world, programs.plain, {})
        try:
            life.start()
            load(life)
            read_back(life)
            if not life.stop():
                raise Ended
        except Ended:
            raise Bad(f"ended without a fault: {life.process.tail(6)}") from None
        finally:
            self.reap(life)

    @staticmethod
    def reap(life):
        life.process.kill9()
        life.world.hang_up()


def spread(start, calls, points):
    """The n's to try, when there are `start` calls to the start and `calls` to the end."""
    early = min(start, max(1, points // 4)) if start else 0
    late = min(calls - start, points - early)
    return [1 + i * start // early for i in range(early)] + [start + 1 + i * (calls - start) // late for i in range(late)]


class Sweep:
    def __init__(self, directory, programs, points):
        self.directory, self.programs, self.points = directory, programs, points
        self.worlds = {}

    def world(self, serves, worker):
        key = (serves, worker)
        if key not in self.worlds:
            path = os.path.join(self.directory, str(len(self.worlds)))
            os.mkdir(path)
            self.worlds[key] = World(path, serves)
        return self.worlds[key]

    def trials(self, row, trials):
        """Runs them, WORKERS at a time."""
        free = queue.Queue()
        for worker in range(WORKERS):
            free.put(self.world(row[0], worker))

        def one(trial):
            world = free.get()
            try:
                return trial.run(world, row, self.programs)
            finally:
                free.put(world)
        with ThreadPool(WORKERS) as pool:
            return pool.map(one, trials, chunksize=1)

    def row(self, row):
        serves, call, error, _, share = row
        began = time.monotonic()
        start, whole = self.trials(row, [Trial(0, only_start=True), Trial(0)])
        tried = [start, whole]
        if not start.why and not whole.why:
            tried += self.trials(row, [Trial(n) for n in spread(start.calls, whole.calls, max(2, self.points // share))])
        bads = [trial for trial in tried if trial.why]
        fired = sum(trial.fired for trial in tried)
        for trial in bads[:3]:
            print(f"# {serves}: {call} {error}, n = {trial.nth}: {trial.why}".replace("\n", "\n#   "))
        good = not bads and fired * 10 >= (len(tried) - 2) * 8 > 0
        print(f"{'' if good else 'not '}ok - faults, {serves}: {call} {error}: {len(tried) - 2} tried, {start.calls} calls to the "
              f"start, {whole.calls} to the end, {fired} fired, {sum(trial.ended for trial in tried)} ended by itself, "
              f"{len(bads)} bad, {time.monotonic() - began:.1f} s", flush=True)
        return good

    def stop(self):
        for world in self.worlds.values():
            world.stop()


def main():
    if len(sys.argv) not in (6, 7):
        sys.exit(__doc__)
    programs = Programs(*map(os.path.abspath, sys.argv[1:4]))
    fes.FAKE_BINARY = os.path.abspath(sys.argv[4])
    with tempfile.TemporaryDirectory(prefix="fes-crash-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as directory:
        sweep = Sweep(directory, programs, int(sys.argv[5]))
        try:
            good = [sweep.row(row) for row in ROWS if row[1] in (sys.argv[6:] or [row[1]])]
        finally:
            sweep.stop()
    sys.exit(0 if good and all(good) else 1)


if __name__ == "__main__":
    main()
