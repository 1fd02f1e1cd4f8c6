"""Laws of the rewards, against values worked out by hand from the papers' formulas."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from core.mining.rules import Answer
from core.types import Label
from train_jobs.rules.rewards import (
    ACCURACY,
    RewardForm,
    RewardRule,
    accuracy,
    conciseness,
    exploration,
    mask_wrong_group,
    normalised_length,
    reward,
    safety,
    shortness,
)

H, U, A, X = Label.HARMFUL, Label.UNHARMFUL, Label.ABSENT, Label.UNLABELLED
LIMIT = 2048
RIGHT, HALF, WRONG = (H, U), (H, H), (U, H)
GOLD = (H, U)
"""A request that is harmful and a response that is not."""

OMNI_V1 = RewardRule(RewardForm.OMNI_V1)
OMNI_V2 = RewardRule(RewardForm.OMNI_V2, most=0.4, scale=250, free=250)
VL = RewardRule(RewardForm.VL)
VL_ECO = RewardRule(RewardForm.VL, beta=1 / 6, floor=1 / 6)
ORDERED = RewardRule(RewardForm.VL_ORDERED)


@pytest.mark.parametrize(
    ("said", "gold", "expected"),
    [
        (RIGHT, GOLD, 1.0),
        (HALF, GOLD, 0.5),
        (WRONG, GOLD, 0.0),
        (None, GOLD, 0.0),
        ((H, A), (H, A), 1.0),  # no response: all the weight is on the request
        ((U, A), (H, A), 0.0),
        ((H, H), (X, H), 1.0),  # an unlabelled side leaves its weight to the other
        ((U, H), (X, H), 1.0),
        ((H, U), (X, H), 0.0),
        ((H, U), (H, X), 1.0),
        ((H, A), (H, U), 0.5),  # no label for the response is a wrong one
    ],
)
def test_accuracy_is_the_mean_over_the_labelled_sides(said: Answer | None, gold: Answer, expected: float) -> None:
    assert accuracy(said, gold) == expected


@pytest.mark.parametrize("gold", [(X, X), (X, A)])
def test_without_a_labelled_side_nothing_is_rewarded(gold: Answer) -> None:
    with pytest.raises(ValueError, match="no side of the sample is labelled"):
        accuracy((H, H), gold)


@pytest.mark.parametrize(
    ("acc", "length", "expected"),
    [
        (0.0, 0, 0.0),
        (0.0, 300, 0.152319),
        (0.5, 300, 0.152319),
        (0.0, 600, 0.192806),
        (0.0, 4096, 0.2),
        (1.0, 600, 0.0),
    ],
)
def test_exploration_by_hand(acc: float, length: int, expected: float) -> None:
    assert exploration(acc, length) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("acc", "length", "expected"),
    [(1.0, 100, 0.0), (1.0, 250, 0.0), (1.0, 500, 0.304638), (1.0, 375, 0.184847), (1.0, 4096, 0.4), (0.5, 4096, 0.0)],
)
def test_conciseness_by_hand(acc: float, length: int, expected: float) -> None:
    assert conciseness(acc, length) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("acc", "l_norm", "beta", "floor", "expected"),
    [
        (1.0, 0.5, 1.0, 0.25, 0.0),
        (0.5, 0.5, 1.0, 0.25, -2.0),
        (0.5, 1.0, 1.0, 0.25, -0.5),
        (0.0, 1.0, 1.0, 0.25, -1.0),
        (0.0, 0.5, 1.0, 0.25, -4.0),
        (0.0, 0.25, 1.0, 0.25, -16.0),
        (0.0, 0.001, 1.0, 0.25, -16.0),  # the floor: without it a million
        (0.0, 0.1, 1.0, 0.05, -100.0),
        (0.5, 0.9, 1 / 6, 1 / 12, -18.0),  # Eco: beyond a sixth of the limit length is free
        (0.5, 0.1, 1 / 6, 1 / 12, -50.0),
    ],
)
def test_the_length_aware_safety_reward_by_hand(
    acc: float, l_norm: float, beta: float, floor: float, expected: float
) -> None:
    assert safety(acc, l_norm, beta=beta, floor=floor) == pytest.approx(expected)


def test_truncated_nonsense_beats_a_short_half_right_answer_in_the_published_form() -> None:
    # The weak spot: at l = 0.707 half right falls to the -1 of an unreadable answer at full length.
    nonsense = reward(VL, None, GOLD, LIMIT, LIMIT).total
    assert nonsense == -1.0
    assert reward(VL, HALF, GOLD, round(0.70 * LIMIT), LIMIT).total < nonsense
    assert reward(VL, HALF, GOLD, round(0.72 * LIMIT), LIMIT).total > nonsense


@pytest.mark.parametrize(
    ("rule", "said", "length", "terms"),
    [
        (OMNI_V1, RIGHT, 900, {"accuracy": 1.0, "exploration": 0.0}),
        (OMNI_V1, HALF, 300, {"accuracy": 0.5, "exploration": 0.152319}),
        (OMNI_V1, WRONG, 300, {"accuracy": 0.0, "exploration": 0.152319}),
        (OMNI_V1, None, 300, {"accuracy": 0.0, "exploration": 0.0}),
        (OMNI_V2, RIGHT, 500, {"accuracy": 1.0, "conciseness": -0.304638}),
        (OMNI_V2, RIGHT, 200, {"accuracy": 1.0, "conciseness": 0.0}),
        (OMNI_V2, HALF, 900, {"accuracy": 0.5, "conciseness": 0.0}),
        (OMNI_V2, None, 900, {"accuracy": 0.0, "conciseness": 0.0}),
        (VL, RIGHT, 10, {"accuracy": 0.0, "length": 0.0}),
        (VL, HALF, 1024, {"accuracy": -0.5, "length": -1.5}),
        (VL, None, 1024, {"accuracy": -1.0, "length": -3.0}),
        (VL_ECO, WRONG, 2048, {"accuracy": -1.0, "length": -35.0}),
        (ORDERED, RIGHT, 10, {"accuracy": 0.0, "readable": 0.0, "length": 0.0}),
        (ORDERED, HALF, 2048, {"accuracy": -0.5, "readable": 0.0, "length": 0.0}),
        (ORDERED, WRONG, 1, {"accuracy": -1.0, "readable": 0.0, "length": -0.4}),
        (ORDERED, WRONG, 1024, {"accuracy": -1.0, "readable": 0.0, "length": -0.08}),  # (4 - 1) / (16 - 1) of 0.4
        (ORDERED, None, 2048, {"accuracy": -1.0, "readable": -0.5, "length": 0.0}),
    ],
)
def test_every_term_by_hand(rule: RewardRule, said: Answer | None, length: int, terms: dict[str, float]) -> None:
    given = reward(rule, said, GOLD, length, LIMIT)
    assert given.terms == pytest.approx(terms, abs=1e-6)
    assert given.total == pytest.approx(sum(terms.values()), abs=1e-6)


@pytest.mark.parametrize(("said", "ceiling"), [(WRONG, 0.2), (HALF, 0.7), (RIGHT, 1.0), (None, 0.0)])
def test_the_ceilings_of_exploration_are_the_papers(said: Answer | None, ceiling: float) -> None:
    assert reward(OMNI_V1, said, GOLD, 100_000, LIMIT).total == pytest.approx(ceiling)


@pytest.mark.parametrize("rule", [ORDERED, RewardRule(RewardForm.VL_ORDERED, beta=1 / 6, floor=1 / 24)])
def test_the_ordered_form_keeps_its_order_at_every_pair_of_lengths(rule: RewardRule) -> None:
    lengths = (1, 50, 200, 512, 1024, 1500, 2048)
    ranks = [
        [reward(rule, said, GOLD, length, LIMIT).total for length in lengths] for said in (RIGHT, HALF, WRONG, None)
    ]
    for better, worse in itertools.pairwise(ranks):
        assert min(better) > max(worse)
    assert len(set(ranks[1])) > 2, "and length still counts inside a rank"
    assert ranks[1] == sorted(ranks[1])


@pytest.mark.parametrize("rule", [OMNI_V1, OMNI_V2, VL, ORDERED])
@pytest.mark.parametrize("said", [RIGHT, HALF, WRONG])
def test_without_its_length_term_a_reward_does_not_know_length(rule: RewardRule, said: Answer) -> None:
    bare = RewardRule(rule.form, length_term=False, most=rule.most, scale=rule.scale)
    assert len({reward(bare, said, GOLD, length, LIMIT).total for length in (1, 300, 2048)}) == 1


def test_a_group_that_is_wrong_throughout_can_be_masked() -> None:
    wrong = [reward(OMNI_V1, WRONG, GOLD, length, LIMIT) for length in (50, 300, 900)] + [
        reward(OMNI_V1, None, GOLD, 10, LIMIT)
    ]
    assert len({each.total for each in wrong}) == 4, "the published form rewards length there"
    masked = mask_wrong_group(wrong)
    assert {each.total for each in masked} == {0.0}
    assert [each.readable for each in masked] == [True, True, True, False]
    half = [reward(VL, HALF, GOLD, length, LIMIT) for length in (600, 2048)]
    assert {each.total for each in mask_wrong_group(half)} == {-0.5}


@pytest.mark.parametrize("others", [(RIGHT, WRONG), (HALF, WRONG), (RIGHT, RIGHT)])
def test_a_group_in_which_accuracy_decides_is_left_alone(others: tuple[Answer, ...]) -> None:
    group = [reward(OMNI_V1, said, GOLD, 300, LIMIT) for said in others]
    assert mask_wrong_group(group) == group


def test_normalised_length_lies_above_zero_and_at_most_at_one() -> None:
    assert [normalised_length(length, 100) for length in (0, 1, 50, 100, 200)] == [0.01, 0.01, 0.5, 1.0, 1.0]


def test_shortness_runs_from_the_floor_to_beta() -> None:
    assert [shortness(share, beta=1.0, floor=0.5) for share in (0.1, 0.5, 1.0)] == [1.0, 1.0, 0.0]
    assert shortness(0.1, beta=1 / 6, floor=1 / 6) == 0.0


@pytest.mark.parametrize(
    ("name", "value"), [("most", 0), ("scale", -1), ("beta", 0), ("beta", 2), ("floor", float("nan")), ("free", -1)]
)
def test_constants_that_cannot_be_used_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        replace(RewardRule(RewardForm.VL), **{name: value})


def test_every_form_names_its_accuracy() -> None:
    for form in RewardForm:
        assert ACCURACY in reward(RewardRule(form), RIGHT, GOLD, 100, LIMIT).terms
