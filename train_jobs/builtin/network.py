"""The network of the built-in guard: a small Qwen3-VL, built from configuration alone, and how it is saved.

Imports torch and transformers inside its functions: the command's `--help` stays quick.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.vision import VisionSpec

VISION = VisionSpec(patch_size=16, temporal_patch_size=2, merge_size=2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

CONTEXT, WIDTH = 1024, 256
"""Positions that the network can be asked for (guard.json names how many it was trained for); hidden size."""


def configuration(vocabulary: int, ids: dict[str, int]) -> Any:
    """The configuration: about 6.7 M parameters with a vocabulary of 8,192.

    Args:
        ids: token ids of the control tokens by name.
    """
    from transformers import Qwen3VLConfig

    text = {
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "intermediate_size": 704,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": CONTEXT,
        "rope_parameters": {"rope_type": "default", "mrope_section": [12, 10, 10], "rope_theta": 10_000.0},
        "tie_word_embeddings": True,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "bos_token_id": None,
    }
    vision = {
        "depth": 4,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "patch_size": VISION.patch_size,
        "temporal_patch_size": VISION.temporal_patch_size,
        "spatial_merge_size": VISION.merge_size,
        "num_position_embeddings": 256,
        "deepstack_visual_indexes": [1],
    }
    return Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )


def quicken(model: Any) -> None:
    """Compute the patch embedding as the matrix product that it is: the convolution is seven times slower on a CPU."""
    from torch.nn import functional

    embed = model.model.visual.patch_embed
    projection = embed.proj

    def forward(patches: Any) -> Any:
        return functional.linear(patches, projection.weight.view(projection.out_channels, -1), projection.bias)

    embed.forward = forward


def build(vocabulary: int, ids: dict[str, int], seed: int, embeddings: Any = None) -> Any:
    """The network with fresh weights, float32, in training mode.

    Args:
        embeddings: array of shape (vocabulary, WIDTH) that the token embeddings begin with; random unless given.
    """
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(configuration(vocabulary, ids))
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    if embeddings is not None:
        with torch.no_grad():
            model.get_input_embeddings().weight.copy_(torch.from_numpy(embeddings))
    quicken(model)
    model.train()
    return model


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the checkpoint folder: float32 safetensors in shards under 10 MB, tokenizer, image processor's figures."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.safetensors*"):
        old.unlink()
    model.save_pretrained(folder, max_shard_size="9MB")
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "Qwen2VLImageProcessor",
                "patch_size": VISION.patch_size,
                "temporal_patch_size": VISION.temporal_patch_size,
                "merge_size": VISION.merge_size,
                "image_mean": list(VISION.mean),
                "image_std": list(VISION.std),
                "size": {"shortest_edge": 4096, "longest_edge": 147456},
            },
            indent=2,
        )
        + "\n"
    )
