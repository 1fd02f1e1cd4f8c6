"""The process that opens videos: a loop over requests on standard input, frames on standard output.

It lives apart because decoders leak, hang and crash. What it may do is limited before the first file is opened:
memory, time for each request, and open files, of which it can have one beside its pipes. So no file and no socket can
be opened while a video is being read, whatever the video says. `core.media.video` starts it, ends it and speaks to it.

Messages to the worker are lines of JSON. Messages from it are a letter, a length and that many bytes:
T the table of frame times (float64), F the next frame (uint8), R "forget the frames so far", J the end (JSON).
"""

from __future__ import annotations

import importlib
import io
import json
import os
import pkgutil
import signal
import struct
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from core.errors import MediaError
from core.media import animation, video_decode
from core.media.identify import HEAD_BYTES, FileKind, identify
from core.media.sampling import FrameTimes
from core.media.video_decode import FrameTable, Picture
from core.media.vision import resize_frames

HEADER = struct.Struct(">cQ")
AHEAD = 3
"""Frames that may wait for resizing while the decoder goes on: it runs beside the decoder, not after it."""

LARGEST_LOG = 1024**2
GRACE_S = 5


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """The file of the last request: what comes after the table (reading) need not demux it again."""

    stat: tuple[int, ...]
    kind: FileKind
    times: FrameTimes
    duration_s: float
    width: int
    height: int
    table: FrameTable | None
    """None for an animated picture."""


class Worker:
    """Answers requests one after the other."""

    def __init__(self, out: BinaryIO, max_pixels: int, max_frames: int) -> None:
        self._out = out
        self._max_pixels = max_pixels
        self._max_frames = max_frames
        self._last: tuple[str, Opened] | None = None
        self._resizer = ThreadPoolExecutor(1)

    def say_ready(self) -> None:
        """Tell the parent that everything is loaded and limited."""
        self._resizer.submit(int).result()  # starts its thread now, while there is memory for it
        self._send(b"J", b"{}")
        self._out.flush()

    def answer(self, request: dict[str, Any]) -> None:
        """Answer one request; an error is an answer too."""
        end: dict[str, Any]
        try:
            end = self._probe(request) if request["op"] == "probe" else self._read(request)
        except MediaError as error:
            end = {"error": type(error).__name__, "message": str(error)}
        except MemoryError:
            end = {"error": "MediaDamaged", "message": "needs more memory to decode than is allowed."}
        except BrokenPipeError:
            raise
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            end = {"error": "MediaDamaged", "message": f"cannot be decoded ({text})."}
        self._send(b"J", json.dumps(end).encode())
        self._out.flush()

    def _send(self, letter: bytes, payload: bytes | memoryview) -> None:
        self._out.write(HEADER.pack(letter, len(payload)))
        self._out.write(payload)

    def _open(self, path: Path) -> Opened:
        found = os.stat(path)
        stat = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if self._last and self._last[0] == str(path) and self._last[1].stat == stat:
            return self._last[1]
        with path.open("rb") as file:
            kind = identify(file.read(HEAD_BYTES))
        if kind.demuxer is None:
            times, duration, width, height = animation.frame_times(path, kind, self._max_pixels, self._max_frames)
            opened = Opened(stat, kind, times, duration, width, height, None)
        else:
            table = video_decode.read_table(path, kind, self._max_pixels, self._max_frames)
            opened = Opened(stat, kind, table.times, table.duration_s, table.width, table.height, table)
        self._last = (str(path), opened)
        return opened

    def _probe(self, request: dict[str, Any]) -> dict[str, Any]:
        opened = self._open(Path(request["path"]))
        self._send(b"T", opened.times.astype("<f8").tobytes())
        return {
            "container": opened.kind.name,
            "duration_s": opened.duration_s,
            "width": opened.width,
            "height": opened.height,
            "codec": opened.table.codec if opened.table else (opened.kind.picture or ""),
        }

    def _read(self, request: dict[str, Any]) -> dict[str, Any]:
        path = Path(request["path"])
        opened = self._open(path)
        asked = np.asarray(request["times"], dtype=np.float64)
        # Midway between two frames belongs to the earlier: the later is not on display yet.
        middles = (opened.times[1:] + opened.times[:-1]) / 2
        indices = [int(index) for index in np.searchsorted(middles, asked, side="left")]
        distinct = sorted(set(indices))
        height, width = (int(side) for side in request["size"])
        decoder = self._stream(path, opened, distinct, (height, width), bool(request["decord"]))
        return {"decoder": decoder, "times": [float(opened.times[index]) for index in distinct]}

    def _stream(self, path: Path, opened: Opened, indices: list[int], size: tuple[int, int], decord: bool) -> str:
        table = opened.table
        if table is None:
            self._send_frames(animation.read_frames(path, opened.kind, indices, self._max_pixels), size)
            return "pillow"
        if decord and video_decode.suits_decord(opened.kind, table):
            try:
                self._send_frames(video_decode.read_with_decord(path, table, indices, complained), size)
                return "decord"
            except video_decode.DecordUnfit:
                self._send(b"R", b"")
        self._send_frames(video_decode.read_with_pyav(path, opened.kind, table, indices), size)
        return "pyav"

    def _send_frames(self, pictures: Iterator[Picture], size: tuple[int, int]) -> None:
        waiting: deque[Future[Picture]] = deque()
        try:
            for picture in pictures:
                waiting.append(self._resizer.submit(_resized, picture, size))
                if len(waiting) > AHEAD:
                    self._send(b"F", waiting.popleft().result().data.cast("B"))
            while waiting:
                self._send(b"F", waiting.popleft().result().data.cast("B"))
        finally:
            for future in waiting:
                future.cancel()


def _resized(picture: Picture, size: tuple[int, int]) -> Picture:
    return np.ascontiguousarray(resize_frames(np.ascontiguousarray(picture)[None], size)[0])


def complained() -> bool:
    """Whether anything was written to standard error (the worker's own log file) since the last time."""
    if not os.fstat(2).st_size:
        return False
    os.ftruncate(2, 0)
    os.lseek(2, 0, os.SEEK_SET)
    return True


def main(memory_bytes: int, max_pixels: int, max_frames: int) -> None:
    """Serve requests until standard input ends."""
    requests, answers = _private_pipes()
    with tempfile.TemporaryDirectory() as folder:
        _import_everything(Path(folder))
    _limit(memory_bytes)
    worker = Worker(answers, max_pixels, max_frames)
    worker.say_ready()
    for line in requests:
        request = json.loads(line)
        # The parent ends a worker that takes too long; this is for the worker whose parent is gone.
        signal.alarm(int(request["timeout_s"]) + GRACE_S)
        try:
            worker.answer(request)
        except BrokenPipeError:
            break
        signal.alarm(0)
        complained()
    os._exit(0)  # no destructor of a decoder gets to hang


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Requests and answers on descriptors of their own; what libraries print goes to an unnamed log file."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=64 * 1024)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    return requests, answers


def _import_everything(folder: Path) -> None:
    """Load every library now, while files may still be opened: also what they load only when first needed."""
    import av  # ahead of decord, whose older codec libraries would otherwise serve PyAV too
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # this process has its own limits
    av.logging.set_level(None)
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in ("av.__main__", "av.datasets"):
            importlib.import_module(module.name)
    for name in ("Png", "Jpeg", "WebP", "Gif", "Bmp"):
        importlib.import_module(f"PIL.{name}ImagePlugin")
    picture, film = folder / "rehearsal.gif", folder / "rehearsal.mp4"
    shades = [Image.new("RGBA", (32, 32), (shade, 0, 0, shade)) for shade in (10, 200)]
    shades[0].save(picture, "GIF", save_all=True, append_images=shades[1:], duration=100)
    with av.open(film, "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for shade in (*shades, None):
            frame = av.VideoFrame.from_ndarray(np.asarray(shade.convert("RGB"))) if shade else None
            container.mux(stream.encode(frame))
    rehearsal = Worker(io.BytesIO(), 1024, 2)
    for path in (picture, film):
        for decord in (True, False):
            request = {"op": "read", "path": str(path), "times": [0.0, 1.0], "size": [16, 16], "decord": decord}
            rehearsal.answer(request)


def _limit(memory_bytes: int) -> None:
    import resource

    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_LOG, LARGEST_LOG))
    free = next(number for number in range(3, 4096) if not _is_open(number))
    beyond = [number for number in range(free + 1, 4096) if _is_open(number)]
    for number in beyond:
        os.close(number)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, free + 1))


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
