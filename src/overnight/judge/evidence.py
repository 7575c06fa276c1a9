"""How strongly pairs of measurements speak for a gain: an e-process, and what it must reach.

The null hypothesis: tip and incumbent score alike, whatever the noise looks like. Then a pair's
difference is as likely to be negative as positive, and as large as differences between repeats of
one program; so the bet exp(l d), divided by what such bets bring on average over both signs of
those repeats and of d itself, has expectation 1 (a soft-rank e-value). No tail is assumed. d is cut
at three standard deviations, so that no single wild reading decides. The product over pairs may be
watched after each and stopped at any time (Ville's inequality): by chance alone it ever reaches 1/a
with probability at most a.

Over the campaign, the j-th trial must reach 1/a_j with a_j = a (R + 1) / (j (j + 1)), R the
trials won before (e-LOND; Xu and Ramdas, 2024): the a_j add up to a, however long it lasts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from overnight.judge.noise import Noise
from overnight.judge.quantiles import student_t

_CUT = 3.0
_BETS = (0.4, 1.5)
_PRIOR = 0.7
"""Width of the Cauchy distribution that gains have beforehand, in sigmas."""


@dataclass(frozen=True)
class Beside:
    """What tip and incumbent scored, measured side by side."""

    difference: float
    """Tip minus incumbent, positive is better."""
    expected: float
    """The gain that was believed in before the pair was measured: it sets the stake."""


def stake(gain: float, noise: Noise) -> float:
    """The bet that grows fastest if the gain is true (for a normal distribution)."""
    low, high = _BETS
    return min(max(gain / (math.sqrt(2) * noise.sigma), low), high)


def log_evidence(pairs: Sequence[Beside], noise: Noise) -> float:
    """Logarithm of the e-process after these pairs; sigma must not be 0."""
    scale = math.sqrt(2) * noise.sigma
    repeats = [_cut(difference / scale) for difference in noise.differences]
    bets = [stake(pair.expected, noise) for pair in pairs]
    usual = {bet: sum([math.cosh(bet * repeat) for repeat in repeats]) for bet in set(bets)}
    total = 0.0
    for pair, bet in zip(pairs, bets, strict=True):
        d = _cut(pair.difference / scale)
        total += bet * d - math.log((usual[bet] + math.cosh(bet * d)) / (len(repeats) + 1))
    return total


def _cut(difference: float) -> float:
    return min(max(difference, -_CUT), _CUT)


def needed(false_keep: float, trial: int, won: int) -> float:
    """Log evidence that the `trial`-th trial of a campaign needs, after `won` successes."""
    return math.log(trial * (trial + 1) / (false_keep * (won + 1)))


def pairs_to_go(gain: float, missing: float, noise: Noise) -> float:
    """About how many more pairs it takes to gain `missing` log evidence, if the gain is true."""
    shift = gain / (math.sqrt(2) * noise.sigma)
    if shift <= 0.035:
        return math.inf
    bet = stake(gain, noise)
    cut = min(shift, 2.5)
    rate = bet * cut - math.log(1 + (math.cosh(bet * _CUT) - 1) / _CUT**2)
    return max(1.0, missing / max(rate, 0.3 * cut**2))


def honest_gain(pairs: Sequence[Beside], noise: Noise) -> tuple[float, tuple[float, float]]:
    """The gain that the pairs alone show, and its 95 % interval.

    A trial that is stopped when it looks good looks too good: the mean is drawn back by what
    Tweedie's formula takes from it under a Cauchy distribution of gains, which leaves large gains
    as they are.
    """
    mean = sum(pair.difference for pair in pairs) / len(pairs)
    sigmas, variance = mean / noise.sigma, 2 / len(pairs)
    gain = mean - mean * 2 * variance / (sigmas * sigmas + _PRIOR**2 + variance)
    freedom = max(len(noise.differences) + len(pairs) - 1, 1)
    reach = student_t(freedom, 0.975) * math.sqrt(variance) * noise.sigma
    return gain, (mean - reach, mean + reach)
