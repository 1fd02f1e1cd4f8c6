"""Laws of the recipes of reinforcement: the published constants, the forms for the built-in guard, and refusals."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from core.errors import JobError
from core.mining.rules import Answer
from tests.grpo_runs import H, U
from train_jobs.recipes.files import find_recipe, resolve, usable_recipes
from train_jobs.rules.rewards import RewardForm, RewardRule, reward
from train_jobs.runs.specs import JobKind

SCALED = {
    "grpo-builtin": "grpo-omni-v1",
    "grpo-builtin-v2": "grpo-omni-v2",
    "grpo-builtin-vl": "grpo-vl",
    "grpo-builtin-vl-eco": "grpo-vl-eco",
}
"""The forms for the built-in guard, and whose rules they keep."""


PAPERS: Mapping[str, Mapping[str, Any]] = {
    "grpo-omni-v1": {
        "generations": 16, "temperature": 1.0, "top_p": 0.95, "learning_rate": 2e-6, "weight_decay": 1e-2, "kl": 0.0,
        "clip_low": 0.2, "clip_high": 0.3, "dynamic_clipping": False, "prompts": 256, "longest_prompt": 22_528,
        "longest_completion": 2_048, "freeze_vision": False,
        "reward": {"form": "omni-v1", "most": 0.2, "scale": 300.0},
        "mining": {"rule": "omni-v1", "n": 4, "temperature": 1.0, "top_p": 0.95},
        "preprocessing": {
            "fps": 2.0, "max_frames": 128, "frame_min_pixels": 4_096, "frame_max_pixels": 65_536,
            "image_max_pixels": 65_536,
        },
    },
    "grpo-omni-v2": {
        "generations": 8, "temperature": 1.0, "top_p": 0.95, "learning_rate": 2e-6, "schedule": "cosine",
        "warm_up": 0.05, "kl": 0.0, "clip_low": 0.2, "clip_high": 0.2, "dynamic_clipping": False, "prompts": 16,
        "longest_prompt": 20_480, "longest_completion": 4_096,
        "reward": {"form": "omni-v2", "most": 0.4, "scale": 250.0, "free": 250.0},
        "mining": {"rule": "omni-v2", "n": 8, "temperature": 1.0, "top_p": 0.95},
        "preprocessing": {
            "fps": 1.0, "max_frames": 128, "frame_min_pixels": 3_136, "frame_max_pixels": 50_176,
            "image_max_pixels": 1_605_632,
        },
    },
    "grpo-vl": {
        "generations": 16, "temperature": 1.2, "learning_rate": 1e-6, "weight_decay": 1e-2, "kl": 0.0,
        "clip_low": 0.2, "clip_high": 0.2, "dynamic_clipping": True, "prompts": 512,
        "reward": {"form": "vl", "beta": 1.0, "floor": 0.25},
        "mining": {"rule": "vl", "n": 4, "temperature": 1.0, "top_p": 0.95},
        "concatenation": {"share": 0.2},
    },
}  # fmt: skip
"""arXiv 2505.11049 and 2602.03328: what is published; and floors, which are ours."""
ECO = {**PAPERS["grpo-vl"], "reward": {"form": "vl", "beta": 1 / 6, "floor": 1 / 6}}
FOR_ONE_GPU = {
    "freeze_vision", "generations", "learning_rate", "weight_decay", "prompts", "longest_prompt", "longest_completion",
    "image_max_pixels",
}  # fmt: skip
"""What the LoRA forms may have otherwise."""


@pytest.mark.parametrize(("name", "published"), [*PAPERS.items(), ("grpo-vl-eco", ECO)])
def test_the_recipes_hold_the_published_constants(name: str, published: Mapping[str, Any]) -> None:
    whole, lora = (resolve(find_recipe(each)) for each in (name, f"{name}-lora"))
    assert (whole["tuning"], lora["tuning"]) == ("full", "lora")
    for values, scaled in ((whole, set()), (lora, FOR_ONE_GPU)):
        for key, value in published.items():
            if isinstance(value, Mapping):
                kept = {part: each for part, each in value.items() if part not in scaled}
                assert {part: values[key][part] for part in kept} == kept, key
            elif key not in scaled:
                assert values[key] == value, key
        assert values["reward"]["length_term"]
        options = (values["mask_wrong_groups"], values["mask_truncated"], values["mining"]["drop_all_wrong"])
        assert options == (False, False, False), "as published"


def test_every_paper_has_three_forms_and_each_file_can_be_used() -> None:
    found, problems = usable_recipes(kind=JobKind.GRPO)
    assert problems == []
    forms = [*PAPERS, "grpo-vl-eco"]
    assert {recipe.name for recipe in found} == {*forms, *(f"{name}-lora" for name in forms), *SCALED}


def test_what_the_vl_recipes_say_of_their_weak_spots_is_so() -> None:
    recipes = {each.name: each for each in usable_recipes(kind=JobKind.GRPO)[0] if each.settings.reward.form == "vl"}
    assert len(recipes) == 6
    lengths = [*range(1, 1024, 9), 1024]

    def totals(rule: RewardRule, said: Answer | None) -> list[float]:
        return [reward(rule, said, (H, U), length, 1024).total for length in lengths]

    for name, recipe in recipes.items():
        assert all(words in recipe.differs for words in ("one very short wrong answer", "reward.floor", "'vl-ordered'"))
        rule = recipe.settings.reward.rule()
        assert min(totals(rule, (U, H))) == pytest.approx(-1 / rule.floor**2), "the floor bounds the outlier"
        assert min(totals(replace(rule, floor=1e-3, beta=1.0), (U, H))) < -1e5, "which is there without it"
        ordered = replace(rule, form=RewardForm.VL_ORDERED)
        ranks = [totals(ordered, said) for said in ((H, U), (H, H), (U, H), None)]
        assert all(min(higher) > max(lower) for higher, lower in itertools.pairwise(ranks))
        crossed = totals(rule, None)[-1] > min(totals(rule, (H, H)))
        if name.startswith(("grpo-vl-eco", "grpo-builtin-vl-eco")):
            assert rule.floor == rule.beta
            assert [len(set(rank)) for rank in ranks] == [1] * 4, "without a floor below beta length counts nowhere"
            assert not crossed
            rule = replace(rule, floor=rule.beta / 2)
            assert totals(rule, None)[-1] > min(totals(rule, (H, H))), "and a smaller floor brings both spots back"
        else:
            assert crossed, "cut-off nonsense lies above a short half-right answer"


def test_every_shipped_recipe_with_dynamic_clipping_has_ratios_to_clip() -> None:
    recipes, _ = usable_recipes(kind=JobKind.GRPO)
    dynamic = {each.name: each.settings for each in recipes if each.settings.dynamic_clipping}
    assert len(dynamic) == 6
    assert all(each.updates * each.passes > 1 for each in dynamic.values())


@pytest.mark.parametrize(("name", "paper"), SCALED.items())
def test_a_form_for_the_builtin_guard_keeps_the_rules_of_its_paper(name: str, paper: str) -> None:
    small, whole = find_recipe(name).settings, find_recipe(paper).settings
    assert small.mining == whole.mining
    for key in ("clip_low", "clip_high", "dynamic_clipping", "loss", "schedule"):
        assert getattr(small, key) == getattr(whole, key), key
    assert small.kl > whole.kl == 0, "a few dozen prompts would carry so small a guard away"
    lengths = {"scale": small.reward.scale, "free": small.reward.free}
    assert small.reward == whole.reward.model_copy(update=lengths), "lengths alone are scaled"


def test_forms_for_the_builtin_guard_differ_in_the_rules_of_their_papers_and_in_pace_alone() -> None:
    v1, *others = (find_recipe(name).settings.model_dump() for name in SCALED)
    rules = {"schedule", "clip_high", "dynamic_clipping", "mask_wrong_groups", "reward", "mining", "concatenation"}
    pace = {"learning_rate", "epochs", "kl"}
    for other in others:
        assert {key for key in v1 if v1[key] != other[key]} <= rules | pace
        assert not other["mask_wrong_groups"], "only the exploration of Omni v1 rewards nothing but length there"
    assert [each["concatenation"]["share"] for each in (v1, *others)] == [0.2, 0.0, 0.2, 0.2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lenght": 3}, "unknown key 'lenght'"),
        ({"reward": {"gamma": 1}}, "unknown key 'reward.gamma'; accepted are beta"),
        ({"prompts": 7, "updates": 3}, "must be a multiple of updates"),
        ({"dynamic_clipping": True}, "clip_low=0.2 and clip_high=0.3 must be equal"),
        (
            {"dynamic_clipping": True, "clip_high": 0.2, "updates": 1},
            "dynamic_clipping with updates=1 and passes=1 clips nothing",
        ),
        ({"mining": {"rule": "vl", "drop_all_wrong": True}}, "would keep no sample"),
        ({"vllm": "server"}, "vllm_address goes with vllm"),
        ({"generations": 1}, "generations = 1"),
    ],
)
def test_what_a_recipe_cannot_mean_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(JobError, match=words):
        resolve(find_recipe("grpo-builtin"), changes)
