"""The live guard: one thread owns the model, everybody else waits in its queue and sees their place.

Loading happens in a thread of its own; only the swap is the owner's, so the working checkpoint stays live until the new
one has answered once, and no generation in flight is touched.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from core.errors import Cancelled, CheckpointError, EngineError, GuardroomError
from core.events import Event, Queued, VerdictReached
from core.judging.guard import Guard
from core.media.store import MediaStore
from core.serving.loading import load_guard
from core.settings import Settings
from core.types import CheckpointInfo, Sample, Thresholds, Verdict

T = TypeVar("T")

POLL_S = 0.2
"""How often a waiting person's place is looked up."""


READY = "Ready"
"""The status of a guard that there is nothing to say about."""


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far loading is: the share in [0, 1] and a sentence."""

    fraction: float
    message: str


@dataclass(frozen=True, slots=True)
class GuardStatus:
    """What the header shows."""

    state: Literal["loading", "ready", "failed", "paused"]
    message: str
    info: CheckpointInfo | None = None
    engine: str = ""
    device: str = ""
    dtype: str = ""


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[[Guard], Any]
    stop: threading.Event = field(default_factory=threading.Event)
    events: queue.SimpleQueue[Event | None] = field(default_factory=queue.SimpleQueue)
    """None marks the end."""
    outcome: Future[Any] = field(default_factory=Future)


class LiveGuard:
    """Serves one checkpoint to many people, one after the other."""

    def __init__(self, settings: Settings, media: MediaStore) -> None:
        self._settings = settings
        self._media = media
        self._guard: Guard | None = None
        self._status = GuardStatus("loading", "No checkpoint has been asked for yet.")
        self._lock = threading.Condition()
        self._waiting: list[_Job] = []
        self._running: _Job | None = None
        self._closed = False
        self._loading = threading.Lock()
        self._owner: threading.Thread | None = None
        self._threads = settings.threads

    # -- loading ------------------------------------------------------------------------------------------------

    @property
    def status(self) -> GuardStatus:
        """The present state, for the header."""
        return self._status

    def start(self, source: str | None = None, instead: str | None = None, note: str = "") -> None:
        """Begin loading behind the page and return at once; the status tells how it goes.

        Args:
            instead: what to load where the source cannot be loaded; the status then says so, also once it is ready.
            note: what the status says once it is ready, where a person should know something.
        """
        named = source or self._settings.engine_url or self._settings.checkpoint

        def work() -> None:
            # The failure is in the status, and whoever is waiting is told.
            with contextlib.suppress(GuardroomError):
                try:
                    for _ in self._load(named, last=instead is None):
                        pass
                    self._note(note or READY)
                except GuardroomError as error:
                    if instead is None:
                        raise
                    for _ in self._load(instead, last=True):
                        pass
                    self._note(f"{error} {instead} is live instead.")

        threading.Thread(target=work, name="guard-start", daemon=True).start()

    def load(self, source: str, *, device: str | None = None) -> Iterator[LoadProgress]:
        """Load another checkpoint, telling how far it is; the present one stays live until the new one is ready.

        Args:
            source: what to load.
            device: where to load it to, instead of where the settings say.

        Raises:
            CheckpointError, EngineError: it cannot be loaded; the present one is still live.
        """
        yield from self._load(source, last=True, device=device)

    def _load(self, source: str, *, last: bool, device: str | None = None) -> Iterator[LoadProgress]:
        """`load`. Unless it is the last attempt, a failure is not told to those who wait: another one follows."""
        if not self._loading.acquire(blocking=False):
            raise CheckpointError("Another checkpoint is being loaded; wait until it is ready.")
        told: queue.SimpleQueue[LoadProgress | None] = queue.SimpleQueue()
        outcome: Future[None] = Future()
        settings = self._settings if device is None else self._settings.model_copy(update={"device": device})

        def tell(fraction: float, message: str) -> None:
            if self._guard is None:
                self._status = GuardStatus("loading", message)
            told.put(LoadProgress(fraction, message))

        # The loader outlives this generator: a closed browser tab must not leave the lock behind, nor half a guard.
        def work() -> None:
            try:
                self._adopt(load_guard(source, settings, self._media, tell))
                outcome.set_result(None)
            except BaseException as error:
                known = error if isinstance(error, GuardroomError) else EngineError(f"{source} failed: {error!r}.")
                known.__cause__ = None if known is error else error
                if last:
                    self._report_failure(str(known))
                outcome.set_exception(known)
            finally:
                self._loading.release()
                told.put(None)

        threading.Thread(target=work, name="guard-loader", daemon=True).start()
        while (progress := told.get()) is not None:
            yield progress
        outcome.result()

    def _note(self, message: str) -> None:
        """What a person should know of a guard that is ready; the next swap forgets it."""
        with self._lock:
            if self._status.state == "ready":
                self._status = replace(self._status, message=message)

    def _report_failure(self, message: str) -> None:
        """Tell those who wait, unless there is a guard that lives on."""
        with self._lock:
            if self._guard is None:
                self._status = GuardStatus("failed", message)
            self._lock.notify_all()

    def _adopt(self, guard: Guard) -> None:
        """Put a loaded guard in the place of the present one, on the owner's thread once there is one at work."""
        try:
            if self._guard is None:
                self._swap(guard)
            else:
                self._submit(job := _Job(lambda _: self._swap(guard)), first=True)
                job.outcome.result()
        except Cancelled:
            guard.engine.close()
            raise

    def _swap(self, guard: Guard) -> None:
        with self._lock:
            if self._closed:
                raise Cancelled("Guardroom is shutting down.")
            old, self._guard = self._guard, guard
            engine = guard.engine
            self._status = GuardStatus("ready", READY, engine.info, engine.name, engine.device, engine.dtype)
            self._lock.notify_all()
        if old is not None:
            old.engine.close()

    # -- work ---------------------------------------------------------------------------------------------------

    def moderate(
        self,
        sample: Sample,
        *,
        thresholds: Thresholds | None = None,
        stop: threading.Event | None = None,
        steps: Sequence[str] = (),
    ) -> Iterator[Event]:
        """Judge one sample, telling every event; the last one carries the verdict.

        Closing the iterator stops the model, or leaves the queue.

        Raises:
            GuardroomError: the sample cannot be judged, or no checkpoint could be loaded.
        """
        job = _Job(lambda guard: None, stop=stop or threading.Event())

        def work(guard: Guard) -> Verdict:
            return guard.moderate(sample, thresholds=thresholds, stop=job.stop, emit=job.events.put, steps=steps)

        job.work = work
        self._submit(job)
        try:
            yield from self._wait(job)
            yield VerdictReached(job.outcome.result())
        finally:
            if not job.outcome.done():
                job.stop.set()
            self._withdraw(job)

    def first_look(self, sample: Sample, *, thresholds: Thresholds | None = None) -> Verdict:
        """The probability before any reasoning. Waits for its turn.

        Raises:
            GuardroomError: as `moderate`.
        """
        verdict: Verdict = self.call(lambda guard: guard.first_look(sample, thresholds=thresholds))
        return verdict

    def call(self, work: Callable[[Guard], T]) -> T:
        """Run any piece of work on the owner's thread and wait for its result."""
        job = _Job(work)
        self._submit(job)
        result: T = job.outcome.result()
        return result

    def use_threads(self, threads: int | None) -> None:
        """Compute with so many CPU threads from the next piece of work on; none takes the number of the settings."""
        with self._lock:
            self._threads = threads if threads is not None else self._settings.threads

    def pause(self, words: str) -> None:
        """Give the model's memory back once the work in hand is done; `load` ends the pause.

        Args:
            words: what those are told who ask for a verdict meanwhile.

        Raises:
            Cancelled: Guardroom is shutting down.
        """

        def work() -> None:
            with self._lock:
                old, self._guard = self._guard, None
                self._status = GuardStatus("paused", words)
            if old is not None:
                old.engine.close()

        with self._lock:
            if self._guard is None:
                return
            self._submit(job := _Job(lambda _: work()), first=True)
        job.outcome.result()

    def close(self) -> None:
        """Stop what runs, refuse what waits, free the model."""
        with self._lock:
            self._closed = True
            if self._running is not None:
                self._running.stop.set()
            self._lock.notify_all()
        if self._owner is not None:
            self._owner.join(timeout=30)
        if self._guard is not None:
            self._guard.engine.close()
            self._guard = None

    # -- the owner ----------------------------------------------------------------------------------------------

    def _submit(self, job: _Job, *, first: bool = False) -> None:
        with self._lock:
            if self._closed:
                raise Cancelled("Guardroom is shutting down.")
            self._waiting.insert(0 if first else len(self._waiting), job)
            if self._owner is None:
                self._owner = threading.Thread(target=self._own, name="guard-owner", daemon=True)
                self._owner.start()
            self._lock.notify_all()

    def _withdraw(self, job: _Job) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._waiting.remove(job)
            job.outcome.cancel()

    def _place(self, job: _Job) -> int | None:
        """How many are before this one; none once its turn has come."""
        with self._lock:
            if job not in self._waiting:
                return None
            return self._waiting.index(job) + (self._running is not None)

    def _wait(self, job: _Job) -> Iterator[Event]:
        told: Queued | None = None
        while True:
            place = self._place(job)
            if place is not None and job.stop.is_set():
                raise Cancelled("It was stopped before its turn came, so nothing was judged.")
            now = Queued(place, loading=self._guard is None) if place is not None else None
            if now is not None and now != told and (now.place or now.loading):
                told = now
                yield now
            try:
                event = job.events.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if event is None:
                return
            yield event

    def _own(self) -> None:
        own: int | None = None
        using: int | None = None
        while True:
            with self._lock:
                while not self._closed and not (self._waiting and self._status.state != "loading"):
                    self._lock.wait()
                if self._closed:
                    for job in self._waiting:
                        job.outcome.set_exception(Cancelled("Guardroom is shutting down."))
                        job.events.put(None)
                    self._waiting.clear()
                    return
                job = self._running = self._waiting.pop(0)
                guard, threads = self._guard, self._threads
            if threads != using:
                import torch

                # Threads that are at work already keep their own number.
                own = torch.get_num_threads() if own is None else own
                torch.set_num_threads(own if threads is None else threads)
                using = threads
            try:
                if not job.outcome.set_running_or_notify_cancel():
                    continue
                if guard is None:
                    raise CheckpointError(self._status.message)
                job.outcome.set_result(job.work(guard))
            except GuardroomError as error:
                job.outcome.set_exception(error)
            except Exception as error:
                unforeseen = EngineError(f"The guard failed on this sample: {error!r}.")
                unforeseen.__cause__ = error
                job.outcome.set_exception(unforeseen)
            finally:
                job.events.put(None)
                with self._lock:
                    self._running = None
