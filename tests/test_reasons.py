"""Laws of why a sample is in the queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_store.rules.reasons import (
    DEFAULT_WEIGHTS,
    ReasonRules,
    generations_disagree,
    inside_band,
    is_audited,
    looks_disagree,
    reasons_for,
    reported,
)
from annotation_store.values.reasons import KIND_NAMES, ReasonKind
from core.mining.rules import vote_entropy
from core.types import Assessment, FinishReason, Generation, HarmProbability, Label, Sample, Thresholds, Verdict
from tests import verdicts as some
from tests.verdicts import verdict_on

NO_AUDIT = ReasonRules(audit_share=0.0)
HARMFUL, UNHARMFUL = (Label.HARMFUL, Label.ABSENT), (Label.UNHARMFUL, Label.ABSENT)


def kinds(verdict: Verdict) -> list[ReasonKind]:
    return [reason.kind for reason in reasons_for(verdict, NO_AUDIT)]


def test_a_clear_verdict_gives_no_reason() -> None:
    assert kinds(verdict_on(Sample("hello"))) == []


@given(some.verdicts)
def test_every_verdict_gives_reasons_in_words_with_strengths_from_0_to_1(verdict: Verdict) -> None:
    found = reasons_for(verdict, ReasonRules(audit_share=1.0))
    assert found[-1].kind is ReasonKind.AUDIT
    for reason in found:
        assert 0.0 <= reason.strength <= 1.0
        assert reason.checkpoint_id == verdict.checkpoint_id
    assert len({reason.kind for reason in found}) == len(found)


@pytest.mark.parametrize(
    ("first", "deliberated", "hard"),
    [
        ((0.1, None), (0.2, None), False),
        ((0.1, None), (0.4, None), True),
        ((0.45, None), (0.55, None), True),
        ((0.49, None), (0.51, None), False),
        ((None, None), (0.9, None), False),
        ((0.1, 0.2), (0.1, 0.9), True),
    ],
)
def test_first_look_and_deliberation_disagree_across_one_half_or_by_the_gap(
    first: tuple[float | None, float | None], deliberated: tuple[float | None, float | None], hard: bool
) -> None:
    reason = looks_disagree(HarmProbability(*first), HarmProbability(*deliberated), 0.25)
    assert (reason is not None) is hard


def test_the_larger_disagreement_is_the_stronger_reason() -> None:
    strengths = [
        looks_disagree(HarmProbability(0.1), HarmProbability(p), 0.25).strength  # type: ignore[union-attr]
        for p in (0.4, 0.6, 0.9)
    ]
    assert strengths == sorted(strengths)
    assert strengths[0] < strengths[-1]


def test_the_band_is_what_the_thresholds_send_to_review() -> None:
    thresholds = Thresholds(0.35, 0.65)
    strengths = {}
    for p in (0.0, 0.34, 0.35, 0.5, 0.64, 0.65, 1.0):
        reason = inside_band(HarmProbability(p), thresholds)
        assert (reason is not None) == (thresholds.decide(p).value == "review")
        strengths[p] = reason.strength if reason else 0.0
    assert strengths[0.5] == max(strengths.values()) == 1.0
    assert inside_band(HarmProbability(0.5), Thresholds(0.5, 0.5)) is None


def test_an_answer_that_is_unreadable_or_cut_off_is_a_reason_and_a_pressed_stop_is_none() -> None:
    def without_answer(finish: FinishReason) -> list[ReasonKind]:
        generation = Generation("<think>", 5, finish, 0.1, 0.2)
        return kinds(verdict_on(Sample("hi"), assessment=None, error="It was cut off.", generation=generation))

    assert without_answer(FinishReason.LENGTH) == [ReasonKind.UNREADABLE]
    assert without_answer(FinishReason.STOP) == [ReasonKind.UNREADABLE]
    assert without_answer(FinishReason.CANCELLED) == []
    first_look_alone = verdict_on(Sample("hi"), assessment=None, generation=None, deliberated=HarmProbability())
    assert kinds(first_look_alone) == []


def test_the_audit_share_is_drawn_by_the_id_alone_and_has_its_size() -> None:
    ids = [Sample(f"request {number}").id for number in range(5_000)]
    drawn = {each for each in ids if is_audited(each, 0.1)}
    assert 400 <= len(drawn) <= 600
    assert drawn == {each for each in ids if is_audited(each, 0.1)}
    assert {each for each in ids if is_audited(each, 0.05)} < drawn
    assert not any(is_audited(each, 0.0) for each in ids)
    assert all(is_audited(each, 1.0) for each in ids)


def test_generations_that_agree_are_no_reason_and_an_even_vote_is_the_strongest() -> None:
    assert generations_disagree([HARMFUL] * 4) is None
    assert generations_disagree([]) is None
    even = generations_disagree([HARMFUL, UNHARMFUL] * 2, "guard-1")
    uneven = generations_disagree([HARMFUL, UNHARMFUL, UNHARMFUL, UNHARMFUL])
    assert even is not None
    assert uneven is not None
    assert even.strength == 0.5 > uneven.strength
    assert even.words == "Of 4 sampled generations 2 say harmful and 2 do not."
    lost = generations_disagree([HARMFUL, None])
    assert lost is not None
    assert lost.strength == 1.0
    assert "1 could not be read" in lost.words


@given(st.lists(st.sampled_from([HARMFUL, UNHARMFUL, None]), min_size=1, max_size=8))
def test_vote_entropy_knows_no_order(answers: list[tuple[Label, Label] | None]) -> None:
    assert vote_entropy(answers) == pytest.approx(vote_entropy(answers[::-1]))
    assert vote_entropy(answers * 2) == pytest.approx(vote_entropy(answers))


def test_a_report_repeats_the_visitors_words_shortened() -> None:
    assert "“it is a greeting”" in reported("it is\na greeting").words
    assert len(reported("x" * 5_000).words) < 300
    assert reported("").words == "A visitor says the verdict is wrong."


def test_every_kind_has_a_weight_and_a_name() -> None:
    assert set(DEFAULT_WEIGHTS) == set(KIND_NAMES) == set(ReasonKind)


@pytest.mark.parametrize("values", [{"gap": 0.0}, {"audit_share": 1.5}])
def test_rules_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must lie"):
        ReasonRules(**values)


def test_a_verdict_may_give_several_reasons() -> None:
    verdict = verdict_on(
        Sample("hi"),
        assessment=Assessment(Label.HARMFUL, Label.ABSENT),
        first_look=HarmProbability(0.1),
        deliberated=HarmProbability(0.5),
    )
    assert kinds(verdict) == [ReasonKind.FIRST_LOOK, ReasonKind.BAND]
