"""What a training will need, for the form: facts of the base, the snapshot and earlier runs, given to the estimate.

Nothing is loaded: parameters come from the headers of the weights, tokens from the base's tokenizer over a part of the
training split.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.checkpoints.folder import local_folder, open_checkpoint
from core.errors import CheckpointError, GuardroomError, JobError
from core.media.sampling import sample_count
from core.mining.rules import is_labelled
from core.snapshots import folder as snapshot
from core.snapshots.folder import Split
from core.types import MediaRef, Modality, Preprocessing
from train_jobs.grpo.estimate import estimate_grpo
from train_jobs.recipes.grpo import check_grpo
from train_jobs.recipes.sft import check_settings
from train_jobs.recipes.values import Pictures
from train_jobs.runs.specs import JobKind, JobSpec, JobState
from train_jobs.training import estimate as estimating
from train_jobs.training.estimate import DataFacts, Estimate

if TYPE_CHECKING:
    from app.shared.services import Services

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
    base = local_folder(spec.base)
    if base is None:
        raise CheckpointError(
            f"{spec.base} is not on this machine yet, so what it needs is known once the run has fetched it."
        )
    assert spec.snapshot is not None
    folder, device = Path(spec.snapshot), spec.queue.partition(":")[0]
    model, free = estimating.read_facts(base), estimating.free_memory(spec.queue)
    digest, protocol = snapshot.read_manifest(folder).digest, services.settings.protocol
    reports = _reports(services, spec)
    if spec.kind is JobKind.GRPO:
        rl = check_grpo(spec.settings)
        lengths = _lengths(folder, digest, base, protocol, rl.preprocessing)
        prompts = [asked for asked, _ in lengths.rows]
        return estimate_grpo(
            model, _facts(lengths.labelled, prompts, rl.longest_prompt), rl, device=device, free=free,
            completions_per_s=estimating.measured_speed(reports, "completions_per_s"),
        )  # fmt: skip
    settings = check_settings(spec.settings)
    lengths = _lengths(folder, digest, base, protocol, settings.preprocessing)
    rows = [
        tokens for asked, written in lengths.rows for tokens in (asked + ANSWER_TOKENS, asked + ANSWER_TOKENS + written)
    ]
    return estimating.estimate(
        model, _facts(lengths.samples, rows, settings.longest_sequence), settings, device=device, free=free,
        tokens_per_s=estimating.measured_speed(reports),
    )  # fmt: skip


def _facts(samples: int, tokens: Sequence[int], longest: int) -> DataFacts:
    """Of the rows that are no longer than the longest that is trained on."""
    fitting = [each for each in tokens if each <= longest] or [longest]
    return DataFacts(samples, round(sum(fitting) / len(fitting)), max(fitting))


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


@dataclass(frozen=True, slots=True)
class _Lengths:
    """Of a training split."""

    samples: int
    labelled: int
    """Those with at least one side that is harmful or unharmful."""
    rows: tuple[tuple[int, int], ...]
    """Tokens of the prompt and of the reasoning, of a part of the samples."""


@lru_cache(maxsize=32)
def _lengths(folder: Path, digest: str, base: Path, protocol: str | None, given: Pictures | None) -> _Lengths:
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

    pixels = opened.info.preprocessing if given is None else given.preprocessing("training")
    around = tokens(opened.protocol.system, opened.protocol.request_header, opened.protocol.response_header)
    rows = [
        (
            around
            + tokens(item.sample.request, item.sample.response or "")
            + sum(media_tokens(ref, pixels) for ref in item.sample.media),
            tokens(*item.assessment.reasoning) if item.assessment.reasoning else WRITTEN_TOKENS,
        )
        for item in looked_at
    ]
    labelled = sum(is_labelled((item.assessment.request, item.assessment.response)) for item in items)
    return _Lengths(len(items), labelled, tuple(rows))


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
