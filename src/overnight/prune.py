"""Which run is lost: the rule that ends it early, learned from the campaign's own curves.

The finished runs tell how well the value at a share of the budget predicted the score: a score is
taken for a part of the value there (SLOPES) plus what was still to come, and the part is used for
which that varied least. A run is lost when even the most that was still to come for any of them,
and some of their spread on top, would not bring it to a score that could be kept. Runs that were
ended early have no end to learn from; the controls, one in CONTROLS of those that would be ended,
keep the rule honest.
What it is not: a judge. It keeps nothing, and a run that reports nothing is not its business.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from overnight.arena import Arena
from overnight.experiment import Experiment, Measurement
from overnight.tables import Metric

CONTROLS = 10
"""One in so many runs that would be ended is let through to the end."""
EARLIEST, LATEST = 0.25, 0.65
"""Shares of the budget: before, values say little; after, there is little left to save. Divergence
and values that are not finite end a run at any time."""
LEAST = 6
"""Finished experiments to learn from before anything is ended."""
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
    """The first measurement of a finished experiment. Values are oriented: larger is better."""

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
    margin: float
    """How far behind the incumbent a run could be there without being lost."""
    diverged: bool = False

    def words(self, metric: Metric) -> str:
        """In a sentence, with the metric as it is reported."""
        name, share = metric.name, f"at {self.at:.0%} of the budget"
        value, best = (f"{metric.orient(v):.5g}" for v in (self.value, self.incumbent))
        if self.diverged:
            return f"{share}: {name} {value} has diverged, the incumbent's worst was {best}"
        return f"{share}: {name} {value} there, the incumbent had {best} (margin {self.margin:.3g})"


@dataclass(frozen=True)
class Pruning:
    """What one candidate's run is held against while it is on the clock."""

    metric: Metric
    finished: Sequence[Known] = ()
    """What there is to learn from."""
    incumbent: Sequence[Curve] = ()
    """Its curves, oriented; without any, no run is lost."""
    needed: float = 0.0
    """The oriented score below which nothing is kept."""
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
        there = [v for curve in self.incumbent if (v := value_at(curve, at)) is not None]
        pairs = ((k.score, value_at(k.curve, at)) for k in self.finished)
        known = [(score, v) for score, v in pairs if v is not None]
        if not EARLIEST <= at <= LATEST or not there or len(known) < LEAST:
            return None
        best = fmean(there)
        _, slope, most = min(_still_to_come(known, slope) for slope in SLOPES)
        margin = max(best - (self.needed - most) / slope, 0.0)
        return Lost(at, value, best, margin) if value < best - margin else None

    def _diverged(self, curve: Curve) -> Lost | None:
        at, value = curve[-1]
        worst = min(v for one in self.incumbent for _, v in one)
        way = max(max(v for _, v in one) for one in self.incumbent) - worst
        line = min(worst, max(v for _, v in curve)) - DIVERGED * way
        lost = Lost(at, value, worst, DIVERGED * way, diverged=True)
        return lost if way and value < line else None


def pruning_for(arena: Arena, tag: str, n: int, finished: Sequence[Experiment]) -> Pruning:
    """What experiment `n` is held against: the finished experiments of its campaign, oldest
    first."""
    metric, control = arena.metric, is_control(tag, n)
    best = next((e for e in reversed(finished) if e.kept and e.score is not None), None)
    if best is None or best.score is None:
        return Pruning(metric, control=control)
    firsts = (next(iter(e.judged), None) for e in finished[-MOST:])
    known = [
        Known(_oriented(m, metric), metric.orient(m.score))
        for m in firsts
        if m and m.curve and m.score is not None
    ]
    own = [_oriented(m, metric) for m in best.judged if m.curve]
    # Some rules discard at once what falls short of their gain; "confirm" adds small gains up.
    least = {"threshold": max(arena.judge.gain, metric.min_gain), "greedy": metric.min_gain}
    needed = metric.orient(best.score) + least.get(arena.judge.rule, 0.0)
    return Pruning(metric, known, own, needed, control)


def _oriented(measurement: Measurement, metric: Metric) -> Curve:
    return [(at, metric.orient(value)) for at, value in measurement.curve]


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


def _still_to_come(
    known: Sequence[tuple[float, float]], slope: float
) -> tuple[float, float, float]:
    """Of (score, value) pairs: the spread of score - slope * value, the slope, and the most that
    is to be expected of the next run."""
    rest = [score - slope * value for score, value in known]
    spread = max(rest) - min(rest)
    return spread, slope, max(rest) + CAUTION * spread / (len(rest) - 1)
