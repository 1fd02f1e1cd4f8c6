"""Tiny random checkpoints of every supported architecture: real files, real classes, built from configuration alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CHATML = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.content is string -%}{{- message.content -}}{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif part.type == 'video' -%}{{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
{%- else -%}{{- part.text -}}{%- endif -%}
{%- endfor -%}{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

LLAMA = """\
{{- '<|begin_of_text|>' -}}
{%- for message in messages -%}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}
"""

WORDS = (
    "Judge the request and the response. Think in steps, then answer harmful or unharmful for each. Human user: "
    "AI assistant: None Request: harmful Response: unharmful <result> </result> seconds the user asks for bread "
) * 3

QWEN_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
LLAMA_TOKENS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]

TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": True,
}  # fmt: skip


def tokenizer(special: list[str], think: bool, template: str) -> Any:
    """A byte-level tokenizer with a few merges and the control tokens of a family."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=special,
        show_progress=False,
    )
    backend.train_from_iterator([WORDS], trainer)
    if think:
        backend.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in ("<think>", "</think>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=template,
        eos_token="<|im_end|>" if "<|im_end|>" in special else "<|eot_id|>",
        pad_token=special[0],
    )


def build(folder: Path, model_type: str, seed: int = 0) -> Path:
    """Write a random checkpoint of `model_type` (qwen3_vl, qwen2_5_vl or llama) to `folder`."""
    import torch
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
    )

    torch.manual_seed(seed)
    if model_type == "llama":
        made = tokenizer(LLAMA_TOKENS, False, LLAMA)
        model: Any = LlamaForCausalLM(LlamaConfig(vocab_size=len(made), eos_token_id=made.eos_token_id, **TEXT))
    else:
        made = tokenizer(QWEN_TOKENS, model_type == "qwen3_vl", CHATML)
        ids = {
            f"{name}_token_id": made.convert_tokens_to_ids(f"<|{token}|>")
            for name, token in (
                ("image", "image_pad"),
                ("video", "video_pad"),
                ("vision_start", "vision_start"),
                ("vision_end", "vision_end"),
            )
        }
        text = {"vocab_size": len(made), "eos_token_id": made.eos_token_id, **TEXT}
        if model_type == "qwen3_vl":
            text |= {
                "head_dim": 8,
                "rope_scaling": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4},
            }
            vision = {
                "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32,
                "patch_size": 16, "num_position_embeddings": 64, "deepstack_visual_indexes": [0],
            }  # fmt: skip
            model = Qwen3VLForConditionalGeneration(
                Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
            )
        else:
            text |= {"rope_scaling": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4}}
            vision = {
                "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32,
                "patch_size": 14, "fullatt_block_indexes": [1], "window_size": 56,
            }  # fmt: skip
            model = Qwen2_5_VLForConditionalGeneration(
                Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
            )
        patch = 16 if model_type == "qwen3_vl" else 14
        (folder).mkdir(parents=True, exist_ok=True)
        (folder / "preprocessor_config.json").write_text(
            json.dumps(
                {
                    "image_processor_type": "Qwen2VLImageProcessor",
                    "patch_size": patch,
                    "temporal_patch_size": 2,
                    "merge_size": 2,
                    "image_mean": [0.5, 0.5, 0.5],
                    "image_std": [0.5, 0.5, 0.5],
                    "size": {"shortest_edge": 4096, "longest_edge": 65536},
                }
            )
        )
    # Large random weights make distributions that are far from uniform, so that a difference in inputs shows.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    model.generation_config.eos_token_id = made.eos_token_id
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return folder
