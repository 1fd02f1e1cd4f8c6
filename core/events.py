"""What a moderation tells while it runs, in this order: places in the queue, media, first look, pieces, the verdict."""

from __future__ import annotations

from dataclasses import dataclass

from core.media.vision import DecodedMedia
from core.types import HarmProbability, Verdict, WindowScore


@dataclass(frozen=True, slots=True)
class Queued:
    """Not yet: `place` others are before this one, or the guard is still being loaded. Repeated whenever it changes."""

    place: int
    loading: bool = False


@dataclass(frozen=True, slots=True)
class MediaRead:
    """The media were decoded: for a video the sampled frames with their times."""

    media: tuple[DecodedMedia, ...]


@dataclass(frozen=True, slots=True)
class FirstLooked:
    """Calibrated P(harmful) before any reasoning, and for videos and long texts that of every window."""

    probability: HarmProbability
    windows: tuple[WindowScore, ...]


@dataclass(frozen=True, slots=True)
class ReasoningGrew:
    """All reasoning so far, tags removed (a whole text, so a missed event loses nothing)."""

    text: str
    token_count: int
    """Pieces so far; a piece is a token, but for letters that take several."""


@dataclass(frozen=True, slots=True)
class VerdictReached:
    """The end: always the last event, unless an error was raised."""

    verdict: Verdict


Event = Queued | MediaRead | FirstLooked | ReasoningGrew | VerdictReached
