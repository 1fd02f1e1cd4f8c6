"""Reading videos with PyAV and decord. Runs inside the video worker only, on files that `core.media.identify` let pass.

PyAV reads the table of frames first, from the packets, without decoding, and then decodes the wanted frames, passing
over those that nobody wants and no other frame leans on. decord is the second: for a file over which PyAV crashed, if
it can be trusted with it. It cannot where it counts or times frames otherwise than the table, with rotation, deep or
unusual pixels and other codecs, once it complains about anything, and on platforms for which it has no wheel.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from core.errors import MediaDamaged
from core.media.identify import FileKind
from core.media.images import check_size
from core.media.sampling import FrameTimes

Picture = npt.NDArray[np.uint8]
"""One decoded frame as displayed, shape (height, width, 3), RGB."""

DECORD_CODECS = frozenset({"h264", "hevc", "vp8", "vp9"})
DECORD_PIXELS = frozenset({"yuv420p"})
"""Where decord's frames were found bit-equal to those of FFmpeg's command line, with even sides and no rotation.
After a jump it gives wrong frames of MPEG-4 part 2, and on odd sides it blends colours differently."""

SEEK_GAIN = 8
"""Frames that a jump to a key frame must save, to be worth emptying the decoder."""

MISSING_TAIL = 2
"""Frames that may be lacking behind the last decoded one (a stop packet, a field without its pair)."""


class DecordUnfit(Exception):
    """decord cannot be trusted with this file; PyAV is to read it."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameTable:
    """What the packets say of a video's frames, in the order of display."""

    times: FrameTimes
    pts: tuple[int, ...] | None
    """Presentation stamps, ascending; none where the container has none (AVI) and frames can only be counted."""
    keys: tuple[int, ...]
    """Stamps of the key frames, ascending."""
    duration_s: float
    width: int
    height: int
    """As displayed: after rotation."""
    rotation: int
    codec: str
    pixels: str


# -- demuxing -----------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path, kind: FileKind) -> Iterator[tuple[Any, Any]]:
    """Container and video stream, read through our own file object by the one demuxer that fits the bytes.

    FFmpeg gets neither a path nor a protocol, so nothing that is written in the file makes it open anything else.
    """
    import av

    with path.open("rb") as file:
        try:
            container = _open_container(file, kind)
        except (av.FFmpegError, ValueError) as error:
            raise _named(error, f"is a damaged {kind.name} file") from None
        with container:
            films = [
                stream
                for stream in container.streams.video
                if not int(getattr(stream, "disposition", 0)) & int(av.stream.Disposition.attached_pic)
            ]
            if not films:
                raise MediaDamaged("has no video in it; a video needs at least one frame.")
            if films[0].codec_context is None:
                raise MediaDamaged("holds a video in a coding that cannot be decoded here; H.264 is always accepted.")
            yield container, films[0]


def _open_container(file: BinaryIO, kind: FileKind) -> Any:
    import av

    options = {"protocol_whitelist": "none"}
    if kind.demuxer == "mov":
        options |= {"enable_drefs": "0", "use_absolute_path": "0"}
    return av.open(
        file, mode="r", format=kind.demuxer, options=options, metadata_errors="replace", buffer_size=256 * 1024
    )


def _named(error: BaseException, what: str) -> MediaDamaged:
    if isinstance(error, MemoryError | BlockingIOError):  # EAGAIN: there was no room for a decoding thread
        return MediaDamaged("needs more memory to decode than is allowed.")
    return MediaDamaged(f"{what} ({reason(error)}).")


def reason(error: BaseException) -> str:
    """An error of FFmpeg in a few words."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:100]


def read_table(path: Path, kind: FileKind, max_pixels: int, max_frames: int) -> FrameTable:
    """The table of frames, from the packets; one frame is decoded, for its size and rotation.

    Raises:
        MediaDamaged: no frames, too many or too large ones, or a container damaged where this can be seen.
    """
    import av

    shown: list[tuple[int, int]] = []
    keys: list[int] = []
    stamped = kind.demuxer != "avi"  # AVI numbers packets in the order of decoding
    # Matroska goes on at the next cluster after damage: only its complaint tells that seconds are missing.
    previous = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=True) as complaints, _opened(path, kind) as (container, stream):
            check_size(max(stream.width, 1), max(stream.height, 1), max_pixels)
            unit = float(stream.time_base or 0) or 1 / 1000
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                if packet.is_corrupt:
                    raise MediaDamaged(f"is damaged or cut short after {len(shown):,} frames.")
                stamped = stamped and packet.pts is not None
                stamp = packet.pts if packet.pts is not None else packet.dts
                stamp = len(shown) if stamp is None else stamp
                if packet.is_keyframe:
                    keys.append(stamp)
                if not packet.is_discard:  # an edit list may leave out frames that others lean on
                    shown.append((stamp, packet.duration or 0))
                if len(shown) > max_frames:
                    raise MediaDamaged(f"has more than {max_frames:,} frames, the most that are accepted.")
    except av.FFmpegError as error:
        raise _named(error, f"is a damaged {kind.name} file") from None
    finally:
        av.logging.set_level(previous)
    if kind.demuxer == "matroska" and complaints:
        raise MediaDamaged(f"is a damaged or incomplete {kind.name} file ({' '.join(complaints[0][2].split())[:100]}).")
    if stamped and keys:
        # Frames ahead of the first key frame lean on frames that are not in the file; no player shows them.
        shown = [each for each in shown if each[0] >= min(keys)]
    if not shown or not keys:
        raise MediaDamaged("has no video frames; a video needs at least one.")
    stamps = [stamp for stamp, _ in shown]
    stamped = stamped and len(set(stamps)) == len(stamps)
    stamps.sort()
    times = (np.asarray(stamps, dtype=np.float64) - stamps[0]) * unit
    last = max((length for stamp, length in shown if stamp == stamps[-1]), default=0) * unit
    if last <= 0:
        last = _typical_gap(times) if len(times) > 1 else (1 / rate if rate else 0.0)
    width, height, rotation, codec, pixels = _first_frame(path, kind, max_pixels)
    return FrameTable(
        times,
        tuple(stamps) if stamped else None,
        tuple(sorted(keys)),
        float(times[-1]) + last,
        width,
        height,
        rotation,
        codec,
        pixels,
    )


def _typical_gap(times: FrameTimes) -> float:
    """Median of the seconds from one frame to the next, for at least two frames."""
    return float(np.sort(np.diff(times))[(len(times) - 1) // 2])


def _first_frame(path: Path, kind: FileKind, max_pixels: int) -> tuple[int, int, int, str, str]:
    import av

    try:
        with _opened(path, kind) as (container, stream):
            codec = stream.codec_context.codec.canonical_name
            for packet in container.demux(stream):
                for frame in packet.decode():
                    check_size(frame.width, frame.height, max_pixels)
                    rotation = round(frame.rotation / 90) * 90 % 360
                    sides = (frame.height, frame.width) if rotation in (90, 270) else (frame.width, frame.height)
                    return (*sides, rotation, codec, frame.format.name)
    except av.FFmpegError as error:
        raise _named(error, "holds a video that cannot be decoded") from None
    raise MediaDamaged("holds a video of which no frame can be decoded.")


# -- PyAV ---------------------------------------------------------------------------------------------------------


def read_with_pyav(path: Path, kind: FileKind, table: FrameTable, indices: Sequence[int]) -> Iterator[Picture]:
    """The frames of ascending `indices`, decoded by PyAV.

    Raises:
        MediaDamaged: a frame on the way is damaged, or the video ends early.
    """
    import av

    try:
        with _opened(path, kind) as (container, stream):
            stream.thread_type = "AUTO"
            if table.pts is None:
                frames = _counted(container, stream, indices)
            else:
                frames = _sought(container, stream, table.pts, table.keys, indices)
            to_rgb = _ToRgb()
            for frame in frames:
                picture = to_rgb(frame)
                yield np.rot90(picture, table.rotation // 90) if table.rotation else picture
    except av.FFmpegError as error:
        raise _named(error, "has a damaged frame") from None


class _ToRgb:
    """Frames to RGB by FFmpeg's own filters, bit for bit as its command line does it.

    PyAV's own conversion differs from that where pixels are deep or fields are interlaced.
    """

    def __init__(self) -> None:
        self._form: tuple[Any, ...] | None = None
        self._graph: Any = None

    def __call__(self, frame: Any) -> Picture:
        form = (frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range)
        if form != self._form:
            self._graph, self._form = _rgb_graph(frame), form
        self._graph.push(frame)
        picture: Picture = self._graph.pull().to_ndarray()
        return picture


def _rgb_graph(frame: Any) -> Any:
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    graph.link_nodes(
        source, graph.add("scale", "flags=bicubic"), graph.add("format", "rgb24"), graph.add("buffersink")
    ).configure()
    return graph


def _sound(frame: Any) -> Any:
    if frame.is_corrupt:
        when = "" if frame.time is None else f" at {frame.time:.1f} s"
        raise MediaDamaged(f"has a damaged frame{when}.")
    return frame


def _ends_early(found: int, wanted: int) -> MediaDamaged:
    return MediaDamaged(f"ends early: {found:,} of its frames can be decoded, frame {wanted + 1:,} was wanted.")


def _counted(container: Any, stream: Any, indices: Sequence[int]) -> Iterator[Any]:
    """Frames by their number in the order of display, everything decoded from the start."""
    wanted = list(indices)
    held, number = None, -1
    for packet in container.demux(stream):
        for frame in packet.decode():
            held, number = _sound(frame), number + 1
            while wanted and wanted[0] == number:
                yield frame
                wanted.pop(0)
            if not wanted:
                return
    for index in wanted:
        if held is None or index > number + MISSING_TAIL:
            raise _ends_early(number + 1, index)
        yield held


def _sought(
    container: Any, stream: Any, stamps: tuple[int, ...], keys: tuple[int, ...], indices: Sequence[int]
) -> Iterator[Any]:
    """Frames by their stamps. Jumps to a key frame where that saves work, and lets the decoder pass over frames that
    nobody wants and no other frame leans on; both leave the wanted frames bit for bit the same."""
    near = {stamps[place] for index in indices for place in range(max(0, index - 2), min(len(stamps), index + 3))}
    wanted = [stamps[index] for index in indices]
    context = stream.codec_context
    may_seek = True
    start, sought = keys[0], False
    while wanted:
        if sought:
            container.seek(start, stream=stream, backward=True, any_frame=False)
        held, jump, first = None, False, True
        for packet in container.demux(stream):
            context.skip_frame = "DEFAULT" if packet.pts is None or packet.pts in near else "NONREF"
            for frame in packet.decode():
                if frame.pts is None:
                    continue
                if sought and first and frame.pts > start:
                    # The container's index leads past the key frame: read from the beginning, without jumps.
                    start, may_seek, jump = keys[0], False, True
                    break
                first = False
                if frame.pts < start:
                    continue  # leads into the key frame and leans on what lies before it
                _sound(frame)
                while wanted and frame.pts >= wanted[0]:
                    yield frame if frame.pts == wanted[0] or held is None else held
                    wanted.pop(0)
                if not wanted:
                    return
                held = frame
                key = keys[max(0, bisect.bisect_right(keys, wanted[0]) - 1)]
                if may_seek and key > frame.pts and _between(stamps, frame.pts, key) > SEEK_GAIN:
                    start, jump = key, True
                    break
            if jump:
                break
        if jump:
            sought = True
            continue
        for stamp in wanted:
            missing = 0 if held is None else _between(stamps, held.pts, stamp)
            if held is None or missing > MISSING_TAIL:
                raise _ends_early(bisect.bisect_right(stamps, held.pts) if held else 0, stamps.index(stamp))
            yield held
        return


def _between(stamps: tuple[int, ...], earlier: int, later: int) -> int:
    return bisect.bisect_left(stamps, later) - bisect.bisect_left(stamps, earlier)


# -- decord -------------------------------------------------------------------------------------------------------


def suits_decord(kind: FileKind, table: FrameTable) -> bool:
    """Whether decord is tried at all."""
    return (
        table.pts is not None
        and not table.rotation
        and table.width % 2 == table.height % 2 == 0
        and table.codec in DECORD_CODECS
        and table.pixels in DECORD_PIXELS
        and kind.demuxer in ("mov", "matroska")
    )


def read_with_decord(
    path: Path, table: FrameTable, indices: Sequence[int], complained: Callable[[], bool]
) -> Iterator[Picture]:
    """The frames of `indices`, decoded by decord.

    Args:
        complained: whether decord's FFmpeg has written an error since it was last asked. decord itself goes on
            silently after damage, with what the decoder made up.

    Raises:
        DecordUnfit: decord is not installed, failed, complained, or counts or times frames differently.
    """
    try:
        import decord
    except (ImportError, OSError) as error:
        raise DecordUnfit(str(error)) from None
    decord.logging.set_level(decord.logging.ERROR)
    complained()
    try:
        reader = decord.VideoReader(str(path), num_threads=0)
        count = len(reader)
        if count != len(table.times):
            raise DecordUnfit(f"decord counts {count} frames, the container {len(table.times)}")
        own = np.asarray(reader.get_frame_timestamp(range(count)), dtype=np.float64)[:, 0]
        gap = _typical_gap(table.times) if count > 1 else 1.0
        # decord keeps times as 32-bit floats: a millisecond is lost within two hours.
        if float(np.abs(own - own[0] - table.times).max()) > max(0.25 * gap, 0.001):
            raise DecordUnfit("decord times the frames differently")
        for index in indices:
            reader.seek_accurate(index)
            picture = reader.next().asnumpy()
            if picture.shape != (table.height, table.width, 3):
                raise DecordUnfit(f"decord gives frames of shape {picture.shape}")
            if complained():
                raise DecordUnfit("decord met damage")
            yield picture
    except DecordUnfit:
        raise
    except Exception as error:  # decord has an error class of its own for every kind of trouble
        raise DecordUnfit(reason(error)) from None
