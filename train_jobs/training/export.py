"""Export of a trained checkpoint: a folder of safetensors with a filled model card, adapter alone or merged weights."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.checkpoints.folder import is_hub_id, open_checkpoint
from core.checkpoints.registry import OriginCard, read_card
from core.errors import CheckpointError
from train_jobs.training.saving import ADAPTER

BUILTIN_BASE = "builtin"
HOW = {"sft": "by supervised fine-tuning ", "grpo": "by reinforcement learning (GRPO) ", "": ""}
"""How a kind of job trains, for the card's sentence."""


class ExportForm(StrEnum):
    """What is exported."""

    MERGED = "merged"
    """The whole checkpoint, ready to be served here, by transformers, vLLM or SGLang."""
    ADAPTER = "adapter"
    """The adapter alone, for a base that the receiver has already."""


def can_export(folder: Path) -> tuple[ExportForm, ...]:
    """The forms that a checkpoint folder can be exported in."""
    has_adapter = (folder / ADAPTER / "adapter_model.safetensors").is_file()
    return (ExportForm.MERGED, ExportForm.ADAPTER) if has_adapter else (ExportForm.MERGED,)


def export(folder: Path, target: Path, form: ExportForm, report: Mapping[str, Any] | None = None) -> Path:
    """Write an export.

    Args:
        folder: a checkpoint of the registry.
        target: a folder that does not exist yet; it appears whole or not at all.
        report: an evaluation's report or figures, named in the card as they are.

    Returns:
        `target`.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, has no adapter, or the target is taken.
        OSError: the disk refused.
    """
    opened = open_checkpoint(folder, str(folder))
    card = read_card(folder)
    if form not in can_export(folder):
        raise CheckpointError(f"{card.id} was trained in full and has no adapter; export the merged weights.")
    if target.exists():
        raise CheckpointError(f"{target} is there already; name a folder that does not exist.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        if form is ExportForm.ADAPTER:
            shutil.copytree(folder / ADAPTER, part)
            shutil.copyfile(folder / "protocol.toml", part / "protocol.toml")
        else:
            shutil.copytree(folder, part, ignore=shutil.ignore_patterns(ADAPTER, "README.md"))
        text = model_card(card, opened.protocol.version, opened.model_type, form, report or {})
        (part / "README.md").write_text(text, encoding="utf-8")
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def model_card(card: OriginCard, protocol: str, model_type: str, form: ExportForm, report: Mapping[str, Any]) -> str:
    """The model card in Hugging Face's form: only what is known is in it."""
    kind = _kind(card)
    # The Hub reads this as one of its own names: an id of this installation's registry would lead nowhere there.
    head = ["---", f"base_model: {_quoted(card.base)}"] if is_hub_id(card.base) else ["---"]
    head += [
        f"library_name: {'peft' if form is ExportForm.ADAPTER else 'transformers'}",
        f"pipeline_tag: {'text-generation' if model_type == 'llama' else 'image-text-to-text'}",
        f"tags: [{', '.join(('moderation', 'guard', *([kind] if kind else []), model_type))}]",
        "---",
    ]
    what = "An adapter (LoRA) for" if form is ExportForm.ADAPTER else "A guard model that started from"
    lines = [
        *head,
        "",
        f"# {card.name}",
        "",
        f"{what} {_base(card)}. It was trained with Guardroom {HOW[kind]}on samples that people reviewed. It says "
        "whether a request and a response are harmful, with reasoning before the labels.",
        "",
        "| | |",
        "| --- | --- |",
        f"| checkpoint | `{card.id}` |",
        f"| base | `{_base_name(card)}` |",
        f"| protocol | `{protocol}` (the exact wording is in `protocol.toml`) |",
        f"| recipe | `{card.recipe or 'none'}` |",
        f"| data | snapshot `{card.snapshot or 'none'}`, not included |",
        f"| run | `{card.run or 'none'}` |",
        f"| made | {card.created_at} |",
        f"| digest of the weights | `{card.weights}` |",
        "",
        "## Figures",
        "",
        *(_table("While it was trained", card.figures) or ["None were noted while it was trained.", ""]),
        *(_table("Evaluation", report) or ["It was not evaluated when this card was written.", ""]),
        "## Use",
        "",
        _use(form),
        "",
        "## Limits",
        "",
        "It was fitted to what its reviewers saw and held to be harmful. On other languages, media and policies it is "
        "as its base is, or worse. Its reasoning is no proof of why a label was chosen. Let people decide what it is "
        "not sure about.",
        "",
        "The licence is that of the base and of the data; add it before you publish this.",
        "",
    ]
    return "\n".join(lines)


def _kind(card: OriginCard) -> str:
    """`sft` or `grpo`, by the id of the run, else by the recipe's name; empty where neither says it."""
    said = re.match(r"\d{8}-\d{6}-(sft|grpo)-", card.run or "") or re.match(r"(sft|grpo)-", card.recipe or "")
    return said.group(1) if said else ""


def _base_name(card: OriginCard) -> str:
    """The base without a path of this machine."""
    return card.base if is_hub_id(card.base) else Path(card.base).name or "unknown"


def _base(card: OriginCard) -> str:
    if card.base == BUILTIN_BASE:
        return "the guard that is built into Guardroom"
    if is_hub_id(card.base):
        return f"`{card.base}`"
    return f"`{_base_name(card)}`, a checkpoint of the installation that trained it (no name on the Hub)"


def _use(form: ExportForm) -> str:
    if form is ExportForm.ADAPTER:
        return (
            "Load the base with transformers and put the adapter on it with "
            "`peft.PeftModel.from_pretrained(base, folder)`; prompts are built as `protocol.toml` says."
        )
    return "`GUARDROOM_CHECKPOINT=<this folder> python app.py`, or any server for this architecture."


def _table(title: str, figures: Mapping[str, Any]) -> list[str]:
    """Figures as a table: numbers and words; what is nested is left to the report."""
    rows = [
        f"| {str(name).replace('_', ' ')} | {_shown(value)} |"
        for name, value in figures.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    ]
    return [f"### {title}", "", "| figure | value |", "| --- | --- |", *rows, ""] if rows else []


def _shown(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _quoted(text: str) -> str:
    return json.dumps(text)
