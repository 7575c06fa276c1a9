"""Ledger → the numbers that every view prints: terminal, report, picture and `--json` agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from overnight.arena import Arena, Metric
from overnight.experiment import Experiment, Measurement, Verdict
from overnight.ledger import Ledger
from overnight.lock import driver_of
from overnight.resume import lock_path

_RECENT = 50
"""Experiments from which the pace is told."""


@dataclass(frozen=True)
class Running:
    """What a living driver is doing."""

    n: int
    phase: str
    """"agent" while a change is thought of, "measuring" once the candidate exists."""
    description: str
    since: datetime


@dataclass(frozen=True)
class Summary:
    """Where a campaign stands."""

    tag: str
    branch: str
    arena: Arena
    baseline: Experiment | None
    incumbent: Experiment | None
    experiments: int
    """Finished ones, without the baseline."""
    verdicts: Mapping[Verdict, int]
    """Of those."""
    recent: Sequence[Experiment]
    """The newest finished ones, oldest first."""
    wins: Sequence[Experiment]
    running: Running | None
    stop_reason: str | None
    seconds: float
    """From the campaign's start to its newest result."""

    @property
    def metric(self) -> Metric:
        return self.arena.metric

    @property
    def gain(self) -> float | None:
        """What the incumbent is better by than the baseline, positive is better."""
        first, best = self.baseline, self.incumbent
        if first is None or best is None or first.score is None or best.score is None:
            return None
        return self.metric.orient(best.score) - self.metric.orient(first.score)

    @property
    def keep_rate(self) -> float:
        """Share of the experiments that were kept, 0 to 1."""
        return self.verdicts.get(Verdict.KEEP, 0) / max(self.experiments, 1)

    @property
    def pace(self) -> float | None:
        """Mean seconds of a recent experiment."""
        spent = [e.seconds for e in self.recent if e.seconds is not None and e.n > 0]
        return sum(spent) / len(spent) if spent else None

    @property
    def gained(self) -> str:
        """What was gained, in words."""
        first, best = self.baseline, self.incumbent
        if first is None or best is None or first.score is None or best.score is None:
            return "nothing has been measured yet"
        tried = f"{self.experiments} experiment" + ("" if self.experiments == 1 else "s")
        if best.n == 0:
            return f"{tried} tried; none beat the baseline's {self.metric.name} {first.score:.6g}"
        wins = len(self.wins)
        better = f"{self.metric.name} went from {first.score:.6g} to {best.score:.6g}"
        if first.score:
            better += f" ({(best.score - first.score) / abs(first.score):+.1%})"
        return f"{better} with {wins} win{'' if wins == 1 else 's'} in {tried}"


def summarize(arena: Arena, ledger: Ledger, tag: str) -> Summary:
    """Read where the campaign stands. Raises LedgerError; ValueError for an unknown tag."""
    record = ledger.campaign(tag)
    if record is None:
        raise ValueError(f"no campaign {tag}")
    counts = dict(ledger.counts(tag))
    baseline = ledger.experiment(tag, 0)
    kept = ledger.experiments(tag, verdict=Verdict.KEEP)
    if baseline is not None and baseline.verdict is not None:
        counts[baseline.verdict] -= 1
    recent = [e for e in ledger.experiments(tag, last=_RECENT) if e.verdict is not None]
    newest = recent[-1].ended if recent and recent[-1].ended else record.started
    alive = driver_of(lock_path(arena, tag)) is not None
    return Summary(
        tag=tag,
        branch=record.branch,
        arena=arena,
        baseline=baseline if baseline is not None and baseline.kept else None,
        incumbent=kept[-1] if kept else None,
        experiments=sum(counts.values()),
        verdicts={verdict: count for verdict, count in counts.items() if count},
        recent=recent,
        wins=[e for e in kept if e.n > 0],
        running=_running(ledger.unfinished(tag)) if alive else None,
        stop_reason=_stop_reason(ledger, tag, alive),
        seconds=(newest - record.started).total_seconds(),
    )


def _running(unfinished: Sequence[Experiment]) -> Running | None:
    if not unfinished:
        return None
    e = unfinished[-1]
    phase = "agent" if e.candidate is None else "measuring"
    return Running(e.n, phase, e.description, e.started)


def _stop_reason(ledger: Ledger, tag: str, alive: bool) -> str | None:
    last = ledger.events(tag, "start", "stop")[-1:]
    if not last:
        return None
    if last[0].kind == "start":
        return None if alive else "its driver died; the same command goes on"
    return str(last[0].data["words"])


def status_document(summary: Summary) -> dict[str, object]:
    """What `overnight status --json` prints. Absent is null."""
    best = summary.incumbent
    running = summary.running
    return {
        "tag": summary.tag,
        "branch": summary.branch,
        "arena": summary.arena.name,
        "metric": summary.metric.name,
        "direction": summary.metric.direction,
        "baseline": summary.baseline.score if summary.baseline else None,
        "incumbent": experiment_document(best) if best else None,
        "experiments": summary.experiments,
        "verdicts": {verdict.value: count for verdict, count in summary.verdicts.items()},
        "running": asdict(running) | {"since": _time(running.since)} if running else None,
        "stop_reason": summary.stop_reason,
        "noise": None,
        "cost": None,
        "gain": summary.gain,
        "self_reported": summary.arena.score is None,
    }


def experiment_document(e: Experiment) -> dict[str, object]:
    """One experiment as `log`, `show` and `try` print it with --json. Absent is null."""
    return {
        "n": e.n,
        "verdict": e.verdict.value if e.verdict else None,
        "score": e.score,
        "gain": e.gain,
        "interval": list(e.interval) if e.interval else None,
        "candidate": e.candidate,
        "parent": e.parent,
        "agent": e.agent,
        "description": e.description,
        "hypothesis": e.hypothesis,
        "started": _time(e.started),
        "seconds": e.seconds,
        "measurements": [_measurement_document(m) for m in e.measurements],
        "reason": e.reason,
        "parameters": dict(e.parameters),
        "dropped": list(e.dropped),
        "cost": e.cost,
    }


def _measurement_document(m: Measurement) -> dict[str, object]:
    return {
        "stage_seconds": dict(m.stage_seconds),
        "seed": m.seed,
        "score": m.score,
        "outcome": m.outcome.value,
        "numbers": dict(m.numbers),
        "reported": dict(m.reported),
        "device": m.device,
        "self_reported": m.self_reported,
        "log": m.log,
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
