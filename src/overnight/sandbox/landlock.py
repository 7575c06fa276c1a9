"""Landlock and seccomp: the kernel's own rules, without root, namespaces or a process beside.

Weaker than bubblewrap in five points, all written in docs/trust.md: a hidden file's existence and
size can still be asked for; /tmp and /dev/shm are closed rather than private; a run without a
network has no local sockets either; protected files below something writable are not guarded; and
the project files of the folders above can be read.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from overnight.sandbox.base import Policy, devices
from overnight.sandbox.filter import known_machine, seccomp_program

_CREATE_RULESET, _VERSION = 444, 1
_LEAST_VERSION = 6
"""Of Landlock: signals and abstract sockets stay inside since Linux 6.12."""
_PROC = (
    "cpuinfo", "meminfo", "stat", "uptime", "loadavg", "version", "filesystems", "cgroups",
    "devices", "sys",
)  # fmt: skip
# Tools look for these in every folder upwards, and take a refusal for the end.
_PROJECT = (
    "pyproject.toml", "uv.toml", ".python-version", "setup.cfg", "package.json", "tsconfig.json",
    "pnpm-workspace.yaml", "Cargo.toml", "rust-toolchain.toml", "go.mod", "go.work",
)  # fmt: skip


class LandlockSandbox:
    """A process that confines itself and then becomes the command."""

    name = "landlock"
    replaces_home = False
    layers = 0
    install = "use a Linux kernel of version 6.12 or newer with Landlock enabled"

    def problem(self) -> str | None:
        if sys.platform != "linux":
            return "it is a part of the Linux kernel"
        if not known_machine():
            return f"its system calls on {os.uname().machine} are not known here"
        found = _version()
        if found < _LEAST_VERSION:
            return f"the kernel offers version {found} of Landlock, {_LEAST_VERSION} is needed"
        return None

    def argv(self, policy: Policy, command: Sequence[str]) -> list[str]:
        return list(command)

    def restrictions(self, policy: Policy) -> dict[str, object]:
        sockets = "internet" if policy.network else "none"
        above = [folder / name for folder in policy.cwd.parents for name in _PROJECT]
        readable = [*policy.readable, *(path for path in above if path.is_file())]
        return {
            "readable": [*_both_ends(readable), *(f"/proc/{name}" for name in _PROC)],
            "own": _both_ends(policy.own),
            "hidden": _both_ends(policy.hidden),
            "writable": _both_ends([policy.temporary, policy.home, *policy.writable]),
            "devices": devices(policy.gpus),
            "seccomp": seccomp_program(sockets, memory_files=bool(policy.gpus)),
            "limits": {"NOFILE": policy.open_files, "FSIZE": policy.file_bytes, "CORE": 0},
            "cwd": str(policy.cwd),
        }


def _both_ends(paths: Sequence[Path]) -> list[str]:
    """Rules are for what a path leads to, whatever links lie on the way."""
    return list(dict.fromkeys(os.path.realpath(path) for path in paths))


@cache
def _version() -> int:
    return int(ctypes.CDLL(None).syscall(_CREATE_RULESET, None, 0, _VERSION))
