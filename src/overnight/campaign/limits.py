"""When a campaign ends, and why."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from overnight.core.experiment import Event, confirmed_gain
from overnight.core.interrupts import EXIT_CODE
from overnight.core.quantity import format_duration
from overnight.core.spending import together
from overnight.core.usage import Allowance, Left
from overnight.insights.wall_time import death_of_last_driver
from overnight.record.book import Book

_CAPPED = 3
_MOMENT = 0.05
"""Least seconds that a measurement is expected to take."""


class StopKind(StrEnum):
    """What ended a stretch, which is one `run`."""

    EXPERIMENTS = "experiments"
    HOURS = "hours"
    TARGET = "target"
    PLATEAU = "plateau"
    ASKED = "asked"
    EXHAUSTED = "exhausted"
    DOLLARS = "dollars"
    TOKENS = "tokens"
    AGENT = "agent"
    CAPPED = "capped"
    """Every agent has reached its own cap for the campaign."""
    INTERRUPTED = "interrupted"
    ERROR = "error"
    TRIED = "tried"
    """The one experiment of a `try` has its verdict."""

    @property
    def exit_code(self) -> int:
        """The exit code of `overnight run`."""
        capped = {kind: _CAPPED for kind in (self.DOLLARS, self.TOKENS, self.CAPPED)}
        return {self.INTERRUPTED: EXIT_CODE, self.AGENT: 1, self.ERROR: 1, **capped}.get(self, 0)


@dataclass(frozen=True)
class Stop:
    """Why a stretch ended; `words` is a sentence for the user."""

    kind: StopKind
    words: str


@dataclass(frozen=True)
class Limits:
    """What one call of `run` may use. None: no limit."""

    experiments: int | None = None
    hours: float | None = None
    target: float | None = None
    """Stop when the incumbent's score is at least this good."""
    plateau: int | None = None
    """Stop after this many experiments without a keep."""
    dollars: float | None = None
    """Stop when proposals have cost this many US dollars, as far as their agents know."""
    tokens: int | None = None
    """Stop when proposals have used this many tokens, read and written."""

    @classmethod
    def of(cls, event: Event) -> Limits:
        """The limits recorded in a start event."""

        def number(key: str) -> float | None:
            value = event.data.get(key)
            return None if value is None else float(value)

        def whole(key: str) -> int | None:
            value = number(key)
            return None if value is None else int(value)

        return cls(
            whole("experiments"),
            number("hours"),
            number("target"),
            whole("plateau"),
            number("dollars"),
            whole("tokens"),
        )


@dataclass(frozen=True)
class Stretch:
    """One `run`, from start to stop. A stretch whose driver died is resumed: its experiments, hours
    and costs count from where it began."""

    limits: Limits
    began: datetime
    first: int
    """Number of the stretch's first experiment."""
    dollars: float = 0.0
    """Known cost of the campaign's proposals before it, in US dollars."""
    tokens: int = 0
    """Tokens that they had used before it."""
    event: int = 0
    """Id of its start event in the ledger; 0 if it has not begun."""

    @classmethod
    def begin(cls, book: Book, limits: Limits) -> Stretch:
        """Resume the stretch whose driver died, or open a new one."""
        ahead, died = cls.ahead(book, limits), death_of_last_driver(book)
        if ahead.event:
            book.note("resume", **died)
        else:
            before = {"dollars_before": ahead.dollars, "tokens_before": ahead.tokens}
            began = ahead.began.isoformat()
            book.note("start", began=began, first=ahead.first, **before, **asdict(limits), **died)
        return cls.of(book.events("start")[-1])

    @classmethod
    def ahead(cls, book: Book, limits: Limits) -> Stretch:
        """The stretch that `begin` would return, without recording it: that whose driver died under
        the same limits, or a new one, which has no event."""
        last = book.events("start", "stop")[-1:]
        died = cls.of(last[0]) if last and last[0].kind == "start" else None
        if died and died.limits == limits:
            return died
        used = together(book.spent)
        before = (died.dollars, died.tokens) if died else (used.dollars, used.tokens)
        began = died.began if died else datetime.now(UTC)
        return cls(limits, began, died.first if died else max(book.next_number, 1), *before)

    @classmethod
    def of(cls, event: Event) -> Stretch:
        """The stretch of a start event."""
        data = event.data
        return cls(
            Limits.of(event),
            datetime.fromisoformat(str(data["began"])),
            int(data["first"] or 1),
            float(data.get("dollars_before") or 0.0),
            int(data.get("tokens_before") or 0),
            event.id,
        )

    @property
    def until(self) -> datetime | None:
        """When its hours are over; None without such a limit."""
        hours = self.limits.hours
        return None if hours is None else self.began + timedelta(hours=hours)

    def allowance(self, book: Book) -> Allowance:
        """The dollars and tokens that the limits leave; they may be negative."""
        used, limits = together(book.spent), self.limits
        return Allowance(
            None if limits.dollars is None else limits.dollars - used.dollars + self.dollars,
            None if limits.tokens is None else limits.tokens - used.tokens + self.tokens,
        )

    def left(self, book: Book) -> Left:
        """What is left of all limits, at least 0 of each."""
        left, latest = self.allowance(book), book.latest.n if book.begun else 0
        until, most = self.until, self.limits.experiments
        return Left(
            None if most is None else max(most - (latest - self.first + 1), 0),
            None if until is None else max((until - datetime.now(UTC)).total_seconds(), 0.0),
            None if left.dollars is None else max(left.dollars, 0.0),
            None if left.tokens is None else max(left.tokens, 0),
        )

    def measurements_left(self, book: Book) -> float:
        """How many measurements as long as the incumbent's newest fit into the time left; infinite
        without a limit."""
        if self.until is None or not book.begun:
            return math.inf
        scored = [m for m in book.incumbent.judged if m.score is not None]
        seconds = max(scored[-1].seconds, _MOMENT)
        return (self.until - datetime.now(UTC)).total_seconds() / seconds

    def over(self, book: Book) -> Stop | None:
        """The limit that has been reached, if any."""
        limits, left = self.limits, self.allowance(book)
        if left.penniless:
            return Stop(StopKind.DOLLARS, f"the {limits.dollars:g} dollars are spent")
        if left.tokens is not None and left.tokens <= 0:
            return Stop(StopKind.TOKENS, f"the {limits.tokens:,} tokens are used up")
        metric, incumbent, latest = book.arena.metric, book.incumbent, book.latest
        done = latest.n - self.first + 1
        if limits.experiments is not None and done >= limits.experiments:
            words = f"the limit of --experiments {limits.experiments} is reached"
            return Stop(StopKind.EXPERIMENTS, words)
        if self.until is not None and datetime.now(UTC) >= self.until:
            words = f"the {format_duration((limits.hours or 0.0) * 3600)} are over"
            return Stop(StopKind.HOURS, words)
        reached = _reached(book)
        if (
            limits.target is not None
            and reached is not None
            and metric.orient(reached) >= metric.orient(limits.target)
        ):
            words = f"{metric.name} {reached:.6g} reached the target {limits.target:g}"
            return Stop(StopKind.TARGET, words)
        since = latest.n - max(incumbent.n, self.first - 1)
        if limits.plateau is not None and since >= limits.plateau:
            return Stop(StopKind.PLATEAU, f"no win in the last {since} experiments")
        return None


def _reached(book: Book) -> float | None:
    """The incumbent's score, or the confirmed one if that is worse: its first score was lucky."""
    best, first = book.incumbent.score, book.baseline.score
    if best is None or first is None or book.arena.judge.rule != "confirm":
        return best
    orient = book.arena.metric.orient
    confirmed = orient(first) + confirmed_gain(book.keeps)
    return orient(min(orient(best), confirmed))
