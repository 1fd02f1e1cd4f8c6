"""Recipes of reinforcement learning (GRPO): what `assets/recipes/grpo-*.toml` may say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.mining.rules import MOST_GENERATIONS, KeepRule, Sampling
from train_jobs.recipes.values import Pictures, checked
from train_jobs.rules.augment import Geometry
from train_jobs.rules.rewards import RewardForm, RewardRule


class RewardSettings(BaseModel):
    """The reward and its constants; see `train_jobs.rules.rewards`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    form: RewardForm = Field(
        description="The order-kept form mends VL, under which cut-off text can beat a short half-right answer."
    )
    length_term: bool = Field(True, description="Off leaves out all that goes by length.")
    most: float = Field(0.2, gt=0, le=10, description="Of exploration, or of conciseness.")
    scale: float = Field(300.0, gt=0, le=1e6, description="Tokens over which it grows.")
    free: float = Field(250.0, ge=0, le=1e6, description="Tokens of a concise answer without a penalty.")
    beta: float = Field(1.0, gt=0, le=1, description="Share of the completion limit beyond which length is free.")
    floor: float = Field(
        0.25,
        gt=0,
        le=1,
        description="Shorter completions count as this share of the limit; without it the published form diverges.",
    )

    def rule(self) -> RewardRule:
        """The value that the reward function takes."""
        return RewardRule(**self.model_dump())


class MiningSettings(BaseModel):
    """Which samples are hard; see `core.mining.rules`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Literal["vl", "omni-v1", "omni-v2", "all"] = Field(
        description="By its generations, drawn before the training from the base."
    )
    n: int = Field(4, ge=2, le=MOST_GENERATIONS, description="Drawn to find out.")
    temperature: float = Field(1.0, gt=0, le=2)
    top_p: float = Field(0.95, gt=0, le=1)
    drop_all_wrong: bool = Field(
        False, description="Mends Omni v1 from the start: groups without a right completion become rare."
    )

    @model_validator(mode="after")
    def _keeps_something(self) -> MiningSettings:
        if self.drop_all_wrong and self.rule == "vl":
            raise ValueError("drop_all_wrong with the rule vl, which keeps nothing but those, would keep no sample")
        return self

    @property
    def keep_rule(self) -> KeepRule | None:
        """None keeps every labelled sample."""
        return None if self.rule == "all" else KeepRule(self.rule)

    def sampling(self, seed: int) -> Sampling:
        """How the generations are drawn."""
        return Sampling(self.n, self.temperature, self.top_p, seed)


class ConcatenationSettings(BaseModel):
    """Safety-aware concatenation; see `train_jobs.rules.augment`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(0.0, ge=0, lt=1, description="Joined rows, as a share of the whole set.")
    separator: str = Field("\n\n", max_length=200, description="Between joined texts.")
    geometry: Geometry = Field(Geometry.SIDE_BY_SIDE, description="How two pictures become one.")


class GrpoSettings(BaseModel):
    """Every constant of a training by GRPO. A rollout is a round of generations, an update a step of the optimiser."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tuning: Literal["full", "lora"]
    freeze_vision: bool = Field(True, description="Leave the vision tower and its projector as they are.")
    lora_rank: int = Field(16, ge=1, le=1024)
    lora_alpha: float = Field(32, gt=0)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    learning_rate: float = Field(gt=0, le=1, description="At its peak.")
    weight_decay: float = Field(0.0, ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "constant"
    warm_up: float = Field(0.0, ge=0, lt=1, description="Share of the updates in which the rate rises.")
    epochs: int = Field(1, ge=1, le=10_000, description="How often every hard sample is rolled out.")
    prompts: int = Field(ge=1, le=65536, description="Prompts of a rollout.")
    generations: int = Field(ge=2, le=1024, description="Completions of a prompt: the group.")
    temperature: float = Field(1.0, gt=0, le=5)
    top_p: float = Field(1.0, gt=0, le=1)
    longest_prompt: int = Field(ge=64, le=1_000_000, description="Tokens; longer samples are left out and counted.")
    longest_completion: int = Field(ge=16, le=100_000, description="Tokens; longer completions are cut off.")
    updates: int = Field(1, ge=1, le=1024, description="A rollout is split into so many.")
    passes: int = Field(1, ge=1, le=64, description="Passes over a rollout.")
    micro_batch: int = Field(ge=1, le=65536, description="Sequences computed at once; memory goes with it.")
    generate_at_once: int = Field(64, ge=1, le=65536, description="Sequences generated at once; memory goes with it.")
    loss: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = Field("grpo", description="How token losses are averaged.")
    scale_rewards: Literal["group", "batch", "none"] = Field("group", description="What advantages are divided by.")
    kl: float = Field(0.0, ge=0, le=10, description="Weight of the KL term to the base; 0 leaves it out.")
    clip_low: float = Field(0.2, ge=0, le=1, description="How far a ratio may fall.")
    clip_high: float = Field(0.2, ge=0, le=10, description="How far a ratio may rise.")
    dynamic_clipping: bool = Field(
        False, description="Close the clip range over the training, as VL does; both bounds must be equal."
    )
    balance: bool = Field(False, description="Rows of the rarer label come more often, as often as the others.")
    mask_truncated: bool = Field(False, description="Completions that were cut off at the limit teach nothing.")
    mask_wrong_groups: bool = Field(
        False, description="They teach nothing. Mends Omni v1, which rewards length alone there."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where the device computes it, else float32."
    )
    gradient_checkpointing: bool = Field(False, description="Less memory for a third more time.")
    clip_norm: float = Field(1.0, gt=0, description="Longest gradient.")
    rollouts_a_checkpoint: int = Field(1, ge=1, le=100_000, description="Rollouts between two saved checkpoints.")
    vllm: Literal["none", "colocate", "server"] = Field(
        "none", description="vLLM wants an NVIDIA GPU, and texts alone."
    )
    vllm_address: str = Field("", max_length=500, description="Where a vLLM server generates.")
    seed: int = Field(0, ge=0, le=2**31 - 1)
    reward: RewardSettings
    mining: MiningSettings
    concatenation: ConcatenationSettings = ConcatenationSettings()
    preprocessing: Pictures | None = Field(None, description="None: the checkpoint's own.")

    @model_validator(mode="after")
    def _fits_together(self) -> GrpoSettings:
        if self.completions % (self.updates * self.at_once):
            raise ValueError(
                f"prompts x generations = {self.completions} completions must be a multiple of updates x micro_batch = "
                f"{self.updates * self.at_once}"
            )
        if self.dynamic_clipping and self.clip_low != self.clip_high:
            raise ValueError(
                f"dynamic clipping has one bound; clip_low={self.clip_low} and clip_high={self.clip_high} must be equal"
            )
        if self.dynamic_clipping and self.updates * self.passes == 1:
            raise ValueError(
                "dynamic_clipping with updates=1 and passes=1 clips nothing, as one update of a rollout always has the "
                "ratio 1; set updates or passes to 2 or more, or dynamic_clipping to false"
            )
        if (self.vllm == "server") != bool(self.vllm_address.strip()):
            raise ValueError("vllm_address goes with vllm = 'server', and with nothing else")
        return self

    @property
    def completions(self) -> int:
        """Of a rollout."""
        return self.prompts * self.generations

    @property
    def at_once(self) -> int:
        """Sequences of one forward pass."""
        return min(self.micro_batch, self.completions // self.updates)

    @property
    def accumulation(self) -> int:
        """Forward passes of one update."""
        return self.completions // (self.updates * self.at_once)

    def rollouts(self, rows: int) -> int:
        """Rollouts of a training on so many rows; the last one is filled up with rows of another epoch."""
        return max(1, math.ceil(rows * self.epochs / self.prompts))

    def steps(self, rows: int) -> int:
        """Updates of a training on so many rows."""
        return self.rollouts(rows) * self.updates * self.passes


def check_grpo(values: Mapping[str, Any], what: str = "The recipe") -> GrpoSettings:
    """Check a recipe's values, as a file, a form or a job's spec holds them.

    Raises:
        JobError: a key is unknown or missing, or a value cannot be used; one sentence names each, and what is accepted.
    """
    return checked(GrpoSettings, values, what)
