"""The ledger's tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

import sqlalchemy as sa

VERSION = 1
"""Version of the tables below; a ledger of another version is refused."""


def _storable(value: object) -> object:
    """A value from an agent or a run as both back ends can store it: PostgreSQL has no NUL in
    text, UTF-8 no half of a surrogate pair, JSON neither NaN nor infinity."""
    match value:
        case str():
            text = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
            return text.encode(errors="replace").decode()
        case float() if not math.isfinite(value):
            return str(value)
        case Mapping():
            return {_storable(key): _storable(inner) for key, inner in value.items()}
        case tuple() | list():
            return [_storable(inner) for inner in value]
    return value


class _Text(sa.TypeDecorator[str]):
    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else str(_storable(value))


class _Json(sa.TypeDecorator[object]):
    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: object, dialect: sa.Dialect) -> object:
        return _storable(value)


class _Utc(sa.TypeDecorator[datetime]):
    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value and value.astimezone(UTC)
        return value.replace(tzinfo=UTC)  # SQLite keeps no zone


METADATA = sa.MetaData()


def _campaign() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["arena", "tag"], ["campaigns.arena", "campaigns.tag"])


def _experiment() -> sa.ForeignKeyConstraint:
    key = ["arena", "tag", "n"]
    return sa.ForeignKeyConstraint(key, [f"experiments.{name}" for name in key], ondelete="CASCADE")


SCHEMA = sa.Table("ledger_version", METADATA, sa.Column("version", sa.Integer, nullable=False))
CAMPAIGNS = sa.Table(
    "campaigns",
    METADATA,
    sa.Column("arena", _Text, primary_key=True),
    sa.Column("tag", _Text, primary_key=True),
    sa.Column("branch", _Text, nullable=False),
    sa.Column("base", _Text, nullable=False),
    sa.Column("started", _Utc, nullable=False),
)
PROPOSALS = sa.Table(
    "proposals",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("arena", _Text, nullable=False),
    sa.Column("tag", _Text, nullable=False),
    sa.Column("agent", _Text, nullable=False),
    sa.Column("start", sa.Integer, nullable=False),
    sa.Column("against", sa.Integer, nullable=False),
    sa.Column("started", _Utc, nullable=False),
    sa.Column("ended", _Utc),  # NULL while the agent thinks
    sa.Column("outcome", _Text, nullable=False, default=""),
    sa.Column("n", sa.Integer),
    sa.Column("tokens_in", sa.BigInteger),
    sa.Column("tokens_cached", sa.BigInteger),
    sa.Column("tokens_out", sa.BigInteger),
    sa.Column("dollars", sa.Double),
    sa.Column("thought", sa.Double),
    _campaign(),
    _experiment(),
    sa.Index("proposals_by_experiment", "arena", "tag", "n"),
    sqlite_autoincrement=True,
)
EXPERIMENTS = sa.Table(
    "experiments",
    METADATA,
    sa.Column("arena", _Text, primary_key=True),
    sa.Column("tag", _Text, primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("agent", _Text, nullable=False),
    sa.Column("started", _Utc, nullable=False),
    sa.Column("start", sa.Integer),
    sa.Column("against", sa.Integer),
    sa.Column("parent", _Text),
    sa.Column("candidate", _Text),
    sa.Column("verdict", _Text),
    sa.Column("reason", _Text, nullable=False, default=""),
    sa.Column("score", sa.Double),
    sa.Column("gain", sa.Double),
    sa.Column("interval_low", sa.Double),
    sa.Column("interval_high", sa.Double),
    sa.Column("simpler", sa.Boolean, nullable=False, default=False),
    sa.Column("within", sa.Integer),
    sa.Column("whole", sa.Double),
    sa.Column("description", _Text, nullable=False, default=""),
    sa.Column("hypothesis", _Text, nullable=False, default=""),
    sa.Column("parameters", _Json, nullable=False, default={}),
    sa.Column("expected", sa.Double),
    sa.Column("program", _Text, nullable=False, default=""),
    sa.Column("simplifies", sa.Boolean, nullable=False, default=False),
    sa.Column("dropped", _Json, nullable=False, default=()),
    sa.Column("ended", _Utc),
    sa.Column("verdict_at", sa.Integer),
    _campaign(),
    sa.Index("experiments_by_verdict", "arena", "tag", "verdict", "n"),
    sa.Index("experiments_by_program", "arena", "tag", "program", "n"),
)
MEASUREMENTS = sa.Table(
    "measurements",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("arena", _Text, nullable=False),
    sa.Column("tag", _Text, nullable=False),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("candidate", _Text, nullable=False),
    sa.Column("purpose", _Text, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Integer, nullable=False),
    sa.Column("pair", sa.Integer),
    sa.Column("state", _Text, nullable=False),  # running, pending or done
    sa.Column("handle", _Text),  # of a pending measurement: by what its outcome is asked for
    sa.Column("due", _Utc),  # of a pending measurement: when its outcome is expected
    sa.Column("started", _Utc, nullable=False),
    sa.Column("outcome", _Text),  # this and the columns below are NULL until it is done
    sa.Column("score", sa.Double),
    sa.Column("numbers", _Json),
    sa.Column("reported", _Json),
    sa.Column("stage_seconds", _Json),
    sa.Column("detail", _Text),
    sa.Column("log", _Text),
    sa.Column("device", _Text),
    sa.Column("self_reported", sa.Boolean),
    sa.Column("sandbox", _Text),
    sa.Column("referee", _Text),
    sa.Column("curve", _Json, nullable=False, default=()),
    _experiment(),
    sa.Index("measurements_by_experiment", "arena", "tag", "n", "id"),
    sa.Index("measurements_by_purpose", "arena", "purpose", "tag", "n", "id"),
    sa.Index("measurements_by_state", "arena", "tag", "state", "id"),
    sqlite_autoincrement=True,
)
ROUNDS = sa.Table(
    "rounds",
    METADATA,
    sa.Column("arena", _Text, primary_key=True),
    sa.Column("tag", _Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tip", sa.Integer, nullable=False),
    sa.Column("incumbent", sa.Integer, nullable=False),
    sa.Column("measured", sa.Integer, nullable=False),
    sa.Column("latest", sa.Integer, nullable=False),
    _campaign(),
)
PAIRS = sa.Table(
    "pairs",
    METADATA,
    sa.Column("arena", _Text, primary_key=True),
    sa.Column("tag", _Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("first", sa.Integer, nullable=False),  # number of the experiment measured first
    sa.Column("second", sa.Integer, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Integer, nullable=False),
    sa.ForeignKeyConstraint(
        ["arena", "tag", "round"], ["rounds.arena", "rounds.tag", "rounds.number"]
    ),
)
EVENTS = sa.Table(
    "events",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("arena", _Text, nullable=False),
    sa.Column("tag", _Text, nullable=False),
    sa.Column("kind", _Text, nullable=False),
    sa.Column("at", _Utc, nullable=False),
    sa.Column("data", _Json, nullable=False),
    _campaign(),
    sa.Index("events_by_kind", "arena", "tag", "kind", "id"),
    sqlite_autoincrement=True,
)
