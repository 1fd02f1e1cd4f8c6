"""The checkpoint that a training starts from: loaded as for serving, with a decoder for the snapshot's media."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.checkpoints.folder import CheckpointFolder
from core.engines.base import Prompt
from core.errors import CheckpointError
from core.media.limits import MediaLimits
from core.media.store import decode_file
from core.media.video import VideoReader
from core.media.vision import DecodedMedia
from core.prompt.encode import PromptEncoder
from core.serving.loading import fetch_checkpoint
from core.settings import load_settings
from core.snapshots.folder import Snapshot
from core.types import HarmProbability, MediaRef, Preprocessing, Sample
from train_jobs.recipes.grpo import GrpoSettings
from train_jobs.recipes.sft import SftSettings
from train_jobs.training.collator import LineEncoder, LossWeights
from train_jobs.training.losses import Scored, give_states_at, score_lines
from train_jobs.training.rows import TrainRow

if TYPE_CHECKING:
    from core.engines.transformers_engine import TransformersEngine

LOOKS_AT_ONCE = 256


@dataclass(slots=True)
class Base:
    """A loaded checkpoint and the media that go with a snapshot."""

    folder: CheckpointFolder
    engine: TransformersEngine
    """Serving's engine on the weights that are trained: what it says while training goes on is what is served later."""
    prompts: PromptEncoder
    """Builds the training prompts: the engine's encoder, with the recipe's picture sizes."""
    reader: VideoReader
    snapshot: Snapshot | None = None

    def decode(self, ref: MediaRef) -> DecodedMedia:
        """Pixels for training.

        Raises:
            MediaError: the medium is not in the snapshot, was changed, or cannot be decoded.
        """
        return self._decoded(ref, self.prompts.preprocessing)

    def prompt(self, sample: Sample, steps: Sequence[str] = ()) -> Prompt:
        """The prompt that serving would build of a sample that fits as a whole.

        Raises:
            MediaError: as `decode`.
        """
        given = self.engine.encoder.preprocessing
        return Prompt(sample, tuple(self._decoded(ref, given) for ref in sample.media), tuple(steps))

    def first_looks(self, samples: Sequence[Sample]) -> list[HarmProbability]:
        """Uncalibrated first looks, as they are served."""
        looks: list[HarmProbability] = []
        for start in range(0, len(samples), LOOKS_AT_ONCE):
            looks += self.engine.first_look([self.prompt(each) for each in samples[start : start + LOOKS_AT_ONCE]])
        return looks

    @property
    def pad_id(self) -> int:
        """The token that fills sequences up."""
        pad = self.engine.tokenizer.pad_token_id
        return int(self.end_id if pad is None else pad)

    @property
    def end_id(self) -> int:
        """The token that ends a turn."""
        return int(self.engine.tokenizer.eos_token_id)

    @property
    def label_ids(self) -> tuple[int, int]:
        """The tokens of harmful and unharmful."""
        protocol = self.folder.protocol
        return self.prompts.label_id(protocol.harmful), self.prompts.label_id(protocol.unharmful)

    def lines(self, settings: SftSettings) -> LineEncoder:
        """Encodes training rows as the recipe wants them."""
        weights = LossWeights(label=settings.label_weight, other=settings.reasoning_weight)
        longest = min(settings.longest_sequence, self.folder.info.context_tokens)
        return LineEncoder(self.prompts, self.end_id, self.decode, weights, longest)

    def score(self, rows: Sequence[TrainRow]) -> list[Scored]:
        """What the model makes of rows, nothing weighted.

        Raises:
            TextTooLong: a row does not fit into the context.
            MediaError: as `decode`.
        """
        encoder = LineEncoder(self.prompts, self.end_id, self.decode, LossWeights(), self.folder.info.context_tokens)
        lines = [encoder.line(row) for row in rows]
        return score_lines(self.engine.model, lines, self.pad_id, self.folder.model_type, self.label_ids)

    def _decoded(self, ref: MediaRef, preprocessing: Preprocessing) -> DecodedMedia:
        spec = self.prompts.vision
        if spec is None:
            raise CheckpointError(f"{self.folder.info.source} reads text only, and the snapshot holds media.")
        assert self.snapshot is not None
        path = self.snapshot.media_path(ref)
        # One prompt holds so many frames; serving sweeps longer videos in windows, training sees one spread over all.
        return decode_file(path, ref, preprocessing, spec, self.reader.limits, self.reader, max_windows=1)

    def close(self) -> None:
        """End the video reader's worker."""
        self.reader.close()


def load_base(
    source: str,
    device: str,
    settings: SftSettings | GrpoSettings,
    snapshot: Snapshot | None = None,
    tell: Callable[[float, str], None] = lambda done, words: None,
) -> Base:
    """Load a checkpoint for training.

    Full training keeps float32 weights and computes in bfloat16 where the recipe says so (half-precision weights alone
    would lose small updates); adapters train in float32 on half-precision weights.

    Raises:
        CheckpointError: it cannot be loaded.
        EngineError: the device is not there or lacks memory.
    """
    from core.engines.transformers_engine import TransformersEngine

    app = load_settings()
    folder = fetch_checkpoint(source, app.protocol, tell)
    tell(0.6, "Reading the weights")
    halved = settings.tuning == "lora" and computes_in(settings.precision, device) == "bfloat16"
    engine = TransformersEngine(folder, device=device, dtype="bfloat16" if halved else "float32")
    give_states_at(engine.model)
    given = settings.preprocessing
    prompts = PromptEncoder(
        engine.tokenizer,
        folder.protocol,
        engine.encoder.preprocessing if given is None else given.preprocessing("training"),
        folder.model_type,
        engine.encoder.vision,
    )
    limits = MediaLimits(
        max_bytes=app.max_file_bytes,
        max_image_pixels=app.max_image_pixels,
        max_video_seconds=app.max_video_seconds,
        decode_timeout_s=app.decode_timeout_s,
        decode_memory_bytes=app.decode_memory_bytes,
    )
    return Base(folder, engine, prompts, VideoReader(limits), snapshot)


def computes_in(precision: str, device: str) -> str:
    """`bfloat16` or `float32`: what a recipe's precision means on a device."""
    if precision != "auto":
        return precision
    if device != "cuda":
        return "float32"
    import torch

    return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"


def folder_of(base: Base) -> Path:
    """Where the base's files are."""
    return base.folder.path
