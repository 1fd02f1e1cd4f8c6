"""A trained model as a checkpoint folder that serving loads as any other: merged weights, the adapter beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.checkpoints.folder import GUARD_FILE, GUARD_FORMAT
from core.media.sampling import sample_count
from core.media.vision import DecodedMedia
from core.prompt.protocol import dump_protocol
from core.types import Calibration, Calibrations, MediaRef, Modality, Preprocessing
from train_jobs.builtin.figures import fit_calibration
from train_jobs.training.base import Base
from train_jobs.training.dataset import Example
from train_jobs.training.validation import sides

ADAPTER = "adapter"
"""The folder of the adapter inside a checkpoint folder."""
PROTOCOL_FILE = "protocol.toml"
CALIBRATED_FROM = 200
"""Labelled validation sides from which calibration is fitted anew; below it the base's is taken over."""
OWN_FILES = ("config.json", GUARD_FILE, "guardroom.json", "model.safetensors.index.json", "README.md")
"""Files of the base that are not copied: they are written, or they speak of the base."""
COPIED = ("*.json", "*.jinja", "*.txt")


def save_checkpoint(
    folder: Path, base: Base, model: Any, validation: Sequence[Example], *, looks_trained: bool = True
) -> dict[str, Any]:
    """Write a checkpoint folder; what was there is replaced.

    Args:
        model: the trained model, adapters still apart. They are merged into it.
        validation: examples to fit the calibration on, where they are enough.
        looks_trained: whether first looks were in the mix; without them the first look is marked as uncalibrated.

    Returns:
        How it is calibrated, for the checkpoint's figures.

    Raises:
        OSError: the disk refused.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = base.folder.path
    if hasattr(model, "merge_and_unload"):
        _save_adapter(model, folder / ADAPTER, base)
        model = model.merge_and_unload()
    calibrations, words = calibrate(base, validation)
    model.to(_stored_dtype(source)).save_pretrained(folder)
    shutil.copyfile(source / "config.json", folder / "config.json")  # the architecture is the base's, word for word
    for pattern in COPIED:
        for path in source.glob(pattern):
            if path.name not in OWN_FILES:
                shutil.copyfile(path, folder / path.name)
    (folder / PROTOCOL_FILE).write_text(dump_protocol(base.folder.protocol), encoding="utf-8")
    guard = json.dumps(guard_file(base, calibrations) | {"first_look_trained": looks_trained}, indent=2)
    (folder / GUARD_FILE).write_text(guard + "\n", encoding="utf-8")
    return {"calibration": words}


def guard_file(base: Base, calibrations: Calibrations) -> dict[str, Any]:
    """The content of `guard.json`; its id comes from the registry's card."""
    info = base.folder.info
    return {
        "format": GUARD_FORMAT,
        "protocol": PROTOCOL_FILE,
        "context_tokens": info.context_tokens,
        "window_tokens": base.folder.window_tokens,
        "max_new_tokens": info.max_new_tokens,
        "first_look_trained": True,
        "thresholds": asdict(info.thresholds),
        "calibration": asdict(calibrations),
        "preprocessing": asdict(info.preprocessing),
    }


def calibrate(base: Base, validation: Sequence[Example]) -> tuple[Calibrations, str]:
    """The first look's calibration on the validation split where it is large enough, for texts and media apart.

    The deliberated probability's is the base's: fitting it would take a reasoned answer for every row.
    """
    given = base.folder.calibrations
    told: list[str] = []
    for kind, media in (("text", False), ("media", True)):
        mine = [each for each in validation if bool(each.sample.media) is media]
        pairs = (
            sides(mine, base.first_looks([each.sample for each in mine])) if len(mine) * 2 >= CALIBRATED_FROM else []
        )
        if len(pairs) < CALIBRATED_FROM or len({truth for _, truth in pairs}) < 2:
            told.append(f"{kind}: taken over from the base")
            continue
        fitted: Calibration = fit_calibration([p for p, _ in pairs], [truth for _, truth in pairs])
        given = replace(given, **{kind: replace(getattr(given, kind), first_look=fitted)})
        told.append(f"{kind}: first look fitted on {len(pairs)} validation labels, the rest taken over from the base")
    return given, "; ".join(told)


def _save_adapter(model: Any, folder: Path, base: Base) -> None:
    """The adapter as peft writes it, without the path of this machine that it notes as the base's."""
    model.save_pretrained(folder)
    path = folder / "adapter_config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    source = base.folder.info.source
    config["base_model_name_or_path"] = base.folder.info.id if Path(source).is_dir() else source
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").unlink(missing_ok=True)


def _stored_dtype(folder: Path) -> Any:
    """The precision that the base's weights are stored in."""
    import torch

    config: Mapping[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = config.get("text_config", {})
    named = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype")
    dtype = getattr(torch, str(named), torch.float32)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def shape_of(ref: MediaRef, preprocessing: Preprocessing) -> DecodedMedia:
    """A medium of the right shape without pixels: enough to count the tokens of a prompt."""
    if ref.modality is Modality.IMAGE:
        return DecodedMedia(_blank(1, ref))
    frames = sample_count(
        max(1, ref.frame_count or 1), ref.duration_s or 0.0, preprocessing.fps, preprocessing.max_frames
    )
    last = ref.duration_s or 1.0
    return DecodedMedia(_blank(frames, ref), tuple(last * at / max(1, frames - 1) for at in range(frames)))


def _blank(frames: int, ref: MediaRef) -> Any:
    return np.broadcast_to(np.zeros(1, dtype=np.uint8), (frames, ref.height, ref.width, 3))
