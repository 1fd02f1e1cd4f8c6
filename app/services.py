"""What the page and the API share: the settings, the guard, the media, the annotation store, and who is the owner."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from app.chores import Chores
from app.identity import OwnerGate
from app.media_route import MediaAddresses
from app.review_desk import Desks
from app.stops import Stops
from app.tasks import Tasks
from core.errors import EmptyRequest, GuardroomError, InputError
from core.live import LiveGuard
from core.media import MediaStore
from core.settings import Settings
from core.types import Sample, Thresholds, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from annotation_store.selecting import Selection
    from annotation_store.snapshots.values import FreezeProgress, SnapshotInfo
    from annotation_store.store import AnnotationStore

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
                self._chores = Chores(self._store, self.media, self.snapshots)
            return self._store

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
        from core.checkpoint import named_protocol

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
        self.guard.close()
        if self._chores is not None:
            self._chores.close()
        self.media.reader.close()
        if self._store is not None:
            self._store.close()
