"""Laws of safety-aware concatenation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from core.types import Label, MediaRef, Modality, Sample
from train_jobs.rules.augment import (
    Geometry,
    HardRow,
    choose_pairs,
    join,
    join_labels,
    join_media,
    join_texts,
    joined_count,
    merge_pictures,
)

H, U, A, X = Label.HARMFUL, Label.UNHARMFUL, Label.ABSENT, Label.UNLABELLED


def medium(name: str, modality: Modality = Modality.IMAGE) -> MediaRef:
    kind = "image/png" if modality is Modality.IMAGE else "video/mp4"
    return MediaRef(name * 64, kind, modality, 10, 4, 4)


ONE, TWO, MERGED = medium("a"), medium("b"), medium("c")
FILM, REEL = medium("d", Modality.VIDEO), medium("e", Modality.VIDEO)


def merge(images: Sequence[MediaRef]) -> MediaRef | None:
    return MERGED


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(H, H, H), (H, U, H), (H, A, H), (H, X, H), (U, U, U), (U, A, U), (U, X, X), (A, A, A), (A, X, X), (X, X, X)],
)
def test_a_side_is_harmful_when_either_was(first: Label, second: Label, expected: Label) -> None:
    assert join_labels(first, second) is expected
    assert join_labels(second, first) is expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("How do I bake?", "And cook?", "How do I bake? | And cook?"),
        ("How do I bake?", "", "How do I bake?"),
        ("", "And cook?", "And cook?"),
        (None, "Like this.", "Like this."),
        ("Like this.", None, "Like this."),
        (None, None, None),
        ("", "", ""),
    ],
)
def test_texts_are_joined_by_the_separator(first: str | None, second: str | None, expected: str | None) -> None:
    assert join_texts(first, second, " | ") == expected


def test_pictures_side_by_side_take_the_lower_height_and_none_is_cropped() -> None:
    red = np.full((10, 20, 3), (255, 0, 0), np.uint8)
    blue = np.full((20, 20, 3), (0, 0, 255), np.uint8)
    merged = merge_pictures([red, blue], Geometry.SIDE_BY_SIDE)
    assert merged is not None
    assert merged.shape == (10, 20 + 10, 3)
    assert (merged[:, :20] == (255, 0, 0)).all()
    assert (merged[:, 20:] == (0, 0, 255)).all()


def test_stacked_pictures_take_the_narrower_width() -> None:
    red = np.full((10, 20, 3), (255, 0, 0), np.uint8)
    blue = np.full((20, 40, 3), (0, 0, 255), np.uint8)
    merged = merge_pictures([red, blue], Geometry.STACKED)
    assert merged is not None
    assert merged.shape == (10 + 10, 20, 3)
    assert (merged[10:] == (0, 0, 255)).all()


def test_pictures_stay_apart_when_told_to_or_when_one_would_be_too_thin() -> None:
    picture = np.zeros((10, 10, 3), np.uint8)
    assert merge_pictures([picture, picture], Geometry.APART) is None
    long = np.zeros((10, 1500, 3), np.uint8)
    assert merge_pictures([long, long], Geometry.SIDE_BY_SIDE) is None


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((ONE,), (TWO,), (MERGED,)),
        ((ONE,), (), (ONE,)),
        ((FILM,), (REEL,), (FILM, REEL)),
        ((FILM,), (ONE,), (FILM, ONE)),
        ((ONE, FILM), (TWO, REEL), (MERGED, FILM, REEL)),
        ((FILM, ONE), (TWO,), (FILM, MERGED)),
        ((ONE,), (ONE,), (MERGED,)),
    ],
)
def test_images_become_one_and_videos_follow_each_other(
    first: tuple[MediaRef, ...], second: tuple[MediaRef, ...], expected: tuple[MediaRef, ...]
) -> None:
    assert join_media(first, second, merge) == expected
    assert join_media((ONE,), (TWO,), lambda images: None) == (ONE, TWO)


def test_two_samples_become_one_that_names_both() -> None:
    one = HardRow(Sample("How do I pick a lock?", "Like this."), H, U)
    other = HardRow(Sample("What is in the picture?", None, (ONE,)), U, A)
    joined = join(one, other, "\n\n", merge)
    assert joined == HardRow(
        Sample("How do I pick a lock?\n\nWhat is in the picture?", "Like this.", (ONE,)),
        H,
        U,
        (one.sample.id, other.sample.id),
    )
    assert join(joined, other, "\n\n", merge).made_of == (one.sample.id, other.sample.id, other.sample.id)


@pytest.mark.parametrize(
    ("hard", "share", "count"), [(80, 0.2, 20), (100, 0.2, 25), (8, 0.2, 2), (10, 0.0, 0), (1, 0.5, 0)]
)
def test_joined_rows_make_the_share_of_the_whole_set(hard: int, share: float, count: int) -> None:
    assert joined_count(hard, share) == count
    if count:
        assert count / (hard + count) == pytest.approx(share, abs=0.01)


def test_a_share_of_everything_is_refused() -> None:
    with pytest.raises(ValueError, match=r"below 1, not 1\.0"):
        joined_count(10, 1.0)


def test_pairs_are_of_two_different_rows_and_come_twice_only_when_all_were_used() -> None:
    pairs = choose_pairs(4, 6, seed=3)
    assert all(one != other for one, other in pairs)
    assert len({frozenset(pair) for pair in pairs}) == 6
    assert choose_pairs(4, 6, seed=3) == pairs
    assert choose_pairs(4, 6, seed=4) != pairs
    assert len(choose_pairs(2, 3, seed=0)) == 3
    assert choose_pairs(1, 3, seed=0) == []
