"""Rollouts as people look at them: groups with their figures, filtered, and one sample followed through a training.

A rollout may hold thousands of completions, and a training thousands of rollouts. What was read last is kept, by the
files' times and sizes; a sample is looked for as bytes, so that only its own lines are parsed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from core.errors import JobError
from train_jobs.grpo.hard_rows import HARD
from train_jobs.grpo.rollouts import RolloutLine, read_rollout, rollout_files
from train_jobs.rules.augment import HardRow
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.forgotten import forgotten

Stamp = tuple[tuple[str, int, int], ...]
"""Path, time of change and size of each of some files."""

LONGEST_EXCERPT = 600
"""Characters of a request or response that are kept for showing it."""


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """One prompt of a rollout in figures."""

    step: int
    group: int
    sample_id: str
    made_of: tuple[str, ...]
    count: int
    """Completions."""
    right: int
    """Those of which every labelled side is right."""
    unreadable: int
    truncated: int
    reward: float
    """The mean."""
    accuracy: float
    """The mean, an unreadable completion counting as wrong."""
    tokens: float
    """The mean."""

    @property
    def is_all_wrong(self) -> bool:
        """No completion is right."""
        return not self.right

    @property
    def is_all_right(self) -> bool:
        """Every completion is right."""
        return self.right == self.count


@dataclass(frozen=True, slots=True)
class Group:
    """The completions of one prompt, in the order in which they were generated."""

    figures: GroupFigures
    lines: tuple[RolloutLine, ...]


class Shown(StrEnum):
    """Which completions of a rollout are shown."""

    ALL = "all"
    WRONG = "wrong"
    """At least one labelled side is wrong, or nothing could be read."""
    UNREADABLE = "unreadable"
    ALL_WRONG = "all-wrong"
    """Those of groups without a right completion: they teach nothing but length."""
    ALL_RIGHT = "all-right"
    """Those of groups without a wrong one: they teach nothing."""


def groups_of(lines: Sequence[RolloutLine]) -> list[Group]:
    """The completions by prompt, in the order in which the prompts first come."""
    found: dict[tuple[int, str], list[RolloutLine]] = {}
    for line in lines:
        found.setdefault((line.group, line.sample_id), []).append(line)
    return [Group(_figures(some), tuple(some)) for some in found.values()]


def _figures(lines: Sequence[RolloutLine]) -> GroupFigures:
    first, count = lines[0], len(lines)
    return GroupFigures(
        step=first.step,
        group=first.group,
        sample_id=first.sample_id,
        made_of=first.made_of,
        count=count,
        right=sum(is_right(line) for line in lines),
        unreadable=sum(line.said is None for line in lines),
        truncated=sum(line.truncated for line in lines),
        reward=math.fsum(line.reward for line in lines) / count,
        accuracy=math.fsum(line.accuracy for line in lines) / count,
        tokens=sum(line.tokens for line in lines) / count,
    )


def is_right(line: RolloutLine) -> bool:
    """Every labelled side is right."""
    return line.accuracy == 1.0


def chosen(groups: Sequence[Group], shown: Shown) -> list[Group]:
    """The groups that have something to show, each with the completions that pass; its figures stay those of all."""
    match shown:
        case Shown.ALL:
            return list(groups)
        case Shown.ALL_WRONG:
            return [group for group in groups if group.figures.is_all_wrong]
        case Shown.ALL_RIGHT:
            return [group for group in groups if group.figures.is_all_right]
    some = [
        Group(group.figures, tuple(line for line in group.lines if _passes(line, shown)))
        for group in groups
        if (group.figures.unreadable if shown is Shown.UNREADABLE else not group.figures.is_all_right)
    ]
    return [group for group in some if group.lines]


def _passes(line: RolloutLine, shown: Shown) -> bool:
    return line.said is None if shown is Shown.UNREADABLE else not is_right(line)


def counts(groups: Sequence[Group]) -> dict[Shown, int]:
    """How many there are of each: completions, and groups where groups are meant."""
    figures = [group.figures for group in groups]
    completions = sum(each.count for each in figures)
    return {
        Shown.ALL: completions,
        Shown.WRONG: completions - sum(each.right for each in figures),
        Shown.UNREADABLE: sum(each.unreadable for each in figures),
        Shown.ALL_WRONG: sum(each.is_all_wrong for each in figures),
        Shown.ALL_RIGHT: sum(each.is_all_right for each in figures),
    }


# -- read from the run folder -----------------------------------------------------------------------------------------


def stamp(paths: Sequence[Path]) -> Stamp:
    """What the files are now; those that are gone are left out."""
    found = []
    for path in paths:
        try:
            about = path.stat()
        except OSError:
            continue
        found.append((str(path), about.st_mtime_ns, about.st_size))
    return tuple(found)


def rollout_groups(run: RunFolder, step: int) -> tuple[Group, ...]:
    """The groups of one rollout. The last few that were read are kept.

    Raises:
        JobError: there is no such rollout, or it is damaged.
    """
    files = stamp([path for found, path in rollout_files(run) if found == step])
    return _read_groups(run, step, files, forgotten(run))


@lru_cache(maxsize=6)
def _read_groups(run: RunFolder, step: int, files: Stamp, gone: frozenset[str]) -> tuple[Group, ...]:
    return tuple(groups_of(read_rollout(run, step)))


def follow_sample(run: RunFolder, sample_id: str) -> list[GroupFigures]:
    """Every group of a sample through the training, in the order of steps; also those of joined rows that hold it.

    Raises:
        JobError: a rollout is damaged.
    """
    gone = forgotten(run)
    found = [each for file in stamp([path for _, path in rollout_files(run)]) for each in _groups_with(file, sample_id)]
    return sorted(
        (each for each in found if gone.isdisjoint((each.sample_id, *each.made_of))),
        key=lambda each: (each.step, each.group),
    )


@lru_cache(maxsize=8192)
def _groups_with(file: tuple[str, int, int], sample_id: str) -> tuple[GroupFigures, ...]:
    """A sample's groups in one file; a group's completions stand in one."""
    wanted = sample_id.encode()
    try:
        data = Path(file[0]).read_bytes()
        if wanted not in data:
            return ()
        lines = [RolloutLine.from_json(json.loads(line)) for line in data.split(b"\n") if wanted in line]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise JobError(f"The rollouts in {file[0]} cannot be read ({error}).") from None
    mine = [line for line in lines if sample_id in (line.sample_id, *line.made_of)]
    return tuple(group.figures for group in groups_of(mine))


@dataclass(frozen=True, slots=True)
class Prompt:
    """A row that is trained on, as far as a page shows it."""

    request: str
    """Its beginning."""
    response: str | None
    media: tuple[str, ...]
    """What each of its media is: never the medium itself."""


def prompts_of(run: RunFolder) -> Mapping[str, Prompt]:
    """The rows of a run by sample id; empty while they are not frozen. Deleted samples are not among them.

    Raises:
        JobError: they are damaged.
    """
    files = stamp([run.path / "rollouts" / HARD])
    return _read_prompts(files[0], forgotten(run)) if files else {}


@lru_cache(maxsize=2)
def _read_prompts(file: tuple[str, int, int], gone: frozenset[str]) -> Mapping[str, Prompt]:
    try:
        lines = Path(file[0]).read_text(encoding="utf-8").split("\n")
        rows = [HardRow.from_json(line) for line in lines if line]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise JobError(f"The rows in {file[0]} cannot be read ({error}).") from None
    return {row.sample.id: _prompt(row) for row in rows if gone.isdisjoint((row.sample.id, *row.made_of))}


def _prompt(row: HardRow) -> Prompt:
    sample = row.sample
    media = tuple(f"{ref.modality.value}, {ref.width} × {ref.height}" for ref in sample.media)
    response = None if sample.response is None else sample.response[:LONGEST_EXCERPT]
    return Prompt(sample.request[:LONGEST_EXCERPT], response, media)
