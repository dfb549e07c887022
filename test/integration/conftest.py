"""Fixtures of the integration tests. See fes.py for what the objects can do.

    fake           a fake API server
    make_fake      make_fake("--plain", "--off", "runs"): another one
    server         the product, connected to `fake`, ready
    make_server    make_server("--cluster", "x", fake=fake): with flags; fake=None means --no-kube
    reserved       a port where nobody listens

Everything that was started is stopped at the end of its test, and must then exit with 0. A failed test shows the
last log lines of every process it had.
"""

import json
import os
import socket
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import fes  # noqa: E402  (needs the path above)

STARTED = pytest.StashKey[list]()
FAULT_HEAD = "fault | seconds | allowed | requests a second while down"


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: waits for most of a minute or longer; test/run.sh runs these beside the others")
    for name, path in (("FES_FAKE", fes.FAKE_BINARY), ("FES_BINARY", fes.SERVER_BINARY)):
        if name in os.environ and not os.access(path, os.X_OK):
            raise pytest.UsageError(f"{name}={path}: no such program")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for process in item.stash.get(STARTED, []):
            report.sections.append((type(process).__name__, process.tail()))


def pytest_terminal_summary(terminalreporter):
    """The fault table: what test_k8s_faults.py recorded, one line per fault."""
    lines = sorted(value for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
                   for name, value in report.user_properties if name == "fault" and report.when == "call")
    if "FES_OWN_NETWORK" in os.environ and lines:
        with open(os.environ["FES_OWN_NETWORK"], "w", encoding="utf-8") as file:
            json.dump(lines[0], file)
    if lines:
        terminalreporter.write_sep("=", "faults: seconds from healing to the server's state")
        for line in [FAULT_HEAD, "---|---|---|---"] + lines:
            terminalreporter.write_line(line)


@pytest.fixture
def started(request):
    """The processes of this test, in the order of their start; stopped in reverse."""
    processes = request.node.stash.setdefault(STARTED, [])
    yield processes
    problems = []
    for process in reversed(processes):
        try:
            process.stop()
        except AssertionError as error:
            problems.append(str(error))
    assert not problems, "\n".join(problems)


@pytest.fixture
def make_fake(started, tmp_path):
    def make(*flags):
        fake = fes.Fake(tmp_path / f"fake{len(started)}", *flags)
        started.append(fake)
        return fake
    return make


@pytest.fixture
def make_server(started, tmp_path):
    def make(*flags, fake=None, **options):
        server = fes.Server(tmp_path / f"server{len(started)}", *flags, fake=fake, wait_ready=False,
                            **{key: value for key, value in options.items() if key != "wait_ready"})
        started.append(server)
        if options.get("wait_ready", True):
            server.wait_ready()
        return server
    return make


@pytest.fixture
def fake(make_fake):
    return make_fake()


@pytest.fixture
def server(make_server, fake):
    return make_server(fake=fake)


@pytest.fixture
def reserved():
    """A port that the kernel gives to nobody else; the test may listen there."""
    with socket.socket() as placeholder:
        placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        placeholder.bind(("127.0.0.1", 0))
        yield placeholder.getsockname()[1]
