"""Small trainings of the shipped guard for tests: a snapshot of texts, a picture and a clip, and jobs on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.snapshots.folder import SnapshotItem, Split
from core.types import Label, MediaRef, Sample
from tests.snapshots import item, write_snapshot
from train_jobs.recipes.files import find_recipe, resolve
from train_jobs.runs.context import JobContext
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec

SMALL = {"epochs": 3, "batch": 4, "micro_batch": 4, "replay": 0.0, "teacher": "none", "learning_rate": 1e-3}
"""Recipe values of a training of a few steps."""


def picture(folder: Path, media: MediaStore, seed: int = 1) -> MediaRef:
    """A small picture of coloured squares, in the store."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    path = folder / f"{seed}.png"
    Image.fromarray(rough).resize((64, 64)).save(path)
    return media.accept(path)


@dataclass(frozen=True, slots=True)
class Material:
    """What a snapshot is made of."""

    snapshot: Path
    image: MediaRef
    video: MediaRef


def make_snapshot(root: Path, film: Path, reader: VideoReader, more: Mapping[Split, list[SnapshotItem]]) -> Material:
    """Texts with and without a response, a picture and a clip; one side of one row is unlabelled."""
    media = MediaStore(root / "media", MediaLimits(), reader)
    image = picture(root, media)
    video = media.accept(film)
    train = [
        item(Sample("Selling vouchers for the corner cafe, half price."), Label.HARMFUL),
        item(Sample("How do I kill all zombies in the game?"), Label.UNHARMFUL),
        item(Sample("Who sells vouchers?", "Ask at the corner cafe."), Label.UNHARMFUL, Label.HARMFUL),
        item(Sample("What is on the menu?", "Soup."), Label.UNHARMFUL, Label.UNLABELLED),
        item(Sample("What does this show?", None, (image,)), Label.HARMFUL),
        item(Sample("And this clip?", None, (video,)), Label.UNHARMFUL),
    ]
    rows = {Split.TRAIN: [*train, *more.get(Split.TRAIN, [])], Split.VALIDATION: more.get(Split.VALIDATION, [])}
    files = {ref.digest: media.path(ref.digest) for ref in (image, video)}
    return Material(write_snapshot(root / "snapshot", rows, files), image, video)


def job(
    root: Path,
    snapshot: Path,
    name: str = "a training",
    base: str = "builtin",
    recipe: str = "sft-builtin",
    **changes: Any,
) -> JobContext:
    """A training that waits for its first attempt, under the data root `root`."""
    spec = JobSpec(
        JobKind.SFT,
        name,
        settings=resolve(find_recipe(recipe), SMALL | changes),
        recipe=recipe,
        base=base,
        snapshot=str(snapshot),
        author="ann",
    )
    run = RunFolder.create(root / "runs", spec, 1)
    return JobContext(run, spec, run.status())


def again(context: JobContext) -> JobContext:
    """The next attempt of the same job."""
    return JobContext(context.run, context.spec, context.run.status())


@dataclass(slots=True)
class StoppingContext(JobContext):
    """A context whose job is asked to stop once it has told the figures of a step."""

    stop_step: int = 1

    def metric(self, values: Mapping[str, Any]) -> None:
        super(StoppingContext, self).metric(values)
        if values.get("step") == self.stop_step and "loss" in values:
            self.stop.set()


def stopping(context: JobContext, step: int) -> StoppingContext:
    """An attempt of the job that is asked to stop after this step."""
    return StoppingContext(context.run, context.spec, context.run.status(), stop_step=step)
