"""Which gains the rule `confirm` finds, given the noise of one measurement (sigma)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

from overnight.judge.evidence import needed, pairs_to_go
from overnight.judge.noise import Noise

CHANCES = {0.0: 0.0, 0.5: 0.03, 1.0: 0.26, 1.5: 0.68, 2.0: 0.91, 2.5: 0.98, 3.0: 0.99, 5.0: 1.0}
"""Gain in sigmas → share of campaigns that keep one such gain among 20 candidates. Measured by
benchmarks/judge.py with the default settings of [judge] and [metric]."""
PRICE = 1.5
"""Average number of measurements of a candidate without a gain, from the same benchmark."""
_SEEN = 0.8
"""A gain with this chance counts as visible."""
_STEP, _MOST = 0.05, 20.0
"""Step and end of the search for the smallest gain, in sigmas."""
_ONE = Noise(1.0, 0.0, ())


def chance(sigmas: float) -> float:
    """The probability, 0 to 1, that one gain of `sigmas` among 20 candidates is kept."""
    return _interpolated(CHANCES.items(), sigmas)


def visible() -> float:
    """The gain that four of five campaigns keep, in sigmas."""
    return _interpolated(zip(CHANCES.values(), CHANCES, strict=True), _SEEN)


def pairs(sigmas: float, false_keep: float, trial: int = 1, won: int = 0) -> float:
    """Roughly how many pairs of measurements confirm a single gain of `sigmas` in trial number
    `trial` of a campaign that has won `won` trials; infinite for a gain near 0."""
    return pairs_to_go(sigmas, needed(false_keep, trial, won), _ONE)


def least(most_pairs: float, false_keep: float, trial: int = 1, won: int = 0) -> float:
    """The smallest gain, in sigmas, that `most_pairs` pairs are expected to confirm; infinite if
    there is none."""
    for step in range(1, round(_MOST / _STEP) + 1):
        if pairs(step * _STEP, false_keep, trial, won) <= most_pairs:
            return step * _STEP
    return math.inf


def _interpolated(points: Iterable[tuple[float, float]], x: float) -> float:
    """Linear interpolation between points in ascending order; constant beyond the ends."""
    for (left, low), (right, high) in pairwise(points):
        if x <= right:
            return low + (high - low) * (max(x, left) - left) / (right - left)
    return high
