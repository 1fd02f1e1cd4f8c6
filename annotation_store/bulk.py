"""Taking in many rows: samples, labels by their source, and reasons, through executemany, some thousands a transaction.

Transactions are short on purpose, so that reviewers' decisions go on between them. An import that is broken off can be
run again from its first row: what is known already is met and not doubled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, insert, select, update

from annotation_store.columns import new_id, now_text, to_json
from annotation_store.database import index_samples
from annotation_store.enqueue import Counted, add_reasons, change_counts, counted_as
from annotation_store.labels import evidence_values, label_values, read_labels, reasoning_values, settle, write_label
from annotation_store.models import (
    EvidenceRow,
    ImportBatchRow,
    ImportedSampleRow,
    LabelReasoningRow,
    LabelRow,
    QueueItemRow,
    QueueReasonRow,
    RefusedRow,
    SampleMediaRow,
    SampleRow,
    SampleWordsRow,
    SettledLabelRow,
    TombstoneRow,
)
from annotation_store.reasons import Reason
from annotation_store.review_values import LabelDraft
from annotation_store.samples import MANY, insert_row, keep_media
from annotation_store.store import AnnotationStore
from annotation_store.words import add_words
from core.errors import StoreError
from core.types import Sample

_T = TypeVar("_T")

CHUNK = 2_000
"""Rows of one transaction."""


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A row that was read and found good. Its media are in the media store already."""

    row: int
    """Counted from 1 in the file."""
    sample: Sample
    label: LabelDraft | None = None
    """A label by the import's source."""
    reasons: tuple[Reason, ...] = ()
    """Why it is to be reviewed; empty: it is only stored."""
    external_id: str | None = None
    """What the file calls it."""
    extra: str | None = None
    """JSON: what the file says beyond our columns."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is not taken in."""

    row: int
    reason: str
    """One sentence, without the row's content."""


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """What an import has done."""

    batch_id: str
    rows: int = 0
    new_samples: int = 0
    new_labels: int = 0
    queued: int = 0
    refused: int = 0


def import_rows(
    store: AnnotationStore,
    rows: Iterable[ImportRow | Refused],
    *,
    source: str,
    file_name: str,
    form: str,
    imported_by: str,
    mapping: dict[str, Any] | None = None,
    progress: Callable[[ImportCounts], None] | None = None,
    stopped: Callable[[], bool] | None = None,
    chunk: int = CHUNK,
) -> ImportCounts:
    """Take in rows as they come, a transaction for each `chunk` of them.

    A sample that is stored already is met, not doubled; a label that its source has given already is not given again,
    and a different one supersedes it. A person's label always counts before an imported one. A sample that was deleted
    is refused.

    Args:
        rows: read lazily; an exception from it ends the import with the state "stopped" and goes on to the caller.
        source: the name under which the labels stand.
        progress: called after each transaction.
        stopped: asked before each transaction; True ends the import there.

    Raises:
        StoreError: the source is not named, or the database failed.
    """
    if not source.strip():
        raise StoreError("The import names no source for its labels; a name such as the data set's is expected.")
    counts = ImportCounts(new_id("b1"))
    with store.writing("Beginning the import") as connection:
        batch_key = insert_row(
            connection,
            ImportBatchRow,
            id=counts.batch_id,
            source=source,
            file_name=file_name,
            form=form,
            mapping=to_json(mapping or {}),
            imported_by=imported_by,
            state="running",
            started_at=now_text(),
            **_totals(counts),
        )
    state = "stopped"
    waiting = iter(rows)
    try:
        while not (stopped and stopped()):
            if not (some := list(islice(waiting, chunk))):
                state = "done"
                break
            with store.writing("Importing") as connection:
                counts = _Chunk(connection, batch_key, source, counts).take(some)
                connection.execute(
                    update(ImportBatchRow).where(ImportBatchRow.key == batch_key).values(**_totals(counts))
                )
            if progress:
                progress(counts)
    finally:
        with store.writing("Ending the import") as connection:
            connection.execute(
                update(ImportBatchRow)
                .where(ImportBatchRow.key == batch_key)
                .values(state=state, finished_at=now_text())
            )
    return counts


def _totals(counts: ImportCounts) -> dict[str, int]:
    return {name: value for name, value in asdict(counts).items() if name != "batch_id"}


class _Chunk:
    """The work of one transaction."""

    def __init__(self, connection: Connection, batch_key: int, source: str, counts: ImportCounts) -> None:
        self.connection = connection
        self.batch_key = batch_key
        self.source = source
        self.counts = counts
        self.now = now_text()

    def take(self, rows: Sequence[ImportRow | Refused]) -> ImportCounts:
        refused = [row for row in rows if isinstance(row, Refused)]
        good = [(row.sample.id, row) for row in rows if isinstance(row, ImportRow)]
        deleted = self._deleted([sample_id for sample_id, _ in good])
        refused += [
            Refused(row.row, "This content was deleted from the store, so it is not taken in again.")
            for sample_id, row in good
            if sample_id in deleted
        ]
        good = [(sample_id, row) for sample_id, row in good if sample_id not in deleted]
        # Of rows with the same content in one chunk, the first brings the sample and the others meet it.
        first = dict(reversed(good))
        known = self._known(list(first))
        new = {sample_id: row for sample_id, row in first.items() if sample_id not in known}
        keys = known | self._new_samples(new)
        fresh = [(keys[sample_id], row) for sample_id, row in new.items()]
        labels = self._labels_of_new(fresh)
        queued = self._reasons_of_new(fresh)
        self._index(fresh)
        for sample_id, row in good:
            if new.get(sample_id) is not row:
                labels += self._label_of_known(keys[sample_id], row)
                queued += self._reasons_of_known(keys[sample_id], row)
        self._note_rows([(keys[sample_id], row) for sample_id, row in good], refused)
        before = self.counts
        return replace(
            before,
            rows=before.rows + len(good),
            new_samples=before.new_samples + len(new),
            new_labels=before.new_labels + labels,
            queued=before.queued + queued,
            refused=before.refused + len(refused),
        )

    def _many(self, table: Any, rows: list[dict[str, Any]]) -> None:
        if rows:
            self.connection.execute(insert(table), rows)

    def _known(self, sample_ids: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for some in _parts(sample_ids):
            rows = self.connection.execute(select(SampleRow.id, SampleRow.key).where(SampleRow.id.in_(some)))
            found |= {row.id: row.key for row in rows}
        return found

    def _deleted(self, sample_ids: Sequence[str]) -> set[str]:
        return {
            sample_id
            for some in _parts(sample_ids)
            for sample_id in self.connection.scalars(
                select(TombstoneRow.sample_id).where(TombstoneRow.sample_id.in_(some))
            )
        }

    def _new_samples(self, new: dict[str, ImportRow]) -> dict[str, int]:
        self._many(
            SampleRow,
            [
                {
                    "id": sample_id,
                    "request": row.sample.request,
                    "response": row.sample.response,
                    "modality": row.sample.modality.value,
                    "created_at": self.now,
                }
                for sample_id, row in new.items()
            ],
        )
        keys = self._known(list(new))
        media: dict[str, int] = {}
        positions = []
        for sample_id, row in new.items():
            for position, ref in enumerate(row.sample.media):
                if ref.digest not in media:
                    media[ref.digest] = keep_media(self.connection, ref, self.now)
                positions.append({"sample_key": keys[sample_id], "position": position, "media_key": media[ref.digest]})
        self._many(SampleMediaRow, positions)
        return keys

    def _labels_of_new(self, fresh: Sequence[tuple[int, ImportRow]]) -> int:
        """Labels of samples that have none yet: all of them count."""
        drafts = [(key, row.label) for key, row in fresh if row.label is not None]
        if not drafts:
            return 0
        values = [label_values(draft, self.now) for _, draft in drafts]
        common: dict[str, Any] = {"reviewer": None, "source": self.source, "verdict_key": None, "supersedes_key": None}
        common |= {"audited": False, "policy_version": None}
        self._many(LabelRow, [v | common | {"sample_key": key} for v, (key, _) in zip(values, drafts, strict=True)])
        label_keys: dict[str, int] = {}
        for some in _parts([str(each["id"]) for each in values]):
            rows = self.connection.execute(select(LabelRow.id, LabelRow.key).where(LabelRow.id.in_(some)))
            label_keys |= {row.id: row.key for row in rows}
        keyed = [(key, label_keys[str(each["id"])], draft) for each, (key, draft) in zip(values, drafts, strict=True)]
        self._many(SettledLabelRow, [{"sample_key": key, "label_key": label_key} for key, label_key, _ in keyed])
        self._many(
            LabelReasoningRow,
            [
                {"label_key": label_key, **reasoning_values(draft.reasoning)}
                for _, label_key, draft in keyed
                if draft.reasoning
            ],
        )
        self._many(
            EvidenceRow,
            [
                {"label_key": label_key, **evidence_values(each)}
                for _, label_key, draft in keyed
                for each in draft.evidence
            ],
        )
        return len(keyed)

    def _reasons_of_new(self, fresh: Sequence[tuple[int, ImportRow]]) -> int:
        items, reasons = [], []
        changes: Counter[Counted] = Counter()
        for key, row in fresh:
            if not row.reasons:
                continue
            modality = row.sample.modality.value
            items.append(
                {"sample_key": key, "state": "open", "stage": "first", "created_at": self.now, "changed_at": self.now}
            )
            under: set[Counted] = set()
            for kind, reason in {reason.kind.value: reason for reason in row.reasons}.items():
                under |= set(counted_as(kind, modality, reason.checkpoint_id))
                reasons.append(
                    {
                        "sample_key": key,
                        "kind": kind,
                        "checkpoint_id": reason.checkpoint_id,
                        "modality": modality,
                        "open": True,
                        "turn": 0,
                        "weakness": 1.0 - min(max(reason.strength, 0.0), 1.0),
                        "words": reason.words,
                        "created_at": self.now,
                    }
                )
            changes.update(under)
        self._many(QueueItemRow, items)
        self._many(QueueReasonRow, reasons)
        change_counts(self.connection, changes)
        return len(items)

    def _index(self, fresh: Sequence[tuple[int, ImportRow]]) -> None:
        """The words of new samples into the search index, all at once."""
        words = []
        for key, row in fresh:
            draft = row.label
            if draft is None or not (draft.reasoning or draft.note.strip()):
                continue
            steps = draft.reasoning.steps if draft.reasoning else ()
            words.append({"sample_key": key, "reasoning": "\n".join(steps), "notes": draft.note})
        self._many(SampleWordsRow, words)
        # Under the write lock the keys of new rows follow one another; a gap would only mean another stretch.
        for first, last in _stretches(sorted(key for key, _ in fresh)):
            index_samples(self.connection, first, last)

    def _label_of_known(self, key: int, row: ImportRow) -> int:
        if row.label is None:
            return 0
        own = [each for each in read_labels(self.connection, [key]) if each.source == self.source]
        standing = next((each for each in reversed(own) if each.superseded_by is None), None)
        if standing is not None and standing.draft == row.label:
            return 0
        superseded = None
        if standing is not None:
            superseded = self.connection.scalar(select(LabelRow.key).where(LabelRow.id == standing.id))
        write_label(self.connection, key, row.label, self.now, source=self.source, supersedes_key=superseded)
        settle(self.connection, key)
        steps = row.label.reasoning.steps if row.label.reasoning else ()
        add_words(self.connection, key, new=False, reasoning=steps, notes=[row.label.note])
        return 1

    def _reasons_of_known(self, key: int, row: ImportRow) -> int:
        return int(add_reasons(self.connection, key, row.reasons, self.now))

    def _note_rows(self, taken: Sequence[tuple[int, ImportRow]], refused: Sequence[Refused]) -> None:
        met = {key for some in _parts([key for key, _ in taken]) for key in self._met(some)}
        rows: dict[int, dict[str, Any]] = {}
        for key, row in taken:
            if key not in met and key not in rows:
                rows[key] = {
                    "batch_key": self.batch_key,
                    "sample_key": key,
                    "row": row.row,
                    "external_id": row.external_id,
                    "extra": row.extra,
                }
        self._many(ImportedSampleRow, list(rows.values()))
        self._many(
            RefusedRow, [{"batch_key": self.batch_key, "row": each.row, "reason": each.reason} for each in refused]
        )

    def _met(self, keys: Sequence[int]) -> Iterable[int]:
        """Those that an earlier chunk of the same import has noted."""
        return self.connection.scalars(
            select(ImportedSampleRow.sample_key).where(
                ImportedSampleRow.batch_key == self.batch_key, ImportedSampleRow.sample_key.in_(keys)
            )
        )


def _parts(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), MANY):
        yield values[start : start + MANY]


def _stretches(keys: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of keys that follow one another: 1, 2, 3, 7 gives 1 to 3 and 7 to 7."""
    start = 0
    for at in range(1, len(keys) + 1):
        if at == len(keys) or keys[at] != keys[at - 1] + 1:
            yield keys[start], keys[at - 1]
            start = at
