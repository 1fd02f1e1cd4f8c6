"""Laws of the annotation store: what is recorded comes back, once, whole, from however many writers."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from annotation_store import database
from annotation_store.columns import canonical_time, escape_text, unescape_text
from annotation_store.store import MAX_NOTE_CHARS, AnnotationStore
from annotation_store.values.reports import Counts
from core.errors import StoreError
from core.types import Sample, Verdict
from core.verdict_json import verdict_from_document, verdict_to_document
from tests import verdicts as some
from tests.verdicts import image, verdict_on

HELLO = Sample("hello")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "guardroom.db"


@pytest.fixture
def store(path: Path) -> Iterator[AnnotationStore]:
    with AnnotationStore.open(path) as opened:
        yield opened


# -- what goes in comes out -------------------------------------------------------------------------------------------


@given(some.verdicts)
@settings(max_examples=100, deadline=None, database=None)
def test_a_verdict_document_gives_back_the_same_verdict(verdict: Verdict) -> None:
    back = verdict_from_document(verdict_to_document(verdict))
    assert back == verdict
    assert back.to_json() == verdict.to_json()
    assert all(type(getattr(back, name)) is type(getattr(verdict, name)) for name in Verdict.__slots__)


@given(some.samples, some.verdicts)
@settings(max_examples=50, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sample_and_verdict_come_back_exactly(store: AnnotationStore, sample: Sample, verdict: Verdict) -> None:
    # Examples share the store, where ids are taken once; media stay as first described, so digests must be fresh too.
    mark = str(time.time_ns())
    media = tuple(replace(ref, digest=mark + ref.digest) for ref in sample.media)
    sample = replace(sample, request=sample.request + mark, media=media)
    verdict = replace(verdict, id=verdict.id + mark, sample_id=sample.id)
    store.record(sample, verdict)
    assert store.sample(sample.id) == sample
    assert store.verdict(verdict.id) == verdict


@given(some.texts)
@settings(max_examples=200, deadline=None, database=None)
def test_escaped_texts_suit_every_database_and_come_back(text: str) -> None:
    stored = escape_text(text)
    assert unescape_text(stored) == text
    assert "\0" not in stored
    stored.encode("utf-8")


def test_ordinary_text_is_stored_as_typed(store: AnnotationStore, path: Path) -> None:
    sample = Sample("naïve 👩‍👩‍👧 \\u0000 %s 'x'\r\n\ttab")
    store.record(sample, verdict_on(sample))
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT request FROM samples").fetchall() == [(sample.request,)]
    raw.close()


def test_two_lone_surrogates_do_not_become_an_emoji(store: AnnotationStore) -> None:
    sample = Sample("\ud83d\ude00")
    verdict = verdict_on(sample, warnings=("\ud83d\ude00",))
    store.record(sample, verdict)
    assert len(store.sample(sample.id).request) == 2
    assert store.verdict("v-1").warnings == ("\ud83d\ude00",)


def test_a_verdict_without_readable_answer_keeps_its_error(store: AnnotationStore) -> None:
    verdict = verdict_on(HELLO, assessment=None, error="The model wrote no result block.", generation=None)
    store.record(HELLO, verdict)
    assert store.verdict("v-1") == verdict


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"form": "verdict-v9"},
        {"form": "verdict-v1"},
        {**verdict_to_document(verdict_on(HELLO)), "decision": "perhaps"},
    ],
)
def test_a_document_that_is_no_verdict_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="stored verdict"):
        verdict_from_document(document)


def test_times_sort_as_texts() -> None:
    times = ["2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00.5+01:00", "2026-01-01T00:00:01Z"]
    assert [canonical_time(time) for time in times] == sorted(map(canonical_time, times))
    assert len({len(canonical_time(time)) for time in times}) == 1


# -- once -------------------------------------------------------------------------------------------------------------


def test_recording_twice_changes_nothing(store: AnnotationStore) -> None:
    for _ in range(3):
        store.record(HELLO, verdict_on(HELLO))
    assert store.counts() == Counts(samples=1, media=0, verdicts=1, reports=0)


def test_a_recorded_verdict_is_never_changed(store: AnnotationStore) -> None:
    store.record(HELLO, verdict_on(HELLO))
    with pytest.raises(StoreError, match="'v-1' belongs to another verdict"):
        store.record(HELLO, verdict_on(HELLO, engine="another"))
    assert store.verdict("v-1") == verdict_on(HELLO)


def test_the_same_content_is_one_sample_and_one_medium(store: AnnotationStore) -> None:
    clip, picture = image("b" * 64), image("c" * 64)
    first = Sample("look", media=(clip, picture, clip))
    second = Sample("look again", media=(picture,))
    composed, decomposed = Sample("caf\u00e9"), Sample("cafe\u0301")
    for number, sample in enumerate((first, first, second, composed, decomposed)):
        store.record(sample, verdict_on(sample, f"v-{number}"))
    assert store.counts() == Counts(samples=3, media=2, verdicts=5, reports=0)
    assert store.sample(first.id) == first
    assert store.sample(second.id) == second


def test_the_first_description_of_a_medium_stays(store: AnnotationStore) -> None:
    for number, width in enumerate((32, 33)):
        sample = Sample(f"picture {number}", media=(image(width=width),))
        store.record(sample, verdict_on(sample, f"v-{number}"))
    assert store.sample(sample.id).media == (image(width=32),)


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sample_id": "s1-other"}, "is about 's1-other'"),
        ({"created_at": "yesterday"}, "'yesterday' cannot be stored"),
        ({"created_at": "2026-11-21T06:37:14"}, "no offset from UTC"),
        ({"thresholds": None, "windows": (float("nan"),)}, "cannot be written as JSON"),
    ],
)
def test_a_refused_verdict_writes_nothing(store: AnnotationStore, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(StoreError, match=words):
        store.record(HELLO, verdict_on(HELLO, **changes))
    assert store.counts() == Counts(0, 0, 0, 0)


def test_unknown_ids_are_named(store: AnnotationStore) -> None:
    with pytest.raises(StoreError, match="no verdict 'v-9'"):
        store.verdict("v-9")
    with pytest.raises(StoreError, match="no sample 's1-9'"):
        store.sample("s1-9")
    with pytest.raises(StoreError, match="no verdict 'v-9'"):
        store.report("v-9", "", "ann")


def test_a_full_disk_loses_nothing_and_writing_goes_on_when_there_is_room(store: AnnotationStore) -> None:
    store.record(HELLO, verdict_on(HELLO))
    big = Sample("secret " * 100_000, media=(image(),))

    def allow(pages: int) -> None:
        with store._engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    allow(1)
    with pytest.raises(StoreError, match=r"Recording the verdict failed: the disk or the database is full") as failure:
        store.record(big, verdict_on(big, "v-2"))
    assert "secret" not in f"{failure.value} {failure.value.__cause__}"
    assert store.counts() == Counts(samples=1, media=0, verdicts=1, reports=0)
    allow(1_000_000)
    store.record(big, verdict_on(big, "v-2"))
    assert store.sample(big.id) == big


def test_a_read_only_database_can_be_read_and_says_why_it_cannot_be_written(path: Path) -> None:
    with AnnotationStore.open(path) as store:
        store.record(HELLO, verdict_on(HELLO))
    with AnnotationStore.open(f"sqlite:///file:{path}?mode=ro&uri=true") as store:
        assert store.verdict("v-1") == verdict_on(HELLO)
        with pytest.raises(StoreError, match="the database is read-only"):
            store.report("v-1", "wrong", "ann")


def test_a_database_locked_for_long_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    with AnnotationStore.open(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another program kept the database locked"):
            store.record(HELLO, verdict_on(HELLO))
        assert store.counts().verdicts == 0
        other.execute("ROLLBACK")
        other.close()
        store.record(HELLO, verdict_on(HELLO))


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("nonsense://x", "cannot be used"),
        ("://", "URL cannot be read"),
        ("a\0b", "no NUL character"),
        ("{tmp}", "cannot be opened or created"),
        ("{tmp}/notes.txt", "not a SQLite database"),
        ("{tmp}/notes.txt/guardroom.db", "failed: (Not a directory|File exists)"),
    ],
)
def test_a_place_that_cannot_hold_a_store_is_named(tmp_path: Path, where: str, words: str) -> None:
    (tmp_path / "notes.txt").write_text("no database, but quite long enough to be looked at " * 20)
    with pytest.raises(StoreError, match=words):
        AnnotationStore.open(where.replace("{tmp}", str(tmp_path)))


def test_a_database_password_is_never_shown() -> None:
    with pytest.raises(StoreError) as failure:
        AnnotationStore.open("nonsense://ann:swordfish@localhost/guardroom")
    assert "swordfish" not in str(failure.value)


def test_the_file_is_for_its_owner_alone(store: AnnotationStore, path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0


# -- reports ----------------------------------------------------------------------------------------------------------


def test_pressing_twice_is_one_report_and_a_new_note_is_another(store: AnnotationStore) -> None:
    store.record(HELLO, verdict_on(HELLO))
    first = store.report("v-1", "", "ann")
    assert store.report("v-1", "  ", "ann") == first
    noted = store.report("v-1", "it is a greeting \ud800", "ann")
    assert store.report("v-1", " it is a greeting \ud800\n", "ann") == noted
    assert store.report("v-1", "", "ann") == noted
    other = store.report("v-1", "it is a greeting \ud800", "bob")
    assert store.reports() == [other, noted, first]
    assert (noted.note, noted.reporter, noted.verdict_id, noted.sample_id) == (
        "it is a greeting \ud800",
        "ann",
        "v-1",
        HELLO.id,
    )


def test_reports_come_in_pages_newest_first(store: AnnotationStore) -> None:
    store.record(HELLO, verdict_on(HELLO))
    given_in_order = [store.report("v-1", f"note {number}", "ann") for number in range(5)]
    assert store.reports(limit=2, offset=1) == given_in_order[::-1][1:3]
    assert store.reports(limit=1000, offset=5) == []
    for limit, offset in ((0, 0), (1001, 0), (1, -1), (1, 2**70)):
        with pytest.raises(StoreError, match="cannot be read; 1 to 1000"):
            store.reports(limit, offset)


@pytest.mark.parametrize(
    ("note", "reporter", "words"), [("x" * (MAX_NOTE_CHARS + 1), "ann", "at most 10,000"), ("", " ", "no reporter")]
)
def test_a_report_that_cannot_be_kept_is_refused(store: AnnotationStore, note: str, reporter: str, words: str) -> None:
    store.record(HELLO, verdict_on(HELLO))
    with pytest.raises(StoreError, match=words):
        store.report("v-1", note, reporter)
    assert store.counts().reports == 0


def test_deleting_a_sample_takes_everything_said_about_it_along(store: AnnotationStore) -> None:
    sample = Sample("look", media=(image(),))
    store.record(sample, verdict_on(sample))
    store.record(HELLO, verdict_on(HELLO, "v-2"))
    store.report("v-1", "", "ann")
    with store._writer.begin() as connection:
        connection.exec_driver_sql("DELETE FROM samples WHERE request = 'look'")
    assert store.counts() == Counts(samples=1, media=1, verdicts=1, reports=0)
