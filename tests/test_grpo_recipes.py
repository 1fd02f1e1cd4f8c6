"""Laws of the recipes of reinforcement: the published constants, the forms for the built-in guard, and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import JobError
from train_jobs.recipes.files import find_recipe, resolve, usable_recipes
from train_jobs.runs.specs import JobKind

SCALED = {
    "grpo-builtin": "grpo-omni-v1",
    "grpo-builtin-v2": "grpo-omni-v2",
    "grpo-builtin-vl": "grpo-vl",
    "grpo-builtin-vl-eco": "grpo-vl-eco",
}
"""The forms for the built-in guard, and whose rules they keep."""


def test_the_recipes_hold_the_published_constants() -> None:
    found, problems = usable_recipes(kind=JobKind.GRPO)
    assert problems == []
    named = {recipe.name: recipe.settings for recipe in found}
    forms = {"grpo-omni-v1", "grpo-omni-v2", "grpo-vl", "grpo-vl-eco"}
    assert named.keys() == forms | {f"{name}-lora" for name in forms} | SCALED.keys()
    v1, v2, vl, eco = (named[name] for name in sorted(forms))
    assert (v1.generations, v1.prompts, v1.learning_rate, v1.weight_decay) == (16, 256, 2e-6, 1e-2)
    assert (v1.clip_low, v1.clip_high, v1.longest_prompt, v1.longest_completion) == (0.2, 0.3, 22_528, 2_048)
    assert (v2.generations, v2.prompts, v2.schedule, v2.warm_up, v2.clip_high) == (8, 16, "cosine", 0.05, 0.2)
    assert (v2.longest_prompt, v2.longest_completion, v2.mining.n) == (20_480, 4_096, 8)
    for each in (vl, eco):
        assert (each.generations, each.prompts, each.temperature, each.learning_rate) == (16, 512, 1.2, 1e-6)
        assert (each.dynamic_clipping, each.clip_low, each.concatenation.share) == (True, 0.2, 0.2)
    assert (vl.reward.beta, vl.reward.floor) == (1.0, 0.25)
    assert (eco.reward.beta, eco.reward.floor) == pytest.approx((1 / 6, 1 / 6))
    assert {name: (each.mining.rule, each.kl) for name, each in named.items() if name in forms} == {
        "grpo-omni-v1": ("omni-v1", 0.0),
        "grpo-omni-v2": ("omni-v2", 0.0),
        "grpo-vl": ("vl", 0.0),
        "grpo-vl-eco": ("vl", 0.0),
    }
    assert (v1.freeze_vision, v1.temperature, v1.top_p) == (False, 1.0, 0.95)
    assert all(recipe.settings.tuning == "lora" for recipe in found if recipe.name.endswith("-lora"))


def test_every_shipped_recipe_with_dynamic_clipping_has_ratios_to_clip() -> None:
    recipes, _ = usable_recipes(kind=JobKind.GRPO)
    dynamic = {each.name: each.settings for each in recipes if each.settings.dynamic_clipping}
    assert len(dynamic) == 6
    assert all(each.updates * each.passes > 1 for each in dynamic.values())


@pytest.mark.parametrize(("name", "paper"), SCALED.items())
def test_a_form_for_the_builtin_guard_keeps_the_rules_of_its_paper(name: str, paper: str) -> None:
    small, whole = find_recipe(name).settings, find_recipe(paper).settings
    assert small.mining == whole.mining
    for key in ("clip_low", "clip_high", "dynamic_clipping", "kl", "loss", "schedule"):
        assert getattr(small, key) == getattr(whole, key), key
    lengths = {"scale": small.reward.scale, "free": small.reward.free}
    assert small.reward == whole.reward.model_copy(update=lengths), "lengths alone are scaled"


def test_forms_for_the_builtin_guard_differ_in_the_rules_of_their_papers_alone() -> None:
    v1, *others = (find_recipe(name).settings.model_dump() for name in SCALED)
    rules = {"schedule", "clip_high", "dynamic_clipping", "mask_wrong_groups", "reward", "mining", "concatenation"}
    for other in others:
        assert {key for key in v1 if v1[key] != other[key]} <= rules
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
