"""Wall time of a campaign and of its experiments, without the time when nobody drove it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise, zip_longest

from overnight.core.experiment import Event, Experiment
from overnight.record.book import Book

TURNS = ("start", "resume", "stop")
"""Kinds of the events between which a campaign is driven or is not."""
_Span = tuple[datetime, datetime]


def walls(experiments: Sequence[Experiment], turns: Sequence[Event]) -> dict[int, float]:
    """Number → wall seconds from the beginning of an experiment to that of the next: its proposal,
    its measurements, the pairs and exams after it, and waiting. Time when nobody drove the campaign
    does not count.

    `experiments` are finished, oldest first, with consecutive numbers; `turns` are the campaign's
    events of the kinds TURNS. For an experiment outside all of them, as after `overnight try`, it
    is the time of its proposal and its measurements.
    """
    newest = last_activity(experiments)
    spans = list(driven_times(turns, newest))
    ends = [*(end for _, end in spans), *(e.ended for e in experiments if e.ended)]
    begun = [*(e.started for e in experiments), *([max(ends)] if ends else [])]
    found = {}
    for e, (begin, end) in zip(experiments, pairwise(begun), strict=False):
        seconds = sum(_overlap((begin, end), span).total_seconds() for span in spans)
        found[e.n] = seconds or e.seconds or 0.0
    return found


def driven_times(turns: Sequence[Event], newest: datetime | None) -> Iterator[_Span]:
    """The times when the campaign was driven: from each start to its stop, or, if its driver died,
    to the last activity that the next driver found. `newest`: the last activity that is known."""
    for turn, following in zip_longest(turns, turns[1:]):
        if turn.kind == "stop":
            continue
        died = following.data.get("died") if following else newest
        end = datetime.fromisoformat(str(died)) if died else following.at if following else turn.at
        yield turn.at, max(turn.at, end)


def death_of_last_driver(book: Book) -> dict[str, str]:
    """What the event of a new turn records of the turn before it: `died`, the time of the last
    activity, if its driver died; nothing if it ended with a stop."""
    turns = book.events(*TURNS)
    if not turns or turns[-1].kind == "stop":
        return {}
    known = [*book.recent[-1:], *book.unfinished, *(book.stack if book.begun else [])]
    newest = last_activity(known)
    return {"died": max(turns[-1].at, newest or turns[-1].at).isoformat()}


def last_activity(experiments: Sequence[Experiment]) -> datetime | None:
    """The newest time at which one of them or its measurements began or ended."""
    return max((at for e in experiments for at in _activity(e)), default=None)


def _activity(e: Experiment) -> Iterator[datetime]:
    yield e.started
    if e.ended:
        yield e.ended
    for m in e.measurements:
        yield m.started + timedelta(seconds=m.seconds)


def _overlap(a: _Span, b: _Span) -> timedelta:
    return max(min(a[1], b[1]) - max(a[0], b[0]), timedelta())
