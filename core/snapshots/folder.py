"""Snapshots on disk: the folder in which the annotation store and the training jobs meet. No database is needed here.

    manifest.json                  written last: a folder without it is no snapshot
    train.jsonl  validation.jsonl  test.jsonl      one sample a line, sorted by sample id
    media/ab/abcdef…               the media files, named by the sha256 of their bytes

Rows hold raw samples and assessments, never rendered prompts, so training and serving go through the same protocol
code. The digest is taken over the content (protocol version, and the sha256 of every file), not over names and times:
the same selection of the same labels has the same digest. The manifest's seal covers all the rest of the manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from core.errors import MediaDamaged, MediaError, SnapshotError
from core.json_lines import json_line
from core.types import Assessment, Label, MediaRef, Modality, Sample

FORM = "snapshot-v1"
MANIFEST = "manifest.json"
_LONGEST_MANIFEST = 512 * 1024**2


class Split(StrEnum):
    """What a sample may be used for. It belongs to a group of near-duplicates and never changes."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    WITHHELD = "withheld"
    """For nothing: it is near to samples of different splits."""


USED = (Split.TRAIN, Split.VALIDATION, Split.TEST)
"""The splits that a snapshot has a file for."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the assessment of a row comes from, and what the reviewer said beside it."""

    label_id: str
    reviewer: str | None = None
    source: str | None = None
    """The data set of an imported label."""
    created_at: str = ""
    confidence: float | None = None
    note: str = ""
    target: str | None = None
    """The training target where it was written out word for word."""
    target_protocol: str | None = None
    """The protocol version that `target` is written in."""
    original_reasoning: tuple[str, ...] | None = None
    """The model's own steps, where the reviewer corrected them."""
    first_wrong_step: int | None = None
    """In `original_reasoning`, from 1."""
    evidence: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class SnapshotItem:
    """One row of a snapshot."""

    sample: Sample
    assessment: Assessment
    origin: Origin


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of the content."""

    path: str
    """Relative to the folder, with slashes."""
    sha256: str
    byte_size: int


@dataclass(frozen=True, slots=True)
class Removal:
    """A sample that was deleted after the snapshot was frozen."""

    sample_id: str
    removed_at: str
    digest_before: str
    """The snapshot's digest until then."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot says of itself."""

    digest: str
    original_digest: str
    """The digest when it was frozen: it differs from `digest` once a sample was removed."""
    name: str
    created_by: str
    created_at: str
    protocol_version: str
    policy_version: str
    selection: Mapping[str, Any]
    counts: Mapping[str, int]
    """Rows by split."""
    left_out: Mapping[str, int]
    """Selected samples that are not in it, by reason."""
    files: tuple[FileEntry, ...]
    removed: tuple[Removal, ...] = ()
    form: str = field(default=FORM)


def content_digest(protocol_version: str, files: tuple[FileEntry, ...]) -> str:
    """The digest of a snapshot: `n1-` and 64 hexadecimal digits."""
    content = {
        "form": FORM,
        "protocol_version": protocol_version,
        "files": [[each.path, each.sha256, each.byte_size] for each in sorted(files, key=lambda each: each.path)],
    }
    return "n1-" + hashlib.sha256(_canonical(content)).hexdigest()


def _canonical(value: Any) -> bytes:
    return json_line(json.loads(json.dumps(value, sort_keys=True)))


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest as it is written. There is one way to write it, so a single changed byte can be noticed."""
    body = asdict(manifest)
    body["files"] = sorted(body["files"], key=lambda each: each["path"])
    sealed = body | {"seal": hashlib.sha256(_canonical(body)).hexdigest()}
    return json.dumps(sealed, sort_keys=True, indent=1).encode() + b"\n"


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read a manifest.

    Raises:
        SnapshotError: it is damaged, of an unknown form, or was changed by hand.
    """
    try:
        body = json.loads(data)
        body.pop("seal")
        if body["form"] != FORM:
            raise SnapshotError(f"{where} is written in the form {str(body['form'])[:40]!r}; {FORM} can be read.")
        manifest = Manifest(
            **body
            | {
                "files": tuple(FileEntry(**each) for each in body["files"]),
                "removed": tuple(Removal(**each) for each in body["removed"]),
            }
        )
        same = manifest_bytes(manifest) == data
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise SnapshotError(f"{where} is damaged and cannot be read as the manifest of a snapshot.") from None
    if not same:
        raise SnapshotError(f"{where} was changed after it was written: its seal does not fit its content.")
    for each in manifest.files:
        _inside(each.path, where)
    if manifest.digest != content_digest(manifest.protocol_version, manifest.files):
        raise SnapshotError(f"{where} states a digest that does not fit the files that it lists.")
    return manifest


def _inside(path: str, where: str) -> None:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or any(part in ("..", ".") for part in parts):
        raise SnapshotError(f"{where} names the file {path[:80]!r}, which does not lie in the snapshot's folder.")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a snapshot's folder.

    Raises:
        SnapshotError: there is none, or it was changed.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _LONGEST_MANIFEST:
            raise SnapshotError(f"{path} is too large to be the manifest of a snapshot.")
        return parse_manifest(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise SnapshotError(
            f"{folder} is no complete snapshot: it has no {MANIFEST}, which is written last; freeze it again."
        ) from None
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read ({error.strerror}).") from None


def item_to_json(item: SnapshotItem) -> dict[str, Any]:
    """A row as plain values, the keys always in this order."""
    said = item.assessment
    return {
        "id": item.sample.id,
        "request": item.sample.request,
        "response": item.sample.response,
        "media": [asdict(ref) for ref in item.sample.media],
        "assessment": {
            "request": said.request.value,
            "response": said.response.value,
            "categories": list(said.categories),
            "reasoning": list(said.reasoning),
        },
        "origin": asdict(item.origin),
    }


def item_from_json(row: Mapping[str, Any]) -> SnapshotItem:
    """The row that `item_to_json` was given.

    Raises:
        KeyError, TypeError, ValueError: it is no such row.
    """
    media = tuple(MediaRef(**each | {"modality": Modality(each["modality"])}) for each in row["media"])
    said, origin = row["assessment"], dict(row["origin"])
    original = origin["original_reasoning"]
    origin |= {
        "original_reasoning": None if original is None else tuple(original),
        "evidence": tuple(origin["evidence"]),
    }
    return SnapshotItem(
        Sample(row["request"], row["response"], media),
        Assessment(
            Label(said["request"]), Label(said["response"]), tuple(said["categories"]), tuple(said["reasoning"])
        ),
        Origin(**origin),
    )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that can be read."""

    folder: Path
    manifest: Manifest

    def rows(self, split: Split) -> Iterator[SnapshotItem]:
        """The rows of one split, one at a time, sorted by sample id.

        Raises:
            SnapshotError: the file is missing, or its bytes are not those that were frozen. The whole file has been
                read when that is noticed, so a job should take all rows before it acts on them, or `verify` first.
        """
        path = self.folder / rows_name(split)
        wanted = next((each.sha256 for each in self.manifest.files if each.path == rows_name(split)), None)
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    digest.update(line)
                    try:
                        item = item_from_json(json.loads(line))
                    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                        raise SnapshotError(f"{path}, line {number}, is damaged; freeze the snapshot again.") from None
                    yield item
        except OSError as error:
            raise SnapshotError(f"{path} cannot be read ({error.strerror}).") from None
        if digest.hexdigest() != wanted:
            raise SnapshotError(f"{path} is not what was frozen; freeze the snapshot again.")

    def media_path(self, ref: MediaRef) -> Path:
        """A media file of the snapshot, after its bytes were hashed again.

        Raises:
            MediaError: it is not there.
            MediaDamaged: its bytes have changed.
        """
        path = self.folder / media_name(ref.digest)
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            raise MediaError(f"The media file {ref.digest[:12]}… is not in the snapshot {self.folder.name}.") from None
        if found != ref.digest:
            raise MediaDamaged(f"The media file {ref.digest[:12]}… has changed in the snapshot {self.folder.name}.")
        return path


def read(folder: Path) -> Snapshot:
    """Open a snapshot. Only the manifest is read and checked; `verify` (core.snapshots.check) reads every byte.

    Raises:
        SnapshotError: the folder is no complete snapshot, or its manifest was changed.
    """
    return Snapshot(folder, read_manifest(folder))


def rows_name(split: Split) -> str:
    """The file of a split, relative to the folder."""
    return f"{split.value}.jsonl"


def media_name(digest: str) -> str:
    """The file of a medium, relative to the folder."""
    return f"media/{digest[:2]}/{digest}"
