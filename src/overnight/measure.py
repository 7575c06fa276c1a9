"""One measurement: run the candidate, then let the referee score what it left.

The run and the referee are separate processes with separate folders. The referee's folder is a
fresh checkout of the arena's base commit, so nothing that a candidate changed can be in it.
What this is not: a confinement. A run stage here is metered, bounded and ended with all its
children, but it has the rights of the person who started overnight.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from overnight.arena import Arena
from overnight.errors import MeasurementImpossible
from overnight.experiment import Measurement, Outcome
from overnight.stage import StageEnd, StageResult, StageSpec, exception_line, run_stage, tail
from overnight.workspace import Workspace

_INHERITED = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "LD_LIBRARY_PATH",
]
_REPORTED = re.compile(rb"\s*([A-Za-z_][\w./ -]{0,63}?)\s*[:=]\s*([-+]?[\w.+-]{1,40})%?\s*")
_MOST_REPORTED = 100
_LONGEST_LINE = 4096
_OUT_OF_MEMORY = re.compile(
    r"MemoryError|OutOfMemoryError|CUDA out of memory|can't allocate memory|bad_alloc"
)


@dataclass(frozen=True)
class Task:
    """What an executor is asked to measure."""

    candidate: str
    """The commit."""
    base: str
    """The commit that the referee comes from."""
    seed: int
    place: Path
    """Scratch folder for the checkouts; must not exist, is removed afterwards."""
    logs: Path
    """Folder for the log files; must exist."""
    family: str
    """Names the processes of one campaign, so that strays can be found and ended."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """When set, the stages are ended and the result is None."""


def overnight_home(environment: Mapping[str, str] = os.environ) -> Path:
    """Machine-wide state and caches: `OVERNIGHT_HOME`, or the user's cache folder."""
    if home := environment.get("OVERNIGHT_HOME"):
        return Path(home).expanduser().resolve()
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "overnight"


def stage_environment(arena: Arena, temporary: Path, **variables: str) -> dict[str, str]:
    """The whole environment of a stage: an allow-list, what the arena adds, and the contract."""
    names = [*_INHERITED, *arena.run.env]
    return {
        **{name: os.environ[name] for name in names if name in os.environ},
        "TERM": "dumb",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(temporary),
        # The checkouts lie inside the user's repository: git started in one must not find it.
        "GIT_CEILING_DIRECTORIES": str(arena.state / "worktrees"),
        "OVERNIGHT_HOME": str(overnight_home()),
        **{f"OVERNIGHT_{name}": value for name, value in variables.items()},
    }


def measure(arena: Arena, workspace: Workspace, task: Task) -> Measurement | None:
    """Run and score one candidate. None when `task.stopping` ended it.

    A candidate's failure is an outcome, not an error. Raises MeasurementImpossible when the
    machine, not the candidate, is at fault: no space on the disk, say.
    """
    try:
        with ExitStack() as stack:
            stack.callback(workspace.remove, task.place)
            return _Measuring(arena, workspace, task).result()
    except OSError as error:
        raise MeasurementImpossible(
            f"{error.filename or task.place} cannot be written: {error.strerror}. "
            "Free some space or check the folder's permissions; then run the same command again."
        ) from error


def failed_check(arena: Arena, workspace: Workspace, task: Task) -> str | None:
    """Run the arena's checks on a fresh checkout; a sentence for the first that fails."""
    try:
        if not arena.checks:
            return None
        folder = open_place(arena, workspace, task.place, task.candidate)
        for name, command in arena.checks.items():
            log = task.logs / f"check-{name}.log"
            env = stage_environment(arena, task.place / "tmp", SEED=str(task.seed))
            spec = StageSpec(command, folder, env, log, log, 3600.0, family=task.family)
            result = run_stage(spec, task.stopping)
            if result.end is not StageEnd.EXITED or result.exit_code != 0:
                return f"check {name} failed: {_last_words(result, log)}"
        return None
    finally:
        workspace.remove(task.place)


def open_place(arena: Arena, workspace: Workspace, place: Path, commit: str) -> Path:
    """A fresh checkout of a commit in `place/tree`, with `out` and `tmp` beside it, and the
    arena's untracked data linked into it. Returns the arena's folder within."""
    for name in ("out", "tmp"):
        (place / name).mkdir(parents=True)
    folder = workspace.checkout(commit, place / "tree")
    for path, target in arena.linked_data().items():
        link = folder / path
        if not link.exists() and target.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
    return folder


@dataclass
class _Measuring:
    """The state of one measurement while its stages follow each other."""

    arena: Arena
    workspace: Workspace
    task: Task
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: dict[str, float] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    reported: dict[str, float] = field(default_factory=dict)

    def result(self) -> Measurement | None:
        begun = monotonic()
        task = self.task
        folder = open_place(self.arena, self.workspace, task.place, task.candidate)
        self.seconds["prepare"] = monotonic() - begun
        run = self._run(folder)
        if run.end is StageEnd.STOPPED:
            return None
        log = task.logs / "run.log"
        self.reported = reported_numbers(log)
        if failure := _run_failure(self.arena, run, log):
            return self._ended(*failure)
        self._meter(run)
        if self.arena.score is None:
            return self._ended(*_self_reported(self.arena.metric.name, self.reported))
        return self._score(folder)

    def _run(self, folder: Path) -> StageResult:
        arena, task = self.arena, self.task
        env = stage_environment(
            arena,
            task.place / "tmp",
            OUT=str(task.place / "out"),
            BUDGET_S=f"{arena.run.budget:g}",
            CLOCK=arena.run.clock,
            SEED=str(task.seed),
        )
        log = task.logs / "run.log"
        spec = StageSpec(
            arena.run.command,
            folder,
            env,
            log,
            log,
            arena.run.budget,
            clock=arena.run.clock,
            memory_bytes=arena.run.memory,
            family=task.family,
        )
        return self._timed("run", lambda: run_stage(spec, task.stopping))

    def _score(self, folder: Path) -> Measurement | None:
        arena, task = self.arena, self.task
        assert arena.score is not None
        referee = self.workspace.checkout(task.base, task.place / "referee")
        env = stage_environment(
            arena,
            task.place / "tmp",
            OUT=str(task.place / "out"),
            CANDIDATE=str(folder),
            SEED=str(task.seed),
        )
        out, log = task.logs / "score.out", task.logs / "score.log"
        spec = StageSpec(
            arena.score.command, referee, env, out, log, arena.score.timeout, family=task.family
        )
        result = self._timed("score", lambda: run_stage(spec, task.stopping))
        if result.end is StageEnd.STOPPED:
            return None
        if result.end is not StageEnd.EXITED or result.exit_code != 0:
            words = f"the referee failed: {_last_words(result, log)}"
            return self._ended(Outcome.NO_METRIC, None, words)
        outcome, score, detail, numbers = read_score(tail(out, 1), arena.metric.name)
        self.numbers = {**numbers, **self.numbers}
        return self._ended(outcome, score, detail)

    def _timed(self, stage: str, act: Callable[[], StageResult]) -> StageResult:
        result = act()
        self.seconds[stage] = result.wall_seconds
        return result

    def _meter(self, run: StageResult) -> None:
        self.numbers["wall_seconds"] = round(run.wall_seconds, 3)
        self.numbers["cpu_seconds"] = round(run.cpu_seconds, 3)
        self.numbers["peak_memory_mb"] = round(run.peak_memory_bytes / 1e6, 1)

    def _ended(self, outcome: Outcome, score: float | None, detail: str) -> Measurement:
        return Measurement(
            candidate=self.task.candidate,
            seed=self.task.seed,
            started=self.started,
            outcome=outcome,
            score=score,
            numbers=self.numbers,
            reported=self.reported,
            stage_seconds={stage: round(s, 4) for stage, s in self.seconds.items()},
            detail=detail,
            log=os.path.relpath(self.task.logs, self.arena.state),
            device=platform.node(),
            self_reported=self.arena.score is None,
        )


Ending = tuple[Outcome, float | None, str]


def _run_failure(arena: Arena, run: StageResult, log: Path) -> Ending | None:
    if run.end is StageEnd.EXITED and run.exit_code == 0:
        return None
    if run.end is StageEnd.DEADLINE:
        return Outcome.TIMEOUT, None, f"still running after {arena.budget_text}"
    if run.end is StageEnd.MEMORY:
        most = (arena.run.memory or 0) / 1e6
        return Outcome.OUT_OF_MEMORY, None, f"used more than its {most:,.0f} MB of memory"
    words = tail(log, 60)
    if run.oom_killed or _OUT_OF_MEMORY.search(words):
        return Outcome.OUT_OF_MEMORY, None, f"ran out of memory: {_last_words(run, log)}"
    return Outcome.CRASHED, None, _last_words(run, log)


def _last_words(result: StageResult, log: Path) -> str:
    """How a stage ended, in a line, then the last lines it printed."""
    text = tail(log, 20)
    if result.end is StageEnd.LOST:
        ending = "its supervisor was killed"
    elif result.end is not StageEnd.EXITED:
        ending = f"ended by overnight ({result.end})"
    elif result.exit_code is not None and result.exit_code < 0:
        ending = f"killed by signal {-result.exit_code}"
    else:
        ending = f"exit code {result.exit_code}"
    if line := exception_line(text):
        ending += f", {line}"
    return f"{ending}\n{text}" if text else f"{ending}, and it printed nothing"


def _self_reported(metric: str, reported: Mapping[str, float]) -> Ending:
    if metric not in reported:
        return Outcome.NO_METRIC, None, f"the run printed no line `{metric}: NUMBER`"
    score = reported[metric]
    if not math.isfinite(score):
        return Outcome.NOT_FINITE, None, f"the run reported {metric} = {score}"
    return Outcome.FINISHED, score, ""


def read_score(line: str, metric: str) -> tuple[Outcome, float | None, str, dict[str, float]]:
    """The referee's last line of output: outcome, score, what is wrong, the further numbers."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        found = f"found {line[:200]!r}" if line.strip() else "it printed nothing"
        words = f'the referee must print a JSON object such as {{"{metric}": 1.0}} last; {found}'
        return Outcome.NO_METRIC, None, words, {}
    numbers = {key: number for key, raw in content.items() if (number := _number(raw)) is not None}
    if metric not in content:
        words = f'the referee\'s JSON has no "{metric}"; it has {sorted(content)}'
        return Outcome.NO_METRIC, None, words, {}
    score = numbers.pop(metric, None)
    finite = {key: number for key, number in numbers.items() if math.isfinite(number)}
    if score is None or not math.isfinite(score):
        words = f'the referee\'s "{metric}" is {content[metric]!r}, not a finite number'
        return Outcome.NOT_FINITE, None, words, finite
    return Outcome.FINISHED, score, "", finite


def _number(raw: object) -> float | None:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    try:
        return float(raw)
    except OverflowError:
        return math.inf


def reported_numbers(log: Path) -> dict[str, float]:
    """`key: value` lines of a run's log; the last line of a key counts."""
    numbers: dict[str, float] = {}
    try:
        with log.open("rb") as stream:
            while line := stream.readline(_LONGEST_LINE):
                for piece in line.split(b"\r"):
                    _note_number(piece, numbers)
    except FileNotFoundError:
        pass  # a stage that never started printed nothing
    return numbers


def _note_number(line: bytes, numbers: dict[str, float]) -> None:
    match = _REPORTED.fullmatch(line)
    if not match:
        return
    try:
        value = float(match[2])
    except ValueError:
        return  # `status: done` is no number
    key = match[1].decode("ascii", "replace")
    if key in numbers or len(numbers) < _MOST_REPORTED:
        numbers[key] = value
