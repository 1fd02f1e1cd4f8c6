"""The stored samples that are nearly the same as one, with what people said of them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from annotation_store.duplicates import lookup, text
from annotation_store.duplicates.passing import words_of
from annotation_store.models import GroupMemberRow, GroupRow, SampleMediaRow, SettledLabelRow
from annotation_store.rows.labels import read_labels
from annotation_store.rows.samples import read_samples, sample_key
from annotation_store.store import AnnotationStore
from annotation_store.values.review import LabelRecord
from core.snapshots.folder import Split
from core.types import Sample

_LOOKED_AT = 400
"""Candidates that are compared at most."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A sample that is nearly the same."""

    sample_id: str
    sample: Sample
    words: float
    """How much of the wording they share: Jaccard similarity of the runs of five characters, in [0, 1]."""
    same_picture: bool
    """Whether they have a picture in common, as far as one can see."""
    label: LabelRecord | None
    """The label that counts; none for a sample that nobody has labelled."""
    split: Split | None
    """None until it was first needed."""


def neighbours(
    store: AnnotationStore, sample_id: str, *, limit: int = 8, labelled_only: bool = True
) -> tuple[Neighbour, ...]:
    """Near-duplicates of a stored sample, the most similar first.

    A sample that the pass over near-duplicates has not reached yet is compared by its words (and by its pictures when
    another sample has brought them), but is not found as somebody else's neighbour.

    Args:
        labelled_only: only those that somebody has labelled.

    Raises:
        StoreError: there is no such sample, or the database failed.
    """
    with store.reading("Looking for near-duplicates") as connection:
        key = sample_key(connection, sample_id)
        sample = read_samples(connection, [key])[key]
        words, pictures = _candidates(connection, key, sample)
        found = _ranked(connection, words, pictures, labelled_only)[:limit]
        samples = read_samples(connection, found)
        labels = {each.sample_id: each for each in read_labels(connection, found) if each.settled}
        splits = _splits(connection, found)
    return tuple(
        Neighbour(
            sample_id=samples[other].id,
            sample=samples[other],
            words=text.overlap(words_of(sample), words_of(samples[other])),
            same_picture=other in pictures,
            label=labels.get(samples[other].id),
            split=splits.get(other),
        )
        for other in found
    )


def _candidates(connection: Connection, key: int, sample: Sample) -> tuple[dict[int, float], set[int]]:
    """Samples near by their words, with the similarity, and samples near by a picture."""
    own = connection.scalars(select(SampleMediaRow.media_key).where(SampleMediaRow.sample_key == key)).all()
    hashes = lookup.load_hashes(connection, own)
    near_media = set(hashes)
    for each in list(hashes.values()):
        candidates = lookup.load_media(connection, lookup.media_bands(each)).members
        near_media |= lookup.near_media(each, candidates, lookup.load_hashes(connection, candidates))
    pictures = set(
        connection.scalars(
            select(SampleMediaRow.sample_key)
            .where(SampleMediaRow.media_key.in_(sorted(near_media)), SampleMediaRow.sample_key != key)
            .order_by(SampleMediaRow.sample_key.desc())
            .limit(_LOOKED_AT)
        )
    )
    signature = text.signature(words_of(sample))
    if signature is None:
        return {}, pictures
    shelf = lookup.WORDS_WITH_PICTURES if hashes else lookup.WORDS_ALONE
    values = [value for each in lookup.shelves_to_search(shelf) for value in text.bands(signature, each)]
    candidates = lookup.load_texts(connection, values).members | set(_labelled_of_group(connection, key))
    near = lookup.near_texts(signature, candidates - {key}, lookup.load_signatures(connection, candidates - {key}))
    return near, pictures


def _labelled_of_group(connection: Connection, key: int) -> list[int]:
    """Labelled members of the sample's group: bands that are full do not name all."""
    group = select(GroupMemberRow.group_key).where(GroupMemberRow.sample_key == key).scalar_subquery()
    wanted = (
        select(GroupMemberRow.sample_key)
        .join(SettledLabelRow, SettledLabelRow.sample_key == GroupMemberRow.sample_key)
        .where(GroupMemberRow.group_key == group)
        .limit(_LOOKED_AT)
    )
    return list(connection.scalars(wanted))


def _ranked(connection: Connection, words: dict[int, float], pictures: set[int], labelled_only: bool) -> list[int]:
    """The most similar first; a common picture counts more than common words, newer samples come first."""
    keys = words.keys() | pictures
    if labelled_only:
        labelled: set[int] = set()
        for some in lookup.batches(keys):
            rows = select(SettledLabelRow.sample_key).where(SettledLabelRow.sample_key.in_(some))
            labelled |= set(connection.scalars(rows))
        keys = keys & labelled
    return sorted(keys, key=lambda key: (key in pictures, words.get(key, 0.0), key), reverse=True)


def _splits(connection: Connection, keys: list[int]) -> dict[int, Split]:
    rows = connection.execute(
        select(GroupMemberRow.sample_key, GroupRow.split)
        .join(GroupRow, GroupRow.key == GroupMemberRow.group_key)
        .where(GroupMemberRow.sample_key.in_(keys), GroupRow.split.is_not(None))
    )
    return {key: Split(split) for key, split in rows if split is not None}
