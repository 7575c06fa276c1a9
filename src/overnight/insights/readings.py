"""Measurements as the judge's readings, and the noise that a campaign has shown."""

from __future__ import annotations

from statistics import median

from overnight.arena.arena import Arena
from overnight.core.experiment import Experiment
from overnight.judge.noise import Noise, Reading, Series, noise_of
from overnight.record.history import History

_MOST_REPEATS = 100
"""The newest candidates whose repeats tell of the noise."""


def series(arena: Arena, experiment: Experiment) -> Series:
    """What was measured of an experiment's candidate, as the judge sees it."""
    return tuple(
        Reading(arena.worth(m), m.seed, m.seed, m.seed)  # until the ledger has both
        for m in experiment.judged
        if m.score is not None
    )


def charges_of(arena: Arena, experiment: Experiment) -> dict[str, float]:
    """What each soft constraint takes off an experiment's score for the judge, in units of the
    metric: the median over its measurements; those that cost nothing are left out."""
    found = [arena.charges(m) for m in experiment.judged if m.score is not None]
    names = {name for charges in found for name in charges}
    costs = {n: median(charges.get(n, 0.0) for charges in found) for n in sorted(names)}
    return {name: cost for name, cost in costs.items() if cost}


def repeats_of(arena: Arena, history: History) -> tuple[Series, ...]:
    """The newest candidates beside the stack that were measured more than once."""
    stacked = {experiment.n for experiment in history.stack}
    others = [e for e in history.finished if e.n not in stacked and len(e.scores) > 1]
    return tuple(series(arena, experiment) for experiment in others[-_MOST_REPEATS:])


def campaign_noise(arena: Arena, history: History) -> Noise:
    """The noise of one measurement, from every repeat of the campaign."""
    incumbent, *stack = (series(arena, experiment) for experiment in history.stack)
    return noise_of(incumbent, [*stack, *repeats_of(arena, history)])
