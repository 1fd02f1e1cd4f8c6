"""The values that flow through Guardroom: frozen, free of row ids, importable without any heavy library."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from json.encoder import encode_basestring as _json_text
from typing import Any


class Label(StrEnum):
    """What is said of one side (the request or the response)."""

    HARMFUL = "harmful"
    UNHARMFUL = "unharmful"
    ABSENT = "absent"
    """There is no such side: the sample has no response."""
    UNLABELLED = "unlabelled"
    """Nobody has said: never scored, never trained on, never counted as wrong."""


class Modality(StrEnum):
    """What a sample or a file is made of."""

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"


class Decision(StrEnum):
    """What the thresholds make of the probabilities. No readable answer always means review."""

    ALLOW = "allow"
    REVIEW = "review"
    BLOCK = "block"


class FinishReason(StrEnum):
    """Why the model stopped writing."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class MediaRef:
    """One stored media file. `digest` is the sha256 of its bytes, in hexadecimal."""

    digest: str
    media_type: str
    modality: Modality
    byte_size: int
    width: int
    height: int
    duration_s: float | None = None
    """Seconds; none for a still image."""
    frame_count: int | None = None
    """As the container states it; none for a still image."""


def _nfc(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


@dataclass(frozen=True, slots=True)
class Sample:
    """What is moderated: a request, perhaps an AI's response, perhaps media."""

    request: str
    response: str | None = None
    media: tuple[MediaRef, ...] = ()

    @property
    def id(self) -> str:
        """Digest of the canonical form: texts in NFC and media digests, never decoder metadata.

        The form is a contract: the tag `sample-v1` changes whenever the form does.
        """
        # Compact JSON with sorted keys, not escaped to ASCII; put together here because imports ask for many ids.
        media = ",".join(_json_text(ref.digest) for ref in self.media) if self.media else ""
        response = "null" if self.response is None else _json_text(_nfc(self.response))
        canonical = (
            f'{{"form":"sample-v1","media":[{media}],"request":{_json_text(_nfc(self.request))},"response":{response}}}'
        )
        return "s1-" + hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def modality(self) -> Modality:
        """Video outranks image, image outranks text."""
        if not self.media:
            return Modality.TEXT
        kinds = {ref.modality for ref in self.media}
        for kind in (Modality.VIDEO, Modality.IMAGE):
            if kind in kinds:
                return kind
        return Modality.TEXT


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is said about a sample: by a model's parsed text, by a reviewer, or as a training target."""

    request: Label
    response: Label
    categories: tuple[str, ...] = ()
    """Hazard category ids of assets/policy.toml; empty means not stated."""
    reasoning: tuple[str, ...] = ()
    """The steps, in order, without their numbers."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What the model wrote for one prompt. Times are seconds from the start of its computation."""

    text: str
    token_count: int
    finish_reason: FinishReason
    ttft_s: float | None
    """Time to the first piece of text; none when nothing was written."""
    latency_s: float


@dataclass(frozen=True, slots=True)
class HarmProbability:
    """P(harmful) for both sides, in [0, 1]; none where there is no such side or it could not be read."""

    request: float | None = None
    response: float | None = None

    @property
    def worst(self) -> float | None:
        """The larger of the two, none when neither is known."""
        known = [p for p in (self.request, self.response) if p is not None]
        return max(known) if known else None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Allow below `review`, block from `block` on, review between."""

    review: float = 0.35
    block: float = 0.65

    def __post_init__(self) -> None:
        if not 0.0 <= self.review <= self.block <= 1.0:
            raise ValueError(
                f"thresholds review={self.review} and block={self.block} must satisfy 0 <= review <= block <= 1"
            )

    def decide(self, p_harmful: float | None) -> Decision:
        """The decision for one probability; none (could not be read) goes to review."""
        if p_harmful is None:
            return Decision.REVIEW
        if p_harmful >= self.block:
            return Decision.BLOCK
        return Decision.REVIEW if p_harmful >= self.review else Decision.ALLOW


@dataclass(frozen=True, slots=True)
class WindowScore:
    """The first look on one part of a sample."""

    start: float
    """Seconds of a video, characters of a text."""
    end: float
    p_harmful: float | None
    what: str = "video"
    """video, media, text, request, response, or, for deceiving characters, "as written" and "as read"."""
    deliberated: bool = False
    """Whether the reasoning is about this part alone."""
    position: int = 0
    """Which of the sample's media this is about, from 0; says nothing of a text."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement of one sample by one checkpoint."""

    id: str
    sample_id: str
    checkpoint_id: str
    protocol_version: str
    engine: str
    dtype: str
    preprocessing: str
    thresholds: Thresholds
    decision: Decision
    assessment: Assessment | None
    """None when the text could not be read; `error` then says why."""
    error: str | None
    first_look: HarmProbability
    deliberated: HarmProbability
    generation: Generation | None
    """None for a first look without deliberation."""
    created_at: str
    """UTC, ISO 8601."""
    warnings: tuple[str, ...] = ()
    windows: tuple[WindowScore, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The one public JSON form of a verdict (README, "Named API"): plain values only."""
        said = self.assessment

        def side(name: str) -> dict[str, Any] | None:
            label: Label | None = getattr(said, name) if said else None
            first: float | None = getattr(self.first_look, name)
            deliberated: float | None = getattr(self.deliberated, name)
            if name == "response" and first is None and deliberated is None and label in (None, Label.ABSENT):
                return None
            return {
                "label": label.value if label in (Label.HARMFUL, Label.UNHARMFUL) else None,
                "p_harmful": deliberated,
                "first_look_p_harmful": first,
            }

        done = self.generation
        return {
            "id": self.id,
            "sample_id": self.sample_id,
            "checkpoint_id": self.checkpoint_id,
            "protocol_version": self.protocol_version,
            "decision": self.decision.value,
            "request": side("request"),
            "response": side("response"),
            "categories": list(said.categories) if said else [],
            "reasoning": list(said.reasoning) if said else [],
            "error": self.error,
            "finish_reason": done.finish_reason.value if done else None,
            "tokens": done.token_count if done else 0,
            "ttft_ms": round(done.ttft_s * 1000, 1) if done and done.ttft_s is not None else None,
            "latency_ms": round(done.latency_s * 1000, 1) if done else None,
            "warnings": list(self.warnings),
            "windows": [asdict(window) for window in self.windows],
            "engine": self.engine,
            "dtype": self.dtype,
            "preprocessing": self.preprocessing,
            "thresholds": asdict(self.thresholds),
            "created_at": self.created_at,
        }


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How media become pixels (one row of the papers' preprocessing tables; pixel figures count width x height)."""

    name: str
    fps: float
    """Frames sampled a second."""
    max_frames: int
    """Frames that one prompt holds at most; longer videos are swept in windows of so many."""
    frame_min_pixels: int
    frame_max_pixels: int
    image_min_pixels: int
    image_max_pixels: int

    def __post_init__(self) -> None:
        counts = (
            self.max_frames, self.frame_min_pixels, self.frame_max_pixels, self.image_min_pixels, self.image_max_pixels
        )  # fmt: skip
        in_order = self.frame_min_pixels <= self.frame_max_pixels and self.image_min_pixels <= self.image_max_pixels
        if not (0 < self.fps < math.inf and all(isinstance(n, int) and n >= 1 for n in counts) and in_order):
            raise ValueError(
                f"preprocessing {self.name!r} needs a positive fps, whole positive numbers, and least pixels <= most"
            )


@dataclass(frozen=True, slots=True)
class Calibration:
    """Logit scaling fitted on validation data: p = sigmoid(logit / temperature + bias)."""

    temperature: float = 1.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.temperature < math.inf and -math.inf < self.bias < math.inf):
            raise ValueError(
                f"calibration temperature={self.temperature} must be positive and bias={self.bias} a finite number"
            )


@dataclass(frozen=True, slots=True)
class Looks:
    """Calibration of the two probabilities of one kind of prompt; they are fitted apart."""

    first_look: Calibration = field(default_factory=Calibration)
    deliberated: Calibration = field(default_factory=Calibration)


@dataclass(frozen=True, slots=True)
class Calibrations:
    """A checkpoint that reads text well may read pictures badly, so the two are calibrated apart."""

    text: Looks = field(default_factory=Looks)
    media: Looks = field(default_factory=Looks)

    def of(self, *, media: bool) -> Looks:
        """Those of prompts with or without media."""
        return self.media if media else self.text


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """What a loaded checkpoint is, for the header, the verdicts and the card."""

    id: str
    source: str
    """Built-in, the folder, the hub id or the server's address, as the owner named it."""
    protocol_version: str
    preprocessing: Preprocessing
    context_tokens: int
    max_new_tokens: int
    thresholds: Thresholds = field(default_factory=Thresholds)
    first_look_calibrated: bool = False
    """False when the checkpoint was not trained with first-look rows: its first look is a raw reading."""
    modalities: tuple[Modality, ...] = (Modality.TEXT, Modality.IMAGE, Modality.VIDEO)
    parameters: int | None = None
