"""What a training will need, for the form: facts of the base, the snapshot and earlier runs, given to the estimate.

Nothing is loaded: parameters come from the headers of the weights, tokens from the base's tokenizer over a part of the
training split.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import snapshot
from core.checkpoint import local_folder, open_checkpoint
from core.errors import CheckpointError, GuardroomError, JobError
from core.sampling import sample_count
from core.snapshot import Split
from core.types import MediaRef, Modality, Preprocessing
from train_jobs import estimate as estimating
from train_jobs.estimate import DataFacts, Estimate
from train_jobs.recipes import SftSettings, check_settings
from train_jobs.specs import JobSpec, JobState

if TYPE_CHECKING:
    from app.services import Services

LOOKED_AT = 400
"""Training samples whose tokens are counted."""
ANSWER_TOKENS = 24
"""The result block with its tags."""
WRITTEN_TOKENS = 90
"""Reasoning that a teacher will write, about."""
PIXELS_A_TOKEN = 32 * 32
"""Of the Qwen3-VL family; 28 x 28 of Qwen2.5-VL is near enough."""


def weigh(services: Services, spec: JobSpec) -> Estimate:
    """Memory, steps and time of a training.

    Raises:
        CheckpointError: the base is not on this machine yet, or does not say how large it is.
        SnapshotError: the snapshot was changed.
    """
    settings = check_settings(spec.settings)
    base = local_folder(spec.base)
    if base is None:
        raise CheckpointError(
            f"{spec.base} is not on this machine yet, so what it needs is known once the run has fetched it."
        )
    assert spec.snapshot is not None
    folder = Path(spec.snapshot)
    data = _data_facts(folder, snapshot.read_manifest(folder).digest, base, services.settings.protocol, settings)
    return estimating.estimate(
        estimating.read_facts(base),
        data,
        settings,
        device=spec.queue.partition(":")[0],
        free=estimating.free_memory(spec.queue),
        tokens_per_s=estimating.measured_speed(_reports(services, spec)),
    )


def _reports(services: Services, spec: JobSpec) -> Iterator[Mapping[str, Any]]:
    """Reports of finished trainings of the same base on the same device, the newest first."""
    for run in services.launcher().runs():
        with contextlib.suppress(JobError):
            told = run.spec()
            same = (told.kind, told.base, told.queue, told.settings.get("tuning")) == (
                spec.kind, spec.base, spec.queue, spec.settings.get("tuning"),
            )  # fmt: skip
            if same and run.status().state is JobState.SUCCEEDED and (report := run.report()) is not None:
                yield report


@lru_cache(maxsize=32)
def _data_facts(folder: Path, digest: str, base: Path, protocol: str | None, settings: SftSettings) -> DataFacts:
    from tokenizers import Tokenizer

    opened = open_checkpoint(base, str(base), protocol)
    items = list(snapshot.Snapshot(folder, snapshot.read_manifest(folder)).rows(Split.TRAIN))
    looked_at = items if len(items) <= LOOKED_AT else random.Random(0).sample(items, LOOKED_AT)
    try:
        tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    except Exception as error:  # the library raises the bare class
        raise CheckpointError(f"{base / 'tokenizer.json'} cannot be read ({error}).") from None

    def tokens(*texts: str) -> int:
        return sum(len(each.ids) for each in tokenizer.encode_batch(list(texts), add_special_tokens=False))

    given = settings.preprocessing
    pixels = opened.info.preprocessing if given is None else given.preprocessing("training")
    around = tokens(opened.protocol.system, opened.protocol.request_header, opened.protocol.response_header)
    rows: list[int] = []
    for item in looked_at:
        asked = around + tokens(item.sample.request, item.sample.response or "") + ANSWER_TOKENS
        asked += sum(media_tokens(ref, pixels) for ref in item.sample.media)
        written = tokens(*item.assessment.reasoning) if item.assessment.reasoning else WRITTEN_TOKENS
        rows += [asked, asked + written]
    fitting = [each for each in rows if each <= settings.longest_sequence] or [settings.longest_sequence]
    return DataFacts(len(items), round(sum(fitting) / len(fitting)), max(fitting))


def media_tokens(ref: MediaRef, pixels: Preprocessing) -> int:
    """About how many tokens a medium takes; two frames of a video share theirs."""
    size = ref.width * ref.height
    if ref.modality is Modality.IMAGE:
        return min(max(size, pixels.image_min_pixels), pixels.image_max_pixels) // PIXELS_A_TOKEN
    frames = sample_count(max(1, ref.frame_count or 1), ref.duration_s or 0.0, pixels.fps, pixels.max_frames)
    return (frames + 1) // 2 * (min(max(size, pixels.frame_min_pixels), pixels.frame_max_pixels) // PIXELS_A_TOKEN)


def known(services: Services, spec: JobSpec) -> tuple[Estimate | None, str]:
    """The estimate, or why there is none."""
    try:
        return weigh(services, spec), ""
    except GuardroomError as error:
        return None, str(error)
