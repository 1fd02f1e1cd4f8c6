"""What the live guard does while a job computes on the device it serves from: a pure decision, with its words."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

LiveWhileTraining = Literal["stay", "cpu", "pause"]
"""The setting: stay on the device, move to the CPU, or serve nobody and free the memory."""

ROOM_BYTES = 2 * 1024**3
"""What the guard needs on a GPU beside its weights: activations and cache of one long prompt, with some to spare."""
ROOM_SHARE = 1 / 8
"""Of a small GPU's memory, so much is room enough."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What the live guard does now."""

    action: LiveWhileTraining = "stay"
    threads: int | None = None
    """CPU threads for it; its own number where none is said."""
    words: str = ""
    """For the page; empty while there is nothing to say."""


def beside_jobs(setting: LiveWhileTraining, home: str, busy: Collection[str], *, fits: bool = True) -> Beside:
    """Decide from where the guard belongs and where jobs compute.

    Args:
        setting: what the owner wants.
        home: the device that the guard serves from when no job runs (`cpu`, `mps`, `cuda`, `cuda:N`); empty when it
            is on a server, which shares nothing with a job here.
        busy: the devices of running jobs, as `train_jobs.runs.specs.JobSpec.queue` names them.
        fits: whether guard and job find room on the device together, where somebody knows.
    """
    device = "cuda:0" if home == "cuda" else home
    if not home or device not in busy:
        return Beside()
    if setting == "pause":
        return Beside("pause", words="The guard pauses while a job computes on its device; it comes back by itself.")
    if device == "cpu":
        # It keeps two thirds of its speed so, and the job all of its own; with more threads both lose.
        return Beside("stay", 1, "A job computes on the CPU beside the guard, which uses one thread meanwhile.")
    if setting == "cpu":
        return Beside("cpu", words="A job computes on the GPU; the guard answers from the CPU meanwhile, more slowly.")
    if not fits:
        return Beside("cpu", words="A job fills the GPU; the guard answers from the CPU meanwhile, more slowly.")
    return Beside("stay", words="A job computes on the same GPU; the guard stays, and answers more slowly.")


def has_room(free_bytes: int, total_bytes: int) -> bool:
    """Whether a guard whose weights lie on a GPU can go on answering there beside a job.

    Args:
        free_bytes: what its process can still get on that GPU, its own cached memory included.
        total_bytes: all of the GPU's memory.
    """
    return free_bytes >= min(ROOM_BYTES, int(ROOM_SHARE * total_bytes))
