"""The network of the built-in guard: a small Qwen3-VL, built from configuration alone, and how it is saved.

Imports torch and transformers inside its functions: the command's `--help` stays quick.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.errors import InputError
from core.media.vision import VisionSpec

ROPE_THETA = 1_000_000.0
"""Large: quoting matches contents over hundreds of tokens, for which the slowly turning pairs are needed."""
FAST_PAIRS, SLOWEST = 6, 0.01
"""How many of the fastest rotary pairs tell neighbours apart; radians a token below which a pair can match contents."""
QUOTING = 2
"""How many groups of heads begin by quoting meanings; the one after them begins with spellings."""
LEFT = {0: (1.0, 0.5), 3: (1.0, 0.5), 2: (2.2, 1.2), 5: (2.2, 1.0), 1: (0.1, 0.8), 4: (0.1, 0.8)}
"""Rotary pair -> how many positions back a reading head looks in it, and how much it counts. Pairs turn with time,
height and width in turn: one token before in typed text, about two patches to the left on the same row of a picture."""
VISION = VisionSpec(patch_size=16, temporal_patch_size=2, merge_size=2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

CONTEXT = 1024
"""Positions that the network can be asked for (guard.json names how many it was trained for)."""
MEANING, SPELLING, MARKED = 256, 96, 4
WIDTH = MEANING + SPELLING
"""Hidden size: a token's embedding is what it means and how it is spelled (`train_jobs.builtin.wordcode`); the first
MARKED dimensions of a spelling are marks, not letters."""


def configuration(vocabulary: int, ids: dict[str, int]) -> Any:
    """The configuration: about 9.8 M parameters with a vocabulary of 8,192.

    Args:
        ids: token ids of the control tokens by name.
    """
    from transformers import Qwen3VLConfig

    text = {
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "intermediate_size": 704,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "max_position_embeddings": CONTEXT,
        "rope_parameters": {"rope_type": "default", "mrope_section": [12, 10, 10], "rope_theta": ROPE_THETA},
        "tie_word_embeddings": True,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "bos_token_id": None,
    }
    vision = {
        "depth": 6,
        "hidden_size": 128,
        "intermediate_size": 512,
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


def begin_with_quoting(model: Any, constant: float) -> None:
    """Start attention as an induction circuit (Olsson et al. 2022, arXiv 2209.11895), which so small a run never finds.

    A head of the first layer looks at the token before and writes down what it was; heads of the second look for a
    place that stands after the present token, and carry its token to the output. Everything stays trainable.

    Args:
        constant: what every token embedding holds in its first dimension: the direction by which a head looks at
            places alone.
    """
    import torch

    first, second = (layer.self_attn for layer in model.model.language_model.layers[:2])
    width, head = MEANING, first.head_dim
    pairs = head // 2
    turning = ROPE_THETA ** (-torch.arange(pairs) / pairs)
    fast = torch.arange(FAST_PAIRS)
    slow = (turning < SLOWEST).nonzero()[:, 0]
    slow = torch.cat([slow, slow + pairs])
    generator = torch.Generator().manual_seed(1)
    axes, _ = torch.linalg.qr(torch.randn(width, width, generator=generator))
    seen, noted, carried = axes[:head], axes[head : 2 * head], axes[2 * head : 4 * head]

    def meant(rows: Any) -> Any:
        return torch.cat([rows, torch.zeros(len(rows), SPELLING)], dim=1)

    with torch.no_grad():
        for layer in model.model.language_model.layers:
            layer.self_attn.o_proj.weight.mul_(0.35)
            layer.mlp.down_proj.weight.mul_(0.35)
        look, be_seen = torch.zeros(head, WIDTH), torch.zeros(head, WIDTH)
        look[fast, 0], look[fast + pairs, 0] = torch.cos(turning[fast]), -torch.sin(turning[fast])
        be_seen[fast, 0] = 1.0
        for rows, made in ((first.q_proj, look), (first.k_proj, be_seen), (first.v_proj, meant(seen))):
            rows.weight[:head].mul_(0.1).add_(made)
        # a quarter of the constant is the spread of an embedding's other dimensions (teachers.warm_start)
        first.o_proj.weight[:, :head].copy_(1.5 * constant / 4 * meant(noted).T)
        for norm in (first.q_norm, first.k_norm):
            norm.weight[fast], norm.weight[fast + pairs] = 2.5, 2.5
            second_norm = second.q_norm if norm is first.q_norm else second.k_norm
            second_norm.weight[slow] = 1.7
        shared = second.config.num_attention_heads // second.config.num_key_value_heads
        for which in range(QUOTING):
            ask, offer = torch.zeros(head, WIDTH), torch.zeros(head, WIDTH)
            ask[slow], offer[slow] = meant(seen)[slow], meant(noted)[slow]
            mine, asking = which * head, which * shared * head
            second.q_proj.weight[asking : asking + head].mul_(0.1).add_(ask)
            second.k_proj.weight[mine : mine + head].mul_(0.1).add_(offer)
            second.v_proj.weight[mine : mine + head].copy_(meant(carried)[mine : mine + head])
            second.o_proj.weight[:, asking : asking + head].copy_(constant * meant(carried)[mine : mine + head].T)


def begin_with_reading(model: Any) -> None:
    """The same circuit once more for spellings, in the last group of heads, so that it serves drawn words.

    In the first layer a head looks for the nearest token to the left, over the empty patches between words, and writes
    its spelling down among the meanings; in the second it looks for a place that stands after the present token's
    spelling, and carries the spelling from there.
    """
    import torch

    first, second = (layer.self_attn for layer in model.model.language_model.layers[:2])
    head, told = first.head_dim, SPELLING - MARKED
    pairs = head // 2
    turning = ROPE_THETA ** (-torch.arange(pairs) / pairs)
    slow = (turning < SLOWEST).nonzero()[:, 0]
    slow = torch.cat([slow, slow + pairs])
    generator = torch.Generator().manual_seed(3)
    axes, _ = torch.linalg.qr(torch.randn(MEANING, MEANING, generator=generator))
    turned, _ = torch.linalg.qr(torch.randn(told, told, generator=generator))
    noted, seen = torch.zeros(head, WIDTH), torch.zeros(head, WIDTH)
    noted[:, :MEANING], seen[:, WIDTH - told :] = axes[:head], turned[:head]
    look, be_seen, ask, offer = (torch.zeros(head, WIDTH) for _ in range(4))
    for pair, (offset, weight) in LEFT.items():
        look[pair, 0] = weight * torch.cos(turning[pair] * offset)
        look[pair + pairs, 0] = -weight * torch.sin(turning[pair] * offset)
        be_seen[pair, 0] = 1.0
    there = torch.randn(len(slow), generator=generator)
    # the first mark of a spelling says that there is a token: empty patches are passed over
    look[slow, 0], be_seen[slow, MEANING] = 0.2 * there, 0.3 * there
    ask[slow], offer[slow] = seen[slow], noted[slow]
    shared = first.config.num_attention_heads // first.config.num_key_value_heads
    group, asking = QUOTING * head, QUOTING * shared * head
    with torch.no_grad():
        for layer, query, key in ((first, look, be_seen), (second, ask, offer)):
            layer.q_proj.weight[asking : asking + head] = query
            layer.k_proj.weight[group : group + head] = key
            layer.v_proj.weight[group : group + head] = seen
        first.o_proj.weight[:, asking : asking + head] = 0.25 * noted.T
        second.o_proj.weight[:, asking : asking + head] = 0.5 * seen.T


def build(vocabulary: int, ids: dict[str, int], seed: int, embeddings: Any = None) -> Any:
    """The network with fresh weights, float32, on the CPU, in training mode.

    Args:
        embeddings: array of shape (vocabulary, WIDTH), float32, that the token embeddings begin with, its first column
            constant, its last SPELLING columns the spellings. Without it they are random, and so are the heads.
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
        begin_with_quoting(model, float(embeddings[0, 0]))
        begin_with_reading(model)
    quicken(model)
    model.train()
    return model


def load(folder: Path, vocabulary: int, ids: dict[str, int], seed: int) -> Any:
    """The network with the weights of an earlier built-in guard, in training mode.

    Raises:
        InputError: the folder's weights are not those of this network.
    """
    from safetensors.torch import load_file

    weights = {name: each for path in sorted(folder.glob("*.safetensors")) for name, each in load_file(path).items()}
    model = build(vocabulary, ids, seed)
    try:
        missing, unknown = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise InputError(f"{folder} is no built-in guard: {str(error).splitlines()[0]}") from error
    if unknown or missing != ["lm_head.weight"]:
        raise InputError(f"{folder} is no built-in guard: its weights are not those of this network.")
    return model


EMBEDDINGS = "model.language_model.embed_tokens.weight"


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the checkpoint folder: safetensors in files under 10 MB, tokenizer, image processor's figures.

    All float32 but the token embeddings, which as one tensor would be larger than a file of a Hugging Face Space may
    be: these are float16, and become float32 again when they are loaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.safetensors*"):
        old.unlink()
    weights = dict(model.state_dict())
    weights.pop("lm_head.weight")  # tied to the embeddings
    weights[EMBEDDINGS] = weights[EMBEDDINGS].half()
    model.save_pretrained(folder, state_dict=weights, max_shard_size="9MB")
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
