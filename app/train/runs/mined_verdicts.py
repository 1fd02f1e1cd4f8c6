"""The live guard's own verdict on samples that a training has sent to review, so that the reviewer is shown one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.mine.work import NO_AUDIT
from core.errors import GuardroomError, StoreError
from core.judging.guard import Guard
from core.types import Sample, Verdict

if TYPE_CHECKING:
    import threading

    from annotation_store.store import AnnotationStore
    from core.serving.live import LiveGuard

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Samples that the guard judges in one go: whoever else waits for it comes after each."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of it."""

    verdicts: int
    """How many were recorded."""
    missing: int = 0
    """How many samples still have none."""
    why: str = ""
    """Why the guard gave no more, in a sentence; empty where it gave all or was stopped."""


def judge_sent(
    live: LiveGuard,
    store: AnnotationStore,
    sample_ids: Sequence[str],
    stop: threading.Event,
    on_done: Callable[[int, int], None] = lambda done, of: None,
) -> Judged:
    """Let the live guard judge, greedily, those of the samples that wait for review without a verdict.

    A guard that is paused or fails takes nothing back: the samples wait without a verdict then.

    Args:
        stop: once set, what is in hand is finished and the rest is left out.
        on_done: told how many are finished, and of how many.

    Raises:
        StoreError: the database failed.
    """
    from annotation_store.mining.from_training import unjudged

    samples = unjudged(store, sample_ids)
    kept = 0
    for start in range(0, len(samples), AT_ONCE):
        some = samples[start : start + AT_ONCE]
        if stop.is_set():
            return Judged(kept, len(samples) - kept)

        def work(guard: Guard, some: Sequence[Sample] = some) -> list[Verdict]:
            return guard.moderate_many(some, stop=stop)

        try:
            verdicts = live.call(work)
        except GuardroomError as error:
            return Judged(kept, len(samples) - kept, str(error))
        for sample, verdict in zip(some, verdicts, strict=False):
            try:
                store.record(sample, verdict, NO_AUDIT)
                kept += 1
            except StoreError as error:  # deleted meanwhile
                log.warning("A verdict was not kept: %s", error)
        on_done(start + len(verdicts), len(samples))
    return Judged(kept, len(samples) - kept)
