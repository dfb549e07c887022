"""GET /metrics against traffic that is known, one by one; and against docs/metrics.md, in both directions."""

import os
import re
import socket
import subprocess
import time

import pytest
import yaml

import fes
from fes import V1, wait_until

US = "flux_event_store_"
FLUX = ("--on", "kustomizations", "--on", "helmreleases")
AGENT = "flux-event-store/"
SERIES = re.compile(r"([a-z_]+)(?:\{([^}]*)\})? (\S+)")
LABEL = re.compile(r'([a-z_]+)="([^"]*)"')


class Scrape:
    """The answer of GET /metrics. values: {(name, (label values...)): number}; types and labels by name."""

    def __init__(self, text):
        self.values, self.types, self.labels = {}, {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                name, kind = line.split(" ")[2:]
                assert name not in self.types, f"two families are named {name}"
                self.types[name], self.labels[name] = kind, {}
            elif not line.startswith("# HELP "):
                self._series(line)

    def _series(self, line):
        name, labels, value = SERIES.fullmatch(line).groups()
        labels = LABEL.findall(labels or "")
        key = (name, tuple(v for _, v in labels))
        assert key not in self.values, f"two lines are {key}"
        self.values[key] = float(value)
        for label, v in labels:
            if label != "le":
                self.labels[name].setdefault(label, []).append(v)

    def __getitem__(self, name):
        """scrape["records"], scrape["runs_finished_total", "failed"]"""
        name, *labels = (name,) if isinstance(name, str) else name
        return self.values[US + name, tuple(labels)]

    def since(self, before, name):
        """What a family counted since: {label value: number}, without those that counted nothing."""
        found = {}
        for (series, labels), value in self.values.items():
            grown = value - before.values.get((series, labels), 0)
            if series == US + name and grown:
                found[labels[0] if len(labels) == 1 else labels] = grown
        return found


def scrape(server):
    answer = server.get("/metrics")
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(answer.text)


def event(revision, reason="ReconciliationSucceeded", minute=0, name="apps"):
    return {"involvedObject": {"kind": "Kustomization", "namespace": "flux-system", "name": name},
            "severity": "info" if reason == "ReconciliationSucceeded" else "error", "reason": reason,
            "timestamp": f"2026-08-01T10:{minute:02}:00Z", "message": "m", "metadata": {"revision": revision}}


def send(server, head):
    """A request as bytes; returns the status of the answer."""
    with server.socket() as client:
        client.sendall(head)
        return int(client.recv(4096).split(b" ")[1])


# Events and commits

def test_events_and_commits(make_server):
    server = make_server()
    before = scrape(server)
    for body in (event("r1"), event("r1"), event("r1", minute=1), event("r1", minute=2), event("r2", "BuildFailed", 3),
                 event("r2", "BuildFailed", 3), event("r3", minute=4)):
        assert server.post(body).status == 200
    assert server.post(b"{").status == 400
    after = scrape(server)
    counted = {name: after[f"events_{name}_total"] for name in ("stored", "coalesced", "repeated")}
    assert counted == {"stored": 3, "coalesced": 2, "repeated": 2}
    assert after.since(before, "events_received_total") == {"webhook": 7}
    assert after.since(before, "events_refused_total") == {}
    assert after["store_records"] == 3 == len(server.get("/events").json())
    # Each event waited for its answer, so none shared a commit; what is repeated changes nothing and needs none.
    assert after["commit_seconds_count"] == after["commit_events_count"] == after["commit_events_sum"] == 5
    assert after["commit_events_bucket", "1"] == after["commit_events_bucket", "+Inf"] == 5
    assert 0 < after["commit_seconds_sum"] < fes.DEADLINE
    assert after["commits_failed_total"] == 0 and after["store_ready"] == 1 and after["store_queued_bytes"] == 0
    assert 0 < after["store_bytes"] < after["store_max_bytes"] == 1 << 30
    server.restart()
    again = scrape(server)
    assert again["store_records"] == 3 and again["events_stored_total"] == 0, "a counter begins with the process"


def test_events_deleted_by_age(make_server):
    server = make_server("--retention", "1s")
    for i in range(3):
        assert server.post({"reason": str(i)}).status == 200
    wait_until(lambda: scrape(server)["store_deleted_records_total", "age"] == 3, what="retention")
    after = scrape(server)
    assert after["store_records"] == 0 and after["store_deleted_records_total", "size"] == 0


# Requests

def test_requests_by_code_and_cause(make_server):
    server = make_server()
    before = scrape(server)
    sent = [send(server, b"%b HTTP/1.1\r\nHost: x\r\n%b\r\n" % request) for request in (
        (b"GET /nope", b""), (b"GET /events/99", b""), (b"DELETE /events", b""), (b"GET /events?nope=1", b""),
        (b"GET /metrics?x=1", b""), (b"POST /events", b"Transfer-Encoding: chunked\r\n"),
        (b"POST /events", b"Content-Length: 5242880\r\n"), (b"POST /events", b"Expect: x\r\nContent-Length: 1\r\n"),
        (b"GET /healthz", b"A: " + b"a" * (1 << 17) + b"\r\n"), (b"GET /healthz", b""))]
    sent.append(send(server, b"GET /healthz HTTP/3.0\r\nHost: x\r\n\r\n"))
    sent.append(send(server, b"GET\r\n\r\n"))
    assert sent == [404, 404, 405, 400, 400, 411, 413, 417, 431, 200, 505, 400]
    for body in (b"{", b"[]", b'{"reason":5}'):
        assert server.post(body).status == 400
    after = scrape(server)
    # 200: the one above, and the first scrape, which was not yet counted when it was made.
    assert after.since(before, "http_requests_total") == {
        "200": 2, "400": 6, "404": 2, "405": 1, "411": 1, "413": 1, "417": 1, "431": 1, "505": 1}
    assert after.since(before, "http_rejected_total") == {
        "not_found": 2, "method": 1, "bad_request": 2, "length_required": 1, "body_too_large": 1, "expectation": 1,
        "head_too_large": 1, "http_version": 1, "malformed_head": 1, "bad_event": 3}


def test_a_refused_request_is_logged_with_its_path(make_server):
    server = make_server()
    assert server.get("/" + "y" * 500 + "?revision=a").status == 404
    assert server.request("PUT", "/healthz").status == 405
    assert server.get("/wait?revision=").status == 400
    assert server.post([]).status == 400
    wanted = {"not_found": "/" + "y" * 127, "method": "/healthz", "bad_request": "/wait", "bad_event": "/events"}
    lines = [line for line in server.logs() if line.get("msg") == "request refused"]
    assert {line["cause"]: line["path"] for line in lines} == wanted, lines
    assert {line["client"] for line in lines} == {"127.0.0.1"}, lines


@pytest.mark.parametrize("listen,bound,host,client", [
    (":0", "[::]:", "127.0.0.1", "127.0.0.1"), (":0", "[::]:", "::1", "::1"), ("[::1]:0", "[::1]:", "::1", "::1"),
    ("127.0.0.2:0", "127.0.0.2:", "127.0.0.2", "127.0.0.1")])
def test_who_was_refused(make_server, tmp_path, listen, bound, host, client):
    """By a handler, for its credentials, and before there was a request."""
    (tmp_path / "token").write_text("secret")
    server = make_server("--read-token-file", str(tmp_path / "token"), "--listen", listen)
    addresses = [line["address"] for line in server.logs() if line.get("msg") == "listening"]
    [port] = [int(address.removeprefix(bound)) for address in addresses if address.startswith(bound)]

    def refused(head, status):
        def asked():
            with socket.create_connection((host, port), fes.DEADLINE) as connection:
                connection.sendall(head)
                return connection.recv(4096).split(b" ")[1] == status
        wait_until(asked, what=f"{status} to {head}")
    refused(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{", b"400")
    refused(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n", b"401")
    refused(b"nonsense\r\n\r\n", b"400")
    lines = {line["cause"]: line.get("client") for line in server.logs() if line.get("msg", "").startswith("request ")}
    assert lines.items() >= {"bad_event": client, "no_credentials": client, "malformed_head": client}.items(), lines


def test_denied_requests_and_open_metrics(make_server, tmp_path):
    (tmp_path / "token").write_text("secret")
    (tmp_path / "key").write_text("key")
    server = make_server("--post-token-file", str(tmp_path / "token"), "--hmac-key-file", str(tmp_path / "key"))
    before = scrape(server)  # needs no credentials
    for headers in ({}, {}, {"Authorization": "Bearer wrong"}, {"X-Signature": "nonsense"},
                    {"X-Signature": "sha256=" + "0" * 64}):
        assert server.post({"reason": "x"}, headers).status == 401
    after = scrape(server)
    assert after.since(before, "http_rejected_total") == {
        "no_credentials": 2, "wrong_token": 1, "malformed_signature": 1, "wrong_signature": 1}
    assert after.since(before, "http_requests_total") == {"200": 1, "401": 5}
    assert after["events_received_total", "webhook"] == 0


def test_connections_and_waiting_clients(make_server):
    server = make_server()
    with server.socket() as waits, server.socket() as streams, server.socket():
        waits.sendall(b"GET /wait?revision=r HTTP/1.1\r\nHost: x\r\n\r\n")
        streams.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
        def all_seen():
            now = scrape(server)
            return (now["http_connections"], now["wait_clients"], now["stream_clients"]) == (4, 1, 1)
        wait_until(all_seen, what="three connections and the scraper's own")
    def alone():
        now = scrape(server)
        return (now["http_connections"], now["wait_clients"], now["stream_clients"]) == (1, 0, 0)
    wait_until(alone, what="the scraper's own connection")


def test_one_line_a_second_for_each_cause(make_server):
    server = make_server()

    def lines(cause):
        return [line for line in server.logs() if line.get("cause") == cause]

    def told():
        return len(lines("bad_event")), len(lines("not_found"))

    end = time.monotonic() + 2.2
    sent, before, after = 0, (0, 0), (0, 0)
    # Until there were three, and the last of each had none of its own.
    while time.monotonic() < end or min(after) < 3 or any(b != a for b, a in zip(before, after)):
        before = told()
        assert server.post(b"{").status == 400
        assert server.get("/nope").status == 404
        sent, after = sent + 1, told()
        assert time.monotonic() < end + fes.DEADLINE, server.tail()
    dropped = 0
    for cause in ("bad_event", "not_found"):
        seen = [line for line in lines(cause) if "path" in line]
        times = [fes.instant(line["time"]) for line in seen]
        # The two clocks differ by less than a millisecond's rounding each.
        assert min(b - a for a, b in zip(times, times[1:])) >= 0.99, seen
        assert seen[0]["requests"] == 1 and sent > 2 * len(seen), "nothing was held back"
        dropped += sent - len(seen)
        # What was held back is told though no other comes.
        wait_until(lambda cause=cause: sum(line["requests"] for line in lines(cause)) == sent, what="the rest")
        assert "no line of their own" in lines(cause)[-1]["error"] and "path" not in lines(cause)[-1]
    after = scrape(server)
    assert after["log_lines_dropped_total"] == dropped
    assert after["http_rejected_total", "bad_event"] + after["http_rejected_total", "not_found"] == 2 * sent


def test_the_rest_is_told_at_the_end(make_server):
    server = make_server()
    for _ in range(5):
        assert server.get("/nope").status == 404
    assert server.terminate() == 0
    assert sum(line["requests"] for line in server.logs() if line.get("cause") == "not_found") == 5
    assert server.logs()[-1]["msg"] == "stopped"


# Runs

@pytest.mark.parametrize("resource", ["runs", "customruns"])
def test_runs_by_verdict(fake, server, resource):
    create = fake.create_run if resource == "runs" else fake.create_customrun
    for name in ("good", "bad", "stopped"):
        create(name, name, ref=V1)
        fake.wait_condition(resource, name, "Unknown", "Waiting")
    assert scrape(server)["runs_waiting"] == 3
    sent = time.monotonic()
    assert server.post(event("good")).status == 200
    assert server.post(event("bad", "BuildFailed", name="other")).status == 200
    fake.wait_condition(resource, "good", "True")
    fake.wait_condition(resource, "bad", "False")
    wait_until(lambda: scrape(server)["event_to_run_seconds_count"] == 2, what="the answers to both writes")
    took = time.monotonic() - sent  # to those answers: that is what the server measures
    wait_until(lambda: scrape(server)["runs_waiting"] == 1, what="two have ended")
    live = scrape(server)
    assert live["event_to_run_seconds_count"] == 2
    assert 0 <= live["event_to_run_seconds_sum"] <= 2 * took + 0.002, "times of arrival are whole milliseconds"
    # These have no event whose way could be measured: stored before, cancelled, timed out, rejected.
    create("late", "good", ref=V1)
    fake.wait_condition(resource, "late", "True")
    fake.patch(resource, "stopped", {"spec": {"status": "RunCancelled"}})
    fake.wait_condition(resource, "stopped", "False")
    create("slow", "never", ref=V1, params=[("timeout", "1s")])
    create("wrong", "never", ref=V1, params=[("timeout", "soon")])
    fake.wait_condition(resource, "slow", "False")
    fake.wait_condition(resource, "wrong", "False")
    wait_until(lambda: scrape(server)["runs_waiting"] == 0, what="all have ended")
    wait_until(lambda: sum(scrape(server).since(Scrape(""), "runs_finished_total").values()) == 6, what="all are counted")
    after = scrape(server)
    assert {v: after["runs_finished_total", v] for v in after.labels[US + "runs_finished_total"]["verdict"]} == {
        "succeeded": 2, "failed": 1, "cancelled": 1, "timedout": 1, "rejected": 1, "superseded": 0}
    assert after["event_to_run_seconds_count"] == 2
    assert after["event_to_run_seconds_sum"] == live["event_to_run_seconds_sum"]


def test_slow_writes_are_in_the_event_to_run_time(fake, server):
    fake.create_customrun("slow", "r")
    fake.wait_condition("customruns", "slow", "Unknown", "Waiting")
    fake.fault("delay", method="PATCH", path="/customruns/slow/status", delay_ms=300)
    assert server.post(event("r")).status == 200
    wait_until(lambda: scrape(server)["event_to_run_seconds_count"] == 1, what="the Run ended")
    after = scrape(server)
    assert after["event_to_run_seconds_sum"] >= 0.299
    assert after["event_to_run_seconds_bucket", "0.25"] == 0


def test_a_run_that_is_parked_and_deleted(fake, server):
    fake.fault("status", method="PATCH", path="/customruns/denied/status", status=422, times=-1)
    fake.create_customrun("denied", "r")
    wait_until(lambda: scrape(server)["runs_parked"] == 1, what="parked")
    assert scrape(server)["kube_requests_total", "patch", "422"] == 1
    fake.delete("customruns", "denied")
    wait_until(lambda: scrape(server)["runs_parked"] == 0, what="parked no more")
    assert scrape(server)["runs_waiting"] == 0


def test_conflicts(fake, server):
    fake.fault("status", method="PATCH", path="/customruns/torn/status", status=409, times=2)
    fake.create_customrun("torn", "r")
    fake.wait_condition("customruns", "torn", "Unknown", "Waiting")
    after = scrape(server)
    assert after["runs_conflicts_total"] == after["kube_requests_total", "patch", "409"] == 2


# The API server

def asked(fake):
    """What the fake API server was asked by the product, as the metric counts it."""
    found = {}
    for entry in fake.log():
        if not entry["userAgent"].startswith(AGENT):
            continue
        path, _, query = entry["target"].partition("?")
        verb = {"PATCH": "patch", "POST": "create"}.get(entry["method"]) or (
            "watch" if "watch=1" in query else "list" if path.rsplit("/", 1)[1] in fes.PREFIX else "get")
        key = (verb, str(entry["status"]))
        found[key] = found.get(key, 0) + 1
    return found


def test_kube_requests(fake, server):
    fake.fault("status", method="PATCH", path="/customruns/b/status", status=409, times=1)
    for name in ("a", "b"):
        fake.create_customrun(name, name)
        fake.wait_condition("customruns", name, "Unknown", "Waiting")
    server.post(event("a"))
    fake.wait_condition("customruns", "a", "True")
    nothing = Scrape("")
    wait_until(lambda: asked(fake).get(("create", "201"), 0) >= 3, what="an Event for each write")
    def equal():
        seen = scrape(server).since(nothing, "kube_requests_total")
        return seen == asked(fake) or None
    wait_until(equal, what=f"{scrape(server).since(nothing, 'kube_requests_total')} are {asked(fake)}")
    seen = asked(fake)
    assert seen["patch", "200"] == 3 and seen["patch", "409"] == 1, seen
    wait_until(lambda: scrape(server)["kube_pending_requests"] == 0, what="nothing is under way")
    after = scrape(server)
    assert after["kube_reachable"] == 1 and after["kube_connects_total"] > 0


def test_an_api_server_that_is_away(fake, server):
    fake.create_customrun("a", "a")
    fake.wait_condition("customruns", "a", "Unknown", "Waiting")
    fake.pause(60_000)  # longer than it takes to see it; ended below
    fake.drop("all")
    server.post(event("a"))
    wait_until(lambda: scrape(server)["kube_reachable"] == 0, what="it is seen to be away")
    away = scrape(server)
    assert away["watch_age_seconds", "runs"] == away["watch_age_seconds", "customruns"] == 0, "the streams are gone"
    fake.pause(1)
    wait_until(lambda: scrape(server)["kube_reachable"] == 1, what="it is seen to be back")
    fake.wait_condition("customruns", "a", "True")
    after = scrape(server)
    assert sum(value for (name, labels), value in after.values.items()
               if name == US + "kube_requests_total" and labels[1] == "none") > 0
    wait_until(lambda: scrape(server)["runs_finished_total", "succeeded"] == 1, what="counted")
    assert scrape(server)["event_to_run_seconds_count"] == 1


def test_watches(make_fake, make_server):
    fake = make_fake("--on", "kustomizations")
    server = make_server(fake=fake)
    names = ("runs", "customruns", "kustomizations", "helmreleases")

    def watch(metric):
        now = scrape(server)
        return [now["watch_" + metric, name] for name in names]

    wait_until(lambda: watch("absent") == [0, 0, 0, 1] and watch("synced") == [1, 1, 1, 0], what="in step")
    assert watch("lists_total")[:3] == [1, 1, 1] and watch("restarts_total") == [0, 0, 0, 0]
    wait_until(lambda: min(watch("age_seconds")[:3]) > 0.2, what="streams that grow old")
    assert watch("age_seconds")[3] == 0
    old = watch("age_seconds")
    fake.drop("watches")
    wait_until(lambda: watch("restarts_total") == [1, 1, 1, 0], what="streams of their own again")
    wait_until(lambda: watch("synced") == [1, 1, 1, 0], what="in step again")
    assert watch("lists_total")[:3] == [1, 1, 1], "an end of a stream needs no list"
    assert min(old[:3]) > 0.2
    fake.create_customrun("x", "x")
    fake.compact()
    fake.drop("watches")
    wait_until(lambda: sum(watch("lists_total")[:3]) > 3 and watch("synced") == [1, 1, 1, 0], what="listed again")
    fake.serve("runs", False)
    # That it stays away is believed after half a minute; that there is no stream shows at once.
    wait_until(lambda: (watch("synced"), watch("age_seconds")[0]) == ([0, 1, 1, 0], 0), what="runs are gone")


# The text

def test_head(server):
    answer = server.request("HEAD", "/metrics")
    assert answer.status == 200 and answer.body == b""
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(answer.headers["Content-Length"]) > 10000
    answer = server.request("POST", "/metrics", "")
    assert answer.status == 405 and "GET" in answer.headers["Allow"]


def promtool(command, text):
    found = subprocess.run([os.path.join(fes.ROOT, "test/debian.sh"), "prometheus", "usr/bin/promtool"], check=True,
                           capture_output=True, text=True, timeout=300).stdout.strip()  # the first time it is downloaded
    return subprocess.run([found, *command], input=text, capture_output=True, text=True, timeout=fes.DEADLINE)


def everything(make_fake, make_server):
    """A server whose every metric has a series."""
    fake = make_fake(*FLUX)
    server = make_server(fake=fake)
    fake.create_customrun("a", "a")
    fake.wait_condition("customruns", "a", "Unknown", "Waiting")
    server.post(event("a"))
    fake.wait_condition("customruns", "a", "True")
    return server


def test_promtool_has_nothing_to_say(make_fake, make_server):
    text = everything(make_fake, make_server).get("/metrics").text
    done = promtool(["check", "metrics"], text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    # It would say so.
    done = promtool(["check", "metrics"], text + "# HELP fes_x_count X.\n# TYPE fes_x_count counter\nfes_x_count 1\n")
    assert done.returncode != 0 and "fes_x_count" in done.stdout + done.stderr, done


def documented():
    """The tables of docs/metrics.md, one list of cells for each row."""
    with open(os.path.join(fes.ROOT, "docs/metrics.md"), encoding="utf-8") as file:
        rows = [line for line in file.read().splitlines() if line.startswith("| ")]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_the_document_names_every_metric_and_no_other(make_fake, make_server):
    seen = scrape(everything(make_fake, make_server))
    rows = {row[0].strip("`"): row for row in documented() if row[1] in ("counter", "gauge", "histogram")}
    assert sorted(rows) == sorted(seen.types)
    for name, (_, kind, labels, meaning) in rows.items():
        assert kind == seen.types[name] and meaning, name
        told = dict(re.findall(r"`([a-z]+)`(?:: ([a-z_, ]+))?", labels))
        assert sorted(told) == sorted(seen.labels[name]), name
        for label, values in told.items():
            if values and name != US + "kube_requests_total":
                assert values.split(", ") == seen.labels[name][label], (name, label)
            elif values:
                assert set(values.split(", ")) >= set(seen.labels[name][label]), (name, label)
    causes = [cause for row in documented() if re.fullmatch(r"\d{3}", row[1]) for cause in re.findall(r"`(\w+)`", row[0])]
    assert sorted(causes) == sorted(seen.labels[US + "http_rejected_total"]["cause"])


ALERTS = os.path.join(fes.ROOT, "chart/files/alerts.yaml")


def alerts():
    with open(ALERTS, encoding="utf-8") as file:
        return [rule for group in yaml.safe_load(file)["groups"] for rule in group["rules"]]


def test_the_alerts_are_expressions_of_metrics_there_are(make_fake, make_server):
    seen = scrape(everything(make_fake, make_server))
    rules = alerts()
    assert len(rules) > 10
    for rule in rules:
        for name in re.findall(US + r"[a-z_]+", rule["expr"]):
            assert re.sub("_bucket$", "", name) in seen.types, name
        for name, label, values in re.findall("(" + US + r'[a-z_]+)\{(?:[^}]*,\s*)?(cause|resource|via)=~?"([^"]*)"', rule["expr"]):
            assert set(values.split("|")) <= set(seen.labels[name][label]), rule
    done = promtool(["check", "rules", ALERTS], "")
    assert done.returncode == 0 and f"{len(rules)} rules found" in done.stdout, done


def test_the_document_lists_the_alerts_of_the_chart():
    rules = alerts()
    listed = [row[:3] for row in documented() if row[0].startswith("`FluxEventStore")]
    assert listed == [[f"`{rule['alert']}`", rule["labels"]["severity"], rule["for"]] for rule in rules]
    assert all(row[3] for row in documented() if row[0].startswith("`FluxEventStore"))
