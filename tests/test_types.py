"""Laws of the values: what a sample's id depends on, how thresholds decide, what a verdict's JSON holds."""

from __future__ import annotations

import hashlib
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.types import (
    Assessment,
    Calibration,
    Decision,
    FinishReason,
    Generation,
    HarmProbability,
    Label,
    MediaRef,
    Modality,
    Preprocessing,
    Sample,
    Thresholds,
    Verdict,
    WindowScore,
)

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=[]), max_size=30)


def image(digest: str = "a" * 64, **more: int) -> MediaRef:
    values = {"byte_size": 10, "width": 4, "height": 3} | more
    return MediaRef(digest, "image/png", Modality.IMAGE, **values)


def clip(digest: str = "b" * 64, duration_s: float = 2.0, frame_count: int = 48) -> MediaRef:
    return MediaRef(digest, "video/mp4", Modality.VIDEO, 10, 4, 3, duration_s, frame_count)


# -- ids ----------------------------------------------------------------------------------------------------------


def test_the_canonical_form_is_a_contract() -> None:
    """These ids are in people's stores: a change of the form needs a new tag."""
    forms = {
        Sample("hello"): '{"form":"sample-v1","media":[],"request":"hello","response":null}',
        Sample("he\u0301", "", (image("a1"), clip("b2"))): (
            '{"form":"sample-v1","media":["a1","b2"],"request":"hé","response":""}'
        ),
    }
    for sample, form in forms.items():
        assert sample.id == "s1-" + hashlib.sha256(form.encode()).hexdigest()
    assert Sample("hello").id == "s1-e10ee73ab2276a78153118eb632fa6fb83b53db52f96998e616082cd1e0b916c"


@given(ANY_TEXT, st.one_of(st.none(), ANY_TEXT))
def test_every_text_has_an_id_and_the_same_text_the_same(request: str, response: str | None) -> None:
    one = Sample(request, response).id
    assert one == Sample(request, response).id
    assert len(one) == 3 + 64
    assert one.startswith("s1-")


@given(st.text(max_size=30))
def test_composed_and_decomposed_spellings_are_one_sample(text: str) -> None:
    composed, decomposed = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
    assert Sample(composed, decomposed).id == Sample(decomposed, composed).id


@given(ANY_TEXT, ANY_TEXT)
def test_texts_that_differ_are_different_samples(one: str, other: str) -> None:
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    assert (Sample(one).id == Sample(other).id) == same


def test_what_is_said_by_whom_and_in_which_order_makes_a_difference() -> None:
    samples = [
        Sample("ab"), Sample("a", "b"), Sample("b", "a"), Sample("ab", ""), Sample("", "ab"), Sample("AB"),
        Sample("ab "),
        Sample("ab", None, (image(),)), Sample("ab", None, (image(), clip())), Sample("ab", None, (clip(), image())),
        Sample("ab", None, (image(), image())), Sample('ab","response":null'), Sample("ﬁ"), Sample("fi"),
    ]  # fmt: skip
    assert len({sample.id for sample in samples}) == len(samples)


def test_what_a_decoder_says_of_a_file_does_not_matter() -> None:
    same = Sample("x", None, (clip(duration_s=2.0, frame_count=48),))
    assert same.id == Sample("x", None, (clip(duration_s=1.99, frame_count=47),)).id
    assert same.id == Sample("x", None, (image(digest="b" * 64, width=99),)).id


def test_the_modality_is_the_richest_of_the_media() -> None:
    assert Sample("x").modality is Modality.TEXT
    assert Sample("x", None, (image(),)).modality is Modality.IMAGE
    assert Sample("x", None, (image(), clip(), image())).modality is Modality.VIDEO


# -- decisions ----------------------------------------------------------------------------------------------------


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_thresholds_split_the_probabilities_in_three(one: float, other: float, p: float) -> None:
    thresholds = Thresholds(min(one, other), max(one, other))
    decision = thresholds.decide(p)
    assert (decision is Decision.BLOCK) == (p >= thresholds.block)
    assert (decision is Decision.ALLOW) == (p < thresholds.review)


def test_the_unknown_goes_to_review() -> None:
    assert Thresholds(1.0, 1.0).decide(None) is Decision.REVIEW
    assert HarmProbability().worst is None
    assert HarmProbability(None, 0.2).worst == 0.2
    assert HarmProbability(0.3, 0.2).worst == 0.3


@pytest.mark.parametrize(("review", "block"), [(0.7, 0.6), (-0.1, 0.5), (0.5, 1.1), (float("nan"), 0.5)])
def test_thresholds_out_of_order_are_refused(review: float, block: float) -> None:
    with pytest.raises(ValueError, match="0 <= review <= block <= 1"):
        Thresholds(review, block)


@pytest.mark.parametrize(
    "values", [(0.0, 0.0), (-1.0, 0.0), (float("nan"), 0.0), (1.0, float("inf")), (float("inf"), 0.0)]
)
def test_a_calibration_must_be_computable(values: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="temperature="):
        Calibration(*values)


@pytest.mark.parametrize(
    "changes",
    [{"fps": 0.0}, {"fps": float("inf")}, {"max_frames": 0}, {"frame_min_pixels": 30}, {"image_max_pixels": 1}],
)
def test_preprocessing_must_be_possible(changes: dict[str, float]) -> None:
    values = {
        "fps": 2.0, "max_frames": 8, "frame_min_pixels": 10, "frame_max_pixels": 20, "image_min_pixels": 10,
        "image_max_pixels": 20,
    }  # fmt: skip
    Preprocessing("good", **values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="preprocessing 'bad'"):
        Preprocessing("bad", **values | changes)  # type: ignore[arg-type]


# -- the public form ----------------------------------------------------------------------------------------------

FIELDS = {
    "id", "sample_id", "checkpoint_id", "protocol_version", "decision", "request", "response", "reasoning", "error",
    "finish_reason", "tokens", "ttft_ms", "latency_ms", "warnings", "engine", "thresholds",
}  # fmt: skip
"""Those that are promised; there are more."""


def verdict(
    assessment: Assessment | None, first: HarmProbability, deliberated: HarmProbability, **more: object
) -> Verdict:
    values: dict[str, object] = {
        "generation": Generation("text", 7, FinishReason.STOP, 0.0123, 0.5),
        "error": None, "warnings": ("careful",), "windows": (WindowScore(0, 1.5, 0.25),),
    }  # fmt: skip
    return Verdict(
        "v", "s", "c", "p", "transformers", "float32", "pre", Thresholds(), Decision.ALLOW, assessment,
        first_look=first, deliberated=deliberated, created_at="2026-01-01T00:00:00+00:00", **values | more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_public_form_is_plain_json_with_everything_promised() -> None:
    said = Assessment(Label.UNHARMFUL, Label.HARMFUL, ("other",), ("one", "two"))
    values = verdict(said, HarmProbability(0.1, 0.8), HarmProbability(0.2, 0.9)).to_json()
    assert set(values) >= FIELDS
    assert json.loads(json.dumps(values)) == values
    assert values["request"] == {"label": "unharmful", "p_harmful": 0.2, "first_look_p_harmful": 0.1}
    assert values["response"] == {"label": "harmful", "p_harmful": 0.9, "first_look_p_harmful": 0.8}
    assert (values["reasoning"], values["finish_reason"], values["tokens"]) == (["one", "two"], "stop", 7)
    assert (values["ttft_ms"], values["latency_ms"]) == (12.3, 500.0)
    assert values["thresholds"] == {"review": 0.35, "block": 0.65}


def test_a_response_that_is_not_there_is_null() -> None:
    said = Assessment(Label.UNHARMFUL, Label.ABSENT)
    assert verdict(said, HarmProbability(0.1), HarmProbability(0.2)).to_json()["response"] is None


def test_an_unreadable_verdict_has_no_labels_and_keeps_its_first_look() -> None:
    values = verdict(None, HarmProbability(0.1, 0.3), HarmProbability(), error="It is unreadable.").to_json()
    assert values["request"] == {"label": None, "p_harmful": None, "first_look_p_harmful": 0.1}
    assert values["response"] == {"label": None, "p_harmful": None, "first_look_p_harmful": 0.3}
    assert values["error"] == "It is unreadable."


def test_a_first_look_alone_has_no_generation() -> None:
    values = verdict(None, HarmProbability(0.1), HarmProbability(), generation=None).to_json()
    assert (values["tokens"], values["finish_reason"], values["ttft_ms"], values["latency_ms"]) == (0, None, None, None)
