"""Which samples an export or a snapshot takes: a filter as a value, and the samples that pass it, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from annotation_store.columns import canonical_time
from annotation_store.database import all_matching, match_expression
from annotation_store.models import (
    GroupMemberRow,
    GroupRow,
    ImportBatchRow,
    ImportedSampleRow,
    LabelRow,
    SampleRow,
    SettledLabelRow,
)
from annotation_store.rows.labels import read_labels
from annotation_store.rows.samples import MANY, read_samples
from annotation_store.values.review import Exported
from core.errors import InputError
from core.snapshots.folder import Split
from core.types import Label, Modality


class Labelled(StrEnum):
    """Whose label counts for a sample."""

    ANY = "any"
    """Labelled or not."""
    YES = "yes"
    """Somebody's."""
    BY_PEOPLE = "by_people"
    BY_FILES = "by_files"
    NO = "no"
    """Nobody's."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter; everything that is none, or empty, lets all pass."""

    labelled: Labelled = Labelled.ANY
    modality: Modality | None = None
    request: Label | None = None
    """What the label says of the request."""
    response: Label | None = None
    reviewer: str | None = None
    source: str | None = None
    """The data set that gave the label."""
    batch_id: str | None = None
    """The import that brought the sample."""
    labelled_from: str | None = None
    """ISO 8601 with an offset; the time itself is included."""
    labelled_before: str | None = None
    split: Split | None = None
    words: str = ""
    """All of these words, and phrases in double quotes, occur in the sample, its reasoning or its notes."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, only those that filter."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "", Labelled.ANY)}


_KINDS = {"labelled": Labelled, "modality": Modality, "request": Label, "response": Label, "split": Split}


def selection_from_json(values: Mapping[str, Any]) -> Selection:
    """A filter as a page or a script hands it in.

    Raises:
        InputError: an unknown field, or a value that it cannot have.
    """
    known = [field.name for field in fields(Selection)]
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise InputError(f"{name[:40]!r} is nothing to select by; {', '.join(known)} are.")
        if value in (None, ""):
            continue
        if not isinstance(value, str):
            raise InputError(f"The {name} to select by is a {type(value).__name__}; a text is expected.")
        kind = _KINDS.get(name)
        if kind is not None:
            try:
                value = kind(value)
            except ValueError:
                raise InputError(f"The {name} to select by is {value[:40]!r}; {', '.join(kind)} can be.") from None
        found[name] = canonical_time(value) if name in ("labelled_from", "labelled_before") else value
    return Selection(**found)


def count_selected(connection: Connection, selection: Selection) -> int:
    """How many samples pass."""
    if selection.words.strip():
        return sum(len(page) for page in selected(connection, selection))
    return connection.scalar(_passing(select(func.count()), selection)) or 0


def selected(connection: Connection, selection: Selection) -> Iterator[list[int]]:
    """The keys of the samples that pass, sorted by sample id (so the order is the same in every store), in pages."""
    found = _with_words(connection, selection.words)
    last = ""
    while True:
        wanted = _passing(select(SampleRow.id, SampleRow.key), selection)
        rows = connection.execute(wanted.where(SampleRow.id > last).order_by(SampleRow.id).limit(MANY)).all()
        if not rows:
            return
        last = rows[-1].id
        if page := [row.key for row in rows if found is None or row.key in found]:
            yield page


def read_selected(connection: Connection, keys: list[int]) -> list[Exported]:
    """These samples in this order, each with the label that counts and its split."""
    samples = read_samples(connection, keys)
    named = connection.execute(select(SampleRow.key, SampleRow.id).where(SampleRow.key.in_(keys)))
    ids = {row.key: row.id for row in named}
    labels = {each.sample_id: each for each in read_labels(connection, keys) if each.settled}
    splits = {
        row.sample_key: Split(row.split)
        for row in connection.execute(
            select(GroupMemberRow.sample_key, GroupRow.split)
            .join(GroupRow, GroupRow.key == GroupMemberRow.group_key)
            .where(GroupMemberRow.sample_key.in_(keys), GroupRow.split.is_not(None))
        )
    }
    return [Exported(ids[key], samples[key], labels.get(ids[key]), splits.get(key)) for key in keys if key in samples]


def _passing(wanted: Select[*tuple[Any, ...]], selection: Selection) -> Select[*tuple[Any, ...]]:
    """The statement with the filter's conditions, all but the words."""
    chosen = selection
    wanted = wanted.select_from(SampleRow).outerjoin(SettledLabelRow, SettledLabelRow.sample_key == SampleRow.key)
    wanted = wanted.outerjoin(LabelRow, LabelRow.key == SettledLabelRow.label_key)
    conditions: list[ColumnElement[bool]] = []
    if chosen.labelled is not Labelled.ANY:
        conditions.append(
            {
                Labelled.YES: LabelRow.key.is_not(None),
                Labelled.BY_PEOPLE: LabelRow.reviewer.is_not(None),
                Labelled.BY_FILES: LabelRow.source.is_not(None),
                Labelled.NO: LabelRow.key.is_(None),
            }[chosen.labelled]
        )
    if chosen.modality:
        conditions.append(SampleRow.modality == chosen.modality.value)
    if chosen.request:
        conditions.append(LabelRow.request_label == chosen.request.value)
    if chosen.response:
        conditions.append(LabelRow.response_label == chosen.response.value)
    if chosen.reviewer:
        conditions.append(LabelRow.reviewer == chosen.reviewer)
    if chosen.source:
        conditions.append(LabelRow.source == chosen.source)
    if chosen.labelled_from:
        conditions.append(LabelRow.created_at >= chosen.labelled_from)
    if chosen.labelled_before:
        conditions.append(LabelRow.created_at < chosen.labelled_before)
    if chosen.batch_id:
        batch = select(ImportBatchRow.key).where(ImportBatchRow.id == chosen.batch_id).scalar_subquery()
        brought = select(ImportedSampleRow.sample_key).where(ImportedSampleRow.batch_key == batch)
        conditions.append(SampleRow.key.in_(brought))
    if chosen.split:
        group = select(GroupRow.key).where(GroupRow.split == chosen.split.value)
        conditions.append(
            SampleRow.key.in_(select(GroupMemberRow.sample_key).where(GroupMemberRow.group_key.in_(group)))
        )
    return wanted.where(*conditions)


def _with_words(connection: Connection, words: str) -> set[int] | None:
    """The keys of all samples with these words; none when there are no words to look for."""
    if not words.strip():
        return None
    expression = match_expression(words)
    if not expression:
        raise InputError(f"{words[:60]!r} holds no word to look for; letters or digits are expected.")
    return set(all_matching(connection, expression))
