"""Pixels to patches, for the Qwen-VL family, with numpy and Pillow alone (no torchvision).

The arithmetic is that of the stock processors; tests compare both where the stock ones can be loaded.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.errors import CheckpointError, MediaDamaged

Frames = npt.NDArray[np.uint8]
"""Decoded pixels, shape (frames, height, width, 3), RGB."""

MAX_ASPECT_RATIO = 200
"""The stock processors refuse anything longer and thinner."""


@dataclass(frozen=True, slots=True)
class VisionSpec:
    """What a checkpoint's vision tower expects. `mean` and `std` are per channel, for values in [0, 1]."""

    patch_size: int
    temporal_patch_size: int
    merge_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def factor(self) -> int:
        """Sides of a resized picture are multiples of this many pixels."""
        return self.patch_size * self.merge_size


@dataclass(frozen=True, slots=True)
class Patches:
    """One picture or clip as the vision tower reads it."""

    pixels: npt.NDArray[np.float32]
    """Shape (grid_t * grid_h * grid_w, channels * temporal_patch_size * patch_size ** 2)."""
    grid: tuple[int, int, int]
    """(t, h, w) in patches, before merging."""


def load_vision_spec(folder: Path) -> VisionSpec:
    """Read a checkpoint's `preprocessor_config.json`.

    Raises:
        CheckpointError: the file is missing or lacks a field.
    """
    path = folder / "preprocessor_config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        mean, std = tuple(config["image_mean"]), tuple(config["image_std"])
        spec = VisionSpec(
            int(config["patch_size"]), int(config["temporal_patch_size"]), int(config["merge_size"]), mean, std
        )
    except FileNotFoundError:
        raise CheckpointError(f"{folder} has no preprocessor_config.json, which a vision checkpoint needs.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not a readable image processor configuration ({error!r}).") from None
    if len(mean) != 3 or len(std) != 3:
        raise CheckpointError(f"{path} names {len(mean)} means and {len(std)} deviations; three of each are expected.")
    return spec


def resized_size(height: int, width: int, *, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Height and width in multiples of `factor`, the area inside the pixel range, the aspect ratio nearly kept.

    The same rule as `smart_resize` of Qwen2-VL's image processor; for a frame of a video, which the stock
    processor resizes by the whole clip's budget, the range is that of one frame.

    Raises:
        MediaDamaged: one side is more than 200 times the other.
    """
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise MediaDamaged(
            f"A picture of {width} x {height} pixels is too thin; sides may differ at most {MAX_ASPECT_RATIO}-fold."
        )
    new_height, new_width = round(height / factor) * factor, round(width / factor) * factor
    if new_height * new_width > max_pixels:
        scale = math.sqrt(height * width / max_pixels)
        new_height = max(factor, math.floor(height / scale / factor) * factor)
        new_width = max(factor, math.floor(width / scale / factor) * factor)
    elif new_height * new_width < min_pixels:
        scale = math.sqrt(min_pixels / (height * width))
        new_height = math.ceil(height * scale / factor) * factor
        new_width = math.ceil(width * scale / factor) * factor
    return max(factor, new_height), max(factor, new_width)


def resize_frames(frames: Frames, size: tuple[int, int]) -> Frames:
    """Every frame to (height, width) by Pillow's bicubic filter."""
    height, width = size
    if frames.shape[1:3] == (height, width):
        return frames
    resized = [np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)) for frame in frames]
    return np.stack(resized).astype(np.uint8, copy=False)


def patchify(frames: Frames, spec: VisionSpec) -> Patches:
    """Normalise and cut resized frames into patches, in the order the merger expects.

    A clip whose length is no multiple of the temporal patch repeats its last frame; a still image is a
    clip of one frame.
    """
    missing = -len(frames) % spec.temporal_patch_size
    if missing:
        frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    mean = np.asarray(spec.mean, np.float32)
    std = np.asarray(spec.std, np.float32)
    values = (frames.astype(np.float32) * np.float32(1 / 255) - mean) / std
    patch, merge, tube = spec.patch_size, spec.merge_size, spec.temporal_patch_size
    t, h, w = len(frames) // tube, frames.shape[1] // patch, frames.shape[2] // patch
    blocks = values.reshape(t, tube, h // merge, merge, patch, w // merge, merge, patch, 3)
    ordered = blocks.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return Patches(np.ascontiguousarray(ordered.reshape(t * h * w, 3 * tube * patch * patch)), (t, h, w))


@dataclass(frozen=True, slots=True, eq=False)
class DecodedMedia:
    """The pixels of one medium, ready for `PromptEncoder`: a still image, or the sampled frames of a video.

    Compared by identity: arrays have no equality that is true or false.
    """

    frames: Frames
    timestamps: tuple[float, ...] | None = None
    """Seconds of each frame, as long as `frames`; none for a still image."""

    @property
    def is_video(self) -> bool:
        """Whether the frames follow each other in time."""
        return self.timestamps is not None

    def window(self, start: int, stop: int) -> DecodedMedia:
        """The frames from `start` up to `stop`, with their times. A still image has only itself."""
        if self.timestamps is None:
            return self
        return DecodedMedia(self.frames[start:stop], self.timestamps[start:stop])


def patch_timestamps(timestamps: tuple[float, ...], tube: int) -> list[float]:
    """Seconds of each temporal patch: the mean of its first and last frame, the last frame repeated as padding."""
    padded = [*timestamps, *([timestamps[-1]] * (-len(timestamps) % tube))]
    return [(padded[at] + padded[at + tube - 1]) / 2 for at in range(0, len(padded), tube)]
