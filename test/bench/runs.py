"""What waiting Runs cost: memory of RUNS CustomRuns beyond an idle process, and the end of BURST of them by one event.

The binary runs against the fake API server over TLS. Memory is what malloc has given out (test/lib/heap_said.c) and
what is resident, always of an idle process: with one Run; when all of them have just been told to wait, and again when
the connections that took are closed; after a restart that lists them; when all are deleted. The burst's PATCHes take
5 ms each, over 16 connections.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))

from bench_row import row  # noqa: E402
from fes import PREFIX, V1, Fake, Server, wait_until  # noqa: E402  (needs the path above)

RUNS, BURST, PATCH_MS, WIRE = 10000, 1000, 5, 500
RECORDS, STREAMS, TOGETHER_BAR = 1000000, 1000, 100
RUN_BAR, BURST_BAR = 1024, 1.0
IDLE = 30  # seconds
WATCHES = 2  # of Runs and of CustomRuns
LIBRARY = os.path.abspath("build/test/heap_said.so")


def customrun(name, revision):
    """As Tekton makes them: labels, an owner, a service account."""
    return {
        "apiVersion": PREFIX["customruns"][1], "kind": "CustomRun",
        "metadata": {
            "name": name, "labels": {
                "app.kubernetes.io/managed-by": "tekton-pipelines", "tekton.dev/memberOf": "tasks",
                "tekton.dev/pipeline": "deploy", "tekton.dev/pipelineRun": name[:-5], "tekton.dev/pipelineTask": "wait"},
            "ownerReferences": [{
                "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": name[:-5], "controller": True,
                "blockOwnerDeletion": True, "uid": "7d0cdc51-ddcf-4743-b223-83ca5c699632"}]},
        "spec": {"customRef": {"apiVersion": V1, "kind": "FluxDeploymentWait"}, "serviceAccountName": "default",
                 "timeout": "1h0m0s", "params": [{"name": "revision", "value": revision}]}}


class Cluster:
    def __init__(self, directory, data_dir=None):
        self.fake = Fake(os.path.join(directory, "fake"))
        self.server = Server(os.path.join(directory, "server"), "--no-flux-watch", "--max-size", "8GiB", fake=self.fake,
                             data_dir=data_dir, env={"LD_PRELOAD": LIBRARY})

    def on_connection(self, method, paths, body=lambda path: None):
        connection = self.fake.connect()
        for path in paths:
            answer = self.fake.send(connection, method, path, body(path), token=self.fake.control_token)
            answer.read()
            assert answer.status < 300, (method, path, answer.status)
        connection.close()

    def all_of(self, method, paths, body=lambda path: None):
        """So many requests over four connections."""
        threads = [threading.Thread(target=self.on_connection, args=(method, paths[n::4], body)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def create(self, names, revision):
        path = self.fake.path("customruns", namespace="default")
        objects = iter([customrun(name, revision(name)) for name in names])
        lock = threading.Lock()

        def next_one(_):
            with lock:
                return next(objects)
        self.all_of("POST", [path] * len(names), next_one)

    def count(self, reason):
        return sum(reason in line.split() for line in self.fake.table("customruns").splitlines())

    def await_all(self, n, reason):
        wait_until(lambda: self.count(reason) == n, deadline=120, what=f"{n} Runs {reason}")

    def ticks(self, child):
        with open(f"/proc/{child.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def await_idle(self):
        """Until no request came and no processor time was used for a second."""
        last = [None, 0.0]

        def idle():
            now = (self.ticks(self.server.process.child), self.fake.state()["requests"])
            if now != last[0]:
                last[:] = now, time.monotonic()
            return time.monotonic() - last[1] > 1.0
        wait_until(idle, deadline=120, what="an idle process")

    def memory(self):
        """Bytes malloc'ed and bytes resident."""
        self.await_idle()
        child = self.server.process.child
        size = os.path.getsize(self.server.log_path)
        child.send_signal(signal.SIGUSR2)

        def said():
            with open(self.server.log_path, encoding="utf-8") as file:
                file.seek(size)
                return next((line.split() for line in file if line.startswith("heap ") and line.endswith("\n")), None)
        wait_until(said, what="the heap's size")
        with open(f"/proc/{child.pid}/status", encoding="ascii") as file:
            resident = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))
        return int(said()[1]), resident

    def stop(self):
        self.server.process.stop()
        self.fake.stop()


def tell(what, memory, idle, n):
    each = [(now - before) / n for now, before in zip(memory, idle)]
    print(f"{what:<34} malloc'ed {memory[0] / 1024:8.0f} KiB, resident {memory[1] / 1024:8.0f} KiB: "
          f"{each[0]:6.0f} and {each[1]:6.0f} bytes for each of {n} Runs", flush=True)


def waiting(directory):
    cluster = Cluster(directory)
    # The first Run makes what is made once: tables, connections.
    cluster.create(["first-wait"], lambda name: "first")
    cluster.await_all(1, "Waiting")
    idle = cluster.memory()
    print(f"{'one Run waits':<34} malloc'ed {idle[0] / 1024:8.0f} KiB, resident {idle[1] / 1024:8.0f} KiB")
    names = [f"deploy-{n:05}-wait" for n in range(RUNS)]
    cluster.create(names, lambda name: name[7:12] * 8)
    cluster.await_all(RUNS + 1, "Waiting")
    tell("waiting, written a moment ago", cluster.memory(), idle, RUNS)
    wait_until(lambda: cluster.fake.state()["connections"] <= WATCHES, deadline=100, what="idle connections closed")
    said = cluster.memory()
    tell(f"waiting (bar {RUN_BAR} bytes)", said, idle, RUNS)
    cluster.server.process.stop()
    cluster.server.start()
    wait_until(lambda: cluster.fake.state()["watches"] >= WATCHES, what="all watches")
    tell("waiting, listed after a restart", cluster.memory(), idle, RUNS)
    cluster.all_of("DELETE", [cluster.fake.path("customruns", name) for name in names])
    tell("deleted", cluster.memory(), idle, RUNS)
    row("memory malloc'ed for a waiting Run", (said[0] - idle[0]) / RUNS, "bytes", "<=", RUN_BAR,
        f"{(said[0] - idle[0]) / 1048576:.1f} MiB for {RUNS}")
    cluster.stop()


def burst(directory):
    cluster = Cluster(directory)
    names = [f"deploy-{n:05}-wait" for n in range(BURST)]
    cluster.create(names, lambda name: "one")
    cluster.await_all(BURST, "Waiting")
    cluster.await_idle()
    cluster.fake.fault("delay", method="PATCH", times=-1, delay_ms=PATCH_MS)
    cluster.fake.clear_log()
    processes = cluster.server.process.child, cluster.fake.process.child
    before = [cluster.ticks(child) for child in processes]
    start = time.time() * 1000
    assert cluster.server.post({"metadata": {"revision": "one"}, "reason": "ReconciliationSucceeded"}).status == 200
    # A status and an Event for each. Asking for the table of all Runs would keep the API server from answering.
    wait_until(lambda: cluster.fake.state()["requests"] >= 2 * BURST, deadline=60, what="all requests")
    used = [(cluster.ticks(child) - ticks) / os.sysconf("SC_CLK_TCK") for child, ticks in zip(processes, before)]
    took = [(write.ms - start) / 1000 for write in cluster.fake.writes("customruns") if write.succeeded == "True"]
    assert len(took) == BURST, f"{len(took)} final writes for {BURST} Runs"
    print(f"one event, {BURST} Runs, {PATCH_MS} ms for a PATCH: first status after {min(took):.3f} s, "
          f"last {max(took):.3f} s (bar {BURST_BAR} s); at most {cluster.fake.state()['inFlightPeak']} requests at once; "
          f"processor time {used[0]:.2f} s here, {used[1]:.2f} s in the API server", flush=True)
    row(f"one event ends {BURST} Runs, {PATCH_MS} ms a PATCH", max(took), "s", "<=", BURST_BAR,
        f"{BURST} x {PATCH_MS} ms over 16 connections: {BURST * PATCH_MS / 16000:.2f} s")
    cluster.stop()


def percentile(samples, share):
    return sorted(samples)[int(len(samples) * share)]


def percentiles(samples):
    return f"p50 {percentile(samples, .5):.2f} ms, p99 {percentile(samples, .99):.2f} ms"


def post_bytes(revision):
    """In one piece, so that what is measured begins with the whole event: http.client sends head and body apart."""
    body = json.dumps({"metadata": {"revision": revision}, "reason": "ReconciliationSucceeded"})
    return f"POST /events HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def commit_p50(directory):
    """Of bare LMDB, in ms, at about the pace of the events."""
    disk = os.path.join(directory, "disk")
    os.mkdir(disk)
    said = subprocess.run(["build/bench/disk", "lmdb", disk, "3", "1", "5000"], check=True, stdout=subprocess.PIPE)
    return int(said.stdout.split()[1]) / 1000


def wire(directory):
    cluster = Cluster(directory)
    names = [f"deploy-{n:05}-wait" for n in range(WIRE)]
    cluster.create(names, lambda name: name[7:12] * 8)
    cluster.await_all(WIRE, "Waiting")
    cluster.await_idle()
    cluster.fake.clear_log()
    sent, answered = {}, []
    connection = cluster.server.socket()
    for name in names:
        request = post_bytes(name[7:12] * 8)
        sent[name] = time.time() * 1000
        connection.sendall(request)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        answered.append(time.time() * 1000 - sent[name])
        time.sleep(.005)  # nothing is asked of the API server while the PATCH is on its way: one thread serves both
        wait_until(lambda name=name: cluster.fake.writes("customruns", name)[-1].succeeded == "True", what=name)
    patches = {request["target"].split("/")[-2]: request["ms"] for request in cluster.fake.log(method="PATCH")}
    took = [patches[name] - sent[name] for name in names]
    commit = commit_p50(directory)
    print(f"event to PATCH on the wire, {WIRE} Runs in turn: {percentiles(took)} "
          f"(bars 1 ms, 5 ms); the event's own 200: {percentiles(answered)}; a commit of bare LMDB: {commit:.2f} ms", flush=True)
    for share, bar in (.5, 1), (.99, 5):
        row(f"event to PATCH on the wire, p{share * 100:.0f}", percentile(took, share), "ms", "<=", bar,
            f"the event's own 200: {percentile(answered, share):.2f} ms, p50 of a bare LMDB commit: {commit:.2f} ms")
    cluster.stop()


def own_memory(child):
    with open(f"/proc/{child.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("RssAnon:"))


def together(directory):
    data = os.path.join(directory, "data")
    subprocess.run(["build/test/fill_store", data, str(RECORDS)], check=True)
    cluster = Cluster(directory, data)
    child = cluster.server.process.child
    records = own_memory(child)
    streams = []
    for _ in range(STREAMS):
        streams.append(cluster.server.socket())
        streams[-1].sendall(b"GET /events HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n")
        assert streams[-1].recv(4096).startswith(b"HTTP/1.1 200 ")
    with_streams = own_memory(child)
    names = [f"deploy-{n:05}-wait" for n in range(RUNS)]
    cluster.create(names, lambda name: "fff" + name[7:12] * 7 + "ff")
    cluster.await_all(RUNS, "Waiting")
    cluster.await_idle()
    print(f"of its own: {records:.1f} MiB with {RECORDS} records, {with_streams:.1f} MiB with {STREAMS} streams too, "
          f"{own_memory(child):.1f} MiB with {RUNS} Runs too (bar {TOGETHER_BAR} MiB)", flush=True)
    row("memory with 1,000,000 records, 10,000 Runs, 1,000 streams", own_memory(child), "MiB", "<=", TOGETHER_BAR,
        f"{records:.1f} MiB with the records alone")
    for stream in streams:
        stream.close()
    cluster.stop()


def wakeups(child):
    total = 0
    for task in os.listdir(f"/proc/{child.pid}/task"):
        with open(f"/proc/{child.pid}/task/{task}/status", encoding="ascii") as file:
            total += next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches:"))
    return total


def idle(directory):
    cluster = Cluster(directory)
    child = cluster.server.process.child
    wait_until(lambda: cluster.fake.state()["watches"] >= WATCHES, what="all watches")
    cluster.await_idle()
    before = wakeups(child), cluster.fake.state()["requests"], cluster.ticks(child)
    time.sleep(IDLE)
    after = wakeups(child), cluster.fake.state()["requests"], cluster.ticks(child)
    with open(f"/proc/{child.pid}/status", encoding="ascii") as file:
        resident = next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS:"))
    row(f"wake-ups in {IDLE} idle seconds, with Kubernetes", after[0] - before[0], "", "<=", IDLE,
        f"{(after[2] - before[2]) * 1000 / os.sysconf('SC_CLK_TCK'):.0f} ms of processor time")
    row(f"API requests in {IDLE} idle seconds", after[1] - before[1], "", "<=", 0, f"{WATCHES} watches stay open")
    row("resident when idle, with Kubernetes", resident, "MiB", "<=", 10, "")
    cluster.stop()


if __name__ == "__main__":
    for part in wire, burst, waiting, together, idle:
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR", "build"), prefix="runs-bench-") as folder:
            part(folder)
