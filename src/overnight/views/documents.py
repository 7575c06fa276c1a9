"""The documents that `--json` prints. What is absent is null."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING

from overnight.arena.arena import Arena
from overnight.core.experiment import Experiment, Measurement
from overnight.core.spending import Spent, together
from overnight.insights.readings import charges_of
from overnight.insights.track_record import TrackRecord, held
from overnight.views.summary import Running, Summary

if TYPE_CHECKING:  # each takes long to import
    from overnight.agents.roster import Entry
    from overnight.doctor.rehearsal import Rehearsal


def status_document(summary: Summary) -> dict[str, object]:
    """The document of `overnight status --json`."""
    best = summary.incumbent
    running = summary.running
    return {
        "tag": summary.tag,
        "branch": summary.branch,
        "arena": summary.arena.name,
        "metric": summary.metric.name,
        "direction": summary.metric.direction,
        "baseline": summary.baseline.score if summary.baseline else None,
        "incumbent": experiment_document(best, summary.arena) if best else None,
        "experiments": summary.experiments,
        "verdicts": {verdict.value: count for verdict, count in summary.verdicts.items()},
        "running": _running_document(running) if running else None,
        "stop_reason": summary.stop_reason,
        "noise": summary.noise.sigma if summary.noise.differences else None,
        "provisional": [e.n for e in summary.provisional],
        **_spent_document(together(summary.spent)),
        "agents": [{"agent": one.agent, **one.document()} for one in summary.spent],
        "gain": _finite(summary.gain),
        "self_reported": summary.self_reported,
        "unconfined": summary.unconfined,
        "wins": len(summary.wins),
        "keeps": len(summary.keeps),
        "keep_rate": summary.keep_rate,
        "seconds": summary.seconds,
        "left": asdict(summary.left) if summary.left else None,
        "pruning": asdict(summary.pruning),
        "holdout": summary.holdout.document() if summary.holdout else None,
    }


def _running_document(running: Running) -> dict[str, object]:
    measured = running.measured_since
    times = {"since": _time(running.since), "measured_since": _time(measured) if measured else None}
    document = asdict(running) | times | {"description": running.words}
    del document["transcript"]
    return document


def experiment_document(e: Experiment, arena: Arena) -> dict[str, object]:
    """One experiment in the documents of `log`, `show` and `try`."""
    return {
        "n": e.n,
        "verdict": e.verdict.value if e.verdict else None,
        "score": _finite(e.score),
        "gain": _finite(e.claim),
        "interval": [_finite(end) for end in e.interval] if e.interval else None,
        "charges": {name: _finite(cost) for name, cost in charges_of(arena, e).items()},
        "candidate": e.candidate,
        "parent": e.parent,
        "start": e.start,
        "against": e.against,
        "agent": e.agent,
        "description": e.description,
        "hypothesis": e.hypothesis,
        "started": _time(e.started),
        "seconds": e.seconds,
        "measurements": [_measurement_document(m) for m in e.measurements],
        "reason": e.reason,
        "simpler": e.simpler,
        "confirmed_with": e.within,
        "parameters": dict(e.parameters),
        "dropped": list(e.dropped),
        "expected": _finite(e.expected),
        "held": held(e),
        "tokens_in": e.usage.tokens_in,
        "tokens_cached": e.usage.tokens_cached,
        "tokens_out": e.usage.tokens_out,
        "cost": e.usage.dollars,
        "thought": e.thought,
    }


def agent_document(r: TrackRecord) -> dict[str, object]:
    """One agent's record in the document of `agents --stats`."""
    return {
        "agent": r.agent,
        "experiments": r.experiments,
        "kept": r.kept,
        "members": r.members,
        "keep_rate": r.keep_rate,
        "gain": _finite(r.gain),
        **_spent_document(r.spent),
        "expectations": r.expectations,
        "held": r.held,
        "expected": _finite(r.expected),
        "came": _finite(r.came),
        "ratio": _finite(r.ratio),
    }


def roster_document(entry: Entry) -> dict[str, object]:
    """One agent in the document of `agents`."""
    return {"agent": entry.name, "ready": entry.ready, "words": entry.words}


def rehearsal_document(name: str, rehearsal: Rehearsal) -> dict[str, object]:
    """The document of `agents --check`."""
    e = rehearsal.experiment
    return {
        "agent": name,
        "works": not rehearsal.words,
        "reason": rehearsal.words,
        "seconds": e.thought if e else None,
        "tokens_in": e.usage.tokens_in if e else None,
        "tokens_out": e.usage.tokens_out if e else None,
        "dollars": e.usage.dollars if e else None,
    }


def _spent_document(spent: Spent) -> dict[str, object]:
    return {key: value for key, value in spent.document().items() if key != "proposals"}


def _measurement_document(m: Measurement) -> dict[str, object]:
    return {
        "stage_seconds": dict(m.stage_seconds),
        "seed": m.seed,
        "score": _finite(m.score),
        "outcome": m.outcome.value,
        "numbers": {name: _finite(value) for name, value in m.numbers.items()},
        "reported": {name: _finite(value) for name, value in m.reported.items()},
        "device": m.device,
        "self_reported": m.self_reported,
        "sandbox": m.sandbox,
        "referee": m.referee,
        "purpose": m.purpose.value,
        "log": m.log,
    }


def _finite(value: float | None) -> float | None:
    """The value; None for NaN and infinity, which JSON lacks."""
    return value if value is not None and isfinite(value) else None


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
