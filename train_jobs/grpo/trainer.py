"""trl's GRPOTrainer on our rows: prompts by our own encoder, media by row, rewards by `train_jobs.grpo.scoring`.

trl tokenises prompts by chat template, so that control tokens which somebody typed become real ones, and it carries
pictures through a processor, which fails on batches that mix rows with and without them. Here trl sees plain texts (one
JSON each); ids and patches come from `core.prompt.encode`, and every batch is given the media of exactly its own rows.
Videos are true video tokens, with their timestamps, as in serving. Pinned to trl 1.16, whose inner methods it
overrides.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.errors import Cancelled
from core.media.vision import DecodedMedia
from core.prompt.batches import media_inputs
from core.prompt.encode import VISION_TOKENS, EncodedPrompt, PromptEncoder
from core.types import MediaRef
from train_jobs.grpo.scoring import Scored
from train_jobs.rules.augment import HardRow
from train_jobs.training.narrowing import AT_ONCE, stretches

COLUMN = "prompt"
"""The one column of the training's dataset: a `HardRow` as JSON."""


HELD_BYTES = 2 * 1024**3
"""Patches that are kept between two uses; those of a rollout of long videos would be many times that."""


class PromptBook:
    """Rows and encoded prompts of a rollout by their text in the dataset.

    A prompt stands in a rollout once for every completion of its group and is used in several batches, so it is kept
    encoded; where the patches of all are too many, those used longest ago are let go and made again.
    """

    def __init__(
        self, encoder: PromptEncoder, decode: Callable[[MediaRef], DecodedMedia], most_bytes: int = HELD_BYTES
    ) -> None:
        self._encoder = encoder
        self._decode = decode
        self._most_bytes = most_bytes
        self._rows: dict[str, HardRow] = {}
        self._kept: OrderedDict[str, EncodedPrompt] = OrderedDict()

    def open(self, texts: Sequence[str]) -> list[HardRow]:
        """The rows of a new rollout. What only the one before needed is let go."""
        self._rows = {text: HardRow.from_json(text) for text in dict.fromkeys(texts)}
        self._kept = OrderedDict((text, prompt) for text, prompt in self._kept.items() if text in self._rows)
        return [self._rows[text] for text in texts]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of prompts of the open rollout, each list one of its own.

        Raises:
            MediaError: a medium cannot be read.
        """
        found = {text: self._prompt(text).ids for text in dict.fromkeys(texts)}
        return [list(found[text]) for text in texts]

    def prompts(self, texts: Sequence[str]) -> list[EncodedPrompt]:
        """Encoded prompts of a batch of the open rollout, with their patches.

        Raises:
            MediaError: a medium cannot be read.
        """
        found = {text: self._prompt(text) for text in dict.fromkeys(texts)}
        return [found[text] for text in texts]

    @property
    def held_bytes(self) -> int:
        """Of all patches that are kept."""
        return sum(_bytes(prompt) for prompt in self._kept.values())

    def _prompt(self, text: str) -> EncodedPrompt:
        if text not in self._kept:
            sample = self._rows[text].sample
            self._kept[text] = self._encoder.encode(sample, tuple(map(self._decode, sample.media)))
        prompt = self._kept[text]
        self._kept.move_to_end(text)
        while self.held_bytes > self._most_bytes and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return prompt


def _bytes(prompt: EncodedPrompt) -> int:
    return sum(patches.pixels.nbytes for patches in (*prompt.images, *prompt.videos))


def token_types(prompts: Sequence[EncodedPrompt], width: int, prompt_width: int) -> Any:
    """0 text, 1 image, 2 video for each token of left-padded prompts with completions after them; int64, (rows, width).

    Args:
        width: tokens of prompt and completion.
        prompt_width: tokens of the longest prompt: where completions begin.
    """
    import torch

    types = torch.zeros(len(prompts), width, dtype=torch.long)
    for at, prompt in enumerate(prompts):
        types[at, prompt_width - len(prompt.types) : prompt_width] = torch.tensor(prompt.types)
    return types


def stretch_seed(seed: int, step: int, first: int) -> int:
    """The seed of a stretch of generation, by the updates done before it and its first completion of the rollout."""
    return random.Random(f"completions {seed} {step} {first}").getrandbits(63)


def make_trainer(
    *,
    book: PromptBook,
    model_type: str,
    at_once: int,
    judge: Callable[[Sequence[HardRow], Sequence[Sequence[int]]], list[Scored]],
    keep: Callable[[int, Sequence[Scored], Sequence[float]], None],
    stop_asked: Callable[[], bool],
    seed: tuple[int, int] = (0, 0),
    **options: Any,
) -> Any:
    """A GRPOTrainer on a dataset of `HardRow`s.

    Args:
        at_once: sequences that are generated together.
        judge: rewards of completions.
        keep: told every rollout: the updates done so far, its completions, and their advantages.
        stop_asked: asked between stretches of generation; where it says yes, `Cancelled` comes out of `train`.
        seed: of the sampling, and which of a rollout's completions is this process's first: what is drawn hangs on
            the stretch alone, not on what was drawn before or by how many processes.
        options: what GRPOTrainer takes, but for the reward functions.
    """
    import torch
    import trl

    base: Any = trl.GRPOTrainer  # type: ignore[attr-defined, unused-ignore]

    class GuardGRPOTrainer(base):  # type: ignore[misc, valid-type, unused-ignore]
        """GRPOTrainer with our prompts and rewards; sampling, advantages, loss and optimiser are its own."""

        control: Any

        def __init__(self, **given: Any) -> None:
            self._texts: list[str] = []
            self._rows: list[HardRow] = []
            self._at: list[int] | None = None
            self._scored: list[Scored] = []

            def reward(prompts: Any, completions: Any, completion_ids: Any, **more: Any) -> list[float]:
                self._scored = judge(self._rows, completion_ids)
                return [each.reward.total for each in self._scored]

            super().__init__(reward_funcs=[reward], **given)

        def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
            """Ids by our own encoder. Media are not given back: they are looked up by row."""
            self._texts, self._rows = list(prompts), book.open(prompts)
            return book.ids(prompts), None, {}

        def _generate_single_turn(
            self, prompt_ids: Any, images: Any, multimodal_fields: Any, num_generations: int, *args: Any, **given: Any
        ) -> Any:
            """In stretches of bounded memory, each with the media of its own rows."""
            if self.use_vllm:
                return super()._generate_single_turn(prompt_ids, None, {}, num_generations, *args, **given)
            completions: list[list[int]] = []
            for start in range(0, len(prompt_ids), at_once):
                if stop_asked():
                    raise Cancelled("Cancelled while completions were generated.")
                torch.manual_seed(stretch_seed(seed[0], self.state.global_step, seed[1] + start))
                prompts = book.prompts(self._texts[start : start + at_once])
                fields = media_inputs(prompts, model_type)
                if fields:
                    fields["mm_token_type_ids"] = [list(prompt.types) for prompt in prompts]
                # In the precision that the log-probabilities are computed in; trl would generate in the weights' own.
                with self.accelerator.autocast():
                    some, _ = super()._generate_single_turn(
                        prompt_ids[start : start + at_once], None, fields, num_generations, *args, **given
                    )
                completions += some
            return completions, None

        def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
            """The rollout, with the number of each row, by which its media are found once rows are shuffled."""
            self._at = None
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
            output["rows"] = torch.arange(len(inputs))
            keep(self.state.global_step, self._scored, output["advantages"].tolist())
            return output

        def _compute_loss(self, model: Any, inputs: Any) -> Any:
            self._at = inputs["rows"].tolist()
            try:
                return super()._compute_loss(model, inputs)
            finally:
                self._at = None

        def _get_per_token_logps_and_entropies(
            self,
            model: Any,
            input_ids: Any,
            attention_mask: Any,
            logits_to_keep: int,
            batch_size: int | None = None,
            compute_entropy: bool = False,
            compute_aux_loss: bool = False,
            **given: Any,
        ) -> tuple[Any, Any, None]:
            """trl's own, with the media of these rows; what it would pass itself is not there."""
            places = range(len(input_ids)) if self._at is None else self._at
            width, begin = input_ids.shape[1], input_ids.shape[1] - logits_to_keep
            log_probs: dict[int, Any] = {}
            entropies: dict[int, Any] = {}
            size = batch_size or len(input_ids)
            for start in range(0, len(input_ids), size):
                # Of several processes each must call the model equally often.
                at_once = size if self.accelerator.num_processes > 1 else AT_ONCE
                for rows, used in stretches(attention_mask[start : start + size], at_once):
                    # Masked completions (mask_truncated) use no column of theirs; one is computed all the same.
                    columns = slice(used.start, max(used.stop, begin + 1))
                    numbers = [start + row for row in rows]
                    ids, mask = input_ids[numbers, columns], attention_mask[numbers, columns]
                    prompts = book.prompts([self._texts[places[number]] for number in numbers])
                    more = media_inputs(prompts, model_type)
                    if more:
                        more["mm_token_type_ids"] = token_types(prompts, ids.shape[1], begin - columns.start)
                    more = {name: tensor.to(ids.device) for name, tensor in more.items()}
                    labels = ids.masked_fill(mask == 0, -100)
                    labels[:, : begin - columns.start] = -100
                    with self.accelerator.autocast():
                        out = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True, **more)
                    kept = slice(begin - columns.stop, None)
                    missing = (0, width - columns.stop)
                    log_probs |= zip(numbers, torch.nn.functional.pad(out.log_probs[:, kept], missing), strict=True)
                    if compute_entropy:
                        entropies |= zip(numbers, torch.nn.functional.pad(out.entropy[:, kept], missing), strict=True)
            order = range(len(input_ids))
            return (
                torch.stack([log_probs[number] for number in order]),
                torch.stack([entropies[number] for number in order]) if compute_entropy else None,
                None,
            )

        def open_rollout(self) -> dict[str, Any] | None:
            """What the next updates are trained on; none where they begin with a new rollout."""
            if self._step % (self.args.steps_per_generation * self.num_iterations) == 0:
                return None
            return {"texts": self._texts, "batches": self._buffered_inputs}

        def reopen(self, rollout: Mapping[str, Any]) -> None:
            """Go on inside a rollout, as `open_rollout` gave it."""
            self._texts, self._buffered_inputs = rollout["texts"], rollout["batches"]
            self._rows = book.open(self._texts)

        def save_now(self) -> None:
            """A checkpoint of the last update."""
            self._save_checkpoint(self.model, None)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)

        def create_model_card(self, *args: Any, **given: Any) -> None:
            """The card is written when a checkpoint is exported; trl's is about trl."""

    return GuardGRPOTrainer(**options)


def never_written(encoder: PromptEncoder) -> list[int]:
    """Tokens that stand for pictures: one that the model made up would ask for a picture that is not there."""
    return [encoder.controls[token] for token in VISION_TOKENS if token in encoder.controls]
