"""How many measurements a trial of the tip may cost: a share of those taken since the last trial.

A large gain need not wait, because its trial is cheap. A small gain is tried after enough other
measurements.
"""

from __future__ import annotations

from collections.abc import Sequence

from overnight.core.under_way import Round

_SHARE = 0.25
_GRACE = 2.0
"""Measurements that a trial may cost at the start of a campaign."""
RESERVE = 20
"""Once at most this many measurements are left, a trial may cost all of them: a keep that is still
provisional at the end is of no use."""
AT_THE_END = 4
"""After the last experiment, trials may cost this many times `max_repeats` measurements: as much as
two of the longest."""


def patience(rounds: Sequence[Round], measured: int, latest: int) -> float:
    """Measurements that a trial may cost now, when the campaign has taken `measured`."""
    before = [r.measured for r in rounds if r.latest != latest]
    return _GRACE + _SHARE * (measured - (before[-1] if before else 0))


def most_for_a_trial(patience: float, left: float, ending: float) -> float:
    """Measurements that a trial may cost now: at least `patience`, and no more than the `left` for
    which there is time. `ending`: those that trials may still take after the last experiment; 0 or
    less before it."""
    return min(max(patience, ending, left if left <= RESERVE else 0), left)


def trials(rounds: Sequence[Round]) -> int:
    """Number of trials: different pairs of tip and incumbent."""
    return len({(r.tip, r.incumbent) for r in rounds})
