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

from overnight.noise import Noise, Reading, Series

STEP = 0.7
"""How far a child lies from its parent before it is measured: a standard deviation, in sigmas."""
_FAR = 3.0
"""A child that its readings put further from its parent, in sigmas, did make a large step."""
_WILD = 3.0
"""A reading further from what was expected, in standard deviations, counts as this far."""


@dataclass(frozen=True)
class Gap:
    """By how much one of the stack is believed to be better than another."""

    mean: float
    variance: float

    def beyond(self, margin: float) -> float:
        """Standard deviations by which the gap exceeds the margin."""
        return (self.mean - margin) / math.sqrt(self.variance) if self.variance else math.inf


class Levels:
    """The beliefs after the readings of a stack. Index 0 is the incumbent, -1 the tip."""

    def __init__(self, stack: Sequence[Series], noise: Noise) -> None:
        """`stack` from the incumbent up; every series has at least one reading."""
        self._noise = noise
        self.bets: dict[int, float] = {}
        """Seed of a pair of tip and incumbent → the gap believed in before it was measured."""
        first = stack[0][0]
        self._at = first.seed
        self._means = np.array([first.score])
        self._covariance = np.array([[noise.sigma**2]])
        order = [(r.seed, place, r) for place, series in enumerate(stack) for r in series]
        for _, place, reading in sorted(order[1:], key=lambda entry: entry[:2]):
            while place >= len(self._means):
                self._add_child(stack[len(self._means)])
            if place in (0, len(stack) - 1) and len(self._means) == len(stack):
                self.bets.setdefault(reading.seed, self.gap(-1, 0).mean)
            self._learn(place, reading)

    @property
    def size(self) -> int:
        """How many candidates the stack has."""
        return len(self._means)

    def gap(self, upper: int, lower: int) -> Gap:
        """How much better `upper` is than `lower`."""
        p = self._covariance
        variance = float(p[upper, upper] + p[lower, lower] - 2 * p[upper, lower])
        return Gap(float(self._means[upper] - self._means[lower]), max(variance, 0.0))

    def tip(self, now: int) -> tuple[float, float]:
        """Mean and variance of what the tip would score when `now` measurements of the campaign
        have been taken, without the noise of a reading."""
        drifted = self._noise.drift * max(now - self._at, 0)
        return float(self._means[-1]), float(self._covariance[-1, -1]) + drifted

    def _add_child(self, series: Series) -> None:
        k, sigma = len(self._means), self._noise.sigma
        apart = abs(median(reading.score for reading in series) - float(self._means[-1]))
        step = STEP * sigma if apart <= _FAR * sigma else apart
        grown = np.empty((k + 1, k + 1))
        grown[:k, :k] = self._covariance
        grown[k, :k] = grown[:k, k] = self._covariance[-1]
        grown[k, k] = self._covariance[-1, -1] + step**2
        self._covariance = grown
        self._means = np.append(self._means, self._means[-1])

    def _learn(self, place: int, reading: Reading) -> None:
        self._covariance = self._covariance + self._noise.drift * max(reading.seed - self._at, 0)
        self._at = max(self._at, reading.seed)
        total = float(self._covariance[place, place]) + self._noise.sigma**2
        if not total:
            self._means[place] = reading.score
            return
        wild = _WILD * math.sqrt(total)
        surprise = min(max(reading.score - float(self._means[place]), -wild), wild)
        share = self._covariance[:, place] / total
        self._means = self._means + share * surprise
        self._covariance = self._covariance - np.outer(share, self._covariance[place])
