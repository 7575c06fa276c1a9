"""The database under the ledger: opening it, transactions, and what its errors mean.

The same code serves SQLite and PostgreSQL. SQLite runs in WAL mode with synchronous=FULL: a commit
is on the disk when it returns, and readers and the writer do not wait for each other.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from overnight.core.errors import LedgerError
from overnight.record.schema import METADATA, SCHEMA, VERSION

BUSY_SECONDS = 30
"""How long a write waits for another process that writes to the same SQLite file."""
_CREATION = 0x6F7665726E  # the key of PostgreSQL's lock under which one client makes the tables
_OLDEST_SQLITE = (3, 35)
"""The first that returns the rows of an INSERT or UPDATE."""
_DEVELOPMENT = "overnight_schema"
"""A table of ledgers that were written before release 0.1.0."""
_URLS = "expected sqlite:///PATH or postgresql://USER@HOST/DATABASE"
_NO_CAMPAIGN = "{} holds no campaign yet; start one with `overnight run`"
_DAMAGED = "is damaged: move it away, or restore it from a copy"
_FULL = "has no room left on its disk: free some and run again; no record is lost"
_CONTRADICTION = "refuses a row that contradicts another: is a second driver at work?"
_FAULTS = {
    # SQLite's names
    "SQLITE_NOTADB": "is not an SQLite database: move the file away, or set another `ledger` at "
    "the top of arena.toml",
    "SQLITE_CORRUPT": _DAMAGED,
    "SQLITE_FULL": _FULL,
    "SQLITE_IOERR": "cannot be read or written: its disk fails or is full",
    "SQLITE_CANTOPEN": "cannot be opened: it must be a file in a folder that you may write to",
    "SQLITE_READONLY": "may not be written by you: see the permissions of the file and its folder",
    "SQLITE_BUSY": f"was held by another process for {BUSY_SECONDS} s: end that one and run again",
    "SQLITE_CONSTRAINT": _CONTRADICTION,
    # PostgreSQL's classes of SQLSTATE
    "23": _CONTRADICTION,
    "53100": _FULL,
    "": "failed; run the same command again",
}
_UNREACHABLE = "cannot be reached: check its URL and server, then run again; no record is lost"

_json = partial(json.dumps, ensure_ascii=False)


class Database:
    """An open ledger database. An error inside its transactions becomes a LedgerError."""

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
        except BaseException:  # nobody else will close it
            self.close()
            raise
        self._inode = self._found()

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads; in SQLite it sees one instant."""
        with self._explained(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that is durable when the block ends, and undone when it raises."""
        if self._found() != self._inode and self._inode:
            # SQLite would go on writing into a file that was deleted.
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
        """The file's identity on its disk; None for a server."""
        try:
            status = self._file.stat() if self._file else None
        except OSError:
            return (0, 0)
        return (status.st_dev, status.st_ino) if status else None

    def _check_version(self, create: bool) -> None:
        with self.reading() as connection:
            version = _version(connection)
            if version is None and (found := _tables(connection)):
                raise LedgerError(
                    f"the ledger {self.place} has no version, but tables named {', '.join(found)}: "
                    "it is damaged, or another program's. Restore it from a copy, or move it away "
                    "or set another `ledger` at the top of arena.toml and begin anew"
                )
        if version is None:
            if not create:
                raise LedgerError(_NO_CAMPAIGN.format(self.place))
            version = self._make_tables()
        if version == 0:
            raise LedgerError(
                f"the ledger {self.place} was written before release 0.1.0 and cannot be read; "
                "move it away, then start a new campaign with another --tag: the wins of the old "
                "one are on its branch, its numbers in results.tsv"
            )
        if version != VERSION:
            raise LedgerError(
                f"the ledger {self.place} was written by another overnight: its version is "
                f"{version}, expected {VERSION}; pip install --upgrade overnight"
            )

    def _make_tables(self) -> int:
        with self.writing() as connection:
            if self._file is None:  # in SQLite only one process writes anyway
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATION)))
            version = _version(connection)
            if version is None:
                version = VERSION
                METADATA.create_all(connection, checkfirst=False)
                connection.execute(sa.insert(SCHEMA).values(version=version))
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
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise LedgerError(
            f"this Python has SQLite {sqlite3.sqlite_version}, and a ledger needs "
            f"{'.'.join(map(str, _OLDEST_SQLITE))} or newer: install a newer SQLite, or set "
            '`ledger = "postgresql://…"` at the top of arena.toml'
        )
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
        connection.isolation_level = None  # the listener below begins transactions, not sqlite3
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=FULL")
        if create:
            _keep_write_ahead_log(connection)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A transaction that reads before it writes could fail at the write without any waiting.
        writing = connection.get_execution_options().get("writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _keep_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Wait for processes that do the same: SQLite itself does not wait for this change."""
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
    # In a folder that it may not write to, SQLite reads only a file that is declared immutable.
    alone = not os.access(file.parent, os.W_OK) and not Path(f"{file}-wal").exists()
    return "ro&immutable=1" if alone else "ro"


def _version(connection: sa.Connection) -> int | None:
    tables = sa.inspect(connection)
    if tables.has_table(_DEVELOPMENT):
        return 0
    if not tables.has_table(SCHEMA.name):
        return None
    return connection.scalar(sa.select(SCHEMA.c.version))


def _tables(connection: sa.Connection) -> list[str]:
    """Names of tables that a ledger would have."""
    return sorted(set(sa.inspect(connection).get_table_names()) & set(METADATA.tables))


def _words(error: Exception, cause: BaseException) -> str:
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)
    words = next(_FAULTS[start] for start in _FAULTS if (code or "").startswith(start))
    if "no such column" in str(cause) or code == "42703":
        words = "was written by another overnight: pip install --upgrade overnight"
    if code is None and isinstance(error, OperationalError):
        words = _UNREACHABLE
    return f"{words} ({str(cause).strip().partition(chr(10))[0]})"
