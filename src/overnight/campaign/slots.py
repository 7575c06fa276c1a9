"""The slots: hands jobs to the executor; records measurements when they begin and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress

from overnight.campaign.wanted import Wanted
from overnight.core.errors import OvernightError
from overnight.core.experiment import Experiment, Measurement, Outcome, Purpose
from overnight.core.under_way import UnderWay
from overnight.executors.base import Executor
from overnight.judge.prune import Pruning
from overnight.measure.job import Job
from overnight.measure.setup import setup_log
from overnight.record.book import Book

Measure = Callable[[Purpose, Experiment, int], Measurement]
"""Measures an experiment's candidate once, for a purpose, with a seed."""
_LONG_SECONDS = 0.5
"""A setup that takes longer is noted in the ledger while it runs."""


class StoppedAtOnce(Exception):
    """Internal: the campaign was stopped while something was under way."""


class Slots:
    """Starts measurements and records their outcomes in the book."""

    def __init__(
        self, book: Book, executor: Executor, sandbox: str, warn: Callable[[str], None]
    ) -> None:
        self._book = book
        self._warn = warn
        self._executor = executor
        self._sandbox = sandbox
        self._jobs: dict[Future[Measurement | None], tuple[int, int]] = {}
        """Future → id of its measurement, number of its experiment."""

    @property
    def free(self) -> int:
        """How many more measurements may begin now."""
        return self._executor.slots - len(self._jobs)

    @property
    def at_work(self) -> list[Future[Measurement | None]]:
        return list(self._jobs)

    def start(self, wanted: Wanted) -> Future[Measurement | None]:
        """Begin a measurement."""
        begun = self._book.begin(wanted.measurement, wanted.round, wanted.pair)
        try:
            future = self._executor.submit(self._job(begun, wanted.pruning))
        except BaseException:  # it never began
            self._book.enter(begun.id, None)
            raise
        self._jobs[future] = begun.id, begun.n
        return future

    def enter(self) -> Iterator[Experiment]:
        """Record the measurements that have ended; yields the experiments about which they decide
        something. Raises MeasurementImpossible when the machine is at fault."""
        for done in [future for future in self._jobs if future.done()]:
            id, n = self._jobs.pop(done)
            try:
                taken = done.result()
            except BaseException:  # however it ended, it is no longer under way
                self._book.enter(id, None)
                raise
            if e := self._book.enter(id, taken):
                yield e
            if taken and taken.outcome is Outcome.FINISHED and taken.detail:
                self._warn(f"a measurement of experiment {n}: {taken.detail}")
            if taken and taken.purpose is Purpose.HOLDOUT and taken.score is None:
                # Without its output, which may reveal the exam's data.
                words = f"the final exam of experiment {n} gave no score ({taken.outcome})"
                self._warn(f"{words}; its logs are in {taken.log}")

    def prepare(self, base: str, pause: Callable[[Future[None]], object]) -> None:
        """Run the arena's setup unless this machine has run it before; `pause` waits for it. Raises
        MeasurementImpossible."""
        setup = self._book.arena.setup
        if setup is None:
            return
        planned = UnderWay.planned(0, base, Purpose.JUDGE, 0, 0)
        future = self._executor.prepare(self._job(planned))
        if wait([future], _LONG_SECONDS).not_done:
            log = setup_log(self._book.arena, self._book.tag)
            self._book.note("setup", words=f"the setup `{setup.command}`, log {log}")
        pause(future)
        future.result()

    def close(self) -> None:
        """End all measurements, and wait until they have ended."""
        self._executor.close()
        while self._jobs:
            with suppress(OvernightError, OSError):  # the reason for closing matters more
                for _ in self.enter():
                    pass

    def _job(self, begun: UnderWay, pruning: Pruning | None = None) -> Job:
        return Job(
            id=begun.id,
            tag=self._book.tag,
            n=begun.n,
            candidate=begun.candidate,
            base=self._book.record.base,
            seed=begun.seed,
            purpose=begun.purpose,
            sandbox=self._sandbox,
            gpus=0 if begun.purpose is Purpose.CHECK else self._book.arena.run.gpus,
            pruning=pruning,
        )


def asked_for(book: Book, purpose: Purpose, e: Experiment, seed: int) -> Wanted:
    """A measurement that the user asks for; it decides nothing."""
    assert e.candidate is not None
    return Wanted(UnderWay.planned(e.n, e.candidate, purpose, seed, book.measured))
