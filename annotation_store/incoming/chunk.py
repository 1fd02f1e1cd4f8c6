"""One chunk of an import: samples, labels and reasons, written in one transaction through executemany."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from sqlalchemy import Connection, bindparam, select, update

from annotation_store.columns import new_ids, now_text
from annotation_store.database import index_samples
from annotation_store.incoming.values import ImportCounts, ImportRow, Refused
from annotation_store.models import (
    EvidenceRow,
    ImportBatchRow,
    ImportedSampleRow,
    LabelReasoningRow,
    LabelRow,
    RefusedRow,
    SampleMediaRow,
    SampleRow,
    SampleWordsRow,
    SettledLabelRow,
    TombstoneRow,
)
from annotation_store.queue.filling import queue_new
from annotation_store.queue.items import add_reasons
from annotation_store.rows.labels import (
    evidence_values,
    label_values,
    read_labels,
    reasoning_values,
    settle,
    write_label,
)
from annotation_store.rows.many import (
    insert_for_range,
    insert_many,
    is_range,
    keys_of_new,
    known_samples,
    last_key,
    parts,
    ranges,
)
from annotation_store.rows.samples import keep_media
from annotation_store.rows.words import add_words

_ANY_TOMBSTONE = select(TombstoneRow.key).limit(1)
_TOMBSTONES = select(TombstoneRow.sample_id).where(TombstoneRow.sample_id.in_(bindparam("ids", expanding=True)))
_NOTED = select(ImportedSampleRow.sample_key).where(
    ImportedSampleRow.batch_key == bindparam("of_batch"),
    ImportedSampleRow.sample_key.in_(bindparam("keys", expanding=True)),
)


def totals(counts: ImportCounts) -> dict[str, int]:
    """The columns of an import's counts."""
    return {name: value for name, value in asdict(counts).items() if name != "batch_id"}


class Chunk:
    """The work of one transaction."""

    def __init__(self, connection: Connection, batch_key: int, source: str, counts: ImportCounts) -> None:
        self.connection = connection
        self.batch_key = batch_key
        self.source = source
        self.counts = counts
        self.now = now_text()

    def take(self, rows: Sequence[ImportRow | Refused]) -> ImportCounts:
        """Write rows, and give what the import has come to with them."""
        refused = [row for row in rows if isinstance(row, Refused)]
        good = [(row.sample.id, row) for row in rows if isinstance(row, ImportRow)]
        if deleted := self._deleted([sample_id for sample_id, _ in good]):
            refused += [
                Refused(row.row, "This content was deleted from the store, so it is not taken in again.")
                for sample_id, row in good
                if sample_id in deleted
            ]
            good = [(sample_id, row) for sample_id, row in good if sample_id not in deleted]
        # Of rows with the same content in one chunk, the first brings the sample and the others meet it.
        first = dict(reversed(good))
        known = known_samples(self.connection, list(first))
        new = {sample_id: row for sample_id, row in reversed(first.items()) if sample_id not in known}
        keys = known | self._new_samples(new)
        fresh = [(keys[sample_id], row) for sample_id, row in new.items()]
        met = [(keys[sample_id], row) for sample_id, row in good if new.get(sample_id) is not row]
        labels = self._labels_of_new(fresh)
        queued = self._reasons_of_new(fresh)
        self._note_rows(fresh, met, refused)
        self._gather_words(fresh)
        before = self.counts
        counts = replace(
            before,
            rows=before.rows + len(good),
            new_samples=before.new_samples + len(new),
            new_labels=before.new_labels + labels,
            queued=before.queued + queued,
            refused=before.refused + len(refused),
        )
        # What is met may have been brought by this very chunk, and then it must be in the index already.
        self._index(fresh)
        if met:
            more_labels, more_queued = self._meet(met)
            counts = replace(counts, new_labels=counts.new_labels + more_labels, queued=counts.queued + more_queued)
        self._tell(counts)
        return counts

    def _tell(self, counts: ImportCounts) -> None:
        self.connection.execute(
            update(ImportBatchRow).where(ImportBatchRow.key == self.batch_key).values(**totals(counts))
        )

    def _meet(self, met: Sequence[tuple[int, ImportRow]]) -> tuple[int, int]:
        """Labels and reasons of samples that are stored already: how many labels were new, and how many were queued."""
        labels = queued = 0
        for key, row in met:
            labels += self._label_of_known(key, row)
            queued += int(add_reasons(self.connection, key, row.reasons, self.now))
        return labels, queued

    def _deleted(self, sample_ids: Sequence[str]) -> set[str]:
        if self.connection.scalar(_ANY_TOMBSTONE) is None:
            return set()
        return {
            sample_id for some in parts(sample_ids) for sample_id in self.connection.scalars(_TOMBSTONES, {"ids": some})
        }

    def _new_samples(self, new: dict[str, ImportRow]) -> dict[str, int]:
        if not new:
            return {}
        samples = [row.sample for row in new.values()]
        last = last_key(self.connection, SampleRow)
        insert_many(
            self.connection,
            SampleRow,
            len(new),
            id=list(new),
            request=[sample.request for sample in samples],
            response=[sample.response for sample in samples],
            modality=[sample.modality.value for sample in samples],
            created_at=self.now,
        )
        keys = keys_of_new(self.connection, SampleRow, list(new), last)
        media: dict[str, int] = {}
        places: list[tuple[int, int, int]] = []
        for sample_id, row in new.items():
            for position, ref in enumerate(row.sample.media):
                if ref.digest not in media:
                    media[ref.digest] = keep_media(self.connection, ref, self.now)
                places.append((keys[sample_id], position, media[ref.digest]))
        insert_many(
            self.connection,
            SampleMediaRow,
            len(places),
            sample_key=[place[0] for place in places],
            position=[place[1] for place in places],
            media_key=[place[2] for place in places],
        )
        return keys

    def _labels_of_new(self, fresh: Sequence[tuple[int, ImportRow]]) -> int:
        """Labels of samples that have none yet: all of them count."""
        drafts = [(key, row.label) for key, row in fresh if row.label is not None]
        if not drafts:
            return 0
        ids = new_ids("l1", len(drafts))
        values = [label_values(draft, self.now, id) for id, (_, draft) in zip(ids, drafts, strict=True)]
        sample_keys = [key for key, _ in drafts]
        last = last_key(self.connection, LabelRow)
        insert_many(
            self.connection,
            LabelRow,
            len(values),
            sample_key=sample_keys,
            source=self.source,
            audited=False,
            **{name: [each[name] for each in values] for name in values[0]},
        )
        label_keys = list(keys_of_new(self.connection, LabelRow, ids, last).values())
        if is_range(label_keys):
            taken = {"sample_key": LabelRow.sample_key, "label_key": LabelRow.key}
            insert_for_range(self.connection, SettledLabelRow, taken, label_keys[0], label_keys[-1])
        else:
            insert_many(self.connection, SettledLabelRow, len(values), sample_key=sample_keys, label_key=label_keys)
        keyed = [(label_key, draft) for label_key, (_, draft) in zip(label_keys, drafts, strict=True)]
        reasoned = [{"label_key": key} | reasoning_values(said.reasoning) for key, said in keyed if said.reasoning]
        shown = [{"label_key": key} | evidence_values(each) for key, said in keyed for each in said.evidence]
        for table, some in ((LabelReasoningRow, reasoned), (EvidenceRow, shown)):
            if some:
                columns = {name: [each[name] for each in some] for name in some[0]}
                insert_many(self.connection, table, len(some), **columns)
        return len(values)

    def _reasons_of_new(self, fresh: Sequence[tuple[int, ImportRow]]) -> int:
        queued = [(key, row) for key, row in fresh if row.reasons]
        queue_new(
            self.connection,
            [key for key, _ in queued],
            [row.sample.modality for _, row in queued],
            [row.reasons for _, row in queued],
            self.now,
        )
        return len(queued)

    def _gather_words(self, fresh: Sequence[tuple[int, ImportRow]]) -> None:
        """What labels say beside the samples' texts, for the search index."""
        said = [(key, row.label) for key, row in fresh if row.label and (row.label.reasoning or row.label.note.strip())]
        insert_many(
            self.connection,
            SampleWordsRow,
            len(said),
            sample_key=[key for key, _ in said],
            reasoning=["\n".join(draft.reasoning.steps) if draft.reasoning else "" for _, draft in said],
            notes=[draft.note for _, draft in said],
        )

    def _index(self, fresh: Sequence[tuple[int, ImportRow]]) -> None:
        """The words of new samples into the search index, all at once."""
        # Under the write lock the keys of new rows follow one another; a gap would only mean another range.
        for first, last in ranges(sorted(key for key, _ in fresh)):
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

    def _note_rows(
        self,
        fresh: Sequence[tuple[int, ImportRow]],
        met: Sequence[tuple[int, ImportRow]],
        refused: Sequence[Refused],
    ) -> None:
        """Which sample stood where in the file: its first row there."""
        brought = dict(fresh)
        others = {key: row for key, row in reversed(met) if key not in brought}
        for some in parts(list(others)):
            # Those that an earlier chunk of the same import has noted.
            for key in self.connection.scalars(_NOTED, {"of_batch": self.batch_key, "keys": some}).all():
                del others[key]
        noted = brought | others
        insert_many(
            self.connection,
            ImportedSampleRow,
            len(noted),
            batch_key=self.batch_key,
            sample_key=list(noted),
            row=[row.row for row in noted.values()],
            external_id=[row.external_id for row in noted.values()],
            extra=[row.extra for row in noted.values()],
        )
        insert_many(
            self.connection,
            RefusedRow,
            len(refused),
            batch_key=self.batch_key,
            row=[each.row for each in refused],
            reason=[each.reason for each in refused],
        )
