"""The example for systemd: a unit that systemd takes, hardened as it says, whose command the program takes; and the program
lives under what the unit forbids.

No systemd runs here. What the unit says of system calls, address families, memory, namespaces, capabilities and limits is
put upon the process by the same means, seccomp and prctl, with systemd's own lists of system calls. Left out is what needs
systemd's mounts and cgroups: Protect*=, Private*=, ProcSubset=, DynamicUser=, MemoryMax=, TasksMax=.
"""

import ctypes
import errno
import hashlib
import hmac
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import pytest
import seccomp

import fes
from fes import PLAIN_BINARY, ROOT, wait_until

UNIT = os.path.join(ROOT, "docs/examples/flux-event-store.service")
EXPOSURE_MOST = 1.5  # of systemd's 0 to 10: the rest is what a server needs, the network and its data

PR_CAPBSET_DROP = 24
NAMESPACE_FLAGS = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)  # CLONE_NEW*


@pytest.fixture(name="unit")
def read_unit():
    """All settings of the unit: {name: [value, ...]}, a long line in one."""
    settings = {}
    with open(UNIT, encoding="utf-8") as file:
        for line in file.read().replace("\\\n", " ").splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                settings.setdefault(name, []).append(value)
    return settings


@pytest.fixture(name="installed")
def installed_unit(tmp_path):
    """The unit, for a binary that is there: systemd wants to see it."""
    copy = tmp_path / "flux-event-store.service"
    with open(UNIT, encoding="utf-8") as file:
        text = file.read()
    assert text.count("ExecStart=/usr/local/bin/flux-event-store ") == 1
    copy.write_text(text.replace("ExecStart=/usr/local/bin/flux-event-store ", f"ExecStart={shutil.which('true')} "))
    return copy


def analyze(*args):
    return subprocess.run(["systemd-analyze", *args], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def test_systemd_takes_it(installed):
    done = analyze("verify", "--man=no", str(installed))
    assert (done.returncode, done.stdout) == (0, "")
    # A setting that it does not know is a word on stderr, and nothing else: the test above must see one.
    installed.write_text(installed.read_text().replace("MemoryDenyWriteExecute=", "MemoryDenyWriteExecution="))
    assert "MemoryDenyWriteExecution" in analyze("verify", "--man=no", str(installed)).stdout


def test_it_is_hardened(installed):
    def exposure(*flags):
        return analyze("security", "--offline=true", "--no-pager", *flags, str(installed))
    threshold = f"--threshold={int(EXPOSURE_MOST * 10)}"
    done = exposure(threshold)
    assert done.returncode == 0, done.stdout
    installed.write_text(re.sub(r"^SystemCallFilter=.*\n", "", installed.read_text(), flags=re.M))
    assert exposure(threshold).returncode != 0


def test_its_command_is_taken(unit, tmp_path):
    command = unit["ExecStart"][0].split(maxsplit=1)[1]
    with open(UNIT, encoding="utf-8") as file:
        text = file.read()
    for name, source in (value.split(":/etc/flux-event-store/") for value in unit["LoadCredential"]):
        assert f"%d/{name}" in command and f">/etc/flux-event-store/{source}" in text, name
        (tmp_path / name).write_text("a-secret\n")
    arguments = command.replace("%S", str(tmp_path)).replace("%d", str(tmp_path)).split()
    done = subprocess.run([fes.SERVER_BINARY, "--check", "--allow-network-fs"] + arguments, text=True, capture_output=True,
                          check=False)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done
    usage = subprocess.run([fes.SERVER_BINARY, "--help"], check=True, text=True, capture_output=True).stdout
    for flag in re.findall(r"--[a-z][a-z-]+(?= %d| URL)", text):
        assert flag in usage, flag


# ---- under what the unit forbids ----

def call_groups():
    """systemd's named lists of system calls, with the lists in them taken apart."""
    groups, name = {}, None
    for line in subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager"], check=True, text=True,
                               capture_output=True).stdout.splitlines():
        word = line.strip()
        if line.startswith("@"):
            name = word
            groups[name] = []
        elif line.startswith("    ") and name and not word.startswith("#"):
            groups[name].append(word)

    def members(word):
        return {call for inner in groups[word] for call in members(inner)} if word.startswith("@") else {word}
    return members


def allowed_calls(lines):
    """What SystemCallFilter= of a unit leaves, line by line as systemd.exec(5) has it."""
    members, allowed = call_groups(), set()
    for line in lines:
        calls = {call for word in line.lstrip("~").split() for call in members(word)}
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def filters(unit):
    """Two, of which the stricter answer counts: the list of calls, and what arguments are refused."""
    arg, native = seccomp.Arg, seccomp.Arch()
    assert unit["SystemCallErrorNumber"] == ["EPERM"]
    calls = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    for call in allowed_calls(unit["SystemCallFilter"]):
        if seccomp.resolve_syscall(native, call) >= 0:  # the lists are for all processors
            calls.add_rule(seccomp.ALLOW, call)

    arguments = seccomp.SyscallFilter(seccomp.ALLOW)
    families = {getattr(socket, name) for name in unit["RestrictAddressFamilies"][0].split()}
    for family in set(range(64)) - families:
        arguments.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket", arg(0, seccomp.EQ, int(family)))
    assert unit["MemoryDenyWriteExecute"] == unit["RestrictNamespaces"] == ["yes"]
    arguments.add_rule(seccomp.ERRNO(errno.EPERM), "mmap", arg(2, seccomp.MASKED_EQ, 2 | 4, 2 | 4))
    arguments.add_rule(seccomp.ERRNO(errno.EPERM), "mprotect", arg(2, seccomp.MASKED_EQ, 4, 4))
    for flag in NAMESPACE_FLAGS:
        arguments.add_rule(seccomp.ERRNO(errno.EPERM), "clone", arg(0, seccomp.MASKED_EQ, flag, flag))
    arguments.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")  # its flags cannot be seen
    return arguments, calls


def confine(unit):
    """What the process does between fork and exec."""
    prepared, libc = filters(unit), ctypes.CDLL(None)
    limit = int(unit["LimitNOFILE"][0])
    assert unit["LimitCORE"] == ["0"] and unit["CapabilityBoundingSet"] == [""]
    bounded = min(limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1])

    def apply():
        os.umask(int(unit["UMask"][0], 8))
        resource.setrlimit(resource.RLIMIT_NOFILE, (bounded, bounded))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if os.geteuid() == 0:
            for capability in range(64):
                libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        for each in prepared:  # each sets NoNewPrivileges, too
            each.load()
    return apply


class Service:
    """The unit's process, with ports of the kernel's and folders of the test's."""

    def __init__(self, unit, folder, preexec):
        self.log = folder / "log"
        (folder / "credentials").mkdir()
        for credential in unit["LoadCredential"]:
            (folder / "credentials" / credential.split(":")[0]).write_text("of-" + credential.split(":")[0] + "\n")
        command = unit["ExecStart"][0].split(maxsplit=1)[1]
        for written, here in ((" :8080", " 127.0.0.1:0"), ("127.0.0.1:8081", "127.0.0.1:0"), ("%S", str(folder)),
                              ("%d", str(folder / "credentials"))):
            assert written in command
            command = command.replace(written, here)
        with open(self.log, "wb") as log:
            # Sanitizers make system calls of their own.
            self.child = subprocess.Popen([PLAIN_BINARY, "--allow-network-fs"] + command.split(), stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, preexec_fn=preexec)
        wait_until(lambda: self.child.poll() is not None or len(self.said("listening")) == 2, what=f"listening: {self.log}")
        assert self.child.poll() is None, self.log.read_text()

    def said(self, message):
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]
        return [line for line in lines if message in line["msg"]]

    def url(self, serves, path):
        return "http://" + next(line["address"] for line in self.said("listening") if line["serves"] == serves) + path

    def ask(self, url, body=None, **headers):
        request = urllib.request.Request(url, body, {name.replace("_", "-"): value for name, value in headers.items()})
        try:
            with urllib.request.urlopen(request, timeout=fes.DEADLINE) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def end(self):
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(fes.DEADLINE)


@pytest.fixture(name="start")
def starter(unit, tmp_path):
    services = []

    def start(name, preexec=None):
        (tmp_path / name).mkdir()
        services.append(Service(unit, tmp_path / name, preexec))
        return services[-1]
    yield start
    for service in services:
        if service.child.poll() is None:
            service.child.kill()
            service.child.wait()


def test_it_serves_under_its_filter(unit, start):
    free, service = start("free"), start("confined", confine(unit))
    with open(f"/proc/{service.child.pid}/status", encoding="ascii") as status:
        state = dict(re.findall(r"^(\w+):\t(.*)$", status.read(), re.M))
    assert (state["Seccomp"], state["NoNewPrivs"], int(state["CapEff"], 16)) == ("2", "1", 0)

    body = fes.golden("01-ks-success.json")
    signature = "sha256=" + hmac.new(b"of-hmac-key", body, hashlib.sha256).hexdigest()
    assert service.ask(service.url("http", "/events"), body)[0] == 401
    assert service.ask(service.url("http", "/events"), body, X_Signature=signature) == (200, b'{"id":"1"}\n')
    service.child.send_signal(signal.SIGHUP)
    code, stored = service.ask(service.url("http", "/events"), Authorization="Bearer of-read-token")
    assert code == 200 and len(json.loads(stored)) == 1
    code, metrics = service.ask(service.url("http, probes and metrics", "/metrics"))
    with open(f"/proc/{service.child.pid}/limits", encoding="ascii") as limits:
        descriptors = re.search(r"^Max open files +(\d+)", limits.read(), re.M).group(1)
    assert code == 200 and f"\nprocess_max_fds {descriptors}\n" in metrics.decode()  # it may ask for its limits
    assert service.ask(service.url("http, probes and metrics", "/readyz"))[0] == 200

    # The filter takes nothing from it: the same words, Landlock's among them, as without.
    def told(who):
        return [(line["level"], line["msg"], line.get("landlock"), line.get("tcp")) for line in who.said("")
                if line["msg"] not in ("request denied", "files read again")]
    assert told(service) == told(free)
    assert (free.end(), service.end()) == (0, 0)
