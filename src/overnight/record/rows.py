"""Rows of the ledger as records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields

import sqlalchemy as sa

from overnight.core.experiment import Experiment, Measurement, Outcome, Purpose, Verdict
from overnight.record.schema import EXPERIMENTS, MEASUREMENTS

PAGE = 500
"""Experiments that are fetched at a time, by whoever wants them all."""
_EXPERIMENT_FIELDS = {f.name for f in fields(Experiment)} & set(EXPERIMENTS.c.keys())
_MEASUREMENT_FIELDS = {f.name for f in fields(Measurement)} & set(MEASUREMENTS.c.keys())


def load_experiments(
    connection: sa.Connection,
    query: sa.Select[tuple[object, ...]],
    purposes: Sequence[Purpose] = (Purpose.JUDGE,),
) -> list[Experiment]:
    """The experiments that the query selects, with what was taken for these purposes: a query for
    every PAGE."""
    rows = connection.execute(query).mappings().all()
    table = MEASUREMENTS.c
    finished = sa.select(MEASUREMENTS).where(table.outcome.is_not(None)).order_by(table.id)
    finished = finished.where(table.purpose.in_(purposes))
    taken: defaultdict[int, list[Measurement]] = defaultdict(list)
    for start in range(0, len(rows), PAGE):
        page = rows[start : start + PAGE]
        same = (table.arena == page[0]["arena"], table.tag == page[0]["tag"])
        # The numbers themselves: given the query instead, a planner may read the whole campaign.
        chosen = table.n.in_([row["n"] for row in page])
        for row in connection.execute(finished.where(*same, chosen)).mappings():
            taken[row["n"]].append(load_measurement(row))
    return [_experiment(row, tuple(taken[row["n"]])) for row in rows]


def _experiment(row: sa.RowMapping, taken: tuple[Measurement, ...]) -> Experiment:
    low, high = row["interval_low"], row["interval_high"]
    values = {name: row[name] for name in _EXPERIMENT_FIELDS} | {
        "verdict": Verdict(row["verdict"]) if row["verdict"] else None,
        "interval": None if low is None or high is None else (low, high),
        "dropped": tuple(row["dropped"]),
        "measurements": taken,
    }
    return Experiment(**values)


def load_measurement(row: sa.RowMapping) -> Measurement:
    values = {name: row[name] for name in _MEASUREMENT_FIELDS}
    values["outcome"] = Outcome(row["outcome"])
    values["purpose"] = Purpose(row["purpose"])
    values["curve"] = tuple((float(at), float(value)) for at, value in row["curve"])
    for name in ("numbers", "reported", "stage_seconds"):
        values[name] = {key: float(number) for key, number in row[name].items()}
    return Measurement(**values)
