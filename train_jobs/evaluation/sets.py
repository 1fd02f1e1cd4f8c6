"""What is scored: splits of snapshots, and files of labelled rows. All become rows with their true labels.

A file has one JSON object a line: `id`, `request`, and, where the set has them, `response`, `media` (a path relative to
the file's folder), `request_label` and `response_label` (harmful or unharmful; null is never scored), `category`
(several with `|` between), `benchmark` (the set's name, by which published figures are found). Other keys are let be.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from core.errors import InputError, MediaError
from core.evaluation.rows import HELD_OUT, VALIDATION, EvaluationRow
from core.media.store import MediaStore
from core.snapshots import folder as snapshot
from core.snapshots.folder import Split
from core.types import Label, Sample

SPLITS = {HELD_OUT: Split.TEST, VALIDATION: Split.VALIDATION}
_LONGEST_LINE = 16 * 1024**2
_LABELS = {"harmful": Label.HARMFUL, "unharmful": Label.UNHARMFUL}


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """A split or a file, ready to be scored."""

    name: str
    """`held-out`, `validation`, or the file's name without its ending."""
    origin: str
    """The snapshot's digest, or the file's name."""
    benchmark: str
    """What the file calls itself; empty for a split."""
    rows: tuple[EvaluationRow, ...]
    """Those with a label."""
    unlabelled: int
    """Rows left out because nobody has labelled them."""
    left_out: int = 0
    """Labelled rows left out because only a part was asked for."""


def snapshot_set(folder: Path, name: str, media: MediaStore) -> EvaluationSet:
    """A split of a snapshot. Its media are linked into the media store, so that they can be read there.

    Raises:
        SnapshotError: the snapshot was changed or is incomplete.
        MediaError: one of its media files is missing or was changed.
    """
    opened = snapshot.read(folder)
    items = list(opened.rows(SPLITS[name]))
    rows = []
    for item in items:
        for ref in item.sample.media:
            _link(opened.media_path(ref), media.root / ref.digest[:2] / ref.digest)
        said = item.assessment
        rows.append(EvaluationRow(name, item.sample.id, item.sample, said.request, said.response, said.categories))
    labelled = tuple(row for row in rows if row.is_scored)
    return EvaluationSet(name, opened.manifest.digest, "", labelled, len(rows) - len(labelled))


def _link(source: Path, target: Path) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        part = target.with_name(f".{target.name}.part")
        shutil.copyfile(source, part)
        os.replace(part, target)


def find_files(paths: Sequence[str]) -> list[Path]:
    """The files that are named, and those that end in `.jsonl` directly in a folder that is named, each once.

    Raises:
        InputError: there is no such file or folder, a folder holds none, or two have the same name.
    """
    found: dict[str, Path] = {}
    for named in paths:
        path = Path(named).expanduser()
        if path.is_dir():
            files = sorted(path.glob("*.jsonl"))
            if not files:
                raise InputError(f"The folder {path} holds no evaluation file; files that end in .jsonl are expected.")
        elif path.is_file():
            files = [path]
        else:
            raise InputError(f"There is no evaluation file or folder {path}.")
        for file in files:
            if file.stem in (HELD_OUT, VALIDATION):
                raise InputError(f"{file} has the name of a split; give the file another one.")
            if found.setdefault(file.stem, file).resolve() != file.resolve():
                raise InputError(f"Two evaluation files are called {file.stem}; give one of them another name.")
    return list(found.values())


def file_set(path: Path, media: MediaStore) -> EvaluationSet:
    """The labelled rows of a file. Its media are checked and copied into the media store.

    Raises:
        InputError: a line is not of the schema, two rows have the same id, or a media file cannot be used; the
            message names the line.
    """
    rows: dict[str, EvaluationRow] = {}
    benchmark, unlabelled = "", 0
    for number, values in _lines(path):
        where = f"{path.name}, line {number}"
        row, medium = _row(path, where, values)
        if row.id in rows:
            raise InputError(f"{where}: another row has the id {row.id[:80]!r} already.")
        if not row.is_scored:
            unlabelled += 1
            continue
        if medium is not None:
            try:
                row = replace(row, sample=replace(row.sample, media=(media.accept(medium, medium.name),)))
            except MediaError as error:
                raise InputError(f"{where}: {error}") from None
        rows[row.id] = row
        benchmark = benchmark or str(values.get("benchmark") or "")
    return EvaluationSet(path.stem, path.name, benchmark, tuple(rows.values()), unlabelled)


@dataclass(frozen=True, slots=True)
class FileCounts:
    """What a file holds, without its media opened."""

    name: str
    benchmark: str
    rows: int
    labelled: int
    """Rows with a label on at least one side."""
    media: int
    """Rows with a medium."""


def count_file(path: Path) -> FileCounts:
    """Check the rows of a file and count them. Media are only looked for.

    Raises:
        InputError: a line is not of the schema, or its medium is not there; the message names the line.
    """
    rows = labelled = media = 0
    benchmark = ""
    for number, values in _lines(path):
        where = f"{path.name}, line {number}"
        row, medium = _row(path, where, values)
        if medium is not None and not medium.is_file():
            raise InputError(f"{where}: there is no media file {values['media']!r} beside the file.")
        rows += 1
        labelled += row.is_scored
        media += medium is not None
        benchmark = benchmark or str(values.get("benchmark") or "")
    return FileCounts(path.stem, benchmark, rows, labelled, media)


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE + 1), b""), 1):
            if not line.strip():
                continue
            try:
                values = json.loads(line) if len(line) <= _LONGEST_LINE else None
            except (ValueError, RecursionError):
                values = None
            if not isinstance(values, dict):
                raise InputError(f"{path.name}, line {number}: no JSON object of at most 16 MiB.")
            yield number, values


def _row(path: Path, where: str, values: Mapping[str, Any]) -> tuple[EvaluationRow, Path | None]:
    def text(name: str, *, needed: bool = False) -> str | None:
        value = values.get(name)
        if isinstance(value, str) or (value is None and not needed):
            return value
        raise InputError(f"{where}: {name} is {str(value)[:40]!r}; a text is expected.")

    def label(name: str, missing: Label) -> Label:
        value = values.get(name)
        if value is None:
            return missing
        if not isinstance(value, str) or value not in _LABELS:
            raise InputError(f"{where}: {name} is {str(value)[:40]!r}; harmful, unharmful or null is expected.")
        if missing is Label.ABSENT:
            raise InputError(f"{where}: {name} is given, but there is no response.")
        return _LABELS[value]

    identity = values.get("id")
    if isinstance(identity, bool) or not isinstance(identity, str | int) or not str(identity):
        raise InputError(f"{where}: id is {str(identity)[:40]!r}; a text or a whole number is expected.")
    request, response, named = text("request", needed=True) or "", text("response"), text("media")
    medium = None if named is None else _beside(path, where, named)
    if not request.strip() and medium is None:
        raise InputError(f"{where}: there is neither a request nor a medium.")
    row = EvaluationRow(
        set=path.stem,
        id=str(identity),
        sample=Sample(request, response),
        request=label("request_label", Label.UNLABELLED),
        response=label("response_label", Label.ABSENT if response is None else Label.UNLABELLED),
        categories=tuple(part for part in (text("category") or "").split("|") if part),
    )
    return row, medium


def _beside(path: Path, where: str, named: str) -> Path:
    """A media file in the folder of the evaluation file, or below it."""
    parts = PurePosixPath(named).parts
    if not parts or named.startswith("/") or "\\" in named or ".." in parts or "\0" in named:
        raise InputError(f"{where}: media is {named[:80]!r}; a path below the file's own folder is expected.")
    found = path.parent.joinpath(*parts)
    if not found.resolve().is_relative_to(path.parent.resolve()):
        raise InputError(f"{where}: media is {named[:80]!r}, which leads out of the file's own folder.")
    return found


def part_of(whole: EvaluationSet, limit: int | None, seed: int) -> EvaluationSet:
    """At most so many rows, drawn by the seed and left in their order: the same rows for every checkpoint."""
    if limit is None or len(whole.rows) <= limit:
        return whole
    kept = sorted(random.Random(f"{seed} {whole.name}").sample(range(len(whole.rows)), limit))
    rows = tuple(whole.rows[at] for at in kept)
    return replace(whole, rows=rows, left_out=len(whole.rows) - limit)
