"""Numbers in the output of the referee and of the run."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from overnight.arena.settings import Metric
from overnight.core.experiment import Outcome

_REPORTED = re.compile(rb"\s*([A-Za-z_][\w./ -]{0,63}?)\s*[:=]\s*([-+]?[\w.+-]{1,40})%?\s*")
_MOST_REPORTED = 100
_LONGEST_LINE = 4096
_LONGEST_REASON = 1000
_LARGEST = 1e100
"""Largest magnitude of a score: squares of larger ones overflow."""

Ending = tuple[Outcome, float | None, str]
"""How a measurement ended, its score, and what went wrong, as a sentence."""


def read_score(line: str, metric: Metric) -> tuple[Ending, dict[str, float]]:
    """How the measurement ended, by the referee's last line of output, and its further numbers.

    `{"invalid": "why"}` says that the candidate broke a rule.
    """
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    name = metric.name
    if not isinstance(content, dict):
        found = f"found {line[:200]!r}" if line.strip() else "it printed nothing"
        words = f'the referee must print a JSON object such as {{"{name}": 1.0}} last; {found}'
        return (Outcome.NO_METRIC, None, words), {}
    numbers = {key: number for key, raw in content.items() if (number := _number(raw)) is not None}
    finite = {key: number for key, number in numbers.items() if math.isfinite(number)}
    if "invalid" in content:
        reason = str(content["invalid"])[:_LONGEST_REASON]
        return (Outcome.REFUSED, None, f"the referee refused it: {reason}"), finite
    finite.pop(name, None)
    if name not in content:
        words = f'the referee\'s JSON has no "{name}"; it has {sorted(content)}'
        return (Outcome.NO_METRIC, None, words), finite
    score = numbers.get(name)
    if score is None or not math.isfinite(score):
        words = f'the referee\'s "{name}" is {content[name]!r}, not a finite number'
        return (Outcome.NOT_FINITE, None, words), finite
    return believable(score, metric), finite


def self_reported(metric: Metric, reported: Mapping[str, float]) -> Ending:
    """How the measurement ended, by the numbers that the run printed."""
    if metric.name not in reported:
        return Outcome.NO_METRIC, None, f"the run printed no line `{metric.name}: NUMBER`"
    score = reported[metric.name]
    if not math.isfinite(score):
        return Outcome.NOT_FINITE, None, f"the run reported {metric.name} = {score}"
    return believable(score, metric)


def believable(score: float, metric: Metric) -> Ending:
    """How a measurement with this finite score ended: refused when it is better than the arena's
    `best_possible`, no score when it is too large to compute with."""
    if abs(score) > _LARGEST:
        words = f"{metric.name} = {score:g} is as good as infinite: beyond {_LARGEST:g}"
        return Outcome.NOT_FINITE, None, words
    best = metric.best_possible
    if best is not None and metric.orient(score) > metric.orient(best):
        words = f"{metric.name} = {score:g} is better than metric.best_possible = {best:g}"
        return Outcome.REFUSED, None, words
    return Outcome.FINISHED, score, ""


def _number(raw: object) -> float | None:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    try:
        return float(raw)
    except OverflowError:
        return math.inf


def reported_numbers(log: Path) -> dict[str, float]:
    """The `key: value` lines of a run's log; the last line with a key counts."""
    numbers: dict[str, float] = {}
    try:
        with log.open("rb") as stream:
            while line := stream.readline(_LONGEST_LINE):
                for piece in line.split(b"\r"):
                    _note_number(piece, numbers)
    except FileNotFoundError:
        pass  # the stage did not start
    return numbers


def _note_number(line: bytes, numbers: dict[str, float]) -> None:
    match = _REPORTED.fullmatch(line)
    if not match:
        return
    try:
        value = float(match[2])
    except ValueError:
        return  # such as `status: done`
    key = match[1].decode("ascii", "replace")
    if key in numbers or len(numbers) < _MOST_REPORTED:
        numbers[key] = value
