"""The brief: what an agent is told before an experiment, bounded by importance.

Every section has a weight; when the whole is too long, the least important sections give up their
oldest lines first. The contract and the strategy are never shortened below their own bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from overnight.arena import PROGRAM, Arena
from overnight.experiment import Event, Experiment, Verdict
from overnight.history import History
from overnight.message import one_line

MOST_CHARACTERS = 40_000
"""About 10,000 tokens: fits any model and leaves room to think."""
_SHOWN_REASON = 240


@dataclass
class _Section:
    title: str
    lines: list[str]
    weight: int
    """What stays longest; sections of the lowest weight are shortened first."""
    keep: int = 3
    """Lines that are left whatever happens."""

    def text(self) -> str:
        return f"## {self.title}\n" + "\n".join(self.lines) if self.lines else ""

    def shorten(self) -> int:
        """Give up the last line; how many characters that freed."""
        if len(self.lines) <= self.keep:
            return 0
        return len(self.lines.pop()) + 1


def write_brief(arena: Arena, history: History, steers: Sequence[Event]) -> str:
    """The brief for the next experiment, at most MOST_CHARACTERS long."""
    sections = [
        _Section("Strategy", _file_lines(arena.root / PROGRAM), 9, keep=400),
        _Section("The person says", _steers(steers), 8),
        _Section("Contract", _contract(arena), 10, keep=100),
        _Section("Incumbent", _incumbent(arena, history), 10, keep=10),
        _Section("Wins so far, newest first", _results(reversed(history.wins)), 6),
        _Section("Latest results, newest first", _results(_latest(history)), 5, keep=5),
        _Section("Near misses, best first", _results(_near_misses(history)), 4),
        _Section("Failed, newest first", _results(_failures(history)), 3),
        _Section("Notes of earlier agents", _file_lines(arena.state / "notes.md"), 2),
    ]
    return _fitted(sections)


def _fitted(sections: list[_Section]) -> str:
    excess = sum(len(section.text()) + 2 for section in sections) - MOST_CHARACTERS
    for section in sorted(sections, key=lambda s: s.weight):
        while excess > 0 and (freed := section.shorten()):
            excess -= freed
    text = "\n\n".join(text for section in sections if (text := section.text()))
    return text[:MOST_CHARACTERS] + "\n"


def _file_lines(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(MOST_CHARACTERS)
    except OSError:
        return []
    return [line[:2000] for line in text.splitlines()]


def _contract(arena: Arena) -> list[str]:
    metric, run = arena.metric, arena.run
    lines = [
        f"- Change only: {', '.join(arena.editable)}. Anything else you change is dropped.",
        f"- Goal: {metric.direction} {metric.name}"
        + (f" ({metric.unit})." if metric.unit else "."),
        f"- Your change is run as `{run.command}` with {arena.budget_text}; at the deadline it is "
        "killed and counts as a timeout.",
        f"- Network during the run: {'allowed' if run.network else 'not allowed'}.",
    ]
    if run.memory:
        lines.append(f"- Memory: at most {run.memory / 1e9:g} GB for the whole process tree.")
    if arena.score:
        lines.append("- The score is computed afterwards by a referee that you cannot change.")
    else:
        lines.append(f"- The score is the line `{metric.name}: NUMBER` that the run prints.")
    if metric.min_gain:
        lines.append(f"- A gain below {metric.min_gain:g} is not worth keeping.")
    lines += [f"- Must pass: `{command}`." for command in arena.checks.values()]
    for name, bounds in arena.constraints.items():
        limits = [
            f"{k} {v:g}" for k, v in (("min", bounds.min), ("max", bounds.max)) if v is not None
        ]
        lines.append(f"- Constraint on {name}: {', '.join(limits)}.")
    return [
        *lines,
        "- Make one change, finish, and exit. Do not run git commit; do not start the experiment.",
        "- Say what you did in `.overnight-idea.md`: the first line a title, then the hypothesis.",
    ]


def _incumbent(arena: Arena, history: History) -> list[str]:
    best, first = history.incumbent, history.baseline
    lines = [f"- {arena.metric.name} {_score(best)} (experiment {best.n}: {best.description})"]
    if best.n:
        lines.append(f"- The baseline had {_score(first)}.")
    lines.append("- Your working folder is the incumbent; `git log` there shows the wins.")
    return lines


def _steers(steers: Iterable[Event]) -> list[str]:
    return [f"- {event.data.get('words')}" for event in reversed(list(steers))]


def _latest(history: History) -> Iterable[Experiment]:
    return list(reversed(history.finished[-30:]))


def _near_misses(history: History) -> Iterable[Experiment]:
    misses = [e for e in history.finished if e.verdict is Verdict.DISCARD and e.gain is not None]
    return sorted(misses, key=lambda e: -(e.gain or 0.0))[:10]


def _failures(history: History) -> Iterable[Experiment]:
    failed = (Verdict.CRASH, Verdict.TIMEOUT, Verdict.INVALID, Verdict.STALE)
    return [e for e in reversed(history.finished) if e.verdict in failed][:15]


def _results(experiments: Iterable[Experiment]) -> list[str]:
    lines = []
    for e in experiments:
        line = f"- {e.n}: {e.verdict} {_score(e)} — {one_line(e.description, 160)}"
        if e.reason and not e.kept:
            line += f" — {one_line(e.reason, _SHOWN_REASON)}"
        if e.dropped:
            line += f" (dropped, not editable: {one_line(', '.join(e.dropped), 160)})"
        lines.append(line)
    return lines


def _score(experiment: Experiment) -> str:
    return "no score" if experiment.score is None else f"{experiment.score:.6g}"
