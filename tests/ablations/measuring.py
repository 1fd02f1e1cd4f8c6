"""A checkpoint as the table sees it: sampled answers about the training split, deliberated answers about what is held
out, and how far its weights are from another's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.engines.base import Decoding, Prompt
from core.evaluation.rows import EvaluationRow, ScoredRow
from core.judging.deciding import read
from core.judging.guard import Guard
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.mining.rules import Answer
from core.serving.loading import load_guard
from core.settings import Settings
from core.snapshots.folder import Split
from core.types import Sample
from tests.ablations.table import Answers, Policy
from train_jobs.evaluation.sets import file_set, snapshot_set
from train_jobs.rules.rewards import accuracy
from train_jobs.training.dataset import open_snapshot, read_examples

SEED = 20_000
"""Of the answers that are measured: no training draws with it."""


def load(source: str, folder: Path) -> tuple[Guard, MediaStore]:
    """A checkpoint on the CPU, and an empty media store."""
    media = MediaStore(folder / "media", MediaLimits(), VideoReader(MediaLimits()))
    settings = Settings(data=folder).model_copy(update={"device": "cpu"})
    return load_guard(source, settings, media, lambda share, words: None), media


def measure(source: str, snapshot: Path, held_out: Path, folder: Path, answers: int) -> Policy:
    """Ask a checkpoint about the training split and what is held out: the snapshot's test split and the file.

    Args:
        source: the checkpoint.
        folder: for what the measuring needs to keep.
        answers: sampled answers for each training sample, at temperature 1 as in training.
    """
    guard, media = load(source, folder)
    try:
        rows = [
            (each.sample, (each.assessment.request, each.assessment.response))
            for each in read_examples(open_snapshot(str(snapshot)), Split.TRAIN)
        ]
        sets = (snapshot_set(snapshot, "held-out", media), file_set(held_out, media))
        return Policy(
            sampled(guard, rows, answers),
            judged(guard, [row for each in sets for row in each.rows]),
        )
    finally:
        guard.engine.close()
        media.close()


def sampled(guard: Guard, rows: Sequence[tuple[Sample, Answer]], count: int) -> dict[str, Answers]:
    """So many answers about each sample, scored like the rewards' accuracy term."""
    info = guard.engine.info
    decoding = Decoding(info.max_new_tokens, temperature=1.0, top_p=1.0, seed=SEED, look=False)
    prompts = [Prompt(sample) for sample, _ in rows for _ in range(count)]
    completions = [completion for _, completion in guard.engine.complete_many(prompts, decoding)]
    found: dict[str, Answers] = {}
    for at, (sample, gold) in enumerate(rows):
        some = completions[at * count : (at + 1) * count]
        said = [read(guard.protocol, each, has_response=sample.response is not None)[0] for each in some]
        right = sum(accuracy(None if each is None else (each.request, each.response), gold) for each in said)
        found[sample.id] = Answers(
            count, round(2 * right), sum(each is None for each in said), sum(each.token_count for each in some)
        )
    return found


def judged(guard: Guard, rows: Sequence[EvaluationRow]) -> dict[str, tuple[int, int, int, int]]:
    """What the deliberated answer about each row counts, both sides together."""
    ordered = sorted(rows, key=lambda row: len(row.sample.request) + len(row.sample.response or ""))
    verdicts = guard.moderate_many([row.sample for row in ordered])
    found = {}
    for row, verdict in zip(ordered, verdicts, strict=True):
        counts = ScoredRow(row, verdict).both
        found[f"{row.set} {row.id}"] = (counts.hits, counts.false_alarms, counts.misses, counts.passes)
    return found


def moved(one: Path, other: Path) -> float:
    """The Euclidean norm of the difference of all weights of two checkpoint folders."""
    first, second = _weights(one), _weights(other)
    if first.keys() != second.keys():
        raise ValueError(f"{one} and {other} do not hold the same weights")
    return math.sqrt(sum(float((first[name].double() - second[name].double()).square().sum()) for name in first))


def _weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}
