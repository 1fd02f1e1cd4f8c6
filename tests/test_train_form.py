"""Laws of the form of a new run: every recipe goes through it unchanged, and a wrong value is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.train.start import form as train_form
from app.train.start.reward_chart import CASES
from app.train.start.tab import chart, constants
from core.errors import InputError, JobError
from core.types import Label
from train_jobs.recipes.files import SETTINGS, find_recipe, list_recipes, resolve
from train_jobs.rules.rewards import RewardForm, RewardRule, reward
from train_jobs.runs.specs import JobKind

KINDS = tuple(SETTINGS)


@pytest.mark.parametrize("recipe", list_recipes(), ids=lambda recipe: recipe.name)
def test_every_recipe_survives_the_form_unchanged(recipe: Any) -> None:
    values = resolve(recipe)
    assert resolve(recipe, train_form.changes(recipe.kind, train_form.shown(recipe.kind, values))) == values


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_of_a_recipe_has_one_field_in_one_place(kind: JobKind) -> None:
    names = [each.name for each in train_form.fields(kind)]
    assert len(names) == len(set(names))
    values = list_recipes(kind=kind)[0].settings.model_dump()
    assert {name.partition(".")[0] for name in names} == set(values)
    for section, inside in values.items():
        if isinstance(inside, dict):
            assert {name for name in names if name.startswith(f"{section}.")} == {f"{section}.{key}" for key in inside}
    plan = train_form.PLANS[kind]
    assert names[: len(plan.short)] == list(plan.short)
    assert len({section.key for section in plan.sections}) == len(plan.sections)


def said(name: str, value: Any, recipe: str = "grpo-builtin") -> dict[str, Any]:
    """The form of a recipe with one field changed, as values of a job."""
    chosen = find_recipe(recipe)
    values = train_form.shown(chosen.kind, resolve(chosen))
    values[[each.name for each in train_form.fields(chosen.kind)].index(name)] = value
    return resolve(chosen, train_form.changes(chosen.kind, values))


def test_a_changed_field_changes_its_value_and_no_other() -> None:
    usual = resolve(find_recipe("grpo-builtin"))
    assert said("reward.floor", 0.5) == usual | {"reward": usual["reward"] | {"floor": 0.5}}
    assert said("mining.rule", "all") == usual | {"mining": usual["mining"] | {"rule": "all"}}
    assert said("generations", 4.0) == usual | {"generations": 4}, "the browser sends numbers with a point"


def test_an_emptied_number_and_one_out_of_bounds_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="Epochs is empty"):
        said("epochs", None, "sft-builtin")
    with pytest.raises(InputError, match="Beta is empty"):
        said("reward.beta", None)
    with pytest.raises(JobError, match="epochs = 0"):
        said("epochs", 0, "sft-builtin")
    with pytest.raises(JobError, match=r"reward\.floor = 2"):
        said("reward.floor", 2)


@pytest.mark.parametrize("text", ["\n\n", " | ", "a\tb\\n", "\\", ""])
def test_line_ends_of_a_text_are_written_out_and_read_back(text: str) -> None:
    recipe = find_recipe("grpo-builtin")
    values = resolve(recipe, {"concatenation": {"separator": text}})
    shown = train_form.shown(JobKind.GRPO, values)
    field = shown[[each.name for each in train_form.fields(JobKind.GRPO)].index("concatenation.separator")]
    assert "\n" not in field
    assert train_form.text_said(field) == text
    assert resolve(recipe, train_form.changes(JobKind.GRPO, shown)) == values


@pytest.mark.parametrize("form", list(RewardForm))
def test_the_constants_that_are_shown_are_those_that_change_the_reward(form: RewardForm) -> None:
    usual = RewardRule(form, True, most=0.3, scale=40.0, free=30.0, beta=0.8, floor=0.2)
    gold = (Label.HARMFUL, Label.UNHARMFUL)

    def rewards(rule: RewardRule) -> list[float]:
        return [reward(rule, case, gold, length, 200).total for case in CASES.values() for length in range(1, 201)]

    others = {
        "most": replace(usual, most=0.4), "scale": replace(usual, scale=80.0), "free": replace(usual, free=60.0),
        "beta": replace(usual, beta=0.5), "floor": replace(usual, floor=0.1),
    }  # fmt: skip
    moves = {f"reward.{name}" for name, rule in others.items() if rewards(rule) != rewards(usual)}
    assert moves == train_form.REWARD_CONSTANTS[form]
    assert sum(each.visible is True for each in constants(form)) == len(moves)


def test_the_chart_follows_its_values_and_says_what_is_wrong_with_them() -> None:
    given = resolve(find_recipe("grpo-omni-v1"))["reward"]
    assert "wrong: 0 at 1 token, 0.2 at 2,048" in chart(given, 2048)
    assert "wrong: 0 at 1 token, 0.5 at 2,048" in chart(given | {"most": 0.5}, 2048)
    assert "wrong: 0 at every length" in chart(given | {"length_term": False}, 2048)
    assert "The reward cannot be used: most = -1" in chart(given | {"most": -1}, 2048)
    for limit in (None, 1):
        assert "2 or more tokens" in chart(given, limit)
