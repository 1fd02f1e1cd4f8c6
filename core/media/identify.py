"""What a file is, by its bytes alone: an allow-list of containers, and whether the container is all there.

Nothing else is ever handed to a decoder. A playlist, an archive or a document is refused here whatever its name says,
so no decoder gets to follow what is written inside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.errors import MediaDamaged, MediaError

ACCEPTED = "accepted are PNG, JPEG, WebP, GIF and BMP pictures and MP4, MOV, MKV, WebM and AVI videos"
"""The end of every sentence that refuses a file for what it is."""

HEAD_BYTES = 4096
"""How much of a file's beginning `identify` wants to see."""

_MOST_BOXES = 1_000_000


@dataclass(frozen=True, slots=True)
class FileKind:
    """One accepted kind of file."""

    name: str
    media_type: str
    demuxer: str | None = None
    """FFmpeg's name of the only demuxer that may read it; none for pictures."""
    picture: str | None = None
    """Pillow's name of the only format that may read it; none for videos."""


PNG = FileKind("PNG", "image/png", picture="PNG")
JPEG = FileKind("JPEG", "image/jpeg", picture="JPEG")
WEBP = FileKind("WebP", "image/webp", picture="WEBP")
GIF = FileKind("GIF", "image/gif", picture="GIF")
BMP = FileKind("BMP", "image/bmp", picture="BMP")
MP4 = FileKind("MP4", "video/mp4", demuxer="mov")
MOV = FileKind("MOV", "video/quicktime", demuxer="mov")
MKV = FileKind("MKV", "video/x-matroska", demuxer="matroska")
WEBM = FileKind("WebM", "video/webm", demuxer="matroska")
AVI = FileKind("AVI", "video/x-msvideo", demuxer="avi")

_REFUSED_BRANDS = frozenset(
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"crx ", b"jp2 "}
)
"""Brands of the MP4 family that are still pictures."""

_REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"#EXTM3U", "a playlist"),
    (b"ffconcat", "a playlist"),
    (b"[playlist]", "a playlist"),
    (b"v=0", "a stream description (SDP)"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"II+\x00", "a TIFF picture"),
    (b"MM\x00+", "a TIFF picture"),
    (b"8BPS", "a Photoshop picture"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"OggS", "an Ogg file"),
    (b"FLV\x01", "a Flash video"),
    (b"\x30\x26\xb2\x75", "a Windows Media file"),
    (b"ID3", "a sound file"),
    (b"fLaC", "a sound file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"#!", "a script"),
)


def identify(head: bytes) -> FileKind:
    """The kind of a file, from its first `HEAD_BYTES` bytes.

    Raises:
        MediaError: it is empty or none of the accepted kinds; the message is the end of a sentence about the file.
    """
    if not head:
        raise MediaError(f"is empty; {ACCEPTED}.")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head.startswith((b"GIF87a", b"GIF89a")):
        return GIF
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WEBP
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return AVI
    if head.startswith(b"BM") and head[14:18] in _BMP_HEADERS:
        return BMP
    if head[4:8] == b"ftyp":
        return _mp4_family(head)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return _ebml_family(head)
    raise MediaError(f"is {_described(head)}, not an accepted picture or video; {ACCEPTED}.")


_BMP_HEADERS = frozenset(size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124))


def _mp4_family(head: bytes) -> FileKind:
    size = int.from_bytes(head[:4], "big")
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)) - 3, 4))}
    if head[8:12] in _REFUSED_BRANDS:
        raise MediaError(f"is a HEIC or AVIF picture; save it as PNG or JPEG: {ACCEPTED}.")
    return MOV if b"qt  " in brands else MP4


def _ebml_family(head: bytes) -> FileKind:
    if b"\x42\x82\x84webm" in head[:256]:
        return WEBM
    if b"\x42\x82\x88matroska" in head[:256]:
        return MKV
    raise MediaError(f"is an EBML file of neither the Matroska nor the WebM type; {ACCEPTED}.")


def _described(head: bytes) -> str:
    for prefix, what in _REFUSED:
        if head.startswith(prefix):
            return what
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    if start.startswith(b"#extm3u"):
        return "a playlist"
    if b"<svg" in start:
        return "an SVG drawing"
    if start.startswith(b"<"):
        return "a web page or XML document"
    if b"\x00" not in head:
        try:
            head[:-4].decode("utf-8") if len(head) > 4 else head.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            return "a text"
    return "a file of an unknown kind"


def check_complete(path: Path, kind: FileKind) -> None:
    """Walk the container's outermost structure and refuse a file that ends before it says it does.

    Pictures are proved whole by decoding them, so only the containers of videos are walked.

    Raises:
        MediaDamaged: the file was cut short; the message is the end of a sentence about the file.
    """
    if kind.demuxer is None:
        return
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if kind.demuxer == "mov":
            _check_mp4(file, size)
        elif kind.demuxer == "matroska":
            _check_ebml(file, size)
        else:
            _check_riff(file, size)


def _cut_short(kind: str, states: int, size: int) -> MediaDamaged:
    return MediaDamaged(f"was cut short: the {kind} container states {states:,} bytes and the file has {size:,}.")


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Type and end of each outermost box."""
    at = 0
    for _ in range(_MOST_BOXES):
        file.seek(at)
        header = file.read(16)
        if len(header) < 8:
            return
        length = int.from_bytes(header[:4], "big")
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            length = size - at
        if length < 8:
            return
        at += length
        yield header[4:8], at


def _check_mp4(file: BinaryIO, size: int) -> None:
    found: set[bytes] = set()
    for box, end in _boxes(file, size):
        # Players ignore rubbish behind a whole film, and so does this walk: only boxes that matter may not be cut.
        if end > size and box in (b"mdat", b"moov", b"moof"):
            raise _cut_short("MP4", end, size)
        found.add(box)
    if b"moov" not in found:
        raise MediaDamaged("has no index (moov box), as when a recording or a download is cut short.")


def _vint(file: BinaryIO, *, keep_marker: bool) -> int | None:
    """An EBML number; none at the end of the file, and for "unknown" (all ones)."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    if len(rest) < length - 1:
        return None
    value = int.from_bytes(first + rest, "big")
    if keep_marker:
        return value
    value &= (1 << (7 * length)) - 1
    return None if value == (1 << (7 * length)) - 1 else value


def _check_ebml(file: BinaryIO, size: int) -> None:
    for _ in range(64):
        element = _vint(file, keep_marker=True)
        length = _vint(file, keep_marker=False)
        if element is None or length is None:
            return  # a live recording does not know its length
        if file.tell() + length > size:
            raise _cut_short("Matroska", file.tell() + length, size)
        file.seek(length, os.SEEK_CUR)


def _check_riff(file: BinaryIO, size: int) -> None:
    at = 0
    for _ in range(_MOST_BOXES):
        file.seek(at)
        header = file.read(8)
        if len(header) < 8 or header[:4] != b"RIFF":
            return
        length = int.from_bytes(header[4:8], "little")
        if length in (0, 0xFFFFFFFF):
            return  # never written back: a recording that was not closed; its frames may still be whole
        if at + 8 + length > size:
            raise _cut_short("AVI", at + 8 + length, size)
        at += 8 + length + length % 2
