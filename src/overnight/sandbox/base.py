"""Confining a process: what it may reach, and the back end that sees to it.

What is covered: files, the network, other processes, shared memory and kernel features. What is
not: the clock, the memory, the number of processes and the disk, which stage.py watches; what the
kernel itself lets through by a bug; what a run learns from timing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Policy:
    """What a confined process may reach. Anything else does not exist for it."""

    cwd: Path
    temporary: Path
    """Its private folder for temporary files; where the back end can, it is /tmp as well."""
    home: Path
    """A private folder that stands in the place of the home folder."""
    own: Sequence[Path] = ()
    """What is read-only and its own, such as its checkout: found even below a hidden folder."""
    readable: Sequence[Path] = ()
    """The runtime, and data."""
    writable: Sequence[Path] = ()
    """Existing folders beside the private ones."""
    protected: Sequence[Path] = ()
    """Read-only although they lie below something writable, where the back end can."""
    hidden: Sequence[Path] = ()
    """Taken out of what is readable, and out of its own."""
    network: bool = False
    gpus: Sequence[int] = ()
    open_files: int = 4096
    file_bytes: int = 1 << 40
    """Largest size of a single file."""


class Sandbox(Protocol):
    """A way to confine processes."""

    name: str
    """How arena.toml, the ledger and the doctor call it."""
    replaces_home: bool
    """Whether the private home is found where the person's own would be."""
    layers: int
    """Processes of its own between the one that starts it and the command."""
    install: str
    """The command that makes it available."""

    def problem(self) -> str | None:
        """Why it cannot be used on this machine; None when it can."""
        ...

    def argv(self, policy: Policy, command: Sequence[str]) -> list[str]:
        """The command line that runs the command confined, once `order` was followed."""
        ...

    def order(self, policy: Policy) -> dict[str, object]:
        """What a process must do to itself before it becomes the command: fields of
        stage/confine.py's Order. Empty where the command line does all."""
        ...


def devices(gpus: Sequence[int]) -> list[str]:
    """The device files that every program may use, and those of these graphics cards."""
    names = ["null", "zero", "full", "random", "urandom"]
    if gpus:
        names += ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"]
        names += [f"nvidia{number}" for number in gpus]
    found = [f"/dev/{name}" for name in names]
    return [path for path in found if Path(path).exists()]


@dataclass(frozen=True)
class Confinement:
    """A policy and the back end that enforces it."""

    sandbox: Sandbox
    policy: Policy
