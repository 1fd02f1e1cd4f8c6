"""Laws of the reward's chart: it draws the function that runs, and no curve is told by its colour alone."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from app.train.start.reward_chart import CASES, reward_chart, reward_curves
from core.types import Label
from train_jobs.recipes.files import list_recipes
from train_jobs.rules.rewards import RewardForm, RewardRule, reward
from train_jobs.runs.specs import JobKind

RULES = [RewardRule(form) for form in RewardForm]
GOLD = (Label.HARMFUL, Label.UNHARMFUL)


@pytest.mark.parametrize("rule", RULES, ids=[rule.form for rule in RULES])
def test_the_curves_are_the_function_that_runs(rule: RewardRule) -> None:
    curves = reward_curves(rule, 1024)
    assert curves.keys() == {"right", "half right", "wrong", "unreadable"}
    for case, curve in curves.items():
        assert [length for length, _ in curve] == sorted({length for length, _ in curve})
        assert (curve[0][0], curve[-1][0]) == (1, 1024)
        assert curve == [(length, reward(rule, CASES[case], GOLD, length, 1024).total) for length, _ in curve]


def test_the_lengths_where_a_formula_bends_are_drawn() -> None:
    lengths = [length for length, _ in reward_curves(RewardRule(RewardForm.VL, beta=0.5, floor=0.1), 1001)["wrong"]]
    assert {100, 250, 500} <= set(lengths)


def test_the_chart_has_four_curves_that_differ_by_their_dashes_and_says_their_ends() -> None:
    chart = reward_chart(RewardRule(RewardForm.OMNI_V1), 2048)
    root = ElementTree.fromstring(chart)
    drawn = {path.get("data-case"): path.get("style") or "" for path in root.iter("path") if path.get("data-case")}
    assert list(drawn) == list(CASES)
    assert len({"".join(re.findall("stroke-dasharray:([^;]*)", style)) for style in drawn.values()}) == 4
    words = "".join(root.itertext())
    assert "right: 1 at every length" in words
    assert "half right: 0.5 at 1 token, 0.7 at 2,048" in words
    assert "wrong: 0 at 1 token, 0.2 at 2,048" in words
    assert "unreadable: 0 at every length" in words


def test_every_point_lies_inside_the_drawing() -> None:
    for recipe in list_recipes(kind=JobKind.GRPO):
        root = ElementTree.fromstring(reward_chart(recipe.settings.reward.rule(), recipe.settings.longest_completion))
        for path in root.iter("path"):
            if path.get("data-case"):
                for x, y in re.findall(r"([\d.-]+) ([\d.-]+)", path.get("d") or ""):
                    assert 52 <= float(x) <= 428
                    assert 12 <= float(y) <= 220


def test_a_limit_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="limit of 1 tokens"):
        reward_curves(RULES[0], 1)
