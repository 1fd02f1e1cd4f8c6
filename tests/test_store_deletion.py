"""Laws of deletion and of reading media: nothing of a deleted sample stays, and damaged bytes are never given out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import Connection

from annotation_store import database
from annotation_store.columns import now_text
from annotation_store.deletion import delete_sample, finish_removals, tombstone
from annotation_store.incoming.values import ImportRow
from annotation_store.models import Base, SnapshotMemberRow, SnapshotRow
from annotation_store.reading.media import damaged_media, media_path
from annotation_store.reading.searching import search
from annotation_store.reading.trails import trail
from annotation_store.review.claims import claim_next
from annotation_store.review.decisions import submit
from annotation_store.review.progress import left
from annotation_store.rows.samples import insert_row, keep_sample
from annotation_store.store import AnnotationStore
from annotation_store.values.review import LabelDraft, Left, Reasoning
from core.errors import MediaDamaged, MediaError, StaleClaim, StoreError
from core.media.store import MediaLimits, MediaStore
from core.media.video import VideoReader
from core.types import Assessment, Label, MediaRef, Modality, Sample
from tests.review import HARMFUL, add, bring, open_store, reason
from tests.verdicts import verdict_on

SECRET = "Xyzzyplugh"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnnotationStore]:
    with open_store(tmp_path / "guardroom.db") as opened:
        yield opened


@pytest.fixture
def files(tmp_path: Path) -> MediaStore:
    limits = MediaLimits()
    return MediaStore(tmp_path / "media", limits, VideoReader(limits))


def picture(files: MediaStore, content: bytes) -> MediaRef:
    """A file in the media store. Its bytes are no picture, which nothing here looks at."""
    digest = hashlib.sha256(content).hexdigest()
    place = files.root / digest[:2] / digest
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(content)
    return MediaRef(digest, "image/png", Modality.IMAGE, len(content), 1, 1)


def freeze(store: AnnotationStore, digest: str, *samples: Sample) -> None:
    with store.writing("Freezing") as connection:
        key = insert_row(
            connection, SnapshotRow, digest=digest, name=digest, folder="f", selection="{}", protocol_version="p",
            counts="{}", created_by="ann", created_at="2026-11-21T00:00:00.000000+00:00",
        )  # fmt: skip
        for sample in samples:
            insert_row(connection, SnapshotMemberRow, snapshot_key=key, sample_id=sample.id, split="train")


def test_a_deletion_reaches_every_table_the_search_index_the_files_and_names_the_snapshots(
    store: AnnotationStore, files: MediaStore, tmp_path: Path
) -> None:
    own, shared = picture(files, b"own"), picture(files, b"shared")
    doomed = Sample(f"request {SECRET}", f"response {SECRET}", media=(own, shared))
    kept = Sample("kept", media=(shared,))
    said = Assessment(Label.HARMFUL, Label.HARMFUL, reasoning=(f"reasoning {SECRET}",))
    for number, sample in enumerate((doomed, kept)):
        add(store, sample, reason())
        answer = said if sample.response else Assessment(Label.HARMFUL, Label.ABSENT)
        store.record(sample, verdict_on(sample, f"w-{number}", assessment=answer))
        store.report(f"w-{number}", f"note {SECRET}" if sample is doomed else "note", "visitor")
    claim = claim_next(store, "ann")
    assert claim is not None
    assert claim.item.sample == doomed
    submit(
        store,
        claim.token,
        LabelDraft(Label.HARMFUL, Label.HARMFUL, note=SECRET, reasoning=Reasoning((f"step {SECRET}",))),
    )
    freeze(store, "first", doomed, kept)
    freeze(store, "second", kept)
    stone = delete_sample(store, doomed.id, "owner", "a person asked for it", files)
    assert (stone.media, stone.snapshots) == ((own.digest,), ("first",))
    assert stone == tombstone(store, doomed.id)
    assert tombstone(store, kept.id) is None
    assert search(store, "kept").found
    assert not search(store, SECRET).found
    assert not list(files.root.rglob(own.digest))
    assert list(files.root.rglob(shared.digest))
    # One sample, one of everything, is left; and not a byte of the deleted one in any file of the database.
    assert left(store) == Left(1, {"band": 1, "reported": 1}, {"image": 1}, {"guard-1": 1})
    with store.reading("Counting") as connection:
        for name in ("samples", "media", "sample_media", "labels", "events", "passes", "reports", "queue_items"):
            expected = 0 if name in ("labels", "events", "passes") else 1
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar() == expected, name
        assert connection.exec_driver_sql("SELECT count(*) FROM snapshots WHERE broken_at IS NULL").scalar() == 1
    store.close()
    for file in tmp_path.glob("guardroom.db*"):
        assert SECRET.lower().encode() not in file.read_bytes().lower(), file


@pytest.mark.parametrize("merged", [database.MERGED_PAGES, 1])
def test_not_a_piece_of_a_deleted_word_is_left_in_an_index_of_many_segments(
    store: AnnotationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merged: int
) -> None:
    """The index shortens a word that begins like the one before it, so its pieces are looked for and not the whole."""
    monkeypatch.setattr(database, "MERGED_PAGES", merged)
    secret = "qzvwkjxhgbtrnmpd"
    pieces = [secret[at : at + 6].encode() for at in range(len(secret) - 5)]

    def left_over() -> list[bytes]:
        written = b"".join(file.read_bytes() for file in tmp_path.glob("guardroom.db*"))
        return [piece for piece in pieces if piece in written]

    doomed, neighbour = Sample(f"tell me about {secret}"), Sample(f"what is {secret[:4]}?")
    others = [Sample(f"word{number} {number * 7919} and others {number % 97}") for number in range(3_000)]
    rows = [
        ImportRow(number, each) for number, each in enumerate([*others[:1_500], doomed, neighbour, *others[1_500:]])
    ]
    bring(store, rows, chunk=250)
    assert left_over()
    delete_sample(store, doomed.id, "owner", "unlawful")
    assert left_over() == []
    assert [each.sample_id for each in search(store, secret[:4]).found] == [neighbour.id]
    assert len(search(store, "others", limit=1_000).found) == 1_000
    with store.writing("Checking") as connection:
        assert database.is_sound(connection)


def test_others_write_between_the_steps_in_which_a_deletion_is_cleared(
    store: AnnotationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MERGED_PAGES", 1)
    doomed = Sample("doomed")
    rows = [ImportRow(number, Sample(f"word{number} {number * 7919}")) for number in range(2_000)]
    bring(store, [*rows, ImportRow(5_000, doomed)], chunk=250)
    steps: list[str] = []
    writing = store.writing

    def watched(doing: str, **how: bool) -> AbstractContextManager[Connection]:
        steps.append(doing)
        if doing.startswith("Clearing"):
            with writing("Adding in between") as connection:
                keep_sample(connection, Sample(f"in between {len(steps)}"), now_text())
        return writing(doing, **how)

    monkeypatch.setattr(store, "writing", watched)
    delete_sample(store, doomed.id, "owner", "unlawful")
    assert steps.count("Clearing what was deleted") > 3
    assert store.counts().samples == 2_000 + steps.count("Clearing what was deleted")


def test_what_was_deleted_does_not_come_back(store: AnnotationStore) -> None:
    sample = Sample("doomed")
    add(store, sample, reason())
    delete_sample(store, sample.id, "owner", "unlawful")
    with pytest.raises(StoreError, match="was deleted on"):
        add(store, sample)
    with pytest.raises(StoreError, match="was deleted on"):
        trail(store, sample.id)
    counts = bring(store, [ImportRow(1, sample), ImportRow(2, Sample("other"))])
    assert (counts.new_samples, counts.refused) == (1, 1)
    with store.reading("Reading") as connection:
        (refusal,) = connection.exec_driver_sql("SELECT reason FROM refused_rows").scalars()
    assert "deleted" in refusal


def test_an_item_that_is_deleted_while_it_is_held_cannot_be_handed_in(store: AnnotationStore) -> None:
    sample = Sample("doomed")
    add(store, sample, reason())
    claim = claim_next(store, "ann")
    assert claim is not None
    delete_sample(store, sample.id, "owner", "unlawful")
    with pytest.raises(StaleClaim):
        submit(store, claim.token, HARMFUL)
    assert left(store).total == 0


def test_a_removal_that_was_interrupted_is_finished_later(store: AnnotationStore, files: MediaStore) -> None:
    ref = picture(files, b"own")
    sample = Sample("doomed", media=(ref,))
    add(store, sample)
    delete_sample(store, sample.id, "owner", "unlawful")
    assert files.path(ref.digest).exists()
    assert finish_removals(store, files) == [ref.digest]
    assert not list(files.root.rglob(ref.digest))
    assert finish_removals(store, files) == []


def test_a_file_that_another_sample_brought_back_meanwhile_stays(store: AnnotationStore, files: MediaStore) -> None:
    ref = picture(files, b"own")
    sample = Sample("doomed", media=(ref,))
    add(store, sample)
    delete_sample(store, sample.id, "owner", "unlawful")
    add(store, Sample("innocent", media=(ref,)))
    assert finish_removals(store, files) == []
    assert files.path(ref.digest).exists()


def test_a_deletion_needs_a_name_a_reason_and_a_sample(store: AnnotationStore) -> None:
    add(store, Sample("hello"))
    with pytest.raises(StoreError, match="No reason"):
        delete_sample(store, Sample("hello").id, "owner", " ")
    with pytest.raises(StoreError, match="names no reviewer"):
        delete_sample(store, Sample("hello").id, "", "why")
    with pytest.raises(StoreError, match="no sample 's1-9'"):
        delete_sample(store, "s1-9", "owner", "why")
    assert store.counts().samples == 1


def test_every_table_that_knows_a_sample_forgets_it_with_the_sample() -> None:
    stays_by_id = {"snapshot_members", "tombstones"}
    for table in Base.metadata.tables.values():
        for key in table.foreign_keys:
            if key.column.table.name == "samples":
                assert key.ondelete == "CASCADE", table.name
        if "sample_id" in table.columns:
            assert table.name in stays_by_id
        # A pointer without an index would be a scan of its table for every deletion.
        for column in table.columns:
            if column.foreign_keys:
                firsts = {next(iter(index.columns)).name for index in table.indexes}
                assert column.name in firsts | {next(iter(table.primary_key)).name} or column.unique, (
                    table.name,
                    column,
                )


def test_a_flipped_bit_in_a_medium_is_noticed_and_never_given_out(store: AnnotationStore, files: MediaStore) -> None:
    ref = picture(files, b"some bytes")
    sample = Sample("look", media=(ref,))
    add(store, sample)
    path = media_path(store, files, ref.digest)
    assert path.read_bytes() == b"some bytes"
    path.write_bytes(b"some bytez")
    for _ in range(2):
        with pytest.raises(MediaDamaged, match="has changed on disk, so it is not used"):
            media_path(store, files, ref.digest)
    assert damaged_media(store) == {ref.digest: [sample.id]}
    path.write_bytes(b"some bytes")
    assert media_path(store, files, ref.digest) == path
    assert damaged_media(store) == {}
    with pytest.raises(MediaError, match="belongs to no stored sample"):
        media_path(store, files, "f" * 64)
