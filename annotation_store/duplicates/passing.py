"""The pass that looks at every sample without a signature: after an import, and before a snapshot is frozen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from annotation_store.columns import now_text
from annotation_store.duplicates import lookup, text
from annotation_store.duplicates.grouping import Grouping
from annotation_store.duplicates.media_hashes import media_hashes
from annotation_store.duplicates.pictures import bands as picture_bands
from annotation_store.models import (
    ImageBandRow,
    ImageHashRow,
    MediaRow,
    SampleMediaRow,
    SampleRow,
    TextBandRow,
    TextSignatureRow,
)
from annotation_store.store import AnnotationStore
from core.media.store import MediaStore
from core.snapshots.folder import Split
from core.types import MediaRef, Modality, Sample

BATCH = 200
"""Samples of one transaction: few, so that a reviewer's decision in between need not wait long."""


@dataclass(frozen=True, slots=True)
class Marked:
    """How far a pass has come."""

    done: int
    """Samples that this pass has looked at."""
    total: int
    """Samples that it found without a signature."""
    unreadable: int
    """Media that could not be read and count for nothing."""
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class _Looked:
    """A sample with all that was computed of it, outside of any transaction."""

    key: int
    signature: text.Signature | None
    media: tuple[int, ...]
    """Keys of its media that show something."""

    @property
    def shelf(self) -> int:
        return lookup.WORDS_WITH_PICTURES if self.media else lookup.WORDS_ALONE


def words_of(sample: Sample) -> str:
    """The words by which samples are compared: the request, or the response where the request has none.

    A refusal is the same sentence under many requests, and a request that was trained on must not come back in the
    test with another response.
    """
    return sample.request if text.levelled(sample.request) else sample.response or ""


def mark_duplicates(
    store: AnnotationStore,
    media: MediaStore,
    *,
    progress: Callable[[Marked], None] | None = None,
    stop: threading.Event | None = None,
) -> Marked:
    """Compute signatures and hashes for all samples that have none, and put each into its near-duplicate group.

    Every batch is a transaction of its own: what was done stays done, and the next call goes on from there.

    Raises:
        StoreError: the database failed.
    """
    with store.reading("Looking for samples to compare") as connection:
        total = (connection.scalar(select(func.count()).select_from(SampleRow)) or 0) - (
            connection.scalar(select(func.count()).select_from(TextSignatureRow)) or 0
        )
    state = Marked(0, total, 0)
    last = 0
    while not (stop and stop.is_set()):
        with store.reading("Looking for samples to compare") as connection:
            keys = _without_signature(connection, last)
            samples = _read(connection, keys)
            files = _unhashed(connection, keys)
        if not keys:
            return state
        last = keys[-1]
        fresh: dict[int, tuple[int, ...]] = {}
        lost = 0
        for media_key, ref in files.items():
            if stop and stop.is_set():
                break
            found = media_hashes(media, ref)
            lost += found is None
            fresh[media_key] = found or ()
        else:
            signatures = {key: text.signature(words_of(sample)) for key, sample in samples.items()}
            with store.writing("Comparing samples") as connection:
                done = place(connection, signatures, fresh)
            state = Marked(state.done + done, max(total, state.done + done), state.unreadable + lost)
            if progress:
                progress(state)
    return Marked(state.done, state.total, state.unreadable, stopped=True)


def _without_signature(connection: Connection, after: int) -> list[int]:
    marked = select(TextSignatureRow.sample_key).where(TextSignatureRow.sample_key == SampleRow.key).exists()
    wanted = select(SampleRow.key).where(SampleRow.key > after, ~marked).order_by(SampleRow.key).limit(BATCH)
    return list(connection.scalars(wanted))


def _read(connection: Connection, keys: Sequence[int]) -> dict[int, Sample]:
    """The words of these samples; their media are asked for apart."""
    rows = select(SampleRow.key, SampleRow.request, SampleRow.response).where(SampleRow.key.in_(keys))
    return {key: Sample(request, response) for key, request, response in connection.execute(rows)}


def _unhashed(connection: Connection, keys: Sequence[int]) -> dict[int, MediaRef]:
    """The media of these samples that have no hash yet."""
    hashed = select(ImageHashRow.media_key).where(ImageHashRow.media_key == MediaRow.key).exists()
    rows = connection.execute(
        select(MediaRow)
        .where(MediaRow.key.in_(select(SampleMediaRow.media_key).where(SampleMediaRow.sample_key.in_(keys))), ~hashed)
        .order_by(MediaRow.key)
    )
    return {
        row.key: MediaRef(
            row.digest, row.media_type, Modality(row.modality), row.byte_size, row.width, row.height, row.duration_s
        )
        for row in rows
    }


def place(
    connection: Connection,
    signatures: dict[int, text.Signature | None],
    fresh: dict[int, tuple[int, ...]],
    bound: Split | None = None,
) -> int:
    """Write what was computed and put the samples into groups, within one transaction.

    Another pass may have been here meanwhile, and samples may have been deleted: those are left out.

    Args:
        signatures: by sample key.
        fresh: the hashes of media that have none yet, by media key.
        bound: the split that all of them must have (`annotation_store.duplicates.grouping.Grouping.place`).
    """
    keys = sorted(signatures)
    still = set(connection.scalars(select(SampleRow.key).where(SampleRow.key.in_(keys))))
    still -= set(connection.scalars(select(TextSignatureRow.sample_key).where(TextSignatureRow.sample_key.in_(keys))))
    hashes, owned = _media_of(connection, still, fresh)
    looked = [_Looked(key, signatures[key], owned.get(key, ())) for key in keys if key in still]

    text_buckets = lookup.load_texts(connection, (value for each in looked for value in _searched(each)))
    known = lookup.load_signatures(connection, text_buckets.members)
    own_bands = {key: lookup.media_bands(found) for key, found in hashes.items()}
    media_buckets = lookup.load_media(connection, (value for found in own_bands.values() for value in found))
    hashes |= lookup.load_hashes(connection, media_buckets.members - hashes.keys())
    groups = Grouping(connection, now_text())
    groups.load(known, hashes)

    rows: list[dict[str, object]] = []
    for each in looked:
        near = set[int]()
        if each.signature is not None:
            near = set(lookup.near_texts(each.signature, text_buckets.sharing(_searched(each)), known))
            known[each.key] = each.signature
            taken = text_buckets.add(text.bands(each.signature, each.shelf), each.key)
            rows += [{"sample_key": each.key, "band": at, "value": value} for at, value in enumerate(taken)]
        near_media = set(each.media)
        for media_key in each.media:
            candidates = media_buckets.sharing(own_bands[media_key])
            near_media |= lookup.near_media(hashes[media_key], candidates, hashes)
        for media_key in each.media:
            media_buckets.add(own_bands[media_key], media_key)
        groups.place(each.key, each.media, near, near_media, bound)

    stored = [{"sample_key": each.key, "signature": text.to_bytes(each.signature)} for each in looked]
    for table, values in ((TextSignatureRow, stored), (TextBandRow, rows)):
        if values:
            connection.execute(insert(table), values)
    groups.write()
    return len(looked)


def _searched(each: _Looked) -> list[int]:
    """The band values under which texts near to this one stand."""
    if each.signature is None:
        return []
    return [value for shelf in lookup.shelves_to_search(each.shelf) for value in text.bands(each.signature, shelf)]


def _media_of(
    connection: Connection, sample_keys: set[int], fresh: dict[int, tuple[int, ...]]
) -> tuple[dict[int, tuple[int, ...]], dict[int, tuple[int, ...]]]:
    """Hashes by medium, those just computed written down; and by sample its media that show something."""
    rows = connection.execute(
        select(SampleMediaRow.sample_key, SampleMediaRow.media_key)
        .where(SampleMediaRow.sample_key.in_(sorted(sample_keys)))
        .order_by(SampleMediaRow.sample_key, SampleMediaRow.position)
    ).all()
    hashes = lookup.load_hashes(connection, (row.media_key for row in rows))
    there = {row.media_key for row in rows}
    new = {key: found for key, found in fresh.items() if found and key in there and key not in hashes}
    if new:
        frames = [(key, frame, value) for key, found in new.items() for frame, value in enumerate(found)]
        connection.execute(
            insert(ImageHashRow), [{"media_key": key, "frame": frame, "hash": value} for key, frame, value in frames]
        )
        connection.execute(
            insert(ImageBandRow),
            [
                {"media_key": key, "frame": frame, "band": band, "value": number}
                for key, frame, value in frames
                for band, number in enumerate(picture_bands(value))
            ],
        )
    hashes |= new
    owned: dict[int, tuple[int, ...]] = {}
    for row in rows:
        if row.media_key in hashes and row.media_key not in owned.get(row.sample_key, ()):
            owned[row.sample_key] = (*owned.get(row.sample_key, ()), row.media_key)
    return hashes, owned
