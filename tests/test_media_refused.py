"""What the media store refuses, in which words, and that a refused file has reached nothing."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import MediaDamaged, MediaError
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.types import Modality
from tests.media_files import PREPROCESSING, SPEC, X264, picture_file, stored
from tests.video_files import make_sound, make_video

# -- refused ----------------------------------------------------------------------------------------------------------

HOSTILE: dict[str, tuple[str, str]] = {
    "hls": ("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXTINF:1,\n{file}\n#EXT-X-ENDLIST\n", "playlist"),
    "concat": ("ffconcat version 1.0\nfile {file}\nfile {url}\n", "playlist"),
    "sdp": ("v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n", "SDP"),
    "svg": ('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="{url}"/></svg>', "SVG"),
    "dash": ('<?xml version="1.0"?><MPD><BaseURL>{url}</BaseURL></MPD>', "XML"),
    "html": ("<html><img src='{url}'></html>", "web page"),
    "zip": ("PK\x03\x04rest", "zip"),
    "pdf": ("%PDF-1.7", "PDF"),
    "tiff": ("II*\x00\x08\x00\x00\x00", "TIFF"),
    "heic": ("\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"),
    "text": ("hello", "a text"),
    "noise": ("\x00\x01\x02\x03" * 50, "unknown kind"),
    "empty": ("", "empty"),
}


@pytest.fixture
def listener() -> Iterator[tuple[int, list[object]]]:
    """A server on this machine that must never be spoken to: its port, and who came."""
    came: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        done = threading.Event()

        def listen() -> None:
            while not done.is_set():
                try:
                    connection, who = server.accept()
                except TimeoutError:
                    continue
                came.append(who)
                connection.close()

        thread = threading.Thread(target=listen)
        thread.start()
        yield server.getsockname()[1], came
        time.sleep(0.1)
        done.set()
        thread.join()


@pytest.fixture
def canary(film: Path, tmp_path: Path) -> Iterator[tuple[Path, Callable[[], bool]]]:
    """A good video beside the hostile one, and whether anybody has opened it (inotify; Linux only)."""
    path = tmp_path / "canary.mp4"
    path.write_bytes(film.read_bytes())
    if sys.platform != "linux":
        yield path, lambda: False
        return
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(handle, os.fsencode(path), 0x20) >= 0  # IN_OPEN

    def opened() -> bool:
        try:
            return bool(os.read(handle, 4096))
        except BlockingIOError:
            return False

    yield path, opened
    os.close(handle)


@pytest.mark.parametrize("name", HOSTILE)
def test_disguised_files_are_refused_by_their_bytes_and_reach_nothing(
    store: MediaStore,
    tmp_path: Path,
    name: str,
    listener: tuple[int, list[object]],
    canary: tuple[Path, Callable[[], bool]],
) -> None:
    text, said = HOSTILE[name]
    port, came = listener
    path = tmp_path / "film.mp4"
    filled = text.replace("{url}", f"http://127.0.0.1:{port}/a.ts").replace("{port}", str(port))
    path.write_bytes(filled.replace("{file}", str(canary[0])).encode("latin-1"))
    with pytest.raises(MediaError, match=said) as refused:
        store.accept(path)
    assert str(refused.value).startswith('"film.mp4" is ')
    assert "MP4, MOV, MKV, WebM and AVI" in str(refused.value)
    assert stored(store) == []
    assert not came
    assert not canary[1]()


def with_outside_data(film: bytes, where: str) -> bytes:
    """The film with its data reference box naming another file (`alis` and `url `), its index behind the data."""

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body) + 8) + kind + body

    def rebuilt(data: bytes) -> bytes:
        out, at = b"", 0
        while at + 8 <= len(data):
            size, kind = struct.unpack(">I4s", data[at : at + 8])
            body = data[at + 8 : at + size]
            if kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
                body = rebuilt(body)
            elif kind == b"dref":
                name = where.encode()
                volume = bytes([27]) + b"disk".ljust(27, b"\0")
                leaf = bytes([min(len(name), 63)]) + name[-63:].ljust(63, b"\0")
                alias = b"\0" * 6 + struct.pack(">HH", 0, 2) + volume + b"\0" * 12 + leaf + b"\0" * 16
                alias += struct.pack(">hh", 1, 1) + b"\0" * 16 + struct.pack(">HH", 2, len(name)) + name
                alias += b"\0" * (len(name) % 2) + struct.pack(">HH", 0xFFFF, 0)
                body = struct.pack(">II", 0, 1) + box(b"alis", struct.pack(">I", 0) + alias)
            out += box(kind, body)
            at += size
        return out

    return rebuilt(film)


def test_a_film_that_names_other_files_for_its_data_reads_none_of_them(
    store: MediaStore,
    film: Path,
    tmp_path: Path,
    listener: tuple[int, list[object]],
    canary: tuple[Path, Callable[[], bool]],
) -> None:
    port, came = listener
    for where in (str(canary[0]), "canary.mp4", f"http://127.0.0.1:{port}/film.mp4"):
        data = with_outside_data(film.read_bytes(), where)
        assert where.encode() in data
        path = tmp_path / "outside.mp4"
        path.write_bytes(data)
        try:
            ref = store.accept(path)
            store.decode(ref, PREPROCESSING, SPEC)
        except MediaDamaged:
            pass
        assert not came
        assert not canary[1]()


def test_a_bomb_is_refused_by_its_header(store: MediaStore, tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )
    (tmp_path / "vast.png").write_bytes(data)
    start = time.monotonic()
    with pytest.raises(MediaDamaged, match=r"20000 x 10000 = 200\.0 million pixels; at most 64 million"):
        store.accept(tmp_path / "vast.png")
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_half_a_picture_is_refused(store: MediaStore, tmp_path: Path, form: str) -> None:
    data = picture_file(tmp_path / "whole", form).read_bytes()
    (tmp_path / "half").write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaDamaged, match=r'^"half" is a damaged or incomplete'):
        store.accept(tmp_path / "half")
    assert stored(store) == []


def test_half_an_animation_is_refused(store: MediaStore, tmp_path: Path) -> None:
    shades = [Image.effect_noise((60, 40), 90) for _ in range(6)]
    shades[0].save(tmp_path / "whole.gif", save_all=True, append_images=shades[1:], duration=100)
    data = (tmp_path / "whole.gif").read_bytes()
    (tmp_path / "half.gif").write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(MediaDamaged, match="damaged or incomplete GIF"):
        store.accept(tmp_path / "half.gif")


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mpeg4")]
)
@pytest.mark.parametrize("share", [0.2, 0.6, 0.97])
def test_a_video_that_was_cut_short_is_refused(
    store: MediaStore, tmp_path: Path, name: str, codec: str, share: float
) -> None:
    data = make_video(tmp_path / name, codec=codec).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(MediaDamaged, match=r"cut short|incomplete"):
        store.accept(tmp_path / name)


def test_a_fast_start_film_that_was_cut_short_is_refused(store: MediaStore, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", options=X264, container_options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(MediaDamaged, match=r"cut short: the MP4 container states [\d,]+ bytes and the file has [\d,]+"):
        store.accept(path)


def test_what_is_no_file_is_refused_in_words(store: MediaStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in [
        (tmp_path, "is a folder"),
        (tmp_path / "gone.png", "is not there"),
        (tmp_path / "pipe", "ordinary"),
    ]:
        with pytest.raises(MediaError, match=said):
            store.accept(path)


def test_a_film_without_pictures_is_refused(store: MediaStore, tmp_path: Path) -> None:
    with pytest.raises(MediaDamaged, match="has no video in it"):
        store.accept(make_sound(tmp_path / "song.mp4"))


def test_a_film_in_an_unknown_coding_is_refused(store: MediaStore, film: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.mp4").write_bytes(film.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(MediaDamaged, match="coding that cannot be decoded"):
        store.accept(tmp_path / "odd.mp4")


def test_a_film_of_one_frame_is_accepted(store: MediaStore, tmp_path: Path) -> None:
    ref = store.accept(make_video(tmp_path / "one.mp4", frames=1, options=X264))
    assert (ref.frame_count, ref.modality) == (1, Modality.VIDEO)
    decoded = store.decode(ref, PREPROCESSING, SPEC)
    assert (len(decoded.frames), decoded.timestamps) == (1, (0.0,))


def test_two_hours_are_sampled_to_the_end_and_three_are_refused(store: MediaStore, tmp_path: Path) -> None:
    path = make_video(tmp_path / "long.mkv", codec="mpeg4", rate=1, frames=7200, size=(96, 64), distinct=16)
    ref = store.accept(path)
    assert ref.duration_s == pytest.approx(7200, abs=1)
    decoded = store.decode(ref, PREPROCESSING, SPEC, max_windows=32)
    assert decoded.timestamps
    assert len(decoded.frames) == len(decoded.timestamps) == 32 * PREPROCESSING.max_frames
    assert decoded.timestamps[-1] == pytest.approx(7199, abs=1)
    assert np.diff(decoded.timestamps).max() < 30
    longer = make_video(tmp_path / "longer.mkv", codec="mpeg4", times_ms=[0, 1000, 3 * 3600 * 1000])
    with pytest.raises(MediaDamaged, match=r"lasts 10,8\d\d s; videos of at most 7,200 s"):
        store.accept(longer)


def test_too_large_a_file_is_refused_while_it_is_copied(tmp_path: Path, reader: VideoReader) -> None:
    store = MediaStore(tmp_path / "media", MediaLimits(max_bytes=2 * 1024**2), reader)
    (tmp_path / "fat.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(3 * 1024**2))
    with pytest.raises(MediaDamaged, match=r'^"fat\.png" has 3\.0 MiB; files of at most 2\.0 MiB'):
        store.accept(tmp_path / "fat.png")
    assert stored(store) == []


def test_mutated_files_are_read_or_refused_and_the_reader_lives_on(
    store: MediaStore, film: Path, tmp_path: Path, reader: VideoReader
) -> None:
    rng = np.random.default_rng(11)
    gif = tmp_path / "moving.gif"
    Image.effect_noise((30, 20), 50).save(
        gif, save_all=True, append_images=[Image.effect_noise((30, 20), 50) for _ in range(3)]
    )
    sources = [
        film,
        make_video(tmp_path / "s.mkv", frames=20),
        make_video(tmp_path / "s.avi", codec="mpeg4", frames=20),
        gif,
    ]
    sources += [picture_file(tmp_path / f"s.{form}", form) for form in ("PNG", "JPEG", "WEBP", "BMP")]
    outcomes: Counter[str] = Counter()
    sentences: set[str] = set()
    for number in range(64):
        data = bytearray(sources[number % len(sources)].read_bytes())
        for _ in range(int(rng.integers(1, 30))):
            data[int(rng.integers(8 if number % 3 else 0, len(data)))] = int(rng.integers(0, 256))
        (tmp_path / "mutant").write_bytes(data)
        try:
            store.decode(store.accept(tmp_path / "mutant"), PREPROCESSING, SPEC)
            outcomes["read"] += 1
        except MediaError as error:
            outcomes[type(error).__name__] += 1
            sentences.add(str(error))
    assert [each for each in sentences if not each.endswith(".") or "\n" in each] == []
    assert outcomes["read"] > 0
    assert outcomes["MediaDamaged"] > 0
    assert reader.probe(film).frame_count == 60
