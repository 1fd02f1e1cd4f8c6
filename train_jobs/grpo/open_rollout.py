"""A rollout that is not used up, kept beside a checkpoint: a run that was stopped inside it goes on with the same
completions.

rollouts/open-000003-p0.pt      what update 4 is trained on, for process 0

It holds tokens of samples, so a deletion removes it (`train_jobs.grpo.rollouts.forget`); such a rollout is drawn anew.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.files import replace_file
from train_jobs.grpo.rollouts import OPEN
from train_jobs.runs.folder import RunFolder

_NAME = re.compile(OPEN.replace("*", r"(\d+)-p(\d+)"))


def keep_open(run: RunFolder, step: int, process: int, rollout: Mapping[str, Any]) -> None:
    """Keep what is left of a rollout after so many updates; call it before their checkpoint is called complete.

    Args:
        rollout: tensors, texts and numbers, in dicts and lists.

    Raises:
        OSError: the disk refused.
    """
    import torch

    data = io.BytesIO()
    torch.save(dict(rollout), data)
    replace_file(_path(run, step, process), data.getvalue(), durable=True)


def read_open(run: RunFolder, step: int, process: int, device: Any) -> dict[str, Any] | None:
    """What was left of a rollout after so many updates; none where it was used up, or is gone."""
    import torch

    path = _path(run, step, process)
    return torch.load(path, map_location=device, weights_only=True) if path.is_file() else None


def remove_open(run: RunFolder, process: int, keep: int | None = None) -> None:
    """Remove the files of a process, but for those after so many updates."""
    for path in run.rollouts.glob(OPEN):
        found = _NAME.fullmatch(path.name)
        if found and int(found.group(2)) == process and int(found.group(1)) != keep:
            path.unlink(missing_ok=True)


def _path(run: RunFolder, step: int, process: int) -> Path:
    return run.rollouts / OPEN.replace("*", f"{step:06d}-p{process}")
