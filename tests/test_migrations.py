"""Laws of the store's schema: every step whole or not at all, newer databases refused, models and history agree."""

from __future__ import annotations

import json
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

from annotation_store.database import database_url, is_search_table, is_sound
from annotation_store.migrate import HEAD, MIGRATIONS, migrate
from annotation_store.models import Base
from annotation_store.reading.searching import search
from annotation_store.review.progress import left
from annotation_store.store import AnnotationStore
from annotation_store.values.reports import Counts
from annotation_store.values.review import Left
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


def row_counts(path: Path) -> dict[str, int]:
    """Rows by table."""
    connection = sqlite3.connect(path)
    try:
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in Base.metadata.tables}
    finally:
        connection.close()


def test_the_newest_revision_is_the_one_the_code_expects() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [HEAD]


def test_migrations_make_exactly_the_tables_of_the_models(path: Path) -> None:
    with AnnotationStore.open(path) as store, store.reading("Comparing") as connection:

        def include(thing: object, name: str, kind: str, *_: object) -> bool:
            return kind != "table" or not is_search_table(name)

        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": include})
        assert compare_metadata(context, Base.metadata) == []


def rows_of_0001(connection: sqlite3.Connection) -> None:
    """What a store of revision 0001 held, written as that version wrote it."""
    said = {"reasoning": ["The user asks for a recipe.", "The oven is hot."]}
    connection.executescript(
        """
        INSERT INTO samples VALUES (3, 's1-a', 'bake bread', NULL, 'image', '2026-11-20T00:00:00.000000+00:00');
        INSERT INTO samples VALUES (4, 's1-b', 'hello', 'hi there', 'text', '2026-11-20T00:00:00.000000+00:00');
        INSERT INTO media
            VALUES (1, 'aa', 'image/png', 'image', 9, 3, 2, NULL, NULL, '2026-11-20T00:00:00.000000+00:00');
        INSERT INTO sample_media VALUES (3, 0, 1);
        """
    )
    for key, sample in ((1, 3), (2, 3), (3, 4)):
        connection.execute(
            "INSERT INTO verdicts VALUES (?, ?, ?, 'guard-1', 'guardroom-v1', 'allow', 'unharmful', 'absent', 0.1, "
            "NULL, 0.1, NULL, NULL, '2026-11-20T00:00:00.000000+00:00', ?)",
            (key, f"v-{key}", sample, json.dumps({"assessment": said if key == 2 else None})),
        )
    for key, note in enumerate(("", "it is a grumble", "again")):
        connection.execute(
            "INSERT INTO reports VALUES (?, ?, 2, 3, ?, 'visitor', '2026-11-20T00:00:00.000000+00:00')",
            (key, f"r1-{key}", note),
        )


ROWS = {"0001": rows_of_0001}
"""For every earlier revision, what stores of that revision may hold."""


def earlier(tmp_path: Path, revision: str) -> Path:
    """A database at an earlier revision with data in it."""
    folder = tmp_path / f"up to {revision}"
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for script in folder.glob("versions/r*.py"):
        if script.name[1:5] > revision:
            script.unlink()
    path = tmp_path / "earlier.db"
    migrate(database_url(path), folder, revision)
    with sqlite3.connect(path) as connection:
        ROWS[revision](connection)
    connection.close()
    return path


def test_every_earlier_revision_is_tried_with_data() -> None:
    revisions = [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]
    assert set(revisions) == {*ROWS, HEAD}


@pytest.mark.parametrize("revision", ROWS)
def test_an_earlier_revision_loses_nothing(tmp_path: Path, revision: str) -> None:
    path = earlier(tmp_path, revision)
    with sqlite3.connect(path) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        old = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    connection.close()
    AnnotationStore.open(path).close()
    with sqlite3.connect(path) as connection:
        for name, rows in old.items():
            if name != "alembic_version":
                found = connection.execute(f"SELECT * FROM {name}").fetchall()
                assert [row[: len(rows[0])] for row in found] == rows, name
    connection.close()


def test_the_reports_of_revision_0001_are_in_the_queue_and_its_texts_can_be_found(tmp_path: Path) -> None:
    path = earlier(tmp_path, "0001")
    with AnnotationStore.open(path) as store:
        expected = Left(1, {"reported": 1}, {"image": 1}, {"guard-1": 1})
        assert left(store) == expected
        for words, sample in (("bread", "s1-a"), ("there", "s1-b"), ("oven grumble again", "s1-a")):
            assert [each.sample_id for each in search(store, words).found] == [sample], words
        with store.writing("Checking") as connection:
            assert is_sound(connection)


def test_a_next_migration_keeps_what_is_there(path: Path, extend: Extend) -> None:
    migrate(
        database_url(path), extend("op.create_table('later', sa.Column('key', sa.Integer, primary_key=True))"), "next"
    )
    dump = "\n".join(everything(path))
    assert "CREATE TABLE later" in dump
    assert "('next')" in dump
    assert "wrong" in dump


def test_rebuilding_a_table_deletes_nothing_that_refers_to_it(path: Path, extend: Extend) -> None:
    lines = (
        "with op.batch_alter_table('samples', recreate='always') as batch:\n"
        "    batch.add_column(sa.Column('split', sa.Text))"
    )
    before = row_counts(path)
    assert before["samples"] == before["verdicts"] == before["reports"] == before["sample_words"] == 1
    migrate(database_url(path), extend(lines), "next")
    assert row_counts(path) == before


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


SQLITE_WORDS = ("sqlite3", "PRAGMA", "BEGIN", '"sqlite"', "dialects.sqlite", "fts5", " MATCH ", "TRIGGER", "rowid")


def test_only_one_module_knows_sqlite() -> None:
    knowing = {
        source.name
        for source in (ROOT / "annotation_store").rglob("*.py")
        if any(word in source.read_text(encoding="utf-8") for word in SQLITE_WORDS)
    }
    assert knowing == {"database.py"}


def test_what_is_heavy_is_loaded_when_it_is_needed(path: Path) -> None:
    code = (
        "import sys\n"
        "from annotation_store.values import reasons, reports, review\n"
        "from annotation_store.rules import drafts, names, reasons\n"
        "from annotation_store.incoming import values\n"
        "assert not any(name.startswith(('sqlalchemy', 'alembic')) for name in sys.modules)\n"
        "from annotation_store.store import AnnotationStore\n"
        "AnnotationStore.open(sys.argv[1]).close()\n"
        "assert not any(name.startswith('alembic') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(path)], cwd=ROOT, check=True, timeout=60)
