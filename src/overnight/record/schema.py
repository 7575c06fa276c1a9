"""The ledger's tables, and how those of an earlier version become them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

import sqlalchemy as sa

VERSION = 6
"""Version of the tables below; a ledger with a larger one is refused."""
UPGRADES = {
    1: (
        "ALTER TABLE measurements ADD COLUMN sandbox TEXT",
        "ALTER TABLE measurements ADD COLUMN referee TEXT",
        "UPDATE measurements SET sandbox = 'none', referee = '' WHERE outcome IS NOT NULL",
    ),
    2: (
        "ALTER TABLE measurements ADD COLUMN purpose TEXT NOT NULL DEFAULT 'judge'",
        "ALTER TABLE measurements ADD COLUMN curve JSON NOT NULL DEFAULT '[]'",
        "ALTER TABLE experiments ADD COLUMN simpler BOOLEAN NOT NULL DEFAULT FALSE",
        "CREATE INDEX measurements_by_purpose ON measurements (arena, purpose, tag, n, id)",
    ),
    3: (
        "ALTER TABLE experiments ADD COLUMN within INTEGER",
        "ALTER TABLE experiments ADD COLUMN whole DOUBLE PRECISION",
    ),
    4: (
        "ALTER TABLE experiments RENAME COLUMN cost TO dollars",
        "ALTER TABLE experiments ADD COLUMN expected DOUBLE PRECISION",
        "ALTER TABLE experiments ADD COLUMN tokens_in BIGINT",
        "ALTER TABLE experiments ADD COLUMN tokens_cached BIGINT",
        "ALTER TABLE experiments ADD COLUMN tokens_out BIGINT",
        "ALTER TABLE experiments ADD COLUMN thought DOUBLE PRECISION",
        "ALTER TABLE experiments ADD COLUMN program TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX experiments_by_program ON experiments (arena, tag, program, n)",
    ),
    5: (
        # Those who ask no model had nothing written down.
        "UPDATE experiments SET dollars = 0, tokens_in = 0, tokens_cached = 0, tokens_out = 0 "
        "WHERE agent IN ('tuner', 'patches') AND dollars IS NULL AND tokens_in IS NULL",
        "CREATE TABLE spent (arena TEXT NOT NULL, tag TEXT NOT NULL, agent TEXT NOT NULL, "
        "proposals INTEGER NOT NULL, priced INTEGER NOT NULL, dollars DOUBLE PRECISION NOT NULL, "
        "counted INTEGER NOT NULL, tokens BIGINT NOT NULL, thought DOUBLE PRECISION NOT NULL, "
        "PRIMARY KEY (arena, tag, agent), "
        "FOREIGN KEY (arena, tag) REFERENCES campaigns (arena, tag))",
        "INSERT INTO spent SELECT arena, tag, agent, count(*), count(dollars), "
        "coalesce(sum(dollars), 0), count(coalesce(tokens_in, tokens_out)), "
        "coalesce(sum(coalesce(tokens_in, 0) + coalesce(tokens_out, 0)), 0), "
        "coalesce(sum(thought), 0) FROM experiments "
        "WHERE n > 0 AND verdict IS NOT NULL GROUP BY arena, tag, agent",
    ),
}
"""By the version that they lead on from."""


def _storable(value: object) -> object:
    """What both back ends can hold of a value that comes from an agent or a run: PostgreSQL knows
    no NUL in text, UTF-8 no half of a surrogate pair, JSON neither NaN nor infinity."""
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
SCHEMA = sa.Table("overnight_schema", METADATA, sa.Column("version", sa.Integer, nullable=False))
CAMPAIGNS = sa.Table(
    "campaigns",
    METADATA,
    sa.Column("arena", _Text, primary_key=True),
    sa.Column("tag", _Text, primary_key=True),
    sa.Column("branch", _Text, nullable=False),
    sa.Column("base", _Text, nullable=False),
    sa.Column("started", _Utc, nullable=False),
)
EXPERIMENTS = sa.Table(
    "experiments",
    METADATA,
    sa.Column("arena", _Text, primary_key=True),
    sa.Column("tag", _Text, primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("agent", _Text, nullable=False),
    sa.Column("started", _Utc, nullable=False),
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
    sa.Column("tokens_in", sa.BigInteger),
    sa.Column("tokens_cached", sa.BigInteger),
    sa.Column("tokens_out", sa.BigInteger),
    sa.Column("dollars", sa.Double),
    sa.Column("thought", sa.Double),
    sa.Column("program", _Text, nullable=False, default=""),
    sa.Column("dropped", _Json, nullable=False, default=()),
    sa.Column("ended", _Utc),
    sa.ForeignKeyConstraint(["arena", "tag"], ["campaigns.arena", "campaigns.tag"]),
    sa.Index("experiments_by_verdict", "arena", "tag", "verdict", "n"),
    sa.Index("experiments_by_program", "arena", "tag", "program", "n"),
)
VERDICTS = sa.Table(  # how often each was given: counting 100,000 experiments takes too long
    "verdicts",
    METADATA,
    sa.Column("arena", _Text, primary_key=True),
    sa.Column("tag", _Text, primary_key=True),
    sa.Column("verdict", _Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.ForeignKeyConstraint(["arena", "tag"], ["campaigns.arena", "campaigns.tag"]),
)
ACCOUNTS = sa.Table(  # what each agent used for finished experiments: see spent.py
    "spent",
    METADATA,
    sa.Column("arena", _Text, primary_key=True),
    sa.Column("tag", _Text, primary_key=True),
    sa.Column("agent", _Text, primary_key=True),
    sa.Column("proposals", sa.Integer, nullable=False),
    sa.Column("priced", sa.Integer, nullable=False),
    sa.Column("dollars", sa.Double, nullable=False),
    sa.Column("counted", sa.Integer, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("thought", sa.Double, nullable=False),
    sa.ForeignKeyConstraint(["arena", "tag"], ["campaigns.arena", "campaigns.tag"]),
)
MEASUREMENTS = sa.Table(
    "measurements",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("arena", _Text, nullable=False),
    sa.Column("tag", _Text, nullable=False),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("candidate", _Text, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("started", _Utc, nullable=False),
    sa.Column("outcome", _Text),  # NULL while under way, and then so is everything below
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
    sa.Column("purpose", _Text, nullable=False, default="judge"),
    sa.Column("curve", _Json, nullable=False, default=()),
    sa.ForeignKeyConstraint(
        ["arena", "tag", "n"],
        ["experiments.arena", "experiments.tag", "experiments.n"],
        ondelete="CASCADE",
    ),
    sa.Index("measurements_by_experiment", "arena", "tag", "n", "id"),
    sa.Index("measurements_by_purpose", "arena", "purpose", "tag", "n", "id"),
    sqlite_autoincrement=True,
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
    sa.ForeignKeyConstraint(["arena", "tag"], ["campaigns.arena", "campaigns.tag"]),
    sa.Index("events_by_kind", "arena", "tag", "kind", "id"),
    sqlite_autoincrement=True,
)
