"""Training rows: what one sequence of the training shows and what of it counts. Values only; the collator
makes ids and pixels of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from core.types import Label, MediaRef, Modality, Sample

STATED = (Label.HARMFUL, Label.UNHARMFUL)


class RowForm(StrEnum):
    """Which answer follows the prompt."""

    FIRST_LOOK = "first_look"
    """The answer's opening without reasoning is given; only labels are trained."""
    REASONED = "reasoned"
    """Steps, then the result block, as the guard writes them."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the answer of a row."""

    written: Label
    """The word in the answer: harmful, unharmful or absent."""
    p_harmful: float | None = None
    """What the label token is trained towards; none when it does not count."""

    @classmethod
    def labelled(cls, label: Label, otherwise: Label = Label.UNHARMFUL) -> Side:
        """The side of a label.

        Args:
            otherwise: the word for an unlabelled side, which the answer needs and the loss leaves out.
        """
        if label in STATED:
            return cls(label, 1.0 if label is Label.HARMFUL else 0.0)
        return cls(Label.ABSENT if label is Label.ABSENT else otherwise)


@dataclass(frozen=True, slots=True)
class TrainRow:
    """One sequence."""

    form: RowForm
    sample: Sample
    request: Side
    response: Side
    steps: tuple[str, ...] = ()
    weight: float = 1.0
    """Factor on the whole row's loss."""
    replayed: bool = False
    """Whether it holds what the base said, instead of what people said."""

    @property
    def trained(self) -> bool:
        """Whether anything of it counts."""
        return self.form is RowForm.REASONED or any(s.p_harmful is not None for s in (self.request, self.response))

    @property
    def length(self) -> int:
        """A rough length in characters, to put rows of like length together; media count as their pixels would."""
        sample = self.sample
        text = len(sample.request) + len(sample.response or "") + sum(map(len, self.steps))
        return text + sum(20_000 if ref.modality is Modality.VIDEO else 2_000 for ref in sample.media)

    def to_json(self) -> str:
        """One JSON text: the only form of nested values that a datasets column keeps as it is."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> TrainRow:
        """What `to_json` wrote."""
        values: Mapping[str, Any] = json.loads(text)
        sample = values["sample"]
        media = tuple(MediaRef(**ref | {"modality": Modality(ref["modality"])}) for ref in sample["media"])

        def side(said: Mapping[str, Any]) -> Side:
            return Side(Label(said["written"]), said["p_harmful"])

        return cls(
            RowForm(values["form"]),
            Sample(sample["request"], sample["response"], media),
            side(values["request"]),
            side(values["response"]),
            tuple(values["steps"]),
            float(values["weight"]),
            bool(values["replayed"]),
        )
