"""Between the page and the jobs: what can be chosen, what a choice would cost, and the spec that comes of it.

Glue without a page: functions that take the services and give values. Whoever calls them has let the owner pass.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.shared import promotion
from app.shared.promotion import base_source
from app.train.start import counts as snapshot_counts
from core.errors import InputError
from core.settings import BUILTIN, REPOSITORY
from train_jobs.launching.accelerate_file import OPTION as ACCELERATE
from train_jobs.launching.accelerate_file import accelerate_of
from train_jobs.recipes import files as recipes
from train_jobs.runs.folder import utc_now
from train_jobs.runs.specs import JobKind, JobSpec

if TYPE_CHECKING:
    from annotation_store.snapshots.values import SnapshotInfo
    from app.shared.services import Services
    from app.train.start.counts import SnapshotCounts
    from train_jobs.recipes.files import Recipe


@dataclass(frozen=True, slots=True)
class Draft:
    """What the form says."""

    name: str
    snapshot: str | None
    """The digest of a snapshot of the store."""
    recipe: str
    base: str = BUILTIN
    """`builtin`, an id of the registry, a folder or a Hub id."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Values in place of the recipe's."""
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    author: str = "owner"
    cloned_from: str | None = None


# -- what can be chosen -------------------------------------------------------------------------------------------


def known_recipes(services: Services) -> tuple[list[Recipe[Any]], list[str]]:
    """The recipes that can be used, and a sentence for each file that cannot."""
    return recipes.usable_recipes(services.settings.data)


def recipe(services: Services, name: str) -> Recipe[Any]:
    """One recipe.

    Raises:
        JobError: there is none, or its file cannot be used.
    """
    return recipes.find_recipe(name, services.settings.data)


def bases(services: Services) -> list[tuple[str, str]]:
    """Checkpoints to start from, as label and value: the built-in guard, then those of the registry."""
    known = promotion.registry(services)
    choices = {BUILTIN: "Built-in"} | {card.id: f"{card.name} · {card.id}" for card in known.cards()}
    current = promotion.promoted(services)
    if "://" not in current:
        choices.setdefault(current, current)
    return [(f"{label} (promoted)" if value == current else label, value) for value, label in choices.items()]


def devices() -> list[tuple[str, str]]:
    """Where a job can compute, as label and value, the best first."""
    import torch

    found = [
        (f"GPU {at}: {torch.cuda.get_device_name(at)}", f"cuda:{at}")
        for at in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    ]
    if torch.backends.mps.is_available():
        found.append(("Apple's GPU", "mps"))
    return [*found, ("CPU", "cpu")]


def usual_recipe(
    found: Sequence[Recipe[Any]], base: str, device: str, kind: JobKind = JobKind.SFT
) -> Recipe[Any] | None:
    """The recipe of a kind to offer first: the built-in guard's for it and what came of it, else LoRA."""
    own = {each.name: each for each in found if each.kind is kind}
    wanted = f"{kind}-builtin" if device == "cpu" or base == BUILTIN else f"{kind}-omni-v1-lora"
    return own.get(wanted) or next(iter(own.values()), None)


def snapshots(services: Services) -> list[SnapshotInfo]:
    """Those of the store, the newest first.

    Raises:
        StoreError: the database failed.
    """
    from annotation_store.snapshots.listing import snapshots as listed

    return listed(services.store(), services.snapshots)


def snapshot_folder(services: Services, named: str | None) -> Path:
    """The folder of a snapshot by its digest, or a folder that is named outright.

    Raises:
        InputError: none is named.
        StoreError: the store knows none of that digest.
        SnapshotError: the folder is no snapshot.
    """
    from annotation_store.snapshots.listing import snapshot
    from core.snapshots.folder import read_manifest

    if not named:
        raise InputError("No snapshot is chosen; choose one, or freeze one here.")
    folder = Path(named).expanduser()
    if "/" not in named:
        folder = snapshot(services.store(), services.snapshots, named).folder
    read_manifest(folder)
    return folder.absolute()


def counts(services: Services, named: str) -> SnapshotCounts:
    """What a snapshot holds.

    Raises:
        GuardroomError: as `snapshot_folder`, and the snapshot was changed.
    """
    return snapshot_counts.count(snapshot_folder(services, named))


# -- from a choice to a spec --------------------------------------------------------------------------------------


def spec_of(services: Services, draft: Draft) -> JobSpec:
    """The spec of a training, fully resolved and checked.

    Raises:
        GuardroomError: a value cannot be used; the message names it.
    """
    chosen = recipe(services, draft.recipe)
    spec = JobSpec(
        kind=chosen.kind,
        name=" ".join(draft.name.split()) or chosen.name,
        settings=recipes.resolve(chosen, draft.changes),
        recipe=chosen.name,
        base=base_source(services, draft.base),
        snapshot=str(snapshot_folder(services, draft.snapshot)),
        options=_full_path(draft.options),
        device=draft.device,
        author=draft.author,
        created_at=utc_now(),
        cloned_from=draft.cloned_from,
    )
    accelerate_of(spec)
    return spec


def _full_path(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options with the full path of an accelerate file: a job computes in a folder of its own."""
    named = options.get(ACCELERATE)
    if not named or not isinstance(named, str):
        return options
    return {**options, ACCELERATE: str(Path(named).expanduser().absolute())}


_LAUNCHED = ("kind", "name", "recipe", "settings", "base", "snapshot", "options", "device", "author", "cloned_from")


def spec_from_json(services: Services, said: Any) -> JobSpec:
    """The spec that `/launch` is given: `settings` are changes to the recipe, `snapshot` is a digest or a folder.

    Raises:
        GuardroomError: a key is unknown or missing, or a value cannot be used.
    """
    if not isinstance(said, Mapping):
        raise InputError("A job is an object with names and values; the README says which.")
    if unknown := sorted(str(key) for key in said if key not in _LAUNCHED):
        raise InputError(f"A job has no {', '.join(unknown)}; it has: {', '.join(_LAUNCHED)}.")
    if "kind" in said and said["kind"] not in recipes.SETTINGS:
        kinds = " and ".join(recipes.SETTINGS)
        raise InputError(f"/launch starts trainings, of the kinds {kinds}, not {said['kind']!r}; /evaluate scores.")
    for name in ("settings", "options"):
        if not isinstance(said.get(name, {}), Mapping):
            raise InputError(f"A job's {name} must be an object with names and values.")
    for name in ("name", "recipe", "base", "snapshot", "device", "author"):
        if not isinstance(said.get(name, ""), str):
            raise InputError(f"A job's {name} must be a text, not {said[name]!r}.")
    base, device = said.get("base", BUILTIN), said.get("device") or devices()[0][1]
    if said.get("recipe"):
        chosen = recipe(services, said["recipe"])
    else:
        kind = JobKind(said.get("kind", JobKind.SFT))
        usual = usual_recipe(known_recipes(services)[0], base, device, kind)
        if usual is None:
            raise InputError(f"There is no recipe of the kind {kind}.")
        chosen = usual
    if said.get("kind", chosen.kind) != chosen.kind:
        raise InputError(f"The recipe {chosen.name} is of the kind {chosen.kind}, not {said['kind']}.")
    return spec_of(
        services,
        Draft(
            name=said.get("name", ""),
            snapshot=said.get("snapshot"),
            recipe=chosen.name,
            base=base,
            changes=said.get("settings", {}),
            options=said.get("options", {}),
            device=device,
            author=said.get("author") or "api",
            cloned_from=said.get("cloned_from"),
        ),
    )


def different(usual: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not the usual ones; of a section those of its keys alone."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        before = usual[name]
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inside := different(before, value):
                found[name] = inside
        elif value != before:
            found[name] = value
    return found


def command(services: Services, spec: JobSpec) -> str:
    """The shell command that launches exactly this job and follows it; it holds no secret.

    Raises:
        JobError: the recipe is gone.
    """
    from train_jobs.training import estimate as estimating

    usual = recipe(services, spec.recipe or "").settings.model_dump(mode="json")
    teacher = spec.options.get("teacher") or {}
    options = [word for key in ("url", "model") if teacher.get(key) for word in (f"--teacher-{key}", teacher[key])]
    if spec.options.get(ACCELERATE):
        options += ["--accelerate", spec.options[ACCELERATE]]
    words = estimating.command(
        snapshot=spec.snapshot or "",
        base=spec.base,
        recipe=spec.recipe or "",
        name=spec.name,
        device=spec.device,
        changes=different(usual, spec.settings),
        options=options,
    )
    where = f"cd {shlex.quote(str(REPOSITORY))} && GUARDROOM_DATA={shlex.quote(str(services.settings.data.absolute()))}"
    return f"{where} {shlex.quote(sys.executable)} {words.removeprefix('python ')}"
