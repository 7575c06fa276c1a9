"""How many measurements a trial of the tip may cost: a share of those that were spent without one.

A large gain need not wait, since its trial is cheap; a small one is tried once the campaign has
gone on for long enough.
"""

from __future__ import annotations

from collections.abc import Sequence

from overnight.core.under_way import Trial

_SHARE = 0.25
_GRACE = 2.0
"""What a trial may cost right at the beginning."""
RESERVE = 20
"""When no more than so many measurements are left, a trial may cost them all: what is still
provisional at the end has helped nobody."""
MOST_TRIALS = 2
"""At the end, trials may cost as much as so many that go on for as long as they may."""


def patience(rounds: Sequence[Trial], measured: int, latest: int) -> float:
    """Measurements that a trial may cost now, after `measured` in all."""
    before = [r.measured for r in rounds if r.latest != latest]
    return _GRACE + _SHARE * (measured - (before[-1] if before else 0))


def trials(rounds: Sequence[Trial]) -> int:
    """How many different pairs of tip and incumbent were tried."""
    return len({(r.tip, r.incumbent) for r in rounds})
