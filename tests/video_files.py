"""Small videos made on the spot with PyAV, every frame telling its number, and PyAV's plain reading of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from core.media.vision import Frames

TICKS = 1000
"""Times of frames are whole milliseconds, which every container can hold."""


def picture(number: int, width: int = 96, height: int = 64) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A frame that no other number makes: coloured blocks in a pattern of the number, over a moving gradient."""
    rows, columns = np.arange(height, dtype=np.uint16)[:, None], np.arange(width, dtype=np.uint16)[None, :]
    frame = np.empty((height, width, 3), np.uint8)
    frame[..., 0], frame[..., 1] = rows * 2 + number * 5 & 255, columns * 2 + number * 3 & 255
    frame[..., 2] = rows + columns & 255
    for bit in range(12):
        top, left = (bit // 6) * 16 + 8, (bit % 6) * 16
        frame[top : top + 12, left : left + 12] = 235 if number >> bit & 1 else 20
    frame[: height // 8, : width // 8] = (255, 0, 0)  # which corner is the upper left
    return frame


def make_video(
    path: Path,
    *,
    codec: str = "libx264",
    frames: int = 40,
    distinct: int = 4096,
    rate: int = 10,
    size: tuple[int, int] = (96, 64),
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    times_ms: Sequence[int] | None = None,
    rotation: int = 0,
    container_options: dict[str, str] | None = None,
    format: str | None = None,
    sound: bool = False,
) -> Path:
    """Write a video of `frames` frames; `times_ms` sets the time of each, or they follow each other at
    `rate`; after `distinct` of them the pictures begin again."""
    with av.open(str(path), "w", format=format, container_options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, TICKS)
        if rotation:
            stream.set_display_rotation(rotation)
        audio: Any = container.add_stream("aac", rate=8000) if sound else None
        for number in range(frames if times_ms is None else len(times_ms)):
            frame = av.VideoFrame.from_ndarray(picture(number % distinct, *size), format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate = 8000
            container.mux(audio.encode(silence))
            container.mux(audio.encode(None))
    return path


def make_flat_video(path: Path, shades: Sequence[int], rate: int = 1) -> Path:
    """Write a video of tiny frames, each one even shade of grey: hours of it take a second."""
    flat = {shade: np.full((64, 64, 3), shade, np.uint8) for shade in set(shades)}
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "threads": "1"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for shade in shades:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(flat[shade], format="rgb24")))
        container.mux(stream.encode(None))
    return path


def make_sound(path: Path) -> Path:
    """An MP4 with sound and no picture."""
    with av.open(str(path), "w", format="mp4") as container:
        audio: Any = container.add_stream("aac", rate=8000)
        for start in range(0, 8192, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, start
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def plain_reading(path: Path) -> tuple[Frames, list[float]]:
    """Every frame as PyAV decodes it from beginning to end on one thread, and its time from the first."""
    frames, times = [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for frame in container.decode(stream):
            turned = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
            frames.append(turned)
            times.append(float(frame.time or 0.0))
    return np.stack(frames), [time - times[0] for time in times]


FFMPEG = shutil.which("ffmpeg")


def ffmpeg_reading(path: Path, height: int, width: int) -> Frames:
    """Every frame as the ffmpeg command on this machine gives it: turned upright, none dropped, none repeated."""
    assert FFMPEG
    command = [FFMPEG, "-v", "error", "-i", str(path), "-fps_mode", "passthrough", "-map", "0:v:0"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
