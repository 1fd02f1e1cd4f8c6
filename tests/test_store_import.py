"""Laws of the import: everything once, labels by their source, people before sources, counters and search kept up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from annotation_store.database import is_sound
from annotation_store.incoming.bulk import import_rows
from annotation_store.incoming.values import ImportCounts, ImportRow, Refused
from annotation_store.reading.searching import search
from annotation_store.reading.trails import trail
from annotation_store.review.claims import claim_next
from annotation_store.review.decisions import submit
from annotation_store.review.progress import left
from annotation_store.rows.many import is_range, ranges
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import ReasonKind
from annotation_store.values.review import Evidence, EvidencePart, LabelDraft, Left, Reasoning
from core.errors import StoreError
from core.types import Label, Sample
from tests.review import HARMFUL, UNHARMFUL, add, bring, open_store, reason
from tests.verdicts import image

IMPORTED = reason(ReasonKind.IMPORTED, 0.5, "")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnnotationStore]:
    with open_store(tmp_path / "guardroom.db") as opened:
        yield opened


def rows(count: int, **values: object) -> list[ImportRow]:
    return [ImportRow(number, Sample(f"request {number}"), **values) for number in range(1, count + 1)]  # type: ignore[arg-type]


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_a_file_gives_the_same_store_in_chunks_of_any_size(store: AnnotationStore, chunk: int) -> None:
    draft = LabelDraft(
        Label.HARMFUL,
        categories=("other",),
        note="noted",
        reasoning=Reasoning(("The request is harmful.",), target="1. The request is harmful."),
        evidence=(Evidence(EvidencePart.REQUEST, 0, 7, "request", 1),),
    )
    picture = Sample("look", "it is a cat", media=(image(), image("b" * 64)))
    file: list[ImportRow | Refused] = [
        *rows(5, label=draft, external_id="x", extra='{"licence":"MIT"}'),
        ImportRow(6, picture, reasons=(IMPORTED, reason(ReasonKind.BAND))),
        Refused(7, "It has no request."),
        ImportRow(8, Sample("request 1"), label=draft, reasons=(IMPORTED,)),
        ImportRow(9, picture, reasons=(IMPORTED,)),
    ]
    counts = import_rows(store, file, source="set", file_name="f.jsonl", form="jsonl", imported_by="ann", chunk=chunk)
    assert counts == ImportCounts(counts.batch_id, 8, 6, 5, 2, 1)
    assert store.counts().samples == 6
    assert store.sample(picture.id) == picture
    (label,) = trail(store, Sample("request 1").id).labels
    assert (label.draft, label.source, label.reviewer, label.settled) == (draft, "set", None, True)
    (brought,) = trail(store, Sample("request 2").id).imports
    assert (brought.batch_id, brought.row, brought.external_id) == (counts.batch_id, 2, "x")
    assert left(store) == Left(2, {"imported": 2, "band": 1}, {"image": 1, "text": 1}, {"guard-1": 1})
    for words, hits in (("request", 5), ("cat", 1), ("noted", 5), ("harmful", 5)):
        assert len(search(store, words).found) == hits, words
    with store.writing("Checking") as connection:
        assert is_sound(connection)
        state = connection.exec_driver_sql("SELECT state, rows, refused FROM import_batches").one()
    assert tuple(state) == ("done", 8, 1)


TABLES = {
    "queue_items": "sample_key, state, stage",
    "queue_reasons": "sample_key, kind, checkpoint_id, modality, open, turn, weakness, words",
    "queue_counts": "kind, modality, checkpoint_id, open_items",
    "settled_labels": "sample_key, label_key",
    "labels": "key, sample_key, source, request_label",
}


def stored(folder: Path, file: list[ImportRow]) -> dict[str, list[tuple[object, ...]]]:
    """What an import leaves behind, without names and times that are drawn anew each time."""
    with open_store(folder / "guardroom.db") as store:
        bring(store, file)
        with store.reading("Looking") as connection:
            return {
                table: [tuple(row) for row in connection.exec_driver_sql(f"SELECT {names} FROM {table} ORDER BY 1, 2")]
                for table, names in TABLES.items()
            }


def test_rows_that_are_alike_are_stored_as_those_that_are_not(tmp_path: Path) -> None:
    """What shares its reasons is written by one statement, and any other row for itself: that must show nowhere."""
    why = (IMPORTED, reason(ReasonKind.BAND, 1.5))
    alike = rows(6, reasons=why, label=LabelDraft(Label.HARMFUL))
    each = [replace(row, reasons=tuple(replace(one) for one in why)) for row in alike]
    first = stored(tmp_path / "alike", alike)
    assert first == stored(tmp_path / "each", each)
    assert len(first["queue_items"]) == len(first["settled_labels"]) == 6
    assert len(first["queue_reasons"]) == 12


def test_rows_without_reasons_between_others_stay_out_of_the_queue(tmp_path: Path) -> None:
    file = [replace(row, reasons=() if row.row == 3 else (IMPORTED,)) for row in rows(5)]
    same = (IMPORTED,)
    shared = [replace(row, reasons=same if row.reasons else ()) for row in file]
    found = stored(tmp_path / "shared", shared)
    assert [row[0] for row in found["queue_items"]] == [row[0] for row in found["queue_reasons"]] == [1, 2, 4, 5]
    assert found == stored(tmp_path / "each", file)


def test_what_is_alike_but_for_its_media_keeps_its_own_modality(tmp_path: Path) -> None:
    same = (IMPORTED,)
    file = [replace(rows(1)[0], reasons=same), ImportRow(2, Sample("look", media=(image(),)), reasons=same)]
    found = stored(tmp_path, file)
    assert [row[3] for row in found["queue_reasons"]] == ["text", "image"]


@pytest.mark.parametrize(
    ("keys", "found"),
    [([], []), ([7], [(7, 7)]), ([1, 2, 3], [(1, 3)]), ([1, 2, 3, 7, 9, 10], [(1, 3), (7, 7), (9, 10)])],
)
def test_keys_are_put_together_where_they_follow_one_another(keys: list[int], found: list[tuple[int, int]]) -> None:
    assert list(ranges(keys)) == found
    assert is_range(keys) == (len(found) == 1)


def test_importing_the_same_again_changes_nothing(store: AnnotationStore) -> None:
    file = rows(5, label=HARMFUL, reasons=(IMPORTED,))
    bring(store, file)
    before = left(store)
    again = bring(store, file)
    assert (again.rows, again.new_samples, again.new_labels, again.queued) == (5, 0, 0, 0)
    assert left(store) == before
    assert len(trail(store, file[0].sample.id).imports) == 2


def test_a_source_that_changed_its_mind_supersedes_itself_alone(store: AnnotationStore) -> None:
    sample = Sample("request 1")
    bring(store, rows(1, label=HARMFUL))
    bring(store, rows(1, label=UNHARMFUL))
    bring(store, rows(1, label=HARMFUL), source="other set")
    first, second, other = trail(store, sample.id).labels
    assert (first.superseded_by, second.superseded_by, other.supersedes) == (second.id, None, None)
    assert [each.settled for each in (first, second, other)] == [False, False, True]


def test_a_persons_label_counts_before_an_imported_one(store: AnnotationStore) -> None:
    sample = Sample("request 1")
    add(store, sample, reason())
    claim = claim_next(store, "ann")
    assert claim is not None
    submit(store, claim.token, UNHARMFUL)
    bring(store, rows(1, label=HARMFUL))
    person, imported = trail(store, sample.id).labels
    assert (person.settled, imported.settled) == (True, False)
    assert imported.supersedes is None


def test_an_import_can_be_stopped_and_run_again(store: AnnotationStore) -> None:
    seen: list[int] = []

    def stopped() -> bool:
        return len(seen) >= 2

    def progress(counts: ImportCounts) -> None:
        seen.append(counts.rows)

    counts = bring(store, rows(10), chunk=2, progress=progress, stopped=stopped)
    assert (seen, counts.rows) == ([2, 4], 4)
    again = bring(store, rows(10), chunk=2)
    assert (again.rows, again.new_samples) == (10, 6)
    with store.reading("Reading") as connection:
        states = connection.exec_driver_sql("SELECT state FROM import_batches ORDER BY key").scalars().all()
    assert states == ["stopped", "done"]


def test_a_file_that_breaks_in_the_middle_leaves_whole_chunks_and_says_so(store: AnnotationStore) -> None:
    def broken() -> Iterator[ImportRow]:
        yield from rows(5)
        raise OSError("the stick was pulled out")

    with pytest.raises(OSError, match="stick"):
        import_rows(store, broken(), source="set", file_name="f", form="jsonl", imported_by="ann", chunk=2)
    assert store.counts().samples == 4
    with store.reading("Reading") as connection:
        assert connection.exec_driver_sql("SELECT state, rows FROM import_batches").one() == ("stopped", 4)


def test_a_source_must_be_named(store: AnnotationStore) -> None:
    with pytest.raises(StoreError, match="names no source"):
        bring(store, rows(1), source=" ")


def test_writers_go_on_during_an_import(tmp_path: Path) -> None:
    store = open_store(tmp_path / "guardroom.db")
    failures: list[BaseException] = []
    done = threading.Event()

    def write(name: int) -> None:
        number = 0
        try:
            while not done.is_set():
                add(store, Sample(f"{name} {number}"), reason())
                number += 1
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(name,)) for name in range(16)]
    for writer in writers:
        writer.start()
    bring(store, rows(2_000, label=HARMFUL, reasons=(IMPORTED,)), chunk=250)
    done.set()
    for writer in writers:
        writer.join()
    assert failures == []
    assert left(store).by_kind["imported"] == 2_000
    assert left(store).total == store.counts().samples
    store.close()
