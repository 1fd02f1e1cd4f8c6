"""Verdicts for tests: one to vary by hand, and every possible one for laws."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from hypothesis import strategies as st

from core.types import (
    Assessment,
    Decision,
    FinishReason,
    Generation,
    HarmProbability,
    Label,
    MediaRef,
    Modality,
    Sample,
    Thresholds,
    Verdict,
    WindowScore,
)


def verdict_on(sample: Sample, id: str = "v-1", **changes: Any) -> Verdict:
    """A plausible verdict on a sample, with some fields changed."""
    values: dict[str, Any] = {
        "id": id,
        "sample_id": sample.id,
        "checkpoint_id": "guard-1",
        "protocol_version": "guardroom-v1",
        "engine": "transformers",
        "dtype": "float32",
        "preprocessing": "omni-v1-evaluation",
        "thresholds": Thresholds(),
        "decision": Decision.ALLOW,
        "assessment": Assessment(Label.UNHARMFUL, Label.ABSENT, reasoning=("The user greets.", "Nothing is harmful.")),
        "error": None,
        "first_look": HarmProbability(0.1),
        "deliberated": HarmProbability(0.05),
        "generation": Generation("<think>\n1. The user greets.", 12, FinishReason.STOP, 0.0123456, 0.25),
        "created_at": "2026-11-21T06:37:14.250000+00:00",
    }
    return Verdict(**values | changes)


def image(digest: str = "a" * 64, **changes: Any) -> MediaRef:
    """What is known of a small picture."""
    values: dict[str, Any] = {
        "digest": digest,
        "media_type": "image/png",
        "modality": Modality.IMAGE,
        "byte_size": 1234,
        "width": 32,
        "height": 16,
    }
    return MediaRef(**values | changes)


texts = st.text(st.characters(exclude_categories=()), max_size=40)
"""Any Python text: NULs, lone surrogates and emoji included."""

_chances = st.floats(0, 1)
_seconds = st.floats(0, 1e6)
_probabilities = st.builds(HarmProbability, st.none() | _chances, st.none() | _chances)
_steps = st.lists(texts, max_size=3).map(tuple)

media = st.builds(
    MediaRef,
    digest=st.integers(0, 3).map(lambda number: f"{number:064x}"),
    media_type=texts,
    modality=st.sampled_from([Modality.IMAGE, Modality.VIDEO]),
    byte_size=st.integers(0, 2**40),
    width=st.integers(1, 2**20),
    height=st.integers(1, 2**20),
    duration_s=st.none() | _seconds,
    frame_count=st.none() | st.integers(0, 2**31 - 1),
)

samples = st.builds(
    Sample, texts, st.none() | texts, st.lists(media, max_size=3, unique_by=lambda ref: ref.digest).map(tuple)
)

verdicts = st.builds(
    Verdict,
    id=texts,
    sample_id=texts,
    checkpoint_id=texts,
    protocol_version=texts,
    engine=texts,
    dtype=texts,
    preprocessing=texts,
    thresholds=st.lists(_chances, min_size=2, max_size=2).map(lambda pair: Thresholds(min(pair), max(pair))),
    decision=st.sampled_from(Decision),
    assessment=st.none() | st.builds(Assessment, st.sampled_from(Label), st.sampled_from(Label), _steps, _steps),
    error=st.none() | texts,
    first_look=_probabilities,
    deliberated=_probabilities,
    generation=st.none()
    | st.builds(
        Generation, texts, st.integers(0, 2**31), st.sampled_from(FinishReason), st.none() | _seconds, _seconds
    ),
    created_at=st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.isoformat()),
    warnings=_steps,
    windows=st.lists(st.builds(WindowScore, _seconds, _seconds, st.none() | _chances), max_size=3).map(tuple),
)
