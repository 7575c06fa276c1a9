"""The slots: each measurement is in the ledger before it begins and after it has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress

from overnight.campaign.wanted import Wanted
from overnight.core.errors import OvernightError
from overnight.core.experiment import Experiment, Measurement, Purpose
from overnight.core.under_way import UnderWay
from overnight.executors.base import Executor
from overnight.judge.prune import Pruning
from overnight.measure.job import Job
from overnight.measure.setup import setup_log
from overnight.record.book import Book

Measure = Callable[[Purpose, Experiment, int], Measurement]
"""Measures a candidate once: what for, whose, with which seed."""
_LONG_SECONDS = 0.5
"""A setup that takes longer is mentioned while it runs."""


class StoppedAtOnce(Exception):
    """Internal: the campaign was stopped while something was under way."""


class Slots:
    """Hands jobs to an executor, and enters what comes of them into the book."""

    def __init__(
        self, book: Book, executor: Executor, sandbox: str, warn: Callable[[str], None]
    ) -> None:
        self._book = book
        self._warn = warn
        self._executor = executor
        self._sandbox = sandbox
        self._jobs: dict[Future[Measurement | None], tuple[int, int]] = {}
        """Id of each measurement, and the number of its experiment."""

    @property
    def free(self) -> int:
        """How many more measurements may be under way now."""
        return self._executor.slots - len(self._jobs)

    @property
    def at_work(self) -> list[Future[Measurement | None]]:
        return list(self._jobs)

    def start(self, wanted: Wanted) -> Future[Measurement | None]:
        """Begin a measurement."""
        begun = self._book.begin(wanted.measurement, wanted.round, wanted.pair)
        future = self._executor.submit(self._job(begun, wanted.pruning))
        self._jobs[future] = begun.id, begun.n
        return future

    def enter(self) -> Iterator[Experiment]:
        """Record what the measurements came to that have ended: the experiments about which they
        decide something. Raises MeasurementImpossible when the machine is at fault."""
        for done in [future for future in self._jobs if future.done()]:
            id, n = self._jobs.pop(done)
            try:
                taken = done.result()
            except BaseException:  # whatever ended it, the ledger must not call it under way
                self._book.enter(id, None)
                raise
            if e := self._book.enter(id, taken):
                yield e
            if taken and taken.purpose is Purpose.HOLDOUT and taken.score is None:
                # Not what it printed: that may tell of the exam's data.
                words = f"the final exam of experiment {n} gave no score ({taken.outcome})"
                self._warn(f"{words}; its logs are in {taken.log}")

    def prepare(self, base: str, pause: Callable[[Future[None]], object]) -> None:
        """Run the arena's setup where it was not run before; `pause` waits for it. Raises
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
        """End everything, and wait for that."""
        self._executor.close()
        while self._jobs:
            with suppress(OvernightError, OSError):  # why it is closed counts more
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
    """A measurement that is taken because the user asked, not because it decides something."""
    assert e.candidate is not None
    return Wanted(UnderWay.planned(e.n, e.candidate, purpose, seed, book.measured))
