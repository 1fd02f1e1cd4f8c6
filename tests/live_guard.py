"""A live guard to test with: a checkpoint that writes just so much, and the thread that owns it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.serving.live import LiveGuard
from core.settings import Settings


def limited(source: Path, folder: Path, tokens: int) -> Path:
    """A copy of a checkpoint whose answers end after so many tokens; its id is the folder's name."""
    copy = Path(shutil.copytree(source, folder))
    (copy / "guard.json").write_text(json.dumps({"format": 1, "id": folder.name, "max_new_tokens": tokens}))
    return copy


@contextmanager
def live_guard(checkpoint: Path, data: Path, **settings: Any) -> Iterator[LiveGuard]:
    """A guard on the CPU, not yet loaded; closed at the end."""
    guard = LiveGuard(
        Settings(checkpoint=str(checkpoint), protocol="guardroom-v1", device="cpu", **settings),
        MediaStore(data / "media", MediaLimits(), VideoReader(MediaLimits())),
    )
    try:
        yield guard
    finally:
        guard.close()


def threads_of(live: LiveGuard) -> int:
    """The CPU threads that the guard computes with."""
    import torch

    return live.call(lambda guard: torch.get_num_threads())
