"""Pixels to patches against the stock processors of the Qwen-VL family: the same grids, the same values."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.errors import CheckpointError, MediaDamaged
from core.media.vision import (
    DecodedMedia,
    Patches,
    VisionSpec,
    load_vision_spec,
    patch_timestamps,
    patchify,
    resize_frames,
    resized_size,
)

HALVES = (0.5, 0.5, 0.5)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SPECS = {
    "Qwen3-VL": VisionSpec(16, 2, 2, HALVES, HALVES),
    "Qwen2.5-VL": VisionSpec(14, 2, 2, CLIP_MEAN, CLIP_STD),
}
RANGES = {"wide": (3136, 1_605_632), "narrow": (4096, 65_536), "tiny": (784, 4096)}
SIZES = [(64, 64), (480, 640), (641, 479), (33, 1000), (1500, 17), (1, 1), (7, 5), (720, 1280), (900, 90)]


def grey_levels(ours: Patches, stock: Any, spec: VisionSpec) -> float:
    """The largest difference between two sets of patches, in steps of 1/255 before normalisation."""
    difference = np.abs(ours.pixels - np.asarray(stock, dtype=np.float32))
    return float(difference.max() * max(spec.std) * 255)


def noisy(height: int, width: int, frames: int = 1) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rng = np.random.default_rng(height * 10_000 + width)
    blocks = rng.integers(0, 256, (frames, height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return blocks.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("limits", RANGES)
@pytest.mark.parametrize("family", SPECS)
def test_a_picture_becomes_the_patches_of_the_stock_processor(family: str, limits: str, size: tuple[int, int]) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    spec, (low, high) = SPECS[family], RANGES[limits]
    stock = Qwen2VLImageProcessorPil(
        patch_size=spec.patch_size,
        temporal_patch_size=spec.temporal_patch_size,
        merge_size=spec.merge_size,
        image_mean=list(spec.mean),
        image_std=list(spec.std),
        size={"shortest_edge": low, "longest_edge": high},
    )
    pixels = noisy(*size)
    expected = stock(images=[Image.fromarray(pixels[0])], return_tensors="np")
    target = resized_size(*size, factor=spec.factor, min_pixels=low, max_pixels=high)
    patches = patchify(resize_frames(pixels, target), spec)
    assert [list(patches.grid)] == expected["image_grid_thw"].tolist()
    assert patches.pixels.shape == expected["pixel_values"].shape
    assert grey_levels(patches, expected["pixel_values"], spec) <= 1.001


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
def test_a_video_becomes_the_patches_of_the_stock_processor(frames: int) -> None:
    torch = pytest.importorskip("torch")
    library = torch.library.Library("torchvision", "DEF")  # torchvision looks for operators that a CPU torch lacks
    try:
        for signature in (
            "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
            "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        ):
            library.define(signature)
        pytest.importorskip("torchvision", reason="the stock video processor needs torchvision")
        module = importlib.import_module("transformers.models.qwen3_vl.video_processing_qwen3_vl")
        spec = SPECS["Qwen3-VL"]
        pixels = noisy(192, 320, frames)
        stock = module.Qwen3VLVideoProcessor(do_sample_frames=False, do_resize=False)
        video = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
        expected = stock(videos=[video], do_sample_frames=False, do_resize=False, return_tensors="pt")
        patches = patchify(pixels, spec)
        assert [list(patches.grid)] == expected["video_grid_thw"].tolist()
        assert grey_levels(patches, expected["pixel_values_videos"].numpy(), spec) <= 1.001
    finally:
        library._destroy()


@pytest.mark.parametrize("family", SPECS)
def test_a_resized_size_is_of_whole_patches_within_the_range_and_stays_when_asked_again(family: str) -> None:
    factor, rng = SPECS[family].factor, np.random.default_rng(5)
    for height, width in rng.integers(1, 3000, (300, 2)).tolist():
        if max(height, width) > 20 * min(height, width):
            continue
        target = resized_size(height, width, factor=factor, min_pixels=4096, max_pixels=65_536)
        assert target[0] % factor == target[1] % factor == 0
        assert 4096 <= target[0] * target[1] <= 65_536
        assert resized_size(*target, factor=factor, min_pixels=4096, max_pixels=65_536) == target


def test_too_thin_a_picture_is_refused_like_the_stock_processor_does() -> None:
    with pytest.raises(MediaDamaged, match="402 x 2 pixels is too thin"):
        resized_size(2, 402, factor=32, min_pixels=4096, max_pixels=65_536)
    assert resized_size(2, 400, factor=32, min_pixels=4096, max_pixels=65_536)


def test_each_patch_lies_where_the_merger_expects_it() -> None:
    spec = SPECS["Qwen3-VL"]
    rows, columns = np.mgrid[0:64, 0:96]
    pixels = np.stack([rows // 16, columns // 16, rows * 0], axis=-1).astype(np.uint8)[None]
    patches = patchify(pixels, spec)
    values = (patches.pixels.reshape(-1, 3, 2, 16, 16) * 0.5 + 0.5) * 255
    places = [(round(float(patch[0].mean())), round(float(patch[1].mean()))) for patch in values]
    assert patches.grid == (1, 4, 6)
    assert places[:8] == [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3)]


def test_a_clip_of_odd_length_repeats_its_last_frame_and_that_frames_time() -> None:
    spec = SPECS["Qwen3-VL"]
    three = noisy(32, 32, 3)
    assert np.array_equal(patchify(three, spec).pixels, patchify(np.concatenate([three, three[-1:]]), spec).pixels)
    assert patch_timestamps((0.0, 1.0, 2.0), 2) == [0.5, 2.0]


def test_a_window_of_a_video_keeps_frames_and_times_together() -> None:
    media = DecodedMedia(noisy(8, 8, 5), (0.0, 1.0, 2.0, 3.0, 4.0))
    part = media.window(2, 4)
    assert part.timestamps == (2.0, 3.0)
    assert np.array_equal(part.frames, media.frames[2:4])
    still = DecodedMedia(noisy(8, 8))
    assert still.window(2, 4) is still


def test_a_checkpoints_processor_file_is_read_and_a_poor_one_named(tmp_path: Path) -> None:
    good = {"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2, "image_mean": CLIP_MEAN, "image_std": CLIP_STD}
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(good))
    assert load_vision_spec(tmp_path) == SPECS["Qwen2.5-VL"]
    poor: Any
    for poor in ({**good, "image_mean": [0.5]}, {"patch_size": 14}, []):
        path.write_text(json.dumps(poor))
        with pytest.raises(CheckpointError):
            load_vision_spec(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"has no preprocessor_config\.json"):
        load_vision_spec(tmp_path)
