"""What agents have achieved, and how well their expected gains were met."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from overnight.core.experiment import Experiment, Verdict, confirmed_gain
from overnight.core.spending import Spent

_LEAST_SHARE = 0.5
"""Share of an expected gain that must be measured for the expectation to be met."""
_LEAST_ERROR = 1.05
"""Smallest factor between expected and measured gains that is reported."""


def measured_gain(e: Experiment) -> float | None:
    """The gain that an expectation is compared with, in units of the metric: 0 for a failure, a
    simplification, and a keep that was confirmed together with a later one. None without a final
    verdict or without a measurement."""
    if e.verdict in (None, Verdict.PROVISIONAL) or not e.judged:
        return None
    guess = e.foreseen if e.gain is None else e.claim
    return guess or 0.0


def held(e: Experiment) -> bool | None:
    """Whether the expectation is met: at least half of an expected gain was measured, or no more
    than an expected loss. None without an expectation or without a measured gain."""
    gain = measured_gain(e)
    if e.expected is None or gain is None:
        return None
    if e.gain is None and e.foreseen is None:
        return False
    return gain >= e.expected * (_LEAST_SHARE if e.expected > 0 else 1)


@dataclass
class TrackRecord:
    """What one agent has achieved and used in a campaign."""

    agent: str
    experiments: int = 0
    kept: int = 0
    members: int = 0
    """Keeps that were confirmed only together with a later one."""
    gain: float = 0.0
    """Total gain of its keeps, in units of the metric. The gain of keeps that were confirmed
    together belongs to the last of them."""
    spent: Spent = field(default_factory=Spent)
    """What all of its proposals used, including those that led to no experiment."""
    expectations: int = 0
    """Expected gains that were compared with a measured one."""
    held: int = 0
    """How many of them were met."""
    expected: float = 0.0
    """Their sum, in units of the metric."""
    came: float = 0.0
    """The sum of the measured gains, in units of the metric."""

    @property
    def keep_rate(self) -> float:
        """Share of its experiments that were kept, 0 to 1."""
        return self.kept / max(self.experiments, 1)

    @property
    def ratio(self) -> float | None:
        """Sum of the expected gains over that of the measured; None unless both are positive."""
        return self.expected / self.came if self.expected > 0 and self.came > 0 else None

    @property
    def calibration(self) -> str:
        """How well its expectations were met, in one line; empty without any."""
        if not self.expectations:
            return ""
        words = f"{self.held} of {self.expectations} met"
        if self.ratio is None:
            return words + f"; {self.expected:+.3g} expected in total, {self.came:+.3g} measured"
        if self.ratio >= _LEAST_ERROR:
            return words + f"; on average {self.ratio:.2g} times too large"
        if self.ratio <= 1 / _LEAST_ERROR:
            return words + f"; on average {1 / self.ratio:.2g} times too small"
        return words

    def add(self, e: Experiment) -> None:
        """Count a finished experiment."""
        self.experiments += 1
        self.kept += e.kept
        self.members += e.kept and e.is_member
        self.gain += confirmed_gain([e]) if e.kept else 0.0
        gain = measured_gain(e)
        if e.expected is not None and gain is not None:
            self.expectations += 1
            self.held += bool(held(e))
            self.expected += e.expected
            self.came += gain


def track_records(
    experiments: Iterable[Experiment], accounts: Iterable[Spent] = ()
) -> dict[str, TrackRecord]:
    """Agent → its record from the finished experiments, most experiments first. The baseline does
    not count. `accounts`: what all proposals of each agent used."""
    found: dict[str, TrackRecord] = {}
    for e in experiments:
        if e.n and e.verdict is not None:
            found.setdefault(e.agent, TrackRecord(e.agent)).add(e)
    for account in accounts:
        found.setdefault(account.agent, TrackRecord(account.agent)).spent = account
    return dict(sorted(found.items(), key=lambda item: -item[1].experiments))
