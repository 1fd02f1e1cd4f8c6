"""Laws of what lies between the page and the jobs: counts, leaks, specs, commands and estimates of a real snapshot."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.shared.identity import OwnerGate
from app.shared.services import Services
from app.train.runs import present as run_present
from app.train.runs import views as run_views
from app.train.start import counts as snapshot_counts
from app.train.start import drafts as training
from app.train.start import estimate as train_estimate
from app.train.start import leakage
from app.train.start.drafts import Draft
from core.errors import CheckpointError, GuardroomError, InputError
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.serving.live import LiveGuard
from core.settings import Settings
from core.snapshots.folder import Split
from core.types import Label, Sample
from tests.snapshots import item, write_snapshot
from tests.train_data import samples
from train_jobs import launch
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobState
from train_jobs.training.estimate import Estimate


@pytest.fixture
def services(data_root: Path) -> Iterator[Services]:
    settings = Settings(data=data_root, device="cpu")
    media = MediaStore(data_root / "media", MediaLimits(), VideoReader(MediaLimits()))
    made = Services(settings, media, LiveGuard(settings, media), OwnerGate.build(False, None))
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = samples(12)
    rows = [item(each, Label.HARMFUL, Label.UNHARMFUL if each.response else Label.ABSENT, "other") for each in made]
    return write_snapshot(
        tmp_path / "snapshot", {Split.TRAIN: rows[:8], Split.VALIDATION: rows[8:11], Split.TEST: rows[11:]}
    )


def test_every_row_is_counted_in_every_facet(folder: Path) -> None:
    found = snapshot_counts.count(folder)
    assert found.rows == {Split.TRAIN: 8, Split.VALIDATION: 3, Split.TEST: 1}
    for facet in found.facets.values():
        for split, rows in found.rows.items():
            assert sum(by[split] for by in facet.values()) == rows
    assert found.without_reasoning == 8
    answered = found.facets["response"]["unharmful"][Split.VALIDATION]
    assert found.labelled_sides(Split.VALIDATION) == 3 + answered


def test_only_the_training_split_leaks(folder: Path, tmp_path: Path) -> None:
    made = samples(12)
    file = tmp_path / "set.jsonl"
    lines = [json.dumps({"id": at, "request": f"  {each.request.upper()} "}) for at, each in enumerate(made)]
    file.write_text("\n".join(lines), encoding="utf-8")
    report = leakage.check(folder, file, 1000)
    assert (report.rows, report.train, report.exact) == (12, 8, 8)
    assert {leak.row for leak in report.leaks if leak.similarity == 1} == {str(at) for at in range(8)}


def test_the_command_launches_the_very_job_that_the_form_describes(services: Services, folder: Path) -> None:
    said = Draft(
        "It's a test", str(folder), "sft-builtin", changes={"epochs": 2, "precision": "auto"},
        options={"teacher": {"url": "http://localhost:8000/v1", "model": None}},
    )  # fmt: skip
    spec = training.spec_of(services, said)
    words = shlex.split(training.command(services, spec))
    again = launch.read_spec(words[words.index("train_jobs.launch") + 1 :], services.settings.data)
    for name in ("kind", "name", "settings", "recipe", "base", "snapshot", "options", "device"):
        assert getattr(again, name) == getattr(spec, name), name
    assert f"GUARDROOM_DATA={services.settings.data}" in words


def test_the_command_of_a_reinforcement_holds_what_differs_and_the_accelerate_file(
    services: Services, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "two processes.yaml"
    file.write_text("use_cpu: true\nnum_processes: 2\n", encoding="utf-8")
    changes = {"generations": 4, "reward": {"form": "omni-v2"}, "preprocessing": None}
    for recipe in ("grpo-builtin", "sft-builtin"):
        some = changes if recipe.startswith("grpo") else {"epochs": 2}
        said = Draft("rl", str(folder), recipe, changes=some, options={"accelerate": str(file)})
        spec = training.spec_of(services, said)
        words = shlex.split(training.command(services, spec))
        again = launch.read_spec(words[words.index("train_jobs.launch") + 1 :], services.settings.data)
        for name in ("kind", "settings", "recipe", "options", "device"):
            assert getattr(again, name) == getattr(spec, name), name
    assert words.count("--set") == 1, "what is the recipe's is not repeated"
    with pytest.raises(GuardroomError, match=r"gone\.yaml cannot be read"):
        training.spec_of(services, Draft("rl", str(folder), "sft-builtin", options={"accelerate": "gone.yaml"}))


@pytest.mark.parametrize("recipe", ["sft-builtin", "grpo-builtin"])
def test_the_usual_recipe_goes_with_stage_base_and_device(services: Services, recipe: str) -> None:
    found, problems = training.known_recipes(services)
    assert problems == []
    kind = JobKind(recipe.partition("-")[0])

    def usual(base: str, device: str) -> str:
        chosen = training.usual_recipe(found, base, device, kind)
        assert chosen is not None
        return chosen.name

    assert usual("builtin", "cpu") == usual("owner/name", "cpu") == usual("builtin", "cuda:0") == recipe
    assert usual("owner/name", "cuda:0") == f"{kind}-omni-v1-lora"


def test_an_estimate_of_a_reinforcement_counts_the_labelled_samples(services: Services, folder: Path) -> None:
    from core.checkpoints.folder import BUILTIN_FOLDER

    if not list(BUILTIN_FOLDER.glob("*.safetensors")):
        pytest.skip("the built-in guard is not trained")
    spec = training.spec_of(services, Draft("n", str(folder), "grpo-builtin"))
    found, why = train_estimate.known(services, spec)
    assert why == ""
    assert found is not None
    assert "which of 8 samples are hard" in " ".join(found.words)


def test_an_estimate_grows_with_the_work_and_says_so_where_nothing_is_known(services: Services, folder: Path) -> None:
    from core.checkpoints.folder import BUILTIN_FOLDER

    if not list(BUILTIN_FOLDER.glob("*.safetensors")):
        pytest.skip("the built-in guard is not trained")

    def weighed(**changes: object) -> Estimate:
        spec = training.spec_of(services, Draft("n", str(folder), "sft-builtin", changes=changes))
        return train_estimate.weigh(services, spec)

    usual = weighed()
    assert usual.memory.total > usual.memory.weights > 1_000_000
    assert weighed(epochs=12).steps > usual.steps
    assert weighed(batch=64, micro_batch=64).memory.activations > usual.memory.activations
    away = training.spec_of(services, Draft("n", str(folder), "sft-builtin", base="owner/name"))
    found, why = train_estimate.known(services, away)
    assert found is None
    assert "not on this machine yet" in why
    with pytest.raises(CheckpointError):
        train_estimate.weigh(services, away)


@pytest.mark.parametrize("snapshot", [None, "", "/nowhere"])
def test_without_a_snapshot_there_is_no_job(services: Services, snapshot: str | None) -> None:
    with pytest.raises((InputError, GuardroomError), match="snapshot"):
        training.spec_of(services, Draft("n", snapshot, "sft-builtin"))


def test_a_clone_describes_the_job_that_it_was_made_of(services: Services, folder: Path) -> None:
    spec = training.spec_of(services, Draft("first", str(folder), "sft-builtin", changes={"epochs": 2}))
    rl = training.spec_of(services, Draft("second", str(folder), "grpo-vl", changes={"reward": {"floor": 0.1}}))
    for made in (spec, rl):
        draft = run_views.draft_of(services, made, "run-1")
        assert draft.cloned_from == "run-1"
        again = training.spec_of(services, Draft(made.name, str(folder), draft.recipe, draft.base, draft.changes))
        assert (again.kind, again.settings, again.base) == (made.kind, made.settings, made.base)


def test_runs_that_cannot_be_read_stay_in_the_list_with_the_reason(services: Services, folder: Path) -> None:
    spec = training.spec_of(services, Draft("first", str(folder), "sft-builtin"))
    whole = RunFolder.create(services.runs, spec, 1)
    whole.append_metric({"step": 1, "loss": 0.5, "validation_f1": 0.25})
    whole.append_metric({"step": 2, "loss": 0.25, "validation_f1": 0.125})
    whole.advance(JobState.CANCELLED)
    torn = RunFolder.create(services.runs, spec, 2)
    torn.advance(JobState.CANCELLED)
    (torn.path / "spec.json").write_text("{")
    found = {line.id: line for line in run_views.lines(services)}
    assert (found[whole.id].f1, found[whole.id].loss, found[whole.id].data) == (0.125, 0.25, "by hand")
    assert found[whole.id].chosen is None
    assert "cannot be read" in found[torn.id].problem
    assert run_views.view(services, whole.id).spec.kind is JobKind.SFT
    assert run_views.export_forms(services, "nobody") == ()


@pytest.mark.parametrize(("f1", "chosen", "words"), [(0.25, True, "best, kept"), (0.125, False, "last, kept")])
def test_the_list_shows_the_f1_of_the_checkpoint_that_was_kept(
    services: Services, folder: Path, f1: float, chosen: bool, words: str
) -> None:
    run = RunFolder.create(services.runs, training.spec_of(services, Draft("first", str(folder), "sft-builtin")), 1)
    for step, value in enumerate((0.25, 0.125)):
        run.append_metric({"step": step, "validation_f1": value})
    run.advance(JobState.RUNNING)
    run.write_report({"figures": {"validation_f1": f1, "chosen_by_validation": chosen}})
    run.advance(JobState.SUCCEEDED)
    [line] = run_views.lines(services)
    assert (line.f1, line.chosen) == (f1, chosen)
    assert f"{f1:.3f} ({words})" in run_present.runs([line], None, 0.0)


def test_a_sample_without_words_never_leaks() -> None:
    empty = leakage.Piece("a", Sample("", None).request)
    assert leakage.find_leaks([empty], [empty]) == []
