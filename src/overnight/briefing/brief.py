"""The brief: what an agent is told before an experiment, the most important things first.

The sections are in the order of their importance, which is about that of how seldom they change:
what a model's cache may keep comes first. Each has room of its own (see sections.py). What runs,
candidates and agents wrote is kept to lines within fences that it cannot close.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from statistics import median

from overnight.agents.base import Reader
from overnight.arena.arena import PROGRAM, Arena
from overnight.briefing.contract import contract, handing_in
from overnight.core.experiment import Event, Experiment, Verdict
from overnight.core.sections import Section, fitted
from overnight.core.text import one_line
from overnight.insights.failures import FAILED, causes
from overnight.insights.readings import campaign_noise
from overnight.insights.track_record import track_records
from overnight.judge.base import Standing
from overnight.judge.noise import Noise
from overnight.judge.odds import chance, least, pairs, visible
from overnight.record.book import Book
from overnight.record.notes import NAME, TITLE, read_notes

_MOST_BYTES = 200_000
"""Of a file that is quoted."""
_TITLE, _WHY, _WISH = 160, 240, 2000
"""Characters of a title, of a hypothesis, of what a person said."""
_MISSES = 10
_NEAR = 0.1
"""Of a typical gain: how far from none a near miss may be, where the noise says nothing."""
_NUMBERS = 12
"""Experiments of one cause, or of one title, that are named."""
_RECENT = 50


@dataclass(frozen=True)
class Moment:
    """What of the present a brief tells, beside what was tried."""

    agent: str = ""
    """Whom it is for, by the name that the ledger has for it."""
    standing: Standing = field(default_factory=Standing)
    """What the judge would be told now."""
    left: float = math.inf
    """Measurements that the time is enough for."""


def write_brief(book: Book, moment: Moment | None = None, reader: Reader | None = None) -> str:
    """The brief for the next experiment, within the reader's tokens. Reads program.md anew."""
    arena, noise, steers = book.arena, campaign_noise(book), book.events("steer")
    moment, reader = moment or Moment(), reader or Reader()
    return fitted(
        [
            *_bound(arena, reader),
            Section("The person says, newest first", _steers(steers), 0.1),
            Section("Where we stand", list(_stand(arena, book)), 0.05),
            Section("What can be seen", list(_sight(arena, noise, moment)), 0.05),
            Section("Your record", _record(book, moment.agent), 0.02),
            _wins(book),
            Section(
                "Near misses, worth combining, best first", _near(book, noise), 0.07, data=True
            ),
            _failures(book),
            Section("Ideas already tried, newest first", _tried(book), 0.07, data=True),
            _notes(arena.state / NAME),
        ],
        reader.tokens,
        reader.count,
    )


def first_brief(arena: Arena, reader: Reader | None = None) -> str:
    """The brief as long as nothing has been measured."""
    reader = reader or Reader()
    stand = ["- Nothing has been measured yet: the baseline comes first."]
    sections = [*_bound(arena, reader), Section("Where we stand", stand, 0.05)]
    return fitted([*sections, _notes(arena.state / NAME)], reader.tokens, reader.count)


def _bound(arena: Arena, reader: Reader) -> list[Section]:
    """What holds from the first experiment to the last."""
    return [
        Section("Strategy", _file_lines(arena.root / PROGRAM), 0.25),
        Section("Contract", contract(arena), 0.14),
        Section("How to hand in", handing_in(arena) if reader.edits else (), 0.05),
    ]


def _file_lines(path: Path) -> list[str]:
    """Its first lines, as many as a brief could hold; none without the file."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return []


def _steers(steers: Sequence[Event]) -> list[str]:
    return [f"- {one_line(str(event.data['words']), _WISH)}" for event in reversed(steers)]


# -- where we stand


def _stand(arena: Arena, book: Book) -> Iterator[str]:
    best, tip, name = book.incumbent, book.tip, arena.metric.name
    done = book.latest.n
    if not best.n:
        yield f"- {name} {_score(best)}: the baseline, #0. Nothing is confirmed to beat it yet."
    else:
        members = sum(e.is_member for e in book.keeps)
        simpler = sum(e.simpler and e.within is None for e in book.keeps)
        wins = sum(e.won for e in book.keeps)
        more = f", {_counted(members, 'change')} confirmed with a later one" if members else ""
        more += f", {_counted(simpler, 'simplification')}" if simpler else ""
        yield (
            f"- {name} {_score(best)} (#{best.n}); the baseline, #0, had "
            f"{_score(book.baseline)}. {_counted(wins, 'win')}{more} in "
            f"{_counted(done, 'experiment')}."
        )
    for e in book.stack[1:]:
        words = "promising, not yet confirmed"
        yield f"- Above it, provisional: #{e.n}, {_score(e)}{_gained(e)}: {words}."
    what = f"#{tip.n}" + (", the incumbent" if tip is best else ", the newest of these")
    yield f"- Your working folder is {what}; `git log` there shows what led to it."
    recent = [e for e in book.finished if e.n][-_RECENT:]
    if len(recent) > 1:
        counts = {v: sum(e.verdict is v for e in recent) for v in Verdict}
        words = ", ".join(f"{count} × {verdict}" for verdict, count in counts.items() if count)
        yield f"- The last {len(recent)}: {words}."
    if recent:
        last = recent[-1]
        why = "" if last.score is None else f": {one_line(last.reason, _WHY)}"
        yield f"- The newest, #{last.n}, ended as {last.verdict}{why}."


def _sight(arena: Arena, noise: Noise, moment: Moment) -> Iterator[str]:
    unit, judge, sigma = arena.metric.unit, arena.judge, noise.sigma
    if noise.deterministic:
        yield "- There is no noise: repeats are equal to the last digit, and any gain shows."
        return
    if not sigma:
        yield "- How noisy a score is, is not known yet."
        return
    repeats = _counted(len(noise.differences), "repeat")
    yield (
        f"- The noise of one measurement is {_number(sigma)}{f' {unit}' if unit else ''} "
        f"(standard deviation, from {repeats})."
    )
    if judge.rule != "confirm":
        luck = 2 * math.sqrt(2 / (judge.repeats if judge.rule == "threshold" else 1)) * sigma
        yield f"- Gains under {_number(luck)} may be luck: the rule here does not tell them apart."
        return
    base = arena.metric.min_gain
    seen = base + visible() * sigma
    yield (
        f"- A gain of {_number(seen)} that comes alone is kept in four campaigns of five, one of "
        f"{_number(base + sigma)} in {chance(1):.0%} of them, one of {_number(base + sigma / 2)} "
        f"in {chance(0.5):.0%}. Aim higher, or let small gains add up: provisional ones are "
        "confirmed together."
    )
    yield from _affordable(base, sigma, seen, arena, moment)


def _affordable(
    base: float, sigma: float, seen: float, arena: Arena, moment: Moment
) -> Iterator[str]:
    """What the evidence costs that a gain needs, and what it could be if that must fit."""
    judge, standing = arena.judge, moment.standing
    trial = standing.trials + 1
    price = pairs((seen - base) / sigma, judge.false_keep, trial, standing.won)
    yield (
        f"- To confirm {_number(seen)} takes about {2 * math.ceil(price)} measurements; half as "
        "large a gain takes four times as many."
    )
    most = min(judge.max_repeats, moment.left // 2)
    floor = base + sigma * least(most, judge.false_keep, trial, standing.won)
    left = (
        f"the {moment.left:.0f} measurements that are left"
        if moment.left // 2 < judge.max_repeats
        else f"the {judge.max_repeats} pairs of measurements that a trial may take"
    )
    if math.isinf(floor):
        yield f"- In {left}, nothing can be confirmed any more."
    else:
        yield f"- Gains under {_number(floor)} cannot be seen, alone, in {left}."


def _record(book: Book, agent: str) -> list[str]:
    record = track_records(book.finished).get(agent)
    if record is None:
        return []
    lines = [
        f"- {_counted(record.experiments, 'experiment')} of yours so far, {record.kept} kept"
        f"{f', {record.gain:+.4g} gained' if record.kept else ''}."
    ]
    if record.calibration:
        lines.append(f"- Your expectations so far: {record.calibration}.")
    return lines


# -- what was tried


def _wins(book: Book) -> Section:
    """In order; the largest are the last to be left out, and the members of stacks the first."""
    members = [e for e in book.keeps if e.is_member]
    shown = [*(e for e in book.keeps if not e.is_member), *book.stack[1:], *members]
    items = [
        f"#{e.n}{_gained(e)} → {_score(e)}: {_title(e)}"
        + (" (not better, but simpler)" if e.simpler else "")
        + (" (provisional)" if e.verdict is Verdict.PROVISIONAL else "")
        + (f" (confirmed with #{e.within}, not shown to add anything)" if e.is_member else "")
        + _dropped(e)
        for e in shown
    ]
    ranks = sorted(range(len(shown)), key=lambda i: (shown[i].is_member, -(shown[i].claim or 0.0)))
    return Section("Wins, in order", items, 0.08, ranks, data=True)


def _near(book: Book, noise: Noise) -> list[str]:
    """What was no better, or not by enough, and yet no worse than the noise explains."""
    if noise.deterministic:
        return []  # what was worse is worse
    scored = [e for e in book.finished if e.n and e.gain is not None]
    typical = median(abs(e.gain or 0.0) for e in scored) if scored else 0.0
    reach = max(noise.sigma, _NEAR * typical)
    misses = [e for e in scored if e.verdict is Verdict.DISCARD and (e.gain or 0.0) > -reach]
    misses.sort(key=lambda e: -(e.gain or 0.0))
    return [f"#{e.n}{_gained(e)}: {_title(e)}{_why(e)}" for e in misses[:_MISSES]]


def _failures(book: Book) -> Section:
    """The newest is the last to be left out: whoever failed is told before it tries again."""
    found = causes(e for e in book.finished if e.n)
    items = [
        f"{len(cause.numbers)} × {cause.verdict} "
        f"({_first([f'#{n}' for n in cause.numbers])}): {cause.line}"
        for cause in found
    ]
    newest = max((cause.numbers[0] for cause in found), default=0)
    ranks = sorted(range(len(found)), key=lambda i: found[i].numbers[0] != newest)
    return Section("Failures by cause, most frequent first", items, 0.07, ranks, data=True)


def _tried(book: Book) -> list[str]:
    """Everything but the wins, those with one title together."""
    found: dict[str, list[str]] = {}
    for e in reversed(book.finished):
        if e.n and not e.kept and (e.candidate or e.dropped):
            how = e.verdict.value if e.verdict in FAILED and e.verdict else ""
            how = how or ("ended early" if e.score is None else "")
            result = f"#{e.n}{_gained(e)}{f' {how}' if how else ''}"
            found.setdefault(_title(e) + _dropped(e), []).append(result)
    return [f"{_first(results)}: {title}" for title, results in found.items()]


def _notes(path: Path) -> Section:
    """The notes as they stand; where there is too little room the newest of every section stay."""
    items: list[str] = []
    newest_first = []
    for section in read_notes(path, _MOST_BYTES):
        lines = [item for item in section.items if item.strip() not in ("", TITLE)]
        heading = [section.heading] if section.heading else []
        places = range(len(items), len(items) + len(heading) + len(lines))
        newest_first.append([*places[: len(heading)], *reversed(places[len(heading) :])])
        items += [_quoted(item) for item in [*heading, *lines]]
    turns = zip_longest(*newest_first)
    ranks = [place for turn in turns for place in turn if place is not None]
    return Section("Notes of whoever was here before", items, 0.1, ranks, data=True)


def _quoted(item: str) -> str:
    return "\n".join(f"> {one_line(line, _WISH)}" for line in item.split("\n"))


# -- words


def _first(words: Sequence[str]) -> str:
    """The first few, and a sign that there are more."""
    return ", ".join([*words[:_NUMBERS], *["…"] * (len(words) > _NUMBERS)])


def _title(e: Experiment) -> str:
    return one_line(e.description, _TITLE)


def _why(e: Experiment) -> str:
    return f" — {one_line(e.hypothesis, _WHY)}" if e.hypothesis else ""


def _dropped(e: Experiment) -> str:
    return (
        f" (dropped, not editable: {one_line(', '.join(e.dropped), _TITLE)})" if e.dropped else ""
    )


def _gained(e: Experiment) -> str:
    return "" if e.claim is None else f" {e.claim:+.4g}"


def _score(e: Experiment) -> str:
    return "no score" if e.score is None else f"{e.score:.6g}"


def _number(value: float) -> str:
    return f"{value:.2g}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
