"""Laws of the store's schema: every step whole or not at all, newer databases refused, models and history agree."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL
from sqlalchemy.schema import CreateTable

from annotation_store.database import database_url
from annotation_store.migrate import HEAD, MIGRATIONS, migrate
from annotation_store.models import Base
from annotation_store.store import AnnotationStore
from annotation_store.values import Counts
from core.errors import StoreError
from core.types import Sample
from tests.verdicts import image, verdict_on

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database at the newest revision, with something in it."""
    where = tmp_path / "guardroom.db"
    sample = Sample("look", media=(image(),))
    with AnnotationStore.open(where) as store:
        store.record(sample, verdict_on(sample))
        store.report("v-1", "wrong", "ann")
    return where


Extend = Callable[[str], Path]


@pytest.fixture
def extend(tmp_path: Path) -> Extend:
    """Give a copy of the history with one more revision, `next`, whose upgrade runs the given lines."""

    def extended(lines: str) -> Path:
        folder = tmp_path / "migrations 100%"
        shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        body = "".join(f"    {line}\n" for line in lines.splitlines())
        (folder / "versions" / "next.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n"
            f"revision = 'next'\ndown_revision = {HEAD!r}\n\ndef upgrade():\n{body}"
        )
        return folder

    return extended


def everything(path: Path) -> list[str]:
    """Schema and rows of a database as SQL."""
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_the_newest_revision_is_the_one_the_code_expects() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [HEAD]


def test_migrations_make_exactly_the_tables_of_the_models(path: Path) -> None:
    with AnnotationStore.open(path) as store, store._reading("Comparing") as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_next_migration_keeps_what_is_there(path: Path, extend: Extend) -> None:
    migrate(
        database_url(path), extend("op.create_table('labels', sa.Column('key', sa.Integer, primary_key=True))"), "next"
    )
    dump = "\n".join(everything(path))
    assert "CREATE TABLE labels" in dump
    assert "('next')" in dump
    assert "wrong" in dump


def test_rebuilding_a_table_deletes_nothing_that_refers_to_it(path: Path, extend: Extend) -> None:
    lines = (
        "with op.batch_alter_table('samples', recreate='always') as batch:\n"
        "    batch.add_column(sa.Column('split', sa.Text))"
    )
    migrate(database_url(path), extend(lines), "next")
    connection = sqlite3.connect(path)
    rows = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in Base.metadata.tables]
    connection.close()
    assert rows == [1] * len(Base.metadata.tables)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("op.add_column('samples', sa.Column('split', sa.Text))\nop.execute('SELECT no_such_thing')", "no_such_thing"),
        ("op.execute('DELETE FROM reports')\nraise RuntimeError('power cut')", "power cut"),
        ("op.execute('DELETE FROM samples')", "pointing at nothing"),
    ],
)
def test_a_failed_migration_leaves_the_old_state(path: Path, extend: Extend, lines: str, words: str) -> None:
    before = everything(path)
    with pytest.raises(StoreError, match=rf"Migration next .*undone.*{words}|Migration next .*{words}.*undone"):
        migrate(database_url(path), extend(lines), "next")
    assert everything(path) == before
    with AnnotationStore.open(path) as store:
        assert store.counts() == Counts(samples=1, media=1, verdicts=1, reports=1)


def test_a_database_of_a_newer_version_is_refused_and_left_alone(path: Path, extend: Extend) -> None:
    migrate(database_url(path), extend("op.execute('DELETE FROM reports')"), "next")
    before = everything(path)
    with pytest.raises(StoreError, match=rf"newer Guardroom \(revision 'next', while this one knows up to '{HEAD}'\)"):
        AnnotationStore.open(path)
    assert everything(path) == before


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE samples (name TEXT)")
    connection.close()
    before = everything(path)
    with pytest.raises(StoreError, match="table samples already exists"):
        AnnotationStore.open(path)
    assert everything(path) == before


def test_the_tables_can_be_made_by_postgresql() -> None:
    dialect = URL.create("postgresql").get_dialect()()
    for table in Base.metadata.sorted_tables:
        assert f"CREATE TABLE {table.name}" in str(CreateTable(table).compile(dialect=dialect))


def test_only_one_module_knows_sqlite() -> None:
    knowing = {
        source.name
        for source in (ROOT / "annotation_store").rglob("*.py")
        if any(word in source.read_text(encoding="utf-8") for word in ("sqlite3", "PRAGMA", "BEGIN", '"sqlite"'))
    }
    assert knowing == {"database.py"}


def test_what_is_heavy_is_loaded_when_it_is_needed(path: Path) -> None:
    code = (
        "import sys, annotation_store, annotation_store.values\n"
        "assert not any(name.startswith(('sqlalchemy', 'alembic')) for name in sys.modules)\n"
        "from annotation_store.store import AnnotationStore\n"
        "AnnotationStore.open(sys.argv[1]).close()\n"
        "assert not any(name.startswith('alembic') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(path)], cwd=ROOT, check=True, timeout=60)
