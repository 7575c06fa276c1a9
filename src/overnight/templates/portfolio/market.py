"""The prices, and what a strategy would have earned with them, day after day, costs included."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from skfolio import MultiPeriodPortfolio, Portfolio
from skfolio.model_selection import WalkForward

COST = 0.001  # of what is bought or sold
HISTORY = 250  # days that are known before the first decision
_TOLERANCE = 1e-6

Ask = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""All prices so far (days, assets) and what is held (assets,) to weights (assets,)."""


class Unfit(Exception):
    """Weights that nobody can hold."""


def root() -> Path:
    """The folder of the prices, on this machine."""
    home = os.environ.get("OVERNIGHT_HOME") or "~/.cache/overnight"
    return Path(home).expanduser() / "portfolio"


def load(part: str) -> np.ndarray:
    """Closing prices of `public/prices`, `hidden/test` or `hidden/last`, (days, assets)."""
    path = root() / f"{part}.npy"
    if not path.is_file():
        raise SystemExit(f"{path} is missing; run: python prepare.py")
    prices: np.ndarray = np.load(path, allow_pickle=False)
    return prices


def walk_forward(prices: np.ndarray, ask: Ask) -> MultiPeriodPortfolio:
    """What would have been earned from the day HISTORY on, a portfolio a day.

    On each day `ask` is given the prices up to that day. Raises Unfit for weights that are not a
    finite number for each asset, below zero or above one in all.
    """
    returns = np.diff(prices, axis=0) / prices[:-1]
    held = np.zeros(prices.shape[1])
    days = []
    splits = WalkForward(test_size=1, train_size=HISTORY, expand_train=True)
    for past, tomorrow in splits.split(returns):
        known = int(past[-1]) + 2  # the last return is between the last two prices
        weights = checked(ask(prices[:known], held), len(held))
        day = Portfolio(
            returns[tomorrow], weights, held, transaction_costs=COST, weight_drift=True,
            annualization_factor=252,
        )  # fmt: skip
        days.append(day)
        held = np.asarray(day.ending_weights)
    return MultiPeriodPortfolio(portfolios=days, annualization_factor=252)


def checked(weights: np.ndarray, assets: int) -> np.ndarray:
    """The weights as float64. Raises Unfit."""
    weights = np.asarray(weights, np.float64)
    if weights.shape != (assets,):
        raise Unfit(f"the weights have the shape {weights.shape}; expected {(assets,)}")
    if not np.isfinite(weights).all():
        raise Unfit("some weights are not finite numbers")
    if weights.min() < -_TOLERANCE or weights.sum() > 1 + _TOLERANCE:
        raise Unfit(
            f"the weights go from {weights.min():.3g} and add up to {weights.sum():.4g}; "
            "expected none below 0 and 1 at the most in all"
        )
    return weights.clip(0)


def equal_weights(past: np.ndarray, held: np.ndarray) -> np.ndarray:
    """The yardstick: the same of everything, restored every day."""
    return np.full(len(held), 1 / len(held))
