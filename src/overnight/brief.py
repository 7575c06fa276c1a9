"""The brief: what an agent is told before an experiment, bounded by importance.

Every section has room of its own that no other can take, however long that one is. What the short
ones leave goes to the long ones, the most important first. What agents wrote is kept to lines that
cannot begin a section.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from overnight.arena import PROGRAM, Arena
from overnight.experiment import Event, Experiment, Verdict
from overnight.history import History
from overnight.message import one_line
from overnight.standing import campaign_noise

MOST_CHARACTERS = 40_000
"""About 10,000 tokens: fits any model and leaves room to think."""
_ALREADY = 120
"""Characters that a section spends on its heading and on saying what it leaves out."""


@dataclass(frozen=True)
class _Section:
    title: str
    lines: Sequence[str]
    """The first ones are the ones to keep."""
    room: int
    """Characters that are its own."""
    upside_down: bool = False
    """Whether the lines are given, and kept, from the last to the first."""

    @property
    def size(self) -> int:
        return sum(len(line) + 1 for line in self.lines)

    def text(self, most: int) -> str:
        """Its heading and as many of its lines as fit, the last of them cut."""
        kept: list[str] = []
        for line in self.lines:
            if most <= 1:
                break
            kept.append(line if len(line) < most else f"{line[: most - 2]}…")
            most -= len(kept[-1]) + 1
        if left_out := len(self.lines) - len(kept):
            kept.append(f"({left_out} more left out)")
        return "\n".join([f"## {self.title}", *(kept[::-1] if self.upside_down else kept), ""])


def write_brief(arena: Arena, history: History, steers: Sequence[Event]) -> str:
    """The brief for the next experiment, at most MOST_CHARACTERS long. Reads program.md anew."""
    strategy = _file_lines(arena.root / PROGRAM)
    notes = [f"> {line}" for line in _file_lines(arena.state / "notes.md", end=True)]
    sections = [
        _Section("Strategy", strategy, 12_000),
        _Section("The person says, newest first", _steers(steers), 5_000),
        _Section("Contract", _contract(arena), 5_000),
        _Section("Incumbent", _incumbent(arena, history), 1_000),
        _Section("Wins so far, newest first", _results(reversed(history.keeps)), 3_000),
        _Section("Latest results, newest first", _results(_latest(history)), 4_000),
        _Section("Near misses, best first", _results(_near_misses(history)), 3_000),
        _Section("Failed, newest first", _results(_failures(history)), 3_000),
        _Section("Notes of earlier agents", notes[::-1], 2_000, upside_down=True),
    ]
    return _fitted([section for section in sections if section.lines])


def first_brief(arena: Arena) -> str:
    """The brief as long as nothing has been measured."""
    sections = [
        _Section("Strategy", _file_lines(arena.root / PROGRAM), 12_000),
        _Section("Contract", _contract(arena), 5_000),
        _Section(
            "Incumbent", ["- Nothing has been measured yet: the baseline comes first."], 1_000
        ),
    ]
    return _fitted([section for section in sections if section.lines])


def _fitted(sections: Sequence[_Section]) -> str:
    """The sections, the more important ones first, within MOST_CHARACTERS."""
    spare = MOST_CHARACTERS - sum(min(s.size, s.room) + _ALREADY for s in sections)
    texts = []
    for section in sections:
        more = min(max(section.size - section.room, 0), spare)
        spare -= more
        texts.append(section.text(min(section.size, section.room) + more))
    return "\n".join(texts)


def _file_lines(path: Path, end: bool = False) -> list[str]:
    """Its first lines, or its last ones, as many as a brief could hold; none without the file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - MOST_CHARACTERS, 0) if end else 0)
            text = file.read(MOST_CHARACTERS).decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()


def _contract(arena: Arena) -> list[str]:
    metric, run = arena.metric, arena.run
    lines = [
        f"- Change only: {', '.join(arena.editable)}. Anything else you change is dropped.",
        f"- Goal: {metric.direction} {metric.name}"
        + (f" ({metric.unit})." if metric.unit else "."),
        "- Make one change, finish, and exit. Do not run git commit; do not start the experiment.",
        "- Say what you did in `.overnight-idea.md`: the first line a title, then the hypothesis.",
        f"- Your change is run as `{run.command}` with {arena.budget_text}; at the deadline it is "
        "killed and counts as a timeout.",
        f"- The run reads its checkout, the installed programs and {_data(arena)}; it writes "
        "$OVERNIGHT_OUT and temporary folders. All else is out of its reach.",
        f"- Network during the run: {'allowed' if run.network else 'not allowed'}.",
        f"- Memory: at most {run.memory / 1e9:.3g} GB for the whole process tree.",
    ]
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
        if bounds.soft is not None:
            cost = "the whole score" if bounds.cost is None else f"{bounds.cost:g}"
            limits.append(f"above {bounds.soft:g} the score counts for less, {cost} at twice that")
        lines.append(f"- Constraint on {name}: {', '.join(limits)}.")
    if arena.judge.rule == "confirm" and arena.judge.simplify:
        lines.append("- Less code with an equal score is kept too.")
    return lines


def _data(arena: Arena) -> str:
    return f"the data in {', '.join(arena.data)}" if arena.data else "no other data"


def _incumbent(arena: Arena, history: History) -> list[str]:
    best, first, tip = history.incumbent, history.baseline, history.tip
    lines = [
        f"- {arena.metric.name} {_score(best)} (experiment {best.n}: {one_line(best.description)})"
    ]
    lines += [
        f"- Above it, provisional, promising but not confirmed yet: experiment {e.n}, "
        f"{_score(e)}: {one_line(e.description)}"
        for e in history.stack[1:]
    ]
    if best.n:
        lines.append(f"- The baseline had {_score(first)}.")
    what = "the incumbent" if tip is best else f"the newest of these, experiment {tip.n}"
    lines.append(f"- Your working folder is {what}; `git log` there shows the wins.")
    if (noise := campaign_noise(arena, history)).sigma:
        lines.append(
            f"- Noise: scores of one program differ by about {noise.sigma:.2g} from run to run; "
            "what looks like a smaller gain is measured again before it counts."
        )
    return lines


def _steers(steers: Sequence[Event]) -> list[str]:
    return [f"- {one_line(str(event.data['words']), 2000)}" for event in reversed(steers)]


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
        gain = "" if e.claim is None else f" ({e.claim:+.4g})"
        line = f"- {e.n}: {e.verdict} {_score(e)}{gain} — {one_line(e.description, 160)}"
        if e.reason and not e.kept:
            line += f" — {one_line(e.reason, 240)}"
        if e.kept and e.caveats:
            line += f" ({', '.join(e.caveats)})"
        if e.dropped:
            line += f" (dropped, not editable: {one_line(', '.join(e.dropped), 160)})"
        lines.append(line)
    return lines


def _score(experiment: Experiment) -> str:
    return "no score" if experiment.score is None else f"{experiment.score:.6g}"
