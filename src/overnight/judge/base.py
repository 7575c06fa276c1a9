"""Keep or discard: what a judge is asked, and what it may answer.

A judge sees numbers only, never code, and keeps no state: the same numbers give the same word, so
that a campaign that is resumed goes on as if it had never stopped. It may ask for more
measurements before it decides; the campaign takes them and asks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from overnight.core.experiment import Verdict
from overnight.judge.noise import Noise, Series, noise_of


class Side(StrEnum):
    """Whose score is to be measured once more."""

    CANDIDATE = "candidate"
    TIP = "tip"
    """The newest keep, provisional ones included: the candidate's parent."""
    INCUMBENT = "incumbent"
    """The newest keep that is confirmed: the tip of the campaign's branch."""


@dataclass(frozen=True)
class Standing:
    """What is known about the keeps when the judge is asked. Scores are oriented: larger is
    better, and what soft constraints cost is taken off."""

    stack: tuple[Series, ...] = ()
    """The incumbent's readings, then those of each provisional keep above it, up to the tip;
    empty before the baseline is judged."""
    simpler: tuple[bool, ...] = ()
    """For each of the stack: whether it was kept for being simpler, not for being better."""
    before: tuple[Series, ...] = ()
    """Below an incumbent that was kept for being simpler: the readings of the newest keep that was
    not, and of those between. What simplifications may lose is counted from there."""
    repeats: tuple[Series, ...] = ()
    """Readings of further candidates that were measured more than once."""
    experiments: int = 1
    """How many candidates the campaign has had."""
    trials: int = 0
    """Trials of a tip against an incumbent that were begun in this campaign."""
    won: int = 0
    """Of those, how many ended with a keep."""
    on_trial: bool = False
    """Whether the last of them is that of the present tip and incumbent."""
    looks: int = 0
    """How often the tip was measured again since the last experiment."""
    patience: float = 0.0
    """Measurements that a trial may cost now: it grows while there is none."""
    now: int = 0
    """Measurements that the campaign has taken."""

    @property
    def tip(self) -> Series:
        return self.stack[-1]

    def noise(self, *more: Series) -> Noise:
        """Of one measurement, from every repeat that is known, and from `more`."""
        return noise_of(self.stack[0], [*self.stack[1:], *self.repeats, *more])


@dataclass(frozen=True)
class Evidence:
    """A candidate beside what it has to beat."""

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
class Pair:
    """Measure tip and incumbent side by side, both with one fresh seed; then ask again."""

    first: Side
    """They take turns, so that a drift within a pair favours neither."""


@dataclass(frozen=True)
class Decision:
    """The judge's word about a candidate, or about the tip."""

    verdict: Verdict
    gain: float
    """Estimated improvement over the parent, positive is better."""
    reason: str
    interval: tuple[float, float] | None = None
    shares: tuple[float, ...] = ()
    """For a confirmed stack: what each of its keeps is believed to have of the gain, in order."""
    simpler: bool = False
    """Kept for being simpler and as good, not for being better."""

    @property
    def keep(self) -> bool:
        return self.verdict in (Verdict.KEEP, Verdict.PROVISIONAL)


class Judge(Protocol):
    """A keep-or-discard rule; it must come to a Decision after finitely many More."""

    @property
    def fresh_seeds(self) -> bool:
        """Whether every measurement has a seed of its own; if not, the k-th of every candidate
        has seed k."""
        ...

    def decide(self, evidence: Evidence) -> Decision | More:
        """Decide about a candidate from all readings so far, or ask for one more."""
        ...

    def least(self, standing: Standing, simpler: bool) -> float:
        """A first score below this does not speak for the candidate: what pruning may go by. Only
        asked once there is a baseline."""
        ...

    def review(self, standing: Standing) -> Decision | More | Pair | None:
        """Look at the provisional keeps between two experiments: confirm the tip (and with it all
        below), drop it, measure, or None to leave things as they are."""
        ...


BASELINE = Decision(Verdict.KEEP, 0.0, "the baseline")


def compared(gain: float, needed: float) -> str:
    """A gain, beside the least that counts, in words."""
    if gain <= 0:
        return f"no better than its parent ({gain:+.6g})"
    if gain < needed:
        return f"gain {gain:.6g} is below the {needed:.6g} that counts"
    return f"gain {gain:.6g}"
