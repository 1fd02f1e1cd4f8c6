"""Which parts of a sample are judged by themselves when the whole does not fit: pure planning, no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from core.engines.base import Prompt
from core.types import Sample, WindowScore

MAX_WINDOWS = 32
"""Windows of a text, and likewise of a video, that get a first look; what lies beyond goes to a person."""

OVERLAP = 1 / 8
"""Share of a text window that the next one repeats, so that no phrase is lost at a border."""


@dataclass(frozen=True, slots=True)
class Window:
    """One part of a sample with the prompt that judges it. Positions are characters, or seconds of a video."""

    prompt: Prompt
    start: float
    end: float
    what: str = "whole"
    """whole, video, media, text, request, response, or, for deceiving characters, "as written" and "as read"."""
    position: int = 0
    """Which of the sample's media this is about, from 0."""

    def scored(self, p_harmful: float | None, *, deliberated: bool) -> WindowScore:
        """The window with its first look."""
        return WindowScore(self.start, self.end, p_harmful, self.what, deliberated, self.position)


def spread(count: int, limit: int) -> list[int]:
    """At most `limit` positions out of `count`, evenly spread, first and last among them."""
    if count <= limit:
        return list(range(count))
    if limit == 1:
        return [0]
    return [round(at * (count - 1) / (limit - 1)) for at in range(limit)]


def cut_text(text: str, size: int) -> list[tuple[int, int]]:
    """Overlapping stretches of at most `size` characters that cover the text, cut at white space if any.

    Raises:
        ValueError: the size is below one.
    """
    if size < 1:
        raise ValueError(f"size={size} must be at least 1")
    step = max(1, int(size * (1 - OVERLAP)))
    pieces: list[tuple[int, int]] = []
    start = 0
    while True:
        end = min(len(text), start + size)
        if end < len(text):
            end = next((at for at in range(end - 1, start + step - 1, -1) if text[at].isspace()), end)
        pieces.append((start, end))
        if end == len(text):
            return pieces
        start = max(start + 1, end - (size - step))


def text_windows(sample: Sample, size: int) -> list[Window]:
    """Windows of at most `size` characters over the texts of a sample whose context is too short for them.

    A long response is judged in windows beside the request (its beginning, when that is long as well); a long request
    in windows of its own. Media stay out: they are judged in prompts of their own.
    """
    sample = replace(sample, media=())
    long_request = len(sample.request) > size // 2
    windows: list[Window] = []
    if long_request or sample.response is None:
        for start, end in cut_text(sample.request, size):
            part = replace(sample, request=sample.request[start:end], response=None)
            windows.append(Window(Prompt(part), start, end, "request"))
    if sample.response is not None:
        head = sample.request[: size // 4] if long_request else sample.request
        for start, end in cut_text(sample.response, max(1, size // 2)):
            part = replace(sample, request=head, response=sample.response[start:end])
            windows.append(Window(Prompt(part), start, end, "response"))
    return windows


def media_windows(prompt: Prompt, frames: int) -> list[Window]:
    """Each medium by itself, a video in even stretches of at most so many frames; the texts beside every one."""
    windows: list[Window] = []
    for at, (ref, medium) in enumerate(zip(prompt.sample.media, prompt.media, strict=True)):
        sample = replace(prompt.sample, media=(ref,))
        if medium.timestamps is None:
            windows.append(Window(replace(prompt, sample=sample, media=(medium,)), 0, 0, "media", at))
            continue
        times = medium.timestamps
        count = -(-len(times) // frames)
        bounds = [round(at * len(times) / count) for at in range(count + 1)]
        ends = (*times, _end(times, ref.duration_s))
        for start, stop in pairwise(bounds):
            part = replace(prompt, sample=sample, media=(medium.window(start, stop),))
            windows.append(Window(part, times[start], ends[stop], "video", at))
    return windows


def _end(times: Sequence[float], duration_s: float | None) -> float:
    """Where the last frame's stretch ends, in seconds: as far on as frames lie apart, and not beyond the video."""
    gap = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1.0
    end = times[-1] + gap
    return min(end, duration_s) if duration_s is not None and duration_s > times[-1] else end


def timeline_frames(sampled: int) -> int:
    """Frames of one stretch of a short video's timeline: about eight stretches, of two frames at least."""
    return max(2, -(-sampled // 8))
