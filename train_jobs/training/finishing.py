"""The end of a training: its checkpoint goes to the registry, its figures to the report, and the rest goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.checkpoints.registry import Registry
from core.snapshots.folder import Snapshot

if TYPE_CHECKING:
    from train_jobs.runs.context import JobContext


def finish(
    context: JobContext,
    snapshot: Snapshot,
    folder: Path,
    *,
    seconds: float,
    figures: Mapping[str, Any],
    data: Mapping[str, Any],
) -> None:
    """Register the checkpoint folder, write the report, and remove what was only needed to resume.

    Args:
        seconds: the time that this attempt took.
        figures: of the training, for the checkpoint's card and the report.
        data: what was trained on, in counts.

    Raises:
        CheckpointError: the checkpoint cannot be registered.
        OSError: the disk refused.
    """
    registry = Registry(context.run.path.parent.parent)
    card = registry.add(
        folder,
        name=context.spec.name,
        base=registry.id_of(context.spec.base),
        run=context.run.id,
        snapshot=snapshot.manifest.digest,
        recipe=context.spec.recipe,
        author=context.spec.author,
        figures=figures,
        keep=False,
    )
    context.run.write_report(
        {
            "kind": context.spec.kind.value,
            "checkpoint": card.id,
            "snapshot": snapshot.manifest.digest,
            "base": card.base,
            "recipe": context.spec.recipe,
            "seconds": round(seconds, 1),
            "figures": dict(figures),
            "data": dict(data),
        }
    )
    # Optimiser states are three times the weights.
    for saved in context.run.complete_checkpoints():
        context.run.remove_checkpoint(saved.path)
