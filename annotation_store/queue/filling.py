"""Filling the queue with many samples at once that were written just before, so that none of them was ever in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from annotation_store.models import QueueItemRow, QueueReasonRow, SampleRow
from annotation_store.queue.items import FIRST, OPEN, Counted, change_counts, counted_as, weakness
from annotation_store.rows.many import insert_for_range, insert_many, is_range
from annotation_store.values.reasons import Reason
from core.types import Modality

_Said = Mapping[str, Reason]
"""The reasons of one sample by kind; of several of one kind the last one counts."""


def queue_new(
    connection: Connection,
    keys: Sequence[int],
    modalities: Sequence[Modality],
    reasons: Sequence[tuple[Reason, ...]],
    now: str,
) -> None:
    """Put samples into the queue: of each the key, the modality, and at least one reason."""
    if not keys:
        return
    # The rows of a file mostly share one tuple of reasons, which then is looked at once.
    tuples = {id(each): each for each in reasons}
    said = {name: {each.kind.value: each for each in some} for name, some in tuples.items()}
    alike = Counter(zip(map(id, reasons), modalities, strict=True))
    if len(alike) == 1 and is_range(keys):
        ((name, modality),) = alike
        _write_alike(connection, keys[0], keys[-1], modality, said[name], now)
    else:
        _write_each(connection, keys, modalities, [said[id(each)] for each in reasons], now)
    changes: Counter[Counted] = Counter()
    for (name, modality), count in alike.items():
        places = [counted_as(kind, modality.value, each.checkpoint_id) for kind, each in said[name].items()]
        for place in {place for some in places for place in some}:
            changes[place] += count
    change_counts(connection, changes)


def _write_alike(connection: Connection, first: int, last: int, modality: Modality, said: _Said, now: str) -> None:
    """Samples that differ in nothing but their keys, from `first` to `last`."""
    item = {"state": OPEN, "stage": FIRST, "created_at": now, "changed_at": now}
    insert_for_range(connection, QueueItemRow, {"sample_key": SampleRow.key}, first, last, **item)
    for kind, each in said.items():
        insert_for_range(
            connection,
            QueueReasonRow,
            {"sample_key": SampleRow.key},
            first,
            last,
            kind=kind,
            checkpoint_id=each.checkpoint_id,
            modality=modality.value,
            open=True,
            turn=0,
            weakness=weakness(each),
            words=each.words,
            created_at=now,
        )


def _write_each(
    connection: Connection, keys: Sequence[int], modalities: Sequence[Modality], said: Sequence[_Said], now: str
) -> None:
    item = {"state": OPEN, "stage": FIRST, "created_at": now, "changed_at": now}
    insert_many(connection, QueueItemRow, len(keys), sample_key=list(keys), **item)
    given = [
        (key, modality.value, kind, each)
        for key, modality, own in zip(keys, modalities, said, strict=True)
        for kind, each in own.items()
    ]
    insert_many(
        connection,
        QueueReasonRow,
        len(given),
        sample_key=[key for key, _, _, _ in given],
        kind=[kind for _, _, kind, _ in given],
        checkpoint_id=[each.checkpoint_id for _, _, _, each in given],
        modality=[modality for _, modality, _, _ in given],
        open=True,
        turn=0,
        weakness=[weakness(each) for _, _, _, each in given],
        words=[each.words for _, _, _, each in given],
        created_at=now,
    )
