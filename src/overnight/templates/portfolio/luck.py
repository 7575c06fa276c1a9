"""How much of a Sharpe ratio luck explains, after so many tries.

Who tries N strategies without skill and shows the best shows skill that is not there. Bailey and
López de Prado (The Deflated Sharpe Ratio, Journal of Portfolio Management 40(5), 2014) say how
much: the expected maximum of N tries, in standard deviations of a try's Sharpe ratio. That
deviation is taken here for the difference to the yardstick, for what is tried are departures from
it (Jobson and Korkie, Journal of Finance 36(4), 1981, corrected by Memmel, Finance Letters 1(1),
2003).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

DAYS = 252  # of trading in a year
_EULER = 0.5772156649015329


def sharpe(returns: np.ndarray) -> float:
    """Sharpe ratio of a day, cash earning nothing; 0 for returns that never change."""
    deviation = float(returns.std(ddof=1))
    return float(returns.mean()) / deviation if deviation > 1e-12 else 0.0


def expected_maximum(tries: int) -> float:
    """Of so many independent standard normal numbers; 0 for a single one."""
    if tries <= 1:
        return 0.0
    normal = NormalDist().inv_cdf
    return (1 - _EULER) * normal(1 - 1 / tries) + _EULER * normal(1 - 1 / (tries * math.e))


def standard_error(returns: np.ndarray, yardstick: np.ndarray) -> float:
    """Of the difference between the two daily Sharpe ratios; both (days,)."""
    one, other = sharpe(returns), sharpe(yardstick)
    alike = float(np.corrcoef(returns, yardstick)[0, 1]) if one else 0.0
    spread = 2 - 2 * alike + (one**2 + other**2 - 2 * one * other * alike**2) / 2
    return math.sqrt(max(spread, 0.0) / len(returns))


def deflated(returns: np.ndarray, yardstick: np.ndarray, tries: int) -> dict[str, float]:
    """A year's Sharpe ratio, what luck explains of it, the rest; and how probable it is that the
    difference to the yardstick is more than luck."""
    error = standard_error(returns, yardstick)
    luck = error * expected_maximum(tries)
    ahead = sharpe(returns) - sharpe(yardstick) - luck
    year = math.sqrt(DAYS)
    return {
        "deflated_sharpe": round(year * (sharpe(returns) - luck), 4),
        "sharpe": round(year * sharpe(returns), 4),
        "yardstick_sharpe": round(year * sharpe(yardstick), 4),
        "luck": round(year * luck, 4),
        "probability": round(NormalDist().cdf(ahead / error), 4) if error > 1e-9 else 0.5,
        "tries": tries,
    }
