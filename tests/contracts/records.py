"""Records for the ledger's tests: a campaign, a measurement, a whole experiment."""

from __future__ import annotations

from datetime import UTC, datetime

from overnight.core.experiment import (
    CampaignRecord,
    Closing,
    Experiment,
    Idea,
    Measurement,
    Outcome,
    Verdict,
)
from overnight.record.ledger import Ledger

COMMIT = "c0ffee" + "0" * 34


def campaign(tag: str = "jul1", arena: str = "toy") -> CampaignRecord:
    return CampaignRecord(tag, arena, f"overnight/{tag}", COMMIT, datetime.now(UTC))


def measurement(score: float | None = 1.5, seed: int = 0) -> Measurement:
    outcome = Outcome.CRASHED if score is None else Outcome.FINISHED
    return Measurement(COMMIT, seed, datetime.now(UTC), outcome, score)


def conclude(ledger: Ledger, n: int, verdict: Verdict, score: float | None = 1.5) -> Experiment:
    """A whole experiment, as the campaign records it."""
    ledger.open_experiment("jul1", n, "tuner", COMMIT)
    ledger.record_candidate("jul1", n, COMMIT, Idea(f"title {n}"), ())
    row = ledger.open_measurement("jul1", n, COMMIT, 0)
    ledger.close_measurement(row, measurement(score))
    return ledger.close_experiment("jul1", n, Closing(verdict, f"reason {n}", score))
