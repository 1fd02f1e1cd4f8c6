"""Which parameters of a base are trained: the frozen vision tower, and the recipe's LoRA on the language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train_jobs.recipes.grpo import GrpoSettings
    from train_jobs.recipes.sft import SftSettings
    from train_jobs.training.base import Base

LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
TEXT_LORA_TARGETS = r".*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""For models that are a language model and nothing else."""


def freeze(model: Any, settings: SftSettings | GrpoSettings) -> None:
    """Leave the vision tower and its projector as they are, where the recipe says so."""
    tower = getattr(model.model, "visual", None)
    if tower is not None and settings.freeze_vision:
        tower.requires_grad_(False)


def adapter(settings: SftSettings | GrpoSettings, base: Base) -> Any:
    """The recipe's LoRA as peft takes it; none where the recipe trains the weights themselves."""
    if settings.tuning != "lora":
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,  # type: ignore[arg-type, unused-ignore]
        lora_dropout=settings.lora_dropout,
        target_modules=TEXT_LORA_TARGETS if base.prompts.vision is None else LORA_TARGETS,
        task_type="CAUSAL_LM",
    )
