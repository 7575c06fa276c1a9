"""The referee: a strategy's Sharpe ratio in years that it has never seen, less what luck explains.

    python score.py           2008 to 2016, as in a campaign
    python score.py --last    2017 to 2022, the final exam: for you, and no choice is made by it

The strategy is asked day by day, in a process and a sandbox of its own; tomorrow's prices are on
this side only. Nor is it told where it is: the years are cut into stretches of many lengths, which
come in an order drawn by lot, each to a new process, with the columns shuffled and every price a
multiple of the first one. Remembering what happened to which company, or when, gains nothing.
"""

from __future__ import annotations

import os
import sys

import numpy as np
from luck import deflated
from market import HISTORY, Unfit, equal_weights, load, walk_forward

from overnight.referee import Candidate, Invalid, report

SHORTEST, LONGEST = 150, 350  # days of a stretch


def stretches(days: int, chance: np.random.Generator) -> list[slice]:
    """Prices that are shown together: each day after the first HISTORY is judged in one of them,
    with the HISTORY days before it."""
    found, first = [], HISTORY
    while first < days - 1:
        last = min(first + int(chance.integers(SHORTEST, LONGEST + 1)), days - 1)
        last = days - 1 if days - 1 - last < SHORTEST else last
        found.append(slice(first - HISTORY, last + 1))
        first = last
    return found


def returns_of(prices: np.ndarray) -> np.ndarray:
    """The candidate's daily returns in one stretch, (days,)."""
    seen = 0
    with Candidate("python serve.py") as candidate:

        def ask(past: np.ndarray, held: np.ndarray) -> np.ndarray:
            nonlocal seen
            new, seen = past[seen:], len(past)
            return candidate.ask(prices=new, held=held).array("weights", "float64", held.shape)

        try:
            return np.asarray(walk_forward(prices, ask).returns)
        except Unfit as reason:
            raise Invalid(str(reason)) from reason


def score() -> dict[str, float]:
    """What this referee reports."""
    chance = np.random.default_rng()  # not the seed of the measurement, which a run knows
    last = "--last" in sys.argv
    prices = load("hidden/last" if last else "hidden/test")
    parts = stretches(len(prices), chance)
    returns, yardstick = {}, {}
    for n in chance.permutation(len(parts)):
        part = prices[parts[n]]
        order = chance.permutation(part.shape[1])
        returns[n] = returns_of((part / part[0])[:, order])
        yardstick[n] = np.asarray(walk_forward(part, equal_weights).returns)
    earned, usual = (np.concatenate([one[n] for n in sorted(one)]) for one in (returns, yardstick))
    if not earned.any():
        raise Invalid("the strategy never held anything but cash")
    # Nothing is chosen by the last years, so there is no luck of choosing to take off.
    tries = 1 if last else int(os.environ.get("OVERNIGHT_EXPERIMENT", "0")) + 1
    return deflated(earned, usual, tries)


if __name__ == "__main__":
    report(score)
