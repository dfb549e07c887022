"""The API client through faults: what the server holds is known within a second of healing, and nothing is lost.

Every case plays the same scene. Before the fault four CustomRuns wait. While it lasts one more is created, the event of
one arrives, one is cancelled and one deleted (where the fault leaves a way to do so; else at its beginning). After it the
statuses must be what the server's objects and the stored events say, each Run ended at most once, and the time from
healing to there is printed in the table at the end of the session. `detect` is what the fault may take to be noticed
(a Retry-After, a half-open connection, a silent one); the second comes on top of it.

The unit tests (k8s_watch.c, k8s_client.c, controller_flight.c) have the finer cases; here it is TLS, the real binary,
and all of it at once.
"""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

import fes
from fes import net_seconds, wait_until

CUSTOMRUNS = "/apis/tekton.dev/v1beta1/customruns"
STATUS = "/status"
LIMIT = 1.0
OURS = "flux-event-store"


def succeeded(revision):
    return {"metadata": {"revision": revision}, "timestamp": "0001-01-01T00:01:00Z", "reason": "ReconciliationSucceeded"}


def struck(fake):
    return sum(fault["hits"] for fault in fake.faults())


def watching(fake):
    wait_until(lambda: fake.state()["watches"] >= 2, what="both watches are open")


def ended(fake, name):
    """The writes that ended the Run: those of its labels or spec leave its status as it is."""
    writes = fake.writes("customruns", name)
    return [w for before, w in zip([None] + writes, writes) if w.succeeded in ("True", "False") and
            (before is None or before[4:] != w[4:])]


class Scene:
    def __init__(self, fake, server, record):
        self.fake, self.server, self.record = fake, server, record
        watching(fake)
        for name in ("decided", "cancelled", "deleted", "patient"):
            fake.create_customrun(name, name)
        for name in ("decided", "cancelled", "deleted", "patient"):
            fake.wait_condition("customruns", name, "Unknown", "Waiting")
        wait_until(lambda: len(fake.list("events", namespace="default")["items"]) == 4, what="what began has ended")
        fake.clear_log()

    def act(self, met=lambda: None):
        """What happens while the fault lasts; met() comes behind the first of it."""
        self.fake.create_customrun("created", "created")
        met()
        self.fake.patch("customruns", "cancelled", {"spec": {"status": "RunCancelled"}})
        self.fake.delete("customruns", "deleted")
        assert self.server.post(succeeded("decided")).status == 200

    def lasts(self, seconds):
        """Goes on for so long, and returns our requests per second in that time."""
        before, start = len(self.requests()), time.monotonic()
        wait_until(lambda: time.monotonic() - start > seconds, deadline=seconds + 5, what="the fault lasts")
        return (len(self.requests()) - before) / seconds

    def requests(self):
        return [r for r in self.fake.log() if r["userAgent"].startswith(OURS)]

    def statuses(self):
        return {item["metadata"]["name"]: ((item.get("status") or {}).get("conditions") or [{}])[0].get("reason")
                for item in self.fake.list("customruns")["items"]}

    def waiting(self):
        return {run["name"] for run in self.server.get("/runs").json()["waiting"]}

    STATUSES = {"decided": "ReconciliationSucceeded", "cancelled": "CustomRunCancelled", "patient": "Waiting",
                "created": "Waiting"}
    WAITING = {"patient", "created"}

    def healed(self, fault, detect=0.0, rate=None, since=None):
        """since: when it was healed; now, if not given."""
        elapsed = time.monotonic() - since if since else 0.0
        took = net_seconds(lambda: self.statuses() == self.STATUSES, detect + 30, f"{self.STATUSES}") + elapsed
        wait_until(lambda: self.waiting() == self.WAITING, what=f"{self.WAITING} wait")
        allowed = f"{LIMIT + detect:.0f}" if detect else "1"
        self.record("fault", f"{fault} | {took:.2f} | {allowed} | {'' if rate is None else f'{rate:.1f}'}")
        assert took < LIMIT + detect, f"{took:.2f} s after healing, {LIMIT + detect} allowed"
        assert rate is None or rate <= 2, f"{rate} requests a second while down"
        for name in self.STATUSES:
            assert len(ended(self.fake, name)) <= 1, ended(self.fake, name)
        # And the stream works: what happens from now on is seen as ever.
        assert self.server.post(succeeded("patient")).status == 200
        self.fake.wait_condition("customruns", "patient", "True")
        self.fake.create_customrun("afterwards", "patient")
        self.fake.wait_condition("customruns", "afterwards", "True")


@pytest.fixture
def scene(fake, server, record_property):
    return Scene(fake, server, record_property)


@pytest.mark.parametrize("how", ["reset", "clean", "dirty", "end"])
def test_item_65_watches_dropped(scene, how):
    names = {"reset": "connections reset", "clean": "TLS end", "dirty": "TLS end without close_notify", "end": "end of the watch"}
    scene.fake.drop("watches", how)
    scene.act()
    scene.healed(names[how])
    assert not [r for r in scene.fake.log(path="runs?limit=")], "listed again for nothing"


@pytest.mark.parametrize("as_status", [False, True])
def test_item_61_gone_lists_again(scene, as_status):
    fake = scene.fake
    fake.settings(gone_as_status=as_status)
    fake.fault("status", path="watch=1", status=503, times=-1)
    fake.drop("watches", "reset")
    scene.act()
    fake.compact()
    fake.clear_faults()
    scene.healed("410 as status" if as_status else "410 in the stream")
    assert [r for r in fake.log(path="runs?limit=")]


@pytest.mark.parametrize("action", ["status", "drop"])
def test_item_60_three_pages_and_410_on_the_second(make_fake, make_server, record_property, action):
    fake = make_fake()
    for i in range(600):
        fake.create("customruns", f"foreign{i}", {"customRef": {"apiVersion": "example.dev/v1", "kind": "Other"}})
    fake.create_customrun("ours", "r")
    if action == "status":
        fake.fault("status", path="continue=", status=410)
    make_server(fake=fake)
    fake.wait_condition("customruns", "ours", "Unknown", "Waiting")
    pages = [r["target"] for r in fake.log(method="GET", path=CUSTOMRUNS + "?limit=")]
    assert len(pages) == (5 if action == "status" else 3), pages
    assert [("continue=" in page) for page in pages][-3:] == [False, True, True]
    watching(fake)  # on a connection of its own: the Run may have been written first
    watch = fake.log(path=CUSTOMRUNS + "?watch=1")[0]["target"]
    fake.create_customrun("watched", "r")
    fake.soon("customruns", "watched", "Unknown", "Waiting")
    assert "resourceVersion=" in watch and not watch.endswith("resourceVersion=")


def test_item_53_too_many_requests_on_writes(scene):
    fake = scene.fake
    fake.fault("status", method="PATCH", path=STATUS, status=429, retry_after=3)
    start = time.monotonic()
    # The others come when it is known that they must wait: what is under way already may come behind the 429.
    scene.act(lambda: wait_until(lambda: '{verb="patch",code="429"} 1\n' in scene.server.get("/metrics").text, what="429"))
    scene.healed("429 on a status, Retry-After 3 s", detect=3.0)
    tries = [r for r in fake.log(method="PATCH", path=STATUS) if r["userAgent"].startswith(OURS)]
    first = next(r["ms"] for r in tries if r["status"] == 429)
    assert not [r for r in tries if first < r["ms"] < first + 2950], "a write within the Retry-After"
    assert time.monotonic() - start > 2.9


def test_item_53_too_many_requests_on_the_watch(scene):
    fake = scene.fake
    fake.fault("status", path="watch=1", status=429, retry_after=1)
    fake.drop("watches", "reset")
    scene.act()
    scene.healed("429 on a watch, Retry-After 1 s", detect=1.0)
    assert not [r for r in fake.log(path="runs?limit=")], "listed again for nothing"


def test_item_54_broken_webhook(scene):
    fake = scene.fake
    fake.fault("status", method="PATCH", path=STATUS, status=500, times=-1,
               body={"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500, "reason": "InternalError",
                     "message": 'Internal error occurred: failed calling webhook "webhook.pipeline.tekton.dev"'})
    scene.act()
    for i in range(50):
        fake.create_customrun(f"crowd{i}", "patient")
    rate = scene.lasts(20)
    for i in range(50):
        fake.delete("customruns", f"crowd{i}")
    fake.clear_faults()
    scene.healed("500 of a broken webhook for 20 s", rate=rate)


def test_item_65_unavailable_for_everything(scene):
    fake = scene.fake
    for path in (STATUS, "limit=", "watch=1", "/events"):
        fake.fault("status", path=path, status=503, times=-1)
    fake.drop("all", "reset")
    scene.act()
    rate = scene.lasts(10)
    fake.clear_faults()
    scene.healed("503 for 10 s", rate=rate)


def test_item_52_storm_of_conflicts(scene):
    fake = scene.fake
    fake.fault("status", method="PATCH", path=STATUS, status=409, times=-1,
               body={"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "code": 409,
                     "message": "the object has been modified; please apply your changes to the latest version"})
    scene.act()
    scene.lasts(10)
    fake.clear_faults()
    scene.healed("409 on every status for 10 s")


def test_item_56_token_rotated(scene):
    scene.fake.rotate("token")
    scene.fake.drop("watches", "reset")
    scene.act()
    scene.healed("401, token rotated")
    assert not [line for line in scene.server.logs() if line["level"] == "error"]


def test_item_68_ca_replaced(scene):
    scene.fake.rotate("ca")
    scene.fake.drop("all", "reset")
    scene.act()
    scene.healed("CA replaced")


def test_item_68_token_and_ca_replaced_under_load(fake, server):
    watching(fake)
    for i in range(300):
        if i in (100, 200):
            fake.rotate("token" if i == 100 else "ca")
            fake.drop("watches", "reset")
        fake.create_customrun(f"w{i}", "r")
    def waiting():
        return sum(1 for item in fake.list("customruns")["items"] if (item.get("status") or {}).get("startTime"))
    wait_until(lambda: waiting() == 300, what="all wait")
    assert server.post(succeeded("r")).status == 200
    wait_until(lambda: len([w for w in fake.writes("customruns") if w.succeeded == "True"]) == 300, what="all done")
    assert not [line for line in server.logs() if line["level"] == "error"]


def test_item_63_reset_in_the_middle_of_an_object(scene):
    scene.fake.inject("customruns", '{"type":"ADDED","object":{"metadata":{"name":"ha')
    scene.fake.drop("watches", "reset")
    scene.act()
    scene.healed("reset in the middle of an object")


def test_item_63_truncated_chunk(scene):
    scene.fake.fault("truncate", path="watch=1", after_bytes=700, times=4, close_notify=False)
    scene.fake.drop("watches", "reset")
    scene.act()
    wait_until(lambda: struck(scene.fake) == 4, what="all four")
    scene.healed("truncated chunks, four times")


def test_item_63_garbage_in_the_stream(scene):
    scene.fake.inject("customruns", "garbage\n")
    scene.act()
    scene.healed("garbage in the stream")


def test_item_62_unknown_types_and_bookmarks(scene):
    fake = scene.fake
    fake.inject("customruns", '\n\n{"type":"NOVELTY","object":{"metadata":{"name":"x","resourceVersion":"1"}}}\n')
    fake.settings(bookmark_ms=50)
    scene.act()
    scene.healed("unknown types, blank lines, many bookmarks")
    assert not [r for r in fake.log(path="runs?limit=")], "listed again for nothing"


def test_item_63_large_objects(scene):
    fake = scene.fake
    big = {"annotations": {"big": "x" * 1_400_000}}
    fake.create("customruns", "foreign", {"customRef": {"apiVersion": "example.dev/v1", "kind": "Other"}}, metadata=big)
    fake.create_customrun("large", "large", metadata=big)
    scene.act()
    fake.soon("customruns", "large", "Unknown", "Waiting")
    assert scene.server.post(succeeded("large")).status == 200
    fake.soon("customruns", "large", "True")
    fake.delete("customruns", "large")
    fake.delete("customruns", "foreign")
    scene.healed("objects of 1.4 MB")


def test_item_63_one_byte_at_a_time(scene):
    scene.fake.settings(watch_chunk_bytes=1)
    scene.fake.drop("watches", "reset")
    scene.act()
    scene.healed("one byte per chunk")


def test_item_63_cut_anywhere(fake, server, record_property):
    """A watch that breaks after so many bytes, again and again: whatever the place, the next one goes on."""
    watching(fake)
    slowest = 0.0
    for n, after in enumerate(range(150, 1750, 41)):
        fake.fault("reset" if n % 2 else "truncate", path=CUSTOMRUNS + "?watch=1", after_bytes=after)
        fake.drop("watches", "end")
        fake.create_customrun(f"cut{n}", "r")
        slowest = max(slowest, fake.soon("customruns", f"cut{n}", "Unknown", "Waiting", limit=2 * LIMIT))
        fake.clear_faults()
    record_property("fault", f"watch ended, the next cut after 150 to 1750 bytes, slowest of 40 | {slowest:.2f} | 2 | ")


def test_item_26_answer_of_a_patch_lost(scene):
    fake = scene.fake
    fake.fault("drop_answer", method="PATCH", path=STATUS, times=3)
    scene.act()
    wait_until(lambda: struck(fake) == 3, what="three answers were dropped")
    scene.healed("answers of three applied PATCHes lost")
    assert len(fake.writes("customruns", "created")) == 2, "one creation and one status"
    def told():
        return sorted(e["involvedObject"]["name"] for e in fake.list("events", namespace="default")["items"]
                      if e["reason"] == "ReconciliationSucceeded")
    wait_until(lambda: "decided" in told(), what="the Event of an end whose answer was lost")
    assert told().count("decided") == 1


def refused(scene, seconds):
    scene.act()
    scene.fake.pause(int(seconds * 1000))
    scene.fake.drop("all", "reset")
    def told():
        return [line["msg"] for line in scene.server.logs() if "reachable" in line["msg"]]
    wait_until(lambda: told()[-1:] == ["API server unreachable"], what="the outage")
    scene.lasts(0.3)  # an answer that was on its way when the connections ended shows the server once more
    begun = told()
    assert begun[-1] == "API server unreachable"
    wait_until(lambda: listens(scene.fake.port), deadline=seconds + 5, what="the port answers")
    scene.healed(f"connections refused for {seconds:.0f} s")
    assert told() == begun + ["API server reachable again"], "told once, and its end once"


def listens(port):
    """Without connecting, which would be seen by the server."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in list(table)[1:])


def test_item_65_refused_for_a_while(scene):
    refused(scene, 3)


@pytest.mark.slow
def test_item_65_refused_for_a_minute(scene):
    refused(scene, 60)


@pytest.mark.slow
def test_item_64_silent_stall(make_fake, make_server, record_property):
    """Connections that stand and say nothing. Bookmarks were seen, so 95 s without a byte are too long."""
    fake = make_fake("--bookmark-ms", "500")
    scene = Scene(fake, make_server(fake=fake), record_property)
    start = time.monotonic()
    wait_until(lambda: time.monotonic() - start > 1.5, what="a bookmark came")
    fake.clear_log()
    fake.drop("watches", "hang")
    fake.create_customrun("created", "created")
    fake.patch("customruns", "cancelled", {"spec": {"status": "RunCancelled"}})
    fake.delete("customruns", "deleted")
    assert scene.server.post(succeeded("decided")).status == 200
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() - begun > 90, deadline=100, what="most of the silence")
    assert fake.condition("customruns", "cancelled")["reason"] == "Waiting", "not by silence"
    scene.healed("watches silent", detect=95.0, since=begun)
    assert not [r for r in fake.log(path="runs?limit=")], "listed again for nothing"


def connections(pid, port):
    """The local ports of the process's connections to `port`."""
    inodes = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    with open(f"/proc/{pid}/net/tcp", encoding="ascii") as table:
        fields = [line.split() for line in list(table)[1:]]
    return [int(f[1].split(":")[1], 16) for f in fields
            if f"socket:[{f[9]}]" in inodes and f[2].endswith(f":{port:04X}") and f[3] == "01"]


def black_hole(scene):
    """In a network of its own: packets of the connections there are now vanish, in both directions."""
    pid = scene.server.process.child.pid
    ports = connections(pid, scene.fake.port)
    assert len(ports) >= 2, ports
    # A new connection must not be given a port whose packets vanish: neither one of the product's nor one of this test.
    with open("/proc/sys/net/ipv4/ip_local_reserved_ports", "w", encoding="ascii") as reserved:
        reserved.write(",".join(map(str, ports)))
    for port in ports:
        for side in ("--sport", "--dport"):
            subprocess.run(["iptables", "-I", "INPUT", "-i", "lo", "-p", "tcp", side, str(port), "-j", "DROP"], check=True)
    scene.act()
    scene.healed("half-open connections (black hole)", detect=11.0)


INSIDE = "FES_OWN_NETWORK"


def test_item_65_half_open_black_hole(request, record_property, tmp_path):
    if os.environ.get(INSIDE):
        black_hole(request.getfixturevalue("scene"))
        return
    probe = "ip link set lo up && iptables -I INPUT -i lo -p tcp --dport 9 -j DROP"
    missing = [tool for tool in ("unshare", "ip", "iptables") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"half-open connections: {', '.join(missing)} not installed")
    allowed = subprocess.run(["unshare", "-n", "sh", "-c", probe], capture_output=True, text=True, check=False)
    if allowed.returncode:
        pytest.skip(f"half-open connections: no network of one's own here: {allowed.stderr.strip()[:200]}")
    report = tmp_path / "inside.json"
    command = f"ip link set lo up && exec {sys.executable} -m pytest -q -p no:cacheprovider -p no:xdist " \
              f"'{__file__}::{request.node.name}' --basetemp={tmp_path}/inside"
    done = subprocess.run(["unshare", "-n", "sh", "-c", command], capture_output=True, text=True, check=False,
                          env={**os.environ, INSIDE: str(report)}, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    record_property("fault", json.loads(report.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_item_66_crds_come_and_go(make_fake, make_server, record_property):
    """Neither CRD, then one, then both, then the other alone: each is picked up in half a minute."""
    fake = make_fake("--off", "runs", "--off", "customruns")
    server = make_server(fake=fake)
    def part():
        return server.get("/readyz").json()["runs"]
    wait_until(lambda: "not served" in str(part()), what="neither is served")
    assert server.get("/readyz").status == 200
    fake.serve("customruns")
    start = time.monotonic()
    fake.create_customrun("late", "r")
    fake.wait_condition("customruns", "late", "Unknown", "Waiting", deadline=60)
    record_property("fault", f"CRD created | {time.monotonic() - start:.2f} | 60 | ")
    wait_until(lambda: part()["ready"], what="ready with one kind")
    fake.serve("runs")
    start = time.monotonic()
    fake.create_run("late", "r", ref=fes.V1)
    fake.wait_condition("runs", "late", "Unknown", "Waiting", deadline=60)
    assert time.monotonic() - start < 60
    fake.serve("runs", served=False)
    fake.create_customrun("unaffected", "r")
    fake.soon("customruns", "unaffected", "Unknown", "Waiting")
    wait_until(lambda: {r["kind"] for r in server.get("/runs").json()["waiting"]} == {"CustomRun"}, deadline=60,
               what="the Run is forgotten with its CRD")
    assert server.post(succeeded("r")).status == 200
    fake.wait_condition("customruns", "late", "True")
    wait_until(lambda: part()["ready"], deadline=60, what="ready with the other kind")


def ours(fake):
    """What the binary asked for since the log was cleared, watches not counted."""
    return [r for r in fake.log() if r["userAgent"].startswith("flux-event-store") and "watch=1" not in r["target"]]


def test_patch_with_429_holds_all_requests(fake, server):
    """Retry-After is for the whole account: the Run that was told and all others wait, and then all are written."""
    watching(fake)
    for n in range(20):
        fake.create_customrun(f"run{n}", "r")
    for n in range(20):
        fake.wait_condition("customruns", f"run{n}", "Unknown", "Waiting")
    wait_until(lambda: len(fake.list("events", namespace="default")["items"]) == 20, what="the Events of waiting")
    fake.fault("status", method="PATCH", path="/status", status=429, retry_after=3)
    fake.clear_log()
    start = time.monotonic()
    assert server.post({"metadata": {"revision": "r"}, "reason": "ReconciliationSucceeded"}).status == 200
    wait_until(lambda: [r for r in ours(fake) if r["status"] == 429], what="the 429")
    # What was under way goes on: at most sixteen. Of twenty PATCHes and twenty Events the others must wait.
    while time.monotonic() - start < 2.8:
        assert len(ours(fake)) <= 16, "went on in spite of the 429"
        time.sleep(0.05)
    took = time.monotonic() - start
    took += net_seconds(lambda: {c["reason"] for item in fake.list("customruns")["items"] for c in item["status"]["conditions"]
                                 if c["type"] == "Succeeded"} == {"ReconciliationSucceeded"}, what="all are done")
    assert 2.9 < took < 4.2, f"the last Run was done after {took:.2f} s"
    assert len([r for r in ours(fake) if r["status"] == 429]) == 1
    for n in range(20):
        assert len(fake.writes("customruns", f"run{n}")) == 3, "created, Waiting, done: one write each"
