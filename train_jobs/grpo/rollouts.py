"""Rollouts in the run folder: every completion of a training by reinforcement, with its reward by term.

rollouts/step-000012.jsonl      one completion a line (`RolloutLine`), those of one group beside each other; the number
                                is that of updates done when they were generated, so work done again replaces them
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from core.errors import JobError
from core.files import replace_file
from core.json_lines import json_line
from train_jobs.grpo.hard_rows import HARD, MEDIA, MINED
from train_jobs.rules.augment import HardRow
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.forgotten import forgotten

OPEN = "open-*.pt"
"""What is left of a rollout inside which a checkpoint was saved; see `train_jobs.grpo.open_rollout`."""
_STEP = re.compile(r"step-(\d{6,})(?:-p(\d+))?\.jsonl")


@dataclass(frozen=True, slots=True)
class RolloutLine:
    """One completion."""

    step: int
    """Updates that were done when it was generated."""
    group: int
    """Which prompt of the rollout, from 0."""
    sample_id: str
    made_of: tuple[str, ...]
    """The samples that a joined one was made of."""
    gold: tuple[str, str]
    """Request and response label."""
    said: tuple[str, str] | None
    """What parsed; none when nothing could be read."""
    error: str | None
    """Why it could not be read."""
    text: str
    tokens: int
    """With the end-of-turn token."""
    truncated: bool
    """It was cut off at the limit."""
    reward: float
    terms: Mapping[str, float]
    """The parts of the reward."""
    accuracy: float
    advantage: float

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RolloutLine:
        """A line of the file."""
        said = value["said"]
        changed = {
            "made_of": tuple(value["made_of"]),
            "gold": tuple(value["gold"]),
            "said": None if said is None else tuple(said),
        }
        return cls(**{**value, **changed})


_FIELDS = tuple(field.name for field in fields(RolloutLine))


def write_rollout(run: RunFolder, step: int, lines: Sequence[RolloutLine], process: int = 0) -> None:
    """Write the completions that were generated after so many updates; whole or not at all.

    Raises:
        OSError: the disk refused.
    """
    name = f"step-{step:06d}.jsonl" if process == 0 else f"step-{step:06d}-p{process}.jsonl"
    replace_file(run.rollouts / name, b"".join(json_line(asdict(line)) for line in lines), durable=False)


def rollout_steps(run: RunFolder) -> list[int]:
    """The numbers of updates after which completions were generated, in order."""
    return sorted({step for step, _ in rollout_files(run)})


def read_rollout(run: RunFolder, step: int) -> list[RolloutLine]:
    """The completions that were generated after so many updates; without those of samples that were deleted since.

    Raises:
        JobError: there are none, or they are damaged.
    """
    paths = [path for found, path in rollout_files(run) if found == step]
    if not paths:
        raise JobError(f"The run {run.id} has no rollout at step {step}.")
    try:
        lines = [
            RolloutLine.from_json(json.loads(line)) for path in paths for line in path.read_bytes().splitlines() if line
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise JobError(f"The rollout at step {step} of {run.id} cannot be read ({error}).") from None
    return without_forgotten(run, lines)


def without_forgotten(run: RunFolder, lines: Sequence[RolloutLine]) -> list[RolloutLine]:
    """The completions whose samples were not deleted: a run at work still writes theirs."""
    gone = forgotten(run)
    return [line for line in lines if gone.isdisjoint((line.sample_id, *line.made_of))]


def export_rollouts(run: RunFolder, target: Path) -> int:
    """All completions in one file, JSON lines or, where the name ends so, Parquet. Returns how many.

    Raises:
        JobError: a rollout is damaged.
        OSError: the file cannot be written.
    """
    write = _write_parquet if target.suffix == ".parquet" else _write_lines
    count = 0

    def told() -> Iterator[list[RolloutLine]]:
        nonlocal count
        for step in rollout_steps(run):
            lines = read_rollout(run, step)
            count += len(lines)
            yield lines

    write(target, told())
    return count


def _write_lines(target: Path, rollouts: Iterator[Sequence[RolloutLine]]) -> None:
    with target.open("wb") as file:
        for lines in rollouts:
            file.writelines(json_line(_values(line)) for line in lines)


def _write_parquet(target: Path, rollouts: Iterator[Sequence[RolloutLine]]) -> None:
    """Rollout by rollout, so that no more than one is in memory. The terms, whose names differ, are JSON."""
    pa: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    texts = pa.list_(pa.string())
    schema = pa.schema(
        {
            "step": pa.int64(), "group": pa.int64(), "sample_id": pa.string(), "made_of": texts, "gold": texts,
            "said": texts, "error": pa.string(), "text": pa.string(), "tokens": pa.int64(), "truncated": pa.bool_(),
            "reward": pa.float64(), "terms": pa.string(), "accuracy": pa.float64(), "advantage": pa.float64(),
        }
    )  # fmt: skip
    with parquet.ParquetWriter(target, schema) as writer:
        for lines in rollouts:
            rows = [_values(line) | {"terms": json.dumps(dict(line.terms)), "text": _utf8(line.text)} for line in lines]
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _values(line: RolloutLine) -> dict[str, Any]:
    """As `asdict`, which copies every value and takes most of the time of a long export."""
    return {name: getattr(line, name) for name in _FIELDS}


def _utf8(text: str) -> str:
    """Halves of surrogate pairs, which Parquet cannot hold, as a mark that something stood there."""
    return text.encode("utf-8", "replace").decode("utf-8")


def rollout_files(run: RunFolder) -> Iterator[tuple[int, Path]]:
    """The files of completions, each with the number of updates that were done before it, in order.

    Of several processes each has a file of its own; their groups follow each other.
    """
    folder = run.path / "rollouts"
    found = [
        (int(match.group(1)), int(match.group(2) or 0), path)
        for path in (folder.glob("step-*.jsonl") if folder.is_dir() else ())
        if (match := _STEP.fullmatch(path.name))
    ]
    for step, _, path in sorted(found):
        yield step, path


def forget(run: RunFolder, sample_ids: Collection[str]) -> bool:
    """Take deleted samples out of the rollouts, joined rows included. Pictures that no other row needs go with them;
    what is left of a rollout goes as a whole.

    Only for the holder of the run's lock.

    Returns:
        Whether one of them was there.

    Raises:
        OSError: a file cannot be written.
    """
    folder, gone = run.path / "rollouts", set(sample_ids)

    def is_of(line: str) -> bool:
        told = json.loads(line)
        return not gone.isdisjoint((told["sample_id"], *told.get("made_of", ())))

    def holds(line: str) -> bool:
        row = HardRow.from_json(line)
        return not gone.isdisjoint((row.sample.id, *row.made_of))

    changed = [_without(path, is_of) for path in (folder / MINED, *(path for _, path in rollout_files(run)))]
    if _without(folder / HARD, holds):
        changed.append(True)
        needed = {ref.digest for line in _lines(folder / HARD) for ref in HardRow.from_json(line).sample.media}
        for path in (folder / MEDIA).glob("??/*"):
            if path.name not in needed:
                path.unlink()
        for path in folder.glob(OPEN):
            path.unlink()
    return any(changed)


def _without(path: Path, unwanted: Callable[[str], bool]) -> bool:
    """Take lines out of a file. Whether there were any."""
    if not path.is_file():
        return False
    lines = _lines(path)
    kept = [line for line in lines if not unwanted(line)]
    if len(kept) == len(lines):
        return False
    replace_file(path, "".join(f"{line}\n" for line in kept).encode(), durable=True)
    return True


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line]
