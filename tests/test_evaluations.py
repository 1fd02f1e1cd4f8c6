"""Laws of evaluations behind the page: what is launched, what is kept, and which jobs a sample's page names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from annotation_store.values.review import SnapshotRef
from app.evaluate import work as evaluations
from app.evaluate.tab import rows_at_most
from app.evaluate.work import Wanted
from app.review import lineage
from app.shared.identity import OwnerGate
from app.shared.media_addresses import MediaAddresses
from app.shared.promotion import registry
from app.shared.services import Services
from core.errors import GuardroomError, InputError
from core.media.store import MediaStore
from core.serving.live import LiveGuard
from core.settings import load_settings
from tests.verdicts import image
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec

ROW = {"id": 1, "request": "How do I bake bread?", "request_label": "unharmful"}


@pytest.fixture
def services(data_root: Path, store: MediaStore) -> Services:
    settings = load_settings()
    assert settings.data == data_root
    return Services(settings, store, LiveGuard(settings, store), OwnerGate.build(False, None))


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "everyday.jsonl"
    path.write_text(json.dumps(ROW), encoding="utf-8")
    return str(path)


def test_the_job_names_whole_paths_and_what_was_wanted(
    services: Services, rows: str, tiny_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_folder("qwen3_vl")
    monkeypatch.chdir(folder.parent)
    spec = evaluations.spec_of(
        services, Wanted(folder.name, files=(rows,), first_look_only=True, limit=7, author="Ann")
    )
    assert (spec.kind, spec.base, spec.author) == (JobKind.EVALUATE, str(folder.resolve()), "Ann")
    assert spec.options["files"] == [rows]
    assert (spec.options["limit"], spec.options["first_look_only"]) == (7, True)
    assert spec.name == f"Evaluation of {folder.name}"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"id": 1, "request": "Hello."}, "has a label"),
        ({"id": 1, "request": "Hello.", "request_label": "bad"}, "line 1: request_label"),
        (ROW | {"media": "gone.png"}, "there is no media file 'gone.png'"),
        (ROW | {"media": "../rows.jsonl"}, "below the file's own folder"),
        ([], "no JSON object"),
    ],
)
def test_a_file_that_cannot_be_scored_is_refused_before_a_job_begins(
    services: Services, tmp_path: Path, content: object, sentence: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=sentence):
        evaluations.spec_of(services, Wanted(files=(str(path),)))


def test_files_that_were_handed_in_are_kept_once_for_jobs_to_come(services: Services, rows: str) -> None:
    [kept] = evaluations.keep_files(services, [rows])
    assert evaluations.keep_files(services, [rows]) == [kept]
    content = Path(rows).read_bytes()
    Path(rows).unlink()
    assert Path(kept).read_bytes() == content
    assert Path(kept).is_relative_to(services.settings.data)
    with pytest.raises(InputError, match="cannot be kept"):
        evaluations.keep_files(services, [rows])


def test_an_address_of_an_evaluations_medium_opens_nothing_else() -> None:
    addresses, ref = MediaAddresses(), image()
    address = addresses.of(ref, "run-1")
    assert address.endswith("&run=run-1")
    key = address.partition("?key=")[2].partition("&")[0]
    assert addresses.opens(ref.digest, "image.png", key, "run-1")
    assert not addresses.opens(ref.digest, "image.png", key, "run-2")
    assert not addresses.opens(ref.digest, "image.png", key)


@pytest.mark.parametrize(("text", "rows"), [("", None), (None, None), ("all", None), ("1,000", 1000), (" 50 ", 50)])
def test_a_number_of_rows_is_read_as_people_write_it(text: str | None, rows: int | None) -> None:
    assert rows_at_most(text) == rows


@pytest.mark.parametrize("text", ["0", "-5", "many", "1.5", "²"])
def test_what_is_no_number_of_rows_gets_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match="no number of rows"):
        rows_at_most(text)


def test_a_samples_page_names_the_jobs_that_used_it_and_the_checkpoints_that_came_of_them(
    services: Services, tiny_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    held = SnapshotRef("n1-bread", "first", "first-folder", "train", "2026-11-21T10:00:00")
    other = services.snapshots / "other-folder"
    runs = {
        name: RunFolder.create(services.runs, JobSpec(JobKind.SFT, name, snapshot=str(folder)), ticket)
        for ticket, (name, folder) in enumerate(
            {"used it": services.snapshots / held.folder, "did not": other}.items(), 1
        )
    }
    copy = shutil.copytree(tiny_folder("qwen3_vl"), tmp_path / "copy")
    made = registry(services).add(copy, name="made", base="builtin", run=runs["used it"].id, snapshot=held.digest)
    [use] = lineage.jobs_of(services, [held])
    assert (use.name, use.kind, use.state, use.split) == ("used it", "training", "queued", "train")
    assert use.checkpoints == (made.id,)
    shutil.rmtree(runs["used it"].path)
    [left] = lineage.jobs_of(services, [held])
    assert (left.run, left.state, left.checkpoints) == (runs["used it"].id, "deleted since", (made.id,))
    assert lineage.jobs_of(services, []) == []


def test_a_job_that_never_reads_the_samples_split_did_not_use_it(services: Services) -> None:
    held = SnapshotRef("n1-bread", "first", "first-folder", "test", "2026-11-21T10:00:00")
    for ticket, kind in enumerate((JobKind.SFT, JobKind.EVALUATE), 1):
        folder = str(services.snapshots / held.folder)
        RunFolder.create(services.runs, JobSpec(kind, kind.value, snapshot=folder), ticket)
    assert [use.kind for use in lineage.jobs_of(services, [held])] == ["evaluation"]
    assert [use.kind for use in lineage.jobs_of(services, [replace(held, split="train")])] == ["training"]


@pytest.mark.parametrize(("said", "split"), [({"split": "validation"}, "validation"), ({"split": "held-out"}, "test")])
def test_an_evaluation_used_the_samples_of_the_split_that_it_scores(
    services: Services, said: dict[str, str], split: str
) -> None:
    held = SnapshotRef("n1-bread", "first", "first-folder", split, "2026-11-21T10:00:00")
    folder = str(services.snapshots / held.folder)
    for ticket, options in enumerate((said, {"split": "everything"}), 1):
        RunFolder.create(
            services.runs, JobSpec(JobKind.EVALUATE, str(ticket), snapshot=folder, options=options), ticket
        )
    assert [use.name for use in lineage.jobs_of(services, [held])] == ["1"], "the other cannot be run"
    other = replace(held, split="test" if split == "validation" else "validation")
    assert lineage.jobs_of(services, [other]) == []


def test_an_evaluation_that_is_none_is_said_to_be_none(services: Services) -> None:
    run = RunFolder.create(services.runs, JobSpec(JobKind.SFT, "a training"), 1)
    run.ask_to_cancel()
    try:
        with pytest.raises(GuardroomError, match="is no evaluation"):
            evaluations.evaluation(services, run.id)
        assert evaluations.evaluations(services) == []
    finally:
        services.launcher().close()
