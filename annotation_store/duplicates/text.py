"""MinHash of texts: signatures whose agreement estimates how much two texts share. Pure functions over numpy.

A text is the set of its runs of five characters, after case, width and punctuation are levelled. For each of 128 hash
functions the signature keeps the smallest value over that set; the share of equal minima estimates the Jaccard
similarity of the two sets (Broder 1997). Signatures are stored for ever and compared across versions of Guardroom, so
the hash functions are spelled out here and not left to a library whose next version may draw others.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

PERMUTATIONS = 128
"""Minima in a signature: the standard error of a similarity of 0.7 is 0.04."""

BANDS, ROWS = 10, 5
"""The first 50 minima form ten bands of five. Two texts share a band with probability 1 - (1 - s^5)^10: 0.98 at a
similarity of 0.8, 0.84 at 0.7, 0.03 at 0.3."""

NEAR = 0.7
"""Estimated similarity from which two texts count as nearly the same."""

RUN = 5
"""Characters in a run."""

_CHUNK = 8192
"""Runs that are hashed at once: 8 MiB for the 128 values of each."""

Signature = npt.NDArray[np.uint32]
_Hashes = npt.NDArray[np.uint64]


def _constants(tag: str) -> _Hashes:
    """Fixed numbers that nobody chose."""
    return np.frombuffer(hashlib.shake_256(tag.encode()).digest(8 * PERMUTATIONS), "<u8").astype(np.uint64)


_FACTORS = _constants("minhash-v1 factors") | np.uint64(1)
_OFFSETS = _constants("minhash-v1 offsets")
_WEIGHTS = _constants("minhash-v1 weights")[:RUN] | np.uint64(1)
_MIX = np.uint64(0xBF58476D1CE4E5B9)

_BETWEEN_WORDS = re.compile(r"[\W_]+")


def levelled(text: str) -> str:
    """Compatibility forms, case, punctuation and spacing evened out; a text without letters and digits stays itself."""
    even = unicodedata.normalize("NFKC", text).casefold()
    return _BETWEEN_WORDS.sub(" ", even).strip() or even.strip()


def _runs(text: str) -> _Hashes:
    """A hash for every run of `RUN` characters; one for a text that is shorter; none for an empty one."""
    even = levelled(text)
    if not even:
        return np.empty(0, np.uint64)
    codes = np.frombuffer(even.ljust(RUN).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    count = len(codes) - RUN + 1
    mixed = sum((codes[at : at + count] * _WEIGHTS[at] for at in range(RUN)), np.zeros(count, np.uint64))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX
    return np.unique(mixed ^ (mixed >> np.uint64(31)))


def signature(text: str) -> Signature | None:
    """The signature of a text, shape (`PERMUTATIONS`,); none for a text of nothing but space."""
    runs = _runs(text)
    if not len(runs):
        return None
    least = np.full(PERMUTATIONS, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(runs), _CHUNK):
        values = runs[start : start + _CHUNK, None] * _FACTORS + _OFFSETS
        np.minimum(least, values.min(axis=0), out=least)
    # The high half is the well-mixed one of a product.
    return (least >> np.uint64(32)).astype(np.uint32)


def to_bytes(found: Signature | None) -> bytes:
    """As it is stored; nothing for a text that has none."""
    return b"" if found is None else found.astype("<u4").tobytes()


def from_bytes(stored: bytes) -> Signature | None:
    """The signature that `to_bytes` was given."""
    return np.frombuffer(stored, "<u4") if stored else None


def bands(found: Signature, shelf: int = 0) -> list[int]:
    """A signed 64-bit number for each band. The band's place and the shelf are part of it.

    Args:
        shelf: 0 or 1; texts on different shelves never share a number, so each kind can be asked for by itself.
    """
    return [
        int.from_bytes(
            hashlib.blake2b(
                found[at * ROWS : (at + 1) * ROWS].astype("<u4").tobytes(), digest_size=8, key=bytes([shelf, at])
            ).digest(),
            "little",
            signed=True,
        )
        for at in range(BANDS)
    ]


def similarity(one: Signature, others: Sequence[Signature]) -> npt.NDArray[np.float64]:
    """Estimated Jaccard similarity of one text with each of the others, in [0, 1]."""
    if not others:
        return np.empty(0)
    share: npt.NDArray[np.float64] = (np.stack(others) == one).mean(axis=1)
    return share


def overlap(one: str, other: str) -> float:
    """The exact Jaccard similarity that signatures estimate; 1 for two empty texts."""
    first, second = _runs(one), _runs(other)
    union = len(np.union1d(first, second))
    return len(np.intersect1d(first, second)) / union if union else 1.0
