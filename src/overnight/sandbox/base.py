"""What a confined process may reach, and the interface of the back ends that enforce it.

Covered: files, the network, other processes, shared memory and kernel features.
Not covered: time, memory, number of processes and disk space (the supervisor in stage/ limits
them), bugs of the kernel, and what a run can learn from timing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

OPEN_FILES = 4096
"""Most files that a confined process may have open."""
_BLOCK = 512


@dataclass(frozen=True)
class Policy:
    """What a confined process may reach; everything else is out of reach."""

    cwd: Path
    temporary: Path
    """Private folder for temporary files. Where the back end can, it is also mounted as /tmp."""
    home: Path
    """Private folder that replaces the home folder."""
    own: Sequence[Path] = ()
    """Read-only paths of the process, such as its checkout; visible even below a hidden folder."""
    readable: Sequence[Path] = ()
    """Read-only paths: the language runtime and declared data."""
    writable: Sequence[Path] = ()
    """Existing folders that it may write, in addition to the private ones."""
    protected: Sequence[Path] = ()
    """Read-only paths below a writable folder. Not every back end can enforce it."""
    hidden: Sequence[Path] = ()
    """Paths that cannot be read although they lie below `readable` or `own`."""
    network: bool = False
    gpus: Sequence[int] = ()
    file_bytes: int = 1 << 40
    """Largest size of a single file."""


class Sandbox(Protocol):
    """A back end that confines processes."""

    name: str
    """Its name in arena.toml, the ledger and the doctor's output."""
    replaces_home: bool
    """Whether the private home is mounted at the path of the user's home folder."""
    layers: int
    """Number of its own processes between the supervisor and the command."""
    install: str
    """How to make it available on this machine."""

    def problem(self) -> str | None:
        """Why it does not work on this machine; None when it works."""
        ...

    def argv(self, policy: Policy, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` confined; apply `restrictions` first."""
        ...

    def restrictions(self, policy: Policy) -> dict[str, object]:
        """What the process must apply to itself before it executes `argv`: the fields of
        Restrictions in stage/confine.py. Empty when `argv` alone is enough."""
        ...


def devices(gpus: Sequence[int]) -> list[str]:
    """Device files that every program may use, plus those of these GPUs."""
    names = ["null", "zero", "full", "random", "urandom"]
    if gpus:
        names += ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"]
        names += [f"nvidia{number}" for number in gpus]
    found = [f"/dev/{name}" for name in names]
    return [path for path in found if Path(path).exists()]


def set_limits(policy: Policy) -> str:
    """The commands of /bin/sh that set the limits of files."""
    return f"ulimit -c 0; ulimit -n {OPEN_FILES}; ulimit -f {-(-policy.file_bytes // _BLOCK)}; "


@dataclass(frozen=True)
class Confinement:
    """A policy and the back end that enforces it."""

    sandbox: Sandbox
    policy: Policy
