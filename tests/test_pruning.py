"""Lost runs end early: what is ended, what never is, and that it costs no win."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight import Experiment
from overnight.experiment import Outcome
from overnight.prune import is_control
from toy import make_toy
from writer import Writer, run

BUDGET = 3.0
SLOW = f"""
name = "toy"
editable = ["value.py"]
[metric]
name = "loss"
direction = "minimize"
[run]
command = "python3 value.py"
budget = "{BUDGET:g}s"
[score]
command = "python3 score.py"
"""
CURVE = """import os, sys, time
begun = float(os.environ["OVERNIGHT_STARTED"])
X = {x}
def tell(at, value):
    time.sleep(max(0, begun + at * {scale} - time.monotonic()))
    print(f"overnight: progress={{at}} loss={{value}}", flush=True)
def leave():
    open(os.path.join(os.environ["OVERNIGHT_OUT"], "value"), "w").write(f"X={{X}}")
    sys.exit()
"""
HONEST = """for at in (0.1, 0.2, 0.3, 0.4):
    tell(at, abs(X - 3) + 2 * (1 - at))
leave()
"""


def program(x: float, body: str = HONEST) -> str:
    """A candidate that ends at loss |x - 3|; its curve comes down to it."""
    return CURVE.format(x=x, scale=BUDGET) + body


@pytest.fixture
def arena(hostile_folder: Path) -> Path:
    return make_toy(hostile_folder / "arena", SLOW, value=program(10))


LEARNED = [program(x) for x in (9.5, 9, 9.25)]
"""After the baseline's, the curves to learn from: loss 6.5, 6, 6.25."""


def first_of(control: bool, after: int = 4) -> int:
    """The number of the first experiment that is, or is not, a control."""
    return next(n for n in range(after, 99) if is_control("t", n) is control)


def with_candidate(text: str, n: int) -> Writer:
    """Three runs to learn from, harmless ones up to n, and n."""
    fill = [program(9, "leave()\n")] * (n - 1 - len(LEARNED))
    return Writer([*LEARNED, *fill, text])


def last_of(arena: Path, text: str, control: bool = False) -> Experiment:
    n = first_of(control)
    return run(arena, with_candidate(text, n))[n]


def test_a_hopeless_run_is_ended_early_and_says_so(arena: Path) -> None:
    hopeless = last_of(arena, program(50))
    (measurement,) = hopeless.measurements
    assert hopeless.verdict == "discard" and hopeless.score is None
    assert measurement.outcome is Outcome.PRUNED and measurement.score is None
    assert "pruned: at 20% of the budget: loss" in hopeless.reason
