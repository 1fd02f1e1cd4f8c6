"""What the cells of one seed share: labelled samples that the guard gets wrong, frozen as the product freezes them
(some for the cold start, others for what comes after it), and held-out rows.

The cold start and reinforcement have no sample in common: what a guard has learnt by heart is no longer hard. All are
requests without a response, so that there is one side, whose labels can be balanced: a few samples of one label teach
so small a guard to say it always. They come from the training texts that the built-in guard was not trained on (its
validation rows). Evaluation files are never touched.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from annotation_store.incoming.previewing import preview
from annotation_store.incoming.running import run_import
from annotation_store.reading.selecting import Selection
from annotation_store.snapshots.freezing import freeze
from core.judging.guard import Guard
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.types import HarmProbability, Label, Sample
from tests.review import open_store
from train_jobs.builtin.corpus import TextRow, bucket, load_rows, split

LONGEST_CHARS = 500
"""Longer texts make the cells slower and show nothing else."""
AUDIT_SHARE = 0.2
"""Of the labelled samples: drawn from all, whether the guard is right about them or not."""
STATED = (Label.HARMFUL, Label.UNHARMFUL)


@dataclass(frozen=True, slots=True)
class Material:
    """Of one seed."""

    cold: Path
    """Snapshot of the cold start."""
    snapshot: Path
    """Of all training after it."""
    held_out: Path
    """A file in the schema of the benchmarks."""


def make_material(folder: Path, guard: Guard, data: Path, *, hard: int, held_out: int, seed: int) -> Material:
    """Choose, import and freeze.

    Args:
        guard: chooses what is hard: samples that its first look calls wrong.
        data: the folder of training files.
        hard: samples of each snapshot; the store gives some three quarters of them to the training split.
        held_out: rows to be judged before and after, drawn from all that no sample shares a request with.
    """
    _, unseen = split(load_rows(data))
    short = [row for row in unseen if row.response is None and len(row.request) <= LONGEST_CHARS]
    rng = random.Random(f"ablations {seed}")
    halves: tuple[list[TextRow], list[TextRow]] = ([], [])
    for row in short:
        halves[bucket(row.request, 2, f"ablations {seed}")].append(row)
    pool, general = halves
    looks = first_looks(guard, pool)
    hardest = choose(pool, looks, hard, rng)
    taken = {row.id for row in hardest}
    left = [at for at, row in enumerate(pool) if row.id not in taken]
    first = choose([pool[at] for at in left], [looks[at] for at in left], hard, rng)
    version = guard.protocol.version
    return Material(
        cold=frozen(folder / "cold", first, version),
        snapshot=frozen(folder / "hard", hardest, version),
        held_out=write_rows(folder / "held_out.jsonl", rng.sample(general, min(held_out, len(general)))),
    )


def first_looks(guard: Guard, rows: Sequence[TextRow]) -> list[HarmProbability]:
    """Of each row."""
    verdicts = guard.moderate_many([Sample(row.request, row.response) for row in rows], deliberate=False)
    return [verdict.first_look for verdict in verdicts]


def choose(rows: Sequence[TextRow], looks: Sequence[HarmProbability], count: int, rng: random.Random) -> list[TextRow]:
    """Mostly rows that the first look calls wrong, as many harmful as unharmful ones where there are enough; the rest
    by chance from all others."""
    wrong: dict[Label, list[TextRow]] = {label: [] for label in STATED}
    for row, look in zip(rows, looks, strict=True):
        sides = [(row.request_label, look.request), (row.response_label, look.response)]
        missed = [
            label for label, p in sides if label in STATED and p is not None and (p >= 0.5) != (label is STATED[0])
        ]
        if missed:
            wrong[missed[-1]].append(row)
    wanted = round(count * (1 - AUDIT_SHARE))
    for some in wrong.values():
        rng.shuffle(some)
    few, many = sorted(wrong.values(), key=len)
    taken = few[: wanted // 2]
    taken += many[: wanted - len(taken)]
    ids = {row.id for row in taken}
    others = [row for row in rows if row.id not in ids]
    return taken + rng.sample(others, min(count - len(taken), len(others)))


def write_rows(path: Path, rows: Sequence[TextRow]) -> Path:
    """A file in the schema of the benchmarks."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            labels = {"request_label": row.request_label, "response_label": row.response_label}
            said = {name: label.value if label in STATED else None for name, label in labels.items()}
            file.write(json.dumps({"id": row.id, "request": row.request, "response": row.response, **said}) + "\n")
    return path


def frozen(folder: Path, rows: Sequence[TextRow], protocol: str) -> Path:
    """The rows imported into a store of their own, and all that is labelled frozen as a snapshot. Its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    file = write_rows(folder / "reviewed.jsonl", rows)
    with ExitStack() as opened:
        store = opened.enter_context(open_store(folder / "guardroom.db"))
        media = opened.enter_context(closing(MediaStore(folder / "media", MediaLimits(), VideoReader(MediaLimits()))))
        run_import(store, media, file, preview(file).proposed, source="reviewed", imported_by="ablations")
        made = freeze(
            store,
            media,
            folder / "snapshots",
            Selection(),
            name=folder.name,
            created_by="ablations",
            protocol_version=protocol,
        )
    return made.folder
