"""Turns measurements into the judge's readings, and estimates the noise of a campaign."""

from __future__ import annotations

from statistics import median

from overnight.arena.arena import Arena
from overnight.core.experiment import Experiment
from overnight.judge.noise import Noise, Reading, Series, noise_of
from overnight.record.book import Book

_MOST_REPEATS = 100
"""How many of the newest repeated candidates count for the noise."""


def series(arena: Arena, experiment: Experiment) -> Series:
    """The judge's readings of an experiment's candidate, oldest first."""
    return tuple(
        Reading(arena.worth(m), m.at, m.seed, m.pair)
        for m in experiment.judged
        if m.score is not None
    )


def charges_of(arena: Arena, experiment: Experiment) -> dict[str, float]:
    """What each soft constraint costs an experiment, in units of the metric: the median over its
    measurements. Costs of 0 are left out."""
    found = [arena.charges(m) for m in experiment.judged if m.score is not None]
    names = {name for charges in found for name in charges}
    costs = {n: median(charges.get(n, 0.0) for charges in found) for n in sorted(names)}
    return {name: cost for name, cost in costs.items() if cost}


def repeats_of(book: Book) -> tuple[Series, ...]:
    """The readings of the newest candidates off the stack that were measured more than once."""
    stacked = {experiment.n for experiment in book.stack}
    others = [e for e in book.finished if e.n not in stacked and len(e.scores) > 1]
    return tuple(series(book.arena, experiment) for experiment in others[-_MOST_REPEATS:])


def campaign_noise(book: Book) -> Noise:
    """The noise of one measurement, from every repeat of the campaign."""
    incumbent, *stack = (series(book.arena, experiment) for experiment in book.stack)
    return noise_of(incumbent, [*stack, *repeats_of(book)])
