"""What comes next: the verdicts that are due and the measurements that are wanted.

Both follow from the book and the judge alone, so a campaign continues as if it had never been
killed: half a pair, an unfinished experiment or a due exam is simply wanted again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from overnight.arena.arena import Arena
from overnight.campaign.exams import EXAM_SEED, due
from overnight.campaign.judge_input import standing_of
from overnight.core.experiment import (
    Closing,
    Experiment,
    Measurement,
    Outcome,
    Purpose,
    Verdict,
    estimate,
)
from overnight.core.under_way import Pair, Round, UnderWay
from overnight.insights.readings import series
from overnight.judge.base import Decision, Evidence, Judge, MeasurePair, More, Side
from overnight.judge.prune import Pruning, is_control, pruning_for
from overnight.judge.trials import AT_THE_END, most_for_a_trial
from overnight.record.book import Book


@dataclass(frozen=True)
class Ahead:
    """What a campaign's limits still allow."""

    measurements_left: float = math.inf
    """How many measurements fit into the time left."""
    confirm: bool = True
    """Whether keeps may be measured again."""
    exams: bool = True
    """Whether final exams may be held."""
    ending: bool = False
    """Whether no experiment follows: trials may then continue for AT_THE_END × `max_repeats`
    measurements after the newest experiment's verdict."""

    @property
    def allows_confirmation(self) -> bool:
        """Whether a keep may be measured again, and there is time for it."""
        return self.confirm and self.measurements_left >= 1


@dataclass(frozen=True)
class Wanted:
    """A measurement that should begin as soon as a slot is free."""

    measurement: UnderWay
    pruning: Pruning | None = None
    """Why its run may be ended early."""
    round: Round | None = None
    """The round of a trial that begins with it."""
    pair: Pair | None = None
    """The pair that begins with it."""


def due_verdicts(book: Book, judge: Judge) -> Mapping[int, Closing]:
    """The verdicts that are due next, by the experiments' numbers: one of an unfinished experiment,
    or new ones of provisional keeps. Empty if something must be measured first."""
    for e in book.unfinished:
        if isinstance(closing := _next_step(book, judge, e), Closing):
            return {e.n: closing}
    if book.unfinished or not book.begun or _is_being_measured(book, *book.stack):
        return {}
    if failed := _failed_remeasurement(book):
        return {book.tip.n: failed}
    if _unmeasured_sides(book):
        return {}
    review = judge.review(standing_of(book))
    return _closings_of_review(book, review) if isinstance(review, Decision) else {}


def wanted(book: Book, judge: Judge, ahead: Ahead, free: int) -> list[Wanted]:
    """The measurements that should begin now, at most `free` of them, the most decisive first: the
    second half of a pair, unfinished experiments, confirmations, final exams."""
    found: list[Wanted] = []
    for one in _in_order(book, judge, ahead):
        if len(found) == free:
            break
        key = (one.measurement.n, one.measurement.purpose)
        if key not in {(w.measurement.n, w.measurement.purpose) for w in found}:
            found.append(_with_fresh_seed(one, book, judge, found))
    return found


def failure_of(arena: Arena, taken: Measurement) -> Closing | None:
    """The verdict that a measurement forces; None: the judge decides."""
    if verdict := taken.outcome.verdict:
        return Closing(verdict, f"{taken.outcome}: {taken.detail}")
    for name, bounds in arena.constraints.items():
        if wrong := bounds.broken_by(taken.numbers.get(name)):
            return Closing(Verdict.INVALID, f"constraint {name} {wrong}")
    return None


# -- an unfinished experiment


def _next_step(book: Book, judge: Judge, e: Experiment) -> Closing | Side | Purpose:
    """The verdict of e if it is due; else the side to measure first, or CHECK."""
    failures = (failure_of(book.arena, m) for m in e.judged)
    if failure := next(filter(None, failures), None):
        return failure
    if e.n and e.against != book.tip.n:
        words = f"experiment {e.against}, which it was made to beat, is no longer the newest keep"
        return Closing(Verdict.STALE, words)
    if not e.scores:
        return Side.CANDIDATE
    readings = series(book.arena, e)
    decision = judge.decide(Evidence(readings, standing_of(book), e.simplifies))
    if isinstance(decision, More):
        return decision.of
    if decision.keep and book.arena.checks:
        if e.checked is None:
            return Purpose.CHECK
        if e.checked.outcome is not Outcome.FINISHED:
            closing = _closing(e, decision)
            return replace(closing, verdict=Verdict.INVALID, reason=e.checked.detail)
    return _closing(e, decision)


def _closing(e: Experiment, word: Decision) -> Closing:
    gain = word.gain if e.n else None
    return Closing(
        word.verdict, word.reason, estimate(e), gain, word.interval, simpler=word.simpler
    )


# -- the review of the keeps


def _failed_remeasurement(book: Book) -> Closing | None:
    """The verdict of a provisional tip that failed when it was measured again."""
    tip = book.tip
    if tip.verdict is not Verdict.PROVISIONAL or not (again := tip.judged_after(tip)):
        return None
    failure = failure_of(book.arena, again[-1])
    return failure and replace(failure, reason=f"when measured again: {failure.reason}")


def _unmeasured_sides(book: Book) -> list[int]:
    """Numbers of the experiments of the newest pair that are not measured in it yet, in order."""
    pair, sides = book.pair, {e.n: e for e in (book.incumbent, book.tip)}
    if pair is None or {pair.first, pair.second} != sides.keys():
        return []
    taken = {n for n, e in sides.items() if any(m.pair == pair.number for m in e.judged)}
    return [n for n in (pair.first, pair.second) if n not in taken]


def _closings_of_review(book: Book, word: Decision) -> Mapping[int, Closing]:
    """The tip is dropped, or confirmed with everything below it."""
    stack = book.stack[1:]
    tip = stack[-1]
    if not word.keep:
        dropped = Closing(Verdict.DISCARD, word.reason, estimate(tip), word.gain, word.interval)
        return {tip.n: dropped}
    # A stack of simplifications has no gain to claim.
    together = len(stack) > 1 and word.interval is not None
    return {
        e.n: Closing(
            Verdict.KEEP,
            word.reason,
            estimate(e),
            share,
            word.interval if e is tip else None,
            simpler=e.simpler,
            within=tip.n if together else None,
            whole=word.gain if together and e is tip else None,
        )
        for e, share in zip(stack, word.shares, strict=True)
    }


# -- measurements


def _in_order(book: Book, judge: Judge, ahead: Ahead) -> Iterator[Wanted]:
    """All that is wanted and not under way yet; its seed is _FRESH where it needs a new one."""
    measured = {(m.n, m.purpose) for m in book.under_way}
    pair = book.pair
    if pair and book.begun and not book.unfinished and ahead.allows_confirmation:
        for n in _unmeasured_sides(book):
            if (n, Purpose.JUDGE) not in measured:
                yield _half(book, pair, n)
    for e in book.unfinished:
        word = _next_step(book, judge, e)
        if word is Purpose.CHECK and (e.n, word) not in measured:
            yield Wanted(_planned(e, Purpose.CHECK, 0, book.measured))
        elif isinstance(word, Side):
            side = _side(book, word) or e
            if (side.n, Purpose.JUDGE) not in measured:
                yield Wanted(_planned(side), _pruning(book, judge, e) if side is e else None)
    if book.unfinished or not book.begun:
        return
    reviewed = list(_reviews(book, judge, ahead))
    yield from reviewed
    if ahead.exams and book.arena.holdout:
        quiet = not reviewed and not _is_being_measured(book, *book.stack)
        for e in due(book, book.arena.holdout.every, ahead.ending and quiet):
            if (e.n, Purpose.HOLDOUT) not in measured:
                yield Wanted(_planned(e, Purpose.HOLDOUT, EXAM_SEED, book.measured))


def _reviews(book: Book, judge: Judge, ahead: Ahead) -> Iterator[Wanted]:
    """The measurements that the judge wants in its review of the keeps, while there is time."""
    if not ahead.allows_confirmation or _is_being_measured(book, *book.stack):
        return
    if _failed_remeasurement(book) or _unmeasured_sides(book):
        return
    standing = standing_of(book)
    most = AT_THE_END * book.arena.judge.max_repeats if ahead.ending else 0
    ending = (book.latest.verdict_at or 0) + most - book.measured
    patience = most_for_a_trial(standing.patience, ahead.measurements_left, ending)
    word = judge.review(replace(standing, patience=patience))
    if isinstance(word, More):
        yield Wanted(_planned(_side(book, word.of) or book.tip))
    elif isinstance(word, MeasurePair):
        yield from _new_pair(book, word.first)


def _side(book: Book, side: Side) -> Experiment | None:
    """The keep on this side; None for the candidate."""
    if side is Side.CANDIDATE:
        return None
    return book.tip if side is Side.TIP else book.incumbent


def _new_pair(book: Book, first: Side) -> Iterator[Wanted]:
    tip, incumbent = book.tip, book.incumbent
    newest = book.rounds[-1] if book.rounds else None
    round = None
    if newest is None or (newest.tip, newest.latest) != (tip.n, book.latest.n):
        number = newest.number + 1 if newest else 1
        round = Round(number, tip.n, incumbent.n, book.measured, book.latest.n)
    sides = (tip, incumbent) if first is Side.TIP else (incumbent, tip)
    pair = Pair(
        number=book.pair.number + 1 if book.pair else 1,
        round=round.number if round else book.rounds[-1].number,
        first=sides[0].n,
        second=sides[1].n,
        seed=book.place,
        at=book.place,
    )
    yield replace(_half(book, pair, pair.first), round=round, pair=pair)
    yield _half(book, pair, pair.second)


def _half(book: Book, pair: Pair, n: int) -> Wanted:
    side = book.tip if n == book.tip.n else book.incumbent
    return Wanted(_planned(side, Purpose.JUDGE, pair.seed, pair.at, pair.number))


_FRESH = -1
"""Stands for a seed that no measurement of the campaign has had; `wanted` chooses it."""


def _planned(
    e: Experiment,
    purpose: Purpose = Purpose.JUDGE,
    seed: int = _FRESH,
    at: int = _FRESH,
    pair: int | None = None,
) -> UnderWay:
    assert e.candidate is not None
    return UnderWay.planned(e.n, e.candidate, purpose, seed, at, pair)


def _with_fresh_seed(one: Wanted, book: Book, judge: Judge, before: list[Wanted]) -> Wanted:
    planned = one.measurement
    if planned.seed != _FRESH:
        return one
    fresh = book.place + sum(w.measurement.purpose is Purpose.JUDGE for w in before)
    seed = fresh
    if not judge.fresh_seeds:
        e = book.find(planned.n)
        seed = len(e.judged) if e else 0
    return replace(one, measurement=replace(planned, seed=seed, at=fresh))


def _is_being_measured(book: Book, *experiments: Experiment) -> bool:
    """Whether a measurement that decides about one of them is under way."""
    numbers = {e.n for e in experiments}
    return any(m.purpose is Purpose.JUDGE and m.n in numbers for m in book.under_way)


def _pruning(book: Book, judge: Judge, e: Experiment) -> Pruning | None:
    """Why the run may be ended early; None: it may not. Only an experiment's first run may be."""
    if e.judged or not book.arena.run.prune:
        return None
    metric = book.arena.metric
    if not book.begun:
        return Pruning(metric)
    needed = judge.least(standing_of(book), e.simplifies)
    return pruning_for(metric, book.finished, book.tip, needed, is_control(book.tag, e.n))
