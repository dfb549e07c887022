"""What the integration tests share: the two processes, an HTTP client, waiting on a condition.

    Fake    build/test/fake-apiserver (FES_FAKE)   the API server of the tests; test/fake/README.md says what it can
    Server  build/flux-event-store   (FES_BINARY)  the product

Standard library only. Nothing here sleeps for a fixed time and then looks: wait_until() looks until a deadline.
"""

import collections
import ctypes
import datetime
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FAKE_BINARY = os.path.abspath(os.environ.get("FES_FAKE", os.path.join(ROOT, "build/test/fake-apiserver")))
PLAIN_BINARY = os.path.join(ROOT, "build/flux-event-store")  # without sanitizers, whatever is tested
SERVER_BINARY = os.path.abspath(os.environ.get("FES_BINARY", PLAIN_BINARY))

# Sanitizer builds on a loaded machine are slow; a test that passes never waits this long.
DEADLINE = float(os.environ.get("FES_DEADLINE", "20"))

# landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION), by its number on every architecture; -1: none
LANDLOCK = ctypes.CDLL(None).syscall(444, None, 0, 1)

MERGE_PATCH = "application/merge-patch+json"
PREFIX = {
    "runs": ("/apis/tekton.dev/v1alpha1", "tekton.dev/v1alpha1", "Run"),
    "customruns": ("/apis/tekton.dev/v1beta1", "tekton.dev/v1beta1", "CustomRun"),
    "events": ("/api/v1", "v1", "Event"),
    "kustomizations": ("/apis/kustomize.toolkit.fluxcd.io/v1", "kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
    "helmreleases": ("/apis/helm.toolkit.fluxcd.io/v2", "helm.toolkit.fluxcd.io/v2", "HelmRelease"),
}
V0 = "github.com/janakerman/flux-event-store/v0"
V1 = "flux-event-store.dev/v1"


def wait_until(condition, deadline=DEADLINE, what=None):
    """Returns the first true value of condition(); fails with the last false one after `deadline` seconds."""
    end = time.monotonic() + deadline
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            name = what or getattr(condition, "__name__", "condition")
            raise AssertionError(f"not within {deadline} s: {name}; last seen: {value!r}")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def schedstat(task):
    """Seconds for which a task (its folder below /proc) ran, and for which it was ready to and another had the processor."""
    with open(f"{task}/schedstat", encoding="ascii") as file:
        ran, waited = file.read().split()[:2]
    return int(ran) / 1e9, int(waited) / 1e9


def tasks(process):
    """The folders of a Process's threads."""
    folder = f"/proc/{process.child.pid}/task"
    return [f"{folder}/{task}" for task in os.listdir(folder)]


def cpu_seconds(server):
    """Processor time of all threads, in nanoseconds' grain."""
    return sum(schedstat(task)[0] for task in tasks(server.process))


def instant(text):
    """Seconds since 1970 of an RFC 3339 time, as log lines and events have it."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


RUNNING = []  # every Process that was started


def kept_waiting():
    """Seconds for which the main thread of each process was ready to run, and another had the processor."""
    RUNNING[:] = [process for process in RUNNING if process.child.poll() is None]
    return {process.child.pid: schedstat(f"/proc/{process.child.pid}")[1] for process in RUNNING}


def net_seconds(condition, deadline=DEADLINE, what=None):
    """Seconds until condition() is true, less those in which the machine was busy elsewhere.

    condition asks the fake API server only, which takes milliseconds: where a look or a pause took much longer, nobody had
    the processor, and what is measured had not either. The kernel knows how long the product and the fake API server, one
    of which waits for the other, could have run and were not let.
    """
    start, stolen, before = time.monotonic(), 0.0, kept_waiting()
    while True:
        looked = time.monotonic()
        value = condition()
        if value:
            lost = sum(seconds - before.get(pid, seconds) for pid, seconds in kept_waiting().items())
            return max(0.0, time.monotonic() - start - max(stolen, lost))
        assert looked - start < deadline, f"not within {deadline} s: {what or 'condition'}; last seen: {value!r}"
        time.sleep(0.01)
        stolen += max(0.0, time.monotonic() - looked - 0.06)


class Stopwatch:
    """Seconds since it was made, less those in which the server or this thread could have run and had no processor.

    For what the server itself does: net_seconds() would take a server that is slow to answer for a machine that is.
    """

    def __init__(self, server):
        self.process, self.own = server.process, f"/proc/self/task/{threading.get_native_id()}"
        self.start, self.before = time.monotonic(), self._lost()

    def _lost(self):
        return sum(schedstat(task)[1] for task in [*tasks(self.process), self.own])

    def seconds(self):
        now = time.monotonic()
        return now - self.start - (self._lost() - self.before)


def golden(name):
    """The bytes of test/golden/flux/NAME."""
    with open(os.path.join(ROOT, "test/golden/flux", name), "rb") as file:
        return file.read()


class Answer:
    """An HTTP answer, read to its end."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:400]!r}>"


class Process:
    """A child with its stderr in a file. `expect_exit` is what stop() accepts."""

    def __init__(self, name, command, log_path, env=None):
        self.name = name
        self.command = command
        self.log_path = log_path
        self.expect_exit = 0
        self.killed = False
        with open(log_path, "ab") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        RUNNING.append(self)

    def stderr(self):
        with open(self.log_path, "r", encoding="utf-8", errors="replace") as log:
            return log.read()

    def tail(self, lines=40):
        state = "running" if self.child.poll() is None else f"exited {self.child.returncode}"
        last = self.stderr().splitlines()[-lines:]
        return "\n".join([f"$ {' '.join(self.command)}   ({state})"] + last)

    def signal(self, number):
        if self.child.poll() is None:
            self.child.send_signal(number)

    def wait_exit(self, deadline=DEADLINE):
        try:
            return self.child.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not exit within {deadline} s\n{self.tail()}") from None

    def kill9(self):
        self.killed = True
        self.signal(signal.SIGKILL)
        self.child.wait()

    def stop(self, deadline=DEADLINE):
        """SIGTERM, and the exit code must be the expected one (a sanitizer's report is not)."""
        if self.killed:
            return
        self.signal(signal.SIGTERM)
        try:
            code = self.wait_exit(deadline)
        finally:
            if self.child.poll() is None:
                self.kill9()
        self.killed = True
        assert code == self.expect_exit, f"{self.name} exited {code}, not {self.expect_exit}\n{self.tail()}"


Write = collections.namedtuple("Write", "ms object version type succeeded reason")


class Fake:
    """The fake API server. `dir` gets its CA, token and port (see test/fake/README.md)."""

    def __init__(self, directory, *flags):
        self.dir = str(directory)
        os.makedirs(self.dir, exist_ok=True)
        self.plain = "--plain" in flags
        self.process = Process("fake-apiserver", [FAKE_BINARY, "--dir", self.dir, *flags],
                               os.path.join(self.dir, "stderr.log"))
        wait_until(lambda: os.path.exists(os.path.join(self.dir, "ready")) or self.process.child.poll() is not None,
                   what="fake-apiserver ready")
        assert self.process.child.poll() is None, self.process.tail()
        with open(os.path.join(self.dir, "info"), encoding="utf-8") as file:
            info = dict(line.split(" ", 1) for line in file.read().splitlines())
        self.url = info["url"]
        self.port = int(info["port"])
        self.ca_file = os.path.join(self.dir, "ca.crt")
        self.other_ca_file = os.path.join(self.dir, "other-ca.crt")
        self.token_file = os.path.join(self.dir, "token")
        self.control_token = self.token()
        self._control = None
        self._control_used = 0.0

    # The wire

    def token(self):
        with open(self.token_file, encoding="utf-8") as file:
            return file.read()

    def connect(self, verify=False, ca_file=None, timeout=DEADLINE):
        """A new http.client connection. Unverified by default: most tests are not about TLS."""
        if self.plain:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        if verify:
            context = ssl.create_default_context(cafile=ca_file or self.ca_file)
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=context)

    def send(self, connection, method, path, body=None, token=None, content_type=None, headers=None):
        """One request on this connection; returns the http.client response, unread."""
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        all_headers = {"Authorization": "Bearer " + (token or self.token()), "Accept": "application/json"}
        if body is not None:
            all_headers["Content-Type"] = content_type or "application/json"
        all_headers.update(headers or {})
        connection.request(method, path, body, all_headers)
        return connection.getresponse()

    def request(self, method, path, body=None, **options):
        connection = self.connect()
        try:
            return Answer(self.send(connection, method, path, body, **options))
        finally:
            connection.close()

    # The API

    def path(self, resource, name=None, namespace="default", status=False):
        path = PREFIX[resource][0]
        path += f"/namespaces/{namespace}" if namespace else ""
        path += "/" + resource
        path += "/" + urllib.parse.quote(name, safe="") if name else ""
        return path + ("/status" if status else "")

    def create(self, resource, name, spec=None, namespace="default", metadata=None, **members):
        """POSTs an object and returns it as stored."""
        body = {"apiVersion": PREFIX[resource][1], "kind": PREFIX[resource][2],
                "metadata": {"name": name, **(metadata or {})}, **members}
        if spec is not None:
            body["spec"] = spec
        answer = self.request("POST", self.path(resource, namespace=namespace), body)
        assert answer.status == 201, answer
        return answer.json()

    def create_run(self, name, revision, ref=V0, params=None, **options):
        """A Run (v1alpha1) of ours; params: further (name, value) pairs."""
        return self.create("runs", name, {
            "ref": {"apiVersion": ref, "kind": "FluxDeploymentWait"},
            "params": [{"name": "revision", "value": revision}] + [dict(name=n, value=v) for n, v in params or []],
        }, **options)

    def create_customrun(self, name, revision, ref=V1, params=None, spec=None, **options):
        """A CustomRun (v1beta1) of ours; spec: further members, such as timeout or retries."""
        return self.create("customruns", name, {
            "customRef": {"apiVersion": ref, "kind": "FluxDeploymentWait"},
            "params": [{"name": "revision", "value": revision}] + [dict(name=n, value=v) for n, v in params or []],
            **(spec or {}),
        }, **options)

    def get(self, resource, name, namespace="default"):
        """The object, or None."""
        answer = self.request("GET", self.path(resource, name, namespace))
        assert answer.status in (200, 404), answer
        return answer.json() if answer.status == 200 else None

    def patch(self, resource, name, body, namespace="default", status=False):
        """A merge patch; returns the Answer."""
        return self.request("PATCH", self.path(resource, name, namespace, status), body, content_type=MERGE_PATCH)

    def delete(self, resource, name, namespace="default"):
        return self.request("DELETE", self.path(resource, name, namespace))

    def list(self, resource, namespace=None, query=""):
        answer = self.request("GET", self.path(resource, namespace=namespace) + query)
        assert answer.status == 200, answer
        return answer.json()

    def condition(self, resource, name, namespace="default"):
        """The Succeeded condition; {} when there is none, or no object."""
        status = (self.get(resource, name, namespace) or {}).get("status") or {}
        return next((c for c in status.get("conditions") or [] if c.get("type") == "Succeeded"), {})

    def wait_condition(self, resource, name, status, reason=None, deadline=DEADLINE, namespace="default"):
        """Waits until the Succeeded condition has this status and reason; returns the object."""
        def reached():
            seen = self.condition(resource, name, namespace)
            return seen.get("status") == status and reason in (None, seen.get("reason"))
        try:
            wait_until(reached, deadline)
        except AssertionError:
            raise AssertionError(f"{resource} {namespace}/{name}: want {status} {reason}, not within {deadline} s; "
                                 f"it has {self.condition(resource, name, namespace)}") from None
        return self.get(resource, name, namespace)

    def soon(self, resource, name, status, reason=None, limit=1.0):
        """wait_condition() for what has a limit in time."""
        def reached():
            seen = self.condition(resource, name)
            return seen.get("status") == status and reason in (None, seen.get("reason"))
        took = net_seconds(reached, what=f"{resource} {name} {status} {reason}")
        assert took < limit, f"{resource} {name}: {took:.2f} s until {status} {reason}, {limit} allowed"
        return took

    # The control endpoints

    def control(self, method, path, body=None):
        if self._control is not None and time.monotonic() - self._control_used > 30:
            self._control.close()  # the fake closes idle connections after 90 s
            self._control = None
        if self._control is None:
            self._control = self.connect()
        self._control_used = time.monotonic()
        try:
            answer = Answer(self.send(self._control, method, "/_control/" + path, body, token=self.control_token))
        except (OSError, http.client.HTTPException):
            self._control.close()
            self._control = None
            raise
        assert answer.status == 200, answer
        return answer

    def state(self):
        return self.control("GET", "state").json()

    def table(self, resource):
        return self.control("GET", "table?resource=" + resource).text

    def writes(self, resource, name=None, namespace="default"):
        """Every write the fake applied, oldest first; ms is Unix time."""
        query = f"&object={namespace}/{name}" if name else ""
        lines = self.control("GET", f"writes?resource={resource}{query}").text.splitlines()
        return [Write(float(fields[0]), *fields[1:]) for fields in (line.split(" ") for line in lines)]

    def log(self, method=None, path=None):
        """The requests (not the control ones), oldest first: number, ms, method, target, userAgent, status."""
        query = {"method": method, "path_contains": path}
        query = urllib.parse.urlencode({key: value for key, value in query.items() if value})
        return self.control("GET", "requests?" + query).json()

    def clear_log(self):
        self.control("DELETE", "requests")

    def fault(self, action, method=None, path=None, body_contains=None, **how):
        """Adds a rule: times=1 (-1: for ever), skip, status, retry_after, body, delay_ms, after_bytes, bytes...

        body is sent as it is when it is text, and as JSON when it is a dict.
        """
        if isinstance(how.get("body"), dict):
            how["body"] = json.dumps(how["body"])
        match = {"method": method, "path_contains": path, "body_contains": body_contains}
        match = {key: value for key, value in match.items() if value is not None}
        self.control("POST", "faults", {"action": action, "match": match, **how})

    def faults(self):
        return self.control("GET", "faults").json()

    def clear_faults(self):
        self.control("DELETE", "faults")

    def serve(self, resource, served=True):
        """served=False deletes the CRD, and with it the objects."""
        self.control("POST", "serve", {"resource": resource, "served": served})

    def compact(self):
        self.control("POST", "compact", {})

    def settings(self, **settings):
        self.control("POST", "settings", settings)

    def rotate(self, what, **how):
        self.control("POST", "rotate", {"what": what, **how})

    def drop(self, which="all", how="reset"):
        self.control("POST", "drop", {"which": which, "how": how})

    def inject(self, resource, raw):
        self.control("POST", "inject", {"resource": resource, "raw": raw})

    def pause(self, ms, stall=False):
        self.control("POST", "pause", {"ms": ms, "stall": stall})

    # Life

    def tail(self, lines=40):
        try:
            seen = [f"{entry['ms'] / 1000:.3f} {entry['method']} {entry['target']} -> {entry['status']}"
                    for entry in self.log()[-lines:]]
        except (OSError, http.client.HTTPException, AssertionError) as error:
            seen = [f"(no request log: {error})"]
        return "\n".join([self.process.tail(lines)] + seen)

    def stop(self):
        if self._control is not None:
            self._control.close()
        self.process.stop()


class Server:
    """The product. `flags` come on top of --listen, --data-dir and those that point it to the fake API server."""

    def __init__(self, directory, *flags, fake=None, data_dir=None, wait_ready=True, env=None):
        self.dir = str(directory)
        os.makedirs(self.dir, exist_ok=True)
        self.data_dir = str(data_dir or os.path.join(self.dir, "data"))
        self.fake = fake
        self.flags = list(flags)
        self.env = env
        self.log_path = os.path.join(self.dir, "server.log")
        self.port = None
        self.process = None
        self.start(wait_ready)

    def command(self):
        # --allow-network-fs: the temporary directory of a container may well be on FUSE.
        command = [SERVER_BINARY, "--listen", "127.0.0.1:0", "--data-dir", self.data_dir, "--allow-network-fs"]
        if self.fake is None:
            command.append("--no-kube")
        else:
            command += ["--kube-api", self.fake.url]
            if not self.fake.plain:
                command += ["--kube-token-file", self.fake.token_file, "--kube-ca-file", self.fake.ca_file]
        return command + self.flags

    def start(self, wait_ready=True):
        self._log_start = os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0
        env = None if self.env is None else {**os.environ, **self.env}
        self.process = Process("flux-event-store", self.command(), self.log_path, env)
        self.port = None
        if wait_ready:
            self.wait_ready()

    def _bound_port(self):
        for line in self.logs(since_start=True):
            for value in line.values():
                found = re.search(r"\b127\.0\.0\.1:(\d+)$", value) if isinstance(value, str) else None
                if found and "listen" in json.dumps(line).lower() and int(found.group(1)) != 0:
                    return int(found.group(1))
        return None

    def wait_listening(self, deadline=DEADLINE):
        """Waits until the log tells the bound address."""
        def listening():
            self.port = self._bound_port()
            return self.port or self.process.child.poll() is not None
        wait_until(listening, deadline, "flux-event-store listens")
        assert self.port, "flux-event-store did not start\n" + self.process.tail()
        # Whatever is tested is tested within the sandbox, where the kernel has one.
        confined = any("confined to the data directory" in line.get("msg", "") for line in self.logs(since_start=True))
        denied = "--no-sandbox" in self.flags or (self.env or {}).get("FES_LANDLOCK_ABI") == "0"
        assert confined == (LANDLOCK > 0 and not denied), self.process.tail()

    def wait_ready(self, deadline=DEADLINE):
        self.wait_listening(deadline)
        def ready():
            assert self.process.child.poll() is None, self.process.tail()
            try:
                return self.get("/readyz").status == 200
            except OSError:
                return False
        wait_until(ready, deadline, "/readyz is 200")

    def request(self, method, path, body=None, headers=None, timeout=DEADLINE):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, event, headers=None, **options):
        """POST /events of a dict, or of bytes as they are."""
        body = event if isinstance(event, (bytes, str)) else json.dumps(event)
        return self.request("POST", "/events", body, {"Content-Type": "application/json", **(headers or {})},
                            **options)

    def socket(self, timeout=DEADLINE):
        """A bare TCP connection, for what http.client refuses to send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def logs(self, since_start=False):
        """The log lines as dicts; a line that is not JSON as {"text": line}."""
        with open(self.log_path, "r", encoding="utf-8", errors="replace") as file:
            file.seek(self._log_start if since_start else 0)
            # Of a line that is being written a reader may see the part that is in the page before.
            lines = file.read().rpartition("\n")[0].splitlines()
        parsed = []
        for line in lines:
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            parsed.append(value if isinstance(value, dict) else {"text": line})
        return parsed

    def kill9(self):
        self.process.kill9()

    def terminate(self, deadline=DEADLINE):
        """SIGTERM; returns the exit code."""
        self.process.killed = True
        self.process.signal(signal.SIGTERM)
        return self.process.wait_exit(deadline)

    def took_to_end(self):
        """Seconds from "stopping" to the last line: what a sanitizer does at the exit is not in it."""
        lines = self.logs(since_start=True)
        stopping = next(line for line in lines if line["msg"] == "stopping")
        return instant(lines[-1]["time"]) - instant(stopping["time"])

    def restart(self, wait_ready=True):
        """Starts again on the same data directory, after kill9() or else a clean stop."""
        if self.process.child.poll() is None:
            self.process.stop()
        self.start(wait_ready)

    def wait_until(self, condition, deadline=DEADLINE, what=None):
        return wait_until(condition, deadline, what)

    def tail(self, lines=40):
        return self.process.tail(lines)

    def stop(self):
        self.process.stop()
