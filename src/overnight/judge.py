"""Keep or discard: the rule that turns measurements into a verdict.

A judge sees numbers only, never code. It may ask for more measurements of the candidate or of
the incumbent before it decides; the campaign takes them and asks again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Protocol

from overnight.arena import Arena
from overnight.tables import JudgeTable


class Side(StrEnum):
    """Whose score is to be measured once more."""

    CANDIDATE = "candidate"
    INCUMBENT = "incumbent"


@dataclass(frozen=True)
class Evidence:
    """What is known when the judge is asked. Scores are oriented: larger is better."""

    candidate: tuple[float, ...]
    """At least one score."""
    incumbent: tuple[float, ...]
    """At least one score; the k-th was taken with the same seed as the candidate's k-th."""


@dataclass(frozen=True)
class More:
    """Measure this side once more, then ask again."""

    of: Side


@dataclass(frozen=True)
class Decision:
    """The judge's word."""

    keep: bool
    gain: float
    """Estimated improvement over the incumbent, positive is better."""
    reason: str
    interval: tuple[float, float] | None = None


class Judge(Protocol):
    """A keep-or-discard rule. `decide` must come to a Decision after finitely many More."""

    def decide(self, evidence: Evidence) -> Decision | More:
        """Decide from all scores so far, or ask for one more."""
        ...


def estimate(scores: tuple[float, ...]) -> float:
    """The score that stands for a candidate: the median of its measurements."""
    return median(scores)


@dataclass(frozen=True)
class Greedy:
    """karpathy/autoresearch's rule: one measurement each, any gain of at least min_gain counts."""

    min_gain: float

    def decide(self, evidence: Evidence) -> Decision:
        gain = estimate(evidence.candidate) - estimate(evidence.incumbent)
        keep = gain > 0 and gain >= self.min_gain
        return Decision(keep, gain, _compare(gain, self.min_gain))


@dataclass(frozen=True)
class Threshold:
    """Keep what is better by at least `gain`, as the median over `repeats` measurements a side.

    Repeats are spent only on candidates whose scores so far reach the threshold.
    """

    gain: float
    repeats: int

    def decide(self, evidence: Evidence) -> Decision | More:
        gain = estimate(evidence.candidate) - estimate(evidence.incumbent)
        if gain >= self.gain:
            if len(evidence.candidate) < self.repeats:
                return More(Side.CANDIDATE)
            if len(evidence.incumbent) < self.repeats:
                return More(Side.INCUMBENT)
        keep = gain > 0 and gain >= self.gain
        return Decision(keep, gain, _compare(gain, self.gain))


def _compare(gain: float, needed: float) -> str:
    if gain <= 0:
        return f"no better than its parent ({gain:+.6g})"
    if gain < needed:
        return f"gain {gain:.6g} is below the {needed:.6g} that counts"
    return f"gain {gain:.6g}"


def _greedy(table: JudgeTable, min_gain: float) -> Judge:
    return Greedy(min_gain)


def _threshold(table: JudgeTable, min_gain: float) -> Judge:
    return Threshold(max(table.gain, min_gain), table.repeats)


RULES: dict[str, Callable[[JudgeTable, float], Judge]] = {
    "greedy": _greedy,
    "threshold": _threshold,
}


def judge_for(arena: Arena) -> Judge:
    """The judge that arena.toml names; the arena has already checked that the rule exists."""
    return RULES[arena.judge.rule](arena.judge, arena.metric.min_gain)
