"""A model of the gain of a change, learned from the experiments so far.

A Gaussian process (Rasmussen and Williams 2006, chapter 2) in which each constant adds its own
smooth effect. It models gains over the parent, not scores, so experiments of other campaigns, and
those before another agent's edit, count as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from overnight.agents.tuner.constants import Constant, NewValues
from overnight.core.experiment import Experiment, Value

Floats = NDArray[np.float64]

# In units of the typical gain and of steps (see Constant.coordinate). In benchmarks/tuner.py a
# factor of two in any of them changes the result by less than its noise.
_LENGTH = 1.5
_NOISE = 0.15
_STEP_COST = 0.1
_FAILURE = -3.0
_LARGEST = 5.0

_COST = re.compile(r"DEPTH|LAYERS?\b|BLOCKS|BATCH|WIDTH|DIM\b|HIDDEN|RATIO|SIZE", re.IGNORECASE)
"""Constants that make a program cheaper when smaller: a small advantage under a fixed budget."""


class GaussianProcess:
    """Predicts the gain of any change, in units of the typical gain so far."""

    def __init__(
        self,
        constants: Sequence[Constant],
        experiments: Sequence[Experiment],
        before: Callable[[Experiment], Mapping[str, Value]],
    ) -> None:
        """`before`: the values of the constants in an experiment's parent."""
        self.constants = constants
        self.cheaper = np.array([-1.0 if _COST.search(c.name) else 0.0 for c in constants])
        gains = sorted(abs(e.gain) for e in experiments if e.gain)
        self.unit = gains[len(gains) // 2] if gains else 1.0
        self.size = len(experiments)
        if not experiments:
            return
        self.to = self._coordinates([e.parameters for e in experiments])
        self.start = self._coordinates([before(e) for e in experiments])
        known = [_gain(e, self.unit) for e in experiments]
        self.surprise = np.clip(known, -_LARGEST, _LARGEST) - self._prior(self.start, self.to)
        parents = np.array([e.parent or "" for e in experiments])
        across = _covariance(self.to, self.start)
        covariance = _covariance(self.to, self.to) + _covariance(self.start, self.start)
        covariance -= across + across.T
        # Experiments with the same parent share the luck of its measurements.
        noise = _NOISE * (np.eye(self.size) + 0.5 * (parents[:, None] == parents))
        self.covariance = covariance + noise

    def predict(
        self, incumbent: Mapping[str, Value], changes: Sequence[NewValues]
    ) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the gain of each change to the incumbent."""
        to = self._coordinates([{**incumbent, **change} for change in changes])
        start = self._coordinates([incumbent])
        mean = self._prior(start, to)
        variance = 2 * (_covariance(start, start) - _covariance(to, start))[:, 0]
        if self.size:
            shared = _covariance(to, self.to) - _covariance(to, self.start)
            shared += _covariance(start, self.start) - _covariance(start, self.to)
            solved = np.linalg.solve(self.covariance, np.column_stack((self.surprise, shared.T)))
            mean = mean + shared @ solved[:, 0]
            variance = variance - (shared * solved[:, 1:].T).sum(axis=1)
        return mean, np.sqrt(np.maximum(variance, 1e-9))

    def _prior(self, start: Floats, to: Floats) -> Floats:
        """The expected gain without any evidence: most changes do harm."""
        steps = np.clip(to - start, -1, 1)
        expected: Floats = _STEP_COST * (self.cheaper * steps - abs(steps)).sum(axis=1)
        return expected

    def _coordinates(self, values: Sequence[Mapping[str, Value]]) -> Floats:
        return np.array(
            [[c.coordinate(v.get(c.key, c.value)) for c in self.constants] for v in values]
        )


def _gain(e: Experiment, unit: float) -> float:
    """Its gain in units of the typical gain; without a score, the gain that it is taken for."""
    gain = e.foreseen if e.gain is None else e.gain
    return _FAILURE if gain is None else gain / unit


def _covariance(a: Floats, b: Floats) -> Floats:
    """Covariance of the scores at coordinates a and b: the effects of the constants add up."""
    covariance: Floats = np.zeros((len(a), len(b)))
    for here, there in zip(a.T, b.T, strict=True):
        covariance += np.exp(-0.5 * (np.subtract.outer(here, there) / _LENGTH) ** 2)
    # Scaled so that one step of one constant changes the score by about one unit.
    return covariance / (2 - 2 * math.exp(-0.5 / _LENGTH**2))


def expected_improvement(mean: Floats, deviation: Floats) -> Floats:
    """Of a normally distributed gain, above zero."""
    z = mean / deviation
    below = np.array([0.5 * (1 + math.erf(one / math.sqrt(2))) for one in z])
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    improvement: Floats = deviation * (z * below + density)
    return improvement
