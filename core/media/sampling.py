"""Which frames of a video are looked at. Pure rules over the frames' times; nothing here opens a file."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FrameTimes = npt.NDArray[np.float64]
"""Seconds at which each frame of a video appears, ascending, the first at 0; shape (frames,)."""

LEAST_FRAMES = 4
"""As the stock Qwen3-VL processor: a clip of a second is seen at four moments, not at its first alone."""


def sample_count(frame_count: int, duration_s: float, fps: float, most: int) -> int:
    """How many frames are sampled: `fps` for each second, at least 4, at most `most`, never more than there are.

    Args:
        most: the cap over the whole video (windows times frames in one prompt).

    Raises:
        ValueError: there are no frames, or the cap is below one.
    """
    if frame_count < 1 or most < 1:
        raise ValueError(f"frame_count={frame_count} and most={most} must be at least 1")
    wanted = int(duration_s * fps + 1e-6)  # 60 s stored as 59.9999999 are 60
    return min(max(wanted, LEAST_FRAMES), most, frame_count)


def sample_indices(times: FrameTimes, duration_s: float, fps: float, most: int) -> list[int]:
    """Indices of the sampled frames: evenly spread in time from the first frame to the last, both included.

    At a constant rate these are the frames that the stock Qwen3-VL processor takes,
    `round(linspace(0, frames - 1, count))`. At a variable rate the moments are spread in time, not in frames, and
    the frame nearest to each is taken, a frame that stays on display for long only once.
    """
    count = sample_count(len(times), duration_s, fps, most)
    moments = np.linspace(times[0], times[-1], count)
    places = np.interp(moments, times, np.arange(len(times), dtype=np.float64))
    nearest = np.round(np.round(places, 6))  # the inner rounding removes noise, so that ties fall as in frame counts
    return [int(index) for index in np.unique(nearest)]


def sample_times(times: FrameTimes, duration_s: float, fps: float, most: int) -> tuple[float, ...]:
    """The times, in seconds, of the sampled frames; see `sample_indices`."""
    return tuple(float(times[index]) for index in sample_indices(times, duration_s, fps, most))
