"""The plain way to reinforce a checkpoint on chats: trl's GRPOTrainer with trl's defaults, a rollout split like ours.

    python -m tests.benchmark.peers.plain_grpo CHECKPOINT ROWS.jsonl OUTPUT [--prompts 8] [--generations 8]
        [--updates 2] [--passes 2] [--limit 176] [--defaults]

Two defaults are changed because they only make it slower here: bfloat16, which most CPUs emulate, and gradient
checkpointing. A row holds `prompt`, a list of chat messages, and `request` and `response`, the right labels (`none`
where there is no side to judge). Prints one line of JSON: when each step ended (seconds since the epoch), completions
of a step, steps of a rollout, and the most memory that the process held.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import time
from typing import Any

from datasets import load_dataset
from transformers import AutoModelForImageTextToText, AutoTokenizer, TrainerCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

ANSWER = re.compile(r"</think>\s*<result>\s*Request: (\w+)\s*Response: (\w+)\s*</result>")


class Clock(TrainerCallback):
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

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
    parser.add_argument("--defaults", action="store_true", help="bfloat16 and gradient checkpointing, as trl has them")
    given = parser.parse_args()
    clock = Clock()
    completions = given.prompts * given.generations
    quicker: dict[str, Any] = {} if given.defaults else {"bf16": False, "gradient_checkpointing": False}
    rows = load_dataset("json", data_files=given.rows, split="train", cache_dir=f"{given.output}/cache")
    steps = given.updates * given.passes
    trainer = GRPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(given.checkpoint),
        reward_funcs=accuracy,
        args=GRPOConfig(
            output_dir=given.output,
            use_cpu=True,
            max_steps=len(rows) // given.prompts * steps,
            per_device_train_batch_size=completions // given.updates,
            generation_batch_size=completions,
            num_generations=given.generations,
            num_iterations=given.passes,
            max_completion_length=given.limit,
            **quicker,
        ),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(given.checkpoint, padding_side="left"),
        callbacks=[clock],
    )
    trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"ends": clock.ends, "each": completions / steps, "steps": steps, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
