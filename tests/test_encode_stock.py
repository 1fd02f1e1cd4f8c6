"""Ids of prompts with media against transformers' Qwen3-VL processor, by its functions: whole, it needs torchvision."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from core.media.vision import DecodedMedia, VisionSpec
from core.prompt.encode import EncodedPrompt, PromptEncoder
from core.prompt.protocol import build_turns, load_protocol
from core.settings import ASSETS
from core.types import MediaRef, Modality, Preprocessing, Sample

PREPROCESSING = Preprocessing("test", 2.0, 8, 1024, 8192, 1024, 16384)
VISION = VisionSpec(16, 2, 2, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def picture(height: int, width: int) -> tuple[MediaRef, DecodedMedia]:
    ref = MediaRef("i", "image/png", Modality.IMAGE, 1, width, height)
    return ref, DecodedMedia(np.zeros((1, height, width, 3), np.uint8))


def clip(frames: int) -> tuple[MediaRef, DecodedMedia]:
    """Two frames a second."""
    ref = MediaRef("v", "video/mp4", Modality.VIDEO, 1, 64, 64)
    return ref, DecodedMedia(np.zeros((frames, 64, 64, 3), np.uint8), tuple(at / 2 for at in range(frames)))


def stock_media_ids(encoder: PromptEncoder, sample: Sample, prompt: EncodedPrompt) -> list[int]:
    """What the stock Qwen3-VL processor makes of the conversation: its own words where the template marks media."""
    from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor as Stock

    tower = SimpleNamespace(merge_size=VISION.merge_size, temporal_patch_size=VISION.temporal_patch_size)
    names = {name: f"<|{word}|>" for name, word in (
        ("image_token", "image_pad"), ("video_token", "video_pad"),
        ("vision_start_token", "vision_start"), ("vision_end_token", "vision_end"),
    )}  # fmt: skip
    stock: Any = SimpleNamespace(**names, image_processor=tower, video_processor=tower)
    stock._calculate_timestamps = partial(Stock._calculate_timestamps, stock)
    system, user = build_turns(encoder.protocol, sample)
    kinds = iter(ref.modality.value for ref in sample.media)
    parts = [{"type": next(kinds)} if part is None else {"type": "text", "text": part} for part in user.parts]
    said = [{"role": "system", "content": "".join(map(str, system.parts))}, {"role": "user", "content": parts}]
    rendered = encoder.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    grids: dict[str, Any] = {"image_grid_thw": [np.array(each.grid) for each in prompt.images]}
    films: dict[str, Any] = {"video_grid_thw": [np.array(each.grid) for each in prompt.videos]}
    films["video_metadata"] = [SimpleNamespace(fps=2.0, frames_indices=list(range(5))) for _ in prompt.videos]
    written = {
        stock.image_token: iter([Stock.replace_image_token(stock, grids, at) for at in range(len(prompt.images))]),
        stock.video_token: iter([Stock.replace_video_token(stock, films, at) for at in range(len(prompt.videos))]),
    }
    rendered = re.sub("|".join(map(re.escape, written)), lambda token: next(written[token[0]]), rendered)
    return list(encoder.tokenizer.encode(rendered, add_special_tokens=False))


def test_the_ids_of_pictures_and_clips_are_those_of_the_stock_processor(tiny_folder: Callable[[str], Path]) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_folder("qwen3_vl"))
    protocol = load_protocol(ASSETS / "protocols" / "guardroom-v1.toml")
    encoder = PromptEncoder(tokenizer, protocol, PREPROCESSING, "qwen3_vl", VISION)
    still, wide, moving = picture(64, 96), picture(96, 160), clip(5)
    for media in ([still], [moving], [still, moving, wide]):
        sample = Sample("What is it?", "A loaf.", tuple(ref for ref, _ in media))
        prompt = encoder.encode(sample, [medium for _, medium in media])
        assert list(prompt.ids) == stock_media_ids(encoder, sample, prompt)
