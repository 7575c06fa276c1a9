"""Wall time of experiments, including the pairs and exams that follow them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise, zip_longest

from overnight.core.experiment import Event, Experiment

_Span = tuple[datetime, datetime]


def walls(experiments: Sequence[Experiment], turns: Sequence[Event]) -> dict[int, float]:
    """Number → wall seconds from the beginning of an experiment to that of the next: its proposal,
    its measurements, the pairs and exams after it, and waiting. Pauses between a stop and the next
    start of the campaign do not count.

    `experiments` are finished, oldest first, with consecutive numbers; `turns` are the campaign's
    start and stop events. For an experiment outside all of them, as after `overnight try`, it is
    the time from its start to its verdict.
    """
    spans = list(_driven(turns, experiments))
    last = max([end for _, end in spans] + [e.ended for e in experiments if e.ended], default=None)
    begun = [e.started for e in experiments] + ([last] if last else [])
    found = {}
    for e, (begin, end) in zip(experiments, pairwise(begun), strict=False):
        seconds = sum(_overlap((begin, end), span).total_seconds() for span in spans)
        found[e.n] = seconds or e.seconds or 0.0
    return found


def _driven(turns: Sequence[Event], experiments: Sequence[Experiment]) -> Iterator[_Span]:
    """From each start to its stop; if the process died, to its last known activity."""
    for turn, following in zip_longest(turns, turns[1:]):
        if turn.kind != "start":
            continue
        if following is not None and following.kind == "stop":
            yield turn.at, following.at
        else:
            known = _activity(experiments)
            before = [at for at in known if following is None or at < following.at]
            yield turn.at, max([turn.at, *before])


def _activity(experiments: Sequence[Experiment]) -> Iterator[datetime]:
    for e in experiments:
        yield e.started
        if e.ended:
            yield e.ended
        for m in e.measurements:
            yield m.started + timedelta(seconds=sum(m.stage_seconds.values()))


def _overlap(a: _Span, b: _Span) -> timedelta:
    return max(min(a[1], b[1]) - max(a[0], b[0]), timedelta())
