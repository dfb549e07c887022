"""The manual page, compared with --help: the same commands, flags, arguments and defaults."""

import os
import re
import subprocess

import fes

MANUAL = os.path.join(fes.ROOT, "docs/flux-event-store.8")


def text_of_manual():
    with open(MANUAL, encoding="utf-8") as file:
        return file.read()


def usage():
    return subprocess.run([fes.SERVER_BINARY, "--help"], check=True, text=True, capture_output=True).stdout


def test_flags_and_arguments():
    told = re.findall(r"^  (--[a-z0-9-]+)(?: ([A-Z/]+))? ", usage(), re.M)
    written = re.findall(r"^\.It Fl (-[a-z0-9-]+)(?: Ar (\S+))?$", text_of_manual(), re.M)
    assert len(told) > 25
    assert [("-" + flag, argument.upper()) for flag, argument in written] == told


def test_defaults():
    items = dict(re.findall(r"^\.It Fl (-[a-z0-9-]+)[^\n]*\n(.*?)(?=^\.It|^\.El)", text_of_manual(), re.M | re.S))
    defaults = re.findall(r"^  -(-[a-z0-9-]+) .*\[(\S+)\]$", usage(), re.M)
    assert len(defaults) >= 6
    for flag, default in defaults:
        words = re.split(r"[\s,]+", items[flag])
        assert "default" in items[flag] and (default in words or default + "." in words), (flag, default)


def test_commands():
    told = usage().split("\n\n", 1)[0]
    synopsis = text_of_manual().split(".Sh SYNOPSIS\n", 1)[1].split(".Sh ", 1)[0]
    commands = re.findall(r"^(?:\.Op )?\.?\s?Cm (\w+)", synopsis, re.M)
    assert commands == ["serve", "export", "import", "verify", "ping"]
    assert all(re.search(r"\b" + command + r"\b", told) for command in commands)
    listed = re.findall(r"^\.It Cm (\w+)", text_of_manual(), re.M)
    assert listed == commands
