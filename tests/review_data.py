"""A data root with something to review: texts, a picture and a clip, judged by a checkpoint of no importance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import Reason, ReasonKind
from app.moderate.examples import FOLDER
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.types import Assessment, Decision, HarmProbability, Label, Sample, WindowScore
from tests.queueing import enqueue
from tests.review import open_store
from tests.verdicts import verdict_on

STEPS = ("The user asks how to do something.", "It is about a lock.", "So the request is harmful.")


def fill(data: Path, samples: Sequence[Sample], kind: ReasonKind = ReasonKind.BAND) -> None:
    """Put samples into the queue of a data root, the first one first, each with a verdict that it is harmful."""
    data.mkdir(parents=True, exist_ok=True)
    with open_store(data / "guardroom.db") as store:
        for at, sample in enumerate(samples):
            judge(store, sample, Reason(kind, 1.0 - at / 1000, f"Because of {kind.value}.", "guard-1"))


def judge(store: AnnotationStore, sample: Sample, reason: Reason, steps: tuple[str, ...] = STEPS) -> None:
    """Record a verdict of harmful and queue the sample."""
    answered = sample.response is not None
    windows = [
        WindowScore(at, at + 1.0, 0.2 + 0.3 * at, position=position)
        for position, ref in enumerate(sample.media)
        for at in (0.0, 1.0, 2.0)
        if ref.duration_s
    ]
    verdict = verdict_on(
        sample,
        f"v-{sample.id}",
        decision=Decision.REVIEW,
        assessment=Assessment(Label.HARMFUL, Label.UNHARMFUL if answered else Label.ABSENT, reasoning=steps),
        first_look=HarmProbability(0.42, 0.2 if answered else None),
        deliberated=HarmProbability(0.58, 0.1 if answered else None),
        windows=tuple(windows),
    )
    store.record(sample, verdict)
    enqueue(store, {sample.id: [reason]})


def with_media(data: Path, name: str, request: str) -> Sample:
    """A sample of one of the example files, stored in the data root."""
    reader = VideoReader(MediaLimits(decode_timeout_s=60))
    try:
        media = MediaStore(data / "media", MediaLimits(), reader)
        return Sample(request, None, (media.accept(FOLDER / name, name),))
    finally:
        reader.close()
