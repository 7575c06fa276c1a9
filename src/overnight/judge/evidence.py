"""The evidence of pairs of measurements for a gain (an e-process), and how much a trial needs.

Null hypothesis: tip and incumbent score alike, with noise of any distribution. Then the difference
d of a pair is positive or negative with equal probability, and its size has the distribution of the
differences between repeats of one program. So the bet exp(b d), divided by the average of such bets
over both signs of those repeats and of d itself, has expectation 1 (a soft-rank e-value). d is
clipped at three standard deviations, so that no single wild reading decides. The product over all
pairs may be checked after each pair (Ville's inequality): under the null hypothesis it ever reaches
1/a with probability at most a.

In a campaign, trial number j must reach 1/a_j with a_j = a (R + 1) / (j (j + 1)), where R is the
number of trials won before (e-LOND; Xu and Ramdas, 2024). Until a trial is won, the a_j add up to
at most a, however long the campaign lasts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from overnight.judge.noise import Noise
from overnight.judge.quantiles import student_t

_CLIP = 3.0
"""Differences are clipped at this many standard deviations."""
_STAKES = (0.4, 1.5)
"""Smallest and largest stake."""
_PRIOR = 0.7
"""Width of the prior distribution of gains, a Cauchy distribution, in sigmas."""


@dataclass(frozen=True)
class PairResult:
    """One pair of measurements of tip and incumbent."""

    difference: float
    """Tip minus incumbent, positive is better."""
    expected: float
    """The gain that was estimated before the pair was measured: it sets the stake."""


def stake(gain: float, noise: Noise) -> float:
    """The b for which the product grows fastest if the gain is true and the noise is normal."""
    low, high = _STAKES
    return min(max(gain / (math.sqrt(2) * noise.sigma), low), high)


def log_evidence(pairs: Sequence[PairResult], noise: Noise) -> float:
    """Logarithm of the e-process after these pairs. The noise's sigma must not be 0."""
    scale = math.sqrt(2) * noise.sigma
    repeats = [_clipped(difference / scale) for difference in noise.differences]
    stakes = [stake(pair.expected, noise) for pair in pairs]
    sums = {b: sum([math.cosh(b * repeat) for repeat in repeats]) for b in set(stakes)}
    total = 0.0
    for pair, b in zip(pairs, stakes, strict=True):
        d = _clipped(pair.difference / scale)
        total += b * d - math.log((sums[b] + math.cosh(b * d)) / (len(repeats) + 1))
    return total


def _clipped(difference: float) -> float:
    return min(max(difference, -_CLIP), _CLIP)


def needed(false_keep: float, trial: int, won: int) -> float:
    """Log evidence that trial number `trial` of a campaign needs if `won` were won before."""
    return math.log(trial * (trial + 1) / (false_keep * (won + 1)))


def pairs_to_go(gain: float, missing: float, noise: Noise) -> float:
    """Roughly how many more pairs give `missing` log evidence, if the gain is true."""
    shift = gain / (math.sqrt(2) * noise.sigma)
    if shift <= 0.035:
        return math.inf
    b, clipped = stake(gain, noise), min(shift, 2.5)
    rate = b * clipped - math.log(1 + (math.cosh(b * _CLIP) - 1) / _CLIP**2)
    return max(1.0, missing / max(rate, 0.3 * clipped**2))


def honest_gain(pairs: Sequence[PairResult], noise: Noise) -> tuple[float, tuple[float, float]]:
    """The gain estimated from the pairs alone, and its 95 % interval.

    A trial ends when its mean looks good, so the mean is too large on average. It is corrected by
    Tweedie's formula with a Cauchy prior, which hardly changes large gains.
    """
    mean = sum(pair.difference for pair in pairs) / len(pairs)
    sigmas, variance = mean / noise.sigma, 2 / len(pairs)
    gain = mean - mean * 2 * variance / (sigmas * sigmas + _PRIOR**2 + variance)
    freedom = max(len(noise.differences) + len(pairs) - 1, 1)
    reach = student_t(freedom, 0.975) * math.sqrt(variance) * noise.sigma
    return gain, (mean - reach, mean + reach)
