"""Laws of exports: a folder that loads, a card that says what is known and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.checkpoints.folder import open_checkpoint
from core.checkpoints.registry import OriginCard, Registry
from core.errors import CheckpointError
from core.prompt.protocol import dump_protocol
from train_jobs.training.export import ExportForm, can_export, export, model_card
from train_jobs.training.saving import ADAPTER


@pytest.fixture
def registered(tmp_path: Path, tiny_folder: Callable[[str], Path]) -> tuple[Path, OriginCard]:
    """A checkpoint of a registry, with an adapter beside its weights."""
    source = Path(shutil.copytree(tiny_folder("qwen3_vl"), tmp_path / "trained"))
    protocol = open_checkpoint(source, "x", "guardroom-v1").protocol
    (source / "protocol.toml").write_text(dump_protocol(protocol), encoding="utf-8")
    (source / ADAPTER).mkdir()
    (source / ADAPTER / "adapter_model.safetensors").write_bytes(b"weights")
    (source / ADAPTER / "adapter_config.json").write_text("{}", encoding="utf-8")
    figures = {"validation_f1": 0.87654, "steps": 12, "calibration": "taken over", "chosen_by_validation": True}
    card = Registry(tmp_path / "data").add(
        source, name="First | reviews", base="owner/some-guard", run="r-1", snapshot="n1-abc", recipe="sft-vl-lora",
        figures=figures,
    )  # fmt: skip
    return tmp_path / "data" / "checkpoints" / card.id, card


def test_merged_weights_load_as_any_other_checkpoint_and_the_card_is_filled(
    registered: tuple[Path, OriginCard], tmp_path: Path
) -> None:
    folder, card = registered
    target = export(folder, tmp_path / "out" / "merged", ExportForm.MERGED, {"f1": 0.5, "nested": {"a": 1}})
    assert open_checkpoint(target, "x").info.id == card.id
    assert not (target / ADAPTER).exists()
    text = (target / "README.md").read_text(encoding="utf-8")
    head = text.split("---")[1]
    assert 'base_model: "owner/some-guard"' in head
    assert "library_name: transformers" in head
    for said in (card.id, "n1-abc", "sft-vl-lora", "r-1", card.weights, "| validation f1 | 0.8765 |", "| f1 | 0.5 |"):
        assert said in text
    assert "nested" not in text
    assert str(tmp_path) not in text
    assert list((tmp_path / "out").iterdir()) == [target]


@pytest.mark.parametrize(
    ("changes", "tag", "words"),
    [
        ({}, "sft", "by supervised fine-tuning on samples"),
        ({"recipe": "grpo-vl"}, "grpo", "by reinforcement learning (GRPO) on samples"),
        ({"run": "20270115-080000-grpo-abcdef", "recipe": "sft-like-ours"}, "grpo", "(GRPO)"),
        ({"recipe": "our-own"}, "", "trained with Guardroom on samples"),
    ],
)
def test_a_card_says_how_the_checkpoint_was_trained(
    registered: tuple[Path, OriginCard], changes: dict[str, Any], tag: str, words: str
) -> None:
    text = model_card(replace(registered[1], **changes), "p-1", "qwen3_vl", ExportForm.MERGED, {})
    tags = next(line for line in text.splitlines() if line.startswith("tags: "))
    assert tags == f"tags: [moderation, guard, {f'{tag}, ' if tag else ''}qwen3_vl]"
    assert words in text


@pytest.mark.parametrize("base", ["first-reviews-0123456789ab", "/home/ann/first-reviews-0123456789ab"])
def test_a_base_of_this_installation_is_named_in_the_text_and_not_as_one_of_the_hub(
    registered: tuple[Path, OriginCard], base: str
) -> None:
    for form in ExportForm:
        text = model_card(replace(registered[1], base=base), "p-1", "llama", form, {})
        assert "base_model" not in text
        assert "`first-reviews-0123456789ab`, a checkpoint of the installation that trained it" in text
        assert "/home" not in text


def test_an_adapter_is_exported_alone_with_its_protocol(registered: tuple[Path, OriginCard], tmp_path: Path) -> None:
    folder, _ = registered
    target = export(folder, tmp_path / "adapter", ExportForm.ADAPTER)
    assert {path.name for path in target.iterdir()} == {
        "adapter_model.safetensors", "adapter_config.json", "protocol.toml", "README.md",
    }  # fmt: skip
    text = (target / "README.md").read_text(encoding="utf-8")
    assert "library_name: peft" in text
    assert "It was not evaluated" in text


def test_a_card_of_the_built_in_guard_names_no_base_on_the_hub(
    registered: tuple[Path, OriginCard], tmp_path: Path
) -> None:
    folder, _ = registered
    path = folder / "guardroom.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base": "builtin"}), encoding="utf-8")
    text = (export(folder, tmp_path / "out", ExportForm.MERGED) / "README.md").read_text(encoding="utf-8")
    assert "base_model" not in text
    assert "built into Guardroom" in text


def test_what_cannot_be_exported_is_said_and_leaves_nothing(
    registered: tuple[Path, OriginCard], tmp_path: Path
) -> None:
    folder, card = registered
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(CheckpointError, match="is there already"):
        export(folder, taken, ExportForm.MERGED)
    shutil.rmtree(folder / ADAPTER)
    assert can_export(folder) == (ExportForm.MERGED,)
    with pytest.raises(CheckpointError, match=f"{card.id} was trained in full and has no adapter"):
        export(folder, tmp_path / "new", ExportForm.ADAPTER)
    assert not (tmp_path / "new").exists()
