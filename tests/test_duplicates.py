"""Laws of near-duplicates: what is found near, which group it joins, and that a split is for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sqlalchemy import select, update

from annotation_store.columns import now_text
from annotation_store.duplicates import pictures, text
from annotation_store.duplicates.grouping import assign_splits
from annotation_store.duplicates.near import neighbours
from annotation_store.duplicates.passing import mark_duplicates
from annotation_store.duplicates.splits import SHARES, draw_split, joined_split
from annotation_store.incoming.values import ImportRow
from annotation_store.models import GroupMemberRow, GroupRow, SampleRow
from annotation_store.store import AnnotationStore
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.snapshots.folder import Split
from core.types import Sample
from tests.media_files import X264
from tests.review import HARMFUL, UNHARMFUL, bring, open_store

BREAD = "How do I bake a loaf of bread with a crust that stays crisp until the next morning?"
CLOSE = "How do I bake a loaf of bread with a crust that stays crisp until the next evening?"
OTHER = "Which planets of the solar system can be seen without a telescope in November?"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnnotationStore]:
    with open_store(tmp_path / "guardroom.db") as opened:
        yield opened


@pytest.fixture
def media(tmp_path: Path) -> Iterator[MediaStore]:
    limits = MediaLimits()
    opened = MediaStore(tmp_path / "media", limits, VideoReader(limits))
    yield opened
    opened.close()


def add(store: AnnotationStore, *samples: Sample) -> None:
    bring(store, [ImportRow(number, sample, HARMFUL) for number, sample in enumerate(samples, 1)])


def groups(store: AnnotationStore) -> dict[str, int]:
    with store.reading("test") as connection:
        rows = connection.execute(
            select(SampleRow.id, GroupMemberRow.group_key).join(
                GroupMemberRow, GroupMemberRow.sample_key == SampleRow.key
            )
        )
        return {row.id: row.group_key for row in rows}


def splits(store: AnnotationStore) -> dict[str, Split]:
    """Of all samples, given now where they were not."""
    with store.writing("test") as connection:
        keys = {row.key: row.id for row in connection.execute(select(SampleRow.key, SampleRow.id))}
        return {keys[key]: split for key, split in assign_splits(connection, keys, now_text()).items()}


def force(store: AnnotationStore, sample: Sample, split: Split) -> None:
    """Give the group of a sample this split, as if it had been drawn."""
    group = groups(store)[sample.id]
    with store.writing("test") as connection:
        connection.execute(update(GroupRow).where(GroupRow.key == group).values(split=split.value))


# -- texts ------------------------------------------------------------------------------------------------------------


def test_the_estimate_is_close_to_the_true_overlap() -> None:
    words = BREAD.split()
    errors = []
    for at in range(len(words)):
        other = " ".join([*words[:at], "zebra", *words[at + 1 :]])
        one, two = text.signature(BREAD), text.signature(other)
        assert one is not None
        assert two is not None
        errors.append(text.similarity(one, [two])[0] - text.overlap(BREAD, other))
    assert abs(float(np.mean(errors))) < 0.03
    assert max(map(abs, errors)) < 0.15


def test_case_width_spacing_and_punctuation_do_not_make_another_text() -> None:
    assert text.overlap("Hello, world - how ARE you?", "ｈello  world how are\nyou") == 1.0


def test_a_text_of_space_has_no_signature_and_any_other_text_has_one() -> None:
    assert text.signature(" \n\t") is None
    for short in ("a", "!?", "\ud800", "日本"):
        assert text.signature(short) is not None


def test_signatures_never_change() -> None:
    """They are stored: another value here would make every stored one worthless."""
    found = text.signature("The quick brown fox")
    assert found is not None
    assert found[:3].tolist() == [186241521, 1122876150, 41434894]
    assert text.bands(found)[0] == 8312192139028472095


def test_a_stored_signature_comes_back() -> None:
    found = text.signature(BREAD)
    assert found is not None
    back = text.from_bytes(text.to_bytes(found))
    assert back is not None
    assert (back == found).all()
    assert text.from_bytes(text.to_bytes(None)) is None


# -- pictures ---------------------------------------------------------------------------------------------------------


def scene(seed: int, side: int = 96) -> Image.Image:
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((side, side), Image.Resampling.BICUBIC)


def hashed(image: Image.Image) -> int:
    found = pictures.picture_hash(np.asarray(image.convert("RGB")))
    assert found is not None
    return found


def test_scaling_and_compression_keep_a_picture_near_and_another_picture_far(tmp_path: Path) -> None:
    scene(1).resize((60, 60)).save(tmp_path / "small.jpg", quality=40)
    again = Image.open(tmp_path / "small.jpg")
    assert pictures.distance(hashed(scene(1)), hashed(again)) <= pictures.NEAR_BITS
    assert pictures.distance(hashed(scene(1)), hashed(scene(2))) > 2 * pictures.NEAR_BITS


def test_a_picture_of_one_colour_has_no_hash() -> None:
    assert pictures.picture_hash(np.full((40, 40, 3), 255, np.uint8)) is None


@given(st.integers(-(2**63), 2**63 - 1), st.sets(st.integers(0, 63), max_size=pictures.NEAR_BITS))
@settings(max_examples=50, deadline=None, database=None)
def test_near_hashes_share_a_band(one: int, flipped: set[int]) -> None:
    other = one
    for bit in flipped:
        other ^= 1 << bit
    assert pictures.distance(one, other) == len(flipped)
    assert set(pictures.bands(one)) & set(pictures.bands(other))


# -- groups and splits ------------------------------------------------------------------------------------------------


def test_near_texts_are_one_group_and_others_are_not(store: AnnotationStore, media: MediaStore) -> None:
    near = [Sample(BREAD), Sample(CLOSE), Sample(BREAD.upper())]
    add(store, *near, Sample(OTHER))
    done = mark_duplicates(store, media)
    assert (done.done, done.stopped) == (4, False)
    found = groups(store)
    assert len({found[sample.id] for sample in near}) == 1
    assert found[Sample(OTHER).id] != found[near[0].id]


def test_one_request_with_several_responses_is_one_group(store: AnnotationStore, media: MediaStore) -> None:
    one, two = Sample(BREAD, "I cannot help with that."), Sample(BREAD, "Knead it for ten minutes.")
    other = Sample(OTHER, "I cannot help with that.")
    add(store, one, two, other)
    mark_duplicates(store, media)
    found = groups(store)
    assert found[one.id] == found[two.id] != found[other.id]


def test_the_picture_decides_between_samples_with_pictures(
    store: AnnotationStore, media: MediaStore, tmp_path: Path
) -> None:
    for name, image in (("a.png", scene(1)), ("b.png", scene(2)), ("c.png", scene(1).resize((80, 80)))):
        image.save(tmp_path / name)
    first, second, third = (media.accept(tmp_path / name) for name in ("a.png", "b.png", "c.png"))
    same, other, again = Sample(BREAD, None, (first,)), Sample(BREAD, None, (second,)), Sample(OTHER, None, (third,))
    add(store, same, other, again)
    assert mark_duplicates(store, media).unreadable == 0
    found = groups(store)
    assert found[same.id] == found[again.id] != found[other.id]
    (near,) = neighbours(store, same.id)
    assert (near.sample_id, near.same_picture) == (again.id, True)


def clip(path: Path, seeds: tuple[int, ...], side: int, quality: int) -> Path:
    """Two seconds of each scene, ten frames a second."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10, options=X264 | {"crf": str(quality)})
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for seed in np.repeat(seeds, 20):
            frame = av.VideoFrame.from_ndarray(np.asarray(scene(int(seed), side)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_clip_made_smaller_and_coarser_is_the_same_and_another_clip_is_not(
    store: AnnotationStore, media: MediaStore, tmp_path: Path
) -> None:
    first, small, other = (
        media.accept(clip(tmp_path / f"{at}.mp4", seeds, side, quality))
        for at, (seeds, side, quality) in enumerate([((1, 2), 96, 20), ((1, 2), 64, 34), ((3, 4), 96, 20)])
    )
    assert len({first.digest, small.digest, other.digest}) == 3
    same, again, another = (
        Sample(words, None, (ref,)) for words, ref in ((BREAD, first), (OTHER, small), (BREAD, other))
    )
    add(store, same, again, another)
    assert mark_duplicates(store, media).unreadable == 0
    found = groups(store)
    assert found[same.id] == found[again.id] != found[another.id]
    assert [each.sample_id for each in neighbours(store, same.id)] == [again.id]


def test_a_medium_that_is_gone_is_counted_and_stops_nothing(
    store: AnnotationStore, media: MediaStore, tmp_path: Path
) -> None:
    scene(3).save(tmp_path / "a.png")
    ref = media.accept(tmp_path / "a.png")
    add(store, Sample("", None, (ref,)))
    media.path(ref.digest).unlink()
    assert mark_duplicates(store, media).unreadable == 1


def test_a_sample_between_groups_without_splits_joins_them(store: AnnotationStore, media: MediaStore) -> None:
    words = [f"word{number}" for number in range(40)]
    left, right = Sample(" ".join(words[:32])), Sample(" ".join(words[8:]))
    add(store, left, right)
    mark_duplicates(store, media)
    assert groups(store)[left.id] != groups(store)[right.id]
    bridge = Sample(" ".join(words[3:37]))
    add(store, bridge)
    mark_duplicates(store, media)
    assert len(set(groups(store).values())) == 1


def test_groups_of_different_splits_stay_apart_and_what_lies_between_is_in_neither(
    store: AnnotationStore, media: MediaStore
) -> None:
    words = [f"word{number}" for number in range(40)]
    left, right = Sample(" ".join(words[:32])), Sample(" ".join(words[8:]))
    add(store, left, right)
    mark_duplicates(store, media)
    force(store, left, Split.TRAIN)
    force(store, right, Split.TEST)
    bridge = Sample(" ".join(words[3:37]))
    add(store, bridge)
    mark_duplicates(store, media)
    assert splits(store) == {left.id: Split.TRAIN, right.id: Split.TEST, bridge.id: Split.WITHHELD}
    more = Sample(left.request + " again")
    add(store, more)
    mark_duplicates(store, media)
    assert splits(store)[more.id] is Split.TRAIN


def test_a_split_is_given_once_and_every_later_member_has_it(store: AnnotationStore, media: MediaStore) -> None:
    add(store, Sample(BREAD))
    mark_duplicates(store, media)
    first = splits(store)[Sample(BREAD).id]
    for number in range(5):
        add(store, Sample(f"{BREAD} {'!' * (number + 1)}"))
        mark_duplicates(store, media)
        assert set(splits(store).values()) == {first}


def test_the_same_content_has_the_same_split_in_every_store() -> None:
    ids = [Sample(f"{number}").id for number in range(4000)]
    drawn = [draw_split([each]) for each in ids]
    assert drawn == [draw_split([each]) for each in ids]
    for split, share in SHARES.items():
        assert drawn.count(split) / len(drawn) == pytest.approx(share, abs=0.03)
    assert draw_split(ids) is draw_split(reversed(ids))


@given(st.lists(st.sampled_from([None, *Split])))
@settings(max_examples=60, deadline=None, database=None)
def test_a_joined_group_never_carries_one_split_into_another(given_splits: list[Split | None]) -> None:
    known = set(given_splits) & set(SHARES)
    found = joined_split(given_splits)
    assert found is (None if not known else known.pop() if len(known) == 1 else Split.WITHHELD)


def test_a_pass_that_was_stopped_goes_on_where_it_was(store: AnnotationStore, media: MediaStore) -> None:
    add(store, *(Sample(f"{number} {OTHER}") for number in range(250)))
    stop = threading.Event()
    first = mark_duplicates(store, media, stop=stop, progress=lambda state: stop.set())
    assert (first.done, first.total, first.stopped) == (200, 250, True)
    second = mark_duplicates(store, media)
    assert (second.done, second.total, second.stopped) == (50, 50, False)
    assert mark_duplicates(store, media).done == 0
    assert len(groups(store)) == 250


def test_a_template_filled_in_a_thousand_times_is_one_group(store: AnnotationStore, media: MediaStore) -> None:
    add(store, *(Sample(f"{BREAD} Number {number}.") for number in range(1000)))
    mark_duplicates(store, media)
    assert len(set(groups(store).values())) == 1


# -- neighbours -------------------------------------------------------------------------------------------------------


def test_a_neighbour_comes_with_the_label_that_counts(store: AnnotationStore, media: MediaStore) -> None:
    bring(store, [ImportRow(1, Sample(BREAD), UNHARMFUL), ImportRow(2, Sample(CLOSE)), ImportRow(3, Sample(OTHER))])
    mark_duplicates(store, media)
    (near,) = neighbours(store, Sample(CLOSE).id)
    assert near.sample == Sample(BREAD)
    assert near.label is not None
    assert near.label.draft == UNHARMFUL
    assert near.words == pytest.approx(text.overlap(BREAD, CLOSE))
    assert neighbours(store, Sample(BREAD).id) == ()
    (unlabelled,) = neighbours(store, Sample(BREAD).id, labelled_only=False)
    assert (unlabelled.sample_id, unlabelled.label) == (Sample(CLOSE).id, None)


def test_a_sample_that_was_not_compared_yet_finds_its_neighbours(store: AnnotationStore, media: MediaStore) -> None:
    add(store, Sample(BREAD))
    mark_duplicates(store, media)
    add(store, Sample(CLOSE))
    assert [each.sample for each in neighbours(store, Sample(CLOSE).id)] == [Sample(BREAD)]
