"""Estimates the true scores of the incumbent and of the provisional keeps above it.

A Kalman filter over a stack of candidates, each the child of the one below. The prior of a child is
its parent's estimate: that removes the luck from a first score. All scores drift together, with the
machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from overnight.judge.noise import Noise, Reading, Series

STEP = 0.7
"""Standard deviation of a child's score around its parent's, before any reading, in sigmas."""
_FAR = 3.0
"""If a child's readings lie further than this from its parent, in sigmas, the distance is taken as
the standard deviation instead."""
_FARTHEST = 1e100
"""Largest such distance, in sigmas: its square does not overflow."""
_WILD = 3.0
"""A reading counts as at most this far from the expected score, in standard deviations."""


@dataclass(frozen=True)
class Gap:
    """The estimate of how much better one candidate is than another."""

    mean: float
    deviation: float
    """Standard deviation of that estimate."""

    def beyond(self, margin: float) -> float:
        """Standard deviations by which the gap exceeds the margin."""
        return (self.mean - margin) / self.deviation if self.deviation else math.inf


class Levels:
    """The estimates for a stack, from its readings. Index 0 is the incumbent, -1 the tip."""

    def __init__(self, stack: Sequence[Series], noise: Noise) -> None:
        """The stack begins with the incumbent. Every series has at least one reading."""
        self._noise = noise
        self._unit = noise.sigma or 1.0
        self._drift = (noise.drift / self._unit) ** 2
        self.expected: dict[int, float] = {}
        """Id of a pair of tip and incumbent → the gap that was estimated before it was measured."""
        first = stack[0][0]
        self._at = first.at
        self._means = [first.score]
        # In squared sigmas: the square of a score may underflow.
        self._own = 1.0 if noise.sigma else 0.0
        self._covariance = [[self._own]]
        order = [(r.at, index, r) for index, series in enumerate(stack) for r in series]
        for _, index, reading in sorted(order[1:], key=lambda entry: entry[:2]):
            while index >= len(self._means):
                self._add_child(stack[len(self._means)])
            if reading.pair is not None and len(self._means) == len(stack):
                self.expected.setdefault(reading.pair, self.gap(-1, 0).mean)
            self._learn(index, reading)

    @property
    def size(self) -> int:
        """Number of candidates in the stack."""
        return len(self._means)

    def gap(self, upper: int, lower: int) -> Gap:
        """How much better `upper` is than `lower`."""
        p = self._covariance
        variance = p[upper][upper] + p[lower][lower] - 2 * p[upper][lower]
        deviation = self._unit * math.sqrt(max(variance, 0.0))
        return Gap(self._means[upper] - self._means[lower], deviation)

    def tip(self, now: int) -> tuple[float, float]:
        """Mean and standard deviation of the tip's true score after `now` measurements of the
        campaign."""
        variance = self._covariance[-1][-1] + self._drift * max(now - self._at, 0)
        return self._means[-1], self._unit * math.sqrt(variance)

    def _add_child(self, series: Series) -> None:
        sigma = self._noise.sigma
        apart = abs(median(reading.score for reading in series) - self._means[-1])
        step = STEP * self._own if apart <= _FAR * sigma else min(apart / self._unit, _FARTHEST)
        self._means.append(self._means[-1])
        for row in self._covariance:
            row.append(row[-1])
        self._covariance.append(list(self._covariance[-1]))
        self._covariance[-1][-1] += step**2

    def _learn(self, index: int, reading: Reading) -> None:
        if reading.at > self._at:
            drift = self._drift * (reading.at - self._at)
            self._covariance = [[entry + drift for entry in row] for row in self._covariance]
            self._at = reading.at
        covariance = self._covariance
        total = covariance[index][index] + self._own
        if not total:
            self._means[index] = reading.score
            return
        wild = _WILD * math.sqrt(total) * self._unit
        surprise = min(max(reading.score - self._means[index], -wild), wild)
        shares = [row[index] / total for row in covariance]
        self._means = [m + s * surprise for m, s in zip(self._means, shares, strict=True)]
        self._covariance = [
            [entry - share * other for entry, other in zip(row, covariance[index], strict=True)]
            for row, share in zip(covariance, shares, strict=True)
        ]
