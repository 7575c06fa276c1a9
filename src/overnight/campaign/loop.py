"""The loop: publish due verdicts, begin wanted measurements, ask agents for changes, repeat.

Workers return what they measured; this process alone judges, records and moves the branch. What
comes next follows from the book, so a campaign whose driver died continues like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from time import monotonic
from typing import cast

from overnight.campaign.keeper import Keeper
from overnight.campaign.limits import Stop
from overnight.campaign.plans import Plan
from overnight.campaign.proposals import Answer, Proposers
from overnight.campaign.slots import Slots, StoppedAtOnce
from overnight.campaign.wanted import due_verdicts, wanted
from overnight.core.errors import MeasurementImpossible
from overnight.core.experiment import Experiment, Measurement
from overnight.judge.base import Judge
from overnight.record.book import Book
from overnight.record.log_folders import experiment_logs

SECONDS = 0.5
"""Most seconds of a wait; half of it, least seconds between two looks for a stop at once."""
_FAILURES = 3
"""Failed measurements of a keep in a row after which the machine counts as broken."""
Observer = Callable[[Experiment], None]
Work = Future[Measurement | None] | Future[Answer] | Future[None]
"""A job, a proposal or a setup that is under way."""


class Loop:
    """Runs one campaign under a plan, whether it is new or resumed."""

    def __init__(
        self, book: Book, judge: Judge, keeper: Keeper, slots: Slots, proposers: Proposers
    ) -> None:
        self._book = book
        self._judge = judge
        self._keeper = keeper
        self._slots = slots
        self._proposers = proposers
        self.changed: Callable[[Book], None] = lambda book: None
        """Called after changes of the book."""
        self._shown, self._looked = -1, 0.0
        """Version of the book that was shown, and when it was looked at."""
        self._handled = 0
        """Id of the newest stop request that was handled."""
        self.forget_requests()

    def run(self, plan: Plan, observe: Observer) -> Stop:
        """Continue until the plan is over and nothing more is wanted; returns why it is over."""
        book, stop = self._book, None
        while True:
            while closings := due_verdicts(book, self._judge):
                for e in self._keeper.publish(closings):
                    self._must_have_a_baseline(e)
                    observe(e)
            stop = stop or plan.over()
            for one in wanted(book, self._judge, plan.ahead(stop), self._slots.free):
                self._slots.start(one)
            for ask in [] if stop else plan.asks(self._proposers.free):
                self._proposers.ask(ask)
            under_way: list[Work] = [*self._slots.at_work, *self._proposers.at_work]
            if stop and not under_way:
                return stop
            self.wait(under_way)
            self._record_finished(plan, observe)

    def wait(self, under_way: Sequence[Work]) -> None:
        """Wait until one of them has ended, at most SECONDS. Raises StoppedAtOnce when the user has
        asked for a stop at once."""
        if monotonic() - self._looked >= SECONDS / 2:
            self._look()
        if self._proposers.stopping.is_set():
            raise StoppedAtOnce
        if under_way:
            wait(cast("Sequence[Future[object]]", under_way), SECONDS, FIRST_COMPLETED)
        else:  # every agent has to wait before it is asked again
            self._proposers.stopping.wait(SECONDS)

    def forget_requests(self) -> None:
        """Ignore all stop requests made so far."""
        self._handled = max((e.id for e in self._book.events("stop-request")), default=0)

    def stop_asked(self, now: bool = False) -> bool:
        """Whether the user has asked for a stop; with `now`, for a stop at once."""
        requests = self._book.events("stop-request", after=self._handled)
        return any(event.data.get("now") or not now for event in requests)

    def _record_finished(self, plan: Plan, observe: Observer) -> None:
        """Record finished measurements and proposals in the ledger, then report them."""
        for e in self._slots.enter():
            if e.verdict is not None:
                self._keeper.update_results(e)
                self._must_still_run(e)
        for answer, proposed in self._proposers.enter():
            plan.proposal_ended(answer, proposed)
            if proposed is not None and proposed.verdict is not None:
                observe(proposed)

    def _look(self) -> None:
        """Call `changed` if the book has changed, and see whether a stop at once was asked for."""
        self._looked = monotonic()
        if self._shown != self._book.version:
            self._shown = self._book.version
            self.changed(self._book)
        if self.stop_asked(now=True):
            self._proposers.stopping.set()

    def _must_have_a_baseline(self, e: Experiment) -> None:
        if e.n == 0 and not e.kept:
            logs = experiment_logs(self._book.arena, self._book.tag, 0)
            raise MeasurementImpossible(
                f"the baseline cannot be measured: {e.reason}\nIts logs are in {logs}. "
                "Mend the arena, commit, and run again."
            )

    def _must_still_run(self, e: Experiment) -> None:
        """Raises MeasurementImpossible if the newest _FAILURES measurements of a confirmed keep
        all failed: it ran before, so the machine is at fault."""
        latest = e.judged[-_FAILURES:]
        if e.kept and len(latest) == _FAILURES and all(m.score is None for m in latest):
            raise MeasurementImpossible(
                f"experiment {e.n}, the incumbent, was measured again and failed {_FAILURES} times "
                f"in a row: {latest[-1].outcome}: {latest[-1].detail}"
            )
