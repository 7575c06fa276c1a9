"""When a campaign ends, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from overnight.arena.arena import Arena
from overnight.core.experiment import Event, confirmed_gain
from overnight.core.interrupts import EXIT_CODE
from overnight.core.quantity import format_duration
from overnight.core.spending import SPENT
from overnight.core.usage import UNLIMITED, Allowance
from overnight.insights.limits_left import Left
from overnight.record.history import History
from overnight.record.ledger import Ledger

if TYPE_CHECKING:
    from overnight.search.portfolio import Portfolio

_CAPPED = 3


class StopKind(StrEnum):
    """What ended a stretch of a campaign."""

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
    """No agent has any of its share of a campaign left."""
    INTERRUPTED = "interrupted"
    ERROR = "error"

    @property
    def settles(self) -> bool:
        """Whether there is time to confirm what is provisional: nobody waits for the end."""
        return self not in (self.ASKED, self.INTERRUPTED, self.ERROR)

    @property
    def exit_code(self) -> int:
        """What `overnight run` ends with."""
        capped = {kind: _CAPPED for kind in (self.DOLLARS, self.TOKENS, self.CAPPED)}
        return {self.INTERRUPTED: EXIT_CODE, self.AGENT: 1, self.ERROR: 1, **capped}.get(self, 0)


@dataclass(frozen=True)
class Stop:
    """Why a stretch ended; `words` is a sentence for the person."""

    kind: StopKind
    words: str

    @classmethod
    def without_agents(cls, portfolio: Portfolio) -> Stop | None:
        """When nobody can be asked any more; None while somebody can."""
        from overnight.search.portfolio import Out  # the views need the limits, but no agents

        if portfolio.over is None:
            return None
        out, words = portfolio.over
        kinds = {
            Out.FAILED: StopKind.AGENT,
            Out.CAPPED: StopKind.CAPPED,
            Out.EXHAUSTED: StopKind.EXHAUSTED,
        }
        return cls(kinds[out], words)


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
    """Stop when proposals have cost so many US dollars, as far as their agents know."""
    tokens: int | None = None
    """Stop when proposals have used so many tokens, read and written."""

    @classmethod
    def of(cls, event: Event) -> Limits:
        """The limits that a start event tells of."""

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
    """From one `run` to its stop. A stretch that died without one is taken up again: its
    experiments and its hours go on counting from where it began."""

    began: datetime
    first: int
    """Number of the stretch's first experiment."""
    event: int
    """Id of the ledger's start event."""
    since: int = 0
    """Id of the newest event before it of a proposal without an experiment: later ones count."""

    @classmethod
    def begin(cls, ledger: Ledger, tag: str, limits: Limits) -> Stretch:
        """Take up the stretch that died, or open a new one."""
        last = ledger.events(tag, "start", "stop")[-1:]
        ahead = cls.ahead(ledger, tag)
        if ahead.event and asdict(limits).items() <= last[0].data.items():
            return ahead
        began = ahead.began.isoformat()
        data = {"first": ahead.first, "since": ahead.since, **asdict(limits)}
        ledger.add_event(tag, "start", began=began, **data)
        return cls.of(ledger.events(tag, "start")[-1])

    @classmethod
    def ahead(cls, ledger: Ledger, tag: str) -> Stretch:
        """The one that would begin now: the one that died or, without an event, a new one."""
        last = ledger.events(tag, "start", "stop")[-1:]
        if last and last[0].kind == "start":
            return cls.of(last[0])
        experiments = ledger.experiments(tag, last=1)
        first = max(experiments[-1].n + 1 if experiments else 1, 1)
        lost = ledger.newest_event(tag, SPENT)
        return cls(datetime.now(UTC), first, 0, lost.id if lost else 0)

    @classmethod
    def of(cls, event: Event) -> Stretch:
        """The stretch that a start event tells of."""
        began = datetime.fromisoformat(str(event.data["began"]))
        since = int(event.data.get("since") or 0)
        return cls(began, int(event.data["first"] or 1), event.id, since)

    def until(self, limits: Limits) -> datetime | None:
        """When its hours are over; None without such a limit."""
        return None if limits.hours is None else self.began + timedelta(hours=limits.hours)

    def left(self, limits: Limits, ledger: Ledger, tag: str) -> Allowance:
        """What the limits leave of dollars and tokens."""
        if limits.dollars is None and limits.tokens is None:
            return UNLIMITED
        used = ledger.used(tag, self.first, self.since)
        tokens = (used.tokens_in or 0) + (used.tokens_out or 0)
        return Allowance(
            None if limits.dollars is None else limits.dollars - (used.dollars or 0.0),
            None if limits.tokens is None else limits.tokens - tokens,
        )

    def rest(self, limits: Limits, latest: int, left: Allowance) -> Left:
        """What is left of all limits after experiment `latest`; nothing is less than 0."""
        until, done = self.until(limits), latest - self.first + 1
        return Left(
            None if limits.experiments is None else max(limits.experiments - done, 0),
            None if until is None else max((until - datetime.now(UTC)).total_seconds(), 0.0),
            None if left.dollars is None else max(left.dollars, 0.0),
            None if left.tokens is None else max(left.tokens, 0),
        )

    def over(self, limits: Limits, arena: Arena, history: History, left: Allowance) -> Stop | None:
        """The limit that has been reached, if any."""
        if left.penniless:
            return Stop(StopKind.DOLLARS, f"the {limits.dollars:g} dollars are spent")
        if left.tokens is not None and left.tokens <= 0:
            return Stop(StopKind.TOKENS, f"the {limits.tokens:,} tokens are used up")
        metric, incumbent, latest = arena.metric, history.incumbent, history.latest
        done = latest.n - self.first + 1
        if limits.experiments is not None and done >= limits.experiments:
            words = f"the limit of --experiments {limits.experiments} is reached"
            return Stop(StopKind.EXPERIMENTS, words)
        until = self.until(limits)
        if until is not None and limits.hours is not None and datetime.now(UTC) >= until:
            words = f"the {format_duration(limits.hours * 3600)} are over"
            return Stop(StopKind.HOURS, words)
        reached = _reached(arena, history)
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


def _reached(arena: Arena, history: History) -> float | None:
    """The incumbent's score, and no better than what was confirmed: its first draw was lucky."""
    best, first = history.incumbent.score, history.baseline.score
    if best is None or first is None or arena.judge.rule != "confirm":
        return best
    orient = arena.metric.orient
    confirmed = orient(first) + confirmed_gain(history.keeps)
    return orient(min(orient(best), confirmed))
