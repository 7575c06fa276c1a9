"""What the judge is told, computed from the book: readings of the keeps, the trials so far."""

from __future__ import annotations

from collections.abc import Sequence

from overnight.core.experiment import Experiment
from overnight.insights.readings import repeats_of, series
from overnight.judge.base import Standing
from overnight.judge.trials import patience, trials
from overnight.record.book import Book


def standing_of(book: Book) -> Standing:
    """Where the keeps stand; empty before the baseline has its verdict."""
    if not book.begun:
        return Standing()
    arena, stack, rounds, latest = book.arena, book.stack, book.rounds, book.latest
    newest = rounds[-1] if rounds else None
    return Standing(
        stack=tuple(series(arena, experiment) for experiment in stack),
        simpler=tuple(experiment.simpler for experiment in stack),
        before=tuple(series(arena, experiment) for experiment in _simplified(book)),
        repeats=repeats_of(book),
        experiments=max(latest.n, 1),
        trials=trials(rounds),
        won=len({one.tip for one in rounds} & {e.n for e in book.keeps if not e.is_member}),
        on_trial=newest is not None and (newest.tip, newest.incumbent) == (stack[-1].n, stack[0].n),
        looks=len(stack[-1].judged_after(latest)),
        patience=patience(rounds, book.measured, latest.n),
        now=book.measured,
    )


def _simplified(book: Book) -> Sequence[Experiment]:
    """The newest keep that was kept for being better, and those after it, below the incumbent."""
    kept = [book.baseline, *book.keeps]
    start = next(place for place in reversed(range(len(kept))) if not kept[place].simpler)
    return kept[start:-1]
