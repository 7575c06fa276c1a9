"""Landlock and seccomp: enforced by the kernel, without root, namespaces or a helper process.

Weaker than bubblewrap in five points (docs/trust.md): a run can see that a hidden file exists and
how large it is; /tmp and /dev/shm are closed rather than private; a run without a network has no
local sockets either; protected files below a writable folder are not protected; and project files
in the folders above the checkout can be read.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from overnight.sandbox.base import OPEN_FILES, Policy, devices
from overnight.sandbox.filter import machine_problem, seccomp_program

_CREATE_RULESET, _VERSION = 444, 1
_LEAST_VERSION = 6
"""Version of the Landlock interface that scopes signals and abstract sockets: Linux 6.12."""
_PROC = (
    "cpuinfo", "meminfo", "stat", "uptime", "loadavg", "version", "filesystems", "cgroups",
    "devices", "sys",
)  # fmt: skip
# Tools look for these in every parent folder, and fail when one exists but cannot be read.
_PROJECT = (
    "pyproject.toml", "uv.toml", ".python-version", "setup.cfg", "package.json", "tsconfig.json",
    "pnpm-workspace.yaml", "Cargo.toml", "rust-toolchain.toml", "go.mod", "go.work",
)  # fmt: skip


class LandlockSandbox:
    """The process confines itself and then becomes the command."""

    name = "landlock"
    replaces_home = False
    layers = 0
    install = "use a Linux kernel of version 6.12 or newer with Landlock enabled"

    def problem(self) -> str | None:
        if sys.platform != "linux":
            return "Landlock is part of the Linux kernel"
        if problem := machine_problem():
            return problem
        found = _version()
        if found < _LEAST_VERSION:
            return f"the kernel has version {found} of Landlock; version {_LEAST_VERSION} is needed"
        return None

    def argv(self, policy: Policy, command: Sequence[str]) -> list[str]:
        return list(command)

    def restrictions(self, policy: Policy) -> dict[str, object]:
        sockets = "internet" if policy.network else "none"
        above = [folder / name for folder in policy.cwd.parents for name in _PROJECT]
        readable = [*policy.readable, *(path for path in above if path.is_file())]
        return {
            "readable": [*_resolved(readable), *(f"/proc/{name}" for name in _PROC)],
            "own": _resolved(policy.own),
            "hidden": _resolved(policy.hidden),
            "writable": _resolved([policy.temporary, policy.home, *policy.writable]),
            "devices": devices(policy.gpus),
            "seccomp": seccomp_program(sockets, memory_files=bool(policy.gpus)),
            "limits": {"NOFILE": OPEN_FILES, "FSIZE": policy.file_bytes, "CORE": 0},
            "cwd": str(policy.cwd),
        }


def _resolved(paths: Sequence[Path]) -> list[str]:
    """The paths without symbolic links, each once: Landlock's rules apply to the target."""
    return list(dict.fromkeys(os.path.realpath(path) for path in paths))


@cache
def _version() -> int:
    return int(ctypes.CDLL(None).syscall(_CREATE_RULESET, None, 0, _VERSION))
