"""What agents have achieved, and whether what they expected held."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from overnight.core.experiment import Experiment, Verdict, confirmed_gain
from overnight.core.spending import Spent

N = TypeVar("N", int, float)
_HALF = 0.5
_OFF = 1.05
"""From this factor on it is told."""


def came_to(e: Experiment) -> float | None:
    """The gain that an expectation is held against: nothing for a keep that was confirmed with a
    later one or is only simpler, or for a failure; None as long as it is open, or when nothing was
    measured."""
    if e.verdict in (None, Verdict.PROVISIONAL) or not e.judged:
        return None
    guess = e.foreseen if e.gain is None else e.claim
    return guess or 0.0


def held(e: Experiment) -> bool | None:
    """Whether at least half of the expected gain came, or no more than the expected loss; None
    without an expectation, or without anything to hold it against."""
    came = came_to(e)
    if e.expected is None or came is None:
        return None
    if e.gain is None and e.foreseen is None:
        return False
    return came >= e.expected * (_HALF if e.expected > 0 else 1)


@dataclass
class TrackRecord:
    """What one agent's experiments have come to."""

    agent: str
    experiments: int = 0
    kept: int = 0
    members: int = 0
    """Keeps that were confirmed with a later one, as a stack."""
    gain: float = 0.0
    """Verified, in units of the metric; of a confirmed stack it belongs to the tip."""
    tokens: int | None = None
    """Read and written; None as long as none are known."""
    dollars: float | None = None
    unpriced: int = 0
    """Proposals of unknown cost."""
    uncounted: int = 0
    """Proposals of which the tokens are unknown."""
    thought: float | None = None
    """Wall seconds that it took."""
    expectations: int = 0
    """Those that were held against a result."""
    held: int = 0
    expected: float = 0.0
    """All of those together."""
    came: float = 0.0
    """What came of them."""

    @property
    def keep_rate(self) -> float:
        """Share of its experiments that were kept, 0 to 1."""
        return self.kept / max(self.experiments, 1)

    @property
    def ratio(self) -> float | None:
        """How many times too large its expectations are, all in all; None where nothing was
        expected, or nothing came of it."""
        return self.expected / self.came if self.expected > 0 and self.came > 0 else None

    @property
    def calibration(self) -> str:
        """Its expectations in a line; empty without any."""
        if not self.expectations:
            return ""
        words = f"{self.expectations}, of which {self.held} held"
        if self.ratio is None:
            return words + f"; {self.expected:+.3g} expected in all, {self.came:+.3g} came"
        if self.ratio >= _OFF:
            return words + f"; on average {self.ratio:.2g} times too large"
        if self.ratio <= 1 / _OFF:
            return words + f"; on average {1 / self.ratio:.2g} times too small"
        return words

    def add(self, e: Experiment) -> None:
        """Count one experiment that has a verdict."""
        self.experiments += 1
        self.kept += e.kept
        self.members += e.kept and e.is_member
        self.gain += confirmed_gain([e]) if e.kept else 0.0
        spent = Spent.of(e)
        self.tokens = _sum(self.tokens, spent.tokens if spent.counted else None)
        self.dollars = _sum(self.dollars, e.usage.dollars)
        self.unpriced += spent.unpriced
        self.uncounted += spent.uncounted
        self.thought = _sum(self.thought, e.thought)
        came = came_to(e)
        if e.expected is not None and came is not None:
            self.expectations += 1
            self.held += bool(held(e))
            self.expected += e.expected
            self.came += came

    def charge(self, account: Spent) -> None:
        """Take what it used from the account of all its proposals, with those of which no
        experiment came."""
        self.tokens = account.tokens if account.counted else None
        self.dollars = account.dollars if account.priced else None
        self.unpriced, self.uncounted = account.unpriced, account.uncounted
        self.thought = account.thought or self.thought


def track_records(
    experiments: Iterable[Experiment], accounts: Iterable[Spent] = ()
) -> dict[str, TrackRecord]:
    """Agent → what its finished experiments came to, those with the most experiments first; the
    baseline is nobody's. `accounts`: what each has used, with or without an experiment."""
    found: dict[str, TrackRecord] = {}
    for e in experiments:
        if e.n and e.verdict is not None:
            found.setdefault(e.agent, TrackRecord(e.agent)).add(e)
    for account in accounts:
        found.setdefault(account.agent, TrackRecord(account.agent)).charge(account)
    return dict(sorted(found.items(), key=lambda item: -item[1].experiments))


def _sum(a: N | None, b: N | None) -> N | None:
    return b if a is None else a if b is None else a + b
