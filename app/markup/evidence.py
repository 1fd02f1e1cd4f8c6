"""A video's sampled frames and its plot of p(harmful) over time, as HTML. Every part of it seeks the player."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from app.markup.numbers import clock, probability
from app.markup.text import escape
from core.judging.windows import spread
from core.media.vision import DecodedMedia, Frames
from core.types import Thresholds, WindowScore

THUMBNAIL_HEIGHT = 72
"""Pixels; drawn at most this high."""

MAX_THUMBNAILS = 48

SHORT_S = 60.0
"""Clips shorter than this are marked with tenths of a second."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One sampled frame: its time in seconds and a data URL."""

    at: float
    url: str


def thumbnails(media: Sequence[DecodedMedia]) -> tuple[tuple[Thumbnail, ...], int]:
    """Small pictures of a video's sampled frames, evenly chosen where there are many.

    Returns:
        The pictures (none when there is no video) and how many frames were sampled.
    """
    for medium in media:
        if medium.timestamps is not None:
            chosen = spread(len(medium.timestamps), MAX_THUMBNAILS)
            times = medium.timestamps
            return tuple(Thumbnail(times[at], _data_url(medium.frames, at)) for at in chosen), len(times)
    return (), 0


def _data_url(frames: Frames, at: int) -> str:
    from PIL import Image

    picture = Image.fromarray(frames[at])
    picture.thumbnail((THUMBNAIL_HEIGHT * 4, THUMBNAIL_HEIGHT))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=72)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def timeline(windows: Sequence[WindowScore]) -> tuple[WindowScore, ...]:
    """The windows that are stretches of a video: video by video, in the order of time."""
    found = (each for each in windows if each.what == "video")
    return tuple(sorted(found, key=lambda each: (each.position, each.start)))


def reading() -> str:
    """The place of strip and plot while the video is being read, so that nothing moves when they come."""
    return _section('<p class="gr-quiet">Reading the video…</p>', "", busy=True)


def render(pictures: Sequence[Thumbnail], sampled: int, windows: Sequence[WindowScore], thresholds: Thresholds) -> str:
    """Strip above, plot below.

    Args:
        sampled: frames that the guard saw; more than there are pictures when only some are shown.
        windows: first looks at stretches of the video; empty until the first look came.
    """
    note = f"{len(pictures)} of {sampled} frames" if sampled > len(pictures) else f"{sampled} frames"
    return _section(_strip(pictures), _plot(timeline(windows), thresholds), note=note)


def harm_over_time(windows: Sequence[WindowScore], thresholds: Thresholds) -> str:
    """The plot alone, for where the frames are not to be shown; one for each video."""
    videos = [(at, tuple(some)) for at, some in groupby(timeline(windows), key=lambda each: each.position)]
    plots = "".join(
        (f'<p class="gr-quiet">Video {at + 1}</p>' if len(videos) > 1 else "")
        + f'<div class="gr-plot">{_plot(some, thresholds)}</div>'
        for at, some in videos
    )
    return (
        '<section class="gr-evidence" aria-label="Harm over time"><div class="gr-evidence-head">'
        "<h3>Harm over time</h3><span>first look at each stretch; click to seek</span></div>"
        f"{plots}</section>"
    )


def _section(strip: str, plot: str, *, note: str = "", busy: bool = False) -> str:
    return (
        f'<section class="gr-evidence" aria-busy="{str(busy).lower()}" aria-label="Frames and harm over time">'
        f'<div class="gr-evidence-head"><h3>What the guard saw</h3><span>{escape(note)}</span></div>'
        f'<div class="gr-strip" tabindex="-1">{strip}</div>'
        '<div class="gr-evidence-head"><h3>Harm over time</h3>'
        "<span>first look at each stretch; click to seek</span></div>"
        f'<div class="gr-plot">{plot}</div></section>'
    )


def _strip(pictures: Sequence[Thumbnail]) -> str:
    tenths = bool(pictures) and pictures[-1].at < SHORT_S
    buttons = []
    for each in pictures:
        at = clock(each.at, tenths=tenths)
        buttons.append(
            f'<button type="button" class="gr-frame" data-seek="{each.at:.3f}" aria-label="Frame at {at}; go there">'
            f'<img src="{escape(each.url)}" alt=""><span>{at}</span></button>'
        )
    return "".join(buttons)


def _plot(windows: Sequence[WindowScore], thresholds: Thresholds) -> str:
    if not windows:
        return '<p class="gr-quiet">A bar for each stretch appears here.</p>'
    start, end = windows[0].start, max(window.end for window in windows)
    span = (end - start) or 1.0
    tenths = end < SHORT_S
    bars = "".join(_bar(each, thresholds, start, span, numbered=len(windows) <= 10) for each in windows)
    lines = "".join(
        f'<hr style="--at:{at:.3f}" data-line="{name}">'
        for name, at in (("review", thresholds.review), ("block", thresholds.block))
    )
    marks = "".join(f"<span>{clock(start + span * share, tenths=tenths)}</span>" for share in (0, 0.25, 0.5, 0.75, 1))
    return f'<div class="gr-axes">{lines}{bars}</div><div class="gr-ticks" aria-hidden="true">{marks}</div>'


def _bar(window: WindowScore, thresholds: Thresholds, start: float, span: float, *, numbered: bool) -> str:
    left, width = 100 * (window.start - start) / span, 100 * (window.end - window.start) / span
    p_harmful = window.p_harmful
    zone = "none" if p_harmful is None else thresholds.decide(p_harmful).value
    tenths = start + span < SHORT_S
    said = f"{clock(window.start, tenths=tenths)} to {clock(window.end, tenths=tenths)}: "
    said += f"{probability(p_harmful)} harmful, {zone}"
    if window.deliberated:
        said += "; the reasoning is about this stretch"
    number = f"<span>{escape(probability(p_harmful))}</span>" if numbered else ""
    return (
        f'<button type="button" class="gr-stretch" data-zone="{zone}" data-seek="{window.start:.3f}" '
        f'data-position="{window.position}" '
        f'data-deliberated="{str(window.deliberated).lower()}" '
        f'style="left:{left:.2f}%;width:{width:.2f}%;--p:{p_harmful or 0.0:.4f}" title="{escape(said)}" '
        f'aria-label="{escape(said)}; go there"><i></i>{number}</button>'
    )
