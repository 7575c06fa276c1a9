"""One measurement: run a candidate, then let the referee score what the run left.

A final exam is a measurement whose referee is that of `[holdout]`; the arena's checks are one
without a score.

The run and the referee are separate processes with separate folders. The referee's folder is a
fresh checkout of the arena's base commit, so nothing that a candidate changed can be in it.
What this is not: the sandbox, which is sandbox/'s, with what reach.py allows. With the sandbox
"none" a run has all rights of the user who started overnight.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from overnight.arena.arena import Arena
from overnight.arena.settings import Score
from overnight.core.errors import MeasurementImpossible, WorkspaceError
from overnight.core.experiment import Measurement, Outcome, Purpose
from overnight.core.text import tail
from overnight.measure.artefacts import take_over
from overnight.measure.gpus import GPUS, Gpu, leased, listed
from overnight.measure.job import Job
from overnight.measure.progress import Watch
from overnight.measure.reach import overnight_home
from overnight.measure.score import Ending, read_score, reported_numbers, self_reported
from overnight.measure.stages import (
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
_ROOM = 20_000_000
"""Free bytes with which a disk has room for the output of a stage, twice over."""
MOST_ARTEFACTS = 100_000
"""Most files that a run may leave for the referee."""
_OUT_OF_MEMORY = re.compile(
    r"MemoryError|OutOfMemoryError|CUDA out of memory|can't allocate memory|bad_alloc"
)


def measure(
    arena: Arena, workspace: Workspace, job: Job, stopping: threading.Event
) -> Measurement | None:
    """Do a job. None when `stopping` was set meanwhile, which ends its processes.

    A candidate's failure is an outcome, not an error. Raises MeasurementImpossible when the
    machine is at fault, such as for a full disk.
    """
    if stopping.is_set():
        return None
    place, logs = job.place(arena), job.logs(arena)
    try:
        logs.mkdir(parents=True, exist_ok=True)
        measuring = _Measuring(arena, workspace, job, stopping)
        taken = measuring.result()
    except _OutputLost as lost:
        _remove(workspace, place)
        if shutil.disk_usage(logs).free < _ROOM:
            raise MeasurementImpossible(
                f"{lost}. Free some space or check the folder's permissions; then run the same "
                "command again"
            ) from lost
        words = f"{lost}; without the candidate's files the disk has room again"
        taken = measuring.ended(Outcome.CRASHED, None, words)
    except OSError as error:
        raise MeasurementImpossible(
            f"{error.filename or place} cannot be written: {error.strerror}. "
            "Free some space or check the folder's permissions; then run the same command again."
        ) from error
    finally:
        left = _remove(workspace, place)
    if left and taken:
        return replace(taken, detail=f"{taken.detail}\n{left}".strip())
    return taken


def _remove(workspace: Workspace, place: Path) -> str:
    """Delete a measurement's folder; why that failed, or "": no result is lost for it."""
    try:
        workspace.remove(place)
    except (WorkspaceError, OSError) as error:
        return str(error)
    return ""


class _OutputLost(Exception):
    """The disk had no room for a stage's output."""


@dataclass
class _Measuring:
    """One measurement while its stages follow each other."""

    arena: Arena
    workspace: Workspace
    job: Job
    stopping: threading.Event
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: dict[str, float] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    reported: dict[str, float] = field(default_factory=dict)
    curve: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        self.place = self.job.place(self.arena)
        self.logs = self.job.logs(self.arena)
        sandbox = sandbox_named(self.job.sandbox)
        self.sandbox = sandbox.name if sandbox else NONE
        exam = self.job.purpose is Purpose.HOLDOUT
        self.referee = self.arena.holdout if exam else self.arena.score
        """Its command scores the candidate; None: the run reports its own score."""

    def result(self) -> Measurement | None:
        begun = monotonic()
        folder = open_place(self.arena, self.workspace, self.place, self.job.candidate)
        with leased(self.job.gpus, overnight_home() / "gpus", self.stopping) as cards:
            self.seconds["prepare"] = monotonic() - begun
            if self.job.purpose is Purpose.CHECK:
                return self._check(folder, cards)
            return self._run(folder, cards)

    def _check(self, folder: Path, cards: Sequence[Gpu]) -> Measurement | None:
        """Run the arena's checks until one fails."""
        for name, command in self.arena.checks.items():
            log = self.logs / f"check-{name}.log"
            spec = candidate_stage(self.arena, self.job, folder, command, cards)
            spec = replace(spec, stdout=log, stderr=log, budget_seconds=_CHECK_SECONDS)
            result = self._timed(f"check {name}", spec)
            if result.end is StageEnd.STOPPED:
                return None
            if result.end is not StageEnd.EXITED or result.exit_code != 0:
                words = f"check {name} failed: {last_words(result, log)}"
                return self.ended(Outcome.REFUSED, None, words)
        return self.ended(Outcome.FINISHED, None, "")

    def _run(self, folder: Path, cards: Sequence[Gpu]) -> Measurement | None:
        spec = candidate_stage(self.arena, self.job, folder, self.arena.run.command, cards)
        watch = Watch(spec.stdout, self.arena.metric, self.job.pruning)
        run = self._timed("run", replace(spec, watch=watch))
        if run.end is StageEnd.STOPPED:
            return None
        self._note_curve(watch, run)
        self.reported = reported_numbers(spec.stdout)
        if run.end is StageEnd.CUT:
            return self.ended(*watch.ending)
        if failure := _run_failure(self.arena, run, spec.stdout):
            outcome, score, words = failure
            hint = _missed(words, self.place) if spec.confinement else ""
            return self.ended(outcome, score, words + hint)
        self._meter(run)
        if self.referee is None:
            return self.ended(*self_reported(self.arena.metric, self.reported))
        return self._score(self.referee, folder, cards)

    def _score(self, referee: Score, folder: Path, cards: Sequence[Gpu]) -> Measurement | None:
        arena, job, place = self.arena, self.job, self.place
        left = take_over(place / "out", place / "artefacts", arena.run.disk, MOST_ARTEFACTS)
        if left.refused:
            return self.ended(Outcome.REFUSED, None, left.refused)
        (place / "referee-tmp").mkdir()
        env = stage_environment(
            arena,
            place / "referee-tmp",
            arena.run.env,
            OUT=str(place / "artefacts"),
            CANDIDATE=str(folder),
            TREE=str(place / "tree"),
            SEED=str(job.seed),
            EXPERIMENT=str(job.n),
            SANDBOX=self.sandbox,
            ARENA=str(arena.root),
        )
        env[GPUS] = listed(cards)
        out, log = self.logs / "score.out", self.logs / "score.log"
        spec = StageSpec(
            referee.command,
            self.workspace.checkout(job.base, place / "referee"),
            env,
            out,
            log,
            referee.timeout,
            memory_bytes=referee.memory,
            disk_folders=[place / "referee-tmp"],
            disk_bytes=arena.run.disk,
            family=job.family(arena),
            redactions=Secrets.of(arena.run.env).redactions,
        )
        result = self._timed("score", spec)
        if result.end is StageEnd.STOPPED:
            return None
        without = f" (not given to it: {', '.join(left.left_out)})" if left.left_out else ""
        if result.end is not StageEnd.EXITED or result.exit_code != 0:
            words = f"the referee failed{without}: {last_words(result, log)}"
            return self.ended(Outcome.NO_METRIC, None, words)
        (outcome, score, detail), numbers = read_score(tail(out, 1), arena.metric)
        self.numbers = {**numbers, **self.numbers}
        return self.ended(outcome, score, f"{detail}{without}" if detail else "")

    def _note_curve(self, watch: Watch, run: StageResult) -> None:
        spent = run.cpu_seconds if self.arena.run.clock == "cpu" else run.wall_seconds
        watch.finish(spent / self.arena.run.budget)
        self.curve = tuple(watch.progress.curve)
        self.numbers |= watch.numbers

    def _timed(self, stage: str, spec: StageSpec) -> StageResult:
        result = run_stage(spec, self.stopping)
        self.seconds[stage] = result.wall_seconds
        if result.survivors and result.end is not StageEnd.STOPPED:
            raise MeasurementImpossible(
                f"{result.survivors} of the processes of the {stage} cannot be ended, not even by "
                "SIGKILL, and would disturb every measurement. They may hang in a device driver: "
                "end them or restart the machine, then run the same command again"
            )
        # A stage that was stopped is not judged; one that broke its disk limit has a verdict.
        if result.log_error and result.end not in (StageEnd.STOPPED, StageEnd.DISK):
            raise _OutputLost(
                f"the output of the {stage} could not be written to {self.logs}: {result.log_error}"
            )
        return result

    def _meter(self, run: StageResult) -> None:
        self.numbers["wall_seconds"] = round(run.wall_seconds, 3)
        self.numbers["cpu_seconds"] = round(run.cpu_seconds, 3)
        self.numbers["peak_memory_mb"] = round(run.peak_memory_bytes / 1e6, 1)

    def ended(self, outcome: Outcome, score: float | None, detail: str) -> Measurement:
        return Measurement(
            candidate=self.job.candidate,
            seed=self.job.seed,
            started=self.started,
            outcome=outcome,
            score=score,
            numbers=self.numbers,
            reported=self.reported,
            stage_seconds={stage: round(s, 4) for stage, s in self.seconds.items()},
            detail=detail,
            log=os.path.relpath(self.logs, self.arena.state),
            device=platform.node(),
            self_reported=self.referee is None and self.job.purpose is not Purpose.CHECK,
            sandbox=self.sandbox,
            referee=referee_digest(self.arena, self.workspace, self.job.base),
            curve=self.curve,
            purpose=self.job.purpose,
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
    """A hint, where a path that the run did not find exists outside its sandbox."""
    for path in _NOT_FOUND.findall(words):
        if os.path.lexists(path) and not Path(path).is_relative_to(place):
            return (
                f"\n{path} exists, but a run cannot see or write it: add it to `data` in "
                "arena.toml if it should read it; what it writes belongs below OVERNIGHT_OUT"
            )
    return ""
