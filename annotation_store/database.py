"""Opening the database and saying in words what went wrong with it: the only module that knows SQLite.

SQLite runs in WAL mode (readers never wait), with foreign keys enforced and with every commit on the disk before it
is acknowledged (`synchronous = FULL`). Writers say BEGIN IMMEDIATE, so that they queue at the start of a transaction,
where waiting is possible, and not in its middle, where SQLite can only refuse.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from core.errors import StoreError

BUSY_SECONDS = 30.0
"""How long one waits for another's write to end."""

_WRITES = "guardroom_writes"

_REASONS = {
    "SQLITE_FULL": "the disk or the database is full; make room and try again",
    "SQLITE_READONLY": "the database is read-only; give write permission or name another data folder",
    "SQLITE_BUSY": f"another program kept the database locked for {BUSY_SECONDS:.0f} seconds; try again",
    "SQLITE_LOCKED": "another connection kept a table locked; try again",
    "SQLITE_CANTOPEN": "the file cannot be opened or created; name a folder that exists and can be written",
    "SQLITE_NOTADB": "the file is not a SQLite database; name another one",
    "SQLITE_CORRUPT": "the database file is damaged; restore a copy of it",
    "SQLITE_IOERR": "the disk could not be read or written",
}
"""By the beginning of SQLite's error name."""


def database_url(where: str | Path) -> URL:
    """A SQLAlchemy URL for a URL, or for the path of a SQLite file.

    Raises:
        StoreError: the path or URL cannot be read, or names a SQLite database in memory, which
            threads could not share.
    """
    if "\0" in str(where):
        raise StoreError(f"The database {str(where)!r} cannot be opened: a path holds no NUL character.")
    if isinstance(where, Path) or "://" not in where:
        return URL.create("sqlite", database=str(Path(where).expanduser().absolute()))
    try:
        url = make_url(where)
    except (ArgumentError, ValueError):
        # The text may hold a password, so it is not repeated.
        raise StoreError(
            "The database URL cannot be read; one like sqlite:////folder/guardroom.db is accepted."
        ) from None
    if url.get_backend_name() == "sqlite" and (not url.database or ":memory:" in url.database):
        raise StoreError(
            f"{url.render_as_string()!r} names no file; a path like sqlite:////folder/guardroom.db is accepted."
        )
    return url


def open_engine(url: URL, *, foreign_keys: bool = True) -> Engine:
    """An engine whose plain transactions read; `writing` gives the one that writes.

    Args:
        foreign_keys: False for migrations alone: rebuilding a table drops it, which would delete what refers to it.

    Raises:
        StoreError: the database's driver is not installed, or its file cannot be opened or created.
    """
    sqlite = url.get_backend_name() == "sqlite"
    # Parameters are the texts that people handed in: they belong in no error message and in no log.
    options: dict[str, Any] = {"hide_parameters": True}
    if sqlite:
        # No upper bound: a thread that waits for a connection would fail where one that waits for SQLite does not.
        options |= {"connect_args": {"timeout": BUSY_SECONDS}, "pool_size": 8, "max_overflow": -1}
    try:
        engine = create_engine(url, **options)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise StoreError(f"The database {url.render_as_string()!r} cannot be used: {error}.") from None
    if sqlite:
        _prepare_sqlite(engine, foreign_keys)
    return engine


def writing(engine: Engine) -> Engine:
    """The same engine and pool, for transactions that write."""
    return engine.execution_options(**{_WRITES: True})


def _prepare_sqlite(engine: Engine, foreign_keys: bool) -> None:
    """Take transactions into our own hands, create the file readable by its owner alone, and switch to WAL."""

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        # None keeps the driver from opening transactions by itself; "begin" below does it.
        connection.isolation_level = None
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    name = str(engine.url.database)
    with explained(f"Opening the database {name}"):
        if not name.startswith("file:"):
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.touch(mode=0o600)
        raw = engine.raw_connection()
        try:
            _use_wal(raw.cursor())
        finally:
            raw.close()


def _use_wal(cursor: Any) -> None:
    """Switch the file to WAL, once for all. SQLite does not wait for others here, so we do."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                cursor.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname.startswith("SQLITE_READONLY"):
                return  # It can still be read.
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def dangling_references(connection: Connection) -> int:
    """How many rows point at a row that is not there. Other databases than SQLite never allow any."""
    if connection.dialect.name != "sqlite":
        return 0
    return len(connection.exec_driver_sql("PRAGMA foreign_key_check").all())


def reason(error: Exception) -> str:
    """Why the database failed, in words, without the statement's parameters."""
    cause: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig
    if isinstance(cause, sqlite3.Error):
        name = getattr(cause, "sqlite_errorname", "")
        for beginning, words in _REASONS.items():
            if name.startswith(beginning):
                return words
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return (str(cause) or type(cause).__name__).splitlines()[0]


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn the failures of a database, its driver or its file into one sentence.

    Raises:
        StoreError: what was being done and why it failed.
    """
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise StoreError(f"{doing} failed: {reason(error)}.") from error
