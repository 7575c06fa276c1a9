"""What a judge is asked, and what it may answer.

A judge sees numbers only, never code, and keeps no state: the same numbers give the same answer, so
a resumed campaign goes on as if it had never stopped. Before it decides, a judge may ask for more
measurements; the campaign takes them and asks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from overnight.core.experiment import Verdict
from overnight.judge.noise import Noise, Series, noise_of


class Side(StrEnum):
    """Which candidate to measure."""

    CANDIDATE = "candidate"
    TIP = "tip"
    """The newest keep, provisional ones included: the parent of the candidate."""
    INCUMBENT = "incumbent"
    """The newest confirmed keep, at the tip of the campaign's branch."""


@dataclass(frozen=True)
class Standing:
    """What is known about the keeps when the judge is asked. Scores are oriented (larger is
    better), with the cost of soft constraints subtracted."""

    stack: tuple[Series, ...] = ()
    """Readings of the incumbent, then of each provisional keep above it, up to the tip. Empty until
    the baseline is kept."""
    simpler: tuple[bool, ...] = ()
    """For each of the stack: whether it was kept for being simpler, not for being better."""
    before: tuple[Series, ...] = ()
    """If the incumbent was kept for being simpler: readings of the newest keep that was not, and of
    the keeps between the two. The loss through simplifications counts from there."""
    repeats: tuple[Series, ...] = ()
    """Readings of other candidates that were measured more than once."""
    experiments: int = 1
    """Candidates that the campaign has had."""
    trials: int = 0
    """Trials (of one tip against one incumbent) that the campaign has begun."""
    won: int = 0
    """Trials that ended with a keep."""
    on_trial: bool = False
    """Whether the newest trial is that of the present tip and incumbent."""
    looks: int = 0
    """How often the tip was measured since the newest experiment ended."""
    patience: float = 0.0
    """Measurements that a trial may cost now. It grows while there is no trial."""
    now: int = 0
    """Measurements that the campaign has taken."""

    @property
    def tip(self) -> Series:
        return self.stack[-1]

    def noise(self, *more: Series) -> Noise:
        """The noise of one measurement, from all known repeats and from `more`."""
        return noise_of(self.stack[0], [*self.stack[1:], *self.repeats, *more])


@dataclass(frozen=True)
class Evidence:
    """A candidate and the keeps that it has to beat."""

    candidate: Series
    """At least one reading."""
    standing: Standing
    simpler: bool = False
    """Whether the candidate's code is simpler than its parent's."""


@dataclass(frozen=True)
class More:
    """Measure this side once more, then ask again."""

    of: Side


@dataclass(frozen=True)
class MeasurePair:
    """Measure tip and incumbent side by side, with the same fresh seed; then ask again."""

    first: Side
    """The sides alternate, so that drift within a pair favours neither."""


@dataclass(frozen=True)
class Decision:
    """The judge's verdict about a candidate, or about the tip."""

    verdict: Verdict
    gain: float
    """Estimated improvement over the parent; positive is better."""
    reason: str
    interval: tuple[float, float] | None = None
    """95 % confidence interval of the gain."""
    shares: tuple[float, ...] = ()
    """When a stack is confirmed: the estimated part of the gain of each of its keeps, in order."""
    simpler: bool = False
    """Kept for being simpler and as good, not for being better."""

    @property
    def keep(self) -> bool:
        return self.verdict in (Verdict.KEEP, Verdict.PROVISIONAL)


class Judge(Protocol):
    """A keep-or-discard rule. It must decide after finitely many More."""

    @property
    def fresh_seeds(self) -> bool:
        """Whether each measurement gets a new seed. If not, the k-th measurement of every candidate
        gets seed k."""
        ...

    def decide(self, evidence: Evidence) -> Decision | More:
        """Decide about a candidate from all its readings so far, or ask for one more."""
        ...

    def least(self, standing: Standing, simpler: bool) -> float:
        """The first score below which a candidate has nothing in its favour; pruning ends runs that
        cannot reach it. Called only once there is a baseline."""
        ...

    def review(self, standing: Standing) -> Decision | More | MeasurePair | None:
        """Between two experiments: confirm the tip and all provisional keeps below it, drop the
        tip, or ask for measurements. None: nothing to do now."""
        ...


BASELINE = Decision(Verdict.KEEP, 0.0, "the baseline")


def compared(gain: float, minimum: float) -> str:
    """A gain and how it compares with the smallest gain that is kept, in words."""
    if gain <= 0:
        return f"no better than its parent ({gain:+.6g})"
    if gain < minimum:
        return f"gain {gain:.6g} is below the minimum of {minimum:.6g}"
    return f"gain {gain:.6g}"
