"""Videos, read by a worker process of our own: warm, limited in memory and time, replaced when it dies."""

from __future__ import annotations

import io
import os
import tempfile
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from core.errors import MediaDamaged, MediaError
from core.media.limits import MediaLimits
from core.media.sampling import FrameTimes
from core.media.video_process import Receive, WorkerEnded, WorkerProcess, exactly, fill
from core.media.vision import DecodedMedia, Frames

FILES_PER_WORKER = 64
"""After so many requests the worker is replaced: whatever its decoders leaked is gone."""

IN_MEMORY_BYTES = 256 * 1024**2
"""More frames than this are kept in an unnamed file that is mapped into memory, so that they do not fill it."""


@dataclass(frozen=True, slots=True, eq=False)
class VideoFacts:
    """What the packets tell of a video, or reading it through tells of an animated picture."""

    container: str
    codec: str
    duration_s: float
    width: int
    height: int
    """As displayed: after rotation."""
    times: FrameTimes
    """Seconds at which each frame appears, the first at 0."""

    @property
    def frame_count(self) -> int:
        """Frames as counted, not as stated."""
        return len(self.times)


class VideoReader:
    """Reads videos one at a time, from any thread.

    The worker starts with the first request (or `warm_up`). It ends with `close`, with this object, and with the
    parent in whatever way that ends, because its standard input then ends.

    Every file is identified by its bytes inside the worker before a decoder sees it. The message of every error is the
    end of a sentence that begins with the file's name.
    """

    def __init__(self, limits: MediaLimits | None = None, files_per_worker: int = FILES_PER_WORKER) -> None:
        self.limits = limits or MediaLimits()
        self.last_decoder: str | None = None
        """decord, pyav or pillow: who decoded the last file."""
        self._files_per_worker = files_per_worker
        self._lock = threading.Lock()
        self._worker: WorkerProcess | None = None
        self._ender: weakref.finalize[[], VideoReader] | None = None
        self._closed = False

    @property
    def worker_pid(self) -> int | None:
        """Process id of the running worker."""
        worker = self._worker
        return worker.process.pid if worker else None

    def warm_up(self) -> None:
        """Start the worker now, so that the first video need not wait for it.

        Raises:
            GuardroomError: it does not start.
        """
        with self._lock:
            self._ready()

    def probe(self, path: Path) -> VideoFacts:
        """Demux a video without decoding more than its first frame.

        Raises:
            MediaError: not an accepted kind of file.
            MediaDamaged: no frames, damaged, or not within the limits.
        """
        tables: list[FrameTimes] = []

        def receive(letter: bytes, length: int, stream: IO[bytes]) -> None:
            tables.append(np.frombuffer(exactly(stream, length), dtype="<f8").astype(np.float64))

        request = {"op": "probe", "path": os.path.abspath(path)}
        end = self._ask(request, self.limits.decode_timeout_s, receive)
        return VideoFacts(end["container"], end["codec"], end["duration_s"], end["width"], end["height"], tables[-1])

    def read(
        self, path: Path, times_s: Sequence[float], size: tuple[int, int], *, decord: bool = False
    ) -> DecodedMedia:
        """The frames nearest to the given times, resized inside the worker by Pillow's bicubic filter.

        Args:
            times_s: seconds from the first frame; `VideoFacts.times` names frames exactly. Several times that fall
                on one frame give it once.
            size: height and width in pixels.
            decord: true to have decord decode what it can be trusted with. Otherwise PyAV decodes, and decord only
                where the worker crashed over it.

        Returns:
            Frames of shape (frames, height, width, 3) in the order of display, with the times at which they appear.

        Raises:
            MediaError: not an accepted kind of file.
            MediaDamaged: damaged, or not within the limits of time and memory.
        """
        if not len(times_s):
            raise ValueError("times_s must name at least one time")
        height, width = size
        frames = _room((len(times_s), height, width, 3))
        filled = 0

        def receive(letter: bytes, length: int, stream: IO[bytes]) -> None:
            nonlocal filled
            if letter == b"R":
                filled = 0
            else:
                fill(stream, frames[filled].data.cast("B"))
                filled += 1

        request = {
            "op": "read",
            "path": os.path.abspath(path),
            "times": [float(time) for time in times_s],
            "size": [height, width],
        }
        end = self._ask(request, self.limits.read_timeout_s(max(times_s)), receive, decord=decord)
        self.last_decoder = end["decoder"]
        return DecodedMedia(frames[:filled], tuple(round(time, 6) for time in end["times"]))

    def close(self) -> None:
        """End the worker; the reader cannot be used afterwards."""
        with self._lock:
            self._closed = True
            self._end()

    def _ask(
        self, request: dict[str, Any], limit_s: float, receive: Receive, *, decord: bool = False
    ) -> dict[str, Any]:
        """Ask the worker; where it goes away, ask a new one once more, and have the other decoder read.

        decord on some files waits for ever, so it gets half of the time, and its end is no proof of a long video.
        """
        timed_out = False
        for attempt in (1, 2):
            with_decord = decord == (attempt == 1)
            seconds = limit_s / 2 if with_decord else limit_s
            with self._lock:
                try:
                    end = self._ready().ask({**request, "decord": with_decord}, seconds, receive)
                except WorkerEnded as ended:
                    self._end()
                    timed_out = ended.timed_out
                    if timed_out and not with_decord:
                        break
                    # What has come of a first attempt is not part of the second.
                    if request["op"] == "read":
                        receive(b"R", 0, io.BytesIO())
                    continue
                except BaseException:
                    self._end()  # an answer half read cannot be taken up again
                    raise
            if "error" in end:
                raise (MediaError if end["error"] == "MediaError" else MediaDamaged)(end["message"])
            return end
        if timed_out:
            raise MediaDamaged(
                f"could not be read within {limit_s:g} s; send a shorter or smaller one, or raise the time limit."
            )
        raise MediaDamaged("made the decoder crash, so it is damaged or needs more memory than is allowed.")

    def _ready(self) -> WorkerProcess:
        if self._closed:
            raise RuntimeError("this VideoReader is closed")
        if self._worker and (self._worker.served >= self._files_per_worker or self._worker.process.poll() is not None):
            self._end()
        if not self._worker:
            self._worker = WorkerProcess(self.limits)
            self._ender = weakref.finalize(self, self._worker.end)
        return self._worker

    def _end(self) -> None:
        if self._ender:
            self._ender()
        self._worker = self._ender = None


def _room(shape: tuple[int, int, int, int]) -> Frames:
    """Memory for frames, in a mapped file where there are many."""
    size = int(np.prod(shape))
    if size <= IN_MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        return np.memmap(file, np.uint8, "r+", shape=shape)
