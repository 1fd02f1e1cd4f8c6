"""What the page and the API share: the settings, the guard, the media, the annotation store, and who is the owner."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from app.identity import OwnerGate
from app.stops import Stops
from core.errors import EmptyRequest, InputError
from core.live import LiveGuard
from core.media import MediaStore
from core.settings import Settings
from core.types import Sample, Thresholds

if TYPE_CHECKING:
    from annotation_store.store import AnnotationStore


@dataclass(slots=True)
class Services:
    """Built once by `app.main`."""

    settings: Settings
    media: MediaStore
    guard: LiveGuard
    gate: OwnerGate
    stops: Stops = field(default_factory=Stops)
    _store: AnnotationStore | None = None
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
            return self._store

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
        self.guard.close()
        self.media.reader.close()
        if self._store is not None:
            self._store.close()
