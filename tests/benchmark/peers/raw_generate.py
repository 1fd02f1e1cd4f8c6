"""The plain way to ask a text question of the same checkpoint: stock chat template, stock tokenizer, stock generate."""

from __future__ import annotations

import threading
import time
from typing import Any


class RawGenerate:
    """Holds the same loaded model and tokenizer as the guard."""

    def __init__(self, model: Any, tokenizer: Any, system: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._system = system

    def run(self, user: str, tokens: int) -> tuple[float, float]:
        """Write exactly so many tokens.

        Returns:
            Seconds to the first streamed piece and seconds in all.
        """
        from transformers import GenerationConfig, TextIteratorStreamer

        start = time.perf_counter()
        messages = [{"role": "system", "content": self._system}, {"role": "user", "content": user}]
        prompt = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        inputs = self._tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True)
        config = GenerationConfig(max_new_tokens=tokens, do_sample=False, pad_token_id=self._tokenizer.pad_token_id)
        arguments = {
            "input_ids": inputs["input_ids"],
            "attention_mask": inputs["attention_mask"],
            "generation_config": config,
            "streamer": streamer,
        }
        written: list[int] = []

        def generate() -> None:
            written.append(self._model.generate(**arguments).shape[1] - inputs["input_ids"].shape[1])

        worker = threading.Thread(target=generate)
        worker.start()
        first: float | None = None
        for piece in streamer:
            if piece and first is None:
                first = time.perf_counter() - start
        worker.join()
        if written != [tokens]:
            raise RuntimeError(f"plain generate wrote {written} tokens instead of {tokens}")
        return first if first is not None else float("nan"), time.perf_counter() - start
