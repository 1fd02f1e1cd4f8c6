"""The plain way to reinforce a checkpoint on chats: trl's GRPOTrainer with trl's defaults, a rollout split like ours.

    python -m tests.benchmark.peers.plain_grpo CHECKPOINT ROWS.jsonl OUTPUT [--prompts 8] [--generations 8]
        [--updates 2] [--passes 2] [--limit 176] [--seed 0] [--defaults]

Two defaults are changed because they only make it slower here: bfloat16, which most CPUs emulate, and gradient
checkpointing. So that it draws what our job draws, rows are not shuffled, and every rollout begins with the job's seed.
A row holds `prompt`, a list of chat messages, and `request` and `response`, the right labels (`none`
where there is no side to judge). Prints one line of JSON: when each step ended (seconds since the epoch), completions
of a step, steps of a rollout, the mean tokens of a completion, and the most memory that the process held.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import time
from typing import Any

import torch
from datasets import load_dataset
from transformers import AutoModelForImageTextToText, AutoTokenizer, TrainerCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from train_jobs.grpo.trainer import stretch_seed

ANSWER = re.compile(r"</think>\s*<result>\s*Request: (\w+)\s*Response: (\w+)\s*</result>")


class Clock(TrainerCallback):
    """Notes when each step ended, and seeds each rollout."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.ends: list[float] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        torch.manual_seed(stretch_seed(self.seed, state.global_step, 0))

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.ends.append(time.time())


def accuracy(completions: list[Any], request: list[str], response: list[str], **given: Any) -> list[float]:
    """1 for each side that is right, 0 where nothing can be read."""
    found = []
    for completion, *gold in zip(completions, request, response, strict=True):
        said = ANSWER.search(completion[0]["content"])
        labels = [word.lower() for word in said.groups()] if said else ["", ""]
        found.append(float(sum(one == other for one, other in zip(labels, gold, strict=True) if other != "none")))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("rows")
    parser.add_argument("output")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--updates", type=int, default=2)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--limit", type=int, default=176)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--defaults", action="store_true", help="bfloat16 and gradient checkpointing, as trl has them")
    given = parser.parse_args()
    clock = Clock(given.seed)
    lengths: list[int] = []

    def rewarded(completions: list[Any], completion_ids: list[list[int]], **columns: Any) -> list[float]:
        lengths.extend(map(len, completion_ids))
        return accuracy(completions, **columns)

    completions = given.prompts * given.generations
    quicker: dict[str, Any] = {} if given.defaults else {"bf16": False, "gradient_checkpointing": False}
    rows = load_dataset("json", data_files=given.rows, split="train", cache_dir=f"{given.output}/cache")
    steps = given.updates * given.passes
    trainer = GRPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(given.checkpoint),
        reward_funcs=rewarded,
        args=GRPOConfig(
            output_dir=given.output,
            use_cpu=True,
            max_steps=len(rows) // given.prompts * steps,
            per_device_train_batch_size=completions // given.updates,
            generation_batch_size=completions,
            num_generations=given.generations,
            num_iterations=given.passes,
            max_completion_length=given.limit,
            shuffle_dataset=False,
            **quicker,
        ),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(given.checkpoint, padding_side="left"),
        callbacks=[clock],
    )
    trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    tokens = sum(lengths) / len(lengths)
    told = {"ends": clock.ends, "each": completions / steps, "steps": steps, "tokens": tokens, "peak_bytes": peak}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
