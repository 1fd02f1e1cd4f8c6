"""Training rows to token ids, patches, and what counts of them.

The protocol's own encoder builds every prompt and answer, so what is trained is what is served, and control tokens that
somebody typed stay text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import EngineError, TextTooLong
from core.media.vision import DecodedMedia
from core.prompt.batches import padded
from core.prompt.encode import EncodedPrompt, PromptEncoder
from core.types import Assessment, Label, MediaRef, Sample
from train_jobs.training.rows import RowForm, Side, TrainRow

COLUMN = "row"
"""The one column of the training's dataset; see `TrainRow.to_json`."""
KEPT_PROMPTS = 20_000
"""Prompts without media that are kept encoded."""

Decoder = Callable[[MediaRef], DecodedMedia]


@dataclass(frozen=True, slots=True)
class Line:
    """One row as ids. Position `i` of the lists below says what should follow `ids[at[i]]`, and how much it counts."""

    prompt: EncodedPrompt
    """With the answer's ids appended."""
    at: tuple[int, ...]
    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    p_harmful: tuple[float | None, ...]
    """At a label: the probability of `harmful` that is wanted, against `unharmful`; none elsewhere."""


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Factors on the loss of a token."""

    label: float = 1.0
    other: float = 1.0


class LineEncoder:
    """Turns rows into lines for one checkpoint."""

    def __init__(
        self,
        prompts: PromptEncoder,
        end_id: int,
        decode: Decoder,
        weights: LossWeights,
        longest: int,
    ) -> None:
        """Take the parts together.

        Args:
            end_id: the token that ends a turn.
            longest: tokens of a line at most.
        """
        self.prompts = prompts
        self.end_id = end_id
        self.decode = decode
        self.weights = weights
        self.longest = longest
        self._kept: dict[Sample, EncodedPrompt] = {}

    def line(self, row: TrainRow) -> Line:
        """One row.

        Raises:
            TextTooLong: it is longer than the recipe's longest sequence.
            MediaError: a medium cannot be read.
        """
        prompt = self._prompt(row.sample)
        answer, spots = self.answer(row)
        start = len(prompt.ids)
        if start + len(answer) > self.longest:
            raise TextTooLong(
                f"The sample {row.sample.id[:15]}… has {start + len(answer):,} tokens, the limit is {self.longest:,}."
            )
        return Line(
            prompt.extended(answer),
            tuple(start + at - 1 for at, _, _ in spots),
            tuple(answer[at] for at, _, _ in spots),
            tuple(weight * row.weight for _, weight, _ in spots),
            tuple(p for _, _, p in spots),
        )

    def answer(self, row: TrainRow) -> tuple[list[int], list[tuple[int, float, float | None]]]:
        """The answer's ids, and for each place in it that counts its weight and, at a label, the wanted probability.

        The opening of a first look is given and not trained, as when it is served; nor is the word of a side that
        nobody labelled.
        """
        request, response = row.request, row.response
        if row.form is RowForm.FIRST_LOOK:
            opening = self.prompts.first_look_ids()
            ids = [*opening, *self._word(request.written)]
            looked = self._label(request, len(opening))
            if response.written is not Label.ABSENT:
                ids = [*opening, *self.prompts.between_labels_ids(request.written)]
                looked += self._label(response, len(ids))
                ids += self._word(response.written)
            return ids, looked
        ids = [
            *self.prompts.target_ids(Assessment(request.written, response.written, reasoning=row.steps)),
            self.end_id,
        ]
        first, second = self._label_places(ids, request.written)
        words = {first: request, second: response} if response.written is not Label.ABSENT else {first: request}
        labels = {spot[0]: spot for place, side in words.items() for spot in self._label(side, place)}
        inside = {at for place, side in words.items() for at in range(place, place + len(self._word(side.written)))}
        spots: list[tuple[int, float, float | None]] = []
        for at in range(len(ids)):
            if at in labels:
                spots.append(labels[at])
            elif at not in inside and self.weights.other:
                spots.append((at, self.weights.other, None))
        return ids, spots

    def length(self, row: TrainRow, media: Sequence[DecodedMedia]) -> int:
        """Tokens of a row. Of the media only the shapes are looked at."""
        return self.prompts.count(row.sample, media) + len(self.answer(row)[0])

    def _label(self, side: Side, place: int) -> list[tuple[int, float, float | None]]:
        if side.p_harmful is None:
            return []
        rest = range(1, len(self._word(side.written)))
        return [(place, self.weights.label, side.p_harmful), *((place + at, self.weights.other, None) for at in rest)]

    def _word(self, label: Label) -> list[int]:
        return self.prompts.plain_ids(f" {self.prompts.protocol.word(label)}")

    def _label_places(self, ids: Sequence[int], request: Label) -> tuple[int, int]:
        """Where the label words stand: the last place at which the request's word leads on to the response's key."""
        between = self.prompts.between_labels_ids(request)
        for at in range(len(ids) - len(between), -1, -1):
            if list(ids[at : at + len(between)]) == between:
                return at, at + len(between)
        raise EngineError("The checkpoint's tokenizer joins a label with the words around it; it cannot be trained.")

    def _prompt(self, sample: Sample) -> EncodedPrompt:
        if sample.media:
            return self.prompts.encode(sample, tuple(map(self.decode, sample.media)))
        if sample not in self._kept:
            if len(self._kept) >= KEPT_PROMPTS:
                self._kept.clear()
            self._kept[sample] = self.prompts.encode(sample)
        return self._kept[sample]


class RowCollator:
    """Batches of the dataset's rows as tensors, media read only now."""

    def __init__(self, lines: LineEncoder, pad_id: int, model_type: str) -> None:
        self.lines = lines
        self.pad_id = pad_id
        self.model_type = model_type

    def __call__(self, features: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        """See `collate`."""
        rows = [TrainRow.from_json(each[COLUMN]) for each in features]
        return collate([self.lines.line(row) for row in rows], self.pad_id, self.model_type)


def collate(lines: Sequence[Line], pad_id: int, model_type: str) -> dict[str, Any]:
    """Lines padded on the right, the patches of all one after the other.

    Returns:
        The model's inputs (`input_ids`, `attention_mask`, shape (rows, longest), and those of pictures and videos where
        there are any), and what is trained, each with one entry for every place that counts: `trained_at`
        (int64, shape (places, 2): row and position), `trained_tokens` (int64), `trained_weights` (float32) and
        `trained_p` (float32: P(harmful) at labels, below 0 elsewhere).
    """
    import torch

    batch = padded([line.prompt for line in lines], pad_id, model_type, left=False)
    where = [(row, at) for row, line in enumerate(lines) for at in line.at]
    batch["trained_at"] = torch.tensor(where, dtype=torch.long).reshape(-1, 2)
    batch["trained_tokens"] = torch.tensor([token for line in lines for token in line.tokens], dtype=torch.long)
    batch["trained_weights"] = torch.tensor([weight for line in lines for weight in line.weights], dtype=torch.float32)
    wanted = [-1.0 if p is None else p for line in lines for p in line.p_harmful]
    batch["trained_p"] = torch.tensor(wanted, dtype=torch.float32)
    return batch
