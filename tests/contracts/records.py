"""Records for the ledger's tests: a campaign, an experiment, a measurement, and all of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from overnight.core.experiment import (
    CampaignRecord,
    Closing,
    Experiment,
    Measurement,
    Outcome,
    Purpose,
    Verdict,
)
from overnight.core.under_way import UnderWay
from overnight.core.usage import UNKNOWN, Usage
from overnight.record.ledger import Ledger

COMMIT = "c0ffee" + "0" * 34


def campaign(tag: str = "jul1", arena: str = "toy") -> CampaignRecord:
    return CampaignRecord(tag, arena, f"overnight/{tag}", COMMIT, datetime.now(UTC))


def experiment(n: int, agent: str = "tuner") -> Experiment:
    """With a candidate, and nothing else yet."""
    return Experiment(n, agent, datetime.now(UTC), candidate=COMMIT, description=f"title {n}")


def proposed(
    ledger: Ledger, n: int, agent: str = "tuner", usage: Usage = UNKNOWN, thought: float = 2.0
) -> Experiment:
    """An experiment that came of a proposal, as the campaign records it."""
    asked = ledger.open_proposal("jul1", agent, 0, 0)
    ended = replace(asked, usage=usage, thought=thought, outcome="candidate", n=n)
    return ledger.add_experiment("jul1", replace(experiment(n, agent), proposal=ended))


def planned(
    n: int, seed: int = 0, purpose: Purpose = Purpose.JUDGE, at: int = 0, pair: int | None = None
) -> UnderWay:
    """A measurement that is about to begin."""
    return UnderWay(0, n, COMMIT, purpose, seed, at, pair, datetime.now(UTC))


def measurement(score: float | None = 1.5, seed: int = 0) -> Measurement:
    outcome = Outcome.CRASHED if score is None else Outcome.FINISHED
    return Measurement(COMMIT, seed, datetime.now(UTC), outcome, score)


def measured(ledger: Ledger, n: int, score: float | None = 1.5, seed: int = 0) -> Measurement:
    """A measurement that decides, from its begin to its end."""
    begun, taken = ledger.open_measurement("jul1", planned(n, seed)), measurement(score, seed)
    ledger.close_measurement(begun.id, taken)
    return taken


def conclude(ledger: Ledger, n: int, verdict: Verdict, score: float | None = 1.5) -> Experiment:
    """A whole experiment."""
    ledger.add_experiment("jul1", experiment(n))
    measured(ledger, n, score)
    (closed,) = ledger.conclude("jul1", {n: Closing(verdict, f"reason {n}", score)}, at=n)
    return closed
