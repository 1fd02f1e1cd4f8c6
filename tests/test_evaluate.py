"""Laws of evaluation: the right rows, the guard's own verdicts, nothing judged twice, figures that follow from rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.examples import FOLDER
from core.errors import Cancelled, InputError, JobError, SnapshotError
from core.evaluation import HELD_OUT, VALIDATION, Side, scored_from_json, scored_to_json
from core.guard import Guard
from core.media import MediaStore
from core.metrics import Confusion
from core.snapshot import Split
from core.types import (
    Assessment,
    CheckpointInfo,
    FinishReason,
    Generation,
    HarmProbability,
    Label,
    Modality,
    Preprocessing,
    Sample,
)
from tests.evaluated import many, scored
from tests.running import has_weights
from tests.snapshots import item, write_snapshot
from train_jobs import evaluate
from train_jobs.context import JobContext
from train_jobs.evaluate import EvaluateOptions, in_batching_order, read_sets
from train_jobs.evaluation_report import CURVE_POINTS, Circumstances, build_report
from train_jobs.evaluation_rows import add_rows, forget_sample, media_folder, read_rows
from train_jobs.evaluation_sets import EvaluationSet, file_set, find_files, part_of, snapshot_set
from train_jobs.published import published
from train_jobs.runs import RunFolder
from train_jobs.specs import JobKind, JobSpec


def row(number: int | str, **changes: Any) -> dict[str, Any]:
    """A line of a file."""
    return {
        "id": f"r{number}", "benchmark": "Mine", "modality": "text", "request": f"Tell me about bread, {number}.",
        "response": None, "media": None, "request_label": "unharmful", "response_label": None, "category": "baking",
        "source": "here", "licence": "MIT",
    } | changes  # fmt: skip


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    return path


# -- files --------------------------------------------------------------------------------------------------------


def test_a_file_becomes_rows_with_their_true_labels(tmp_path: Path, store: MediaStore) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "p.png").write_bytes(next(FOLDER.glob("*.png")).read_bytes())
    path = write(
        tmp_path / "mine.jsonl",
        [
            row(1, request_label="harmful", category="a|b"),
            row(2, request_label=None),
            row(3, response="A reply.", request_label=None, response_label="harmful", category=None),
            row(4, media="pictures/p.png", request=""),
            row(5, id=17, response="A reply.", request_label="unharmful", extra={"key": 1}),
        ],
    )
    found = file_set(path, store)
    assert (found.name, found.origin, found.benchmark, found.unlabelled) == ("mine", "mine.jsonl", "Mine", 1)
    one, three, four, five = found.rows
    assert (one.id, one.request, one.response, one.categories) == ("r1", Label.HARMFUL, Label.ABSENT, ("a", "b"))
    assert (three.request, three.response, three.categories) == (Label.UNLABELLED, Label.HARMFUL, ())
    assert [three.truth(side) for side in Side] == [None, True]
    assert four.sample.modality is Modality.IMAGE
    assert store.path(four.sample.media[0].digest).is_file()
    assert (five.id, five.response) == ("17", Label.UNLABELLED)


REFUSED: dict[str, tuple[Any, str]] = {
    "no object": ([1], "no JSON object"),
    "no id": (row(1, id=None), "id is 'None'"),
    "an empty id": (row(1, id=""), "id is ''"),
    "no request": (row(1, request=None), "request is 'None'; a text"),
    "nothing at all": (row(1, request=" "), "neither a request nor a medium"),
    "a label of another word": (
        row(1, request_label="unsafe"),
        "request_label is 'unsafe'; harmful, unharmful or null",
    ),
    "a label of another kind": (row(1, request_label=["harmful"]), "request_label"),
    "a label without a response": (row(1, response_label="harmful"), "there is no response"),
    "a response of another kind": (row(1, response=3), "response is '3'; a text"),
    "media above": (row(1, media="../secret.png"), "below the file's own folder"),
    "media at the root": (row(1, media="/etc/passwd"), "below the file's own folder"),
    "media with a NUL": (row(1, media="a\0b"), "below the file's own folder"),
    "media behind a link": (row(1, media="out/secret.png"), "leads out"),
    "media that are not there": (row(1, media="none.png"), "is not there any more"),
    "media that are none": (row(1, media="mine.jsonl"), '"mine.jsonl"'),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_line_that_is_not_of_the_schema_is_named(case: str, tmp_path: Path, store: MediaStore) -> None:
    line, words = REFUSED[case]
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.png").write_bytes(b"x")
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path / "outside", target_is_directory=True)
    path = write(folder / "mine.jsonl", [row(0), line])
    with pytest.raises(InputError, match=words) as caught:
        file_set(path, store)
    assert "mine.jsonl, line 2" in str(caught.value)


def test_a_second_row_of_the_same_id_is_refused(tmp_path: Path, store: MediaStore) -> None:
    with pytest.raises(InputError, match=r"line 3: another row has the id 'r1'"):
        file_set(write(tmp_path / "mine.jsonl", [row(1), row(2), row(1)]), store)


def test_a_folder_stands_for_its_files_and_each_is_taken_once(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    names = [write(tmp_path / f"{name}.jsonl", [row(1)]) for name in ("b", "a")]
    write(tmp_path / "train" / "c.jsonl", [row(1)])
    assert find_files([str(tmp_path)]) == sorted(names)
    assert find_files([str(names[0]), str(tmp_path)]) == names
    with pytest.raises(InputError, match="no evaluation file or folder"):
        find_files([str(tmp_path / "none")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no evaluation file"):
        find_files([str(tmp_path / "empty")])
    other = write(tmp_path / "train" / "a.jsonl", [row(1)])
    with pytest.raises(InputError, match="Two evaluation files are called a"):
        find_files([str(tmp_path), str(other)])
    with pytest.raises(InputError, match="name of a split"):
        find_files([str(write(tmp_path / "held-out.jsonl", [row(1)]))])


def test_a_part_is_the_same_rows_for_everybody_and_in_their_order(tmp_path: Path, store: MediaStore) -> None:
    whole = file_set(write(tmp_path / "mine.jsonl", [row(number) for number in range(50)]), store)
    part = part_of(whole, 10, seed=3)
    assert part == part_of(whole, 10, seed=3)
    assert part.rows != part_of(whole, 10, seed=4).rows
    assert part.left_out == 40
    assert [each for each in whole.rows if each in part.rows] == list(part.rows)
    assert part_of(whole, 50, seed=3) is part_of(whole, None, seed=3) is whole


def test_only_the_asked_split_of_a_snapshot_is_scored(tmp_path: Path, store: MediaStore) -> None:
    rows = {
        Split.TRAIN: [item(Sample("train"), Label.HARMFUL)],
        Split.VALIDATION: [item(Sample("validation"), Label.HARMFUL)],
        Split.TEST: [
            item(Sample("test", "reply"), Label.UNLABELLED, Label.HARMFUL, "weapons"),
            item(Sample("unlabelled", "reply"), Label.UNLABELLED, Label.UNLABELLED),
        ],
    }
    folder = write_snapshot(tmp_path / "snapshot", rows)
    test, validation = snapshot_set(folder, HELD_OUT, store), snapshot_set(folder, VALIDATION, store)
    assert [each.sample.request for each in test.rows] == ["test"]
    assert (test.unlabelled, test.rows[0].set, test.rows[0].categories) == (1, HELD_OUT, ("weapons",))
    assert [each.sample.request for each in validation.rows] == ["validation"]
    (folder / "test.jsonl").write_text("")
    with pytest.raises(SnapshotError, match="not what was frozen"):
        snapshot_set(folder, HELD_OUT, store)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sets": []}, "no option sets; it has: files"),
        ({"files": "a.jsonl"}, "must be a list of paths"),
        ({"files": [""]}, "must be a list of paths"),
        ({"split": "train"}, "must be held-out or validation"),
        ({"limit": 0}, "limit must be a whole number of at least 1"),
        ({"limit": True}, "limit must be"),
        ({"resamples": 1}, "resamples must be"),
        ({"timed": -1}, "timed must be"),
        ({"seed": "x"}, "seed must be"),
        ({"first_look_only": 1}, "first_look_only must be"),
        ({"engine_model": 1}, "engine_model must be"),
    ],
)
def test_options_that_cannot_be_used_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(JobError, match=words):
        EvaluateOptions.from_json(options)


def test_nothing_to_evaluate_on_is_said(tmp_path: Path, store: MediaStore) -> None:
    with pytest.raises(JobError, match=r"name a snapshot, or options\.files"):
        read_sets(None, EvaluateOptions(), store)
    path = write(tmp_path / "mine.jsonl", [row(1, request_label=None)])
    with pytest.raises(JobError, match="None of the rows of mine is labelled"):
        read_sets(None, EvaluateOptions(files=(str(path),)), store)


# -- what counts as said ------------------------------------------------------------------------------------------

WRITTEN = Generation("…", 10, FinishReason.STOP, 0.1, 0.2)
BOTH = Assessment(Label.HARMFUL, Label.UNHARMFUL)


@pytest.mark.parametrize(
    ("changes", "request_said", "response_said", "readable"),
    [
        ({"assessment": BOTH}, True, False, True),
        # The label counts, whatever the probabilities are.
        ({"assessment": BOTH, "deliberated": HarmProbability(0.1, 0.9)}, True, False, True),
        ({"assessment": None}, None, None, False),
        # Nothing of an answer that cannot be read is taken from the first look.
        ({"assessment": None, "first_look": HarmProbability(0.9, 0.9)}, None, None, False),
        # A side that the reasoning was not about is called by its first look.
        ({"assessment": Assessment(Label.HARMFUL, Label.UNLABELLED)}, True, True, True),
        (
            {"assessment": Assessment(Label.HARMFUL, Label.UNLABELLED), "first_look": HarmProbability()},
            True,
            None,
            True,
        ),
        # The first look alone.
        ({"assessment": None, "generation": None}, False, True, True),
        ({"assessment": None, "generation": None, "first_look": HarmProbability(0.5, 0.49)}, True, False, True),
        ({"assessment": None, "generation": None, "first_look": HarmProbability()}, None, None, False),
    ],
)
def test_the_label_that_was_written_is_what_was_said(
    changes: dict[str, Any], request_said: bool | None, response_said: bool | None, readable: bool
) -> None:
    values: dict[str, Any] = {"generation": WRITTEN, "first_look": HarmProbability(0.2, 0.8)} | changes
    found = scored(1, True, True, response=(True, True))
    found = replace(found, verdict=replace(found.verdict, **values))
    assert (found.said(Side.REQUEST), found.said(Side.RESPONSE)) == (request_said, response_said)
    assert found.is_readable == readable
    assert found.is_wrong == (request_said is not True or response_said is not True)


# -- the report ---------------------------------------------------------------------------------------------------

INFO = CheckpointInfo("guard-1", "builtin", "p-1", Preprocessing("x", 1.0, 1, 1, 2, 1, 2), 512, 100)


def report_of(rows: Sequence[Any], benchmarks: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    names = list(dict.fromkeys(each.row.set for each in rows))
    sets = [
        EvaluationSet(name, name, (benchmarks or {}).get(name, ""), tuple(r.row for r in rows if r.row.set == name), 0)
        for name in names
    ]
    how = replace(Circumstances(INFO, "transformers", "cpu", "float32", True, resamples=200), **changes)
    report: dict[str, Any] = json.loads(json.dumps(build_report(rows, sets, how, published()), allow_nan=False))
    return report


def test_the_average_is_weighted_by_labelled_samples_and_harmless_sets_count_as_false_alarms() -> None:
    rows = [
        *many([True] * 30, [True] * 30, set="a"),
        *many([True] * 10, [False] * 10, set="b"),
        *many([False] * 20, [True] * 5 + [False] * 15, set="harmless"),
        *many([None] * 40, [True] * 40, set="unlabelled"),
    ]
    report = report_of(rows)
    average = report["averages"]["request"]
    assert average["f1"] == pytest.approx(30 / 40)
    assert average["sets"] == ["a", "b"]
    assert average["labelled"] == 40
    assert average["false_alarms"] == 0.25
    low, high = average["f1_interval"]
    assert low <= average["f1"] <= high
    assert report["averages"]["response"]["f1"] is None
    assert report["sets"][3]["sides"] == {}
    assert report["sets"][2]["sides"]["request"]["f1"] is None


def test_the_requests_of_response_sets_do_not_count_twice_in_the_average() -> None:
    rows = many([True] * 10, [False] * 10, set="x", response=(True, True)) + many([True] * 10, [True] * 10, set="y")
    counted = report_of(rows, {"x": "XSTestResponseHarmful"})["averages"]
    assert (counted["request"]["f1"], counted["request"]["sets"]) == (1.0, ["y"])
    assert counted["response"]["f1"] == 1.0
    assert report_of(rows)["averages"]["request"]["f1"] == 0.5


def test_every_figure_of_a_side_follows_from_its_rows() -> None:
    rows = many([True, True, False, False, True], [True, False, True, False, "unreadable"])
    found = report_of(rows)["sets"][0]
    side = found["sides"]["request"]
    assert side["confusion"] == {"hits": 1, "false_alarms": 1, "misses": 2, "passes": 1}
    assert (side["f1"], side["precision"], side["recall"]) == (pytest.approx(2 / 5), 0.5, pytest.approx(1 / 3))
    assert (side["false_alarms"], side["unreadable"]) == (0.5, 1)
    assert side["probabilities"]["deliberated"]["rows"] == 4
    assert side["probabilities"]["first_look"]["rows"] == 5
    assert found["writing"]["unreadable_share"] == 0.2
    assert found["by_category"]["some"]["confusion"] == side["confusion"]
    assert found["by_modality"]["text"]["rows"] == 5
    assert "response" not in found["sides"]


def test_curves_stay_small_however_many_rows_there_are() -> None:
    rows = [scored(at, at % 3 == 0, True, p=(at + 0.5) / 3000) for at in range(3000)]
    looks = report_of(rows)["sets"][0]["sides"]["request"]["probabilities"]["deliberated"]
    assert len(looks["precision_recall"]) == CURVE_POINTS
    assert len(looks["reliability"]) == 10


def test_published_figures_stand_beside_the_same_whole_set_only() -> None:
    rows = many([True], [True], set="simple_safety_tests")
    (beside,) = report_of(rows, {"simple_safety_tests": "SimpleSafetyTests"})["sets"][0]["published"]
    assert (beside["model"], beside["f1"], beside["source"]) == ("GuardReasoner-VL-7B", 98.99, "arXiv 2505.11049")
    assert report_of(rows)["sets"][0]["published"] == []
    part = EvaluationSet("x", "x", "SimpleSafetyTests", (rows[0].row,), 0, left_out=99)
    how = Circumstances(INFO, "transformers", "cpu", "float32", True, resamples=200)
    assert build_report(many([True], [True], set="x"), [part], how, published())["sets"][0]["published"] == []


def test_tokens_and_times_are_those_of_the_rows() -> None:
    cut = Generation("…", 100, FinishReason.LENGTH, 0.1, 2.0)
    rows = [scored(1, True, True), scored(2, True, "unreadable", generation=cut)]
    report = report_of(rows, batched={"rows": 2, "seconds": 0.5}, one_by_one=[(0.1, 1.0), (None, 3.0)])
    assert report["writing"]["mean_tokens"] == 56
    assert (report["writing"]["cut_off"], report["writing"]["most_tokens"]) == (1, 100)
    assert report["speed"]["batched_rows_per_s"] == 4.0
    assert report["speed"]["latency_s"] == {"median": 2.0, "p95": 3.0}
    assert report["speed"]["first_piece_s"] == {"median": 0.1, "p95": 0.1}


def test_every_published_figure_is_one() -> None:
    figures = published()
    assert len(figures.figures) == 18
    assert len({(each.benchmark, each.side, each.model) for each in figures.figures}) == 18
    told = [(each.f1, each.source) for each in figures.figures]
    told += [(each.f1, each.source) for each in figures.averages]
    assert all(0 < f1 < 100 and "arXiv" in source for f1, source in told)
    assert {each.benchmark for each in figures.on("HarmBenchPrompt")} == {"HarmBenchPrompt"}
    assert figures.on("") == ()


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
        row(
            number,
            request=f"{texts[number % 3]} Please answer in {number + 1} words.",
            response="Mix flour and water." if number % 4 == 0 else None,
            response_label="unharmful" if number % 4 == 0 else None,
            request_label="harmful" if number % 3 == 2 else "unharmful",
        )
        for number in range(11)
    ]
    return write(folder / "mixed.jsonl", [*rows, row(11, media=picture.name)])


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
    path = write(tmp_path / "mine.jsonl", [row(number) for number in range(8)])
    context = job(files=[str(path)], timed=0)
    evaluate.run(context)
    write(path, [row(number, request_label="harmful") for number in range(8)])
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
    rows = [row(at, request="x" * length) for at, length in enumerate(lengths)]
    found = in_batching_order(file_set(write(tmp_path / "mine.jsonl", rows), store).rows)
    assert [len(each.sample.request) for each in found] == [50, 50, 20, 5]


# -- deletion -----------------------------------------------------------------------------------------------------


def test_a_deleted_sample_leaves_the_answers_and_its_media_go_with_it(
    job: Callable[..., JobContext], store: MediaStore
) -> None:
    picture = store.accept(next(FOLDER.glob("*.png")))
    run = job(files=["x"]).run
    rows = many([True, False], [True, False])
    shown = scored("shown", True, True)
    sample = replace(shown.row.sample, media=(picture,))
    shown = replace(shown, row=replace(shown.row, sample=sample), verdict=replace(shown.verdict, sample_id=sample.id))
    add_rows(run, [*rows, shown])
    kept = media_folder(run) / picture.digest[:2] / picture.digest
    kept.parent.mkdir(parents=True)
    kept.write_bytes(store.path(picture.digest).read_bytes())
    assert forget_sample(run.path.parent, "s1-unknown") == 0
    assert forget_sample(run.path.parent, sample.id) == 1
    assert read_rows(run) == rows
    assert not kept.exists()
    assert sample.request.encode() not in (run.result / "rows.jsonl").read_bytes()
    assert forget_sample(run.path.parent, sample.id) == 0
