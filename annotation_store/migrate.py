"""Bringing a database to the newest schema when it is opened. alembic is loaded only when there is something to do."""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import URL, Engine, column, inspect, select, table

from annotation_store.database import dangling_references, explained, open_engine, reason, writing
from core.errors import StoreError

HEAD = "0002"
"""The newest revision in `migrations/versions`."""

MIGRATIONS = Path(__file__).resolve().parent / "migrations"

_ONE_AT_A_TIME = threading.Lock()
"""alembic keeps the running migration in module globals."""


def migrate(url: URL, migrations: Path = MIGRATIONS, head: str = HEAD) -> None:
    """Apply the missing migrations, each in a transaction of its own together with its record.

    Any number of processes may do this at once: each step waits for the database's write lock, looks again at what
    is missing, and applies one migration.

    Raises:
        StoreError: the database is of a newer version or cannot be written, or a migration failed. The failed
            migration left nothing behind.
    """
    engine = open_engine(url, foreign_keys=False)
    try:
        with explained("Reading the database's version"):
            current = _revision(engine)
        if current != head:
            with _ONE_AT_A_TIME:
                while _step(writing(engine), migrations):
                    pass
    finally:
        engine.dispose()


def _revision(engine: Engine) -> str | None:
    """The revision that the database is at, none for a new one."""
    with engine.begin() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(select(column("version_num")).select_from(table("alembic_version"))).scalar()


def _step(engine: Engine, migrations: Path) -> bool:
    """Apply one migration; False when there was none left."""
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(migrations))
    order = [script.revision for script in scripts.walk_revisions()][::-1]
    with explained("Bringing the database up to date"), engine.begin() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current not in order:
            raise StoreError(
                f"The database {engine.url.render_as_string()} was written by a newer Guardroom (revision "
                f"{current!r}, while this one knows up to {order[-1]!r}); update Guardroom or name another data folder."
            )
        done = 0 if current is None else order.index(current) + 1
        if done == len(order):
            return False
        config = Config()
        # The option's value goes through string interpolation, where a percent sign must be doubled.
        config.set_main_option("script_location", str(migrations).replace("%", "%%"))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, order[done])
        except Exception as error:
            raise StoreError(
                f"Migration {order[done]} failed and was undone, so the database is as it was: {reason(error)}."
            ) from error
        if lost := dangling_references(connection):
            raise StoreError(f"Migration {order[done]} left {lost} rows pointing at nothing and was undone.")
    return True
