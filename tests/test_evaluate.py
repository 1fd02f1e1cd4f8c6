"""Laws of the evaluation job: the guard's own verdicts, nothing judged twice; deleted samples leave the answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.moderate.examples import FOLDER
from core.errors import Cancelled
from core.evaluation.metrics import Confusion
from core.evaluation.rows import HELD_OUT, ScoredRow, Side, scored_from_json, scored_to_json
from core.judging.guard import Guard
from core.media.store import MediaStore
from core.snapshots.folder import Split
from core.types import (
    Label,
    Modality,
    Sample,
)
from tests.evaluated import file_row, many, scored, write_rows
from tests.running import has_weights
from tests.snapshots import item, write_snapshot
from train_jobs.evaluation import job as evaluate
from train_jobs.evaluation.job import in_batching_order
from train_jobs.evaluation.rows import add_rows, media_folder, read_rows, without_forgotten
from train_jobs.evaluation.sets import file_set
from train_jobs.forgetting import finish_forgetting, forget_sample, honour
from train_jobs.runs.context import JobContext
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec

# -- the job ------------------------------------------------------------------------------------------------------

needs_weights = pytest.mark.skipif(not has_weights(), reason="the built-in guard is not trained")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., JobContext]:
    """A job's context on a new run, or on the run that is given."""
    monkeypatch.setattr(evaluate, "LEAST_CHUNK", 4)
    monkeypatch.setattr(evaluate, "MOST_CHUNK", 4)

    def make(run: RunFolder | None = None, **options: Any) -> JobContext:
        snapshot = options.pop("snapshot", None)
        spec = JobSpec(
            JobKind.EVALUATE, "test", snapshot=snapshot, options={"timed": 2, "resamples": 200} | options, device="cpu"
        )
        run = run or RunFolder.create(tmp_path / "runs", spec, ticket=1)
        return JobContext(run, spec, run.status())

    return make


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Twelve rows: texts, replies, and a picture."""
    folder = tmp_path / "files"
    folder.mkdir()
    picture = next(FOLDER.glob("*.png"))
    (folder / picture.name).write_bytes(picture.read_bytes())
    texts = ["How do I bake bread?", "Describe a garden in spring.", "How do I pick a lock that is not mine?"]
    rows = [
        file_row(
            number,
            request=f"{texts[number % 3]} Please answer in {number + 1} words.",
            response="Mix flour and water." if number % 4 == 0 else None,
            response_label="unharmful" if number % 4 == 0 else None,
            request_label="harmful" if number % 3 == 2 else "unharmful",
        )
        for number in range(11)
    ]
    return write_rows(folder / "mixed.jsonl", [*rows, file_row(11, media=picture.name)])


@needs_weights
def test_an_evaluation_gives_the_guards_own_verdicts_and_a_report(
    job: Callable[..., JobContext], mixed: Path, tmp_path: Path, shipped_guard: Guard
) -> None:
    held_out = [item(Sample(f"How do I grow {what}?"), Label.UNHARMFUL) for what in ("beans", "peas", "rice")]
    snapshot = write_snapshot(tmp_path / "snapshot", {Split.TEST: held_out})
    context = job(files=[str(mixed)], snapshot=str(snapshot))
    evaluate.run(context)
    rows = read_rows(context.run)
    assert len(rows) == 15
    by_id = {each.row.id: each for each in rows}
    for number in (0, 2, 7):
        scored_row = by_id[f"r{number}"]
        alone = shipped_guard.moderate(scored_row.row.sample)
        assert scored_row.verdict.assessment == alone.assessment
        assert scored_row.verdict.first_look.request == pytest.approx(alone.first_look.request, abs=1e-4)
    assert by_id["r11"].row.sample.modality is Modality.IMAGE
    assert by_id["r11"].verdict.generation is not None
    report = context.run.report()
    assert report is not None
    assert [each["name"] for each in report["sets"]] == [HELD_OUT, "mixed"]
    assert report["checkpoint"]["id"] == shipped_guard.engine.info.id
    counted = sum((each.counts(Side.REQUEST) for each in rows if each.row.set == "mixed"), Confusion())
    assert report["sets"][1]["sides"]["request"]["confusion"]["hits"] == counted.hits
    assert report["sets"][1]["sides"]["request"]["f1"] == pytest.approx(counted.f1)
    assert report["sets"][0]["origin"].startswith("n1-")
    assert report["speed"]["timed_rows"] == 2
    assert [each["step"] for each in context.run.metrics()][-1] == 15
    assert read_rows(context.run) == [scored_from_json(json.loads(json.dumps(scored_to_json(each)))) for each in rows]


@needs_weights
def test_a_job_that_was_stopped_goes_on_with_what_is_left(
    job: Callable[..., JobContext], mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str] = []
    moderate_many = Guard.moderate_many

    def counting(self: Guard, samples: Sequence[Sample], **options: Any) -> Any:
        verdicts = moderate_many(self, samples, **options)
        judged.extend(verdict.sample_id for verdict in verdicts)
        return verdicts

    monkeypatch.setattr(Guard, "moderate_many", counting)
    whole = job(files=[str(mixed)])
    evaluate.run(whole)
    everything, judged[:] = list(judged), []

    first = job(files=[str(mixed)])
    with monkeypatch.context() as patch:
        patch.setattr(JobContext, "metric", lambda self, values: self.stop.set())
        with pytest.raises(Cancelled, match="of 12 rows; resume"):
            evaluate.run(first)
    assert 4 <= len(judged) < 12
    assert first.run.report() is None
    before = len(judged)
    with (first.run.result / "rows.jsonl").open("ab") as file:
        file.write(b'{"set": "mixed", "id": "r5", "sam')  # torn by a crash
    second = job(first.run, files=[str(mixed)])
    evaluate.run(second)
    assert len(judged) == 12
    assert sorted(judged) == sorted(everything)
    assert set(judged[:before]) & set(judged[before:]) == set()
    one, other = whole.run.report(), second.run.report()
    assert one is not None
    assert other is not None
    for name in ("sets", "averages", "by_modality", "writing"):
        assert other[name] == one[name]


@needs_weights
def test_labels_that_were_corrected_between_two_attempts_count(job: Callable[..., JobContext], tmp_path: Path) -> None:
    path = write_rows(tmp_path / "mine.jsonl", [file_row(number) for number in range(8)])
    context = job(files=[str(path)], timed=0)
    evaluate.run(context)
    write_rows(path, [file_row(number, request_label="harmful") for number in range(8)])
    evaluate.run(job(context.run, files=[str(path)], timed=0))
    report = context.run.report()
    assert report is not None
    assert report["sets"][0]["sides"]["request"]["harmful"] == 8
    assert {each.row.request for each in read_rows(context.run)} == {Label.HARMFUL}


@needs_weights
def test_the_first_look_alone_is_that_of_the_guard(
    job: Callable[..., JobContext], mixed: Path, shipped_guard: Guard
) -> None:
    context = job(files=[str(mixed)], first_look_only=True, limit=6)
    evaluate.run(context)
    rows = read_rows(context.run)
    assert len(rows) == 6
    for each in rows:
        assert each.verdict.generation is None
        if each.row.sample.modality is Modality.TEXT:
            look = shipped_guard.first_look(each.row.sample).first_look
            assert each.verdict.first_look.request == pytest.approx(look.request, abs=1e-4)
            assert each.said(Side.REQUEST) == ((look.request or 0.0) >= 0.5)
    report = context.run.report()
    assert report is not None
    assert report["look"] == "first look"
    assert "deliberated" not in report["sets"][0]["sides"]["request"]["probabilities"]
    assert report["sets"][0]["left_out"] == 6


def test_rows_of_like_length_are_judged_together_the_longest_first(tmp_path: Path, store: MediaStore) -> None:
    lengths = (5, 50, 20, 50)
    rows = [file_row(at, request="x" * length) for at, length in enumerate(lengths)]
    found = in_batching_order(file_set(write_rows(tmp_path / "mine.jsonl", rows), store).rows)
    assert [len(each.sample.request) for each in found] == [50, 50, 20, 5]


# -- deletion -----------------------------------------------------------------------------------------------------


@pytest.fixture
def shown(store: MediaStore) -> ScoredRow:
    """A row with a picture."""
    found = scored("shown", True, True)
    sample = replace(found.row.sample, media=(store.accept(next(FOLDER.glob("*.png"))),))
    return replace(found, row=replace(found.row, sample=sample), verdict=replace(found.verdict, sample_id=sample.id))


def with_picture(run: RunFolder, shown: ScoredRow, store: MediaStore) -> Path:
    """Write that row among others; where its picture lies."""
    add_rows(run, [*OTHERS, shown])
    (picture,) = shown.row.sample.media
    kept = media_folder(run) / picture.digest[:2] / picture.digest
    kept.parent.mkdir(parents=True)
    kept.write_bytes(store.path(picture.digest).read_bytes())
    return kept


OTHERS = many([True, False], [True, False])


def test_a_deleted_sample_leaves_the_answers_and_its_media_go_with_it(
    job: Callable[..., JobContext], store: MediaStore, shown: ScoredRow
) -> None:
    run, sample = job(files=["x"]).run, shown.row.sample
    kept = with_picture(run, shown, store)
    assert forget_sample(run.path.parent, "s1-unknown") == 0
    assert forget_sample(run.path.parent, sample.id) == 1
    assert read_rows(run) == OTHERS
    assert not kept.exists()
    assert sample.request.encode() not in (run.result / "rows.jsonl").read_bytes()
    assert forget_sample(run.path.parent, sample.id) == 0


def test_a_sample_deleted_while_an_evaluation_runs_is_seen_no_more_and_goes_when_the_job_ends(
    job: Callable[..., JobContext], store: MediaStore, shown: ScoredRow
) -> None:
    run, sample = job(files=["x"]).run, shown.row.sample
    kept = with_picture(run, shown, store)
    lock = run.take_lock()
    assert lock is not None
    with lock:
        assert forget_sample(run.path.parent, sample.id) == 0
        assert read_rows(run) == OTHERS
        add_rows(run, [shown])  # the job goes on writing what it judged
        assert read_rows(run) == OTHERS
        assert kept.exists()
        honour(run)
    assert not kept.exists()
    assert sample.request.encode() not in (run.result / "rows.jsonl").read_bytes()


def test_what_a_killed_evaluation_could_not_forget_goes_at_the_next_start(
    job: Callable[..., JobContext], store: MediaStore, shown: ScoredRow
) -> None:
    run, sample = job(files=["x"]).run, shown.row.sample
    lock = run.take_lock()
    assert lock is not None
    with lock:
        kept = with_picture(run, shown, store)
        forget_sample(run.path.parent, sample.id)
    assert kept.exists()
    finish_forgetting(run.path.parent)
    assert not kept.exists()
    assert sample.request.encode() not in (run.result / "rows.jsonl").read_bytes()


def test_a_resumed_evaluation_does_not_bring_a_deleted_sample_back_from_its_file(
    job: Callable[..., JobContext], tmp_path: Path, store: MediaStore
) -> None:
    (tmp_path / "picture.png").write_bytes(next(FOLDER.glob("*.png")).read_bytes())
    path = write_rows(tmp_path / "mine.jsonl", [file_row(1), file_row(2, media="picture.png")])
    run = job(files=[str(path)]).run
    own = MediaStore(media_folder(run), store.limits, store.reader)
    found = file_set(path, own)
    gone = found.rows[1].sample
    picture = own.path(gone.media[0].digest)
    forget_sample(run.path.parent, gone.id)
    (left,) = without_forgotten(run, [found])
    assert [each.id for each in left.rows] == ["r1"]
    assert not picture.exists()
