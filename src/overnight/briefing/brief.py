"""The brief: what an agent is told before an experiment, the most important things first.

The sections that change least come first, so that a provider can cache them. Each section has a
share of the tokens (see core/sections.py). Text by runs, candidates and agents is quoted line by
line within fences that it cannot close.
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
from overnight.core.experiment import FAILED, Event, Experiment, Verdict, kept_words
from overnight.core.sections import Section, fitted
from overnight.core.text import counted, one_line
from overnight.insights.failures import causes
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
"""Characters of a title, of a hypothesis, of a message from the user."""
_MISSES = 10
_NEAR = 0.1
"""A near miss may lose this fraction of a typical gain, where the noise is smaller or unknown."""
_NUMBERS = 12
"""Experiments that are listed for one cause or title."""
_RECENT = 50


@dataclass(frozen=True)
class Moment:
    """The state of the campaign that is not in the history."""

    agent: str = ""
    """The agent that the brief is for."""
    standing: Standing = field(default_factory=Standing)
    """What the judge would be given now."""
    left: float = math.inf
    """Measurements that fit into the time that is left."""


def write_brief(book: Book, moment: Moment | None = None, reader: Reader | None = None) -> str:
    """The brief for the next experiment, within the reader's limit of tokens. Reads program.md."""
    arena, noise, steers = book.arena, campaign_noise(book), book.events("steer")
    moment, reader = moment or Moment(), reader or Reader()
    return fitted(
        [
            *_constant(arena, reader),
            Section("The user says, newest first", _steers(steers), 0.1),
            Section("Where we stand", list(_state(arena, book)), 0.05),
            Section("Detectable gains", list(_detectable(arena, noise, moment)), 0.05),
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
    """The brief before the baseline is measured."""
    reader = reader or Reader()
    stand = ["- Nothing has been measured yet: the baseline comes first."]
    sections = [*_constant(arena, reader), Section("Where we stand", stand, 0.05)]
    return fitted([*sections, _notes(arena.state / NAME)], reader.tokens, reader.count)


def _constant(arena: Arena, reader: Reader) -> list[Section]:
    """The sections that stay the same for a whole campaign."""
    return [
        Section("Strategy", _file_lines(arena.root / PROGRAM), 0.25),
        Section("Contract", contract(arena), 0.14),
        Section("How to hand in", handing_in(arena) if reader.edits else (), 0.05),
    ]


def _file_lines(path: Path) -> list[str]:
    """The beginning of a file, as much as a brief could hold; empty without the file."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return []


def _steers(steers: Sequence[Event]) -> list[str]:
    return [f"- {one_line(str(event.data['words']), _WISH)}" for event in reversed(steers)]


# -- where we stand


def _state(arena: Arena, book: Book) -> Iterator[str]:
    best, tip, name = book.incumbent, book.tip, arena.metric.name
    done = book.latest.n
    if not best.n:
        yield f"- {name} {_score(best)}: the baseline, #0. Nothing is confirmed to beat it yet."
    else:
        yield (
            f"- {name} {_score(best)} (#{best.n}); the baseline, #0, had "
            f"{_score(book.baseline)}. {kept_words(book.keeps)} in "
            f"{counted(done, 'experiment')}."
        )
    for e in book.stack[1:]:
        yield f"- Provisional, not yet confirmed: #{e.n}, {_score(e)}{_gained(e)}."
    what = "the incumbent" if tip is best else "the newest provisional keep"
    yield f"- Your working folder is #{tip.n}, {what}; `git log` there shows its history."
    recent = [e for e in book.finished if e.n][-_RECENT:]
    if len(recent) > 1:
        counts = {v: sum(e.verdict is v for e in recent) for v in Verdict}
        verdicts = ", ".join(f"{count} × {verdict}" for verdict, count in counts.items() if count)
        yield f"- The last {len(recent)} experiments: {verdicts}."
    if recent:
        last = recent[-1]
        # The reason of a failure quotes what the candidate printed.
        ours = last.score is not None and last.verdict not in FAILED
        why = f": {one_line(last.reason, _WHY)}" if ours else ""
        yield f"- The newest experiment, #{last.n}: {last.verdict}{why}."


def _detectable(arena: Arena, noise: Noise, moment: Moment) -> Iterator[str]:
    unit, judge, sigma = arena.metric.unit, arena.judge, noise.sigma
    if noise.deterministic:
        yield "- There is no noise: repeats give exactly the same score, so any gain is detected."
        return
    if not sigma:
        yield "- The noise of a score is not known yet."
        return
    repeats = counted(len(noise.differences), "repeat")
    yield (
        f"- The noise of one measurement is {_number(sigma)}{f' {unit}' if unit else ''} "
        f"(standard deviation, from {repeats})."
    )
    if judge.rule != "confirm":
        luck = 2 * math.sqrt(2 / (judge.repeats if judge.rule == "threshold" else 1)) * sigma
        yield f"- A gain below {_number(luck)} may be luck, which this rule does not rule out."
        return
    base = arena.metric.min_gain
    seen = base + visible() * sigma
    yield (
        f"- A single gain of {_number(seen)} is kept with a probability of 80%, one of "
        f"{_number(base + sigma)} with {chance(1):.0%}, one of {_number(base + sigma / 2)} with "
        f"{chance(0.5):.0%}. Aim for larger gains, or let small ones add up: provisional keeps are "
        "confirmed together."
    )
    yield from _affordable(base, sigma, seen, arena, moment)


def _affordable(
    base: float, sigma: float, seen: float, arena: Arena, moment: Moment
) -> Iterator[str]:
    """How many measurements it takes to confirm a gain, and the least gain for which there are
    enough."""
    judge, standing = arena.judge, moment.standing
    trial = standing.trials + 1
    price = pairs((seen - base) / sigma, judge.false_keep, trial, standing.won)
    yield (
        f"- To confirm a gain of {_number(seen)} takes about {2 * math.ceil(price)} measurements; "
        "half the gain takes four times as many."
    )
    most = max(min(judge.max_repeats, moment.left // 2), 0)
    floor = base + sigma * least(most, judge.false_keep, trial, standing.won)
    left = (
        f"the {counted(int(moment.left), 'measurement')} left"
        if moment.left // 2 < judge.max_repeats
        else f"the {judge.max_repeats} pairs of measurements that a confirmation may take"
    )
    if not most:
        yield "- There is no time left for a pair of measurements, so no gain can be confirmed."
    elif math.isinf(floor):
        yield f"- With {left}, no gain can be confirmed."
    else:
        yield f"- A single gain below {_number(floor)} cannot be confirmed with {left}."


def _record(book: Book, agent: str) -> list[str]:
    record = track_records(book.finished).get(agent)
    if record is None:
        return []
    lines = [
        f"- Your experiments so far: {record.experiments:,}, {record.kept} kept"
        f"{f', {record.gain:+.4g} gained' if record.kept else ''}."
    ]
    if record.calibration:
        lines.append(f"- Your expectations so far: {record.calibration}.")
    return lines


# -- what was tried


def _wins(book: Book) -> Section:
    """In order. Where room is short, members of stacks go first, the largest wins last."""
    members = [e for e in book.keeps if e.is_member]
    shown = [*(e for e in book.keeps if not e.is_member), *book.stack[1:], *members]
    items = [
        f"#{e.n}{_gained(e)} → {_score(e)}: {_title(e)}"
        + (" (not better, but simpler)" if e.simpler else "")
        + (" (provisional)" if e.verdict is Verdict.PROVISIONAL else "")
        + (
            f" (confirmed together with #{e.within}; its own gain is unknown)"
            if e.is_member
            else ""
        )
        + _dropped(e)
        for e in shown
    ]
    ranks = sorted(range(len(shown)), key=lambda i: (shown[i].is_member, -(shown[i].claim or 0.0)))
    return Section("Wins, in order", items, 0.08, ranks, data=True)


def _near(book: Book, noise: Noise) -> list[str]:
    """Discards that were not worse than the noise explains."""
    if noise.deterministic:
        return []  # a lower score is worse
    scored = [e for e in book.finished if e.n and e.gain is not None]
    typical = median(abs(e.gain or 0.0) for e in scored) if scored else 0.0
    reach = max(noise.sigma, _NEAR * typical)
    misses = [e for e in scored if e.verdict is Verdict.DISCARD and (e.gain or 0.0) > -reach]
    misses.sort(key=lambda e: -(e.gain or 0.0))
    return [f"#{e.n}{_gained(e)}: {_title(e)}{_why(e)}" for e in misses[:_MISSES]]


def _failures(book: Book) -> Section:
    """Where room is short, the newest is left out last: its agent should know before it goes on."""
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
    """Everything but the wins, grouped by title."""
    found: dict[str, list[str]] = {}
    for e in reversed(book.finished):
        if e.n and not e.kept and (e.candidate or e.dropped):
            how = e.verdict.value if e.verdict in FAILED and e.verdict else ""
            how = how or ("ended early" if e.score is None else "")
            result = f"#{e.n}{_gained(e)}{f' {how}' if how else ''}"
            found.setdefault(_title(e) + _dropped(e), []).append(result)
    return [f"{_first(results)}: {title}" for title, results in found.items()]


def _notes(path: Path) -> Section:
    """The notes; where room is short, the newest under every heading stay."""
    items: list[str] = []
    newest_first = []
    for part in read_notes(path, _MOST_BYTES):
        lines = [item for item in part.items if item.strip() not in ("", TITLE)]
        heading = [part.heading] if part.heading else []
        indices = range(len(items), len(items) + len(heading) + len(lines))
        newest_first.append([*indices[: len(heading)], *reversed(indices[len(heading) :])])
        items += [_quoted(item) for item in [*heading, *lines]]
    ranks = [i for rank in zip_longest(*newest_first) for i in rank if i is not None]
    return Section("Notes from earlier experiments", items, 0.1, ranks, data=True)


def _quoted(item: str) -> str:
    return "\n".join(f"> {one_line(line, _WISH)}" for line in item.split("\n"))


# -- formatting


def _first(texts: Sequence[str]) -> str:
    """The first few, with `…` where there are more."""
    return ", ".join([*texts[:_NUMBERS], *["…"] * (len(texts) > _NUMBERS)])


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
