"""Rows of samples and media, from values and back. For the operations of this package, inside their transactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from sqlalchemy import Connection, Insert, bindparam, insert, select

from annotation_store.models import Base, MediaRow, SampleMediaRow, SampleRow, TombstoneRow
from core.errors import StoreError
from core.types import MediaRef, Modality, Sample

MANY = 500
"""How many ids one statement asks for at most."""

# Building a statement takes longer than running it, so those that are used for every item are built once.
_KEY_OF = select(SampleRow.key).where(SampleRow.id == bindparam("sample_id"))
_DELETED_AT = select(TombstoneRow.deleted_at).where(TombstoneRow.sample_id == bindparam("sample_id"))
_MEDIUM_OF = select(MediaRow.key).where(MediaRow.digest == bindparam("of_digest"))
_SAMPLES = select(SampleRow.key, SampleRow.request, SampleRow.response, SampleRow.modality).where(
    SampleRow.key.in_(bindparam("keys", expanding=True))
)
_MEDIA = (
    select(
        SampleMediaRow.sample_key,
        MediaRow.digest,
        MediaRow.media_type,
        MediaRow.modality,
        MediaRow.byte_size,
        MediaRow.width,
        MediaRow.height,
        MediaRow.duration_s,
        MediaRow.frame_count,
    )
    .join(MediaRow, MediaRow.key == SampleMediaRow.media_key)
    .where(SampleMediaRow.sample_key.in_(bindparam("keys", expanding=True)))
    .order_by(SampleMediaRow.sample_key, SampleMediaRow.position)
)


def keep_sample(connection: Connection, sample: Sample, now: str) -> tuple[int, bool]:
    """The key of a sample, which is written with its media when it is new; and whether it was new.

    Raises:
        StoreError: this content was deleted from the store.
    """
    sample_id = sample.id
    known = connection.scalar(_KEY_OF, {"sample_id": sample_id})
    if known is not None:
        return known, False
    refuse_deleted(connection, sample_id)
    values = {"request": sample.request, "response": sample.response, "modality": sample.modality.value}
    key = insert_row(connection, SampleRow, id=sample_id, created_at=now, **values)
    for position, ref in enumerate(sample.media):
        media_key = keep_media(connection, ref, now)
        connection.execute(inserting(SampleMediaRow), {"sample_key": key, "position": position, "media_key": media_key})
    return key, True


def refuse_deleted(connection: Connection, sample_id: str) -> None:
    """Deleted content does not come back by another door.

    Raises:
        StoreError: the sample was deleted.
    """
    gone = connection.scalar(_DELETED_AT, {"sample_id": sample_id})
    if gone is not None:
        raise StoreError(f"The sample {sample_id[:15]}… was deleted on {gone[:10]}, so it is not stored again.")


def keep_media(connection: Connection, ref: MediaRef, now: str) -> int:
    """The key of a media file, which is written when it is new."""
    known = connection.scalar(_MEDIUM_OF, {"of_digest": ref.digest})
    if known is not None:
        return known
    return insert_row(connection, MediaRow, created_at=now, **asdict(ref))


def sample_key(connection: Connection, sample_id: str) -> int:
    """The key of a stored sample.

    Raises:
        StoreError: there is none of that id, or it was deleted.
    """
    key = connection.scalar(_KEY_OF, {"sample_id": sample_id})
    if key is None:
        gone = connection.scalar(_DELETED_AT, {"sample_id": sample_id})
        if gone is not None:
            raise StoreError(f"The sample {sample_id[:15]}… was deleted on {gone[:10]}.")
        raise StoreError(f"There is no sample {sample_id[:80]!r} in the store; the id of a stored one is expected.")
    return key


def read_samples(connection: Connection, keys: Sequence[int]) -> dict[int, Sample]:
    """Samples with their media in order, by key; keys that are not there are left out."""
    samples: dict[int, Sample] = {}
    for start in range(0, len(keys), MANY):
        rows = connection.execute(_SAMPLES, {"keys": list(keys[start : start + MANY])}).all()
        media = read_media(connection, [row.key for row in rows if row.modality != Modality.TEXT.value])
        for key, request, response, _ in rows:
            samples[key] = Sample(request, response, media.get(key, ()))
    return samples


def read_media(connection: Connection, keys: Sequence[int]) -> dict[int, tuple[MediaRef, ...]]:
    """The media of at most `MANY` samples in order, by sample key; those that have none are left out."""
    if not keys:
        return {}
    media: dict[int, tuple[MediaRef, ...]] = {}
    for row in connection.execute(_MEDIA, {"keys": list(keys)}):
        media[row.sample_key] = (*media.get(row.sample_key, ()), _reference(*row[1:]))
    return media


def _reference(digest: str, media_type: str, modality: str, *rest: Any) -> MediaRef:
    return MediaRef(digest, media_type, Modality(modality), *rest)


@cache
def inserting(table: type[Base]) -> Insert:
    """The statement that writes rows into a table, for values that are given when it runs."""
    return insert(table)


def insert_row(connection: Connection, table: type[Base], **values: object) -> int:
    """Write one row and give its key."""
    written = connection.execute(inserting(table), values).inserted_primary_key
    if written is None:
        raise StoreError("The database did not say which key a new row has.")
    return int(written[0])
