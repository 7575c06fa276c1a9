"""Which run is lost: the rule that ends it early, learned from the campaign's own curves.

It asks the finished runs that were most alike at this share of the budget. A score is taken for a
part of the value there (SLOPES) plus what was still to come, and the part is used for which that
varied least. A run that is behind the incumbent is lost when even the most that was still to come
for any of them, and some of their spread on top, would not bring it to a score that the judge would
look at twice. Runs that were ended early have no end to learn from; the controls, one in CONTROLS
of those that would be ended, keep the rule honest.
What it is not: a judge. It keeps nothing, and a run that reports nothing is not its business.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from overnight.arena.settings import Metric
from overnight.core.experiment import Experiment, Measurement

CONTROLS = 10
"""One in so many runs that would be ended is let through to the end."""
EARLIEST, LATEST = 0.25, 0.65
"""Shares of the budget: before, values say little; after, there is little left to save. Divergence
and values that are not finite end a run at any time."""
LEAST = 6
"""Finished experiments to learn from before anything is ended."""
ALIKE = 10
"""So many of them are asked, the closest: one that was far ahead or behind says little."""
SLOPES = (1.0, 0.5)
"""How much of a lead at a share of the budget may remain at the end."""
CAUTION = 2.0
"""The most of n numbers is too low a bound for the next by about 1 / (n - 1) of their spread: so
many times that is granted on top. benchmarks/prune.py shows what such choices cost and lose."""
DIVERGED = 2.0
"""A run has diverged when it lost so many times what the incumbent gained on its whole way."""
MOST = 300
"""The newest finished experiments that are learned from."""

Curve = Sequence[tuple[float, float]]
"""(Share of the budget, value) of one run, by growing share."""


@dataclass(frozen=True)
class Known:
    """A measurement that went to its end. Values are oriented: larger is better."""

    curve: Curve
    score: float


@dataclass(frozen=True)
class Lost:
    """Why a run is lost. Values are oriented: larger is better."""

    at: float
    """Share of the budget."""
    value: float
    incumbent: float
    """What the incumbent had there, or at its worst when the run has diverged."""
    most: float
    """The score that it could reach at best."""
    needed: float
    """The least that is worth a second look."""
    lead: float
    """How far ahead of the incumbent it would end, by the same rule; below zero."""
    diverged: bool = False

    def words(self, metric: Metric) -> str:
        """In a sentence, with the metric as it is reported."""
        name, share = metric.name, f"at {self.at:.0%} of the budget"
        told = (self.value, self.incumbent, self.most, self.needed)
        value, best, most, needed = (f"{metric.orient(v):.5g}" for v in told)
        if self.diverged:
            return f"{share}: {name} {value} has diverged, the incumbent's worst was {best}"
        ends = f"it would end at {most} at best, {needed} is needed"
        return f"{share}: {name} {value} there, the incumbent had {best}; {ends}"


@dataclass(frozen=True)
class Pruning:
    """What one candidate's run is held against while it is on the clock."""

    metric: Metric
    finished: Sequence[Known] = ()
    """What there is to learn from: the first measurement of each."""
    incumbent: Sequence[Known] = ()
    """Its measurements; without any, no run is lost."""
    needed: float = 0.0
    """The oriented score below which the judge gives a candidate up at once."""
    control: bool = False
    """Whether this run goes on to its end even when it is lost."""

    def lost(self, reported: Curve) -> Lost | None:
        """Why a run with this curve so far is lost; None while it may win. The newest point
        counts."""
        if not reported or not self.incumbent:
            return None
        curve = [(at, self.metric.orient(value)) for at, value in reported]
        return self._diverged(curve) or self._behind(*curve[-1])

    def _behind(self, at: float, value: float) -> Lost | None:
        own, known = _at(self.incumbent, at), _at(self.finished, at)
        if not EARLIEST <= at <= LATEST or not own or len(known) < LEAST:
            return None
        best = fmean(v for _, v in own)
        alike = sorted(known, key=lambda pair: (abs(pair[1] - value), -pair[0]))[:ALIKE]
        _, slope, rest = min(_still_to_come(alike, slope) for slope in SLOPES)
        most = slope * value + rest
        if value >= best or most >= self.needed:
            return None
        return Lost(at, value, best, most, self.needed, slope * (value - best))

    def _diverged(self, curve: Curve) -> Lost | None:
        at, value = curve[-1]
        values = [v for k in self.incumbent for _, v in k.curve]
        worst, way = min(values), max(values) - min(values)
        if not way or value >= min(worst, max(v for _, v in curve)) - DIVERGED * way:
            return None
        return Lost(at, value, worst, value, self.needed, value - worst, diverged=True)


def pruning_for(
    metric: Metric, finished: Sequence[Experiment], tip: Experiment, needed: float, control: bool
) -> Pruning:
    """What a candidate is held against: the finished experiments of its campaign, oldest first,
    and its parent."""
    firsts = (next(iter(e.judged), None) for e in finished[-MOST:])
    known = _known(metric, (m for m in firsts if m))
    return Pruning(metric, known, _known(metric, tip.judged), needed, control)


def _known(metric: Metric, measurements: Iterable[Measurement]) -> list[Known]:
    return [
        Known([(at, metric.orient(v)) for at, v in m.curve], metric.orient(m.score))
        for m in measurements
        if m.curve and m.score is not None
    ]


def is_control(tag: str, n: int) -> bool:
    """Whether experiment `n` is let through: one in CONTROLS, and always the same ones."""
    return hashlib.sha256(f"{tag}\0{n}".encode()).digest()[0] * CONTROLS < 256


def value_at(curve: Curve, at: float) -> float | None:
    """The value between the two points around; None before the first and after the last."""
    place = bisect_left(curve, (at,))
    if place < len(curve) and curve[place][0] == at:
        return curve[place][1]
    if place in (0, len(curve)):
        return None
    (before, low), (after, high) = curve[place - 1 : place + 1]
    return low + (high - low) * (at - before) / (after - before)


def _at(known: Sequence[Known], at: float) -> list[tuple[float, float]]:
    """Score and value there of those that have one."""
    pairs = ((k.score, value_at(k.curve, at)) for k in known)
    return [(score, value) for score, value in pairs if value is not None]


def _still_to_come(
    known: Sequence[tuple[float, float]], slope: float
) -> tuple[float, float, float]:
    """Of (score, value) pairs: the spread of score - slope * value, the slope, and the most that
    is to be expected of the next run."""
    rest = [score - slope * value for score, value in known]
    spread = max(rest) - min(rest)
    return spread, slope, max(rest) + CAUTION * spread / (len(rest) - 1)
