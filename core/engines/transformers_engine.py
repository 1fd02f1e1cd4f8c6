"""The default engine: a safetensors checkpoint in this process, on CPU, CUDA or Apple's GPU.

Imports torch and transformers at its top: import it only when a checkpoint is loaded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch
from tokenizers.decoders import DecodeStream
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    DynamicCache,
    GenerationConfig,
)

from core.checkpoints.folder import CheckpointFolder
from core.checkpoints.safety import check_size
from core.engines.base import Completion, Decoding, FirstLook, Piece, Prompt
from core.engines.reading import LabelTokens, Row, StopWhen, Watch, look
from core.errors import CheckpointError, EngineError
from core.media.vision import load_vision_spec
from core.prompt.batches import padded
from core.prompt.encode import EncodedPrompt, PromptEncoder
from core.prompt.protocol import render_reasoning
from core.types import CheckpointInfo, FinishReason, HarmProbability, Modality, Sample

T = TypeVar("T")

BATCH_TOKENS = 16_384
"""Padded prompt tokens in one batch at most, so that a batch's memory stays bounded."""
BATCH_ROWS = 32


def choose_device(wanted: str) -> str:
    """`auto` takes CUDA, then Apple's GPU, then the CPU.

    Raises:
        EngineError: the named device is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there.get(wanted, False):
        raise EngineError(
            f"The device {wanted!r} is not there; this machine has {', '.join(k for k, v in there.items() if v)}."
        )
    return wanted


def choose_dtype(wanted: str, device: str) -> torch.dtype:
    """`auto`: bfloat16 where CUDA computes it, else float16 on a GPU; float32 on the CPU."""
    if wanted != "auto":
        chosen: torch.dtype = getattr(torch, wanted)
        return chosen
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device == "mps" else torch.float32


class TransformersEngine:
    """A loaded checkpoint. Not safe for two threads; `core.serving.live` gives it one owner."""

    name = "transformers"

    def __init__(self, folder: CheckpointFolder, *, device: str = "auto", dtype: str = "auto") -> None:
        """Load tokenizer and weights.

        Raises:
            CheckpointError: the files are damaged or do not fit together.
            EngineError: the device is not there or lacks memory.
        """
        self.device = choose_device(device)
        torch_dtype = choose_dtype(dtype, self.device)
        self.dtype = str(torch_dtype).removeprefix("torch.")
        self.model, self.tokenizer = _load(folder, torch_dtype, self.device)
        reads_media = Modality.IMAGE in folder.info.modalities
        self.encoder = PromptEncoder(
            self.tokenizer,
            folder.protocol,
            folder.info.preprocessing,
            folder.model_type,
            load_vision_spec(folder.path) if reads_media else None,
        )
        self.info: CheckpointInfo = replace(folder.info, parameters=sum(p.numel() for p in self.model.parameters()))
        self.warnings: tuple[str, ...] = ()
        _check_fit(self.model, self.encoder, len(self.tokenizer), folder)
        self._labels = LabelTokens(self.encoder)
        self._end_ids = _end_ids(self.model, self.tokenizer)
        self._pad_id = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else min(self._end_ids)
        self.model.generation_config = GenerationConfig(eos_token_id=sorted(self._end_ids), pad_token_id=self._pad_id)

    def count_tokens(self, prompt: Prompt) -> int:
        """Length of the prompt in tokens, media included."""
        given = self.encoder.reasoning_ids(prompt.steps) if prompt.steps else ()
        return self.encoder.count(prompt.sample, prompt.media) + len(given)

    def prompt_warnings(self, prompt: Prompt) -> tuple[str, ...]:
        """None: ids are built so that every prompt is taken as it is."""
        return ()

    def first_look(self, prompts: Sequence[Prompt]) -> list[HarmProbability]:
        """P(harmful) of each prompt before any reasoning, uncalibrated. Given steps are left out."""
        bare = [replace(prompt, steps=()) for prompt in prompts]
        looks = [first for first, _ in self._in_batches(bare, Decoding(max_new_tokens=1), None)]
        return [first if first is not None else HarmProbability() for first in looks]

    def complete(
        self, prompt: Prompt, decoding: Decoding, stop: threading.Event, emit: Callable[[FirstLook | Piece], None]
    ) -> tuple[HarmProbability | None, Completion]:
        """Write the answer to one prompt; see `core.engines.base.Engine`."""
        return self._generate([prompt], [self._encode(prompt)], decoding, stop, emit)[0]

    def complete_many(
        self, prompts: Sequence[Prompt], decoding: Decoding, stop: threading.Event | None = None
    ) -> list[tuple[HarmProbability | None, Completion]]:
        """Many prompts of mixed modalities: batches of like length, padded on the left, results in the given order."""
        return self._in_batches(prompts, decoding, stop)

    def close(self) -> None:
        """Free the model's memory."""
        del self.model
        if self.device == "cuda":
            torch.cuda.empty_cache()

    # -- inside -------------------------------------------------------------------------------------------------

    @contextmanager
    def _memory(self) -> Iterator[None]:
        """Too little memory is the sample's trouble, in a sentence; PyTorch says it in another way on the CPU."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "allocate memory" not in str(error):
                raise
            raise EngineError(
                f"The {self.device} has too little memory for this sample ({_one_line(error)})."
            ) from None

    def _encode(self, prompt: Prompt) -> EncodedPrompt:
        encoded = self.encoder.encode(prompt.sample, prompt.media)
        return encoded.extended(self.encoder.reasoning_ids(prompt.steps)) if prompt.steps else encoded

    def _in_batches(
        self, prompts: Sequence[Prompt], decoding: Decoding, stop: threading.Event | None
    ) -> list[tuple[HarmProbability | None, Completion]]:
        """Results in the given order. Only one batch at a time is made of patches: those of a long video are large.

        A prompt that stands there several times is made of ids and patches once a batch.
        """
        results: dict[int, tuple[HarmProbability | None, Completion]] = {}
        for number, batch in enumerate(batches(_each_once(self.count_tokens, prompts))):
            chosen = [prompts[at] for at in batch]
            # With the same seed a prompt in the first row of two batches would be given the same completion twice.
            seeded = decoding if decoding.seed is None else replace(decoding, seed=decoding.seed + number)
            done = self._generate(chosen, _each_once(self._encode, chosen), seeded, stop, None)
            results.update(zip(batch, done, strict=True))
        return [results[at] for at in range(len(prompts))]

    def _inputs(self, encoded: Sequence[EncodedPrompt]) -> dict[str, torch.Tensor]:
        """Left-padded ids, mask and types, shape (batch, longest), and the patches of all rows one after the other."""
        inputs = padded(encoded, self._pad_id, self.model.config.model_type, left=True)
        return {name: tensor.to(self.device) for name, tensor in inputs.items()}

    def _generate(
        self,
        prompts: Sequence[Prompt],
        encoded: Sequence[EncodedPrompt],
        decoding: Decoding,
        stop: threading.Event | None,
        emit: Callable[[FirstLook | Piece], None] | None,
    ) -> list[tuple[HarmProbability | None, Completion]]:
        start = time.perf_counter()
        with self._memory():
            inputs = self._inputs(encoded)
        cache = DynamicCache(config=self.model.config.get_text_config())
        looks: list[HarmProbability | None] = [None] * len(prompts)

        def on_prefill() -> None:
            has_response = [prompt.sample.response is not None for prompt in prompts]
            looks[:] = look(self.model, cache, inputs["attention_mask"], self.encoder, self._labels, has_response)
            if emit is not None and looks[0] is not None:
                emit(FirstLook(looks[0]))

        def tell(piece: str) -> None:
            if emit is not None:
                emit(Piece(piece))

        rows = [Row(self.encoder, self._decoder(), tell if emit is not None else None) for _ in prompts]
        # Steps that a person gave leave no room for a look before the reasoning.
        looks_first = decoding.look and not any(prompt.steps for prompt in prompts)
        watch = Watch(rows, self._labels, self._end_ids, on_prefill if looks_first else None)
        with self._memory():
            self.model.generate(
                **inputs,
                past_key_values=cache,
                generation_config=self._generation_config(decoding),
                logits_processor=[watch],
                stopping_criteria=[StopWhen(stop)] if stop is not None else None,
                streamer=watch,
            )
        stopped = stop is not None and stop.is_set()
        completions = []
        for at, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
            finish = watch.finish[at]
            if stopped and finish is FinishReason.LENGTH:
                finish = FinishReason.CANCELLED
            given = render_reasoning(prompt.steps)
            completions.append(
                Completion(
                    text=row.text,
                    reasoning="\n".join(part for part in (given, row.plain_reasoning) if part),
                    answer=row.answer,
                    token_ids=tuple(row.ids),
                    token_count=len(row.ids),
                    finish_reason=finish,
                    ttft_s=row.first_piece_at - start if row.first_piece_at is not None else None,
                    latency_s=watch.last_token_at[at] - start,
                    probability=row.harm,
                )
            )
        return list(zip(looks, completions, strict=True))

    def _decoder(self) -> Callable[[int], str]:
        backend = self.tokenizer.backend_tokenizer
        stream = DecodeStream(skip_special_tokens=False)

        def step(token: int) -> str:
            return stream.step(backend, token) or ""

        return step

    def _generation_config(self, decoding: Decoding) -> GenerationConfig:
        if decoding.seed is not None:
            torch.manual_seed(decoding.seed)
        sampled: dict[str, Any] = (
            {"do_sample": True, "temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
            if decoding.temperature > 0
            else {"do_sample": False}
        )
        return GenerationConfig(
            max_new_tokens=decoding.max_new_tokens,
            eos_token_id=sorted(self._end_ids),
            pad_token_id=self._pad_id,
            use_cache=True,
            **sampled,
        )


def batches(lengths: Sequence[int]) -> list[list[int]]:
    """Positions grouped by length, longest first, so that little is padded and a lack of memory shows early."""
    groups: list[list[int]] = []
    for at in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        longest = lengths[groups[-1][0]] if groups else 0
        if groups and len(groups[-1]) < BATCH_ROWS and (len(groups[-1]) + 1) * longest <= BATCH_TOKENS:
            groups[-1].append(at)
        else:
            groups.append([at])
    return groups


def _each_once(work: Callable[[Prompt], T], prompts: Sequence[Prompt]) -> list[T]:
    """`work` of each prompt, done once for a prompt that stands there several times."""
    done: dict[int, T] = {}
    for prompt in prompts:
        if id(prompt) not in done:
            done[id(prompt)] = work(prompt)
    return [done[id(prompt)] for prompt in prompts]


def _load(folder: CheckpointFolder, dtype: torch.dtype, device: str) -> tuple[Any, Any]:
    auto = AutoModelForCausalLM if folder.model_type == "llama" else AutoModelForImageTextToText
    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    try:
        # What the configuration leaves out is filled in by the library, with the sizes of a large model.
        check_size(folder.path, AutoConfig.from_pretrained(folder.path, **safe).to_dict())
        tokenizer = AutoTokenizer.from_pretrained(folder.path, **safe)
        model, report = auto.from_pretrained(
            folder.path, dtype=dtype, use_safetensors=True, output_loading_info=True, **safe
        )
    except torch.OutOfMemoryError as error:
        raise EngineError(f"The {device} has too little memory for this checkpoint ({error}).") from None
    except CheckpointError:
        raise
    except Exception as error:  # transformers and safetensors raise many kinds; each means "these files cannot be used"
        raise CheckpointError(f"{folder.path} cannot be loaded: {_one_line(error)}") from error
    missing, wrong = sorted(report["missing_keys"]), sorted(map(str, report["mismatched_keys"]))
    if missing or wrong:
        raise CheckpointError(
            f"{folder.path} is incomplete: {len(missing)} weights are missing and {len(wrong)} have another shape "
            f"({(missing + wrong)[0]})."
        )
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise CheckpointError(f"{folder.path} brings no fast tokenizer (tokenizer.json), which is needed.")
    if not tokenizer.chat_template:
        raise CheckpointError(f"{folder.path} brings no chat template, which is needed to build prompts.")
    try:
        return model.to(device).eval(), tokenizer
    except torch.OutOfMemoryError as error:
        raise EngineError(f"The {device} has too little memory for this checkpoint ({error}).") from None


def _check_fit(model: Any, encoder: PromptEncoder, vocabulary: int, folder: CheckpointFolder) -> None:
    """Weights, tokenizer, chat template and picture preparation belong together, or fail here and not on a sample."""
    known = model.get_input_embeddings().num_embeddings
    if vocabulary > known:
        raise CheckpointError(f"{folder.path} has a tokenizer of {vocabulary} tokens and weights for {known} only.")
    try:
        encoder.encode(Sample("request", "response"))
    except Exception as error:  # a template is a small program, and fails in as many ways
        raise CheckpointError(f"{folder.path} has a chat template that cannot be used: {_one_line(error)}") from error
    if encoder.vision is not None:
        tower, spec = model.config.vision_config, encoder.vision
        wanted = (tower.patch_size, tower.temporal_patch_size, tower.spatial_merge_size)
        given = (spec.patch_size, spec.temporal_patch_size, spec.merge_size)
        if given != wanted:
            raise CheckpointError(
                f"{folder.path} cuts pictures into patches of {given} (pixels, frames, merged), but its weights "
                f"expect {wanted}."
            )


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    said = model.generation_config.eos_token_id
    ids = {int(each) for each in (said if isinstance(said, list) else [said]) if each is not None}
    if tokenizer.eos_token_id is not None:
        ids.add(int(tokenizer.eos_token_id))
    if not ids:
        raise CheckpointError("The checkpoint names no end-of-turn token, so its answers would never end.")
    return frozenset(ids)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
