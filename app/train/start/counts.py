"""What a snapshot holds, counted for the person who is about to train on it. Reads the folder alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core.snapshots import folder as snapshot
from core.snapshots.folder import USED, Snapshot, SnapshotItem, Split
from core.types import Label
from train_jobs.training.dataset import ReasoningFrom, example_of

REASONING = {
    ReasoningFrom.PERSON: "written or corrected by a person",
    ReasoningFrom.FILE: "from the imported file",
    ReasoningFrom.MODEL: "the model's, and it fits the label",
    ReasoningFrom.TEACHER: "from a teacher",
    ReasoningFrom.MISSING: "missing",
}
FACETS = ("modality", "request", "response", "category", "reasoning")
UNCLEAR = "the model's; whether it fits is asked of the guard"
NO_CATEGORY = "none stated"

Facet = Mapping[str, Mapping[Split, int]]
"""Rows by value and split, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class SnapshotCounts:
    """Rows by split, and by what they are."""

    rows: Mapping[Split, int]
    facets: Mapping[str, Facet]
    """Modality, request, response, category and reasoning."""

    def labelled_sides(self, split: Split) -> int:
        """Requests and responses with a label."""
        stated = (Label.HARMFUL.value, Label.UNHARMFUL.value)
        return sum(self.facets[side].get(word, {}).get(split, 0) for side in ("request", "response") for word in stated)

    @property
    def without_reasoning(self) -> int:
        """Training rows that a teacher may be asked for."""
        return self.facets["reasoning"].get(REASONING[ReasoningFrom.MISSING], {}).get(Split.TRAIN, 0)


def count(folder: Path) -> SnapshotCounts:
    """Count the rows of a snapshot; what was counted once is remembered as long as its digest stays.

    Raises:
        SnapshotError: it is no complete snapshot, or was changed.
    """
    return _counted(folder, snapshot.read_manifest(folder).digest)


@lru_cache(maxsize=32)
def _counted(folder: Path, digest: str) -> SnapshotCounts:
    opened = Snapshot(folder, snapshot.read_manifest(folder))
    found = {name: Counter[tuple[str, Split]]() for name in FACETS}
    rows = {}
    for split in USED:
        rows[split] = 0
        for item in opened.rows(split):
            rows[split] += 1
            for name, value in _facts(item):
                found[name][value, split] += 1
    return SnapshotCounts(rows, {name: _facet(counted) for name, counted in found.items()})


def _facts(item: SnapshotItem) -> list[tuple[str, str]]:
    said = item.assessment
    example = example_of(item)
    reasoning = UNCLEAR if example.doubtful else REASONING[example.source]
    return [
        ("modality", item.sample.modality.value),
        ("request", _word(said.request)),
        ("response", _word(said.response)),
        *(("category", each) for each in said.categories or (NO_CATEGORY,)),
        ("reasoning", reasoning),
    ]


def _word(label: Label) -> str:
    return "no response" if label is Label.ABSENT else label.value


def _facet(counted: Counter[tuple[str, Split]]) -> Facet:
    """The most frequent value first."""
    total = Counter[str]()
    for (value, _), number in counted.items():
        total[value] += number
    return {value: {split: counted[value, split] for split in USED} for value, _ in total.most_common()}
