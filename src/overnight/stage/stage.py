"""Run one command as a stage: on the clock, metered from outside, log bounded, ended whole.

What it is not: a sandbox. Without a `confinement` the command runs with the rights of this user:
it may read and write what the user may, use the network, and kill overnight itself. What is kept
here is the clock, the meters, the size of the log, and that nothing which the command started
outlives the stage. Two gaps of an unconfined stage, both needing intent: a command that kills its
supervisor escapes with those processes that have also left its session and changed their
environment; on macOS, so does any daemon.
"""

from __future__ import annotations

import ast
import atexit
import marshal
import os
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal, TypedDict

from overnight.core.errors import MeasurementImpossible
from overnight.sandbox.base import Confinement
from overnight.stage.processes import below, processes, read, send

CPU_CLOCK_WALL_FACTOR = 10.0
CPU_CLOCK_WALL_SECONDS = 30.0
"""With a processor clock, a stage also ends after factor * budget + seconds of wall time."""
KILL_SECONDS = 30.0
"""How long SIGKILL may take to work; only processes hung inside the kernel need more."""
_MARK = "OVERNIGHT_STAGE"
_LOOK_SECONDS = 0.1
_SUPERVISE = (
    f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import supervisor; "
    "supervisor.main()"
)


class StageEnd(StrEnum):
    """What ended a stage."""

    EXITED = "exited"
    """The command ended by itself, within its limits."""
    DEADLINE = "deadline"
    """The budget was used up."""
    MEMORY = "memory"
    """The tree went over `memory_bytes`."""
    PROCESSES = "processes"
    """The tree had more processes than `processes`."""
    DISK = "disk"
    """It left more in `disk_folders` than it may."""
    CUT = "cut"
    """`watch` had seen enough."""
    STOPPED = "stopped"
    """The campaign asked for it (or someone sent the supervisor SIGTERM, SIGINT or SIGHUP)."""
    LOST = "lost"
    """The supervisor was killed or hung: only `wall_seconds` is known."""


@dataclass(frozen=True)
class StageSpec:
    """What to run and within which limits."""

    command: str
    """Run by /bin/sh -c."""
    cwd: Path
    env: Mapping[str, str]
    """The whole environment. Two variables are added: OVERNIGHT_STAGE, and OVERNIGHT_STARTED,
    which is time.monotonic() at the fork."""
    stdout: Path
    """Log file, made anew; its folder exists."""
    stderr: Path
    """The same path as `stdout` makes one interleaved log."""
    budget_seconds: float
    clock: Literal["wall", "cpu"] = "wall"
    """What the budget counts: wall seconds, or processor seconds of the whole tree."""
    memory_bytes: int | None = None
    """Limit of the whole tree, shared pages counted once."""
    processes: int | None = None
    """Most processes at once."""
    disk_folders: Sequence[Path] = ()
    """Folders whose content is limited to `disk_bytes` in `disk_files` entries."""
    disk_bytes: int = 10_000_000_000
    disk_files: int = 100_000
    confinement: Confinement | None = None
    pipes: tuple[int, int] | None = None
    """Descriptors of this process for the command's standard input and output, to be closed once
    it has started; without them these are /dev/null and the log."""
    output_bytes: int = 10_000_000
    """Limit of each log file, beside one line that says how much was left out."""
    redactions: Sequence[tuple[bytes, bytes]] = ()
    """What is never written to a log, and what is written in its place."""
    grace_seconds: float = 2.0
    """Between SIGTERM at the deadline and SIGKILL."""
    family: str = "overnight"
    """What every process of this stage is marked with, for `end_strays`."""
    watch: Callable[[float], bool] | None = None
    """Called some ten times a second, from the start on, with the share of the budget that is used
    by overnight's own clock, 0 to 1; True ends the stage as CUT."""


@dataclass(frozen=True)
class StageResult:
    """How a stage ended and what it used."""

    end: StageEnd
    exit_code: int | None
    """Of the command; negative: the signal that ended it; None: lost."""
    wall_seconds: float
    cpu_seconds: float = 0.0
    """Of the whole tree."""
    peak_memory_bytes: int = 0
    """Of the whole tree: sampled, and at least the peak of its biggest process (which cannot be
    told from that of a bare supervisor, some 10 MB, when smaller)."""
    oom_killed: bool = False
    """The kernel killed the command because the machine or its container ran out of memory."""
    log_error: str = ""
    """Why output is missing from the logs (a full disk); empty when nothing went wrong."""
    survivors: int = 0
    """Processes that SIGKILL could not end, such as those hung in a device driver."""


def run_stage(
    spec: StageSpec,
    stopping: threading.Event,
    started: Callable[[float], None] | None = None,
) -> StageResult:
    """Run the command and return when nothing that it started is alive.

    `stopping`, once set, ends it within a fraction of a second. `started` is called with
    time.monotonic() at the fork. May be called from several threads at once.
    Raises MeasurementImpossible when the command cannot be started.
    """
    begun = time.monotonic()
    mark = f"{_MARK}={spec.family}:{uuid.uuid4().hex}"
    with _supervisor(spec, mark) as process:
        limit = begun + _wall_limit(spec) + spec.grace_seconds
        reports = _Reports(process, limit, stopping, spec.watch)
        report = reports.next()
        if "started" in report:
            if started:
                started(report["started"])
            report = reports.next()
    if report.get("survivors"):
        report["survivors"] = len(_end_marked(mark)[1])
    if "end" in report:
        if reports.cut and report["end"] == StageEnd.STOPPED:
            report["end"] = StageEnd.CUT
        return _result(report)
    if "error" not in report and (process.returncode < 0 or reports.count):
        _, left = _end_marked(mark)
        return StageResult(StageEnd.LOST, None, time.monotonic() - begun, survivors=len(left))
    problem = report.get("error", f"its supervisor ended with {process.returncode}")
    raise MeasurementImpossible(
        f"the command {spec.command!r} could not be started in {spec.cwd}: {problem}; "
        "check that this folder exists and that /bin/sh can be run in it"
    )


def end_strays(family: str) -> int:
    """End every process of stages of this family that an earlier driver left behind.

    Returns how many there were. Found by their environment, so on Linux only.
    Raises MeasurementImpossible when some cannot be ended.
    """
    if not family:
        raise ValueError("an empty family would mean the stages of every campaign")
    ended, left = _end_marked(f"{_MARK}={family}:")
    if left:
        raise MeasurementImpossible(
            f"processes {sorted(left)} of an earlier campaign cannot be ended and would disturb "
            "every measurement; end them by hand (they may hang in a device driver), then resume"
        )
    return len(ended)


def _wall_limit(spec: StageSpec) -> float:
    if spec.clock == "wall":
        return spec.budget_seconds
    return CPU_CLOCK_WALL_FACTOR * spec.budget_seconds + CPU_CLOCK_WALL_SECONDS


_spare: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
"""A supervisor that waits for its order: starting Python takes longer than many a stage. It ends
when its lifeline does, that is with this process."""


def _start_supervisor(pipes: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _SUPERVISE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        pass_fds=pipes,
    )


def _waiting_supervisor() -> subprocess.Popen[bytes]:
    try:
        process = _spare.get_nowait()
    except Empty:
        return _start_supervisor()
    return process if process.poll() is None else _start_supervisor()


@atexit.register
def _dismiss_spare() -> None:
    with suppress(Empty):
        process = _spare.get_nowait()
        assert process.stdin and process.stdout
        process.stdin.close()
        process.stdout.close()
        process.wait()


@contextmanager
def _supervisor(spec: StageSpec, mark: str) -> Iterator[subprocess.Popen[bytes]]:
    """A supervisor with its order; on leaving, it has ended its tree and itself."""
    process = _start_supervisor(spec.pipes) if spec.pipes else _waiting_supervisor()
    assert process.stdin and process.stdout
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(marshal.dumps(_order(spec, mark)))
        if _spare.empty() and not spec.pipes:
            _spare.put(_start_supervisor())
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(KILL_SECONDS + 10)
        except subprocess.TimeoutExpired:
            _end_hung(process)


def _end_hung(process: subprocess.Popen[bytes]) -> None:
    """For a supervisor that the command has stopped, or that hangs in the kernel."""
    send([*below(process.pid), process.pid], signal.SIGKILL)
    process.wait()


def _order(spec: StageSpec, mark: str) -> dict[str, object]:
    name, _, token = mark.partition("=")
    argv, confined = ["/bin/sh", "-c", spec.command], spec.confinement
    return {
        "argv": confined.sandbox.argv(confined.policy, argv) if confined else argv,
        "confine": confined.sandbox.restrictions(confined.policy) if confined else {},
        "layers": confined.sandbox.layers if confined else 0,
        "cwd": str(spec.cwd),
        "env": {**spec.env, name: token},
        "stdout": str(spec.stdout.absolute()),
        "stderr": str(spec.stderr.absolute()),
        "pipes": spec.pipes,
        "wall_limit": _wall_limit(spec),
        "cpu_limit": spec.budget_seconds if spec.clock == "cpu" else None,
        "memory_bytes": spec.memory_bytes,
        "processes": spec.processes,
        "disk_folders": [str(folder) for folder in spec.disk_folders],
        "disk_bytes": spec.disk_bytes,
        "disk_files": spec.disk_files,
        "output_bytes": spec.output_bytes,
        "redactions": [*spec.redactions],
        "grace_seconds": spec.grace_seconds,
        "kill_seconds": KILL_SECONDS,
        "driver": os.getpid(),
        "report_used": spec.watch is not None,
    }


class _Report(TypedDict, total=False):
    """One line from the supervisor: that the command started, that it could not, how much of the
    budget is used, or the end."""

    started: float
    used: float
    error: str
    end: str
    exit_code: int | None
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    oom_killed: bool
    log_error: str
    survivors: int


def _result(report: _Report) -> StageResult:
    return StageResult(
        end=StageEnd(report["end"]),
        exit_code=report["exit_code"],
        wall_seconds=report["wall_seconds"],
        cpu_seconds=report["cpu_seconds"],
        peak_memory_bytes=report["peak_memory_bytes"],
        oom_killed=report["oom_killed"],
        log_error=report["log_error"],
        survivors=report["survivors"],
    )


class _Reports:
    """What the supervisor says, line by line."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        limit: float,
        stopping: threading.Event,
        watch: Callable[[float], bool] | None,
    ) -> None:
        assert process.stdin and process.stdout
        self.count = 0
        self.cut = False
        """Whether the watch, and nobody else, has asked for the end."""
        self._watch = watch
        self._used = 0.0
        self._process = process
        self._lifeline = process.stdin
        self._fd = process.stdout.fileno()
        self._limit = limit + KILL_SECONDS + 10
        self._stopping = stopping
        self._buffer = b""
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def next(self) -> _Report:
        """The next report but for what is used; empty when the supervisor is gone or had to be
        killed."""
        while "used" in (report := self._next_line()):
            self._used = report["used"]
        self.count += 1 if report else 0
        return report

    def _next_line(self) -> _Report:
        while b"\n" not in self._buffer:
            self._end_if_asked()
            if time.monotonic() > self._limit:
                _end_hung(self._process)
            # The command may have stopped the supervisor, to stop its clock.
            self._process.send_signal(signal.SIGCONT)
            if self._poll.poll(_LOOK_SECONDS * 1000):
                chunk = os.read(self._fd, 65536)
                if not chunk:
                    return {}
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        report: _Report = ast.literal_eval(line.decode())
        return report

    def _end_if_asked(self) -> None:
        if self._lifeline.closed:
            return
        stop = self._stopping.is_set()
        self.cut = (
            not stop and self._watch is not None and self.count > 0 and self._watch(self._used)
        )
        if stop or self.cut:
            self._lifeline.close()
            self._limit = min(self._limit, time.monotonic() + KILL_SECONDS + 10)


def _end_marked(prefix: str) -> tuple[set[int], set[int]]:
    """Kill what carries the mark until nothing does; returns the pids killed and those left."""
    seen: set[int] = set()
    give_up = time.monotonic() + KILL_SECONDS
    while (found := _marked(os.fsencode(prefix))) and time.monotonic() < give_up:
        send(found, signal.SIGKILL)
        seen |= found
        time.sleep(0.005)
    return seen, found


def _marked(prefix: bytes) -> set[int]:
    """Living processes with the mark in their environment, their sessions, and all descendants."""
    table = [entry for entry in processes() if not entry.zombie]
    found = {entry.pid for entry in table if _has_mark(entry.pid, prefix)}
    sessions = {entry.session for entry in table if entry.pid in found} - {0}
    found |= {entry.pid for entry in table if entry.session in sessions}
    grown = True
    while grown:
        below = {entry.pid for entry in table if entry.parent in found} - found
        found |= below
        grown = bool(below)
    return found - {os.getpid()}


def _has_mark(pid: int, prefix: bytes) -> bool:
    return any(entry.startswith(prefix) for entry in read(f"/proc/{pid}/environ").split(b"\0"))
