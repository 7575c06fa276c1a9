"""Whether an arena is ready for a night: five traits, each measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from overnight.core.experiment import Measurement, Outcome
from overnight.core.quantity import format_duration
from overnight.doctor.doctor import AttackResult, Doctor
from overnight.judge.odds import visible

BASELINES = 3
"""Measurements of the unchanged arena; their spread is the noise."""
_OVERHEAD = 0.2
_NIGHT_HOURS = 8
_NONSENSE = b"}{ this is no program\n"
_FULL = 0.9
"""Share of the budget above which a run is taken to use all the time it gets."""
_VISIBLE_SIGMAS = 2.0
"""In standard deviations of the noise; a smaller gain takes many measurements to show."""


@dataclass(frozen=True)
class Trait:
    """One of the five traits."""

    name: str
    grade: str
    """"good", "fair" or "poor"."""
    found: str


def readiness(doctor: Doctor, sandbox: str, rows: Sequence[AttackResult]) -> list[Trait]:
    """Measure the arena unchanged, with broken editable files, and with another budget."""
    baselines = [doctor.baseline(sandbox, n) for n in range(BASELINES)]
    failed = next((m for m in baselines if m.score is None), None)
    if failed is not None:
        words = f"the unchanged arena has no score: {failed.outcome}: {failed.detail}"
        if failed.outcome is Outcome.TIMEOUT:
            words += _with_longer_budget(doctor, sandbox)
        return [Trait("an objective score", "poor", words)]
    return [
        _score_trait(doctor, sandbox, baselines),
        _speed_trait(doctor, sandbox, baselines),
        _bounds_trait(rows),
        _cost_trait(doctor, sandbox),
        _traces_trait(baselines[0]),
    ]


def _score_trait(doctor: Doctor, sandbox: str, baselines: Sequence[Measurement]) -> Trait:
    arena, name, grade = doctor.arena, "an objective score", "good"
    scores, noise = _scores(baselines)
    words = f"{arena.metric.name} {statistics.mean(scores):.6g}, "
    if noise:
        words += f"noise {noise:.2g} from {len(scores)} measurements: a gain of "
        if arena.judge.rule == "confirm":
            words += f"{visible() * noise:.2g} is kept in four of five campaigns"
        else:
            words += f"{_VISIBLE_SIGMAS * noise:.2g} shows in one"
        words += "; `overnight power` says more"
    elif place := doctor.fixed_seed():
        grade = "fair"
        words += (
            f"no noise in {len(scores)} measurements, but {place} and nothing reads "
            "OVERNIGHT_SEED: a lucky draw may count as a gain; set the seed from OVERNIGHT_SEED"
        )
    else:
        words += f"no noise in {len(scores)} measurements: any gain shows"
    if _score_unchanged(doctor, sandbox, baselines, _NONSENSE, "filled with nonsense"):
        words = (
            "the score is the same with nonsense in the editable files: the run measures something "
            "else (a stale build, an installed copy, another file)"
        )
        return Trait(name, "poor", words)
    if _score_unchanged(doctor, sandbox, baselines, b"", "emptied"):
        words = "the score is the same with empty editable files: no change can improve it"
        return Trait(name, "poor", words)
    if arena.score is None:
        return Trait(name, "poor", f"{words}; self-reported: the run prints its own score")
    return Trait(name, grade, words)


def _score_unchanged(
    doctor: Doctor, sandbox: str, baselines: Sequence[Measurement], content: bytes, what: str
) -> bool:
    """Whether the score is the same with `content` in every editable file."""
    commit = doctor.changed(lambda _: content, what)
    if commit is None:  # they already have this content
        return False
    found = doctor.measured(sandbox, commit=commit)
    scores, noise = _scores(baselines)
    return found.score is not None and abs(found.score - scores[0]) <= 2 * noise + 1e-12


def _scores(baselines: Sequence[Measurement]) -> tuple[list[float], float]:
    """The scores, and their standard deviation."""
    scores = [m.score for m in baselines if m.score is not None]
    return scores, statistics.stdev(scores)


def _speed_trait(doctor: Doctor, sandbox: str, baselines: Sequence[Measurement]) -> Trait:
    total = statistics.mean(m.seconds for m in baselines)
    run = statistics.mean(m.stage_seconds["run"] for m in baselines)
    share = 1 - run / total if total else 0.0
    night = _measurements_a_night(baselines)
    words = (
        f"{night / _NIGHT_HOURS:,.0f} measurements an hour ({format_duration(total)} each), "
        f"{night:,.0f} a night; {share:.0%} of the time is not the run"
    )
    grade = "good" if night >= 100 and share < _OVERHEAD else "fair"
    if warning := _with_half_budget(doctor, sandbox, baselines):
        return Trait("fast, cheap iterations", "poor", f"{words}; {warning}")
    return Trait("fast, cheap iterations", grade, words)


def _measurements_a_night(baselines: Sequence[Measurement]) -> float:
    """Number of measurements that fit into a night."""
    total = statistics.mean(m.seconds for m in baselines)
    return _NIGHT_HOURS * 3600 / max(total, 0.001)


def _with_longer_budget(doctor: Doctor, sandbox: str) -> str:
    """What four times the budget changes, for an arena that exceeds its budget."""
    budget = 4 * doctor.arena.run.budget
    found = doctor.measured(sandbox, doctor.with_run(budget=budget))
    if found.score is None:
        return f"; with four times the budget neither: {found.outcome}"
    needed = format_duration(found.numbers["wall_seconds"])
    return f"; with four times the budget it needs {needed}: raise run.budget"


def _with_half_budget(doctor: Doctor, sandbox: str, baselines: Sequence[Measurement]) -> str:
    """A warning if start-up takes most of the budget of a run that uses all of it, or empty."""
    budget, clock = doctor.arena.run.budget, f"{doctor.arena.run.clock}_seconds"
    if min(m.numbers.get(clock, 0.0) for m in baselines) < _FULL * budget:
        return ""
    half = doctor.measured(sandbox, doctor.with_run(budget=budget / 2))
    if half.score is None:
        return f"half of the budget gives no score ({half.outcome}): start-up takes most of it"
    return ""


def _bounds_trait(rows: Sequence[AttackResult]) -> Trait:
    verdicts = {row.verdict for row in rows}
    words = f"{sum(row.verdict == 'blocked' for row in rows)} of {len(rows)} attacks blocked"
    for verdict in sorted(verdicts - {"blocked"}):
        names = dict.fromkeys(row.attack for row in rows if row.verdict == verdict)
        words += f"; {verdict}: {', '.join(names)}"
    grade = "poor" if "through" in verdicts else "fair" if "untried" in verdicts else "good"
    return Trait("a bounded environment", grade, words)


def _cost_trait(doctor: Doctor, sandbox: str) -> Trait:
    if sandbox == "none":
        words = "no sandbox: a candidate has your rights"
        return Trait("low cost of failure", "poor", words)
    words = f"in {sandbox} a candidate can write to its own folders during its run"
    if doctor.arena.run.network:
        words += ", and reach the network"
    return Trait("low cost of failure", "fair" if doctor.arena.run.network else "good", words)


def _traces_trait(baseline: Measurement) -> Trait:
    words = (
        f"every candidate is a commit; logs, seeds, the referee's digest {baseline.referee} and "
        f"{len(baseline.numbers)} numbers are recorded per measurement"
    )
    return Trait("traces", "good", words)
