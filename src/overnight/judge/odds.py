"""What can be seen: which gains the rule `confirm` finds, from the noise of one measurement."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

from overnight.judge.evidence import needed, pairs_to_go
from overnight.judge.noise import Noise

CHANCES = {0.0: 0.0, 0.5: 0.03, 1.0: 0.26, 1.5: 0.68, 2.0: 0.91, 2.5: 0.98, 3.0: 0.99, 5.0: 1.0}
"""Gain in sigmas → the share of campaigns in which one such gain among 20 candidates is kept:
measured by benchmarks/judge.py, with a judge and a metric that have no settings."""
PRICE = 1.5
"""Measurements that a candidate without a gain costs on average, by the same benchmark."""
_SEEN = 0.8
_STEP, _MOST = 0.05, 20.0
"""Sigmas in which the least gain is looked for."""
_ONE = Noise(1.0, 0.0, ())


def chance(sigmas: float) -> float:
    """That one gain of so many sigmas among 20 candidates is kept, 0 to 1."""
    return _on_line(CHANCES.items(), sigmas)


def visible() -> float:
    """The gain that is kept in four campaigns of five, in sigmas."""
    return _on_line(zip(CHANCES.values(), CHANCES, strict=True), _SEEN)


def pairs(sigmas: float, false_keep: float, trial: int = 1, won: int = 0) -> float:
    """About how many pairs of measurements confirm a gain of so many sigmas that comes alone, in
    the `trial`-th trial of a campaign after `won` successes; infinite for next to none."""
    return pairs_to_go(sigmas, needed(false_keep, trial, won), _ONE)


def least(most_pairs: float, false_keep: float, trial: int = 1, won: int = 0) -> float:
    """The smallest gain, in sigmas, that so many pairs are expected to confirm; infinite where
    none is."""
    for step in range(1, round(_MOST / _STEP) + 1):
        if pairs(step * _STEP, false_keep, trial, won) <= most_pairs:
            return step * _STEP
    return math.inf


def _on_line(points: Iterable[tuple[float, float]], x: float) -> float:
    """Interpolate between the points, which are in ascending order; flat beyond the outer ones."""
    for (left, low), (right, high) in pairwise(points):
        if x <= right:
            return low + (high - low) * (max(x, left) - left) / (right - left)
    return high
