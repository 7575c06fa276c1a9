"""Turns rows of the ledger into records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from overnight.core.experiment import (
    Experiment,
    Measurement,
    Outcome,
    Proposal,
    Purpose,
    Verdict,
)
from overnight.core.under_way import State, UnderWay
from overnight.core.usage import Usage
from overnight.record.schema import EXPERIMENTS, MEASUREMENTS, PROPOSALS

PAGE = 500
"""Number of experiments that are read at a time."""
DECIDING = (Purpose.JUDGE,)
EXPERIMENT_FIELDS = {f.name for f in fields(Experiment)} & set(EXPERIMENTS.c.keys())
_PROPOSAL_FIELDS = {f.name for f in fields(Proposal)} & set(PROPOSALS.c.keys())
_MEASUREMENT_FIELDS = [f.name for f in fields(Measurement)]
_UNDER_WAY_FIELDS = [f.name for f in fields(UnderWay)]


def load_experiments(
    connection: sa.Connection,
    query: sa.Select[Any],
    purposes: Sequence[Purpose] = DECIDING,
) -> list[Experiment]:
    """The experiments that the query selects, with their measurements for these purposes, their
    newest check and their proposals; takes two more queries for every PAGE of them."""
    rows = connection.execute(query).mappings().all()
    found = []
    for start in range(0, len(rows), PAGE):
        page = rows[start : start + PAGE]
        taken = _measurements(connection, page, {*purposes, Purpose.CHECK})
        proposals = _proposals(connection, page)
        for row in page:
            every = taken[row["n"]]
            checks = [m for m in every if m.purpose is Purpose.CHECK]
            others = tuple(m for m in every if m.purpose is not Purpose.CHECK)
            check = checks[-1] if checks else None
            found.append(load_experiment(row, others, check, proposals.get(row["n"])))
    return found


def _measurements(
    connection: sa.Connection, page: Sequence[sa.RowMapping], purposes: Iterable[Purpose]
) -> defaultdict[int, list[Measurement]]:
    table = MEASUREMENTS.c
    query = sa.select(MEASUREMENTS).where(
        table.arena == page[0]["arena"],
        table.tag == page[0]["tag"],
        # Plain numbers: with a sub-query, the planner may read the whole campaign.
        table.n.in_([row["n"] for row in page]),
        table.state == State.DONE,
        table.purpose.in_(purposes),
    )
    taken: defaultdict[int, list[Measurement]] = defaultdict(list)
    for row in connection.execute(query.order_by(table.id)).mappings():
        taken[row["n"]].append(load_measurement(row))
    return taken


def _proposals(
    connection: sa.Connection, page: Sequence[sa.RowMapping]
) -> dict[int | None, Proposal]:
    table = PROPOSALS.c
    query = sa.select(PROPOSALS).where(
        table.arena == page[0]["arena"],
        table.tag == page[0]["tag"],
        table.n.in_([row["n"] for row in page]),
    )
    return {row["n"]: load_proposal(row) for row in connection.execute(query).mappings()}


def load_experiment(
    row: sa.RowMapping,
    taken: tuple[Measurement, ...] = (),
    check: Measurement | None = None,
    proposal: Proposal | None = None,
) -> Experiment:
    low, high = row["interval_low"], row["interval_high"]
    values = {name: row[name] for name in EXPERIMENT_FIELDS} | {
        "verdict": Verdict(row["verdict"]) if row["verdict"] else None,
        "interval": None if low is None or high is None else (low, high),
        "dropped": tuple(row["dropped"]),
        "measurements": taken,
        "checked": check,
        "proposal": proposal,
    }
    return Experiment(**values)


def load_proposal(row: sa.RowMapping) -> Proposal:
    usage = Usage(**{f.name: row[f.name] for f in fields(Usage)})
    return Proposal(**{name: row[name] for name in _PROPOSAL_FIELDS}, usage=usage)


def load_under_way(row: sa.RowMapping) -> UnderWay:
    values = {name: row[name] for name in _UNDER_WAY_FIELDS}
    return UnderWay(**values | {"purpose": Purpose(row["purpose"]), "state": State(row["state"])})


def load_measurement(row: sa.RowMapping) -> Measurement:
    values = {name: row[name] for name in _MEASUREMENT_FIELDS}
    values["outcome"] = Outcome(row["outcome"])
    values["purpose"] = Purpose(row["purpose"])
    values["curve"] = tuple((float(at), float(value)) for at, value in row["curve"])
    for name in ("numbers", "reported", "stage_seconds"):
        values[name] = {key: float(number) for key, number in row[name].items()}
    return Measurement(**values)
