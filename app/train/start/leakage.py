"""Whether rows of an evaluation file are in a snapshot's training split, word for word or nearly.

The rules are those by which the store keeps near-duplicates together: texts by MinHash after case, width and
punctuation are levelled; two samples with pictures by their pictures, because the same fixed request with another
picture is another sample. Videos are compared byte by byte.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import Cancelled, GuardroomError, InputError
from core.media import images
from core.media.identify import HEAD_BYTES, identify
from core.snapshots import folder as snapshot
from core.snapshots.folder import Split
from core.types import Sample

if TYPE_CHECKING:
    from annotation_store.duplicates.text import Signature

EXACT = 1.0
_LONGEST_LINE = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Piece:
    """One sample as it is compared."""

    id: str
    words: str
    """By which samples are compared: the request, or the response where the request has none."""
    media: frozenset[str] = frozenset()
    """sha256 of the media files."""
    pictures: tuple[int, ...] = ()
    """Perceptual hashes of the still pictures that show something."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A row of the evaluation that the training has seen."""

    row: str
    """The row's id in the evaluation file."""
    sample: str
    """The sample in the training split."""
    how: str
    """same text, similar text, same file or similar picture."""
    similarity: float
    """In [0, 1]; 1 for the same."""


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What a check has found."""

    file: str
    rows: int
    train: int
    leaks: tuple[Leak, ...]

    @property
    def exact(self) -> int:
        """How many of the rows are the same."""
        return sum(leak.similarity >= EXACT for leak in self.leaks)


Progress = Callable[[int, int], None]


def check(
    folder: Path, file: Path, max_pixels: int, progress: Progress = lambda done, total: None,
    stop: threading.Event | None = None,
) -> LeakReport:  # fmt: skip
    """Compare every row of an evaluation file with the training split of a snapshot.

    Args:
        folder: the snapshot's.
        file: one JSON object a line with `id`, `request`, and where there are any `response` and `media`.
        max_pixels: larger pictures are compared byte by byte alone.

    Raises:
        InputError: the file is missing or a line of it cannot be read.
        SnapshotError: the snapshot was changed.
        Cancelled: it was asked to stop.
    """
    rows = list(read_rows(file, max_pixels))
    opened = snapshot.read(folder)
    items = list(opened.rows(Split.TRAIN))
    total = len(items) + len(rows)
    train = []
    for at, item in enumerate(items):
        _go_on(stop)
        paths = [opened.media_path(ref) for ref in item.sample.media]
        train.append(_piece(item.sample.id, item.sample, paths, max_pixels))
        progress(at + 1, total)

    def told() -> Iterator[Piece]:
        for at, row in enumerate(rows):
            _go_on(stop)
            yield row
            progress(len(items) + at + 1, total)

    return LeakReport(file.name, len(rows), len(train), tuple(find_leaks(train, told())))


def find_leaks(train: Sequence[Piece], rows: Iterable[Piece]) -> list[Leak]:
    """For every row the training sample that it is most like, where it is the same or nearly so."""
    index = _Index()
    for piece in train:
        index.add(piece)
    return [leak for row in rows if (leak := index.nearest(row)) is not None]


def read_rows(file: Path, max_pixels: int) -> Iterator[Piece]:
    """The rows of an evaluation file.

    Raises:
        InputError: it is missing, or a line cannot be read; the message names it.
    """
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(_LONGEST_LINE + 1), b""), 1):
                if line.strip():
                    yield _row(file, number, line, max_pixels)
    except OSError as error:
        raise InputError(f"The evaluation file {file} cannot be read ({error.strerror}).") from None


def _row(file: Path, number: int, line: bytes, max_pixels: int) -> Piece:
    where = f"{file.name}, line {number}"
    try:
        values: Any = json.loads(line) if len(line) <= _LONGEST_LINE else None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InputError(f"{where}: no JSON object; an evaluation file holds one a line.")
    texts = [values.get(name) for name in ("request", "response", "media")]
    if not all(isinstance(each, str | None) for each in texts) or not any(texts):
        raise InputError(f"{where}: a request, a response or a media file is expected, each a text.")
    request, response, named = texts
    paths = []
    if named:
        path = (file.parent / named).resolve()
        if not path.is_relative_to(file.parent.resolve()) or not path.is_file():
            raise InputError(f"{where}: there is no media file {named[:80]!r} beside the evaluation file.")
        paths.append(path)
    identity = number if values.get("id") is None else values["id"]
    return _piece(str(identity), Sample(request or "", response), paths, max_pixels)


def _piece(identity: str, sample: Sample, paths: Sequence[Path], max_pixels: int) -> Piece:
    from annotation_store.duplicates.passing import words_of

    digests, pictures = set(), []
    for path in paths:
        with path.open("rb") as handle:
            digests.add(hashlib.file_digest(handle, "sha256").hexdigest())
        pictures += _hashes(path, max_pixels)
    return Piece(identity, words_of(sample), frozenset(digests), tuple(pictures))


def _hashes(path: Path, max_pixels: int) -> list[int]:
    from annotation_store.duplicates.pictures import picture_hash

    try:
        with path.open("rb") as handle:
            kind = identify(handle.read(HEAD_BYTES))
        if kind.picture is None:
            return []
        found = [picture_hash(frame) for frame in images.read_still(path, kind, max_pixels)]
    except GuardroomError:
        return []
    return [each for each in found if each is not None]


@dataclass(slots=True)
class _Index:
    """Pieces by their levelled words, by the bands of their signatures, and those with media."""

    pieces: list[Piece] = field(default_factory=list)
    signatures: list[Signature | None] = field(default_factory=list)
    same: dict[str, list[int]] = field(default_factory=dict)
    bands: dict[int, list[int]] = field(default_factory=dict)
    pictured: list[int] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        from annotation_store.duplicates import text

        at = len(self.pieces)
        signature = text.signature(piece.words)
        self.pieces.append(piece)
        self.signatures.append(signature)
        if signature is not None:
            self.same.setdefault(text.levelled(piece.words), []).append(at)
            for value in text.bands(signature):
                self.bands.setdefault(value, []).append(at)
        if piece.media:
            self.pictured.append(at)

    def nearest(self, row: Piece) -> Leak | None:
        if (found := self._by_media(row)) is not None:
            return found
        return self._by_words(row)

    def _by_media(self, row: Piece) -> Leak | None:
        from annotation_store.duplicates.pictures import alike, distance

        if not row.media:
            return None
        near: Leak | None = None
        for at in self.pictured:
            piece = self.pieces[at]
            if row.media & piece.media:
                return Leak(row.id, piece.id, "same file", EXACT)
            if near is None and row.pictures and piece.pictures and alike(row.pictures, piece.pictures):
                bits = min(distance(one, other) for one in row.pictures for other in piece.pictures)
                near = Leak(row.id, piece.id, "similar picture", 1 - max(bits, 1) / 64)
        return near

    def _by_words(self, row: Piece) -> Leak | None:
        from annotation_store.duplicates import text

        def comparable(at: int) -> bool:
            return not (row.pictures and self.pieces[at].pictures)

        signature = text.signature(row.words)
        if signature is None:
            return None
        for at in self.same.get(text.levelled(row.words), ()):
            if comparable(at):
                return Leak(row.id, self.pieces[at].id, "same text", EXACT)
        near = {at for value in text.bands(signature) for at in self.bands.get(value, ()) if comparable(at)}
        candidates = sorted(near)
        shares = text.similarity(signature, [s for at in candidates if (s := self.signatures[at]) is not None])
        if not len(shares) or shares.max() < text.NEAR:
            return None
        best = int(shares.argmax())
        return Leak(row.id, self.pieces[candidates[best]].id, "similar text", min(float(shares[best]), 0.99))


def _go_on(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise Cancelled("The check was stopped.")
