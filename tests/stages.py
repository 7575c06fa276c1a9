"""Stages for tests: commands run in a folder of their own, found again by a mark."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from overnight.stage.stage import StageResult, StageSpec, run_stage

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a subreaper")
MB = 1_000_000


def alive(marker: str) -> list[str]:
    """Command lines of living processes that contain the marker."""
    table = subprocess.run(["ps", "-axwwo", "stat=,args="], capture_output=True, text=True).stdout
    return [line for line in table.splitlines() if marker in line and line[:1] != "Z"]


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


_HOLD = """
import ctypes, sys, time
ptrace = ctypes.CDLL(None).ptrace
ptrace.argtypes = [ctypes.c_long] * 4
assert ptrace(0x4206, int(sys.argv[1]), 0, 0x40) == 0  # PTRACE_SEIZE, PTRACE_O_TRACEEXIT
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def unkillable(pid_file: Path) -> Iterator[None]:
    """Once the process writes its id to `pid_file`, SIGKILL cannot end it: a debugger holds it at
    its exit, as a device driver would."""
    assert eventually(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
    argv = [sys.executable, "-c", _HOLD, pid_file.read_text()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as debugger:
        assert debugger.stdout and debugger.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            debugger.kill()


class Stages:
    """Runs commands as stages in one folder; `marker` is in the command line of each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marker = uuid.uuid4().hex
        self.log = folder / "stage.log"
        self.stopping = threading.Event()

    def spec(self, command: str, budget: float = 30.0, **more: object) -> StageSpec:
        fields: dict[str, object] = {
            "cwd": self.folder,
            "env": {"PATH": os.environ["PATH"]},
            "stdout": self.log,
            "stderr": self.log,
            "family": self.marker,
            **more,
        }
        return StageSpec(command=command, budget_seconds=budget, **fields)  # type: ignore[arg-type]

    def run(self, command: str, budget: float = 30.0, **more: object) -> StageResult:
        return run_stage(self.spec(command, budget, **more), self.stopping)

    def script(self, code: str) -> str:
        """A command that runs this Python code."""
        path = self.folder / f"candidate-{uuid.uuid4().hex}.py"
        path.write_text(code)
        words = [sys.executable, "-I", "-S", str(path), self.marker]
        return " ".join(map(shlex.quote, words))

    def text(self) -> str:
        return self.log.read_text()


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """Mount a file system of this size on a folder; only root can."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
