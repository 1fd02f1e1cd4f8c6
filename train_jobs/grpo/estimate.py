"""What a training by GRPO will need, before it starts: memory, rollouts, updates and time. Pure arithmetic.

How many samples are hard is known once they are mined, so steps and time are those of the worst case: all are.
"""

from __future__ import annotations

from dataclasses import replace

from train_jobs.recipes.grpo import GrpoSettings
from train_jobs.rules.augment import joined_count
from train_jobs.training.estimate import (
    BUILTIN_PARAMETERS,
    NO_SPEED,
    DataFacts,
    Estimate,
    Memory,
    ModelFacts,
    duration,
    in_halves,
    memory_words,
    needed_memory,
    trained_parameters,
)

BUILTIN_COMPLETIONS_PER_S = 7.6
"""Completions of the built-in guard a second on two free CPU cores, drawn and trained on (of 75 tokens each, as `python
-m tests.benchmark --training grpo` measured them): a rough figure until a run on this machine has measured one."""
REMEDIES = (
    "a smaller micro-batch or fewer sequences generated at once, shorter completions, gradient checkpointing or LoRA"
)


def estimate_grpo(
    model: ModelFacts,
    data: DataFacts,
    settings: GrpoSettings,
    *,
    device: str,
    free: int | None = None,
    completions_per_s: float | None = None,
    halved: bool | None = None,
) -> Estimate:
    """Memory, steps and time of a training by GRPO, if every sample were hard.

    Args:
        data: labelled training samples; tokens are those of prompts.
        free: bytes of memory that are free on the device.
        completions_per_s: as an earlier run on this device with this base measured it, updates included.
        halved: whether it computes in bfloat16; by the device and the recipe unless given.
    """
    halved = in_halves(settings, device) if halved is None else halved
    trained = trained_parameters(model, settings)
    memory = peak_memory(model, data, settings, device, halved=halved)
    joined = joined_count(data.samples, settings.concatenation.share)
    rows = data.samples + joined
    rollouts, steps = settings.rollouts(rows), settings.steps(rows)
    drawn = rollouts * settings.completions
    mines = settings.mining.keep_rule is not None
    mined = data.samples * settings.mining.n if mines else 0
    speed = completions_per_s
    if speed is None and device == "cpu" and model.parameters <= BUILTIN_PARAMETERS:
        speed = BUILTIN_COMPLETIONS_PER_S
    seconds = (drawn + mined) / speed if speed else None

    words = memory_words(memory, free, trained, model.parameters, REMEDIES, "activations or caches")
    if settings.kl > 0 and settings.tuning == "full":
        words.append("The weights count twice: the KL term compares with those of the base.")
    if settings.vllm == "colocate":
        words.append("vLLM's own share of the GPU comes on top.")
    what = f"{rows:,} samples" + (f", {joined:,} of them joined" if joined else "")
    whole = f"{rollouts:,} rollouts of {settings.completions:,} completions, {steps:,} updates"
    if mines:
        words.append(f"First {mined:,} generations find out which of {data.samples:,} samples are hard.")
        words.append(f"If all of them are: {what}, {whole}. The fewer are hard, the shorter it is.")
    else:
        words.append(f"{what}, {whole}.")
    if seconds is None:
        words.append(NO_SPEED)
    else:
        by = (
            "an earlier run's speed" if completions_per_s else "a rough figure for the built-in guard on two free cores"
        )
        words.append(f"{'At most about' if mines else 'About'} {duration(seconds)} by {by}.")
    return Estimate(memory, free, trained, drawn, steps, seconds, tuple(words))


def peak_memory(model: ModelFacts, data: DataFacts, settings: GrpoSettings, device: str, *, halved: bool) -> Memory:
    """Bytes at the fullest moment: while a micro-batch is trained on, or while completions are drawn.

    Drawing needs the caches of keys and values of all sequences at once and the logits of their last tokens, but no
    gradients; what is larger stands as activations.
    """
    longest = min(data.longest_tokens, settings.longest_prompt) + settings.longest_completion
    training = needed_memory(model, settings, settings.at_once * longest, device, halved=halved)
    if settings.kl > 0 and settings.tuning == "full":
        training = replace(training, weights=2 * training.weights)
    if settings.vllm != "none":
        return training
    number = 2 if halved else 4
    cache = settings.generate_at_once * longest * model.layers * 2 * model.kv_width * number
    drawing = cache + settings.generate_at_once * model.vocabulary * 4 * 2
    return replace(training, activations=max(training.activations, drawing - training.gradients))
