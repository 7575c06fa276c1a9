"""Runs one command as a stage: with a time limit, meters and a bounded log, ended as a whole.

This is not a sandbox. Without a `confinement` the command has the user's rights: it can read and
write the user's files, use the network and kill overnight. A stage ensures the time limit, the
meters, the size of the log, and that nothing the command started outlives it. Two gaps remain in
an unconfined stage, both only by intent: a command can kill its supervisor, and then processes
that have left its session and changed their environment survive; on macOS, so does any daemon.
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
"""With clock = "cpu", a stage also ends after factor * budget + seconds of wall time."""
KILL_SECONDS = 30.0
"""Longest wait for SIGKILL to work; only processes hung in the kernel take longer."""
_REPORT_SECONDS = 10.0
"""Longest wait for a supervisor's last report; one that takes longer hangs."""
_MARK = "OVERNIGHT_STAGE"
_LOOK_SECONDS = 0.1
_LONGEST_SHOWN = 200
_SUPERVISE = (
    f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import supervisor; "
    "supervisor.main()"
)


class StageEnd(StrEnum):
    """What ended a stage."""

    EXITED = "exited"
    """The command ended by itself within its limits."""
    DEADLINE = "deadline"
    """The budget was used up."""
    MEMORY = "memory"
    """All processes together exceeded `memory_bytes`."""
    PROCESSES = "processes"
    """There were more than `processes` processes."""
    DISK = "disk"
    """`disk_folders` exceeded `disk_bytes`, or held too many files."""
    CUT = "cut"
    """`watch` returned True."""
    STOPPED = "stopped"
    """The campaign asked for it, or the supervisor received SIGTERM, SIGINT or SIGHUP."""
    LOST = "lost"
    """The supervisor was killed or hung; only `wall_seconds` is known."""


@dataclass(frozen=True)
class StageSpec:
    """What to run and within which limits."""

    command: str
    """Run by /bin/sh -c."""
    cwd: Path
    env: Mapping[str, str]
    """The whole environment. Two variables are added: OVERNIGHT_STAGE, and OVERNIGHT_STARTED
    (time.monotonic() at the fork)."""
    stdout: Path
    """Log file; overwritten. Its folder must exist. Of output beyond 10 MB (OUTPUT_BYTES in
    supervisor.py) the middle is left out."""
    stderr: Path
    """May be the same path as `stdout`: one interleaved log."""
    budget_seconds: float
    clock: Literal["wall", "cpu"] = "wall"
    """What the budget counts: wall seconds, or processor seconds of all processes together."""
    memory_bytes: int | None = None
    """Limit for all processes together; shared pages count once."""
    processes: int | None = None
    """Limit of processes at the same time."""
    disk_folders: Sequence[Path] = ()
    """Folders limited to `disk_bytes` in 100,000 entries (MOST_FILES in disk.py), all together."""
    disk_bytes: int = 10_000_000_000
    confinement: Confinement | None = None
    pipes: tuple[int, int] | None = None
    """Descriptors for the command's standard input and output; close them once it has started.
    None: /dev/null and the log."""
    redactions: Sequence[tuple[bytes, bytes]] = ()
    """Pairs of a secret and its replacement in the logs."""
    grace_seconds: float = 2.0
    """Time from SIGTERM at the deadline to SIGKILL."""
    family: str = "overnight"
    """Marks every process of this stage, so that `end_strays` finds it."""
    watch: Callable[[float], bool] | None = None
    """Called about ten times a second with the used share of the budget, 0 to 1, by overnight's
    own clock. Returning True ends the stage as CUT."""


@dataclass(frozen=True)
class StageResult:
    """How a stage ended and what it used."""

    end: StageEnd
    exit_code: int | None
    """Of the command. Negative: the signal that ended it. None: lost."""
    wall_seconds: float
    cpu_seconds: float = 0.0
    """Of all processes together."""
    peak_memory_bytes: int = 0
    """Of all processes together: sampled, and at least the peak of the biggest process. Never
    less than the supervisor's own, about 10 MB."""
    oom_killed: bool = False
    """The kernel killed the command because the machine or container ran out of memory."""
    log_error: str = ""
    """Why output is missing from the logs, such as a full disk; empty if none is missing."""
    survivors: int = 0
    """Number of processes that SIGKILL could not end, such as those hung in a device driver."""


def run_stage(
    spec: StageSpec,
    stopping: threading.Event,
    started: Callable[[float], None] | None = None,
) -> StageResult:
    """Run the command; return when no process that it started is alive.

    Setting `stopping` ends it within a fraction of a second. `started` is called with
    time.monotonic() at the fork. Safe to call from several threads.
    Raises MeasurementImpossible if the command cannot be started.
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
    hangs = process.returncode is None
    if "error" not in report and (hangs or process.returncode < 0 or reports.count):
        survivors = len(_end_marked(mark)[1]) + hangs
        return StageResult(StageEnd.LOST, None, time.monotonic() - begun, survivors=survivors)
    raise _not_started(spec, report.get("error", f"its supervisor ended with {process.returncode}"))


def _not_started(spec: StageSpec, problem: str) -> MeasurementImpossible:
    if not spec.cwd.is_dir():
        step = "Restore this folder"
    elif "Argument list too long" in problem:
        step = "Linux allows 128 KB for a command or a variable: put what is longer into a file"
    elif "null byte" in problem:
        step = "Remove the null byte from the command or its environment"
    else:
        step = "Check that /bin/sh can run there, and the limits that `ulimit -a` prints"
    command = (
        spec.command if len(spec.command) <= _LONGEST_SHOWN else spec.command[:_LONGEST_SHOWN] + "…"
    )
    return MeasurementImpossible(
        f"the command {command!r} could not be started in {spec.cwd}: {problem}. {step}, then run "
        "the same command again"
    )


def end_strays(family: str) -> int:
    """End all processes of this family's stages that an earlier driver left behind; Linux only.

    Returns how many there were. Raises MeasurementImpossible if one cannot be ended.
    """
    if not family:
        raise ValueError("an empty family would mean the stages of every campaign")
    ended, left = _end_marked(f"{_MARK}={family}:")
    if left:
        raise MeasurementImpossible(
            f"processes {sorted(left)} of an earlier run cannot be ended and would disturb every "
            "measurement. End them by hand (they may hang in a device driver), then resume"
        )
    return len(ended)


def _wall_limit(spec: StageSpec) -> float:
    if spec.clock == "wall":
        return spec.budget_seconds
    return CPU_CLOCK_WALL_FACTOR * spec.budget_seconds + CPU_CLOCK_WALL_SECONDS


_spare: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
"""At most one supervisor that waits for an order, since starting Python takes longer than many
stages. It ends with this process, when its lifeline (standard input) is closed."""


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
    """A supervisor that has its order. On exit it has ended all its processes and itself, unless
    the kernel cannot end it."""
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
            process.wait(KILL_SECONDS + _REPORT_SECONDS)
        except subprocess.TimeoutExpired:
            _end_hung(process)


def _end_hung(process: subprocess.Popen[bytes]) -> bool:
    """Kill a supervisor that the command has stopped or that hangs. False if the kernel could not
    end it in time."""
    send([*below(process.pid), process.pid], signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(KILL_SECONDS)
    return process.returncode is not None


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
        "redactions": [*spec.redactions],
        "grace_seconds": spec.grace_seconds,
        "kill_seconds": KILL_SECONDS,
        "driver": os.getpid(),
        "report_used": spec.watch is not None,
    }


class _Report(TypedDict, total=False):
    """One line from the supervisor: the start, an error, the used share of the budget, or the
    end."""

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
    """Reads the supervisor's reports and asks it to stop when it should."""

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
        """Whether `watch`, and not `stopping`, ended the stage."""
        self._watch = watch
        self._used = 0.0
        self._process = process
        self._lifeline = process.stdin
        self._fd = process.stdout.fileno()
        self._limit = limit + KILL_SECONDS + _REPORT_SECONDS
        self._stopping = stopping
        self._buffer = b""
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def next(self) -> _Report:
        """The next report other than `used`; empty if the supervisor has ended, was killed, or
        hangs."""
        while "used" in (report := self._next_line()):
            self._used = report["used"]
        self.count += 1 if report else 0
        return report

    def _next_line(self) -> _Report:
        while b"\n" not in self._buffer:
            self._end_if_asked()
            if time.monotonic() > self._limit and not _end_hung(self._process):
                return {}
            # The command may have stopped the supervisor in order to stop the clock.
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
            self._limit = min(self._limit, time.monotonic() + KILL_SECONDS + _REPORT_SECONDS)


def _end_marked(prefix: str) -> tuple[set[int], set[int]]:
    """Kill marked processes until none is left. Returns the pids killed and those still alive."""
    seen: set[int] = set()
    give_up = time.monotonic() + KILL_SECONDS
    while (found := _marked(os.fsencode(prefix))) and time.monotonic() < give_up:
        send(found, signal.SIGKILL)
        seen |= found
        time.sleep(0.005)
    return seen, found


def _marked(prefix: bytes) -> set[int]:
    """Living processes with the mark in their environment, all of their sessions, and all
    descendants."""
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
