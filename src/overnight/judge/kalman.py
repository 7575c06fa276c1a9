"""Where the incumbent and the provisional keeps above it stand, as far as their readings tell.

A Kalman filter over the true scores of a stack of candidates, each the child of the one below.
A child is believed to lie near its parent until it is measured: that is what takes the luck out of
a first draw. All of them drift together, as the machine does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from overnight.judge.noise import Noise, Reading, Series

STEP = 0.7
"""How far a child lies from its parent before it is measured: a standard deviation, in sigmas."""
_FAR = 3.0
"""A child that its readings put further from its parent, in sigmas, did make a large step."""
_FARTHEST = 1e100
"""In sigmas: its square is still a number."""
_WILD = 3.0
"""A reading further from what was expected, in standard deviations, counts as this far."""


@dataclass(frozen=True)
class Gap:
    """By how much one of the stack is believed to be better than another."""

    mean: float
    deviation: float
    """Standard deviation of that belief."""

    def beyond(self, margin: float) -> float:
        """Standard deviations by which the gap exceeds the margin."""
        return (self.mean - margin) / self.deviation if self.deviation else math.inf


class Levels:
    """The beliefs after the readings of a stack. Index 0 is the incumbent, -1 the tip."""

    def __init__(self, stack: Sequence[Series], noise: Noise) -> None:
        """`stack` from the incumbent up; every series has at least one reading."""
        self._noise = noise
        self._unit = noise.sigma or 1.0
        self._drift = (noise.drift / self._unit) ** 2
        self.bets: dict[int, float] = {}
        """Pair of tip and incumbent → the gap believed in before it was measured."""
        first = stack[0][0]
        self._at = first.at
        self._means = np.array([first.score])
        # In squared sigmas: the square of a score may be too small for a number.
        self._own = 1.0 if noise.sigma else 0.0
        self._covariance = np.array([[self._own]])
        order = [(r.at, place, r) for place, series in enumerate(stack) for r in series]
        for _, place, reading in sorted(order[1:], key=lambda entry: entry[:2]):
            while place >= len(self._means):
                self._add_child(stack[len(self._means)])
            if reading.pair is not None and len(self._means) == len(stack):
                self.bets.setdefault(reading.pair, self.gap(-1, 0).mean)
            self._learn(place, reading)

    @property
    def size(self) -> int:
        """How many candidates the stack has."""
        return len(self._means)

    def gap(self, upper: int, lower: int) -> Gap:
        """How much better `upper` is than `lower`."""
        p = self._covariance
        variance = float(p[upper, upper] + p[lower, lower] - 2 * p[upper, lower])
        deviation = self._unit * math.sqrt(max(variance, 0.0))
        return Gap(float(self._means[upper] - self._means[lower]), deviation)

    def tip(self, now: int) -> tuple[float, float]:
        """Mean and standard deviation of what the tip would score when `now` measurements of the
        campaign have been taken, without the noise of a reading."""
        variance = float(self._covariance[-1, -1]) + self._drift * max(now - self._at, 0)
        return float(self._means[-1]), self._unit * math.sqrt(variance)

    def _add_child(self, series: Series) -> None:
        k, sigma = len(self._means), self._noise.sigma
        apart = abs(median(reading.score for reading in series) - float(self._means[-1]))
        step = STEP * self._own if apart <= _FAR * sigma else min(apart / self._unit, _FARTHEST)
        grown = np.empty((k + 1, k + 1))
        grown[:k, :k] = self._covariance
        grown[k, :k] = grown[:k, k] = self._covariance[-1]
        grown[k, k] = self._covariance[-1, -1] + step**2
        self._covariance = grown
        self._means = np.append(self._means, self._means[-1])

    def _learn(self, place: int, reading: Reading) -> None:
        self._covariance = self._covariance + self._drift * max(reading.at - self._at, 0)
        self._at = max(self._at, reading.at)
        total = float(self._covariance[place, place]) + self._own
        if not total:
            self._means[place] = reading.score
            return
        wild = _WILD * math.sqrt(total) * self._unit
        surprise = min(max(reading.score - float(self._means[place]), -wild), wild)
        share = self._covariance[:, place] / total
        self._means = self._means + share * surprise
        self._covariance = self._covariance - np.outer(share, self._covariance[place])
