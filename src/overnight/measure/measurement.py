"""One measurement: run the candidate, then let the referee score what it left.

A final exam is a measurement too: its referee is the one of `[holdout]`.

The run and the referee are separate processes with separate folders. The referee's folder is a
fresh checkout of the arena's base commit, so nothing that a candidate changed can be in it.
What this is not: the confinement itself, which is sandbox.py's, with what policies.py allows.
With the sandbox "none" a run has the rights of the person who started overnight.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from overnight.arena.arena import Arena
from overnight.arena.settings import Score
from overnight.core.errors import MeasurementImpossible
from overnight.core.experiment import Measurement, Outcome, Purpose
from overnight.core.text import tail
from overnight.measure.artefacts import take_over
from overnight.measure.gpus import Gpu, leased
from overnight.measure.progress import Watch
from overnight.measure.reach import (
    overnight_home,
)
from overnight.measure.score import Ending, read_score, reported_numbers, self_reported
from overnight.measure.stages import (
    Task,
    candidate_stage,
    last_words,
    open_place,
    referee_digest,
    stage_environment,
)
from overnight.repo.workspace import Workspace
from overnight.sandbox.named import NONE, sandbox_named
from overnight.stage.secrets import Secrets
from overnight.stage.stage import StageEnd, StageResult, StageSpec, run_stage

_NOT_FOUND = re.compile(
    r"(?:No such file or directory|Permission denied|Read-only file system): '(/[^'\n]{1,400})'"
)
_CHECK_SECONDS = 3600.0
MOST_ARTEFACTS = 100_000
"""Files that a run may leave."""
_OUT_OF_MEMORY = re.compile(
    r"MemoryError|OutOfMemoryError|CUDA out of memory|can't allocate memory|bad_alloc"
)


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
            spec = candidate_stage(arena, task, folder, command)
            spec = replace(spec, stdout=log, stderr=log, budget_seconds=_CHECK_SECONDS)
            result = run_stage(spec, task.stopping)
            if result.end is not StageEnd.EXITED or result.exit_code != 0:
                return f"check {name} failed: {last_words(result, log)}"
        return None
    finally:
        workspace.remove(task.place)


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
    curve: tuple[tuple[float, float], ...] = ()

    @property
    def sandbox(self) -> str:
        """Name of the back end at work."""
        sandbox = sandbox_named(self.task.sandbox)
        return sandbox.name if sandbox else NONE

    @property
    def referee(self) -> Score | None:
        """Whose command scores it; None when the run's own word counts."""
        exam = self.task.purpose is Purpose.HOLDOUT
        return self.arena.holdout if exam else self.arena.score

    def result(self) -> Measurement | None:
        begun = monotonic()
        task = self.task
        folder = open_place(self.arena, self.workspace, task.place, task.candidate)
        with leased(self.arena.run.gpus, overnight_home() / "gpus", task.stopping) as cards:
            self.seconds["prepare"] = monotonic() - begun
            spec = candidate_stage(self.arena, task, folder, self.arena.run.command, cards)
            watch = Watch(spec.stdout, self.arena.metric, task.pruning)
            run = self._timed("run", lambda: run_stage(replace(spec, watch=watch), task.stopping))
            if run.end is StageEnd.STOPPED:
                return None
            self._note_curve(watch, run)
            self.reported = reported_numbers(spec.stdout)
            if run.end is StageEnd.CUT:
                return self._ended(*watch.ending)
            if failure := _run_failure(self.arena, run, spec.stdout):
                outcome, score, words = failure
                hint = _missed(words, task.place) if spec.confinement else ""
                return self._ended(outcome, score, words + hint)
            self._meter(run)
            if self.referee is None:
                return self._ended(*self_reported(self.arena.metric, self.reported))
            return self._score(self.referee, folder, cards)

    def _score(self, referee: Score, folder: Path, cards: Sequence[Gpu]) -> Measurement | None:
        arena, task, place = self.arena, self.task, self.task.place
        left = take_over(place / "out", place / "artefacts", arena.run.disk, MOST_ARTEFACTS)
        if left.refused:
            return self._ended(Outcome.REFUSED, None, left.refused)
        (place / "referee-tmp").mkdir()
        env = stage_environment(
            arena,
            place / "referee-tmp",
            arena.run.env,
            OUT=str(place / "artefacts"),
            CANDIDATE=str(folder),
            TREE=str(place / "tree"),
            SEED=str(task.seed),
            EXPERIMENT=str(task.experiment),
            SANDBOX=self.sandbox,
            ARENA=str(arena.root),
        )
        env["CUDA_VISIBLE_DEVICES"] = ",".join(card.uuid for card in cards)
        out, log = task.logs / "score.out", task.logs / "score.log"
        spec = StageSpec(
            referee.command,
            self.workspace.checkout(task.base, place / "referee"),
            env,
            out,
            log,
            referee.timeout,
            memory_bytes=referee.memory,
            disk_folders=[place / "referee-tmp"],
            disk_bytes=arena.run.disk,
            family=task.family,
            redactions=Secrets.of(arena.run.env).redactions,
        )
        result = self._timed("score", lambda: run_stage(spec, task.stopping))
        if result.end is StageEnd.STOPPED:
            return None
        without = f" (not given to it: {', '.join(left.left_out)})" if left.left_out else ""
        if result.end is not StageEnd.EXITED or result.exit_code != 0:
            words = f"the referee failed{without}: {last_words(result, log)}"
            return self._ended(Outcome.NO_METRIC, None, words)
        (outcome, score, detail), numbers = read_score(tail(out, 1), arena.metric)
        self.numbers = {**numbers, **self.numbers}
        return self._ended(outcome, score, f"{detail}{without}" if detail else "")

    def _note_curve(self, watch: Watch, run: StageResult) -> None:
        spent = run.cpu_seconds if self.arena.run.clock == "cpu" else run.wall_seconds
        watch.finish(spent / self.arena.run.budget)
        self.curve = tuple(watch.progress.curve)
        self.numbers |= watch.numbers

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
            self_reported=self.referee is None,
            sandbox=self.sandbox,
            referee=referee_digest(self.arena, self.workspace, self.task.base),
            curve=self.curve,
            purpose=self.task.purpose,
        )


def _run_failure(arena: Arena, run: StageResult, log: Path) -> Ending | None:
    if run.end is StageEnd.EXITED and run.exit_code == 0:
        return None
    if run.end is StageEnd.DEADLINE:
        return Outcome.TIMEOUT, None, f"still running after {arena.budget_text}"
    if run.end is StageEnd.MEMORY:
        most = arena.run.memory / 1e6
        return Outcome.OUT_OF_MEMORY, None, f"used more than its {most:,.0f} MB of memory"
    if run.end is StageEnd.PROCESSES:
        most = arena.run.processes
        return Outcome.CRASHED, None, f"started more than {most:,} processes at once"
    if run.end is StageEnd.DISK:
        most = arena.run.disk / 1e6
        return Outcome.CRASHED, None, f"wrote more than its {most:,.0f} MB (or too many files)"
    words = tail(log, 60)
    if run.oom_killed or _OUT_OF_MEMORY.search(words):
        return Outcome.OUT_OF_MEMORY, None, f"ran out of memory: {last_words(run, log)}"
    return Outcome.CRASHED, None, last_words(run, log)


def _missed(words: str, place: Path) -> str:
    """A hint when what a run did not find is there, outside of its sandbox."""
    for path in _NOT_FOUND.findall(words):
        if os.path.lexists(path) and not Path(path).is_relative_to(place):
            return (
                f"\n{path} exists, but a run cannot see or write it: add it to `data` in "
                "arena.toml if it should read it; what it writes belongs below OVERNIGHT_OUT"
            )
    return ""
