"""The run: the candidate on the public years, so that a mistake is seen early.

Nothing here counts. What a strategy learns from these years it may leave in `OVERNIGHT_OUT`, and
read there when it is judged on others.
"""

from __future__ import annotations

import sys

from market import Unfit, equal_weights, load, walk_forward
from strategy import weights


def main() -> None:
    """Print what the strategy would have earned."""
    prices = load("public/prices")
    try:
        found = walk_forward(prices, weights)
    except Unfit as reason:
        sys.exit(f"strategy.py: {reason}")
    print(f"public_sharpe: {found.annualized_sharpe_ratio:.4f}")
    print(f"public_yardstick: {walk_forward(prices, equal_weights).annualized_sharpe_ratio:.4f}")


if __name__ == "__main__":
    main()
