"""What the live guard does while a job computes on its device: looked at every second, applied, and said in words."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection

from core.beside_training import Beside, LiveWhileTraining, beside_jobs, has_room
from core.errors import GuardroomError
from core.serving.live import LiveGuard

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0

Room = Callable[[str], tuple[int, int] | None]
"""Free and total bytes of a device, for this process; none where nobody knows."""


def room_on(device: str) -> tuple[int, int] | None:
    """The `Room` of a GPU as its driver tells it, with what this process has put by."""
    import torch

    if not device.startswith("cuda") or not torch.cuda.is_available():
        return None
    try:
        free, total = torch.cuda.mem_get_info(device)
        put_by = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    except (RuntimeError, ValueError, AssertionError) as error:  # what torch raises for a GPU that does not answer
        log.warning("How full %s is could not be found out: %s", device, error)
        return None
    return free + put_by, total


class BesideJobs:
    """Moves, slows or pauses the live guard while a job runs, and brings it back afterwards.

    Args:
        guard: the live guard.
        setting: what the owner wants.
        busy: the devices of running jobs.
        room: how much memory a device has left.
    """

    def __init__(
        self,
        guard: LiveGuard,
        setting: LiveWhileTraining,
        busy: Callable[[], Collection[str]],
        room: Room = room_on,
    ) -> None:
        self._guard = guard
        self._setting = setting
        self._busy = busy
        self._room = room
        self._filled = False
        """Whether the present job has filled the device. Moving away makes room again, so this holds until it ends."""
        self._done = Beside()
        self._home = ""
        """The device that the guard serves from when no job runs."""
        self._source = ""
        """What was live when it was moved or paused."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def words(self) -> str:
        """What the guard does now, for the page; empty when there is nothing to say."""
        return self._done.words

    def start(self) -> None:
        """Begin to look, in a thread that ends with `close`."""

        def tick() -> None:
            while not self._stop.wait(LOOK_EVERY_S):
                try:
                    self.look()
                except GuardroomError as error:
                    log.warning("The live guard could not make room for a job, or come back: %s", error)

        self._thread = threading.Thread(target=tick, name="beside-jobs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def look(self) -> None:
        """Compare what should be with what is, and act.

        Raises:
            CheckpointError, EngineError: the guard could not be moved or brought back; the next look tries again.
        """
        status = self._guard.status
        if status.state == "ready" and status.info is not None:
            # Somebody may have loaded another checkpoint meanwhile, to where the settings say: that is its home.
            moved = self._done.action == "cpu" and status.device == "cpu"
            if not moved:
                if self._done.action != "stay":
                    self._done = Beside()
                self._home = status.device
            self._source = status.info.source
        elif status.state == "loading" or self._done.action == "stay":
            return
        wanted = self._wanted()
        if wanted == self._done:
            return
        if wanted.action == "pause":
            self._guard.pause(wanted.words)
        elif wanted.action == "cpu":
            self._load("cpu")
        elif self._done.action != "stay":
            self._load(None)
        self._guard.use_threads(wanted.threads)
        self._done = wanted

    def _wanted(self) -> Beside:
        busy = self._busy()
        if self._home and beside_jobs(self._setting, self._home, busy) == Beside():
            self._filled = False
        elif not self._filled and (room := self._room(self._home)) is not None:
            self._filled = not has_room(*room)
        return beside_jobs(self._setting, self._home, busy, fits=not self._filled)

    def _load(self, device: str | None) -> None:
        for _ in self._guard.load(self._source, device=device):
            pass
