"""What an import is told and tells: frozen values without sqlalchemy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from annotation_store.values.reasons import Reason
from annotation_store.values.review import LabelDraft
from core.errors import InputError
from core.types import Sample


class Form(StrEnum):
    """The kinds of files that can be imported."""

    JSONL = "jsonl"
    """One object a line."""
    JSON = "json"
    """A list of objects, as ShareGPT data sets are published."""
    CSV = "csv"
    PARQUET = "parquet"
    FOLDER = "folder"
    """A folder of pictures and videos, each of them a sample."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of the file becomes what; none: the file has no such column, or it is not to be used.

    A file with `messages` is in the ShareGPT form: request, response, labels and reasoning are read out of its turns.
    """

    request: str | None = None
    response: str | None = None
    media: str | None = None
    """A path relative to the file's folder, or a list of them."""
    request_label: str | None = None
    response_label: str | None = None
    categories: str | None = None
    reasoning: str | None = None
    confidence: str | None = None
    note: str | None = None
    external_id: str | None = None
    detail: str | None = None
    """What an export of Guardroom says beyond these: the reasoning's origin and the evidence."""
    messages: str | None = None
    images: str | None = None
    videos: str | None = None

    def named(self) -> dict[str, str]:
        """Field to column, without those that are none."""
        return {name: column for name, column in asdict(self).items() if column is not None}

    @staticmethod
    def from_named(named: Mapping[str, str]) -> Columns:
        """The other way round, for what a page hands in.

        Raises:
            InputError: there is no such field.
        """
        known = [field.name for field in fields(Columns)]
        if unknown := [name for name in named if name not in known]:
            raise InputError(f"{unknown[0][:40]!r} is nothing that a column can become; {', '.join(known)} are.")
        return Columns(**{name: column for name, column in named.items() if column})


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """What is taken in at most; everything beyond is refused with a sentence."""

    max_file_bytes: int = 16 * 1024**3
    max_rows: int = 5_000_000
    max_row_bytes: int = 16 * 1024**2
    """Of one line of JSON or one row of CSV."""
    max_text_chars: int = 1_000_000
    """Of a request or a response."""
    max_media: int = 32
    """Media of one sample."""
    max_steps: int = 200
    """Steps of a reasoning."""
    max_refusals: int = 100_000
    """So many refused rows end the import: the file is not what it was taken for."""


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A row that was read and found good. Its media are in the media store already."""

    row: int
    """Counted from 1 in the file."""
    sample: Sample
    label: LabelDraft | None = None
    """A label by the import's source."""
    reasons: tuple[Reason, ...] = ()
    """Why it is to be reviewed; empty: it is only stored."""
    external_id: str | None = None
    """What the file calls it."""
    extra: str | None = None
    """JSON: what the file says beyond our columns."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is not taken in."""

    row: int
    """Counted from 1, in lines or rows of the file."""
    reason: str
    """One sentence, without the row's content."""


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """What an import has done."""

    batch_id: str
    rows: int = 0
    new_samples: int = 0
    new_labels: int = 0
    queued: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One of the first rows, as it would be taken in."""

    row: int
    request: str
    response: str | None
    media: tuple[str, ...]
    """Paths as they stand in the file."""
    request_label: str
    """harmful, unharmful or unlabelled."""
    response_label: str
    """harmful, unharmful, unlabelled or absent."""
    steps: int
    """Steps of reasoning."""
    refused: str | None
    """Why it would not be taken in."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What an import would do, from the first rows."""

    form: Form
    file_name: str
    byte_size: int
    columns: tuple[str, ...]
    """All columns of the first rows."""
    proposed: Columns
    """What they seem to be; the person can change it."""
    rows: tuple[PreviewRow, ...]
    source: str
    """A proposed name for the labels' source."""
    ours: bool
    """Whether Guardroom wrote the file."""


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import has come."""

    share: float
    """Of the file, in [0, 1]."""
    rows: int
    """Rows taken in."""
    new_samples: int
    new_labels: int
    queued: int
    refused: int
    rows_per_s: float


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import has done."""

    batch_id: str
    form: Form
    rows: int
    new_samples: int
    new_labels: int
    queued: int
    refused: int
    seconds: float
    stopped: bool
    """By a person, or by too many refused rows; what was taken in until then stays."""


Row = Mapping[str, Any]
"""A row as the file has it: column to value."""
