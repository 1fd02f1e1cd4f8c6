"""Rollouts in the run folder: every completion of a training by reinforcement, with its reward by term.

rollouts/step-000012.jsonl      one completion a line (`RolloutLine`), those of one group beside each other; the number
                                is that of updates done when they were generated, so work done again replaces them
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import JobError
from core.json_lines import json_line
from train_jobs.augment import HardRow
from train_jobs.files import replace_file
from train_jobs.hard_rows import HARD, MEDIA, MINED
from train_jobs.runs import RunFolder, list_runs
from train_jobs.specs import JobKind

_STEP = re.compile(r"step-(\d{6,})(?:-p\d+)?\.jsonl")


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


def write_rollout(run: RunFolder, step: int, lines: Sequence[RolloutLine], process: int = 0) -> None:
    """Write the completions that were generated after so many updates; whole or not at all.

    Raises:
        OSError: the disk refused.
    """
    name = f"step-{step:06d}.jsonl" if process == 0 else f"step-{step:06d}-p{process}.jsonl"
    replace_file(run.rollouts / name, b"".join(json_line(asdict(line)) for line in lines), durable=False)


def rollout_steps(run: RunFolder) -> list[int]:
    """The numbers of updates after which completions were generated, in order."""
    return sorted({step for step, _ in _files(run)})


def read_rollout(run: RunFolder, step: int) -> list[RolloutLine]:
    """The completions that were generated after so many updates.

    Raises:
        JobError: there are none, or they are damaged.
    """
    paths = [path for found, path in _files(run) if found == step]
    if not paths:
        raise JobError(f"The run {run.id} has no rollout at step {step}.")
    try:
        return [
            RolloutLine.from_json(json.loads(line)) for path in paths for line in path.read_bytes().splitlines() if line
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise JobError(f"The rollout at step {step} of {run.id} cannot be read ({error}).") from None


def export_rollouts(run: RunFolder, target: Path) -> int:
    """All completions in one file, JSON lines or, where the name ends so, Parquet. Returns how many.

    Raises:
        JobError: a rollout is damaged.
        OSError: the file cannot be written.
    """
    lines = [asdict(line) for step in rollout_steps(run) for line in read_rollout(run, step)]
    if target.suffix == ".parquet":
        import pandas

        pandas.DataFrame([line | {"terms": json.dumps(line["terms"])} for line in lines]).to_parquet(target)
    else:
        target.write_bytes(b"".join(map(json_line, lines)))
    return len(lines)


def _files(run: RunFolder) -> Iterator[tuple[int, Path]]:
    folder = run.path / "rollouts"
    for path in sorted(folder.glob("step-*.jsonl")) if folder.is_dir() else ():
        if match := _STEP.fullmatch(path.name):
            yield int(match.group(1)), path


def forget_sample(root: Path, sample_id: str) -> int:
    """Take a deleted sample out of the rollouts of every run that is not running, joined rows included.

    Call it when a sample is deleted. Pictures that no other row needs go with it.

    Args:
        root: the folder of runs.

    Returns:
        In how many runs it was.

    Raises:
        OSError: a file cannot be written.
    """
    found = 0
    for run in list_runs(root):
        try:
            mine = run.spec().kind is JobKind.GRPO
        except JobError:
            continue
        lock = run.take_lock() if mine else None
        if lock is not None:
            with lock:
                found += _forget(run, sample_id)
    return found


def _forget(run: RunFolder, sample_id: str) -> bool:
    folder = run.path / "rollouts"

    def is_of(line: str) -> bool:
        told = json.loads(line)
        return sample_id in (told["sample_id"], *told.get("made_of", ()))

    def holds(line: str) -> bool:
        row = HardRow.from_json(line)
        return sample_id in (row.sample.id, *row.made_of)

    changed = [_without(path, is_of) for path in (folder / MINED, *(path for _, path in _files(run)))]
    if _without(folder / HARD, holds):
        changed.append(True)
        needed = {ref.digest for line in _lines(folder / HARD) for ref in HardRow.from_json(line).sample.media}
        for path in (folder / MEDIA).glob("??/*"):
            if path.name not in needed:
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
