"""report.md: what was gained, each win with its diff, what did not work, how to merge."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from overnight.arena import Arena
from overnight.experiment import Experiment, Verdict
from overnight.ledger import Ledger
from overnight.message import one_line
from overnight.quantity import format_duration
from overnight.summary import Summary, summarize

_MOST_DIFF_LINES = 80
_MOST_ROWS = 30


def write_report(
    arena: Arena, ledger: Ledger, diff: Callable[[str, str], str], tag: str, path: Path
) -> None:
    """Write the morning report of a campaign, replaced atomically. `diff(old, new)` is a patch."""
    summary = summarize(arena, ledger, tag)
    record = ledger.campaign(tag)
    assert record is not None
    experiments = ledger.experiments(tag)
    parts = [
        *_opening(summary),
        *_wins(summary, diff),
        *_failures(experiments),
        *_merging(summary, record.base),
        *_judging(summary, experiments),
    ]
    temporary = path.with_suffix(".part")
    temporary.write_text("\n".join(parts) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _opening(summary: Summary) -> Iterator[str]:
    yield f"# {_cell(summary.arena.name)}, campaign {summary.tag}\n"
    yield f"**{_cell(summary.gained)}.**\n"
    if summary.arena.score is None:
        yield "The scores are **self-reported**: the candidates' own word, unchecked.\n"
    if summary.stop_reason:
        yield f"It stopped because {_cell(summary.stop_reason)}.\n"
    yield "![progress](progress.png)\n"


def _wins(summary: Summary, diff: Callable[[str, str], str]) -> Iterator[str]:
    yield "## Wins\n"
    if not summary.wins:
        yield "None.\n"
        return
    yield f"| n | {summary.metric.name} | gain | what | commit |\n|--:|--:|--:|---|---|"
    for e in summary.wins:
        commit = (e.candidate or "")[:10]
        what = _cell(e.description)
        yield f"| {e.n} | {_number(e.score)} | {_number(e.gain)} | {what} | `{commit}` |"
    for e in summary.wins[-_MOST_ROWS:]:
        yield f"\n### {e.n}: {_cell(e.description)}\n"
        if e.hypothesis:
            yield f"{_cell(e.hypothesis, 2000)}\n"
        if e.parent and e.candidate:
            yield _fenced(diff(e.parent, e.candidate), e.n)


def _failures(experiments: Sequence[Experiment]) -> Iterator[str]:
    yield "\n## What did not work\n"
    lost = [e for e in experiments if e.verdict not in (None, Verdict.KEEP)]
    if not lost:
        yield "Nothing was tried in vain.\n"
        return
    nearest = sorted(lost, key=lambda e: -(e.gain if e.gain is not None else float("-inf")))
    yield "The nearest misses first.\n\n| n | verdict | score | gain | what | why |"
    yield "|--:|---|--:|--:|---|---|"
    for e in nearest[:_MOST_ROWS]:
        words = f"{_cell(e.description)} | {_cell(e.reason)}"
        yield f"| {e.n} | {e.verdict} | {_number(e.score)} | {_number(e.gain)} | {words} |"
    if len(lost) > _MOST_ROWS:
        yield f"\n{len(lost) - _MOST_ROWS} more: `overnight log`."


def _merging(summary: Summary, base: str) -> Iterator[str]:
    branch = summary.branch
    yield f"\n## How to take it\n\nThe branch `{branch}` holds the wins alone, one commit each.\n"
    yield f"```\ngit log {branch}\ngit diff {base[:10]} {branch}\ngit merge {branch}\n```\n"


def _judging(summary: Summary, experiments: Sequence[Experiment]) -> Iterator[str]:
    arena = summary.arena
    count = sum(len(e.measurements) for e in experiments)
    yield "## How it was judged\n"
    yield f"- Rule `{arena.judge.rule}`, {arena.metric.direction} {arena.metric.name}; a run has "
    yield f"  {arena.budget_text}; measurement k of every candidate uses seed k."
    yield f"- {summary.experiments} experiments and {count} measurements in "
    yield f"  {format_duration(summary.seconds)}; {summary.keep_rate:.0%} kept."
    counts = ", ".join(f"{count} {verdict}" for verdict, count in summary.verdicts.items())
    yield f"- Verdicts: {counts or 'none'}."


def _cell(text: str, most: int = 300) -> str:
    """Untrusted words as plain text in Markdown, in a table too."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", one_line(text, most))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _fenced(text: str, n: int) -> str:
    """A diff as a code block that it cannot end by itself, cut when it is long."""
    lines = text.splitlines()
    shown = "\n".join(re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "�", line) for line in lines)
    if len(lines) > _MOST_DIFF_LINES:
        shown = "\n".join(shown.split("\n")[:_MOST_DIFF_LINES])
        shown += f"\n… {len(lines) - _MOST_DIFF_LINES} more lines: overnight diff {n}"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{fence}diff\n{shown}\n{fence}\n"
