"""Keeping the search index equal to the texts behind it, inside the transaction that changes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, bindparam, select, update

from annotation_store.database import index_samples, unindex_sample
from annotation_store.models import SampleWordsRow
from annotation_store.rows.samples import inserting

_WORDS = select(SampleWordsRow.reasoning, SampleWordsRow.notes).where(
    SampleWordsRow.sample_key == bindparam("of_sample")
)
_SET_WORDS = update(SampleWordsRow).where(SampleWordsRow.sample_key == bindparam("of_sample"))


def add_words(
    connection: Connection, key: int, *, new: bool, reasoning: Iterable[str] = (), notes: Iterable[str] = ()
) -> None:
    """Make a sample findable, and by these words too.

    Args:
        key: the sample's.
        new: whether the sample was written in this very transaction and is not in the index yet.
        reasoning: steps to add to those that are there; a step that is there already is not added again.
        notes: the same for notes.
    """
    known = connection.execute(_WORDS, {"of_sample": key}).one_or_none()
    before = ("", "") if known is None else (known[0], known[1])
    after = (_joined(before[0], reasoning), _joined(before[1], notes))
    if after == before and not new:
        return
    if not new:
        unindex_sample(connection, key)
    values = {"reasoning": after[0], "notes": after[1]}
    if known is not None:
        connection.execute(_SET_WORDS, values | {"of_sample": key})
    elif any(after):
        connection.execute(inserting(SampleWordsRow), values | {"sample_key": key})
    index_samples(connection, key, key)


@contextmanager
def out_of_the_index(connection: Connection, key: int) -> Iterator[None]:
    """Around the removal of a sample."""
    unindex_sample(connection, key)
    yield


def _joined(before: str, more: Iterable[str]) -> str:
    """Line by line, none twice. A text of several lines counts as several."""
    lines = dict.fromkeys(before.split("\n")) if before else {}
    for text in more:
        lines |= dict.fromkeys(line for line in text.split("\n") if line.strip())
    return "\n".join(lines)
