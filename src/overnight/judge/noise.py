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
from operator import truediv
from statistics import median

_MOST = 400
"""The newest differences that count."""
_CAP = 4.0
"""Differences above this many medians are wild: they count as that many."""
_DRIFTS = (0.0, 0.01, 0.03, 0.1)
"""Variance that the machine adds between two readings, in units of the noise's own."""
_ENOUGH_FOR_DRIFT = 6
_SURE = 0.8416
"""Standard deviations of one-sided confidence, 80 %."""
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
    return replace(noise, sigma=max(noise.sigma, trusted.sigma * _surely(len(own))))


def _surely(count: int) -> float:
    """The share of a standard deviation, estimated from so many differences, that the true one has
    with 80 % confidence: chi-squared as Wilson and Hilferty approximate it, here within 0.7 %.
    scipy has it exactly, and takes longer to import than `overnight status` to print."""
    spread = 2 / (9 * count)
    return float((1 - spread + _SURE * math.sqrt(spread)) ** -1.5)


def _estimated(steps: list[tuple[Reading, Reading]]) -> Noise:
    steps = sorted(steps, key=lambda step: step[1].at)[-_MOST:]
    apart = tuple(later.score - former.score for former, later in steps)
    if not any(apart):
        return Noise(0.0, 0.0, apart)
    sizes = [abs(difference) for difference in apart]
    if middle := median(sizes):
        sizes = [min(size, _CAP * middle) for size in sizes]
    lags = [max(later.at - former.at, 0) for former, later in steps]
    typical = median(lags) or 1.0
    # In units of the largest, for the square of a score may be too small for a number.
    unit = max(sizes)
    squares = [(size / unit) ** 2 for size in sizes]
    variance, share = _likeliest(squares, [lag / typical for lag in lags])
    # A few differences know little: leave room for a noise that is larger than it looked.
    sigma = unit * math.sqrt(variance * (1 + 0.5 / len(apart)))
    drift = unit * math.sqrt(share * variance / typical)
    return Noise(sigma, drift, apart)


def _likeliest(squares: list[float], lags: list[float]) -> tuple[float, float]:
    """The noise's variance, and the drift per unit of lag as a share of it."""
    best = (-math.inf, 0.0, 0.0)
    for share in _DRIFTS if len(squares) >= _ENOUGH_FOR_DRIFT else (0.0,):
        spreads = [2 + share * lag for lag in lags]
        variance = sum(map(truediv, squares, spreads)) / len(squares)
        logs = len(spreads) * math.log(variance) + sum(map(math.log, spreads))
        likelihood = -0.5 * logs - _DOUBT * (share > 0)
        best = max(best, (likelihood, variance, share))
    return best[1], best[2]
