"""Who may write next: one writer at a time, among the threads of this process and among processes, and each in turn.

SQLite lets a process that waits for the write lock look for it every tenth of a second, and whoever looks at the right
moment gets it: beside an import, which writes nearly all the time, that can be nobody for half a minute. So whoever
wants to write first stands at the head of the queue (the first lock file) and waits there for the turn (the second
one). Who has just had the turn must stand in the queue again, behind the one at its head.

The operating system gives the locks of a process that ended back. Where there are no such locks (a database that is no
file, a folder that cannot be written, some network file systems) SQLite's own waiting is all there is.
"""

from __future__ import annotations

import fcntl
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_AT_THE_HEAD_S = (0.0005, 0.002)
_BEHIND_S = (0.005, 0.025)
"""Between two looks for a lock, at random in this range, so that nobody is always late. Those who stand behind look
less often: on a busy machine their looking would cost the time that they wait for."""

PATIENCE = 4
"""So many times longer one stands in the queue: that others write is no failure, only that one of them never ends."""


class Turns:
    """The turns of one database. Threads may share it."""

    def __init__(self, database: Path | None) -> None:
        """`database`: its file; none where it has none, or where it is only read."""
        self._threads = threading.Lock()
        self._files: list[int] = []
        if database is None:
            return
        with suppress(OSError):
            for ending in ("-queue", "-turn"):
                name = f"{database}{ending}"
                self._files.append(os.open(name, os.O_RDWR | os.O_CREAT, 0o600))
        if len(self._files) != 2:
            self.close()

    def close(self) -> None:
        """Nobody stands in the queue for this store any more."""
        while self._files:
            os.close(self._files.pop())

    @contextmanager
    def taken(self, seconds: float) -> Iterator[bool]:
        """Take the turn, and give it back at the end. False: it was not given.

        Args:
            seconds: how long one waits for it at the head of the queue.
        """
        deadline = time.monotonic() + PATIENCE * seconds
        if not self._threads.acquire(timeout=PATIENCE * seconds):
            yield False
            return
        try:
            queue, turn = self._files or (None, None)
            if queue is None or turn is None:
                yield True
                return
            if not _locked(queue, deadline, _BEHIND_S):
                yield False
                return
            try:
                mine = _locked(turn, time.monotonic() + seconds, _AT_THE_HEAD_S)
            finally:
                _unlock(queue)
            try:
                yield mine
            finally:
                _unlock(turn)
        finally:
            self._threads.release()


def _locked(file: int, deadline: float, pauses: tuple[float, float]) -> bool:
    """Lock a file; False when another has it until the deadline. Where files cannot be locked nobody has to wait."""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(random.uniform(*pauses))
        except OSError:
            return True


def _unlock(file: int) -> None:
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)
