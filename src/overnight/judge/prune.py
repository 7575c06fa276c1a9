"""Decides when a run is lost and should end early, by a rule learned from the campaign's curves.

The rule looks at the finished runs whose values were closest at the same share of the budget. It
models a score as slope x value + rest, where the rest is what that does not explain, and takes the
slope (of SLOPES) whose rests varied least. A run behind the incumbent is lost if even with the
largest rest, plus a margin, its score would be too low for the judge to consider. Runs that were
ended early have no score to learn from; so one in CONTROLS of the lost runs goes on to its end.
It is not a judge: it keeps nothing, and never ends a run that reports no values.
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
"""One in this many lost runs goes on to its end."""
EARLIEST, LATEST = 0.25, 0.65
"""Shares of the budget: before, values say little; after, there is little left to save. A run that
diverges, or whose values are not finite, is ended at any time."""
LEAST = 6
"""Fewest finished runs to learn from."""
ALIKE = 10
"""This many of them are used, the closest: runs far ahead or behind are poor guides."""
SLOPES = (1.0, 0.5)
"""How much of a lead may remain at the end of the budget."""
CAUTION = 2.0
"""The next of n + 1 numbers may exceed the largest of n, typically by 1 / (n - 1) of their spread.
This many times that is allowed. benchmarks/prune.py shows the cost of such choices."""
DIVERGED = 2.0
"""A run has diverged once it lost this many times what the incumbent gained in its whole run."""
MOST = 300
"""Only the newest finished experiments are learned from."""

Curve = Sequence[tuple[float, float]]
"""(Share of the budget, value) of one run, by growing share."""


@dataclass(frozen=True)
class Known:
    """The curve and score of a finished measurement, oriented: larger is better."""

    curve: Curve
    score: float


@dataclass(frozen=True)
class Lost:
    """Why a run is lost. Values are oriented: larger is better."""

    at: float
    """Share of the budget."""
    value: float
    incumbent: float
    """The incumbent's value there; if the run has diverged, the incumbent's worst value."""
    most: float
    """The best score that it could reach."""
    needed: float
    """The smallest first score that speaks for a candidate."""
    lead: float
    """How far ahead of the incumbent it would end; negative."""
    diverged: bool = False

    def words(self, metric: Metric) -> str:
        """The reason in a sentence, with values as the run reports them."""
        name, share = metric.name, f"at {self.at:.0%} of the budget"
        oriented = (self.value, self.incumbent, self.most, self.needed)
        value, best, most, needed = (f"{metric.orient(v):.5g}" for v in oriented)
        if self.diverged:
            return f"{share}: {name} {value} has diverged, the incumbent's worst was {best}"
        ends = f"it would end at {most} at best, {needed} is needed"
        return f"{share}: {name} {value}, the incumbent had {best}; {ends}"


@dataclass(frozen=True)
class Pruning:
    """What a candidate's run is compared with while it is on the clock."""

    metric: Metric
    finished: Sequence[Known] = ()
    """The first measurement of each finished experiment."""
    incumbent: Sequence[Known] = ()
    """Measurements of the parent; without any, no run is lost."""
    needed: float = 0.0
    """The oriented score below which the judge discards a candidate at once."""
    control: bool = False
    """Whether this run goes on to its end even if it is lost."""

    def lost(self, reported: Curve) -> Lost | None:
        """Why a run with this curve so far is lost, judged by its newest point; None while it may
        win."""
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
    """Compare a candidate with the finished experiments of its campaign, oldest first, and with its
    parent, the tip."""
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
    """Whether experiment `n` goes on even if it is lost; the same answer every time."""
    return hashlib.sha256(f"{tag}\0{n}".encode()).digest()[0] * CONTROLS < 256


def value_at(curve: Curve, at: float) -> float | None:
    """The curve's value there, interpolated; None before its first and after its last point."""
    index = bisect_left(curve, (at,))
    if index < len(curve) and curve[index][0] == at:
        return curve[index][1]
    if index in (0, len(curve)):
        return None
    (before, low), (after, high) = curve[index - 1 : index + 1]
    return low + (high - low) * (at - before) / (after - before)


def _at(known: Sequence[Known], at: float) -> list[tuple[float, float]]:
    """(score, value at this share of the budget) of the runs that have such a value."""
    pairs = ((k.score, value_at(k.curve, at)) for k in known)
    return [(score, value) for score, value in pairs if value is not None]


def _still_to_come(
    known: Sequence[tuple[float, float]], slope: float
) -> tuple[float, float, float]:
    """For pairs (score, value): the spread of score - slope x value, the slope, and the most that
    the next run may be expected to have."""
    rest = [score - slope * value for score, value in known]
    spread = max(rest) - min(rest)
    return spread, slope, max(rest) + CAUTION * spread / (len(rest) - 1)
