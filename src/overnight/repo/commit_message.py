"""Commit messages of candidates. An agent's text is untrusted: it is cut and cleaned."""

from __future__ import annotations

from overnight.arena.settings import Metric
from overnight.core.experiment import Experiment, Idea
from overnight.core.text import one_line
from overnight.repo.patch import changed_lines

_NAMED = 3
"""Most files that `change_in_words` names."""
_MOST_OF_A_LINE = 80


def change_in_words(diff: str) -> str:
    """A patch in one line: `train.py: LR = 0.1 → LR = 0.2`, or the number of changed lines."""
    files = changed_lines(diff)
    lines = [line for changed in files.values() for line in changed]
    name = one_line(", ".join([*files][:_NAMED])) + (
        f" and {len(files) - _NAMED} more" * (len(files) > _NAMED)
    )
    if [line[0] for line in lines] == ["-", "+"]:
        old, new = (one_line(line[1:], _MOST_OF_A_LINE) for line in lines)
        return f"{name}: {old} → {new}"
    added = sum(line[0] == "+" for line in lines)
    return f"{name}: {added} line{'s' * (added != 1)} added, {len(lines) - added} removed"


def candidate_message(tag: str, n: int, idea: Idea) -> str:
    """Message of a candidate that has not been measured yet."""
    return _message(idea.title, idea.hypothesis, {"Experiment": f"{tag}/{n}"})


def kept_message(tag: str, kept: Experiment, metric: Metric) -> str:
    """Message of a keep: the metric, the gain and the hypothesis as git trailers."""
    trailers = {
        "Experiment": f"{tag}/{kept.n}",
        "Metric": one_line(f"{metric.name} {kept.score:.6g} {metric.unit}"),
        "Gain": None if kept.claim is None else f"{kept.claim:.6g}",
        "Confirmed-With": f"{tag}/{kept.within}" if kept.is_member else None,
        "Simpler": "yes" if kept.simpler else None,
        "Agent": one_line(kept.agent),
        "Hypothesis": one_line(kept.hypothesis, 1000),
    }
    return _message(kept.description, "", {k: v for k, v in trailers.items() if v})


def _message(title: str, body: str, trailers: dict[str, str]) -> str:
    lines = [one_line(title) or "a change without a title"]
    if body:
        lines += ["", one_line(body, 2000)]
    lines += ["", *(f"Overnight-{key}: {value}" for key, value in trailers.items())]
    return "\n".join(lines) + "\n"
