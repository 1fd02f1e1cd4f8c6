"""Recipes of supervised fine-tuning: what `assets/recipes/sft-*.toml` may say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from train_jobs.recipes.values import Pictures, checked


class SftSettings(BaseModel):
    """Every constant of a supervised fine-tuning. Shares are in [0, 1], weights are factors on the loss."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tuning: Literal["full", "lora"]
    freeze_vision: bool = Field(True, description="Leave the vision tower and its projector as they are.")
    lora_rank: int = Field(16, ge=1, le=1024)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    learning_rate: float = Field(gt=0, le=1, description="At its peak.")
    weight_decay: float = Field(0.0, ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warm_up: float = Field(0.03, ge=0, lt=1, description="Share of the steps in which the rate rises.")
    epochs: int = Field(ge=1, le=1000)
    batch: int = Field(ge=1, le=65536, description="Sequences of one update.")
    micro_batch: int = Field(ge=1, le=65536, description="Sequences computed at once; memory goes with it.")
    longest_sequence: int = Field(
        ge=64, le=1_000_000, description="Tokens; longer samples, or their reasoning alone, are left out and counted."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where the device computes it, else float32."
    )
    gradient_checkpointing: bool = Field(False, description="Less memory for a third more time.")
    clip_norm: float = Field(1.0, gt=0, description="Longest gradient.")
    first_look_share: float = Field(1.0, ge=0, le=1, description="Share of the samples that give a first-look row too.")
    label_weight: float = Field(1.0, gt=0, le=1000, description="Factor on the loss of label tokens.")
    reasoning_weight: float = Field(1.0, ge=0, le=1000, description="Factor on the loss of all other tokens.")
    replay: float = Field(0.0, ge=0, le=100, description="Replayed rows for every row of the snapshot.")
    replay_reasoned: float = Field(0.4, ge=0, le=1, description="Share of them that hold the base's reasoning.")
    teacher: Literal["guard", "none"] = Field(
        "guard", description="Who writes missing reasoning: the base with the labels given, or nobody."
    )
    teacher_tries: int = Field(16, ge=0, le=256, description="Endings that the guard as teacher tries for a sample.")
    checks_an_epoch: int = Field(1, ge=1, le=1000, description="Validations, each with a checkpoint.")
    seed: int = Field(0, ge=0, le=2**31 - 1)
    preprocessing: Pictures | None = Field(None, description="None: the checkpoint's own.")

    @model_validator(mode="after")
    def _whole_batches(self) -> SftSettings:
        if self.batch % min(self.batch, self.micro_batch):
            raise ValueError(
                f"batch={self.batch} must be a multiple of micro_batch={self.micro_batch}, which are computed at once"
            )
        return self

    @property
    def at_once(self) -> int:
        """Sequences of one forward pass."""
        return min(self.batch, self.micro_batch)


def check_settings(values: Mapping[str, Any], what: str = "The recipe") -> SftSettings:
    """Check a recipe's values, as a file, a form or a job's spec holds them.

    Raises:
        JobError: a key is unknown or missing, or a value cannot be used; one sentence names each, and what is accepted.
    """
    return checked(SftSettings, values, what)
