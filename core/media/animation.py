"""Animated GIF, WebP and PNG read as videos. Runs inside the video worker, under its limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.errors import MediaDamaged
from core.media.identify import FileKind
from core.media.images import opened, to_rgb
from core.media.sampling import FrameTimes

SHORTEST_S = 0.011
DEFAULT_S = 0.1
"""Browsers show a frame that asks for 10 ms or less for 100 ms."""


def frame_times(path: Path, kind: FileKind, max_pixels: int, max_frames: int) -> tuple[FrameTimes, float, int, int]:
    """Decode every frame once: times, duration in seconds, width, height.

    The lengths of the frames stand beside the frames, and an animation is proved whole only by reading it through.

    Raises:
        MediaDamaged: a frame is truncated or damaged, or there are too many.
    """
    starts: list[float] = []
    clock = 0.0
    with opened(path, kind, max_pixels) as image:
        count = int(getattr(image, "n_frames", 1))
        if count > max_frames:
            raise MediaDamaged(f"has {count:,} frames; at most {max_frames:,} are accepted.")
        for number in range(count):
            image.seek(number)
            image.load()
            starts.append(clock)
            shown = float(image.info.get("duration") or 0) / 1000
            clock += shown if shown >= SHORTEST_S else DEFAULT_S
        return np.asarray(starts), clock, image.width, image.height


def read_frames(path: Path, kind: FileKind, indices: Sequence[int], max_pixels: int) -> Iterator[npt.NDArray[np.uint8]]:
    """The frames of ascending `indices`, each of shape (height, width, 3), transparent pixels on white."""
    with opened(path, kind, max_pixels) as image:
        for index in indices:
            image.seek(index)
            image.load()
            yield np.asarray(to_rgb(image), dtype=np.uint8)
