"""The worker process as its parent sees it: started, asked, ended. What is asked is `core.media.video`'s affair."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from core.errors import GuardroomError
from core.media.limits import MediaLimits
from core.media.video_worker import HEADER

START_TIMEOUT_S = 120.0
"""A cold disk or a busy machine may take long to load the libraries."""

_BOOT = (
    "import json, sys; limits = json.loads(sys.argv[1]); sys.path[:] = json.loads(sys.argv[2]); "
    "from core.media.video_worker import main; main(**limits)"
)
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "PYTHONHOME")
"""The worker gets no other part of the environment, so no secret of the app."""

Receive = Callable[[bytes, int, IO[bytes]], None]
"""Called for each message but the last with its letter, its length and the stream to read that many bytes from."""


@dataclass(frozen=True, slots=True)
class WorkerEnded(Exception):
    """The worker went away before it had answered."""

    timed_out: bool


class WorkerProcess:
    """One running worker: a plain child process on its own argument list. Nothing of the parent's memory or modules
    goes with it, so it can be started from any thread and never runs the app's main module again."""

    def __init__(self, limits: MediaLimits) -> None:
        """Start it and wait until it is ready.

        Raises:
            GuardroomError: it did not start, with its last words.
        """
        numbers = {
            "memory_bytes": limits.decode_memory_bytes,
            "max_pixels": limits.max_image_pixels,
            "max_frames": limits.max_frames,
        }
        modules = [os.path.abspath(entry) for entry in sys.path]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT, json.dumps(numbers), json.dumps(modules)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                **{name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
                "MALLOC_ARENA_MAX": "2",
            },
            start_new_session=True,  # Ctrl-C in the terminal is for the app, which then ends the worker
        )
        self.served = 0
        try:
            self._answer(START_TIMEOUT_S, _nothing_expected)
        except WorkerEnded:
            words = self.process.stderr.read() if self.process.stderr else b""
            self.end()
            last = words.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
            raise GuardroomError(f"The process that reads videos did not start: {last[0][:300]}") from None
        if self.process.stderr:
            self.process.stderr.close()  # from here on the worker writes to a log of its own

    def ask(self, request: dict[str, Any], limit_s: float, receive: Receive) -> dict[str, Any]:
        """Send one request and hand on what comes, up to the end of the answer.

        Raises:
            WorkerEnded: it crashed or was ended by somebody, or by this method for taking longer than `limit_s`.
        """
        assert self.process.stdin
        self.served += 1
        try:
            self.process.stdin.write(json.dumps({**request, "timeout_s": limit_s}).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise WorkerEnded(timed_out=False) from None
        return self._answer(limit_s, receive)

    def end(self) -> None:
        """End it and take it off the process table."""
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                with contextlib.suppress(OSError):  # a request that never got through is still in the buffer
                    stream.close()
        self.process.wait()

    def _answer(self, limit_s: float, receive: Receive) -> dict[str, Any]:
        stream = self.process.stdout
        assert stream
        over = threading.Event()

        def stop() -> None:
            over.set()
            self.process.kill()

        timer = threading.Timer(limit_s, stop)
        timer.daemon = True
        timer.start()
        try:
            while True:
                letter, length = HEADER.unpack(exactly(stream, HEADER.size))
                if letter == b"J":
                    answer: dict[str, Any] = json.loads(exactly(stream, length))
                    return answer
                receive(letter, length, stream)
        except EOFError:
            raise WorkerEnded(timed_out=over.is_set()) from None
        finally:
            timer.cancel()


def _nothing_expected(letter: bytes, length: int, stream: IO[bytes]) -> None:
    raise EOFError


def exactly(stream: IO[bytes], length: int) -> bytearray:
    """That many bytes.

    Raises:
        EOFError: the stream ends before.
    """
    buffer = bytearray(length)
    fill(stream, memoryview(buffer))
    return buffer


def fill(stream: IO[bytes], room: memoryview) -> None:
    """Read into a memory of bytes until it is full.

    Raises:
        EOFError: the stream ends before.
    """
    readinto = getattr(stream, "readinto")  # noqa: B009  (IO[bytes] does not declare it; pipes have it)
    filled = 0
    while filled < len(room):
        got = readinto(room[filled:])
        if not got:
            raise EOFError
        filled += got
