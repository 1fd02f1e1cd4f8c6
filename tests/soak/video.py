"""Many videos, good ones and damaged ones, through the media store: memory, outcomes, and what the worker touched."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from core.errors import MediaError
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.media.vision import VisionSpec
from core.types import Preprocessing
from tests.video_files import make_video

SPEC = VisionSpec(16, 2, 2, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PREPROCESSING = Preprocessing("soak", 4.0, 16, 4096, 131_072, 4096, 131_072)
X264 = {"preset": "ultrafast", "threads": "1"}
KINDS: dict[str, dict[str, Any]] = {
    "plain.mp4": {"frames": 40, "options": X264, "size": (320, 180)},
    "b-frames.mp4": {"frames": 40, "options": X264 | {"bf": "2", "g": "10"}},
    "turned.mov": {"frames": 20, "options": X264, "rotation": 90},
    "matroska.mkv": {"frames": 40, "options": X264 | {"g": "10"}},
    "web.webm": {"frames": 20, "codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "old.avi": {"frames": 20, "codec": "mpeg4"},
    "deep.mkv": {"frames": 20, "pixels": "yuv420p10le", "options": X264},
}
WARM = 3
"""Rounds over all kinds before memory is measured: by then every library has what it keeps."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Resident memory of this process and of the worker together, in MB, from the warm state to the most seen."""

    videos: int
    warm_mb: float
    most_mb: float

    @property
    def grown_mb(self) -> float:
        """The figure that has a bar."""
        return self.most_mb - self.warm_mb


@dataclass(frozen=True, slots=True)
class Mutants:
    """What became of damaged files."""

    outcomes: dict[str, int]
    workers: int
    """Worker processes that served them, one after the other."""
    left_behind: tuple[int, ...]
    """Worker processes that were still there after the reader was closed."""


def make_kinds(folder: Path) -> list[Path]:
    """One small video of every kind."""
    return [make_video(folder / name, **how) for name, how in KINDS.items()]


def grow(count: int, tell: Callable[[int], None] = lambda done: None) -> Growth:
    """Accept and decode so many videos and watch the memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = make_kinds(folder)
        reader = VideoReader(MediaLimits())
        store = MediaStore(folder / "media", MediaLimits(), reader)
        try:
            for at in range(WARM * len(kinds)):
                store.decode(store.accept(kinds[at % len(kinds)]), PREPROCESSING, SPEC)
            warm = most = _resident_mb(reader)
            for at in range(count):
                store.decode(store.accept(kinds[at % len(kinds)]), PREPROCESSING, SPEC)
                most = max(most, _resident_mb(reader))
                tell(at + 1)
        finally:
            reader.close()
    return Growth(count, warm, most)


def _resident_mb(reader: VideoReader) -> float:
    processes = [psutil.Process(), *([psutil.Process(reader.worker_pid)] if reader.worker_pid else [])]
    resident: int = sum(process.memory_info().rss for process in processes)
    return resident / 1e6


def mutated(data: bytes, number: int) -> bytes:
    """The same damage for the same number: bytes changed, a stretch lost or doubled, the end cut off."""
    rng = np.random.default_rng(number)
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 30))):
        changed[int(rng.integers(8 if number % 3 else 0, len(changed)))] = int(rng.integers(0, 256))
    start, stop = sorted(int(at) for at in rng.integers(0, len(changed), 2))
    match number % 5:
        case 1:
            del changed[start : min(stop, start + 400)]
        case 2:
            changed[start:start] = changed[start : min(stop, start + 400)]
        case 3:
            del changed[max(64, stop) :]
    return bytes(changed)


def mutate(count: int, folder: Path, tell: Callable[[int], None] = lambda done: None) -> Mutants:
    """Hand so many damaged files to a media store under `folder`; anything but an answer or a MediaError is raised."""
    sources = [path.read_bytes() for path in make_kinds(folder)]
    reader = VideoReader(MediaLimits(decode_timeout_s=60))
    store = MediaStore(folder / "media", MediaLimits(), reader)
    outcomes: Counter[str] = Counter()
    workers: set[int] = set()
    try:
        for number in range(count):
            mutant = folder / "mutant"
            mutant.write_bytes(mutated(sources[number % len(sources)], number))
            try:
                store.decode(store.accept(mutant), PREPROCESSING, SPEC)
                outcomes["read"] += 1
            except MediaError as error:
                outcomes[type(error).__name__] += 1
            workers |= {reader.worker_pid} if reader.worker_pid else set()
            tell(number + 1)
        if sources:
            (folder / "good").write_bytes(sources[0])
            assert reader.probe(folder / "good").frame_count == KINDS["plain.mp4"]["frames"]
    finally:
        reader.close()
    left = [process.pid for process in psutil.Process().children(recursive=True)]
    return Mutants(dict(outcomes), len(workers), tuple(left))


def mutation_command(count: int, folder: Path) -> list[str]:
    """`mutate` as a process of its own, whose every call to the kernel can be watched."""
    return [sys.executable, "-m", "tests.soak", "mutants", "--count", str(count), "--folder", str(folder)]
