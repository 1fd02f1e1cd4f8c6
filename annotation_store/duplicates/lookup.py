"""What the store already holds near a text or a picture: the bands as an index, signatures and hashes as the proof."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Select, select

from annotation_store.duplicates import pictures, text
from annotation_store.models import ImageBandRow, ImageHashRow, TextBandRow, TextSignatureRow
from annotation_store.rows.samples import MANY

FULL = 100
"""So many texts of one band's value are kept; later ones are found through these. It bounds the work for data that was
written from one template. Media: five times as many, because their bands are shorter."""

WORDS_ALONE, WORDS_WITH_PICTURES = 0, 1
"""Shelves: samples that only their words tell apart, and samples with a picture that shows something.

Two samples with pictures are near when their pictures are: the same fixed request with another picture is another
sample (FigStep). In every other pair the words decide.
"""


def shelves_to_search(shelf: int) -> tuple[int, ...]:
    """Whose words count for a sample of this shelf."""
    return (WORDS_ALONE, WORDS_WITH_PICTURES) if shelf == WORDS_ALONE else (WORDS_ALONE,)


class Buckets:
    """Members by band value: those of the database, and those that a batch adds to them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._members: dict[int, list[int]] = {}

    def load(self, rows: Iterable[Sequence[Any]]) -> None:
        """Take in rows of value and member."""
        for value, member in rows:
            self._members.setdefault(value, []).append(member)

    def add(self, values: Iterable[int], member: int) -> list[int]:
        """Which of the values take the member in: those that are not full."""
        taken = []
        for value in values:
            members = self._members.setdefault(value, [])
            if len(members) < self._most:
                members.append(member)
                taken.append(value)
        return taken

    def sharing(self, values: Iterable[int]) -> set[int]:
        """All members that share one of these values."""
        return {member for value in values for member in self._members.get(value, ())}

    @property
    def members(self) -> set[int]:
        """All that were loaded or added."""
        return {member for members in self._members.values() for member in members}


def load_texts(connection: Connection, values: Iterable[int]) -> Buckets:
    """The buckets of these band values."""
    found = Buckets(FULL)
    for some in batches(values):
        rows = select(TextBandRow.value, TextBandRow.sample_key).where(TextBandRow.value.in_(some))
        found.load(connection.execute(rows))
    return found


def load_media(connection: Connection, values: Iterable[int]) -> Buckets:
    """The buckets of these band values of pictures."""
    found = Buckets(5 * FULL)
    for some in batches(values):
        rows = select(ImageBandRow.value, ImageBandRow.media_key).where(ImageBandRow.value.in_(some)).distinct()
        found.load(connection.execute(rows))
    return found


def load_signatures(connection: Connection, sample_keys: Iterable[int]) -> dict[int, text.Signature]:
    """The signatures of these samples; those without words are left out."""
    found = {}
    for some in batches(sample_keys):
        wanted: Select[Any, Any] = select(TextSignatureRow.sample_key, TextSignatureRow.signature)
        for key, stored in connection.execute(wanted.where(TextSignatureRow.sample_key.in_(some))):
            if (signature := text.from_bytes(stored)) is not None:
                found[key] = signature
    return found


def load_hashes(connection: Connection, media_keys: Iterable[int]) -> dict[int, tuple[int, ...]]:
    """The hashes of these media; those without are left out."""
    found: dict[int, tuple[int, ...]] = {}
    for some in batches(media_keys):
        wanted = select(ImageHashRow.media_key, ImageHashRow.hash).where(ImageHashRow.media_key.in_(some))
        for key, value in connection.execute(wanted.order_by(ImageHashRow.media_key, ImageHashRow.frame)):
            found[key] = (*found.get(key, ()), value)
    return found


def near_texts(
    one: text.Signature, candidates: Iterable[int], signatures: Mapping[int, text.Signature]
) -> dict[int, float]:
    """The candidates whose text is near, with the estimated similarity."""
    keys = [key for key in candidates if key in signatures]
    shares = text.similarity(one, [signatures[key] for key in keys])
    return {keys[at]: float(shares[at]) for at in np.flatnonzero(shares >= text.NEAR)}


def near_media(one: Sequence[int], candidates: Iterable[int], hashes: Mapping[int, Sequence[int]]) -> set[int]:
    """The candidates whose picture is near."""
    return {key for key in candidates if key in hashes and pictures.alike(one, hashes[key])}


def media_bands(hashes: Iterable[int]) -> set[int]:
    """The band values of all frames."""
    return {value for each in hashes for value in pictures.bands(each)}


def batches(keys: Iterable[int]) -> Iterator[list[int]]:
    """Sorted, without repetition, so many at once as a statement may ask for."""
    wanted = sorted(set(keys))
    for start in range(0, len(wanted), MANY):
        yield wanted[start : start + MANY]
