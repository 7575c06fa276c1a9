"""Plans that the loop follows: `run` until its limits, or a single `try`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from overnight.agents.base import Agent
from overnight.campaign.limits import Stop, StopKind, Stretch
from overnight.campaign.proposals import Answer
from overnight.campaign.wanted import Ahead
from overnight.core.experiment import Experiment
from overnight.record.book import Book
from overnight.search.portfolio import Ask, Out, Portfolio
from overnight.search.strategy import HillClimb, Start, Strategy


class Plan(Protocol):
    """Tells the loop which changes to ask for, and when to stop."""

    def over(self) -> Stop | None:
        """Why no further change is asked for; None if one may be."""
        ...

    def ahead(self, stop: Stop | None) -> Ahead:
        """What may still be measured, during the plan or after `stop`."""
        ...

    def asks(self, free: int) -> list[Ask]:
        """The changes to ask for now, at most `free` of them."""
        ...

    def proposal_ended(self, answer: Answer, experiment: Experiment | None) -> None:
        """Take note of how a proposal ended, and of its experiment, if any."""
        ...


_OUT = {
    Out.FAILED: StopKind.AGENT,
    Out.CAPPED: StopKind.CAPPED,
    Out.EXHAUSTED: StopKind.EXHAUSTED,
}
"""How a night ends when no agent can be asked any more."""


class Night:
    """The plan of `run`: one change after another, until a limit or the user ends it."""

    def __init__(
        self,
        book: Book,
        portfolio: Portfolio,
        stretch: Stretch,
        stop_asked: Callable[[], bool],
        warn: Callable[[str], None],
    ) -> None:
        self._book = book
        self._portfolio = portfolio
        self._stretch = stretch
        self._stop_asked = stop_asked
        self._warn = warn
        self._strategy: Strategy = HillClimb()

    def over(self) -> Stop | None:
        if self._stop_asked():
            return Stop(StopKind.ASKED, "you asked for a stop")
        if not self._book.begun or self._book.unfinished:
            return None
        self._portfolio.enforce_caps(self._book.spent)
        if self._portfolio.over:
            out, words = self._portfolio.over
            return Stop(_OUT[out], words)
        for words in self._portfolio.newly_out():
            self._warn(f"{words}; the campaign goes on without it")
        return self._stretch.over(self._book)

    def ahead(self, stop: Stop | None) -> Ahead:
        left = self._stretch.measurements_left(self._book)
        if stop and stop.kind is StopKind.ASKED:  # the user waits for the end
            return Ahead(left, confirm=False)
        return Ahead(left, ending=stop is not None)

    def asks(self, free: int) -> list[Ask]:
        if self._portfolio.wait:
            return []
        allowance = self._stretch.allowance(self._book)
        asks = (self._portfolio.ask(self._book, s) for s in self._strategy.wanted(self._book, free))
        return [replace(ask, allowance=ask.allowance.within(allowance)) for ask in asks]

    def proposal_ended(self, answer: Answer, experiment: Experiment | None) -> None:
        agent = answer.ask.agent
        if answer.proposal.outcome == "nothing left":
            self._portfolio.nothing_left(agent)
        elif answer.proposal.outcome != "stopped":
            self._portfolio.proposal_ended(agent, answer.error)
        if answer.error and experiment is None:
            words = f"{agent.name} could not work ({answer.error.trouble}): {answer.error}"
            self._book.note("trouble", words=words)


class OneTry:
    """The plan of `try`: a single change by one agent, and its verdict."""

    def __init__(self, book: Book, agent: Agent) -> None:
        self._book = book
        self._agent = agent
        self.first = max(book.next_number, 1)
        """The number that its experiment has, if one comes of it."""
        self._asked = False
        self._answered = False
        self.experiment: int | None = None
        """Number of the experiment that came of it."""

    def over(self) -> Stop | None:
        over = self._answered and not self._book.unfinished
        return Stop(StopKind.TRIED, "it was tried") if over else None

    def ahead(self, stop: Stop | None) -> Ahead:
        return Ahead(exams=stop is None)

    def asks(self, free: int) -> list[Ask]:
        if self._asked or not HillClimb().wanted(self._book, free):
            return []
        self._asked = True
        plain = Start.plain(self._book)
        return [Ask(self._agent, plain.start, plain.against)]

    def proposal_ended(self, answer: Answer, experiment: Experiment | None) -> None:
        self._answered = True
        self.experiment = experiment.n if experiment else None
        if answer.error and experiment is None:
            raise answer.error
