"""What the settings of [judge] change in the rule `confirm`, in simulated campaigns."""

from __future__ import annotations

import math

from benchmarks.judge import Campaign, Machine

from overnight.arena.settings import JudgeTable
from overnight.judge.confirm import Confirm


def campaign(gain: float | None = None, **table: float) -> Campaign:
    """One with a baseline and, after it, a change of this gain, given all the time it needs."""
    done = Campaign(Confirm(JudgeTable(**table), 0.0), Machine("Gaussian", 1))  # type: ignore[arg-type]
    done.begin()
    if gain is not None:
        done.attempt(gain)
        done.settle(math.inf)
    return done


def test_the_baseline_is_measured_as_often_as_the_table_says() -> None:
    assert [campaign(baseline=n)._began for n in (2, 9)] == [2, 9]


def test_a_keep_costs_more_where_fewer_false_ones_are_allowed() -> None:
    strict, loose = campaign(3.0, false_keep=1e-6), campaign(3.0, false_keep=0.5)
    assert len(strict.kept) == len(loose.kept) == 2 and strict.machine.count > loose.machine.count


def test_a_trial_ends_with_its_last_pair() -> None:
    short, long = (campaign(3.0, false_keep=1e-6, max_repeats=most) for most in (3, 100))
    assert (len(short.kept), len(long.kept)) == (1, 2) and short.machine.count < long.machine.count
