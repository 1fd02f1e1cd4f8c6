"""What the page and the API share: the settings, the guard, the media, the annotation store, and who is the owner."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from app.shared.chores import Chores
from app.shared.desks import Desks
from app.shared.identity import OwnerGate
from app.shared.media_addresses import MediaAddresses
from app.shared.stops import Stops
from app.shared.tasks import Tasks
from core.errors import EmptyRequest, GuardroomError, InputError, JobError
from core.media.store import MediaStore
from core.serving.live import LiveGuard
from core.settings import Settings
from core.types import Sample, Thresholds, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_store.reading.selecting import Selection
    from annotation_store.snapshots.values import FreezeProgress, SnapshotInfo
    from annotation_store.store import AnnotationStore
    from app.shared.beside import BesideJobs
    from train_jobs.launching.launcher import Launcher

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Services:
    """Built once by `app.main`."""

    settings: Settings
    media: MediaStore
    guard: LiveGuard
    gate: OwnerGate
    stops: Stops = field(default_factory=Stops)
    desks: Desks = field(default_factory=Desks)
    tasks: Tasks = field(default_factory=Tasks)
    uploads: Path | None = None
    """Where files that are handed out for download lie: the folder of uploads, which goes when the process goes."""
    addresses: MediaAddresses = field(default_factory=MediaAddresses)
    _store: AnnotationStore | None = None
    _chores: Chores | None = None
    _launcher: Launcher | None = None
    _beside: BesideJobs | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def store(self) -> AnnotationStore:
        """The annotation store, opened (and migrated) when it is first needed: start-up does not wait for it.

        Raises:
            StoreError: the database cannot be opened.
        """
        with self._lock:
            if self._store is None:
                from annotation_store.store import AnnotationStore

                self._store = AnnotationStore.open(self.settings.database_url or self.settings.data / "guardroom.db")
                self._chores = Chores(self._store, self.media, self.snapshots, self.runs)
            return self._store

    def launcher(self) -> Launcher:
        """The jobs of the data root, looked after from the first time that somebody asks.

        Raises:
            JobError: the folder of runs cannot be written.
        """
        with self._lock:
            if self._launcher is None:
                from app.shared.beside import BesideJobs
                from train_jobs.launching.launcher import Launcher

                launcher = Launcher(self.runs, secrets=self._secrets)
                try:
                    launcher.start()
                except OSError as error:
                    raise JobError(f"The folder of runs {self.runs} cannot be written ({error.strerror}).") from None
                self._launcher = launcher
                self._beside = BesideJobs(self.guard, self.settings.live_while_training, launcher.at_work)
                self._beside.start()
            return self._launcher

    def _secrets(self) -> dict[str, str]:
        """What jobs may need and no disk may hold."""
        key, owner = self.settings.engine_key, self.settings.owner_token
        found = {
            "engine_key": key.get_secret_value() if key else "",
            "owner_token": owner.get_secret_value() if owner else "",
            "hf_token": os.environ.get("HF_TOKEN", ""),
        }
        return {name: value for name, value in found.items() if value}

    @property
    def runs(self) -> Path:
        """The folder of runs."""
        return self.settings.data / "runs"

    @property
    def beside_words(self) -> str:
        """What the live guard does while a job computes on its device; empty when there is nothing to say."""
        return self._beside.words if self._beside else ""

    def look_after_jobs(self) -> None:
        """After a start of the app: find out in the background what became of the jobs meanwhile."""

        def look() -> None:
            try:
                self.launcher()
            except GuardroomError as error:
                log.warning("The jobs could not be looked after: %s", error)

        threading.Thread(target=look, name="jobs-start", daemon=True).start()

    @property
    def snapshots(self) -> Path:
        """The folder of snapshots."""
        return self.settings.data / "snapshots"

    @property
    def has_store(self) -> bool:
        """Whether the store was needed yet: what only looks at it need not open it."""
        return self._store is not None

    def record(self, sample: Sample, verdict: Verdict) -> None:
        """Keep a verdict; a hard sample is in the review queue by that.

        Content that was deleted is not stored again, and a store that fails takes nothing away from the visitor: the
        terminal says what happened.
        """
        try:
            self.store().record(sample, verdict)
        except GuardroomError as error:
            log.warning("A verdict was not kept: %s", error)
            return
        self.compare_soon()

    def freeze(
        self,
        selection: Selection,
        name: str,
        created_by: str,
        progress: Callable[[FreezeProgress], None] | None = None,
        stop: threading.Event | None = None,
    ) -> SnapshotInfo:
        """Freeze a selection under the protocol that serves now.

        Raises:
            StoreError, MediaError, Cancelled: as `annotation_store.snapshots.freezing.freeze`.
        """
        from annotation_store.snapshots.freezing import freeze
        from core.checkpoints.folder import named_protocol

        info = self.guard.status.info
        version = info.protocol_version if info else named_protocol(self.settings.protocol).version
        return freeze(
            self.store(), self.media, self.snapshots, selection, name=name, created_by=created_by,
            protocol_version=version, progress=progress, stop=stop,
        )  # fmt: skip

    def compare_soon(self) -> None:
        """Look for near-duplicates of new samples, behind the page."""
        if self._chores is not None:
            self._chores.poke()

    def sample(self, request: str | None, response: str | None, file: str | Path | None) -> Sample:
        """A sample of what a person handed in; the file is checked and copied into the media store.

        An empty response is no response.

        Raises:
            EmptyRequest: neither text nor a file was given.
            MediaError: the file is no accepted image or video.
        """
        request = request or ""
        if not request.strip() and not file:
            raise EmptyRequest("The request is empty; write a text, or add an image or a video.")
        media = () if not file else (self.media.accept(Path(file), Path(file).name),)
        return Sample(request, response if response and response.strip() else None, media)

    def thresholds(self, review: float | None = None, block: float | None = None) -> Thresholds:
        """The checkpoint's thresholds under the settings, with those given here in their place.

        Raises:
            InputError: they are not in [0, 1], or review lies above block.
        """
        info = self.guard.status.info
        own = self.settings.thresholds(info.thresholds if info else Thresholds())
        try:
            return Thresholds(own.review if review is None else review, own.block if block is None else block)
        except ValueError as error:
            raise InputError(f"The {error}.") from None

    def close(self) -> None:
        """Stop the guard and close what is open."""
        self.tasks.close()
        if self._launcher is not None:
            self._launcher.close()  # its jobs go on
        if self._beside is not None:
            self._beside.close()
        self.guard.close()
        if self._chores is not None:
            self._chores.close()
        self.media.reader.close()
        if self._store is not None:
            self._store.close()
