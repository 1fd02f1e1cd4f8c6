"""Long work behind the page: it goes on when the page is closed, tells how far it is, and can be stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any

from core.errors import InputError

LOOK_EVERY_S = 0.25


@dataclass(slots=True)
class Task:
    """One piece of work."""

    name: str
    stop: threading.Event = field(default_factory=threading.Event)
    latest: Any = None
    """What it told last."""
    outcome: Future[Any] = field(default_factory=Future)

    def tell(self, progress: Any) -> None:
        """Called by the work."""
        self.latest = progress

    def follow(self, every_s: float = LOOK_EVERY_S) -> Iterator[Any]:
        """What is told, until the work is done."""
        told = None
        ended = threading.Event()
        self.outcome.add_done_callback(lambda _: ended.set())
        while not ended.wait(every_s):
            if self.latest is not told:
                told = self.latest
                yield told


class Tasks:
    """At most one piece of work of each name at a time."""

    def __init__(self) -> None:
        self._running: dict[str, Task] = {}
        self._lock = threading.Lock()

    def begin(self, name: str, work: Callable[[Task], Any]) -> Task:
        """Start the work in a thread of its own.

        Raises:
            InputError: the same kind of work is going on.
        """
        task = Task(name)
        with self._lock:
            if name in self._running:
                raise InputError(f"Another {name} is going on; wait for its end, or stop it.")
            self._running[name] = task

        def run() -> None:
            try:
                done = work(task)
            except BaseException as error:
                self._end(task)
                task.outcome.set_exception(error)
            else:
                self._end(task)
                task.outcome.set_result(done)

        threading.Thread(target=run, name=name, daemon=True).start()
        return task

    def running(self, name: str) -> Task | None:
        """The work of this name that is going on."""
        with self._lock:
            return self._running.get(name)

    def stop(self, name: str) -> None:
        """Ask it to stop; what it has stored stays."""
        if (task := self.running(name)) is not None:
            task.stop.set()

    def close(self, timeout_s: float = 10.0) -> None:
        """Stop everything, before the store is closed."""
        with self._lock:
            tasks = list(self._running.values())
        for task in tasks:
            task.stop.set()
        for task in tasks:
            wait([task.outcome], timeout_s)

    def _end(self, task: Task) -> None:
        with self._lock:
            self._running.pop(task.name, None)
