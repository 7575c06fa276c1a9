"""Past prices in, weights out. This is the file to improve.

`weights(past, held)` is called after the close of every trading day. It gets all prices up to and
including that day, (days, assets), and what is held, (assets,); it returns what to hold until the
next close, (assets,): parts of the wealth, none below zero, together one at the most. The rest is
cash. Trading costs money; returning `held` costs nothing.
"""

from __future__ import annotations

import numpy as np

LOOKBACK = 20  # 5..500 log, days that past performance is measured over
SKIPPED = 0  # 0..40, latest days left out of that
HOLDINGS = 5  # 1..20
EVERY = 1  # 1..126 log, trading days from one change to the next
WEIGHTING = "equal"  # one of: equal, inverse_volatility
VOLATILITY_DAYS = 60  # 10..250 log
INVESTED = 1.0  # 0.2..1


def weights(past: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Hold what went up most."""
    if len(past) % EVERY and held.any():
        return held
    chosen = np.argsort(-performance(past))[:HOLDINGS]
    found = np.zeros(past.shape[1])
    found[chosen] = 1.0
    if WEIGHTING == "inverse_volatility":
        found[chosen] = 1 / volatility(past[:, chosen])
    return INVESTED * found / found.sum()


def performance(past: np.ndarray) -> np.ndarray:
    """What each asset gained over the look-back, (assets,)."""
    end = len(past) - 1 - SKIPPED
    return past[end] / past[max(end - LOOKBACK, 0)] - 1


def volatility(past: np.ndarray) -> np.ndarray:
    """Standard deviation of the daily log returns, (assets,)."""
    return np.diff(np.log(past[-VOLATILITY_DAYS - 1 :]), axis=0).std(axis=0) + 1e-6
