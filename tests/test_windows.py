"""Laws of the windows: they cover everything, overlap, end, and are few enough."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.base import Prompt
from core.judging.windows import OVERLAP, cut_text, media_windows, spread, text_windows, timeline_frames
from core.media.vision import DecodedMedia
from core.types import MediaRef, Modality, Sample

TEXTS = st.text(alphabet="ab \n\u3000日", max_size=400)
SIZES = st.integers(1, 120)


@given(TEXTS, SIZES)
def test_windows_cover_every_character_in_order_and_end(text: str, size: int) -> None:
    pieces = cut_text(text, size)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == len(text)
    assert all(end - start <= size for start, end in pieces)
    assert all(later[0] <= earlier[1] for earlier, later in itertools.pairwise(pieces))
    assert all(later[0] > earlier[0] and later[1] > earlier[1] for earlier, later in itertools.pairwise(pieces))


@given(TEXTS, SIZES, st.data())
def test_a_phrase_no_longer_than_the_overlap_is_whole_in_some_window(text: str, size: int, data: st.DataObject) -> None:
    overlap = size - int(size * (1 - OVERLAP))
    start = data.draw(st.integers(0, max(0, len(text) - overlap)))
    end = min(len(text), start + overlap)
    assert any(left <= start and end <= right for left, right in cut_text(text, size))


def test_windows_end_at_white_space_of_any_kind_where_there_is_some() -> None:
    for space in (" ", "\n", "\t", "\u3000"):
        text = space.join(["word"] * 100)
        for start, end in cut_text(text, 90)[:-1]:
            assert text[end] == space, (start, end)


@pytest.mark.parametrize("size", [0, -1])
def test_a_window_holds_at_least_one_character(size: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        cut_text("abc", size)


@given(st.integers(0, 500), st.integers(1, 40))
def test_spread_takes_the_ends_and_never_twice_the_same(count: int, limit: int) -> None:
    chosen = spread(count, limit)
    assert len(chosen) == min(count, limit)
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(range(count))
    if count and limit > 1:
        assert {0, count - 1} <= set(chosen)


@given(TEXTS.filter(bool), st.one_of(st.none(), TEXTS), st.integers(4, 120))
def test_both_texts_are_in_the_windows_from_end_to_end(request: str, response: str | None, size: int) -> None:
    windows = text_windows(Sample(request, response), size)
    for what, text in (("request", request), ("response", response)):
        parts = [window for window in windows if window.what == what]
        covered = {at for window in parts for at in range(int(window.start), int(window.end))}
        if what == "response" or parts:
            assert covered == set(range(len(text or "")))
        else:  # a short request stands whole beside every part of the response
            assert all(window.prompt.sample.request == request for window in windows)
    for window in windows:
        sample = window.prompt.sample
        assert len(sample.request) + len(sample.response or "") <= size + size // 4 + 1
        inside = sample.request if window.what == "request" else sample.response
        source = request if window.what == "request" else response
        assert inside == (source or "")[int(window.start) : int(window.end)]


def clip(count: int, duration_s: float | None = None) -> tuple[MediaRef, DecodedMedia]:
    ref = MediaRef("v", "video/mp4", Modality.VIDEO, 1, 4, 4, duration_s)
    return ref, DecodedMedia(np.zeros((count, 4, 4, 3), np.uint8), tuple(at * 0.5 for at in range(count)))


@given(st.integers(1, 90), st.integers(1, 20), st.one_of(st.none(), st.floats(0, 50)))
def test_stretches_of_a_video_follow_each_other_without_a_gap_and_end_with_it(
    count: int, frames: int, duration_s: float | None
) -> None:
    ref, medium = clip(count, duration_s)
    windows = media_windows(Prompt(Sample("x", None, (ref,)), (medium,)), frames)
    assert sum(len(window.prompt.media[0].frames) for window in windows) == count
    assert all(len(window.prompt.media[0].frames) <= frames for window in windows)
    assert all(len(each.prompt.media[0].timestamps or ()) == len(each.prompt.media[0].frames) for each in windows)
    for earlier, later in itertools.pairwise(windows):
        assert earlier.end == later.start
    assert all(window.end > window.start for window in windows)
    if duration_s is not None and duration_s > 0.5 * (count - 1):
        assert windows[-1].end <= duration_s


def test_every_medium_has_a_window_with_the_texts_beside_it_and_no_copy_of_its_pixels() -> None:
    ref, medium = clip(5)
    still = MediaRef("i", "image/png", Modality.IMAGE, 1, 4, 4)
    picture = DecodedMedia(np.zeros((1, 4, 4, 3), np.uint8))
    windows = media_windows(Prompt(Sample("ask", "say", (still, ref)), (picture, medium)), 2)
    assert [window.what for window in windows] == ["media", "video", "video", "video"]
    assert [window.scored(0.5, deliberated=False).position for window in windows] == [0, 1, 1, 1]
    assert {(window.prompt.sample.request, window.prompt.sample.response) for window in windows} == {("ask", "say")}
    assert all(len(window.prompt.sample.media) == len(window.prompt.media) == 1 for window in windows)
    assert all(np.shares_memory(window.prompt.media[0].frames, medium.frames) for window in windows[1:])


@given(st.integers(2, 2000))
def test_a_timeline_has_at_most_eight_stretches(sampled: int) -> None:
    frames = timeline_frames(sampled)
    assert frames >= 2
    assert -(-sampled // frames) <= 8
