"""The noise of one measurement: how far apart the scores of one program lie.

It is estimated from the differences between successive readings of a candidate, pooled over all
candidates that were measured more than once. If the machine drifts, readings that are further apart
in time differ more; that part is estimated separately (a local level model; Harvey, 1989), so that
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
"""Only the newest differences count."""
_CAP = 4.0
"""A difference counts at most this many times the median difference."""
_DRIFTS = (0.0, 0.01, 0.03, 0.1)
"""The variances that drift may add between two readings, in units of the noise's variance."""
_ENOUGH_FOR_DRIFT = 6
"""Fewest differences for an estimate of the drift."""
_DOUBT = 2.0
"""Log-likelihood that a drift must add to be believed; Akaike's criterion asks for half of it."""
_SURE = 0.8416
"""Standard deviations of one-sided confidence, 80 %."""


@dataclass(frozen=True)
class Reading:
    """One score of a candidate, oriented: larger is better."""

    score: float
    at: int
    """Its place in time: how many measurements the campaign had begun before it. Both readings of a
    pair have that of the first."""
    seed: int
    """The seed that the run was given. No rule uses it."""
    pair: int | None = None
    """Id of the pair, if it was measured side by side with a reading of another candidate."""


Series = Sequence[Reading]
"""The readings of one candidate, oldest first."""


@dataclass(frozen=True)
class Noise:
    """An estimate of the noise of one measurement."""

    sigma: float
    """Standard deviation; 0 until two readings of a candidate have differed."""
    drift: float
    """Standard deviation of the machine's drift from one measurement to the next."""
    differences: tuple[float, ...]
    """Differences between successive readings of the same candidate."""

    @property
    def deterministic(self) -> bool:
        """Whether all repeats were equal, and there were at least two."""
        return len(self.differences) >= 2 and not any(self.differences)


def noise_of(incumbent: Series, others: Iterable[Series] = ()) -> Noise:
    """Estimate the noise from the readings of the incumbent and of other candidates.

    Candidates that fix their own seed must not make the noise look small. So if the incumbent's
    readings vary, equal readings of others do not count, and the estimate is at least the lower
    bound (80 % confidence) from the incumbent's readings alone.
    """
    own = list(pairwise(incumbent))
    varied = any(later.score != former.score for former, later in own)
    steps = own + [
        (former, later)
        for series in others
        for former, later in pairwise(series)
        if not varied or later.score != former.score
    ]
    noise = _estimate(steps)
    if not varied or len(steps) == len(own):
        return noise
    least = _estimate(own).sigma * _lower_bound(len(own))
    return replace(noise, sigma=max(noise.sigma, least))


def _lower_bound(count: int) -> float:
    """Lower bound of a standard deviation, 80 % confidence, relative to its estimate from `count`
    differences.

    It follows from chi-squared, here in Wilson and Hilferty's approximation (error below 0.7 %):
    importing scipy takes longer than printing `overnight status`.
    """
    variance = 2 / (9 * count)
    return math.pow(1 - variance + _SURE * math.sqrt(variance), -1.5)


def _estimate(steps: list[tuple[Reading, Reading]]) -> Noise:
    steps = sorted(steps, key=lambda step: step[1].at)[-_MOST:]
    apart = tuple(later.score - former.score for former, later in steps)
    if not any(apart):
        return Noise(0.0, 0.0, apart)
    sizes = [abs(difference) for difference in apart]
    if middle := median(sizes):
        sizes = [min(size, _CAP * middle) for size in sizes]
    lags = [max(later.at - former.at, 0) for former, later in steps]
    typical = median(lags) or 1.0
    # In units of the largest: the square of a score may underflow.
    unit = max(sizes)
    squares = [(size / unit) ** 2 for size in sizes]
    variance, share = _likeliest(squares, [lag / typical for lag in lags])
    # Few differences tell little: the noise may be larger than it looks.
    sigma = unit * math.sqrt(variance * (1 + 0.5 / len(apart)))
    drift = unit * math.sqrt(share * variance / typical)
    return Noise(sigma, drift, apart)


def _likeliest(squares: list[float], lags: list[float]) -> tuple[float, float]:
    """The likeliest variance of the noise, and the drift's per unit of lag as a share of it."""
    best = (-math.inf, 0.0, 0.0)
    for share in _DRIFTS if len(squares) >= _ENOUGH_FOR_DRIFT else (0.0,):
        spreads = [2 + share * lag for lag in lags]
        variance = sum(map(truediv, squares, spreads)) / len(squares)
        logs = len(spreads) * math.log(variance) + sum(map(math.log, spreads))
        likelihood = -0.5 * logs - _DOUBT * (share > 0)
        best = max(best, (likelihood, variance, share))
    return best[1], best[2]
