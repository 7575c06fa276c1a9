"""Processes for the ledger's tests, each of which writes into one ledger beside the others."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path

import sqlalchemy as sa

from contracts.records import campaign, measured, proposed
from overnight.core.experiment import Closing, Verdict
from overnight.record.ledger import Ledger

Place = Path | str
FORK = multiprocessing.get_context("fork")
"""Its children need not import everything again."""


def drive(place: Place, report: Connection, many: int) -> None:
    """Experiments, one after another, after what a dead driver left; reports what is recorded."""
    ledger = Ledger.at(place, "toy")
    ledger.drop_running("jul1")
    for proposal in ledger.open_proposals("jul1"):
        ledger.end_proposal("jul1", replace(proposal, outcome="lost"))
    newest = ledger.experiments("jul1", last=1)
    first = newest[0].n + 1 if newest else 0
    left = {e.n: e for e in ledger.unfinished("jul1")}
    for n in [*left, *range(first, first + many)]:
        if n >= first:
            proposed(ledger, n)
            report.send(("proposed", n))
        if n >= first or not left[n].scores:
            measured(ledger, n, float(n))
            report.send(("measured", n))
        ledger.conclude("jul1", {n: Closing(Verdict.DISCARD, f"reason {n}", float(n))}, n)
        report.send(("concluded", n))


def tell(place: Place, report: Connection, many: int) -> None:
    """Events, as the user adds them in another terminal."""
    ledger = Ledger.at(place, "toy", create=False)
    for number in range(many):
        ledger.add_event("jul1", "steer", words=f"word {number}")
    report.send(("told", many))


def begin(place: Place, report: Connection, tag: str) -> None:
    """A campaign in a ledger that may not exist yet."""
    Ledger.at(place, "toy").add_campaign(campaign(tag))
    report.send(("begun", 0))


@contextmanager
def process(
    call: Callable[..., None], *words: object
) -> Iterator[tuple[ForkProcess, Callable[[], list[tuple[str, int]]]]]:
    """One of the functions above in a process of its own, and what it has reported since the last
    look; that waits for one report, if there will be one."""
    mine, theirs = FORK.Pipe(duplex=False)
    place, *more = words
    child = FORK.Process(target=call, args=(place, theirs, *more))
    child.start()
    theirs.close()

    def reports() -> list[tuple[str, int]]:
        found = []
        try:
            while not found or mine.poll():
                found.append(mine.recv())
        except EOFError:
            pass
        return found

    try:
        yield child, reports
    finally:
        child.kill()
        child.join()
        mine.close()


def execute(place: Place, *statements: str) -> None:
    """Change the database behind the ledger's back."""
    engine = _engine(place)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def content(place: Place) -> dict[str, list[tuple[object, ...]]]:
    """Every table of the database, with its rows."""
    engine = _engine(place)
    with engine.connect() as connection:
        names = sorted(sa.inspect(connection).get_table_names())
        found = {
            name: [tuple(row) for row in connection.execute(sa.text(f"SELECT * FROM {name}"))]
            for name in names
        }
    engine.dispose()
    return found


def _engine(place: Place) -> sa.Engine:
    if isinstance(place, Path):
        place.parent.mkdir(exist_ok=True)
        return sa.create_engine(sa.URL.create("sqlite", database=str(place)))
    return sa.create_engine(place.replace("postgresql://", "postgresql+psycopg://"))
