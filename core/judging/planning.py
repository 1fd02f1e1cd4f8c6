"""How one sample will be judged: whole where it fits, in windows where it does not, twice where characters deceive."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from core.engines.base import Engine, Prompt
from core.errors import EmptyRequest, InputError, TextTooLong
from core.judging.textcheck import check_text
from core.judging.windows import MAX_WINDOWS, Window, media_windows, spread, text_windows, timeline_frames
from core.media.vision import DecodedMedia
from core.types import MediaRef, Sample

CHARS_PER_TOKEN = 8
"""First guess of a text window's characters; shrunk until the windows fit."""
LEAST_CHARS = 4
"""Where the shrinking ends."""
HOPELESS = 16
"""A text with more characters than this for each token of the context is not even counted: it goes to windows."""

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Plan:
    """How one sample will be judged."""

    choices: tuple[Window, ...]
    """One that holds everything, or several of which the worst by its first look is deliberated on."""
    timeline: tuple[Window, ...] = ()
    """Stretches of a video that get a first look besides, though a choice holds the whole of it."""
    warnings: tuple[str, ...] = ()
    unseen: int = 0
    """Windows beyond the limit, which nobody looks at."""
    media: tuple[DecodedMedia, ...] = ()


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a sample falls into when one prompt cannot hold it."""

    windows: tuple[Window, ...]
    warnings: tuple[str, ...]
    unseen: int


class Planner:
    """Checks samples, reads their media and lays out the prompts for one engine."""

    def __init__(
        self, engine: Engine, decode: Callable[[MediaRef], DecodedMedia], *, window_tokens: int, max_text_chars: int
    ) -> None:
        self._engine = engine
        self._decode = decode
        self._window_tokens = window_tokens
        self._max_text_chars = max_text_chars
        self._prompt_tokens = engine.info.context_tokens - engine.info.max_new_tokens

    def plan(self, sample: Sample) -> Plan:
        """Lay out one sample.

        Raises:
            InputError: it is empty, too long, or of a modality that the checkpoint does not read; or its media
                cannot be decoded.
        """
        self._check(sample)
        media = tuple(self._decode(ref) for ref in sample.media)
        as_read, deceptions = _as_read(sample)
        whole, read = Prompt(sample, media), Prompt(as_read, media)
        deceived = as_read != sample
        if all(len(medium.frames) <= self._max_frames for medium in media) and self._fits(whole):
            timeline = _timeline(whole)
            parts = _Parts((Window(whole, 0, 0, "as written" if deceived else "whole"),), (), 0)
        else:
            timeline = ()
            parts = self._part(whole, MAX_WINDOWS // 2 if deceived else MAX_WINDOWS)
        choices, unseen = parts.windows, parts.unseen
        if deceived and len(choices) == 1 and self._fits(read):
            choices += (Window(read, 0, 0, "as read"),)
        elif deceived:
            more, left_out = self._texts(as_read, MAX_WINDOWS // 2)
            choices += tuple(replace(window, what="as read") for window in more)
            unseen += left_out
        engine = [*self._engine.warnings]
        for window in choices:
            engine += self._engine.prompt_warnings(window.prompt)
        return Plan(choices, timeline, (*parts.warnings, *deceptions, *engine), unseen, media)

    @property
    def _max_frames(self) -> int:
        return self._engine.info.preprocessing.max_frames

    # -- samples that one prompt cannot hold --------------------------------------------------------------------

    def _part(self, whole: Prompt, room: int) -> _Parts:
        """Each medium beside the texts, or media and texts apart where that does not fit either.

        Args:
            room: text windows at most; media have as many as `MAX_WINDOWS` besides.
        """
        bare, frames = self._bare_media(whole)
        beside = media_windows(whole, frames)
        together = bool(bare) and self._fits(beside[self._longest(bare)].prompt)
        every = beside if together else bare
        shown = [every[at] for at in spread(len(every), MAX_WINDOWS)]
        texts: list[Window] = []
        unseen_texts = 0
        if not together and (whole.sample.request.strip() or whole.sample.response is not None):
            texts, unseen_texts = self._texts(whole.sample, room)
        warnings = []
        if any(len(medium.frames) > frames for medium in whole.media):
            gap = max(_gap(medium) for medium in whole.media)
            warnings.append(_swept(shown, frames, len(every) - len(shown), gap))
        elif len(whole.media) > 1:
            warnings.append("The files do not fit into one prompt; each was judged by itself.")
        if texts:
            warnings.append(_cut(texts, unseen_texts, apart=bool(bare)))
        return _Parts((*shown, *texts), tuple(warnings), len(every) - len(shown) + unseen_texts)

    def _bare_media(self, whole: Prompt) -> tuple[list[Window], int]:
        """The media without texts, each by itself and short enough; and the most frames of a stretch.

        Raises:
            InputError: a single picture is larger than the context.
        """
        bare = Prompt(replace(whole.sample, request="", response=None), whole.media)
        frames = self._max_frames
        while True:
            windows = media_windows(bare, frames)
            if not windows or self._fits((longest := windows[self._longest(windows)]).prompt):
                return windows, frames
            if longest.what == "media" or frames == 1:
                raise InputError(
                    f"A picture makes a prompt of {self._engine.count_tokens(longest.prompt):,} tokens, and the "
                    f"checkpoint {self._engine.info.id} reads {self._prompt_tokens:,} at most."
                )
            frames //= 2

    def _longest(self, windows: list[Window]) -> int:
        lengths = [self._engine.count_tokens(window.prompt) for window in windows]
        return lengths.index(max(lengths))

    def _texts(self, sample: Sample, room: int) -> tuple[list[Window], int]:
        """The texts without media, whole if that fits, else in at most `room` windows spread over them.

        Returns:
            The windows, and how many were left out.
        """
        alone = Prompt(replace(sample, media=()))
        if self._fits(alone):
            return [Window(alone, 0, 0, "text")], 0
        frame = self._engine.count_tokens(Prompt(Sample("")))
        most = min(frame + self._window_tokens, self._prompt_tokens)
        size = self._window_tokens * CHARS_PER_TOKEN
        while True:
            every = text_windows(sample, size)
            chosen = [every[at] for at in spread(len(every), room)]
            if all(self._engine.count_tokens(window.prompt) <= most for window in chosen):
                return chosen, len(every) - len(chosen)
            if size <= LEAST_CHARS:
                raise InputError(
                    f"The checkpoint {self._engine.info.id} reads {most:,} tokens at once, too few for this text."
                )
            size = max(LEAST_CHARS, size * 7 // 8)

    def _fits(self, prompt: Prompt) -> bool:
        if len(prompt.sample.request) + len(prompt.sample.response or "") > HOPELESS * self._prompt_tokens:
            return False
        return self._engine.count_tokens(prompt) <= self._prompt_tokens

    def _check(self, sample: Sample) -> None:
        if not sample.request.strip() and not sample.media:
            raise EmptyRequest("The request is empty; write a text, or add an image or a video.")
        for name, text in (("request", sample.request), ("response", sample.response or "")):
            if len(text) > self._max_text_chars:
                raise TextTooLong(
                    f"The {name} has {len(text):,} characters; at most {self._max_text_chars:,} are accepted."
                )
            if half := _SURROGATE.search(text):
                raise InputError(
                    f"The {name} holds half a character (U+{ord(half.group()):04X} at position {half.start()}); only "
                    "valid Unicode is accepted."
                )
        info = self._engine.info
        for ref in sample.media:
            if ref.modality not in info.modalities:
                raise InputError(
                    f"The checkpoint {info.id} reads {', '.join(info.modalities)} only; a file of type "
                    f"{ref.media_type} cannot be judged by it."
                )


def _as_read(sample: Sample) -> tuple[Sample, list[str]]:
    """The sample with deceiving characters undone, and a warning for each kind of them."""
    warnings: list[str] = []
    request = check_text(sample.request, "request")
    warnings += request.warnings
    response = None
    if sample.response is not None:
        checked = check_text(sample.response, "response")
        warnings += checked.warnings
        response = checked.normalised
    return replace(sample, request=request.normalised, response=response), warnings


def _timeline(whole: Prompt) -> tuple[Window, ...]:
    """Stretches of every video that the prompt holds whole."""
    stretches: list[Window] = []
    for at, (ref, medium) in enumerate(zip(whole.sample.media, whole.media, strict=True)):
        if medium.timestamps is not None and len(medium.timestamps) > 1:
            alone = Prompt(replace(whole.sample, media=(ref,)), (medium,))
            found = media_windows(alone, timeline_frames(len(medium.timestamps)))
            stretches += [replace(each, position=at) for each in found]
    return tuple(stretches[:MAX_WINDOWS])


def _swept(shown: list[Window], frames: int, unseen: int, gap: float) -> str:
    stretches = sum(window.what == "video" for window in shown)
    more = f"; {unseen} more were not judged, so a person should see it" if unseen else ""
    return (
        f"The video is longer than the checkpoint reads at once; it was swept in {stretches} windows of up to {frames} "
        f"frames (one frame every {gap:.1f} s, so a shorter moment may be missed), and the reasoning is about the "
        f"worst of them{more}."
    )


def _gap(medium: DecodedMedia) -> float:
    """Seconds from one sampled frame to the next, on the average; 0 for a picture or a single frame."""
    times = medium.timestamps or ()
    return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0


def _cut(texts: list[Window], unseen: int, *, apart: bool) -> str:
    if len(texts) == 1 and texts[0].what == "text":
        return "Text and media do not fit into one prompt; each was judged by itself."
    where = " apart from the media" if apart else ""
    more = f", and {unseen} more were not judged, so a person should see it" if unseen else ""
    return (
        f"The text is longer than the checkpoint reads at once; it was judged in {len(texts)} overlapping windows"
        f"{where}{more}."
    )
