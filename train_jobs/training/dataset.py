"""A snapshot's folder as training rows: labels, the reasoning that goes with them, and what had to be left out."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from core.conclusion import Fit, conclusions
from core.errors import SnapshotError
from core.snapshots.folder import Snapshot, SnapshotItem, Split, read
from core.types import Assessment, Label, Sample
from train_jobs.training.rows import STATED, RowForm, Side, TrainRow


class ReasoningFrom(StrEnum):
    """Where the reasoning of a training row comes from."""

    PERSON = "person"
    """A person wrote or corrected it: it always wins."""
    FILE = "file"
    """It came with an imported label."""
    MODEL = "model"
    """The model wrote it, a person let it stand, and it concludes what the label says."""
    TEACHER = "teacher"
    """A teacher that was given the labels wrote it."""
    MISSING = "missing"
    """There is none: only the first look is trained."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled sample of a snapshot, as it will be trained or scored."""

    sample: Sample
    assessment: Assessment
    """The label; its reasoning is what will be trained, empty where it is missing."""
    source: ReasoningFrom
    doubtful: tuple[str, ...] = ()
    """The model's own steps, where rules of language cannot say whether they agree with the label."""

    def with_steps(self, steps: Sequence[str], source: ReasoningFrom) -> Example:
        """The same with reasoning."""
        return Example(self.sample, replace(self.assessment, reasoning=tuple(steps)), source)


def read_examples(snapshot: Snapshot, split: Split) -> list[Example]:
    """The labelled samples of one split, in the snapshot's order.

    Raises:
        SnapshotError: the split's file is not what was frozen.
    """
    return [example_of(item) for item in snapshot.rows(split) if _labelled(item)]


def open_snapshot(folder: str | None) -> Snapshot:
    """The snapshot that a job names.

    Raises:
        SnapshotError: none is named, or it is no complete snapshot.
    """
    if folder is None:
        raise SnapshotError("The job names no snapshot; choose one that holds labelled samples.")
    return read(Path(folder))


def _labelled(item: SnapshotItem) -> bool:
    return item.assessment.request in STATED or item.assessment.response in STATED


def example_of(item: SnapshotItem) -> Example:
    """A row of a snapshot, with the reasoning that may be trained.

    What a person wrote wins; what a file brought comes next; the model's own steps are taken where they conclude what
    the label says, set aside as doubtful where the rules cannot tell, and dropped where they conclude the opposite.
    """
    said, origin = item.assessment, item.origin
    bare = replace(said, reasoning=())
    steps = tuple(step for step in said.reasoning if step.strip())
    if not steps:
        return Example(item.sample, bare, ReasoningFrom.MISSING)
    if origin.original_reasoning is not None and origin.original_reasoning != said.reasoning:
        return Example(item.sample, said, ReasoningFrom.PERSON)
    fits = [each.fit for each in conclusions(steps, said.request, said.response)]
    if Fit.OPPOSITE in fits:
        return Example(item.sample, bare, ReasoningFrom.MISSING)
    if origin.original_reasoning is None:
        return Example(item.sample, said, ReasoningFrom.PERSON if origin.reviewer else ReasoningFrom.FILE)
    if all(fit is Fit.AGREES for fit in fits):
        return Example(item.sample, said, ReasoningFrom.MODEL)
    return Example(item.sample, bare, ReasoningFrom.MISSING, doubtful=steps)


def count_sources(examples: Iterable[Example]) -> dict[str, int]:
    """How many examples have their reasoning from where."""
    counts = {source.value: 0 for source in ReasoningFrom}
    for example in examples:
        counts[example.source] += 1
    return counts


def rows_of(example: Example, *, reasoned: bool = True, first_look: bool = True) -> list[TrainRow]:
    """The training rows of one example.

    The first look at a response is trained under both labels of the request where the request is unlabelled, because
    serving sums over both; each then counts half.
    """
    said = example.assessment
    rows: list[TrainRow] = []
    if reasoned and said.reasoning:
        other = {"request": said.response, "response": said.request}
        sides = [
            Side.labelled(getattr(said, name), _word(other[name])) for name in ("request", "response")
        ]  # an unlabelled side is written like the labelled one and left out of the loss
        rows.append(TrainRow(RowForm.REASONED, example.sample, sides[0], sides[1], said.reasoning))
    if first_look:
        response = Side.labelled(said.response)
        if said.request in STATED:
            rows.append(TrainRow(RowForm.FIRST_LOOK, example.sample, Side.labelled(said.request), response))
        else:
            rows += [TrainRow(RowForm.FIRST_LOOK, example.sample, Side(word), response, weight=0.5) for word in STATED]
    return rows


def _word(label: Label) -> Label:
    return label if label in STATED else Label.UNHARMFUL


def training_order(
    examples: Sequence[Example],
    replayed: Sequence[TrainRow],
    *,
    epochs: int,
    batch: int,
    first_look_share: float,
    seed: int,
) -> list[TrainRow]:
    """Every row of every epoch in the order in which it is trained, so that a resumed run sees what it would have seen.

    Each epoch holds every example and every replayed row once. Rows are shuffled; inside stretches of
    several batches those of like length stand together, so that little is padded.
    """
    order: list[TrainRow] = []
    for epoch in range(epochs):
        rng = random.Random(f"{seed} {epoch}")
        rows: list[TrainRow] = []
        for example in examples:
            look = not example.assessment.reasoning or rng.random() < first_look_share
            rows += rows_of(example, first_look=look)
        rows += replayed
        rng.shuffle(rows)
        order += _by_length(rows, batch, rng)
    return order


STRETCH = 8
"""Batches whose rows are put in order of length together."""


def _by_length(rows: Sequence[TrainRow], batch: int, rng: random.Random) -> list[TrainRow]:
    order: list[TrainRow] = []
    for start in range(0, len(rows), batch * STRETCH):
        some = sorted(rows[start : start + batch * STRETCH], key=lambda row: row.length)
        batches = [some[at : at + batch] for at in range(0, len(some), batch)]
        whole, rest = [each for each in batches if len(each) == batch], [e for e in batches if len(e) < batch]
        rng.shuffle(whole)
        order += [row for each in (*whole, *rest) for row in each]
    return order


def labelled_sides(examples: Iterable[Example]) -> int:
    """How many sides of them are labelled."""
    return sum((example.assessment.request in STATED) + (example.assessment.response in STATED) for example in examples)


def count_labels(examples: Iterable[Example]) -> Mapping[str, int]:
    """Labelled sides by label."""
    counts = {label.value: 0 for label in STATED}
    for example in examples:
        for label in (example.assessment.request, example.assessment.response):
            if label in STATED:
                counts[label] += 1
    return counts
