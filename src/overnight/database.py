"""The database under the ledger: its tables, how it is opened, what its faults mean.

One code for SQLite and PostgreSQL. SQLite runs in WAL mode with synchronous=FULL: a commit is on
the disk when it returns, and readers and the writer do not wait for each other.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from overnight.errors import LedgerError

VERSION = 4
"""Version of the tables below; a ledger with a larger one is refused."""
BUSY_SECONDS = 30
"""How long a write waits for another process that is writing to the same SQLite file."""
_UPGRADES = {
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
}
"""By the version that they lead on from."""
_CREATION = 0x6F7665726E  # the key of PostgreSQL's lock under which one client makes the tables
_URLS = "expected sqlite:///PATH or postgresql://USER@HOST/DATABASE"
_NO_CAMPAIGN = "{} holds no campaign yet; start one with `overnight run`"
_FULL = "has no room left on its disk: free some and run again; all before is safe"
_CONTRADICTION = "refuses a row that contradicts another: is a second driver at work?"
_FAULTS = {
    # SQLite's names
    "SQLITE_NOTADB": "is not an SQLite database: move the file away, or name another ledger",
    "SQLITE_CORRUPT": "is damaged: move it away, or restore it from a copy",
    "SQLITE_FULL": _FULL,
    "SQLITE_IOERR": "cannot be read or written: its disk fails or is full",
    "SQLITE_CANTOPEN": "cannot be opened: it must be a file in a folder that you may write to",
    "SQLITE_READONLY": "may not be written by you: see the permissions of the file and its folder",
    "SQLITE_BUSY": f"was held by another process for {BUSY_SECONDS} s: end that one and run again",
    "SQLITE_CONSTRAINT": _CONTRADICTION,
    # PostgreSQL's classes of SQLSTATE
    "23": _CONTRADICTION,
    "53100": _FULL,
    "": "failed",
}
_UNREACHABLE = "cannot be reached: see its URL and its server, then run again; all before is safe"

_json = partial(json.dumps, ensure_ascii=False)


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


_METADATA = sa.MetaData()
_SCHEMA = sa.Table("overnight_schema", _METADATA, sa.Column("version", sa.Integer, nullable=False))
CAMPAIGNS = sa.Table(
    "campaigns",
    _METADATA,
    sa.Column("arena", _Text, primary_key=True),
    sa.Column("tag", _Text, primary_key=True),
    sa.Column("branch", _Text, nullable=False),
    sa.Column("base", _Text, nullable=False),
    sa.Column("started", _Utc, nullable=False),
)
EXPERIMENTS = sa.Table(
    "experiments",
    _METADATA,
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
    sa.Column("cost", sa.Double),
    sa.Column("dropped", _Json, nullable=False, default=()),
    sa.Column("ended", _Utc),
    sa.ForeignKeyConstraint(["arena", "tag"], ["campaigns.arena", "campaigns.tag"]),
    sa.Index("experiments_by_verdict", "arena", "tag", "verdict", "n"),
)
VERDICTS = sa.Table(  # how often each was given: counting 100,000 experiments takes too long
    "verdicts",
    _METADATA,
    sa.Column("arena", _Text, primary_key=True),
    sa.Column("tag", _Text, primary_key=True),
    sa.Column("verdict", _Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.ForeignKeyConstraint(["arena", "tag"], ["campaigns.arena", "campaigns.tag"]),
)
MEASUREMENTS = sa.Table(
    "measurements",
    _METADATA,
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
    _METADATA,
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


class Database:
    """An open ledger database. What goes wrong inside its transactions becomes a LedgerError."""

    def __init__(self, url: str | sa.URL, create: bool) -> None:
        parsed = _parsed(url)
        self._file = Path(parsed.database or "") if parsed.drivername == "sqlite" else None
        self._inode: tuple[int, int] | None = None
        self.place = str(self._file or parsed)
        """The file, or the URL without its password."""
        self._engine = _sqlite(self._file, create) if self._file else _postgresql(parsed)
        self._writer = self._engine.execution_options(writing=True)
        try:
            self._check_version(create)
        except BaseException:
            self.close()
            raise
        self._inode = self._found()

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads, all of it from one instant in SQLite."""
        with self._explained(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that is durable when the block ends, and undone when it raises."""
        if self._found() != self._inode and self._inode:
            # SQLite would go on all night in a file that has lost its name.
            raise LedgerError(
                f"the ledger {self.place} was removed or replaced while it was in use: "
                "put it back, or run again to begin a new one"
            )
        with self._explained(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OverflowError) as error:
            cause = getattr(error, "orig", None) or error
            raise LedgerError(f"the ledger {self.place} {_words(error, cause)}") from error

    def _found(self) -> tuple[int, int] | None:
        """What makes the file this very file; None for a server."""
        try:
            status = self._file.stat() if self._file else None
        except OSError:
            return (0, 0)
        return (status.st_dev, status.st_ino) if status else None

    def _check_version(self, create: bool) -> None:
        with self.reading() as connection:
            version = _version(connection)
        if version is None:
            if not create:
                raise LedgerError(_NO_CAMPAIGN.format(self.place))
            version = self._make_tables()
        while version in _UPGRADES:
            version = self._upgrade()
        if version > VERSION:
            raise LedgerError(
                f"the ledger {self.place} was written by a newer overnight: its schema is "
                f"{version}, this one knows {VERSION}; pip install --upgrade overnight"
            )

    def _make_tables(self) -> int:
        with self.writing() as connection:
            if self._file is None:  # in SQLite only one process writes anyway
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATION)))
            version = _version(connection)
            if version is None:
                version = VERSION
                _METADATA.create_all(connection, checkfirst=False)
                connection.execute(sa.insert(_SCHEMA).values(version=version))
            return version

    def _upgrade(self) -> int:
        with self.writing() as connection:
            # Read within the transaction: another process may have been faster.
            version = _version(connection) or VERSION
            for statement in _UPGRADES.get(version, ()):
                connection.exec_driver_sql(statement)
            if version in _UPGRADES:
                version += 1
                connection.execute(sa.update(_SCHEMA).values(version=version))
            return version


def _parsed(url: str | sa.URL) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except ArgumentError as error:
        raise LedgerError(f"the ledger's URL cannot be read ({error}); {_URLS}") from None
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise LedgerError(f"{parsed} cannot be a ledger; {_URLS}")
    return parsed


def _postgresql(url: sa.URL) -> sa.Engine:
    try:
        return sa.create_engine(
            url,
            json_serializer=_json,
            connect_args={"connect_timeout": 10},
            pool_pre_ping=True,  # the server may have been restarted since the last transaction
        )
    except ImportError as error:
        raise LedgerError(
            f"a ledger in PostgreSQL needs psycopg ({error}): pip install 'overnight[postgres]'"
        ) from error


def _sqlite(file: Path, create: bool) -> sa.Engine:
    if create:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(
                f"the ledger's folder {file.parent} cannot be made ({error.strerror})"
            ) from error
    elif not os.path.exists(file):
        raise LedgerError(_NO_CAMPAIGN.format(file))
    uri = f"{file.absolute().as_uri()}?mode={_mode(file, create)}"
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(file)),
        json_serializer=_json,
        creator=partial(sqlite3.connect, uri, BUSY_SECONDS, uri=True, check_same_thread=False),
    )

    @sa.event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin below, not where sqlite3 thinks
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=FULL")
        if create:
            _keep_write_ahead_log(connection)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # One that reads before it writes could fail at the write, however long it is ready to wait.
        writing = connection.get_execution_options().get("writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _keep_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Wait for processes that do the same: for this change SQLite itself does not wait."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _mode(file: Path, create: bool) -> str:
    if create:
        return "rwc"
    if os.access(file, os.W_OK):
        return "rw"
    # Where it can put no files beside this one, SQLite reads only what is declared unchanging.
    alone = not os.access(file.parent, os.W_OK) and not Path(f"{file}-wal").exists()
    return "ro&immutable=1" if alone else "ro"


def _version(connection: sa.Connection) -> int | None:
    if not sa.inspect(connection).has_table(_SCHEMA.name):
        return None
    return connection.scalar(sa.select(_SCHEMA.c.version))


def _words(error: Exception, cause: BaseException) -> str:
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)
    words = next(_FAULTS[start] for start in _FAULTS if (code or "").startswith(start))
    if code is None and isinstance(error, OperationalError):
        words = _UNREACHABLE
    return f"{words} ({str(cause).strip().partition(chr(10))[0]})"
