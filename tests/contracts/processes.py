"""Processes for the ledger's tests, each of which writes into one ledger beside the others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path

import sqlalchemy as sa

from contracts.records import COMMIT, campaign, measurement
from overnight.core.experiment import Closing, Idea, Verdict
from overnight.record.ledger import Ledger

Place = Path | str


def drive(place: str, first: int, many: int) -> None:
    """In a process of its own: experiments one after another; each act is told when it returned."""
    ledger = Ledger.at(place, "toy")
    for n in range(first, first + many):
        ledger.open_experiment("jul1", n, "tuner", COMMIT)
        print(f"opened {n}", flush=True)
        ledger.record_candidate("jul1", n, COMMIT, Idea(f"title {n}"), ())
        print(f"proposed {n}", flush=True)
        row = ledger.open_measurement("jul1", n, COMMIT, 0)
        ledger.close_measurement(row, measurement(float(n)))
        print(f"measured {n}", flush=True)
        ledger.close_experiment("jul1", n, Closing(Verdict.DISCARD, f"reason {n}", float(n)))
        print(f"closed {n}", flush=True)


def tell(place: str, many: int) -> None:
    """In a process of its own: events, as a person in another terminal adds them."""
    ledger = Ledger.at(place, "toy", create=False)
    for number in range(many):
        ledger.add_event("jul1", "steer", words=f"word {number}")
        time.sleep(0.005)


def begin(place: Place, tag: str, barrier: Barrier) -> None:
    """In a process of its own: a campaign in a ledger that may not exist yet."""
    barrier.wait()
    Ledger.at(place, "toy").add_campaign(campaign(tag))


@contextmanager
def process(call: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    """One of the functions above, in a process of its own."""
    arguments = ", ".join(map(repr, words))
    child = subprocess.Popen(
        [sys.executable, "-c", f"from contracts import processes; processes.{call}({arguments})"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def execute(place: Place, *statements: str) -> None:
    """Meddle with the database behind the ledger's back."""
    if isinstance(place, Path):
        place.parent.mkdir(exist_ok=True)
        engine = sa.create_engine(sa.URL.create("sqlite", database=str(place)))
    else:
        engine = sa.create_engine(place.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()
