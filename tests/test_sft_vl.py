"""Laws of the recipes for GuardReasoner-VL on their architectures, and of the precision that a device computes in."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.checkpoints.folder import open_checkpoint
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.snapshots.folder import Split
from core.types import Label, Sample
from tests.sft_runs import job, picture
from tests.snapshots import item, write_snapshot
from train_jobs.runs.context import JobContext
from train_jobs.sft import job as sft
from train_jobs.training.base import computes_in

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

ONE_STEP: dict[str, Any] = {
    "epochs": 1,
    "batch": 4,
    "micro_batch": 2,
    "replay": 0.0,
    "teacher": "none",
    "learning_rate": 5e-5,
}


@pytest.mark.parametrize(
    ("precision", "device", "able", "computed"),
    [
        ("auto", "cpu", True, "float32"),
        ("auto", "mps", True, "float32"),
        ("auto", "cuda", True, "bfloat16"),
        ("auto", "cuda", False, "float32"),
        ("bfloat16", "cpu", False, "bfloat16"),
        ("bfloat16", "cuda", False, "bfloat16"),
        ("float32", "cpu", True, "float32"),
        ("float32", "cuda", True, "float32"),
    ],
)
def test_a_named_precision_is_kept_and_auto_takes_what_the_device_does_well(
    monkeypatch: pytest.MonkeyPatch, precision: str, device: str, able: bool, computed: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: able)
    assert computes_in(precision, device) == computed


@pytest.fixture
def train(
    tmp_path: Path, reader: VideoReader, tiny_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., JobContext]:
    """One update of a tiny checkpoint by a recipe: texts with and without reasoning and, where it sees, a picture."""
    monkeypatch.setenv("GUARDROOM_PROTOCOL", "guardroom-v1")
    torch.set_num_threads(1)

    def run(model_type: str, recipe: str, **changes: Any) -> JobContext:
        root = tmp_path / f"{recipe}-{len(list(tmp_path.iterdir()))}"
        root.mkdir()
        rows = [item(Sample("Is bread good?"), Label.UNHARMFUL), item(Sample("a", "b"), Label.HARMFUL, Label.HARMFUL)]
        rows[0] = replace(rows[0], assessment=replace(rows[0].assessment, reasoning=("It asks about bread.",)))
        files = {}
        if model_type != "llama":
            media = MediaStore(root / "media", MediaLimits(), reader)
            shown = picture(root, media)
            files[shown.digest] = media.path(shown.digest)
            rows.append(item(Sample("What is this?", None, (shown,)), Label.UNHARMFUL))
        snapshot = write_snapshot(root / "snapshot", {Split.TRAIN: rows}, files)
        context = job(root, snapshot, base=str(tiny_folder(model_type)), recipe=recipe, **ONE_STEP | changes)
        sft.run(context)
        return context

    return run


def losses(context: JobContext) -> list[float]:
    return [row["loss"] for row in context.run.metrics() if "loss" in row]


def changes(context: JobContext, base: Path) -> dict[str, torch.Tensor]:
    """How far each weight moved; those that did not are left out."""
    made = str(json.loads(context.run.report_path.read_text())["checkpoint"])
    folder = context.run.path.parent.parent / "checkpoints" / made
    assert open_checkpoint(folder, made).info.id == made
    before, after = (load_file(each / "model.safetensors") for each in (base, folder))
    assert before.keys() == after.keys()
    assert {value.dtype for value in after.values()} == {torch.float32}
    moved = {name: (after[name] - value).abs() for name, value in before.items()}
    return {name: value for name, value in moved.items() if value.any()}


def test_qwen2_5_vl_is_trained_in_bfloat16_with_its_tower_and_small_updates_are_kept(
    train: Callable[..., JobContext], tiny_folder: Callable[[str], Path]
) -> None:
    """bfloat16 has steps of 1/256 between 1 and 2: an update of 5e-5 on weights of it would be lost."""
    half, full = (train("qwen2_5_vl", "sft-vl", **each) for each in ({}, {"precision": "float32"}))
    assert losses(half) == pytest.approx(losses(full), rel=0.02)
    assert losses(half) != losses(full), "it did compute in another precision"
    assert len(losses(half)) == 1
    moved = changes(half, tiny_folder("qwen2_5_vl"))
    assert any("visual" in name for name in moved)
    assert any("visual" not in name for name in moved)
    largest = max(float(value.max()) for value in moved.values())
    assert 0 < largest < 2 * half.spec.settings["learning_rate"]


def test_a_text_model_is_trained_by_an_adapter(
    train: Callable[..., JobContext], tiny_folder: Callable[[str], Path]
) -> None:
    context = train("llama", "sft-vl-lora")
    assert len(losses(context)) == 1
    assert math.isfinite(losses(context)[0])
    moved = changes(context, tiny_folder("llama"))
    assert moved
    assert all("_proj" in name for name in moved)
