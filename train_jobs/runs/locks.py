"""Locks of the operating system on a file: they end with the process that holds them, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType


class FileLock:
    """An exclusive lock. `fd` can be handed to a child process, which then holds the lock as well.

    A child that was given the lock holds it from the moment it exists: there is no time at which a started job is
    without its lock, whatever dies meanwhile.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def take(cls, path: Path, *, wait: bool) -> FileLock | None:
        """Take the lock; none when another holds it and `wait` is off.

        Raises:
            OSError: the file cannot be opened.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        return cls(fd)

    @classmethod
    def inherited(cls, fd: int) -> FileLock:
        """The lock that the parent process handed over; programs started from here do not get it in turn."""
        os.set_inheritable(fd, False)
        return cls(fd)

    def close(self) -> None:
        """Let go. Another process that shares the lock keeps it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
