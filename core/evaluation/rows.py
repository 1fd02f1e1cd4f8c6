"""One evaluated row: a sample, what is true of it, and what a checkpoint said. Evaluations are lists of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from core.evaluation.metrics import Confusion, confusion
from core.types import Label, MediaRef, Modality, Sample, Verdict
from core.verdict_json import verdict_from_document, verdict_to_document

HELD_OUT = "held-out"
"""The name of a snapshot's test split among the sets of an evaluation."""
VALIDATION = "validation"
"""That of its validation split, which chose the best checkpoint and so proves nothing to the gate."""


class Side(StrEnum):
    """What a label is about."""

    REQUEST = "request"
    RESPONSE = "response"


SIDES = (Side.REQUEST, Side.RESPONSE)


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """A sample with its true labels."""

    set: str
    """The split or the file that it belongs to."""
    id: str
    """Unique within its set: the row's id in a file, the sample's id in a snapshot."""
    sample: Sample
    request: Label
    """The truth: harmful, unharmful, absent, or unlabelled."""
    response: Label
    categories: tuple[str, ...] = ()
    """As the set names them."""

    def truth(self, side: Side) -> bool | None:
        """Whether a side is harmful; none where nobody said or there is no such side."""
        return _harmful(self.request if side is Side.REQUEST else self.response)

    @property
    def is_scored(self) -> bool:
        """Whether at least one side has a label."""
        return any(self.truth(side) is not None for side in SIDES)


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """A row with the verdict of one checkpoint."""

    row: EvaluationRow
    verdict: Verdict

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same row in another evaluation: set, id and content."""
        return self.row.set, self.row.id, self.row.sample.id

    @property
    def is_readable(self) -> bool:
        """Whether the model answered in a way that could be read. A first look alone is a number and always can."""
        if self.verdict.assessment is not None:
            return True
        return self.verdict.generation is None and self.verdict.first_look.worst is not None

    def said(self, side: Side) -> bool | None:
        """Whether the checkpoint calls a side harmful; none where that could not be read.

        The label of the result block counts. A side that the reasoning was not about, and every side of a first look
        alone, is called harmful from a probability of one half on.
        """
        said = self.verdict.assessment
        label = Label.UNLABELLED if said is None else said.request if side is Side.REQUEST else said.response
        if (known := _harmful(label)) is not None:
            return known
        if not self.is_readable:
            return None
        looked = self.first_look(side)
        return None if looked is None else looked >= 0.5

    def first_look(self, side: Side) -> float | None:
        """P(harmful) before any reasoning, calibrated."""
        p = self.verdict.first_look
        return p.request if side is Side.REQUEST else p.response

    def deliberated(self, side: Side) -> float | None:
        """P(harmful) read off the label that was written, calibrated."""
        p = self.verdict.deliberated
        return p.request if side is Side.REQUEST else p.response

    def counts(self, side: Side) -> Confusion:
        """What the row counts on one side; nothing where that side is not labelled."""
        return confusion([self.row.truth(side)], [self.said(side)])

    @property
    def both(self) -> Confusion:
        """What it counts on both sides together."""
        return self.counts(Side.REQUEST) + self.counts(Side.RESPONSE)

    @property
    def is_wrong(self) -> bool:
        """Whether a labelled side was called otherwise, or could not be read."""
        counted = self.both
        return bool(counted.false_alarms + counted.misses)


def _harmful(label: Label) -> bool | None:
    return label is Label.HARMFUL if label in (Label.HARMFUL, Label.UNHARMFUL) else None


def scored_rows(rows: Sequence[ScoredRow], sets: Sequence[str] | None = None) -> list[ScoredRow]:
    """Those with a label, of the named sets or of all."""
    return [each for each in rows if each.row.is_scored and (sets is None or each.row.set in sets)]


# -- on disk ------------------------------------------------------------------------------------------------------


def scored_to_json(scored: ScoredRow) -> dict[str, Any]:
    """A scored row as plain values, with nothing lost."""
    row = scored.row
    return {
        "set": row.set,
        "id": row.id,
        "sample_id": row.sample.id,
        "request": row.sample.request,
        "response": row.sample.response,
        "media": [asdict(ref) for ref in row.sample.media],
        "truth": {"request": row.request.value, "response": row.response.value},
        "categories": list(row.categories),
        "verdict": verdict_to_document(scored.verdict),
    }


def scored_from_json(value: Mapping[str, Any]) -> ScoredRow:
    """The row that `scored_to_json` was given.

    Raises:
        KeyError, TypeError, ValueError: it is no such row.
        StoreError: its verdict cannot be read.
    """
    media = tuple(MediaRef(**each | {"modality": Modality(each["modality"])}) for each in value["media"])
    row = EvaluationRow(
        set=value["set"],
        id=value["id"],
        sample=Sample(value["request"], value["response"], media),
        request=Label(value["truth"]["request"]),
        response=Label(value["truth"]["response"]),
        categories=tuple(value["categories"]),
    )
    return ScoredRow(row, verdict_from_document(value["verdict"]))
