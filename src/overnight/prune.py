"""Which run is lost: the rule that ends it early, learned from the campaign's own curves.

What a run can still gain is bounded by what the finished ones gained from there to their end. A
run is lost when even the most that any of them gained, and a share of their spread on top, would
not bring it to a score that could be kept. Runs that were ended early have no end to learn from;
the controls, one in CONTROLS of those that would be ended, keep the rule honest.
What it is not: a judge. It keeps nothing, and a run that reports nothing is not its business.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from overnight.arena import Arena
from overnight.experiment import Experiment
from overnight.tables import Metric

CONTROLS = 10
"""One in so many runs that would be ended is let through to the end."""
EARLIEST = 0.15
"""The share of the budget before which nothing is ended, but for divergence."""
LEAST = 4
"""Finished experiments to learn from before anything is ended."""
CAUTION = 0.25
"""Share of the spread of what others gained that is granted on top of the most."""
DIVERGED = 2.0
"""A run has diverged when it lost so many times what the incumbent gained on its whole way."""
MOST = 300
"""The newest finished measurements that are learned from."""

Curve = Sequence[tuple[float, float]]
"""(Share of the budget, value) of one run, by growing share."""


@dataclass(frozen=True)
class Known:
    """A finished measurement. Values are oriented: larger is better."""

    experiment: int
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
    """What there is to learn from; without any of the incumbent's, no run is lost."""
    incumbent: int = 0
    """Its experiment."""
    needed: float = 0.0
    """The oriented score below which nothing is kept."""
    control: bool = False
    """Whether this run goes on to its end even when it is lost."""

    def lost(self, reported: Curve) -> Lost | None:
        """Why a run with this curve so far is lost; None while it may win. The newest point
        counts."""
        own = [k.curve for k in self.finished if k.experiment == self.incumbent and k.curve]
        if not reported or not own:
            return None
        curve = [(at, self.metric.orient(value)) for at, value in reported]
        return _diverged(curve, own) or self._behind(*curve[-1], own)

    def _behind(self, at: float, value: float, own: Sequence[Curve]) -> Lost | None:
        there = [found for curve in own if (found := value_at(curve, at)) is not None]
        gains = [
            (k.experiment, k.score - found)
            for k in self.finished
            if (found := value_at(k.curve, at)) is not None
        ]
        if at < EARLIEST or not there or len({n for n, _ in gains}) < LEAST:
            return None
        most, least = max(gain for _, gain in gains), min(gain for _, gain in gains)
        best = fmean(there)
        bar = self.needed - most - CAUTION * (most - least)
        margin = max(best - bar, 0.0)
        return Lost(at, value, best, margin) if value < best - margin else None


def pruning_for(arena: Arena, tag: str, n: int, finished: Sequence[Experiment]) -> Pruning:
    """What experiment `n` is held against: the finished experiments of its campaign, oldest
    first."""
    metric, control = arena.metric, is_control(tag, n)
    best = next((e for e in reversed(finished) if e.kept and e.score is not None), None)
    if best is None or best.score is None:
        return Pruning(metric, control=control)
    known = [
        Known(e.n, tuple((at, metric.orient(v)) for at, v in m.curve), metric.orient(m.score))
        for e in finished
        for m in e.judged
        if m.curve and m.score is not None
    ]
    kept = [k for k in known[:-MOST] if k.experiment == best.n]
    # The rule "threshold" discards at once what falls short of its gain.
    asked = arena.judge.gain if arena.judge.rule == "threshold" else 0.0
    needed = metric.orient(best.score) + max(asked, metric.min_gain)
    return Pruning(metric, [*kept, *known[-MOST:]], best.n, needed, control)


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


def _diverged(curve: Curve, own: Sequence[Curve]) -> Lost | None:
    at, value = curve[-1]
    lows = min(v for one in own for _, v in one)
    way = max(max(v for _, v in one) - min(v for _, v in one) for one in own)
    line = min(lows, max(v for _, v in curve)) - DIVERGED * way
    return Lost(at, value, lows, DIVERGED * way, diverged=True) if way and value < line else None
