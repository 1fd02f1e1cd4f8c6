"""Work that nobody waits for: finishing deletions that were cut off, and comparing new samples with the stored ones."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import GuardroomError
from core.media.store import MediaStore

if TYPE_CHECKING:
    from annotation_store.store import AnnotationStore

log = logging.getLogger(__name__)

PAUSE_S = 1.0
"""New samples are collected for so long before they are compared."""


class Chores:
    """One thread, begun with the first poke."""

    def __init__(self, store: AnnotationStore, media: MediaStore, snapshots: Path, runs: Path) -> None:
        self._store = store
        self._media = media
        self._snapshots = snapshots
        self._runs = runs
        self._stop = threading.Event()
        self._poked = threading.Event()
        self._thread = threading.Thread(target=self._work, name="chores", daemon=True)
        self._thread.start()

    def poke(self) -> None:
        """There is something new in the store."""
        self._poked.set()

    def close(self) -> None:
        """Stop after the batch that is in work."""
        self._stop.set()
        self._poked.set()
        self._thread.join(timeout=20)

    def _work(self) -> None:
        self._do("finishing deletions", self._finish)
        while not self._stop.is_set():
            self._poked.wait()
            self._stop.wait(PAUSE_S)
            self._poked.clear()
            if not self._stop.is_set():
                self._do("comparing new samples", self._compare)

    def _finish(self) -> None:
        from annotation_store.deletion import finish_removals
        from annotation_store.snapshots.removal import remove_deleted
        from train_jobs.forgetting import finish_forgetting

        finish_removals(self._store, self._media)
        remove_deleted(self._store, self._snapshots)
        finish_forgetting(self._runs)

    def _compare(self) -> None:
        from annotation_store.duplicates.passing import mark_duplicates

        mark_duplicates(self._store, self._media, stop=self._stop)

    def _do(self, what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except GuardroomError as error:
            log.warning("While %s: %s", what, error)
        except Exception:
            log.exception("While %s", what)
