"""What is under way in a campaign: measurements without an outcome, rounds, pairs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from overnight.core.experiment import Purpose


class State(StrEnum):
    """How far a measurement is."""

    RUNNING = "running"
    """It holds a slot."""
    PENDING = "pending"
    """It holds none: its outcome comes from outside, later."""
    DONE = "done"


@dataclass(frozen=True)
class UnderWay:
    """A measurement without an outcome yet."""

    id: int
    n: int
    """Number of the experiment."""
    candidate: str
    purpose: Purpose
    seed: int
    at: int
    pair: int | None
    started: datetime
    state: State = State.RUNNING
    handle: str | None = None
    """Of a pending one: by what its outcome is asked for."""
    due: datetime | None = None
    """Of a pending one: when its outcome is expected."""

    @classmethod
    def planned(
        cls, n: int, candidate: str, purpose: Purpose, seed: int, at: int, pair: int | None = None
    ) -> UnderWay:
        """One that is not in the ledger yet: without an id."""
        return cls(0, n, candidate, purpose, seed, at, pair, datetime.now(UTC))


@dataclass(frozen=True)
class Round:
    """A part of a trial: pairs of a tip and an incumbent, without another experiment in between.
    A trial that an experiment interrupts goes on in another round."""

    number: int
    tip: int
    """Number of its experiment, as `incumbent` is."""
    incumbent: int
    measured: int
    """Number of measurements that the campaign had taken to decide before it."""
    latest: int
    """Number of the newest experiment at that time."""


@dataclass(frozen=True)
class Pair:
    """Two measurements side by side, with one seed."""

    number: int
    round: int
    """Number of its round."""
    first: int
    """Number of the experiment that is measured first."""
    second: int
    seed: int
    at: int
