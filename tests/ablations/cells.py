"""One cell after the other, each in a file of its own: a short supervised training, then the variant, both as jobs.

<out>/<key>/seed-0/cold/, hard/, held_out.jsonl                    what the cells of a seed share
<out>/<key>/seed-0/start/                                          the checkpoint that they all begin with
<out>/<key>/seed-0/start.json                                      how it was measured
<out>/<key>/seed-0/<variant>.json                                  a finished cell

The key is a digest of the built-in guard and of the plan, so that cells of different guards never meet in one table.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.checkpoints.folder import BUILTIN_FOLDER, fingerprint
from core.errors import JobError
from core.files import replace_file
from core.settings import BUILTIN
from tests import launching
from tests.ablations import measuring
from tests.ablations.material import Material, make_material
from tests.ablations.table import Cell, Policy
from tests.ablations.variants import FULL, SFT_RECIPE, Variant
from train_jobs.builtin.corpus import DEFAULT_DATA
from train_jobs.grpo.hard_rows import read_hard
from train_jobs.recipes.files import find_recipe, resolve
from train_jobs.runs.files import pretty
from train_jobs.runs.folder import RunFolder, list_runs
from train_jobs.runs.specs import JobKind, JobSpec, JobState

CarryOut = Callable[[Path, JobSpec], RunFolder]
"""Launches a job whose run and checkpoint come into a folder, and waits for its end."""

SHORT: Mapping[str, Any] = {"epochs": 2, "replay": 1.0}
"""The cold start: short, so that there is something left to explore."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of the experiment."""

    hard: int = 40
    """Labelled samples of the cold start, and as many others of what comes after it; of each some three quarters are
    trained on."""
    held_out: int = 160
    answers: int = 8
    """Sampled for each training sample when a checkpoint is measured."""
    sft: Mapping[str, Any] = field(default_factory=lambda: dict(SHORT))
    """Changes to the recipe of the supervised training at the start."""
    grpo: Mapping[str, Any] = field(default_factory=dict)
    """Changes to the recipes of reinforcement of all variants, before their own."""
    data: str = str(DEFAULT_DATA)

    def key(self) -> str:
        """A digest of the guard and the plan."""
        said = json.dumps([fingerprint(BUILTIN_FOLDER), {**asdict(self), "data": ""}], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:12]


class Cells:
    """The cells of one plan under a folder."""

    def __init__(self, out: Path, plan: Plan, carry_out: CarryOut = launching.carry_out) -> None:
        """Use `carry_out` for what is compared; the shared start is always launched directly."""
        self.plan = plan
        self.carry_out = carry_out
        self.folder = out.absolute() / plan.key()

    def done(self, variants: Sequence[Variant], seeds: Sequence[int]) -> list[Cell]:
        """Those that are there and were made with the settings that the variants have now."""
        return [cell for variant in variants for seed in seeds if (cell := self._read(variant, seed)) is not None]

    def missing(self, variants: Sequence[Variant], seeds: Sequence[int]) -> list[tuple[str, int]]:
        """Those that are not; seed by seed."""
        return [(variant.name, seed) for seed in seeds for variant in variants if self._read(variant, seed) is None]

    def run(self, variant: Variant, seed: int) -> Cell:
        """Make one cell; what its seed's cells share is made first where it is not there.

        Raises:
            JobError: a job failed; the message is its sentence. Supervised training alone needs the cell of the whole
                recipe first.
        """
        folder = self.folder / f"seed-{seed}"
        material, before = self._start(seed)
        spec = self._spec(variant, seed, material)
        work = folder / f".{variant.name}"
        run, checkpoint = carried_out(work, spec, self.carry_out)
        report = run.report() or {}
        hard = read_hard(run)
        trained = tuple(before.answers) if hard is None else _of_snapshot(hard.rows)
        after = measuring.measure(
            str(checkpoint), material.snapshot, material.held_out, work / "measured", self.plan.answers
        )
        cell = Cell(
            variant=variant.name,
            seed=seed,
            trained=trained,
            before=before,
            after=after,
            moved=measuring.moved(folder / "start", checkpoint),
            seconds=float(report["seconds"]),
            facts={"settings": dict(spec.settings), "figures": report["figures"], "data": report["data"]},
        )
        replace_file(self._file(variant, seed), pretty(cell.to_json()), durable=False)
        shutil.rmtree(work, ignore_errors=True)
        return cell

    # -- inside -------------------------------------------------------------------------------------------------

    def _file(self, variant: Variant, seed: int) -> Path:
        return self.folder / f"seed-{seed}" / f"{variant.name}.json"

    def _read(self, variant: Variant, seed: int) -> Cell | None:
        path = self._file(variant, seed)
        if not path.is_file():
            return None
        cell = Cell.from_json(json.loads(path.read_bytes()))
        return cell if variant.sft or cell.facts["settings"] == self._settings(variant, seed) else None

    def _settings(self, variant: Variant, seed: int) -> dict[str, Any]:
        changes = {**self.plan.grpo, "seed": seed}
        for key, value in variant.changes.items():
            section = isinstance(value, Mapping) and isinstance(changes.get(key), Mapping)
            changes[key] = {**changes[key], **value} if section else value
        return resolve(find_recipe(variant.recipe), changes)

    def _spec(self, variant: Variant, seed: int, material: Material) -> JobSpec:
        start = str(self.folder / f"seed-{seed}" / "start")
        if not variant.sft:
            values, kind = self._settings(variant, seed), JobKind.GRPO
        else:
            values, kind = self._sft_as_long(seed), JobKind.SFT
        return JobSpec(
            kind, variant.name, settings=values, recipe=variant.recipe, base=start, snapshot=str(material.snapshot)
        )

    def _sft(self, seed: int, **changes: Any) -> dict[str, Any]:
        return resolve(find_recipe(SFT_RECIPE), {**self.plan.sft, "seed": seed, **changes})

    def _sft_as_long(self, seed: int) -> dict[str, Any]:
        """Supervised training with as many epochs as fit into the time that the whole recipe took."""
        whole = [path for path in [self.folder / f"seed-{seed}" / f"{FULL}.json"] if path.is_file()]
        if not whole:
            raise JobError(
                f"Supervised training alone is given the time of {FULL}; run that cell of seed {seed} first."
            )
        seconds = float(json.loads(whole[0].read_bytes())["seconds"])
        start = json.loads((self.folder / f"seed-{seed}" / "start.json").read_bytes())["report"]
        epochs = self._sft(seed)["epochs"]
        an_epoch = start["figures"]["train_seconds"] / epochs
        besides = start["seconds"] - start["figures"]["train_seconds"]
        return self._sft(seed + 1, epochs=max(1, round((seconds - besides) / an_epoch)))

    def _start(self, seed: int) -> tuple[Material, Policy]:
        """What the cells of a seed share."""
        folder = self.folder / f"seed-{seed}"
        kept = folder / "start.json"
        if kept.is_file():
            said = json.loads(kept.read_bytes())
            material = Material(folder / said["cold"], folder / said["hard"], folder / "held_out.jsonl")
            return material, Policy.from_json(said["policy"])
        shutil.rmtree(folder, ignore_errors=True)
        work = folder / ".start"
        guard, media = measuring.load(BUILTIN, work / "measured")
        try:
            plan = self.plan
            material = make_material(folder, guard, Path(plan.data), hard=plan.hard, held_out=plan.held_out, seed=seed)
        finally:
            guard.engine.close()
            media.close()
        spec = JobSpec(JobKind.SFT, "start", settings=self._sft(seed), recipe=SFT_RECIPE, snapshot=str(material.cold))
        run, checkpoint = carried_out(work, spec)
        report = run.report() or {}
        shutil.copytree(checkpoint, folder / "start")
        policy = measuring.measure(
            str(folder / "start"), material.snapshot, material.held_out, work / "measured", self.plan.answers
        )
        shutil.rmtree(work, ignore_errors=True)
        said = {
            "cold": str(material.cold.relative_to(folder)),
            "hard": str(material.snapshot.relative_to(folder)),
            "report": report,
            "moved": measuring.moved(BUILTIN_FOLDER, folder / "start"),
            "policy": policy.to_json(),
        }
        replace_file(kept, pretty(said), durable=False)
        return material, policy


def carried_out(work: Path, spec: JobSpec, carry_out: CarryOut = launching.carry_out) -> tuple[RunFolder, Path]:
    """Launch a job, wait for its end, and give its run and the folder of the checkpoint that it made.

    One that has succeeded here with the same settings before it could be measured is taken as it is.

    Raises:
        JobError: it did not succeed.
    """
    run = next((each for each in list_runs(work / "runs") if _is_done(each, spec)), None)
    if run is None:
        shutil.rmtree(work, ignore_errors=True)
        run = carry_out(work, spec)
    status = run.status()
    if status.state is not JobState.SUCCEEDED:
        raise JobError(f"The job {spec.name} {status.state}: {status.sentence}")
    report = run.report()
    assert report is not None
    return run, work / "checkpoints" / str(report["checkpoint"])


def _is_done(run: RunFolder, spec: JobSpec) -> bool:
    return run.status().state is JobState.SUCCEEDED and run.spec().settings == spec.settings


def _of_snapshot(rows: Sequence[Any]) -> tuple[str, ...]:
    """The samples of a run's hard rows that are no joined ones."""
    return tuple(row.sample.id for row in rows if not row.made_of)


def in_order(missing: Sequence[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Seed by seed, the whole recipe first in each: others are given its time."""
    yield from sorted(missing, key=lambda cell: (cell[1], cell[0] != FULL))
