"""Laws of balancing the labels of a training by reinforcement."""

from __future__ import annotations

import random
from collections import Counter

from core.types import Label, Sample
from train_jobs.grpo import job as grpo
from train_jobs.recipes.files import find_recipe, resolve
from train_jobs.recipes.grpo import check_grpo
from train_jobs.rules.augment import HardRow, balanced

H, U, A, X = Label.HARMFUL, Label.UNHARMFUL, Label.ABSENT, Label.UNLABELLED


def rows(*labels: tuple[Label, Label]) -> list[HardRow]:
    made = []
    for at, (request, response) in enumerate(labels):
        made.append(HardRow(Sample(f"text {at}", None if response is A else "answer"), request, response))
    return made


def test_the_rarer_label_comes_as_often_as_the_other_each_kind_of_row_by_itself() -> None:
    some = rows((H, A), (H, A), (H, A), (H, A), (H, A), (U, A), (U, A), (X, U), (X, U), (X, H), (H, U))
    found = Counter((row.request, row.response) for row in balanced(some, random.Random(0)))
    assert found == {(H, A): 5, (U, A): 5, (X, U): 2, (X, H): 2, (H, U): 1}


def test_no_row_is_left_out_and_repeats_are_spread_evenly() -> None:
    some = rows(*[(H, A)] * 7, *[(U, A)] * 3)
    found = Counter(row.sample.id for row in balanced(some, random.Random(1)))
    assert set(found) == {row.sample.id for row in some}
    assert sorted(found.values()) == [1] * 7 + [2, 2, 3]
    assert balanced([], random.Random(0)) == []


def test_the_order_of_a_balanced_training_has_no_more_rollouts_and_both_labels_alike() -> None:
    some = rows(*[(H, A)] * 12, *[(U, A)] * 4)
    changes = {"prompts": 4, "generations": 2, "updates": 1, "micro_batch": 8, "epochs": 3}
    plain, even = (
        grpo.rollout_order(some, check_grpo(resolve(find_recipe("grpo-builtin"), {**changes, "balance": balance})))
        for balance in (False, True)
    )
    assert len(plain) == len(even) == 48
    assert Counter(row.request for row in plain) == {H: 36, U: 12}
    assert Counter(row.request for row in even) == {H: 24, U: 24}
