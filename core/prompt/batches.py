"""Encoded prompts as one batch of the model's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.prompt.encode import EncodedPrompt, stack_pixels


def media_inputs(prompts: Sequence[EncodedPrompt], model_type: str) -> dict[str, Any]:
    """The model's inputs for the pictures and videos of some rows, one after the other; empty where there are none.

    Ids and token types are not among them.
    """
    import torch

    images = [patches for prompt in prompts for patches in prompt.images]
    videos = [patches for prompt in prompts for patches in prompt.videos]
    inputs: dict[str, Any] = {}
    for kind, patches, name in (("image", images, "pixel_values"), ("video", videos, "pixel_values_videos")):
        if patches:
            pixels, grids = stack_pixels(patches)
            inputs[name] = torch.from_numpy(pixels)
            inputs[f"{kind}_grid_thw"] = torch.from_numpy(grids)
    if videos and model_type == "qwen2_5_vl":
        seconds = [value for prompt in prompts for value in prompt.seconds_per_patch]
        inputs["second_per_grid_ts"] = torch.from_numpy(np.array(seconds, np.float32))
    return inputs


def padded(prompts: Sequence[EncodedPrompt], pad_id: int, model_type: str, *, left: bool) -> dict[str, Any]:
    """Prompts of several lengths as one batch on the CPU, the patches of all one after the other.

    Args:
        left: pad on the left, as for generating; else on the right, as for training.

    Returns:
        `input_ids` and `attention_mask`, int64, shape (rows, longest); where there are media also `mm_token_type_ids`,
        int32, of that shape, and what `media_inputs` gives.
    """
    import torch

    longest = max(len(each.ids) for each in prompts)
    ids = torch.full((len(prompts), longest), pad_id, dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long)
    types = torch.zeros(len(prompts), longest, dtype=torch.int32)
    for row, each in enumerate(prompts):
        begin = longest - len(each.ids) if left else 0
        end = begin + len(each.ids)
        ids[row, begin:end] = torch.tensor(each.ids)
        types[row, begin:end] = torch.tensor(each.types, dtype=torch.int32)
        mask[row, begin:end] = 1
    media = media_inputs(prompts, model_type)
    return {"input_ids": ids, "attention_mask": mask} | ({"mm_token_type_ids": types} if media else {}) | media
