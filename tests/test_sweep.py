"""A long video is swept: a moment that falls between the frames of one prompt is found, wherever it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from core.engines.base import Prompt
from core.judging.guard import Guard
from core.judging.windows import MAX_WINDOWS
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.media.vision import DecodedMedia, VisionSpec
from core.types import Calibrations, Decision, HarmProbability, MediaRef, Preprocessing, Sample
from tests.scripted import PROTOCOL, ScriptedEngine
from tests.video_files import make_flat_video

TWO_HOURS = 7200
POSITIONS = 20
MOMENT_S = 8
FRAMES = 32
"""Of one prompt: every 232 s of two hours; of the sweep's 32 windows: every 7 s."""
PREPROCESSING = Preprocessing("test", 1.0, FRAMES, 1024, 4096, 1024, 4096)
SPEC = VisionSpec(16, 2, 2, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
GREY = 20


def shade_of(position: int) -> int:
    return 60 + 8 * position


def start_of(position: int) -> int:
    """Second at which a moment begins: in the middle between two frames of a sparse sample, from the first such gap
    to the last."""
    gap = (TWO_HOURS - 1) / (FRAMES - 1)
    which = round(position * (FRAMES - 2) / (POSITIONS - 1))
    return round((which + 0.5) * gap) - MOMENT_S // 2


@dataclass(frozen=True, slots=True)
class Film:
    """Two hours of one grey with twenty moments, each of a grey of its own, as the media store decodes them."""

    ref: MediaRef
    swept: DecodedMedia
    sparse: DecodedMedia


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory, reader: VideoReader) -> Iterator[Film]:
    shades = np.full(TWO_HOURS, GREY)
    for position in range(POSITIONS):
        shades[start_of(position) : start_of(position) + MOMENT_S] = shade_of(position)
    with tempfile.TemporaryDirectory() as folder:
        store = MediaStore(Path(folder) / "media", MediaLimits(), reader)
        ref = store.accept(make_flat_video(Path(folder) / "long.mp4", shades.tolist()))
        yield Film(ref, store.decode(ref, PREPROCESSING, SPEC), store.decode(ref, PREPROCESSING, SPEC, max_windows=1))


def shows(medium: DecodedMedia, shade: int) -> bool:
    return bool((np.abs(medium.frames[:, ::16, ::16].mean(axis=(1, 2, 3)) - shade) < 3).any())


def guard_that_fears(shade: int, film: Film) -> tuple[Guard, ScriptedEngine]:
    """It answers on nothing but the pixels that it is handed."""

    def look(prompt: Prompt) -> HarmProbability:
        return HarmProbability(0.95 if any(shows(medium, shade) for medium in prompt.media) else 0.05)

    engine = ScriptedEngine(looks=look, context_tokens=400)
    engine.info = replace(engine.info, preprocessing=PREPROCESSING)
    return Guard(engine, PROTOCOL, Calibrations(), lambda ref: film.swept, window_tokens=60), engine


@pytest.mark.parametrize("position", range(POSITIONS))
def test_one_planted_moment_of_a_two_hour_film_is_found_and_deliberated_on(long_film: Film, position: int) -> None:
    shade = shade_of(position)
    assert not shows(long_film.sparse, shade)  # the frames of one prompt alone would miss it
    guard, engine = guard_that_fears(shade, long_film)
    verdict = guard.moderate(Sample("Look", None, (long_film.ref,)))
    assert verdict.decision is Decision.BLOCK
    [worst] = [window for window in verdict.windows if window.deliberated]
    assert worst.start < start_of(position) + MOMENT_S
    assert worst.end > start_of(position)
    assert shows(engine.completed[0].media[0], shade)
    assert len(verdict.windows) == MAX_WINDOWS
    quick = guard.first_look(Sample("Look", None, (long_film.ref,)))
    assert quick.decision is Decision.BLOCK


def test_the_same_film_passes_where_nothing_of_it_is_feared_and_says_what_it_cannot_show(long_film: Film) -> None:
    guard, engine = guard_that_fears(250, long_film)
    verdict = guard.moderate(Sample("Look", None, (long_film.ref,)))
    assert verdict.decision is Decision.ALLOW
    assert sum(len(prompt.media[0].frames) for prompt in engine.looked_at) == MAX_WINDOWS * FRAMES
    assert "one frame every 7.0 s, so a shorter moment may be missed" in " ".join(verdict.warnings)
