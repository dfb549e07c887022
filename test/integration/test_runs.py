"""Runs, from first sight to the end: the binary, events by HTTP, a fake API server over TLS."""

import json

import pytest

from fes import V0, V1, golden, wait_until

SHA = "5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
KINDS = ("runs", "customruns")


def minimal(revision, reason):
    return {"metadata": {"revision": revision}, "timestamp": "0001-01-01T00:01:00Z", "reason": reason}


def create(fake, resource, name, revision, **options):
    return (fake.create_run if resource == "runs" else fake.create_customrun)(name, revision, **options)


def stored(server, event):
    answer = server.post(event)
    assert answer.status == 200, answer
    return answer.json()["id"]


def results(run):
    return {r["name"]: r["value"] for r in run["status"]["results"]}


def test_first_story_a_fails(fake, server):
    fake.create_run("wait-for-a", "a")
    waiting = fake.wait_condition("runs", "wait-for-a", "Unknown", "Waiting")
    assert waiting["status"]["startTime"] and "completionTime" not in waiting["status"]
    stored(server, minimal("a", "BuildFailed"))
    run = fake.wait_condition("runs", "wait-for-a", "False", "ReconciliationFailed")
    assert run["status"]["completionTime"] >= run["status"]["startTime"]
    message = run["status"]["conditions"][0]["message"]
    assert message.startswith("The revision failed to reconcile. Reason: 'BuildFailed'. Message: ''"), message


def test_second_story_b_succeeds(fake, server):
    fake.create_run("wait-for-b", "b")
    fake.wait_condition("runs", "wait-for-b", "Unknown", "Waiting")
    stored(server, minimal("b", "ReconciliationSucceeded"))
    run = fake.wait_condition("runs", "wait-for-b", "True", "ReconciliationSuceeded")
    assert run["status"]["conditions"][0]["message"].startswith("The revision has been reconciled.")


@pytest.mark.parametrize("revision", [SHA, SHA[:7], SHA.upper(), f"main@sha1:{SHA}", f"main/{SHA}"])
def test_customrun_waits_for_a_commit(fake, server, revision):
    fake.create_customrun("commit", revision)
    fake.wait_condition("customruns", "commit", "Unknown", "Waiting")
    identity = stored(server, golden("01-ks-success.json"))
    run = fake.wait_condition("customruns", "commit", "True", "ReconciliationSucceeded")
    got = results(run)
    assert set(got) == {"verdict", "revision", "object", "reason", "message", "timestamp", "supersededBy", "eventId"}
    assert got["verdict"] == "succeeded" and got["eventId"] == identity
    assert got["object"] == "Kustomization/flux-system/apps"
    assert got["revision"] == f"main@sha1:{SHA}" and got["timestamp"] == "2026-08-01T10:00:12Z"
    assert all(isinstance(value, str) for value in got.values())
    assert sum(len(value) for value in got.values()) < 4096


@pytest.mark.parametrize("resource", KINDS)
def test_item_18_event_before_its_run_completes_it_in_one_write(fake, server, resource):
    stored(server, golden("01-ks-success.json"))
    create(fake, resource, "late", SHA, ref=V1)
    run = fake.wait_condition(resource, "late", "True", "ReconciliationSucceeded")
    assert run["status"]["startTime"] <= run["status"]["completionTime"]
    statuses = [w for w in fake.writes(resource, "late") if w.reason not in ("-", "")]
    assert len(statuses) == 1, statuses


@pytest.mark.parametrize("resource", KINDS)
def test_item_25_restart_while_waiting_keeps_start_time(fake, server, resource):
    create(fake, resource, "patient", "r-1", ref=V1)
    before = fake.wait_condition(resource, "patient", "Unknown", "Waiting")
    server.kill9()
    server.restart()
    stored(server, minimal("r-1", "ReconciliationSucceeded"))
    after = fake.wait_condition(resource, "patient", "True", "ReconciliationSucceeded")
    assert after["status"]["startTime"] == before["status"]["startTime"]


def test_item_26_event_acknowledged_before_a_kill_finishes_the_run_after_it(fake, server):
    fake.fault("status", method="PATCH", path="/status", times=-1, status=503)
    create(fake, "customruns", "cut", "r-2")
    wait_until(lambda: fake.log(method="PATCH"), what="a PATCH was tried")
    stored(server, minimal("r-2", "ReconciliationSucceeded"))
    server.kill9()
    fake.clear_faults()
    server.restart()
    fake.wait_condition("customruns", "cut", "True", "ReconciliationSucceeded")


@pytest.mark.parametrize("resource,reason", [("runs", "RunCancelled"), ("customruns", "CustomRunCancelled")])
def test_item_31_32_cancel(fake, server, resource, reason):
    create(fake, resource, "stop-me", "never", ref=V1)
    fake.wait_condition(resource, "stop-me", "Unknown", "Waiting")
    fake.patch(resource, "stop-me", {"spec": {"status": "RunCancelled"}})
    fake.wait_condition(resource, "stop-me", "False", reason)
    stored(server, minimal("never", "ReconciliationSucceeded"))
    create(fake, resource, "after", "never", ref=V1)
    fake.wait_condition(resource, "after", "True")
    assert fake.condition(resource, "stop-me")["reason"] == reason, "a finished Run was written again"


def test_item_38_39_timeouts(fake, server):
    fake.create_customrun("spec", "never", spec={"timeout": "1s"})
    fake.create_run("param", "never", ref=V1, params=[("timeout", "1s")])
    fake.create_customrun("wrong", "never", spec={"timeout": "-1m"})
    fake.wait_condition("customruns", "spec", "False", "CustomRunTimedOut")
    fake.wait_condition("runs", "param", "False", "RunTimedOut")
    fake.wait_condition("customruns", "wrong", "False", "InvalidTimeout")


def test_item_37_default_timeout(fake, make_server):
    make_server("--default-timeout", "1s", fake=fake)
    fake.create_customrun("default", "never")
    fake.wait_condition("customruns", "default", "False", "CustomRunTimedOut")


@pytest.mark.parametrize("resource", KINDS)
def test_item_5_13_rejected(fake, server, resource):
    create(fake, resource, "unknown-param", "r", ref=V1, params=[("revsion", "x")])
    run = fake.wait_condition(resource, "unknown-param", "False", "UnexpectedParams")
    assert "revsion" in run["status"]["conditions"][0]["message"]
    key = "ref" if resource == "runs" else "customRef"
    fake.create(resource, "named", {key: {"apiVersion": V1, "kind": "FluxDeploymentWait", "name": "x"},
                                    "params": [{"name": "revision", "value": "r"}]})
    fake.wait_condition(resource, "named", "False", "UnexpectedName")


def test_item_1_foreign_runs_are_left_alone(fake, server):
    fake.create("runs", "foreign", {"ref": {"apiVersion": "example.dev/v1", "kind": "FluxDeploymentWait"}})
    fake.create("runs", "case", {"ref": {"apiVersion": V0, "kind": "fluxdeploymentwait"}})
    fake.create_run("ours", "r")
    fake.wait_condition("runs", "ours", "Unknown", "Waiting")
    assert not fake.condition("runs", "foreign") and not fake.condition("runs", "case")


def test_item_23_a_thousand_runs_one_event(fake, server):
    for i in range(1000):
        fake.create_customrun(f"w{i}", "shared")
    def count(status):
        return sum(1 for item in fake.list("customruns")["items"]
                   if ((item.get("status") or {}).get("conditions") or [{}])[0].get("status") == status)
    wait_until(lambda: count("Unknown") == 1000, deadline=60, what="1000 waiting")
    stored(server, minimal("shared", "ReconciliationSucceeded"))
    wait_until(lambda: count("True") == 1000, deadline=60, what="1000 done")
    finished = [w for w in fake.writes("customruns") if w.succeeded == "True"]
    assert len(finished) == 1000, "some Run was finished twice"


def test_kubernetes_events_tell_the_transitions(fake, server):
    fake.create_customrun("told", "r-9")
    fake.wait_condition("customruns", "told", "Unknown", "Waiting")
    stored(server, minimal("r-9", "BuildFailed"))
    fake.wait_condition("customruns", "told", "False", "ReconciliationFailed")
    def told():
        events = [e for e in fake.list("events", namespace="default")["items"]
                  if e["involvedObject"]["name"] == "told"]
        return {e["reason"]: e["type"] for e in events}
    wait_until(lambda: told() == {"Waiting": "Normal", "ReconciliationFailed": "Warning"}, what="two Events")


def test_item_52_conflict_is_decided_again(fake, server):
    fake.fault("status", method="PATCH", path="/status", times=2, status=409,
               body=json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict",
                                "code": 409, "message": "the object has been modified"}))
    fake.create_customrun("contested", "r-3")
    fake.wait_condition("customruns", "contested", "Unknown", "Waiting")
    stored(server, minimal("r-3", "ReconciliationSucceeded"))
    fake.wait_condition("customruns", "contested", "True", "ReconciliationSucceeded")


def test_item_66_neither_crd_is_served(make_fake, make_server):
    fake = make_fake("--off", "runs", "--off", "customruns")
    server = make_server(fake=fake)
    parts = server.get("/readyz").json()
    assert parts["store"]["ready"] is True and parts["runs"]["ready"] is False, parts


def test_namespaced(make_server, fake):
    make_server("--namespace", "team-a", "--namespace", "team-b", fake=fake)
    for namespace in ("team-a", "team-b", "team-c"):
        fake.create_customrun("mine", "r", namespace=namespace)
    for namespace in ("team-a", "team-b"):
        fake.wait_condition("customruns", "mine", "Unknown", "Waiting", namespace=namespace)
    assert not fake.condition("customruns", "mine", namespace="team-c")
    assert not [r for r in fake.log(method="GET") if r["target"].startswith("/apis/tekton.dev/v1beta1/customruns")]


def test_item_7_further_refs(make_server, fake):
    make_server("--ref", "example.dev/v2/Wait", fake=fake)
    fake.create("customruns", "aliased", {"customRef": {"apiVersion": "example.dev/v2", "kind": "Wait"},
                                          "params": [{"name": "revision", "value": "r"}]})
    fake.wait_condition("customruns", "aliased", "Unknown", "Waiting")


def test_plain_api_server_as_kubectl_proxy_gives_it(make_fake, make_server):
    fake = make_fake("--plain")
    make_server(fake=fake)
    fake.create_customrun("plain", "r")
    fake.wait_condition("customruns", "plain", "Unknown", "Waiting")


def test_item_69_shutdown_and_restart_finish_the_run(fake, server):
    fake.create_customrun("bye", "r-4")
    fake.wait_condition("customruns", "bye", "Unknown", "Waiting")
    stored(server, minimal("r-4", "ReconciliationSucceeded"))
    assert server.terminate(deadline=6) == 0
    server.restart()
    fake.wait_condition("customruns", "bye", "True")
    assert json.loads(server.get("/events/1").body)["id"] == "1"
