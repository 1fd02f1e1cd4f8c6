"""Which jobs used a sample, and which checkpoints came of them: from the snapshots that hold it to the registry.

Evaluations of files are no part of it: their rows are no samples of the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import GuardroomError, JobError
from train_jobs.runs.specs import JobKind, JobSpec

if TYPE_CHECKING:
    from annotation_store.values.review import SnapshotRef
    from app.shared.services import Services
    from core.checkpoints.registry import OriginCard

WORDS = {"sft": "training", "evaluate": "evaluation", "mine": "mining", "grpo": "reinforcement"}
TRAINS = ("train", "validation")
"""Splits that a training reads."""


@dataclass(frozen=True, slots=True)
class JobUse:
    """One job that read the sample."""

    run: str
    name: str
    kind: str
    """What it did, in a word."""
    split: str
    """Of the sample in the snapshot that the job was given."""
    state: str
    checkpoints: tuple[str, ...]
    """Ids of the registry that came of it."""


def jobs_of(services: Services, snapshots: Sequence[SnapshotRef]) -> list[JobUse]:
    """The jobs, the newest first; of one that was deleted its checkpoints still tell."""
    from app.shared.promotion import registry
    from train_jobs.runs.folder import list_runs

    if not snapshots:
        return []
    splits = {(services.snapshots / each.folder).resolve(): each.split for each in snapshots}
    digests = {each.digest: each.split for each in snapshots}
    cards: dict[str, list[OriginCard]] = {}
    for card in registry(services).cards():
        cards.setdefault(card.run or card.id, []).append(card)
    found = []
    for run in list_runs(services.runs):
        try:
            spec = run.spec()
            state = run.status().state.value
        except GuardroomError:
            continue
        split = splits.get(Path(spec.snapshot).resolve()) if spec.snapshot else None
        made = tuple(card.id for card in cards.pop(run.id, ()))
        if split in _reads(spec):
            found.append(JobUse(run.id, spec.name, WORDS[spec.kind.value], split, state, made))
    for made_by, left in cards.items():
        for card in left:
            if card.snapshot and digests.get(card.snapshot) in TRAINS:
                run_id = card.run or made_by
                found.append(JobUse(run_id, card.name, "job", digests[card.snapshot], "deleted since", (card.id,)))
    return found


def _reads(spec: JobSpec) -> tuple[str, ...]:
    """Splits that a job reads; one that never saw the sample did not use it."""
    if spec.kind is not JobKind.EVALUATE:
        return TRAINS
    from train_jobs.evaluation.job import EvaluateOptions
    from train_jobs.evaluation.sets import SPLITS

    try:
        return (SPLITS[EvaluateOptions.from_json(spec.options).split].value,)
    except JobError:
        return ()  # it ended before it read anything
