"""Writes report.md: what was gained, each win with its diff, what did not work, how to merge."""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from overnight.core.experiment import FAILED, Event, Experiment, Verdict
from overnight.core.quantity import format_dollars, format_duration
from overnight.core.spending import together
from overnight.core.text import CONTROL, counted, one_line
from overnight.insights.overfitting import OVERFITTED, Gap
from overnight.record.book import Book
from overnight.record.ledger import Ledger
from overnight.record.rows import PAGE
from overnight.views.summary import Summary, direction_words, median_words, summarize

_MOST_DIFF_LINES = 80
_MOST_WIDTH = 400
_MOST_DIFFS = 30
_MOST_ROWS = 15

Diff = Callable[[str, str], str]


def write_report(book: Book, diff: Diff, path: Path, unmoved: str | None = None) -> None:
    """Write the report of a campaign to `path`, replaced atomically. `diff(old, new)` returns the
    patch between two commits. Raises LedgerError."""
    summary = summarize(book)
    parts = [
        *_opening(summary),
        *_wins(summary, diff),
        *_simpler(summary, diff),
        *_provisional(summary),
        *(_exam(summary.holdout) if summary.holdout else ()),
        *_lost(book),
        *_merging(summary, unmoved),
        *_cost(summary),
        *_happened(book.events("warning", "trouble", "switch")),
        *_judging(summary),
    ]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text("\n".join(parts) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _opening(summary: Summary) -> Iterator[str]:
    yield f"# {_plain(summary.arena.name)}, campaign {_plain(summary.tag)}\n"
    yield f"**{_plain(summary.gained)}** ({direction_words(summary.metric)}).\n"
    for words in summary.warnings:
        yield f"**Warning: {words}.**\n"
    if summary.stop_reason:
        yield f"It stopped: {_plain(summary.stop_reason)}.\n"
    yield "![The score of every experiment, and the best so far](progress.png)\n"


def _wins(summary: Summary, diff: Diff) -> Iterator[str]:
    yield "## Wins\n"
    if not summary.wins:
        yield "None.\n"
        return
    name = _plain(summary.metric.name)
    yield f"| n | {name} | gain | 95 % | what | commit |\n|--:|--:|--:|---|---|---|"
    for e in summary.wins:
        commit, between = f"`{(e.candidate or '')[:10]}`", ""
        if e.interval:
            between = f"{_number(e.interval[0])} to {_number(e.interval[1])}"
        what = _plain(e.description)
        if members := summary.members_of(e):
            what += f" (with {', '.join(f'#{member.n}' for member in members)})"
        yield _row(e.n, _number(e.score), _number(e.claim), between, what, commit)
    shown = sorted(summary.wins, key=lambda e: e.claim or 0.0)[-_MOST_DIFFS:]
    if len(shown) < len(summary.wins):
        yield f"\nThe {_MOST_DIFFS} largest follow; `overnight diff N` shows any other."
    for e in sorted(shown, key=lambda e: e.n):
        yield from _kept(e, diff)
        if members := summary.members_of(e)[-_MOST_DIFFS:]:
            yield (
                "The following keeps were confirmed together with it, none of them alone; "
                "`overnight ablate` measures what each is worth:\n"
            )
        for member in members:
            yield from _kept(member, diff, why=False)


def _kept(e: Experiment, diff: Diff, why: bool = True) -> Iterator[str]:
    yield f"\n### #{e.n}: {_plain(e.description)}\n"
    if e.hypothesis:
        yield f"{_plain(e.hypothesis, 2000)}\n"
    if why:
        yield f"Kept: {_plain(e.reason, 1000)}.\n"
    if e.parent and e.candidate:
        yield f"{_fenced(diff(e.parent, e.candidate), e.n)}\n"


def _simpler(summary: Summary, diff: Diff) -> Iterator[str]:
    if not summary.simpler:
        return
    yield "## Simpler\n"
    yield "Kept because they have less code and an equal score, within the margin; not a gain.\n"
    for e in summary.simpler[-_MOST_DIFFS:]:
        yield from _kept(e, diff)


def _provisional(summary: Summary) -> Iterator[str]:
    if not summary.provisional:
        return
    yield "## Provisional\n"
    yield "Promising, but **not confirmed**: they are on no branch and not counted above.\n"
    yield f"| n | {_plain(summary.metric.name)} | gain so far | what |\n|--:|--:|--:|---|"
    for e in summary.provisional:
        yield _row(e.n, _number(e.score), _number(e.gain), _plain(e.description))
    yield ""


def _exam(gap: Gap) -> Iterator[str]:
    yield "## The final exam\n"
    for words in _exam_words(gap):
        yield f"{words}\n"
    if not gap.sittings:
        return
    name = _plain(gap.metric.name)
    yield f"| n | {name}, referee | {name}, exam | gain, referee | gain, exam | what |"
    yield "|--:|--:|--:|--:|--:|---|"
    for s in gap.sittings:
        gains = (gap.gains_of(s) if s.experiment.n else None) or (None, None)
        cells = map(_number, (s.judged, s.exam, *gains))
        yield _row(s.experiment.n, *cells, _plain(s.experiment.description))
    yield ""
    if gap.gains:
        yield "![Gains by the referee and by the final exam](holdout.png)\n"


def _exam_words(gap: Gap) -> Iterator[str]:
    if gap.overfitted:
        yield (
            f"**Warning: {OVERFITTED}.** Less than half of the gain remains on data that was not "
            "used for selection. Trust the exam; before the next night give the referee more data, "
            "or raise `min_gain`."
        )
    if gap.gains and gap.newest:
        referee, exam = map(_number, gap.gains)
        error = "" if gap.error is None else f", with a standard error of {_number(gap.error)}"
        yield (
            f"Up to experiment {gap.newest.experiment.n} the referee saw a gain of {referee}, the "
            f"final exam one of {exam}: a gap of {_number(gap.gap)}{error}."
        )
        if gap.error is None and gap.gap:
            yield "Nothing was measured twice, so how much of the gap is luck is unknown."
    if gap.waiting:
        yield f"The incumbent, experiment {gap.incumbent}, has no exam score yet."
    if gap.failed:
        yield f"The exam gave no score for {', '.join(f'experiment {n}' for n in gap.failed)}."
    yield (
        f"Exam scores have been read {counted(gap.read, 'time')} in this arena; no agent and no "
        "decision used them. Choosing by exam scores ends their independence; use fresh data then."
    )


def _lost(book: Book) -> Iterator[str]:
    ledger, tag = book.ledger, book.tag
    discards = (e for e in _all_discards(ledger, tag) if e.gain is not None)
    misses = heapq.nlargest(_MOST_ROWS, discards, key=lambda e: e.gain or 0.0)
    failed = [e for v in FAILED for e in ledger.experiments(tag, last=_MOST_ROWS, verdict=v)]
    failed = sorted(failed, key=lambda e: -e.n)[:_MOST_ROWS]
    yield "## What did not work\n"
    if not misses and not failed:
        yield "Nothing.\n"
        return
    if misses:
        yield "The nearest misses:\n"
        yield f"| n | {_plain(book.arena.metric.name)} | gain | what | why |\n|--:|--:|--:|---|---|"
        for e in misses:
            words = _plain(e.description), _plain(e.reason)
            yield _row(e.n, _number(e.score), _number(e.gain), *words)
    if failed:
        yield "\nThe newest failures:\n\n| n | verdict | what | why |\n|--:|---|---|---|"
        for e in failed:
            yield _row(e.n, e.verdict or "", _plain(e.description), _plain(e.reason))
    yield "\n`overnight log` shows all of them.\n"


def _all_discards(ledger: Ledger, tag: str) -> Iterator[Experiment]:
    after = -1
    while page := ledger.experiments(tag, after=after, first=PAGE, verdict=Verdict.DISCARD):
        yield from page
        after = page[-1].n


def _merging(summary: Summary, unmoved: str | None) -> Iterator[str]:
    branch, base = summary.branch, summary.base[:10]
    yield "## How to take it\n"
    if not summary.keeps:
        yield f"There is nothing to take: the branch `{branch}` has no new commits.\n"
        return
    if unmoved:
        yield f"Commit {unmoved[:10]} has what was kept; the branch `{branch}` is not there.\n"
        branch = unmoved[:10]
    else:
        yield f"The branch `{branch}` holds what was kept, one commit each.\n"
    yield f"```\ngit log {base}..{branch}\ngit diff {base} {branch}\ngit merge {branch}\n```\n"


def _cost(summary: Summary) -> Iterator[str]:
    """What proposals have used; empty when all of them are free."""
    if all(one.free for one in summary.spent):
        return
    yield "## What it cost\n"
    yield f"{together(summary.spent).words} for proposals.\n"
    yield "| agent | proposals | cost | of unknown cost | tokens | time |"
    yield "|---|--:|--:|--:|--:|--:|"
    for one in summary.spent:
        cost = format_dollars(one.dollars) if one.priced else "unknown"
        tokens = f"{'≥ ' * bool(one.uncounted)}{one.tokens:,}" if one.counted else "unknown"
        time = format_duration(one.thought)
        yield _row(_plain(one.agent), one.proposals, cost, one.unpriced or "", tokens, time)
    yield ""


def _happened(events: Sequence[Event]) -> Iterator[str]:
    """Warnings, failures of agents and switches between them, the newest in a table."""
    if not events:
        return
    yield "## What else happened\n"
    if (earlier := len(events) - _MOST_ROWS) > 0:
        yield f"The newest {_MOST_ROWS}; {counted(earlier, 'earlier event')} not shown.\n"
    yield "| when | what |\n|---|---|"
    for event in events[-_MOST_ROWS:]:
        at = event.at.astimezone().strftime("%b %d, %H:%M")
        yield _row(at, _plain(str(event.data.get("words", ""))))
    yield ""


def _judging(summary: Summary) -> Iterator[str]:
    arena = summary.arena
    yield "## How it was judged\n"
    yield f"- Rule `{arena.judge.rule}`, {arena.metric.direction} {_plain(arena.metric.name)}."
    if arena.judge.rule == "confirm" and summary.noise.deterministic:
        yield (
            "- Repeats are equal to the last digit, so one measurement rejects a change and three "
            "confirm a win. If the program fixes its own seed, the luck of that seed counts as "
            "gain: let the program use `OVERNIGHT_SEED`."
        )
        yield f"- A run has {arena.budget_text}."
    elif arena.judge.rule == "confirm":
        yield (
            "- A win was measured in pairs with its incumbent, each pair with a new seed, until "
            "chance could not explain the difference: with identical candidates, at most "
            f"{arena.judge.false_keep:.0%} of campaigns keep anything, however long they are. "
            "Gains come from these pairs alone."
        )
        yield f"- A run has {arena.budget_text}."
        if summary.noise_words:
            yield f"- Noise: {summary.noise_words}."
    else:
        yield f"- A run has {arena.budget_text}; measurement k of every candidate uses seed k."
    if any(e and median_words(e) for e in (summary.baseline, *summary.keeps)):
        yield (
            "- The score of a program that was measured several times is the median of these "
            "measurements; once a change was measured after its verdict, of the later ones alone."
        )
    tried = counted(summary.experiments, "experiment")
    yield f"- {tried} in {format_duration(summary.seconds)}: {summary.tally}."
    if words := summary.pruning.words:
        yield f"- Pruning: {words}."


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _plain(text: str, most: int = 300) -> str:
    """Untrusted text escaped for Markdown, in tables and at the beginning of a line too; at most
    `most` characters."""
    escaped = re.sub(r"([\\`*\[\]<|~]|(?<!\w)_|_(?!\w))", r"\\\1", one_line(text, most))
    return re.sub(r"^(\d*)([-+=#>.)])", r"\1\\\2", escaped)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _fenced(text: str, n: int) -> str:
    """A diff as a code block, cut if it is long. Backticks in the diff cannot end the block."""
    lines = [CONTROL.sub("�", line)[:_MOST_WIDTH] for line in text.splitlines()]
    shown = lines[:_MOST_DIFF_LINES]
    if more := len(lines) - len(shown):
        shown.append(f"… {counted(more, 'more line')}; see overnight diff {n}")
    longest = max((len(run) for line in shown for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}diff", *shown, fence])
