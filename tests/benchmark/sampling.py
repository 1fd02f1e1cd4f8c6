"""One frame a second of a minute of 720p, ours beside what people write themselves with decord, PyAV or OpenCV."""

from __future__ import annotations

import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.checkpoints.folder import OMNI_EVALUATION
from core.media.limits import MediaLimits
from core.media.sampling import sample_indices
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.media.vision import Frames, VisionSpec
from tests.benchmark.pairs import Ratio, alternate
from tests.video_files import make_video

SECONDS, RATE = 60, 30
SPEC = VisionSpec(16, 2, 2, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PREPROCESSING = replace(OMNI_EVALUATION, fps=1.0)


def with_decord(path: Path, indices: Sequence[int]) -> Frames:
    """Frame by frame, which is quicker than its `get_batch`."""
    import decord

    reader = decord.VideoReader(str(path))
    frames = []
    for index in indices:
        reader.seek_accurate(index)
        frames.append(reader.next().asnumpy())
    return np.stack(frames)


def with_pyav(path: Path, indices: Sequence[int]) -> Frames:
    """Everything decoded, on all cores, and the wanted frames turned into pixels."""
    import av

    wanted, frames = set(indices), []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                frames.append(frame.to_ndarray(format="rgb24"))
    return np.stack(frames)


def with_opencv(path: Path, indices: Sequence[int]) -> Frames:
    """Everything grabbed and the wanted frames retrieved, which is quicker and surer than setting the position."""
    import cv2

    film, wanted, frames = cv2.VideoCapture(str(path)), set(indices), []
    for number in range(max(indices) + 1):
        assert film.grab()
        if number in wanted:
            frames.append(cv2.cvtColor(film.retrieve()[1], cv2.COLOR_BGR2RGB))
    return np.stack(frames)


PEERS: dict[str, Callable[[Path, Sequence[int]], Frames]] = {
    "decord": with_decord,
    "av": with_pyav,
    "cv2": with_opencv,
}


def sampling_against_peers(pairs: int, seconds: int = SECONDS) -> Iterator[Ratio]:
    """A ratio for each peer that is installed; the one with the largest is the best of them.

    Ours is what a moderation does with a stored film, nothing remembered from the run before: its digest checked, its
    frames listed, the wanted ones decoded in the worker, resized, sent over. The peers only decode, at full size.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = {"preset": "veryfast", "threads": "2"}
        film = make_video(
            Path(folder) / "film.mp4", frames=seconds * RATE, rate=RATE, size=(1280, 720), options=options
        )
        reader = VideoReader(MediaLimits())
        store = MediaStore(Path(folder) / "media", MediaLimits(), reader)
        try:
            ref = store.accept(film)
            facts = reader.probe(film)
            indices = sample_indices(facts.times, facts.duration_s, PREPROCESSING.fps, PREPROCESSING.max_frames)

            def ours() -> float:
                os.utime(store.path(ref.digest))  # the worker remembers the table of a file that has not changed
                start = time.perf_counter()
                frames = store.decode(ref, PREPROCESSING, SPEC).frames
                taken = time.perf_counter() - start
                assert len(frames) == len(indices) == seconds
                return taken

            for name, sample in PEERS.items():
                if importlib.util.find_spec(name) is None:
                    print(f"{name} is not installed, so it is left out.")
                    continue

                def peer(sample: Callable[[Path, Sequence[int]], Frames] = sample) -> float:
                    start = time.perf_counter()
                    frames = sample(film, indices)
                    taken = time.perf_counter() - start
                    assert frames.shape == (seconds, 720, 1280, 3)
                    return taken

                yield alternate(
                    f"1 frame a second of {seconds} s of 720p ÷ {name} called directly", "≤ 1.15", ours, peer, pairs
                )
        finally:
            reader.close()
