"""Laws of snapshots: they stand alone, say when a byte was changed, and lose what is deleted."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annotation_store.deletion import delete_sample, tombstone
from annotation_store.incoming.values import ImportRow
from annotation_store.reading.selecting import Selection
from annotation_store.snapshots import Split, read, verify
from annotation_store.snapshots.freezing import freeze
from annotation_store.snapshots.listing import snapshots
from annotation_store.snapshots.removal import erase, remove_deleted
from annotation_store.snapshots.values import SnapshotInfo
from annotation_store.store import AnnotationStore
from annotation_store.values.review import Evidence, EvidencePart, LabelDraft, Reasoning
from core.errors import Cancelled, MediaDamaged, SnapshotError, StoreError
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.snapshots.folder import MANIFEST, USED, SnapshotItem, manifest_bytes, rows_name
from core.types import Label, Sample
from tests.review import bring, open_store

WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "kilo", "lima")


@pytest.fixture
def media(tmp_path: Path) -> Iterator[MediaStore]:
    limits = MediaLimits()
    opened = MediaStore(tmp_path / "media", limits, VideoReader(limits))
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnnotationStore]:
    with open_store(tmp_path / "guardroom.db") as opened:
        yield opened


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "snapshots"


def text(number: int) -> str:
    """Texts that are near to no other."""
    order = np.random.default_rng(number).permutation(WORDS)
    return f"{number} " + " ".join(order)


def picture(media: MediaStore, folder: Path, seed: int) -> Any:
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(rough).resize((48, 48)).save(folder / f"{seed}.png")
    return media.accept(folder / f"{seed}.png")


def fill(store: AnnotationStore, media: MediaStore, folder: Path, count: int = 40) -> list[Sample]:
    """Labelled texts, one with all that a label can say, two with pictures, and one that nobody has labelled."""
    shared, own = picture(media, folder, 1), picture(media, folder, 2)
    samples = [Sample(text(number)) for number in range(count)]
    samples += [Sample("", None, (shared,)), Sample("the same again", None, (shared, own))]
    rows = [ImportRow(number, sample, LabelDraft(Label.HARMFUL)) for number, sample in enumerate(samples, 1)]
    whole = Sample("Where is the knife?", "There.\ud800")
    reasoning = Reasoning(("It asks.", "The request is harmful."), ("It asks.", "Fine."), 2, "<think>", "p-1")
    marked = (Evidence(EvidencePart.REQUEST, 13, 18, "knife", 1),)
    label = LabelDraft(Label.HARMFUL, Label.UNHARMFUL, ("other",), 0.5, "a note", reasoning, marked)
    rows += [ImportRow(900, whole, label), ImportRow(901, Sample("nobody has said"))]
    bring(store, rows)
    return [*samples, whole]


def froze(store: AnnotationStore, media: MediaStore, root: Path, **options: Any) -> SnapshotInfo:
    values = {"name": "first", "created_by": "ann", "protocol_version": "omni-v1"} | options
    return freeze(store, media, root, values.pop("selection", Selection()), **values)


def all_rows(folder: Path) -> dict[Split, list[SnapshotItem]]:
    found = read(folder)
    return {split: list(found.rows(split)) for split in USED}


def ids(folder: Path) -> set[str]:
    return {item.sample.id for rows in all_rows(folder).values() for item in rows}


# -- freezing ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_holds_every_labelled_sample_with_all_that_was_said(
    store: AnnotationStore, media: MediaStore, root: Path, tmp_path: Path
) -> None:
    samples = fill(store, media, tmp_path)
    info = froze(store, media, root)
    rows = all_rows(info.folder)
    assert ids(info.folder) == {sample.id for sample in samples}
    assert info.counts == {split.value: len(found) for split, found in rows.items()}
    assert all(found == sorted(found, key=lambda item: item.sample.id) for found in rows.values())
    assert info.left_out == {"not labelled": 1}
    (whole,) = (item for found in rows.values() for item in found if item.sample.response)
    assert whole.sample == samples[-1]
    assert whole.assessment.reasoning == ("It asks.", "The request is harmful.")
    said = whole.origin
    assert (said.source, said.note, said.confidence, said.first_wrong_step) == ("set", "a note", 0.5, 2)
    assert (said.original_reasoning, said.target, said.target_protocol) == (("It asks.", "Fine."), "<think>", "p-1")
    assert said.evidence == (
        {"part": "request", "position": 0, "start": 13.0, "end": 18.0, "words": "knife", "step": 1},
    )
    assert verify(info.folder) == []


def test_a_snapshot_stands_alone_media_included(
    store: AnnotationStore, media: MediaStore, root: Path, tmp_path: Path, film: Path
) -> None:
    fill(store, media, tmp_path)
    clip = media.accept(film)
    marked = LabelDraft(Label.UNHARMFUL, evidence=(Evidence(EvidencePart.MEDIA, 0.5, 2.0, "a cat"),))
    bring(store, [ImportRow(1, Sample("what happens here?", None, (clip,)), marked)])
    info = froze(store, media, root)
    shutil.copytree(info.folder, tmp_path / "elsewhere")
    shutil.rmtree(media.root)
    shutil.rmtree(root)
    assert verify(tmp_path / "elsewhere") == []
    found = read(tmp_path / "elsewhere")
    refs = {ref for split in USED for item in found.rows(split) for ref in item.sample.media}
    assert len(refs) == 3
    assert all(found.media_path(ref).stat().st_size == ref.byte_size for ref in refs)
    (row,) = (item for split in USED for item in found.rows(split) if clip in item.sample.media)
    assert [(each["part"], each["start"], each["end"]) for each in row.origin.evidence] == [("media", 0.5, 2.0)]
    played = found.media_path(clip)
    assert played.read_bytes() == film.read_bytes()
    played.write_bytes(played.read_bytes()[:-1] + b"x")
    assert len(verify(tmp_path / "elsewhere")) == 1


def test_the_same_selection_has_the_same_digest_and_another_has_another(
    store: AnnotationStore, media: MediaStore, root: Path, tmp_path: Path
) -> None:
    fill(store, media, tmp_path)
    first, second = froze(store, media, root), froze(store, media, root, name="second", created_by="bob")
    assert first == second
    assert [each.digest for each in snapshots(store, root)] == [first.digest]
    assert froze(store, media, root, protocol_version="omni-v2").digest != first.digest
    assert froze(store, media, root, selection=Selection(words="knife")).digest != first.digest
    bring(store, [ImportRow(1, Sample("one more"), LabelDraft(Label.HARMFUL))])
    assert froze(store, media, root).digest != first.digest
    assert len(snapshots(store, root)) == 4


def test_a_damaged_folder_is_replaced_when_the_same_is_frozen_again(
    store: AnnotationStore, media: MediaStore, root: Path, tmp_path: Path
) -> None:
    fill(store, media, tmp_path)
    info = froze(store, media, root)
    (info.folder / rows_name(Split.TRAIN)).write_text("nonsense")
    assert froze(store, media, root) == info
    assert verify(info.folder) == []


def test_a_sample_keeps_its_split_in_every_later_snapshot(
    store: AnnotationStore, media: MediaStore, root: Path, tmp_path: Path
) -> None:
    def by_sample(folder: Path) -> dict[str, Split]:
        return {item.sample.id: split for split, rows in all_rows(folder).items() for item in rows}

    fill(store, media, tmp_path)
    before = by_sample(froze(store, media, root).folder)
    more = [ImportRow(number, Sample(text(number) + " again"), LabelDraft(Label.HARMFUL)) for number in range(40)]
    more += [ImportRow(100 + number, Sample(text(number)), LabelDraft(Label.HARMFUL)) for number in range(100, 140)]
    bring(store, more)
    after = by_sample(froze(store, media, root).folder)
    assert before.items() <= after.items()
    for number in range(40):
        assert after[Sample(text(number) + " again").id] is before[Sample(text(number)).id]
    assert set(after.values()) == set(USED)


def test_a_freezing_that_fails_leaves_nothing_behind(
    store: AnnotationStore, media: MediaStore, root: Path, tmp_path: Path
) -> None:
    samples = fill(store, media, tmp_path)
    with pytest.raises(StoreError, match="nothing to freeze"):
        froze(store, media, root, selection=Selection(source="nobody"))
    with pytest.raises(StoreError, match="0 characters"):
        froze(store, media, root, name=" ")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        froze(store, media, root, stop=stop)
    path = media.path(samples[40].media[0].digest)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(MediaDamaged):
        froze(store, media, root)
    assert not list(root.iterdir())
    assert snapshots(store, root) == []
    path.write_bytes(whole)
    assert froze(store, media, root).counts


# -- verifying --------------------------------------------------------------------------------------------------------


def test_any_changed_byte_is_found(store: AnnotationStore, media: MediaStore, root: Path, tmp_path: Path) -> None:
    fill(store, media, tmp_path, count=3)
    folder = froze(store, media, root).folder
    rng = np.random.default_rng(5)
    for path in sorted(each for each in folder.rglob("*") if each.is_file() and each.stat().st_size):
        whole = path.read_bytes()
        for at in {0, len(whole) - 1, *rng.integers(0, len(whole), 12).tolist()}:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << int(rng.integers(8)))]) + whole[at + 1 :])
            assert verify(folder), (path.name, at)
        path.write_bytes(whole[:-1])
        assert verify(folder)
        path.write_bytes(whole)
    assert verify(folder) == []


def test_missing_and_added_and_linked_files_are_found(
    store: AnnotationStore, media: MediaStore, root: Path, tmp_path: Path
) -> None:
    fill(store, media, tmp_path, count=3)
    folder = froze(store, media, root).folder
    (folder / "more.txt").write_text("x")
    assert verify(folder) == ["more.txt does not belong to the snapshot."]
    (folder / "more.txt").unlink()
    path = folder / rows_name(Split.TEST)
    shutil.move(path, tmp_path / "moved")
    assert verify(folder) == ["test.jsonl is missing."]
    os.symlink(tmp_path / "moved", path)
    assert verify(folder) == ["test.jsonl is not an ordinary file."]
    (folder / MANIFEST).unlink()
    with pytest.raises(SnapshotError, match="no complete snapshot"):
        read(folder)


def test_rows_that_were_changed_are_refused_by_the_reader(
    store: AnnotationStore, media: MediaStore, root: Path, tmp_path: Path
) -> None:
    fill(store, media, tmp_path)
    folder = froze(store, media, root).folder
    path = folder / rows_name(Split.TRAIN)
    path.write_bytes(path.read_bytes().replace(b'"harmful"', b'"unharmful"', 1))
    with pytest.raises(SnapshotError, match="not what was frozen"):
        list(read(folder).rows(Split.TRAIN))


# -- deletion ---------------------------------------------------------------------------------------------------------


def test_a_deleted_sample_leaves_every_snapshot_with_its_media(
    store: AnnotationStore, media: MediaStore, root: Path, tmp_path: Path
) -> None:
    samples = fill(store, media, tmp_path)
    first = froze(store, media, root)
    second = froze(store, media, root, selection=Selection(words="same again"))
    gone = samples[41]
    shared, own = (ref.digest for ref in gone.media)
    delete_sample(store, gone.id, "ann", "a person asked for it", files=None)
    assert sorted(remove_deleted(store, root)) == sorted([first.digest, second.digest])
    for info in (first, second):
        assert verify(info.folder) == []
        manifest = read(info.folder).manifest
        assert (manifest.original_digest, manifest.digest != info.digest) == (info.digest, True)
        assert [(each.sample_id, each.digest_before) for each in manifest.removed] == [(gone.id, info.digest)]
        everything = b"".join(path.read_bytes() for path in info.folder.rglob("*.jsonl"))
        assert b"the same again" not in everything
        assert not list(info.folder.rglob(own))
    assert ids(first.folder) == {sample.id for sample in samples} - {gone.id}
    assert list(first.folder.rglob(shared))
    assert not list(second.folder.rglob(shared))
    assert remove_deleted(store, root) == []
    (known,) = (each for each in snapshots(store, root) if each.digest == first.digest)
    assert known.changed_at
    assert sum(known.counts.values()) == len(samples) - 1
    stone = tombstone(store, gone.id)
    assert stone is not None
    assert set(stone.snapshots) == {first.digest, second.digest}


@pytest.mark.parametrize("cut_at", range(1, 9))
def test_a_removal_that_was_cut_off_is_finished_by_the_next(
    store: AnnotationStore,
    media: MediaStore,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cut_at: int,
) -> None:
    samples = fill(store, media, tmp_path, count=4)
    info = froze(store, media, root)
    before = {path: path.read_bytes() for path in info.folder.rglob("*") if path.is_file()}
    delete_sample(store, samples[-2].id, "ann", "a person asked for it", files=None)
    calls = 0
    real = os.replace

    def cut(source: Any, target: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == cut_at:
            raise OSError(28, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", cut)
        cut_off = True
        try:
            remove_deleted(store, root)
            cut_off = False
        except StoreError:
            assert info.folder.exists()
    assert cut_off is (cut_at <= 5)
    if cut_at == 1:
        assert all(path.read_bytes() == data for path, data in before.items())
    remove_deleted(store, root)
    assert verify(info.folder) == []
    assert samples[-2].id not in ids(info.folder)
    assert len(read(info.folder).manifest.removed) == 1


def test_a_removal_does_not_hide_that_a_file_was_damaged(
    store: AnnotationStore, media: MediaStore, root: Path, tmp_path: Path
) -> None:
    samples = fill(store, media, tmp_path)
    folder = froze(store, media, root).folder
    path = folder / rows_name(Split.TRAIN)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0].replace(b"set", b"sat"), *lines[1:]]))
    kept = {item.sample.id for item in list(all_rows_unchecked(folder))}
    erase(folder, [samples[41].id], "2026-11-21T00:00:00+00:00")
    assert "train.jsonl has changed." in verify(folder)
    assert samples[41].id not in {item.sample.id for item in all_rows_unchecked(folder)}
    assert {item.sample.id for item in all_rows_unchecked(folder)} == kept - {samples[41].id}


def all_rows_unchecked(folder: Path) -> Iterator[SnapshotItem]:
    found = read(folder)
    for split in USED:
        rows = found.rows(split)
        while True:
            try:
                yield next(rows)
            except StopIteration:
                break
            except SnapshotError:
                break


def test_a_folder_that_cannot_be_told_any_more_goes_as_a_whole(
    store: AnnotationStore, media: MediaStore, root: Path, tmp_path: Path
) -> None:
    samples = fill(store, media, tmp_path, count=3)
    info = froze(store, media, root)
    (info.folder / MANIFEST).write_text("{}")
    delete_sample(store, samples[0].id, "ann", "a person asked for it", files=None)
    remove_deleted(store, root)
    assert not info.folder.exists()
    assert remove_deleted(store, root) == []


def test_the_manifest_is_written_in_one_way_only(
    store: AnnotationStore, media: MediaStore, root: Path, tmp_path: Path
) -> None:
    fill(store, media, tmp_path, count=3)
    folder = froze(store, media, root, name='a "name" \ud800 \N{GRINNING FACE}').folder
    assert manifest_bytes(read(folder).manifest) == (folder / MANIFEST).read_bytes()
