"""Takes measurements for a campaign: each is in the ledger before it begins and after it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from overnight.campaign.state import Driven
from overnight.core.experiment import Experiment, Measurement, Purpose
from overnight.executors.base import Executor
from overnight.executors.local import LocalExecutor
from overnight.judge.prune import Pruning
from overnight.measure.stages import Task
from overnight.record.lock import family_of

T = TypeVar("T")
Measure = Callable[[Purpose, Experiment, int], Measurement]
"""Measures a candidate once: what for, whose, with which seed."""
_LONG_SECONDS = 0.5
"""A setup that takes longer is told of while it runs."""


class StoppedAtOnce(Exception):
    """Internal: `stopping` was set while something was under way."""


class Measuring:
    """The measurements of one campaign, on this machine's executor."""

    def __init__(self, driven: Driven, stop_now: Callable[[], bool], sandbox: str) -> None:
        arena, record = driven.arena, driven.record
        self.stopping = threading.Event()
        """Set it to end what is under way."""
        self.family = family_of(arena, record.tag)
        self.sandbox = sandbox
        self.places = arena.state / "worktrees" / record.tag
        self._arena = arena
        self._base = record.base
        self._tag = record.tag
        self._ledger = driven.ledger
        self._history = driven.history
        self._stop_now = stop_now
        self._executor: Executor = LocalExecutor(arena, driven.workspace)

    def close(self) -> None:
        """End what is under way."""
        self.stopping.set()
        self._executor.close()

    def prepare(self) -> None:
        """The arena's setup, where it was not run before. Raises MeasurementImpossible."""
        if self._arena.setup is None:
            return
        logs = self._arena.state / "logs" / self._tag
        logs.mkdir(parents=True, exist_ok=True)
        task = self._task_in(self.places / "setup", logs, self._base, 0)
        future = self._executor.prepare(task)
        if wait([future], _LONG_SECONDS).not_done:
            words = f"the setup `{self._arena.setup.command}`, log {logs / 'setup.log'}"
            self._ledger.add_event(self._tag, "setup", words=words)
        self.wait(future)
        if self.stopping.is_set():
            raise StoppedAtOnce

    def take(
        self, experiment: Experiment, seed: int | None = None, pruning: Pruning | None = None
    ) -> Measurement:
        """Measure an experiment's candidate once more, to judge. Without a seed: one that is new.
        With `pruning` the run is ended early when it is lost.

        Raises StoppedAtOnce, MeasurementImpossible.
        """
        seed = self._history.fresh_seed if seed is None else seed
        measurement = self.measure(Purpose.JUDGE, experiment, seed, pruning)
        self._history.measured += 1
        return measurement

    def measure(
        self,
        purpose: Purpose,
        experiment: Experiment,
        seed: int,
        pruning: Pruning | None = None,
    ) -> Measurement:
        """Measure its candidate once, and record it. Whatever is not taken to judge changes
        nothing but the record."""
        n, candidate = experiment.n, experiment.candidate
        assert candidate is not None
        row = self._ledger.open_measurement(self._tag, n, candidate, seed, purpose)
        kind = "run" if purpose is Purpose.JUDGE else purpose.value
        task = self._task(n, candidate, seed, kind)
        task = replace(task, purpose=purpose, pruning=pruning)
        measurement = self.wait(self._executor.measure(task))
        if measurement is None:
            raise StoppedAtOnce
        self._ledger.close_measurement(row, measurement)
        return measurement

    def check(self, experiment: Experiment) -> str | None:
        """What the arena's checks find wrong with the candidate, in a sentence."""
        if not self._arena.checks:
            return None
        assert experiment.candidate is not None
        task = self._task(experiment.n, experiment.candidate, 0, "checks")
        wrong = self.wait(self._executor.check(task))
        if self.stopping.is_set():  # which ends a check too, and that is no failure of it
            raise StoppedAtOnce
        return wrong

    def logs(self, n: int) -> Path:
        """The folder of experiment n's logs."""
        logs = self._arena.state / "logs" / self._tag / str(n)
        logs.mkdir(parents=True, exist_ok=True)
        return logs

    def pause(self, seconds: float) -> None:
        """Let time pass; a `stop --now` ends it."""
        self.stopping.wait(seconds)
        if self._stop_now():
            self.stopping.set()

    def wait(self, future: Future[T]) -> T:
        """The future's result; meanwhile a `stop --now` from another terminal is obeyed."""
        while wait([future], 0.5).not_done:
            if self._stop_now():
                self.stopping.set()
        return future.result()

    def _task(self, n: int, candidate: str, seed: int, kind: str = "run") -> Task:
        name = f"{kind}-{n}-{seed}"
        logs = self.logs(n) / name
        logs.mkdir(exist_ok=True)
        return self._task_in(self.places / name, logs, candidate, seed, n)

    def _task_in(self, place: Path, logs: Path, candidate: str, seed: int, n: int = 0) -> Task:
        return Task(
            candidate=candidate,
            base=self._base,
            seed=seed,
            place=place,
            logs=logs,
            family=self.family,
            experiment=n,
            stopping=self.stopping,
            sandbox=self.sandbox,
        )
