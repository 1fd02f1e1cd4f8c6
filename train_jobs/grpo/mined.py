"""What the mining of a run has come to, in figures: while it goes on, and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from train_jobs.grpo.hard_rows import FACTS, MINED, Mined, read_hard, read_mined
from train_jobs.grpo.rollout_groups import Stamp, stamp
from train_jobs.recipes.grpo import MiningSettings, check_grpo
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.forgotten import forgotten


@dataclass(frozen=True, slots=True)
class Count:
    """Samples that were mined, and those of them that were kept."""

    mined: int
    kept: int


@dataclass(frozen=True, slots=True)
class MiningFigures:
    """What mining has come to so far."""

    rule: str
    """As the recipe names it; `all` keeps every sample without mining."""
    n: int
    """Generations of each sample."""
    drop_all_wrong: bool
    """Samples that are never right are let go."""
    all: Count
    by_modality: Mapping[str, Count]
    by_wrong: Mapping[int, Count]
    """By how many of the generations were wrong."""
    unreadable: Count
    """Those of which no generation could be read."""
    unjudged: tuple[tuple[str, int], ...]
    """Why samples could not be judged, the most frequent sentence first."""
    is_done: bool
    joined: int = 0
    """Rows that were made of two."""
    left_out: int = 0
    """Labelled samples that are longer than a prompt may be, or of a kind that the checkpoint does not read."""


def mining_figures(run: RunFolder) -> MiningFigures | None:
    """What the mining of a run has come to; none before it began.

    Raises:
        JobError: what was mined is damaged, or the run's recipe cannot be used.
    """
    folder = run.path / "rollouts"
    files = stamp([folder / MINED, folder / FACTS])
    return _read(run, files) if files else None


@lru_cache(maxsize=8)
def _read(run: RunFolder, files: Stamp) -> MiningFigures:
    settings = check_grpo(run.spec().settings).mining
    mined = read_mined(run)
    hard = read_hard(run)
    return figures_of(settings, mined, None if hard is None else hard.facts)


def figures_of(settings: MiningSettings, mined: Sequence[Mined], facts: Mapping[str, Any] | None) -> MiningFigures:
    """The figures of what was mined.

    Args:
        facts: of the frozen rows, once they are; without mining they are all there is.
    """
    modalities = {kind: _count(each for each in mined if each.modality == kind) for kind in _kinds(mined)}
    if facts is not None and not mined:
        modalities = {kind: Count(**said) for kind, said in facts["by_modality"].items()}
    wrongs = sorted({each.wrong for each in mined if each.wrong is not None})
    errors = Counter(each.error for each in mined if each.error is not None)
    return MiningFigures(
        rule=settings.rule,
        n=settings.n,
        drop_all_wrong=settings.drop_all_wrong,
        all=Count(sum(each.mined for each in modalities.values()), sum(each.kept for each in modalities.values())),
        by_modality=modalities,
        by_wrong={wrong: _count(each for each in mined if each.wrong == wrong) for wrong in wrongs},
        unreadable=_count(each for each in mined if each.answers and not any(each.answers)),
        unjudged=tuple(errors.most_common(3)),
        is_done=facts is not None,
        joined=facts["joined"] if facts else 0,
        left_out=facts["left_out_too_long"] if facts else 0,
    )


def _kinds(mined: Sequence[Mined]) -> list[str]:
    return sorted({each.modality for each in mined})


def _count(some: Any) -> Count:
    kept = [each.kept for each in some]
    return Count(len(kept), sum(kept))


def kept_samples(run: RunFolder) -> list[Mined]:
    """The samples that were kept because the policy got them wrong, those it got wrong most often first.

    Raises:
        JobError: what was mined is damaged.
    """
    gone = forgotten(run)
    kept = [each for each in read_mined(run) if each.kept and each.wrong and each.sample_id not in gone]
    return sorted(kept, key=lambda each: -(each.wrong or 0))
