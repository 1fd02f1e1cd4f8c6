"""Perceptual hashes of pictures: 64 bits that change little when a picture is scaled, re-encoded or brightened.

The hash is pHash (Zauner 2010): the picture in grey at 32 x 32, its discrete cosine transform, and for each of the 64
slowest waves whether it lies above their median. Spelled out here because the hashes are stored for ever, and because
the usual package brings a wavelet library of 9 MB that this hash does not need.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.media.vision import Frames

NEAR_BITS = 5
"""Hashes that differ in at most so many of 64 bits belong to nearly the same picture."""

BANDS = NEAR_BITS + 1
"""With one band more than bits may differ, near hashes agree in at least one band."""

FLAT = 2.0
"""Standard deviation of the grey levels under which a picture shows nothing: its hash would be chance."""

_SIDE, _WAVES = 32, 8
_EDGES = [round(at * 64 / BANDS) for at in range(BANDS + 1)]


def _cosines() -> npt.NDArray[np.float64]:
    """The first eight waves of the orthonormal transform, shape (8, 32)."""
    at, wave = np.arange(_SIDE), np.arange(_WAVES)
    table = np.cos(np.pi * (2 * at[None, :] + 1) * wave[:, None] / (2 * _SIDE)) * np.sqrt(2 / _SIDE)
    table[0] /= np.sqrt(2)
    return np.asarray(table, np.float64)


_TABLE = _cosines()


def picture_hash(frame: Frames) -> int | None:
    """The hash of one picture, as a signed 64-bit number; none for a picture of one colour.

    Args:
        frame: pixels, shape (height, width, 3), uint8 RGB.
    """
    grey = Image.fromarray(frame).convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    values = np.asarray(grey, np.float64)
    if values.std() < FLAT:
        return None
    waves = (_TABLE @ values @ _TABLE.T).ravel()
    # The first wave is the mean brightness, which says nothing about what is shown.
    bits = waves > np.median(waves[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big", signed=True)


def distance(one: int, other: int) -> int:
    """In how many bits two hashes differ, 0 to 64."""
    return ((one ^ other) & (1 << 64) - 1).bit_count()


def bands(found: int) -> list[int]:
    """One number for each band, the band's place in its upper bits."""
    bits = found & (1 << 64) - 1
    return [at << 16 | (bits >> _EDGES[at]) & (1 << (_EDGES[at + 1] - _EDGES[at])) - 1 for at in range(BANDS)]


def alike(some: Sequence[int], others: Sequence[int]) -> bool:
    """Whether two media are nearly the same, given the hashes of their frames (one for a still picture).

    At least half of the frames of the one that has fewer must be found in the other.
    """
    fewer, more = sorted((some, others), key=len)
    found = sum(any(distance(one, other) <= NEAR_BITS for other in more) for one in fewer)
    return found > 0 and 2 * found >= len(fewer)
