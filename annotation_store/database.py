"""Opening the database and saying in words what went wrong with it: the only module that knows SQLite.

SQLite runs in WAL mode (readers never wait), with foreign keys enforced and with every commit on the disk before it
is acknowledged (`synchronous = FULL`). Writers say BEGIN IMMEDIATE, so that they queue at the start of a transaction,
where waiting is possible, and not in its middle, where SQLite can only refuse.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from annotation_store.columns import escape_text, unescape_text
from core.errors import StoreError

BUSY_SECONDS = 30.0
"""How long one waits for another's write to end."""

CACHE_KIB = 32 * 1024
"""Pages that a connection may keep in memory; SQLite's own 2 MiB make inserts into large indexes slow."""

WAL_PAGES = 4_000
"""Pages in the write-ahead log before they are moved into the file; SQLite's own 1,000 make every chunk of an import
wait for a move."""

_WRITES, _LEASES = "guardroom_writes", "guardroom_leases"

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


def database_file(url: URL) -> Path | None:
    """The file of a SQLite database; none for another database, and for one that is named with options of its own."""
    name = str(url.database)
    return Path(name) if url.get_backend_name() == "sqlite" and not name.startswith("file:") else None


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


def leasing(engine: Engine) -> Engine:
    """The same for transactions whose loss in a power failure harms nobody: those of claims alone.

    They are ordered, whole and visible to all as every other; and no process's end loses them. But they do not wait
    for the disk (`synchronous = NORMAL`): the next decision takes them to the disk with itself. A claim that was lost
    with the power is refused as one that is over, so nothing is decided twice.
    """
    return engine.execution_options(**{_WRITES: True, _LEASES: True})


def _prepare_sqlite(engine: Engine, foreign_keys: bool) -> None:
    """Take transactions into our own hands, create the file readable by its owner alone, and switch to WAL."""

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        # None keeps the driver from opening transactions by itself; "begin" below does it.
        connection.isolation_level = None
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        # A deleted text must not stay readable in free pages of the file.
        connection.execute("PRAGMA secure_delete = ON")
        if not foreign_keys:
            # A migration that rebuilds a table renames the new one while views still name the old one.
            connection.execute("PRAGMA legacy_alter_table = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        raw: Any = connection.connection.dbapi_connection
        if options.get(_WRITES, False):
            # Set each time, because connections are shared: none may keep what a lease left behind.
            raw.execute(f"PRAGMA synchronous = {'NORMAL' if options.get(_LEASES, False) else 'FULL'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(_WRITES, False) else "BEGIN")

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


# -- full-text search (FTS5) ------------------------------------------------------------------------------------------
# The index stores no text of its own: it reads the view `search_texts`. An entry must therefore be taken out before the
# texts behind it change, and put in afterwards; `annotation_store.rows.words` is where that order is kept.

MARK_START, MARK_END = "\x02", "\x03"
"""Around the found words of an excerpt."""

MERGED_PAGES = 500
"""Pages of the index that are rewritten in one transaction: about 2 MB."""

_COLUMNS = "request, response, reasoning, notes"


def create_search(connection: Connection) -> None:
    """Make the search index (revision 0002). Other databases than SQLite have none so far."""
    if connection.dialect.name != "sqlite":
        return
    connection.exec_driver_sql(
        "CREATE VIEW search_texts AS SELECT s.key AS key, s.request AS request, coalesce(s.response, '') AS response, "
        "coalesce(w.reasoning, '') AS reasoning, coalesce(w.notes, '') AS notes "
        "FROM samples s LEFT JOIN sample_words w ON w.sample_key = s.key"
    )
    connection.exec_driver_sql(
        f"CREATE VIRTUAL TABLE search USING fts5({_COLUMNS}, content='search_texts', content_rowid='key', "
        "tokenize='unicode61 remove_diacritics 2')"
    )


def is_search_table(name: str) -> bool:
    """Whether a table belongs to the search index and not to the models."""
    return name == "search" or name.startswith("search_")


def index_everything(connection: Connection) -> None:
    """Build the search index anew from the stored texts."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("INSERT INTO search (search) VALUES ('rebuild')")


def index_samples(connection: Connection, first: int, last: int) -> None:
    """Put the samples whose keys are `first` to `last` into the search index, where they must not be yet."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(
            f"INSERT INTO search (rowid, {_COLUMNS}) "
            f"SELECT key, {_COLUMNS} FROM search_texts WHERE key BETWEEN ? AND ?",
            (first, last),
        )


def unindex_sample(connection: Connection, key: int) -> None:
    """Take a sample out of the search index. Its texts must still be those that were put in."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(
            f"INSERT INTO search (search, rowid, {_COLUMNS}) SELECT 'delete', key, {_COLUMNS} FROM search_texts "
            "WHERE key = ?",
            (key,),
        )


def match_expression(words: str) -> str:
    """What a person typed as an FTS5 expression: all words, and all phrases in double quotes, must occur.

    Every piece becomes a quoted string, so nothing that is typed is read as an operator, a column or a syntax error.
    Empty when there is nothing to look for.
    """
    pieces = []
    for number, part in enumerate(words.split('"')):
        # Odd parts stood between double quotes.
        pieces += [part] if number % 2 else part.split()
    quoted = [f'"{escape_text(piece)}"' for piece in pieces if any(each.isalnum() for each in piece)]
    return " ".join(quoted)


def matching_keys(connection: Connection, expression: str, limit: int, before: int | None = None) -> list[int]:
    """Keys of samples with these words, newest first: at most `limit` (-1: all), with keys under `before`."""
    _needs_search(connection)
    under = "" if before is None else "AND rowid < ? "
    bounds = () if before is None else (before,)
    found = connection.exec_driver_sql(
        f"SELECT rowid FROM search WHERE search MATCH ? {under}ORDER BY rowid DESC LIMIT ?",
        (expression, *bounds, limit),
    )
    return [int(row[0]) for row in found]


def all_matching(connection: Connection, expression: str) -> list[int]:
    """Keys of all samples with these words, newest first."""
    return matching_keys(connection, expression, -1)


def matching_among(connection: Connection, expression: str, keys: Sequence[int]) -> set[int]:
    """Those of the given samples (a few hundred at most) that have these words."""
    _needs_search(connection)
    marks = ", ".join("?" * len(keys))
    found = connection.exec_driver_sql(
        f"SELECT rowid FROM search WHERE search MATCH ? AND rowid IN ({marks})", (expression, *keys)
    )
    return {int(row[0]) for row in found}


def excerpt(connection: Connection, expression: str, key: int, tokens: int = 24) -> str:
    """The place in a sample where the words occur, each between `MARK_START` and `MARK_END`."""
    _needs_search(connection)
    found = connection.exec_driver_sql(
        "SELECT snippet(search, -1, ?, ?, '…', ?) FROM search WHERE search MATCH ? AND rowid = ?",
        (MARK_START, MARK_END, tokens, expression, key),
    ).scalar()
    return "" if found is None else unescape_text(found)


def _needs_search(connection: Connection) -> None:
    if connection.dialect.name != "sqlite":
        raise StoreError("Searching for words needs a SQLite database; leave the words empty.")


def forget_deleted(engine: Engine, writes: Callable[[str], AbstractContextManager[Connection]]) -> None:
    """Make sure that what was deleted is in no file any more: not in the search index, not in the write-ahead log.

    A deletion only marks an index entry. Merging all segments drops it, which rewrites the index: in steps, so that
    others write in between.

    Args:
        writes: opens a transaction that writes.
    """
    if engine.dialect.name != "sqlite":
        return
    # A negative number of pages begins to merge all segments that there are now, a positive one goes on with it.
    pages = -MERGED_PAGES
    while True:
        with writes("Clearing what was deleted") as connection:
            raw: Any = connection.connection.dbapi_connection
            before = raw.total_changes
            connection.exec_driver_sql("INSERT INTO search (search, rank) VALUES ('merge', ?)", (pages,))
            if raw.total_changes - before < 2:  # FTS5's way to say that nothing is left to merge
                break
        pages = MERGED_PAGES
    with explained("Clearing what was deleted"):
        raw_connection = engine.raw_connection()
        try:
            raw_connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            raw_connection.close()


def is_sound(connection: Connection) -> bool:
    """Whether the database file and its search index are whole."""
    if connection.dialect.name != "sqlite":
        return True
    connection.exec_driver_sql("INSERT INTO search (search, rank) VALUES ('integrity-check', 1)")
    return connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


def query_plan(connection: Connection, statement: str, parameters: Any) -> list[str]:
    """How the database would answer a statement, one step a line."""
    if connection.dialect.name != "sqlite":
        return []
    return [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
