"""The plain way to fine-tune a checkpoint on chats: trl's SFTTrainer with trl's defaults.

    python -m tests.benchmark.peers.plain_sft CHECKPOINT ROWS.jsonl OUTPUT [--defaults]

Two defaults are changed because they only make it slower here: bfloat16, which most CPUs emulate, and gradient
checkpointing. A row holds `prompt` and `completion`, both lists of chat messages. One pass over them. Prints one line
of JSON: when each step ended (seconds since the epoch), rows of a step, and the most memory that the process held.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from typing import Any

from datasets import load_dataset
from transformers import AutoModelForImageTextToText, AutoTokenizer, TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer


class Clock(TrainerCallback):
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.ends.append(time.time())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("rows")
    parser.add_argument("output")
    parser.add_argument("--defaults", action="store_true", help="bfloat16 and gradient checkpointing, as trl has them")
    given = parser.parse_args()
    clock = Clock()
    quicker: dict[str, Any] = {} if given.defaults else {"bf16": False, "gradient_checkpointing": False}
    trainer = SFTTrainer(
        model=AutoModelForImageTextToText.from_pretrained(given.checkpoint),
        args=SFTConfig(output_dir=given.output, num_train_epochs=1, use_cpu=True, **quicker),
        train_dataset=load_dataset("json", data_files=given.rows, split="train", cache_dir=f"{given.output}/cache"),
        processing_class=AutoTokenizer.from_pretrained(given.checkpoint),
        callbacks=[clock],
    )
    trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"ends": clock.ends, "each": trainer.args.train_batch_size, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
