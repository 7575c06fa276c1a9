"""Prices, once per machine: the years that a strategy may learn from and those it is judged on.

The daily closing prices of 20 large American companies, 1990 to 2022, come with skfolio. Below
`$OVERNIGHT_HOME/portfolio` this makes `public` (to 2006) and `hidden` (`test`: 2008 to 2016;
`last`: 2017 to 2022, each with the year before it), and `hidden.txt`, the files that the same
prices can be read from elsewhere.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from market import root
from skfolio.datasets import load_sp500_dataset

PARTS = {"public/prices": ("1990", "2006"), "hidden/test": ("2007", "2016"),
         "hidden/last": ("2016", "2022")}  # fmt: skip


def write(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_bytes(content)
    fresh.replace(path)


def save(prices: pd.DataFrame, path: Path) -> None:
    """A part of the prices as an array without names or dates."""
    values = np.ascontiguousarray(prices.to_numpy(np.float64))
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{os.getpid()}.npy")
    np.save(fresh, values, allow_pickle=False)
    fresh.replace(path)


def main() -> None:
    """Prepare everything, unless this machine has it."""
    prices = load_sp500_dataset()
    for part, (first, last) in PARTS.items():
        save(prices.loc[first:last], root() / f"{part}.npy")
    spec = find_spec("skfolio")
    assert spec is not None and spec.origin is not None
    bundled = Path(spec.origin).parent / "datasets" / "data"
    write(root() / "hidden.txt", f"{bundled}\n".encode())
    print(f"{root()}: {len(prices):,} days of {prices.shape[1]} prices")


if __name__ == "__main__":
    main()
