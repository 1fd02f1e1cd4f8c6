"""Laws of the estimate of a training by GRPO: the worst case, and what makes it larger."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from train_jobs.grpo.estimate import estimate_grpo
from train_jobs.recipes.files import find_recipe, resolve
from train_jobs.recipes.grpo import GrpoSettings, check_grpo
from train_jobs.training.estimate import DataFacts, ModelFacts

OMNI_2B = ModelFacts(2_127_532_032, 406_957_056, 28, 2048, 6144, 151_936, 1024)
DATA = DataFacts(300, 400, 3_000)
BUILTIN: GrpoSettings = find_recipe("grpo-builtin").settings
LORA: GrpoSettings = find_recipe("grpo-omni-v1-lora").settings
FULL: GrpoSettings = find_recipe("grpo-omni-v1").settings
GB = 1024**3


def changed(recipe: str, **changes: object) -> GrpoSettings:
    return check_grpo(resolve(find_recipe(recipe), changes))


def test_rollouts_and_updates_are_those_of_all_samples_with_the_joined_ones() -> None:
    settings = changed("grpo-builtin", epochs=2, prompts=8, generations=8, updates=2, passes=2)
    found = estimate_grpo(OMNI_2B, DataFacts(80, 100, 200), settings, device="cuda")
    rows = 80 + 20
    rollouts = math.ceil(rows * 2 / 8)
    assert (found.rows, found.steps) == (rollouts * 64, rollouts * 4)
    words = " ".join(found.words)
    assert "First 320 generations find out which of 80 samples are hard" in words
    assert f"100 samples, 20 of them joined, {rollouts} rollouts of 64 completions, {rollouts * 4} updates" in words
    assert "The fewer are hard, the shorter" in words


def test_without_mining_nothing_is_said_of_it() -> None:
    settings = changed("grpo-builtin", mining={"rule": "all"}, concatenation={"share": 0.0})
    words = " ".join(estimate_grpo(OMNI_2B, DATA, settings, device="cuda").words)
    assert "First" not in words
    assert "300 samples, " in words
    assert "joined" not in words


def test_time_is_known_from_an_earlier_run_and_else_said_to_be_unknown() -> None:
    assert estimate_grpo(OMNI_2B, DATA, LORA, device="cuda").seconds is None
    known = estimate_grpo(OMNI_2B, DATA, LORA, device="cuda", completions_per_s=4.0)
    assert known.seconds == pytest.approx((known.rows + 300 * LORA.mining.n) / 4.0)
    assert any("At most about" in each and "an earlier run's speed" in each for each in known.words)


def test_longer_completions_more_at_once_and_all_weights_take_more_memory() -> None:
    def total(**changes: object) -> int:
        return estimate_grpo(OMNI_2B, DATA, changed("grpo-omni-v1-lora", **changes), device="cuda").memory.total

    usual = total()
    assert total(longest_completion=2 * LORA.longest_completion) > usual
    assert total(micro_batch=2 * LORA.micro_batch, generate_at_once=1) > total(generate_at_once=1)
    assert total(generate_at_once=512) > usual
    assert total(tuning="full") > usual
    assert total(vllm="colocate", generate_at_once=512) <= usual, "vLLM's memory is its own"


def test_a_kl_term_on_all_weights_keeps_those_of_the_base_as_well() -> None:
    plain = estimate_grpo(OMNI_2B, DATA, FULL, device="cuda")
    kept = estimate_grpo(OMNI_2B, DATA, FULL.model_copy(update={"kl": 0.04}), device="cuda")
    assert kept.memory.weights == 2 * plain.memory.weights
    assert any("count twice" in each for each in kept.words)
    adapters = estimate_grpo(OMNI_2B, DATA, LORA.model_copy(update={"kl": 0.04}), device="cuda")
    assert adapters.memory.weights == estimate_grpo(OMNI_2B, DATA, LORA, device="cuda").memory.weights


def test_drawing_needs_the_caches_of_all_sequences_at_once() -> None:
    many = changed("grpo-omni-v1-lora", generate_at_once=4096)
    found = estimate_grpo(OMNI_2B, DATA, many, device="cuda").memory
    longest = min(DATA.longest_tokens, many.longest_prompt) + many.longest_completion
    assert found.activations >= 4096 * longest * 28 * 2 * 1024 * 2 - found.gradients
    narrow = estimate_grpo(replace(OMNI_2B, kv_width=256), DATA, many, device="cuda").memory
    assert narrow.activations < found.activations


def test_what_does_not_fit_is_said_with_what_to_do() -> None:
    found = estimate_grpo(OMNI_2B, DATA, FULL, device="cuda", free=8 * GB)
    assert found.fits is False
    assert any("fewer sequences generated at once" in each for each in found.words)
