"""Turns measurements into the judge's readings, and estimates the noise of a campaign."""

from __future__ import annotations

from statistics import median

from overnight.arena.arena import Arena
from overnight.core.experiment import Experiment
from overnight.judge.noise import Noise, Reading, Series, noise_of
from overnight.record.history import History

_MOST_REPEATS = 100
"""Only the repeats of the newest candidates count for the noise."""


def series(arena: Arena, experiment: Experiment) -> Series:
    """The judge's readings of an experiment's candidate, oldest first."""
    return tuple(
        Reading(arena.worth(m), m.seed, m.seed, m.seed)  # until the ledger has both
        for m in experiment.judged
        if m.score is not None
    )


def charges_of(arena: Arena, experiment: Experiment) -> dict[str, float]:
    """What each soft constraint costs an experiment, in units of the metric: the median over its
    measurements. Constraints that cost nothing are left out."""
    found = [arena.charges(m) for m in experiment.judged if m.score is not None]
    names = {name for charges in found for name in charges}
    costs = {n: median(charges.get(n, 0.0) for charges in found) for n in sorted(names)}
    return {name: cost for name, cost in costs.items() if cost}


def repeats_of(arena: Arena, history: History) -> tuple[Series, ...]:
    """Readings of the newest candidates outside the stack that were measured more than once."""
    stacked = {experiment.n for experiment in history.stack}
    others = [e for e in history.finished if e.n not in stacked and len(e.scores) > 1]
    return tuple(series(arena, experiment) for experiment in others[-_MOST_REPEATS:])


def campaign_noise(arena: Arena, history: History) -> Noise:
    """The noise of one measurement, from the repeats of the campaign."""
    incumbent, *stack = (series(arena, experiment) for experiment in history.stack)
    return noise_of(incumbent, [*stack, *repeats_of(arena, history)])
