"""How far the same program's scores lie apart: what one measurement is worth.

Estimated from differences between successive readings of one candidate, pooled over all candidates
that were measured more than once. A machine that drifts makes far readings differ more than near
ones: the part that grows with time is told apart (a local level model; Harvey, 1989), so that
old readings count less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from overnight.judge.quantiles import chi_squared

_MOST = 400
"""The newest differences that count."""
_CAP = 4.0
"""Differences above this many medians are wild: they count as that many."""
_DRIFTS = (0.0, 0.01, 0.03, 0.1)
"""Variance that the machine adds between two readings, in units of the noise's own."""
_ENOUGH_FOR_DRIFT = 6
_DOUBT = 2.0
"""Log-likelihood that a drift must explain before it is believed (Akaike's, for one number)."""


@dataclass(frozen=True)
class Reading:
    """One score of a candidate, oriented: larger is better."""

    score: float
    at: int
    """When it was taken: the campaign's measurements that had begun before it, or before its pair.
    """
    seed: int
    """The seed of the run. No rule looks at it."""
    pair: int | None = None
    """Two readings with the same pair, one of each of two candidates, were taken side by side."""


Series = Sequence[Reading]
"""The readings of one candidate, in the order they were taken."""


@dataclass(frozen=True)
class Noise:
    """What is known about the noise of one measurement."""

    sigma: float
    """Standard deviation; 0 as long as no two readings of a candidate have differed."""
    drift: float
    """Standard deviation of what the machine adds from one measurement to the next."""
    differences: tuple[float, ...]
    """Between successive readings of the same candidate."""

    @property
    def deterministic(self) -> bool:
        """Whether repeats have always been equal, and there were two or more."""
        return len(self.differences) >= 2 and not any(self.differences)


def noise_of(incumbent: Series, others: Iterable[Series] = ()) -> Noise:
    """Estimate from the incumbent's readings and from those of others; a single one tells nothing.

    Candidates that fix their own seed must not make the noise look small: where the incumbent's
    readings vary, equal ones of others do not count, and the estimate is not below what the
    incumbent's alone say with 80 % confidence.
    """
    own = list(pairwise(incumbent))
    varied = any(later.score != former.score for former, later in own)
    steps = own + [
        (former, later)
        for series in others
        for former, later in pairwise(series)
        if not varied or later.score != former.score
    ]
    noise = _estimated(steps)
    if not varied or len(steps) == len(own):
        return noise
    trusted = _estimated(own)
    least = trusted.sigma * math.sqrt(len(own) / chi_squared(len(own), 0.2))
    return replace(noise, sigma=max(noise.sigma, least))


def _estimated(steps: list[tuple[Reading, Reading]]) -> Noise:
    steps = sorted(steps, key=lambda step: step[1].at)[-_MOST:]
    apart = np.array([later.score - former.score for former, later in steps])
    if not apart.any():
        return Noise(0.0, 0.0, tuple(apart.tolist()))
    size = np.abs(apart)
    if middle := float(np.median(size)):
        size = np.minimum(size, _CAP * middle)
    lags = np.array([max(later.at - former.at, 0) for former, later in steps])
    typical = float(np.median(lags)) or 1.0
    # In units of the largest, for the square of a score may be too small for a number.
    unit = float(size.max())
    variance, share = _likeliest((size / unit) ** 2, lags / typical)
    # A few differences know little: leave room for a noise that is larger than it looked.
    sigma = unit * math.sqrt(variance * (1 + 0.5 / len(apart)))
    drift = unit * math.sqrt(share * variance / typical)
    return Noise(sigma, drift, tuple(apart.tolist()))


def _likeliest(squares: np.ndarray, lags: np.ndarray) -> tuple[float, float]:
    """The noise's variance, and the drift per unit of lag as a share of it."""
    best = (-math.inf, 0.0, 0.0)
    for share in _DRIFTS if len(squares) >= _ENOUGH_FOR_DRIFT else (0.0,):
        spread = 2 + share * lags
        variance = float(np.mean(squares / spread))
        likelihood = -0.5 * float(np.sum(np.log(variance * spread))) - _DOUBT * (share > 0)
        best = max(best, (likelihood, variance, share))
    return best[1], best[2]
