"""Mining from beginning to end: stored samples, generations of the live guard, the kept ones into the queue."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from annotation_store.rules.reasons import ReasonRules
from core.errors import Cancelled, EngineError, StoreError
from core.judging.guard import Guard
from core.mining.generations import Generations, sample_generations
from core.mining.rules import MOST_GENERATIONS
from core.serving.live import LiveGuard
from core.types import Sample, Thresholds, Verdict

if TYPE_CHECKING:
    from annotation_store.mining.runs import Mining
    from annotation_store.mining.values import Candidate, Findings, MiningRun
    from annotation_store.store import AnnotationStore

T = TypeVar("T")

log = logging.getLogger(__name__)

MOST_ROWS = MOST_GENERATIONS
FIRST_ROWS = 8
"""Generations drawn at once at most, and in the first batch."""
BATCH_S = 5.0
"""Batches shrink until they take no longer: after each of them whoever waits for the guard comes first."""
NO_AUDIT = ReasonRules(audit_share=0.0)
"""Mined samples are hard ones on purpose: in the audit share they would spoil its figures."""


@dataclass(frozen=True, slots=True)
class MiningProgress:
    """How far a run is."""

    run: MiningRun
    samples_per_s: float
    """Since it was begun or resumed."""


@dataclass(frozen=True, slots=True)
class MiningReport:
    """What a run has come to."""

    run: MiningRun
    findings: Findings
    unjudged: tuple[tuple[str, int], ...]
    """Why samples could not be judged, the most frequent sentence first; those of this go alone."""
    seconds: float


def mine(
    live: LiveGuard,
    store: AnnotationStore,
    mining: Mining,
    *,
    thresholds: Thresholds | None = None,
    progress: Callable[[MiningProgress], None] = lambda progress: None,
    stop: threading.Event | None = None,
) -> MiningReport:
    """Work on a run until it is done or stopped.

    The live guard is asked for one batch at a time, so that moderation waits for one batch at most. A kept sample that
    the checkpoint has not deliberated on is judged once more, greedily: the reviewer is shown that verdict.

    Args:
        thresholds: for those verdicts; the checkpoint's own unless given.
        stop: setting it ends the work within a token; the batch in work is drawn again when the run is resumed.

    Raises:
        EngineError, CheckpointError: the guard failed, or another checkpoint is live than the run began with.
        StoreError: the database failed. What is recorded stays; the run can be resumed.
    """
    from annotation_store.mining.runs import findings

    stop = stop or threading.Event()
    started, before = time.perf_counter(), mining.run.done
    n = mining.run.settings.sampling.n
    size = max(1, FIRST_ROWS // n)
    why: Counter[str] = Counter()
    stopped = True
    try:
        while not stop.is_set():
            if not (batch := mining.next(size)):
                stopped = False
                break
            drawn, took = _drawn(live, mining, [each.sample for each in batch], stop)
            size = next_size(size, took, max(1, MOST_ROWS // n))
            why.update(each.error for each in drawn if each.error)
            _show(live, store, mining, list(zip(batch, drawn, strict=True)), thresholds, stop)
            mining.record([(candidate, each.answers) for candidate, each in zip(batch, drawn, strict=True)])
            spent = max(time.perf_counter() - started, 1e-9)
            progress(MiningProgress(mining.run, (mining.run.done - before) / spent))
    except Cancelled:
        log.debug("The mining was stopped inside a batch")
    finally:
        mining.end(stopped=stopped)
    return MiningReport(
        mining.run, findings(store, mining.run.id), tuple(why.most_common(5)), time.perf_counter() - started
    )


def next_size(size: int, took_s: float, most: int) -> int:
    """How many samples the next batch holds, after one of `size` took so many seconds."""
    if took_s > BATCH_S:
        return max(1, size // 2)
    return min(most, size * 2) if took_s < BATCH_S / 2 else size


def _drawn(
    live: LiveGuard, mining: Mining, samples: Sequence[Sample], stop: threading.Event
) -> tuple[list[Generations], float]:
    """The generations of a batch, and how many seconds the guard was busy with it."""

    def work(guard: Guard) -> tuple[list[Generations], float]:
        began = time.perf_counter()
        drawn = sample_generations(guard, samples, mining.run.settings.sampling, stop)
        return drawn, time.perf_counter() - began

    return _with(live, mining.run.checkpoint_id, work)


def _show(
    live: LiveGuard,
    store: AnnotationStore,
    mining: Mining,
    batch: Sequence[tuple[Candidate, Generations]],
    thresholds: Thresholds | None,
    stop: threading.Event,
) -> None:
    """Verdicts for the samples that will be kept and have none by this checkpoint.

    Raises:
        Cancelled: it was stopped before all have one; the batch is then drawn again.
    """
    samples = [
        candidate.sample
        for candidate, drawn in batch
        if not candidate.has_verdict and mining.outcome(candidate, drawn.answers).kept
    ]
    if not samples:
        return

    def work(guard: Guard) -> list[Verdict]:
        return guard.moderate_many(samples, thresholds=thresholds, stop=stop)

    verdicts = _with(live, mining.run.checkpoint_id, work)
    if len(verdicts) < len(samples):
        raise Cancelled("The mining was stopped.")
    for sample, verdict in zip(samples, verdicts, strict=True):
        try:
            store.record(sample, verdict, NO_AUDIT)
        except StoreError as error:  # deleted meanwhile; a database that fails is told of by the batch's own record
            log.warning("A verdict was not kept: %s", error)


def _with(live: LiveGuard, checkpoint_id: str, work: Callable[[Guard], T]) -> T:
    """Work of the guard, while the checkpoint is live that the run began with."""

    def checked(guard: Guard) -> T:
        if guard.engine.info.id != checkpoint_id:
            raise EngineError(
                f"The mining began with the checkpoint {checkpoint_id}, and {guard.engine.info.id} is live now; load "
                "the former again and resume the run, or start a new one."
            )
        return work(guard)

    return live.call(checked)
