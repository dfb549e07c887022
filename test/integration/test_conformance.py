"""Behaviours of a custom-task controller that need the whole of it: the binary, HTTP, TLS, a stream.

Each test carries the numbers of the behaviours it shows; docs/conformance.md is the list. The unit tests of controller/
and k8s/ have the others, and the finer cases of these.
"""

import json
import signal
import time

import pytest

from fes import V0, V1, wait_until

KINDS = ("runs", "customruns")


def event(revision, reason, message="", severity="info", name=None):
    body = {"metadata": {"revision": revision}, "timestamp": "0001-01-01T00:01:00Z", "reason": reason, "message": message,
            "severity": severity}
    if name:
        body["involvedObject"] = {"kind": "Kustomization", "namespace": "flux-system", "name": name}
    return body


def create(fake, resource, name, revision, **options):
    return (fake.create_run if resource == "runs" else fake.create_customrun)(name, revision, ref=V1, **options)


def stored(server, body):
    answer = server.post(body)
    assert answer.status == 200, answer


def ends(fake, resource, name):
    """The writes that ended it: those of its labels or spec leave its status as it is."""
    writes = fake.writes(resource, name)
    return [w for before, w in zip([None] + writes, writes) if w.succeeded in ("True", "False") and
            (before is None or before[4:] != w[4:])]


def events_of(fake, name):
    return sorted(e["reason"] for e in fake.list("events", namespace="default")["items"]
                  if e["involvedObject"]["name"] == name)


def settled(fake, server, name="marker"):
    """Waits until all that was said before has been dealt with: a Run that comes later goes through."""
    fake.create_customrun(name, "never-" + name)
    fake.wait_condition("customruns", name, "Unknown", "Waiting")


def test_item_4_embedded_spec_is_answered(fake, server):
    fake.create("customruns", "embedded", {"customSpec": {"apiVersion": V1, "kind": "FluxDeploymentWait", "spec": {"a": 1}},
                                           "params": [{"name": "revision", "value": "r"}]})
    run = fake.wait_condition("customruns", "embedded", "False", "UnsupportedSpec")
    assert "embedded spec" in run["status"]["conditions"][0]["message"]


@pytest.mark.parametrize("revision", ["r" * 10240, "%s%n%x", 'a"b\\c', "a\u0001\u001b[31mb", "\u202e\U0001f600"])
def test_item_15_hostile_revisions(fake, server, revision):
    fake.create_customrun("hostile", revision)
    wait_until(lambda: fake.condition("customruns", "hostile"), what="an answer")
    message = fake.condition("customruns", "hostile")["message"]
    assert len(message.encode()) <= 4096
    shown = server.get("/runs")
    assert shown.status == 200 and shown.json()
    assert all("\u001b" not in json.dumps(line, ensure_ascii=False) for line in server.logs())


@pytest.mark.parametrize("resource", KINDS)
def test_item_17_first_write_within_a_second(fake, server, resource):
    create(fake, resource, "new", "r")
    fake.soon(resource, "new", "Unknown", "Waiting")
    run = fake.get(resource, "new")
    assert run["status"]["startTime"] and run["status"]["observedGeneration"] == run["metadata"].get("generation", 1)
    settled(fake, server)
    assert len(fake.writes(resource, "new")) == 2, "one creation, one status"


@pytest.mark.parametrize("resource", KINDS)
def test_item_19_success_within_a_second_and_without_a_request_before(fake, server, resource):
    create(fake, resource, "waits", "r")
    fake.wait_condition(resource, "waits", "Unknown", "Waiting")
    settled(fake, server)
    wait_until(lambda: len(fake.list("events", namespace="default")["items"]) == 2, what="both Events were created")
    fake.clear_log()
    stored(server, event("r", "ReconciliationSucceeded"))
    fake.soon(resource, "waits", "True")
    run = fake.get(resource, "waits")
    assert run["status"]["completionTime"] >= run["status"]["startTime"]
    # Kinds of Flux that are not served are asked for again, which has nothing to do with it.
    ours = [r["method"] for r in fake.log() if r["userAgent"].startswith("flux-event-store") and "toolkit" not in r["target"]]
    assert ours[0] == "PATCH" and "GET" not in ours, ours


def test_item_20_failure_names_reason_and_message(fake, server):
    fake.create_customrun("fails", "r")
    fake.wait_condition("customruns", "fails", "Unknown", "Waiting")
    stored(server, event("r", "BuildFailed", "kustomize: no such file", "error", "apps"))
    run = fake.wait_condition("customruns", "fails", "False", "ReconciliationFailed")
    message = run["status"]["conditions"][0]["message"]
    assert "'BuildFailed'" in message and "'kustomize: no such file'" in message, message


def test_item_21_22_events_that_decide_nothing(fake, server):
    fake.create_customrun("waits", "r-1")
    fake.wait_condition("customruns", "waits", "Unknown", "Waiting")
    stored(server, event("r-1", "Progressing", "applying", "info", "apps"))
    stored(server, event("r-2", "ReconciliationFailed", "another", "error", "other"))
    stored(server, event("r-2", "ReconciliationSucceeded", "another", "info", "other"))
    settled(fake, server)
    assert fake.condition("customruns", "waits")["status"] == "Unknown"
    assert len(fake.writes("customruns", "waits")) == 2
    assert events_of(fake, "waits") == ["Waiting"]


def test_item_24_the_same_event_again_and_after_a_restart(fake, server):
    fake.create_customrun("once", "r")
    fake.wait_condition("customruns", "once", "Unknown", "Waiting")
    body = event("r", "ReconciliationSucceeded", "done", "info", "apps")
    stored(server, body)
    stored(server, body)
    fake.wait_condition("customruns", "once", "True")
    wait_until(lambda: len(events_of(fake, "once")) == 2, what="both Events")
    server.kill9()
    server.restart()
    stored(server, body)
    settled(fake, server)
    assert len(ends(fake, "customruns", "once")) == 1
    assert events_of(fake, "once") == ["ReconciliationSucceeded", "Waiting"]


def test_item_27_28_terminal_is_sticky(fake, server):
    stored(server, event("r", "ReconciliationSucceeded"))
    fake.create_customrun("done", "r")
    fake.wait_condition("customruns", "done", "True")
    fake.patch("customruns", "done", {"metadata": {"labels": {"a": "b"}}})
    fake.patch("customruns", "done", {"spec": {"status": "RunCancelled", "statusMessage": "too late"}})
    stored(server, event("r", "ReconciliationFailed", "later", "error"))
    fake.drop("watches", "reset")
    settled(fake, server)
    server.restart()
    settled(fake, server, "marker2")
    assert len(ends(fake, "customruns", "done")) == 1
    assert fake.condition("customruns", "done")["status"] == "True"


def test_item_29_30_conditions_of_others(fake, server):
    fake.fault("delay", method="PATCH", path="/customruns/mixed/status", delay_ms=300)
    fake.create_customrun("mixed", "r", status={"conditions": [
        {"type": "Foreign", "status": "True", "reason": "Kept"}, {"type": "Succeeded", "status": "nonsense"}]})
    fake.patch("customruns", "mixed", {"status": {"conditions": [
        {"type": "Foreign", "status": "True", "reason": "Kept"}, {"type": "Succeeded", "status": ""}]}}, status=True)
    run = fake.wait_condition("customruns", "mixed", "Unknown", "Waiting")
    conditions = run["status"]["conditions"]
    assert conditions[0]["type"] == "Succeeded"
    assert [c["reason"] for c in conditions[1:]] == ["Kept"]


@pytest.mark.parametrize("resource,reason", [("runs", "RunCancelled"), ("customruns", "CustomRunCancelled")])
def test_item_34_cancelled_at_creation(fake, server, resource, reason):
    key = "ref" if resource == "runs" else "customRef"
    fake.create(resource, "stillborn", {key: {"apiVersion": V1, "kind": "FluxDeploymentWait"}, "status": "RunCancelled",
                                        "params": [{"name": "revision", "value": "r"}]})
    run = fake.wait_condition(resource, "stillborn", "False", reason)
    assert run["status"]["startTime"] and run["status"]["completionTime"]
    assert len(fake.writes(resource, "stillborn")) == 2, "one creation, one status"


def test_item_35_cancel_and_success_race(fake, server):
    for i in range(30):
        fake.create_customrun(f"race{i}", f"r-{i}")
    for i in range(30):
        fake.wait_condition("customruns", f"race{i}", "Unknown", "Waiting")
    # Some are cancelled while their success is on its way, however slow the machine is; of the others nobody knows.
    fake.fault("delay", method="PATCH", path="/status", delay_ms=1000, times=4)
    fake.fault("delay", method="PATCH", path="/status", delay_ms=20, times=-1)
    for i in range(30):
        stored(server, event(f"r-{i}", "ReconciliationSucceeded"))
        fake.patch("customruns", f"race{i}", {"spec": {"status": "RunCancelled"}})
    for i in range(30):
        wait_until(lambda i=i: ends(fake, "customruns", f"race{i}"), what=f"race{i} has ended")
    settled(fake, server)
    assert [r for r in fake.log(method="PATCH", path="/status") if r["status"] == 409], "no conflict came about"
    for i in range(30):
        assert len(ends(fake, "customruns", f"race{i}")) == 1
        assert fake.condition("customruns", f"race{i}")["reason"] in ("CustomRunCancelled", "ReconciliationSucceeded")


def test_item_42_43_retries(fake, server):
    fake.create_customrun("again", "r", spec={"retries": 2})
    fake.wait_condition("customruns", "again", "Unknown", "Waiting")
    stored(server, event("r", "ReconciliationFailed", "one", "error", "apps"))
    fake.wait_condition("customruns", "again", "Unknown", "Retrying")
    stored(server, event("r", "ReconciliationFailed", "two", "error", "apps"))
    wait_until(lambda: len(fake.get("customruns", "again")["status"].get("retriesStatus", [])) == 2, what="two attempts")
    stored(server, event("r", "ReconciliationSucceeded", "three", "info", "apps"))
    run = fake.wait_condition("customruns", "again", "True")
    assert len(run["status"]["retriesStatus"]) == 2
    assert all("retriesStatus" not in entry for entry in run["status"]["retriesStatus"])
    assert [w.succeeded for w in fake.writes("customruns", "again")[1:]] == ["Unknown", "Unknown", "Unknown", "True"]
    start = time.monotonic()
    fake.create_customrun("twice", "never", spec={"retries": 1, "timeout": "1s"})
    fake.wait_condition("customruns", "twice", "False", "CustomRunTimedOut")
    assert time.monotonic() - start > 1.9, "each attempt has its whole timeout"
    assert len(fake.get("customruns", "twice")["status"]["retriesStatus"]) == 1


def test_item_45_a_run_gets_no_unknown_key(fake, server):
    """The fake API server refuses them as the webhook of 0.24.1 does."""
    fake.create("runs", "old", {"ref": {"apiVersion": V0, "kind": "FluxDeploymentWait"}, "retries": 1,
                                "params": [{"name": "revision", "value": "r"}]})
    fake.wait_condition("runs", "old", "Unknown", "Waiting")
    stored(server, event("r", "ReconciliationFailed", "one", "error", "apps"))
    fake.wait_condition("runs", "old", "Unknown", "Retrying")
    stored(server, event("r", "ReconciliationFailed", "two", "error", "apps"))
    run = fake.wait_condition("runs", "old", "False", "ReconciliationFailed")
    assert "retriesStatus" not in run["status"]
    assert {r["status"] for r in fake.log(method="PATCH", path="/status")} == {200}


def test_item_46_an_old_failure_consumes_nothing(fake, server):
    stored(server, event("r", "ReconciliationFailed", "old", "error", "apps"))
    fake.create_customrun("again", "r", spec={"retries": 2})
    fake.wait_condition("customruns", "again", "Unknown", "Retrying")
    settled(fake, server)
    assert len(fake.get("customruns", "again")["status"]["retriesStatus"]) == 1
    stored(server, event("r", "ReconciliationFailed", "old", "error", "apps") | {"timestamp": "2026-01-01T00:00:00Z"})
    wait_until(lambda: len(fake.get("customruns", "again")["status"]["retriesStatus"]) == 2, what="a new one counts")


def test_item_47_deleted_while_waiting(fake, server):
    fake.create_customrun("gone", "r")
    fake.wait_condition("customruns", "gone", "Unknown", "Waiting")
    fake.delete("customruns", "gone")
    fake.create_customrun("raced", "r")
    fake.fault("delay", method="PATCH", path="/customruns/raced/status", delay_ms=300)
    fake.delete("customruns", "raced")
    wait_until(lambda: not server.get("/runs").json()["waiting"], what="nobody waits")
    stored(server, event("r", "ReconciliationSucceeded"))
    settled(fake, server)
    assert not [line for line in server.logs() if line["level"] in ("warn", "error")]


def test_item_48_a_foreign_finalizer(fake, server):
    fake.create_customrun("lingers", "r", metadata={"finalizers": ["example.dev/hold"]})
    fake.wait_condition("customruns", "lingers", "Unknown", "Waiting")
    fake.delete("customruns", "lingers")
    assert fake.get("customruns", "lingers")["metadata"]["deletionTimestamp"]
    settled(fake, server)
    before = len(fake.writes("customruns", "lingers"))
    stored(server, event("r", "ReconciliationSucceeded"))
    settled(fake, server, "marker2")
    assert len(fake.writes("customruns", "lingers")) == before
    assert fake.get("customruns", "lingers")["metadata"]["finalizers"] == ["example.dev/hold"]


def test_item_49_recreated_under_its_name(fake, server):
    first = fake.create_customrun("phoenix", "r-1")
    fake.wait_condition("customruns", "phoenix", "Unknown", "Waiting")
    fake.delete("customruns", "phoenix")
    second = fake.create_customrun("phoenix", "r-2")
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    fake.wait_condition("customruns", "phoenix", "Unknown", "Waiting")
    stored(server, event("r-1", "ReconciliationFailed", "", "error"))
    settled(fake, server)
    assert fake.condition("customruns", "phoenix")["status"] == "Unknown"
    stored(server, event("r-2", "ReconciliationSucceeded"))
    fake.wait_condition("customruns", "phoenix", "True")


def test_item_51_malformed_metadata_is_skipped(fake, server):
    fake.inject("customruns", '{"type":"ADDED","object":{"metadata":{"name":"x","namespace":"default"},"spec":{"customRef":'
                              '{"apiVersion":"flux-event-store.dev/v1","kind":"FluxDeploymentWait"}}}}\n')
    settled(fake, server)
    assert not fake.log(path="/customruns/x")


@pytest.mark.parametrize("code", [400, 422])
def test_item_55_a_run_that_can_never_be_written(fake, server, code):
    fake.fault("status", method="PATCH", path="/customruns/denied/status", status=code, times=-1,
               body={"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                     "message": 'admission webhook "validation.webhook.pipeline.tekton.dev" denied the request'})
    fake.create_customrun("denied", "r")
    wait_until(lambda: "StatusRefused" in events_of(fake, "denied"), what="an Event says so")
    lines = [line for line in server.logs() if "denied the request" in json.dumps(line)]
    assert len(lines) == 1 and lines[0]["name"] == "denied" and lines[0]["level"] == "error", lines
    assert "\nflux_event_store_runs_parked 1\n" in server.get("/metrics").text
    stored(server, event("r", "ReconciliationFailed", "", "error"))
    for n in range(3):
        fake.patch("customruns", "denied", {"metadata": {"labels": {"n": str(n)}}})
        settled(fake, server, f"marker{n}")
    tries = fake.log(method="PATCH", path="/customruns/denied/status")
    assert len(tries) == 1, "at most two a minute"


def test_item_56_forbidden_is_told_once(fake, server):
    fake.fault("status", method="PATCH", path="/status", status=403, times=-1,
               body={"kind": "Status", "status": "Failure", "code": 403, "message": "customruns/status is forbidden"})
    for i in range(5):
        fake.create_customrun(f"w{i}", "r")
    def lines():
        return [line for line in server.logs() if line["level"] == "error"]
    wait_until(lambda: len(fake.log(method="PATCH", path="/status")) >= 10, what="tried again")
    assert len(lines()) == 1 and "forbidden" in json.dumps(lines()), lines()
    fake.clear_faults()
    for i in range(5):
        fake.wait_condition("customruns", f"w{i}", "Unknown", "Waiting")


def test_item_57_patches_carry_what_changed(make_fake, make_server, tmp_path):
    """The body as it went over the wire: a rule that strikes only when what must not be there is there."""
    fake = make_fake()
    make_server(fake=fake)
    for forbidden in ('"annotations"', '"labels"', '"spec"', '"name":"labelled"', '"uid"'):
        fake.fault("status", method="PATCH", path="/status", body_contains=forbidden, status=418, times=-1)
    fake.create_customrun("labelled", "r", metadata={"labels": {"a": "b"}, "annotations": {"c": "d"}})
    fake.wait_condition("customruns", "labelled", "Unknown", "Waiting")
    assert {r["status"] for r in fake.log(method="PATCH")} == {200}


def test_item_58_results_that_look_like_json(fake, server):
    fake.create_customrun("results", "r")
    fake.wait_condition("customruns", "results", "Unknown", "Waiting")
    stored(server, event("r", "ReconciliationFailed", '["a","b"]', "error", "apps"))
    run = fake.wait_condition("customruns", "results", "False")
    for result in run["status"]["results"]:
        assert isinstance(result["value"], str)
        try:
            assert not isinstance(json.loads(result["value"]), (list, dict)), result
        except ValueError:
            pass


def test_item_59_kubernetes_events_are_cut_and_hold_up_nothing(fake, server):
    fake.fault("hang", method="POST", path="/events", times=-1)
    fake.create_customrun("first", "r-1")
    fake.soon("customruns", "first", "Unknown", "Waiting")
    fake.clear_faults()
    fake.create_customrun("second", "r-2")
    fake.soon("customruns", "second", "Unknown", "Waiting")
    stored(server, event("r-2", "ReconciliationFailed", "\u20ac" * 3000, "error", "apps"))
    fake.soon("customruns", "second", "False")
    wait_until(lambda: "ReconciliationFailed" in events_of(fake, "second"), what="the Event")
    message = next(e["message"] for e in fake.list("events", namespace="default")["items"]
                   if e["reason"] == "ReconciliationFailed")
    assert len(message.encode()) <= 1024 and "\ufffd" not in message
    for process in (server,):
        process.kill9()  # the hanging requests would be waited for


def test_item_66_only_one_kind_is_served(make_fake, make_server):
    for off, on in (("runs", "customruns"), ("customruns", "runs")):
        fake = make_fake("--off", off)
        server = make_server(fake=fake)
        create(fake, on, "alone", "r")
        fake.wait_condition(on, "alone", "Unknown", "Waiting")
        # That the other is not served may be known a moment later.
        wait_until(lambda: server.get("/readyz").json()["runs"]["ready"] is True, what="ready with one kind")


def test_item_67_same_name_in_both_kinds(fake, server):
    create(fake, "runs", "twin", "r-1")
    create(fake, "customruns", "twin", "r-2")
    for resource in KINDS:
        fake.wait_condition(resource, "twin", "Unknown", "Waiting")
    stored(server, event("r-1", "ReconciliationSucceeded"))
    fake.wait_condition("runs", "twin", "True")
    assert fake.condition("customruns", "twin")["status"] == "Unknown"


def test_item_69_sigterm_finishes_what_is_under_way(fake, server):
    for i in range(20):
        fake.create_customrun(f"w{i}", "r")
    for i in range(20):
        fake.wait_condition("customruns", f"w{i}", "Unknown", "Waiting")
    fake.fault("delay", method="PATCH", path="/status", delay_ms=1000, times=-1)
    stored(server, event("r", "ReconciliationSucceeded"))
    wait_until(lambda: fake.state()["inFlight"] >= 16, what="PATCHes are under way")
    start = time.monotonic()
    server.process.signal(signal.SIGTERM)
    assert server.process.wait_exit() == 0
    server.process.killed = True
    assert time.monotonic() - start < 5
    assert len([w for w in fake.writes("customruns") if w.succeeded == "True"]) == 20
    wait_until(lambda: fake.state()["watches"] == 0, what="the watches are closed")


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("VmRSS:")).split()[1])


def test_item_70_foreign_runs_cost_no_memory(make_fake, make_server):
    fake = make_fake()
    # A sanitizer keeps what was freed; here that would be taken for ours.
    server = make_server(fake=fake, env={"ASAN_OPTIONS": "quarantine_size_mb=1:detect_leaks=1"})
    settled(fake, server)
    pid = server.process.child.pid
    before = None
    for n in range(1500):
        fake.create("customruns", f"foreign{n}", {"customRef": {"apiVersion": "example.dev/v1", "kind": "Other"}},
                    metadata={"annotations": {"padding": "x" * 20000}})
        if n == 300:
            settled(fake, server, "warm")
            before = resident_kib(pid)
    settled(fake, server, "last")
    grown = resident_kib(pid) - before
    assert grown < 8192, f"{grown} KiB more after 24 MB of foreign Runs"
    assert {run["name"] for run in server.get("/runs").json()["waiting"]} == {"marker", "warm", "last"}
