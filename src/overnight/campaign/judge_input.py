"""What the judge is told, from the record: scores as readings, the stack of keeps, the trials."""

from __future__ import annotations

from collections.abc import Sequence

from overnight.campaign.state import Driven
from overnight.core.experiment import Experiment
from overnight.insights.readings import repeats_of, series
from overnight.judge.base import Standing
from overnight.judge.trials import Round, patience, trials
from overnight.record.history import History
from overnight.record.ledger import Ledger

ROUND = "trial"
"""The kind of event that tells of a round of pairs."""


def standing_of(driven: Driven) -> Standing:
    """Where the keeps stand."""
    arena, history = driven.arena, driven.history
    if not history.begun:
        return Standing()
    stack = history.stack
    rounds = rounds_of(driven.ledger, driven.tag)
    latest = history.latest
    return Standing(
        stack=tuple(series(arena, experiment) for experiment in stack),
        simpler=tuple(experiment.simpler for experiment in stack),
        before=tuple(series(arena, experiment) for experiment in _simplified(history)),
        repeats=repeats_of(arena, history),
        experiments=max(latest.n, 1),
        trials=trials(rounds),
        won=len({r.tip for r in rounds} & {keep.n for keep in history.keeps}),
        on_trial=bool(rounds)
        and (rounds[-1].tip, rounds[-1].incumbent) == (stack[-1].n, stack[0].n),
        looks=sum(latest.ended is not None and m.started > latest.ended for m in stack[-1].judged),
        patience=patience(rounds, history.measured, latest.n),
        now=history.measured,
    )


def _simplified(history: History) -> Sequence[Experiment]:
    """From the newest keep that was kept for being better up to below the incumbent."""
    kept = [history.baseline, *history.keeps]
    start = next(place for place in reversed(range(len(kept))) if not kept[place].simpler)
    return kept[start:-1]


def rounds_of(ledger: Ledger, tag: str) -> list[Round]:
    """The rounds of pairs, oldest first."""
    return [
        Round(*(int(event.data[key] or 0) for key in ("tip", "incumbent", "measured", "latest")))
        for event in ledger.events(tag, ROUND)
    ]
