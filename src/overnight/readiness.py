"""Whether an arena is ready for a night: five traits that decide it, each measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from overnight.doctor import Doctor, Row
from overnight.experiment import Measurement
from overnight.quantity import format_duration

BASELINES = 3
"""Measurements of the arena as it is; their spread is the noise."""
_OVERHEAD = 0.2
_NIGHT_HOURS = 8
_EASY = 2.0
"""Noise sigmas: a smaller gain takes many measurements to tell from luck."""


@dataclass(frozen=True)
class Trait:
    """One of the five."""

    name: str
    grade: str
    """"good", "fair" or "poor"."""
    found: str


def readiness(doctor: Doctor, sandbox: str, rows: Sequence[Row]) -> list[Trait]:
    """Measure the arena as it is, and once with its editable files emptied."""
    baselines = [doctor.measured(sandbox) for _ in range(BASELINES)]
    failed = next((m for m in baselines if m.score is None), None)
    if failed is not None:
        words = f"the arena as it is has no score: {failed.outcome}: {failed.detail}"
        return [Trait("an objective score", "poor", words)]
    return [
        _score(doctor, sandbox, baselines),
        _speed(doctor, baselines),
        _bounds(rows),
        _cost(doctor, sandbox),
        _traces(baselines[0]),
    ]


def _score(doctor: Doctor, sandbox: str, baselines: Sequence[Measurement]) -> Trait:
    arena, name = doctor.arena, "an objective score"
    scores = [m.score for m in baselines if m.score is not None]
    noise = statistics.stdev(scores)
    words = f"{arena.metric.name} {statistics.mean(scores):.6g}, noise {noise:.2g}"
    words += f" from {len(scores)} measurements; gains above {_EASY * noise:.2g} are seen at once"
    emptied = doctor.emptied(sandbox)
    if emptied.score is not None and abs(emptied.score - scores[0]) <= 2 * noise + 1e-12:
        words = "the score is the same with the editable files emptied: nothing can be learnt here"
        return Trait(name, "poor", words)
    if arena.score is None:
        return Trait(name, "poor", f"{words}; self-reported: the run says what it is worth")
    return Trait(name, "good", words)


def _speed(doctor: Doctor, baselines: Sequence[Measurement]) -> Trait:
    total = statistics.mean(sum(m.stage_seconds.values()) for m in baselines)
    run = statistics.mean(m.stage_seconds["run"] for m in baselines)
    share = 1 - run / total if total else 0.0
    hourly = 3600 / max(total, 0.001)
    words = (
        f"{hourly:,.0f} measurements an hour ({format_duration(total)} each), "
        f"{_NIGHT_HOURS * hourly:,.0f} a night; {share:.0%} of the time is not the run"
    )
    budget = doctor.arena.run.budget
    if run > 0.98 * budget:
        words += f"; the run takes all of its {format_duration(budget)}"
    many = _NIGHT_HOURS * hourly >= 100
    return Trait("fast, cheap iterations", "good" if many and share < _OVERHEAD else "fair", words)


def _bounds(rows: Sequence[Row]) -> Trait:
    open_ = [row for row in rows if row.verdict == "through"]
    words = f"{len(rows) - len(open_)} of {len(rows)} attacks blocked"
    return Trait("a bounded environment", "poor" if open_ else "good", words)


def _cost(doctor: Doctor, sandbox: str) -> Trait:
    if sandbox == "none":
        words = "no sandbox: a candidate could touch whatever you can"
        return Trait("low cost of failure", "poor", words)
    words = f"in {sandbox} a candidate can write to its own folders, for the time of its run"
    if doctor.arena.run.network:
        words += ", and reach the network"
    return Trait("low cost of failure", "fair" if doctor.arena.run.network else "good", words)


def _traces(baseline: Measurement) -> Trait:
    words = (
        f"every candidate as a commit, logs, seeds, the referee's digest {baseline.referee}, "
        f"{len(baseline.numbers)} numbers a measurement"
    )
    return Trait("traces", "good", words)
