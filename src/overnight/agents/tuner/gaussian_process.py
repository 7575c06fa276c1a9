"""What is believed about the gain of a change, learned from the experiments so far.

A Gaussian process (Rasmussen and Williams 2006, chapter 2) in which each constant adds its own
smooth effect. It is about gains over the parent, not scores: experiments of other campaigns, or
from before another agent's edit, tell as much.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from overnight.agents.tuner.constants import Change, Constant
from overnight.core.experiment import Experiment, Value

Floats = NDArray[np.float64]

# In units of the typical gain and of steps (see Constant.coordinate). benchmarks/tuner.py shows
# that none of these is delicate: a factor of two costs no more than its noise.
_LENGTH = 1.5
_NOISE = 0.15
_STEP_COST = 0.1
_FAILURE = -3.0
_LARGEST = 5.0

_COST = re.compile(r"DEPTH|LAYERS?\b|BLOCKS|BATCH|WIDTH|DIM\b|HIDDEN|RATIO|SIZE", re.IGNORECASE)
"""What makes a program cheaper when smaller: under a fixed budget, that is a small plus."""


class Belief:
    """What is believed about the gain of any change, in units of the typical gain so far.

    It is about gains over the parent, not scores: those of other campaigns, or from before another
    agent's edit, tell as much.
    """

    def __init__(
        self,
        constants: Sequence[Constant],
        experiments: Sequence[Experiment],
        before: Callable[[Experiment], Mapping[str, Value]],
    ) -> None:
        self.constants = constants
        self.cheaper = np.array([-1.0 if _COST.search(c.name) else 0.0 for c in constants])
        gains = sorted(abs(e.gain) for e in experiments if e.gain)
        self.unit = gains[len(gains) // 2] if gains else 1.0
        self.size = len(experiments)
        if not experiments:
            return
        self.to = self._places([e.parameters for e in experiments])
        self.start = self._places([before(e) for e in experiments])
        known = [_gain(e, self.unit) for e in experiments]
        self.surprise = np.clip(known, -_LARGEST, _LARGEST) - self._drift(self.start, self.to)
        parents = np.array([e.parent or "" for e in experiments])
        across = _alike(self.to, self.start)
        covariance = _alike(self.to, self.to) + _alike(self.start, self.start) - across - across.T
        # Experiments with the same parent share the luck of its measurements.
        noise = _NOISE * (np.eye(self.size) + 0.5 * (parents[:, None] == parents))
        self.covariance = covariance + noise

    def of_changes(
        self, incumbent: Mapping[str, Value], changes: Sequence[Change]
    ) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the gain of each change of the incumbent."""
        to = self._places([{**incumbent, **change} for change in changes])
        start = self._places([incumbent])
        mean = self._drift(start, to)
        variance = 2 * (_alike(start, start) - _alike(to, start))[:, 0]
        if self.size:
            shared = _alike(to, self.to) - _alike(to, self.start)
            shared += _alike(start, self.start) - _alike(start, self.to)
            solved = np.linalg.solve(self.covariance, np.column_stack((self.surprise, shared.T)))
            mean = mean + shared @ solved[:, 0]
            variance = variance - (shared * solved[:, 1:].T).sum(axis=1)
        return mean, np.sqrt(np.maximum(variance, 1e-9))

    def _drift(self, start: Floats, to: Floats) -> Floats:
        """What is expected of a change before any evidence: most do harm."""
        steps = np.clip(to - start, -1, 1)
        expected: Floats = _STEP_COST * (self.cheaper * steps - abs(steps)).sum(axis=1)
        return expected

    def _places(self, values: Sequence[Mapping[str, Value]]) -> Floats:
        return np.array(
            [[c.coordinate(v.get(c.key, c.value)) for c in self.constants] for v in values]
        )


def _gain(e: Experiment, unit: float) -> float:
    """What it gained, in typical gains, or what an experiment without a score stands for."""
    gain = e.foreseen if e.gain is None else e.gain
    return _FAILURE if gain is None else gain / unit


def _alike(a: Floats, b: Floats) -> Floats:
    """Covariance of the scores at places a and b: the constants' effects add up."""
    covariance: Floats = np.zeros((len(a), len(b)))
    for here, there in zip(a.T, b.T, strict=True):
        covariance += np.exp(-0.5 * (np.subtract.outer(here, there) / _LENGTH) ** 2)
    # Scaled such that one step of one constant changes the score by about one unit.
    return covariance / (2 - 2 * math.exp(-0.5 / _LENGTH**2))


def expected_improvement(mean: Floats, deviation: Floats) -> Floats:
    z = mean / deviation
    below = np.array([0.5 * (1 + math.erf(one / math.sqrt(2))) for one in z])
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    improvement: Floats = deviation * (z * below + density)
    return improvement
