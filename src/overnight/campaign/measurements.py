"""Takes measurements for a campaign: each is in the ledger before it begins and after it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TypeVar

from overnight.campaign.state import Driven
from overnight.core.experiment import Experiment, Measurement, Outcome, Purpose
from overnight.executors.base import Executor
from overnight.executors.local import LocalExecutor
from overnight.judge.prune import Pruning
from overnight.measure.job import Job, places
from overnight.measure.setup import setup_log
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
        self.places = places(arena, record.tag)
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
        job = self._job(0, 0, self._base, 0, Purpose.JUDGE)
        future = self._executor.prepare(job)
        if wait([future], _LONG_SECONDS).not_done:
            log = setup_log(self._arena, self._tag)
            words = f"the setup `{self._arena.setup.command}`, log {log}"
            self._ledger.add_event(self._tag, "setup", words=words)
        self._result(job, future)
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
        job = self._job(row, n, candidate, seed, purpose, pruning)
        measurement = self._result(job, self._executor.submit(job))
        if measurement is None:
            raise StoppedAtOnce
        self._ledger.close_measurement(row, measurement)
        return measurement

    def check(self, experiment: Experiment) -> str | None:
        """What the arena's checks find wrong with the candidate, in a sentence."""
        if not self._arena.checks:
            return None
        assert experiment.candidate is not None
        n, candidate = experiment.n, experiment.candidate
        job = self._job(-1, n, candidate, 0, Purpose.CHECK)  # no row of the ledger has this id
        checked = self._result(job, self._executor.submit(job))
        if checked is None:
            raise StoppedAtOnce
        return None if checked.outcome is Outcome.FINISHED else checked.detail

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

    def _result(self, job: Job, future: Future[T]) -> T:
        """The future's result; the job is cancelled when `stopping` is set, or on an error."""
        try:
            while wait([future], 0.2).not_done:
                if self.stopping.is_set() or self._stop_now():
                    self.stopping.set()
                    self._executor.cancel(job.id)
            return future.result()
        except BaseException:
            self._executor.cancel(job.id)
            raise

    def _job(
        self,
        id: int,
        n: int,
        candidate: str,
        seed: int,
        purpose: Purpose,
        pruning: Pruning | None = None,
    ) -> Job:
        return Job(
            id=id,
            tag=self._tag,
            n=n,
            candidate=candidate,
            base=self._base,
            seed=seed,
            purpose=purpose,
            sandbox=self.sandbox,
            gpus=0 if purpose is Purpose.CHECK else self._arena.run.gpus,
            pruning=pruning,
        )
