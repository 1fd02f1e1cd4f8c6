"""Which moderation a Stop button belongs to: one stop event for each open page."""

from __future__ import annotations

import threading


class Stops:
    """Safe for many threads. A page has at most one moderation; a newer one stops the older."""

    def __init__(self) -> None:
        self._events: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def begin(self, page: str) -> threading.Event:
        """The stop event of the page's new moderation."""
        event = threading.Event()
        with self._lock:
            older = self._events.get(page)
            self._events[page] = event
        if older is not None:
            older.set()
        return event

    def stop(self, page: str) -> None:
        """Stop what the page runs; nothing happens when it runs nothing."""
        with self._lock:
            event = self._events.get(page)
        if event is not None:
            event.set()

    def end(self, page: str, event: threading.Event) -> None:
        """The moderation is over, however it ended: the model must not go on for nobody."""
        event.set()
        with self._lock:
            if self._events.get(page) is event:
                del self._events[page]
