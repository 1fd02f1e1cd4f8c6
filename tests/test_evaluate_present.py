"""Laws of what Evaluate shows: text stays text, every figure of the report is there, and words go with colours."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given

from app.evaluate import (
    compare_present,
    promote_present,
    report_plots,
    report_present,
    rows_present,
)
from app.evaluate import (
    present as evaluate_present,
)
from app.evaluate.work import EvaluationLine
from app.review.lineage import JobUse
from app.review.samples_present import _job
from app.shared.promotion import Asked, CheckpointLine
from core.checkpoints.folder import BUILTIN_FOLDER, open_checkpoint
from core.checkpoints.registry import EventKind, OriginCard, Promotion
from core.evaluation.comparison import compare
from core.evaluation.gate import judge
from core.evaluation.rows import HELD_OUT, ScoredRow
from core.types import Modality
from tests.evaluated import Answer, many, scored
from tests.test_present import PAYLOADS, Page
from tests.verdicts import image, texts
from train_jobs.evaluation.published import published
from train_jobs.evaluation.report import Circumstances, build_report
from train_jobs.evaluation.sets import EvaluationSet, FileCounts
from train_jobs.runs.specs import JobKind, JobSpec, JobState, JobStatus, Progress

TRUTH = [number % 3 == 0 for number in range(60)]
SAID: list[Answer] = [("unreadable" if number % 20 == 7 else (number % 4 == 0)) for number in range(60)]


def report_on(rows: list[ScoredRow], benchmark: str = "", left_out: int = 0, **changes: Any) -> dict[str, Any]:
    """The report of these rows, as JSON has it."""
    names = list(dict.fromkeys(row.row.set for row in rows))
    sets = [
        EvaluationSet(name, name, benchmark, tuple(row.row for row in rows if row.row.set == name), 0, left_out)
        for name in names
    ]
    info = open_checkpoint(BUILTIN_FOLDER, "builtin").info
    how = Circumstances(info, "transformers", "cpu", "float32", True, batched={"rows": 60, "seconds": 4.0},
                        one_by_one=[(0.02, 0.8), (0.03, 1.2)])  # fmt: skip
    report: dict[str, Any] = json.loads(json.dumps(build_report(rows, sets, replace(how, **changes), published())))
    return report


def cell(html: str, attribute: str) -> Page:
    """The first table row that has this attribute, as a page."""
    return Page(html[html.index(f"<tr {attribute}") :].split("</tr>")[0])


def test_every_figure_of_a_set_is_in_its_row() -> None:
    report = report_on(many(TRUTH, SAID, set="everyday"))
    shown = cell(report_present.page(report), 'data-set="everyday" data-side="request"').text
    found = report["sets"][0]["sides"]["request"]
    low, high = found["f1_interval"]
    error = found["probabilities"]["deliberated"]["calibration_error"]
    for figure in (found["f1"], found["precision"], found["recall"], found["false_alarms"], low, high, error):
        assert f"{figure:.3f}" in shown
    assert report_present.share(3 / 60) in shown
    assert "12.0" in shown, "mean tokens"


def test_figures_of_the_whole_evaluation_stand_above_the_table() -> None:
    head = Page(report_present.page(report_on(many(TRUTH, SAID))).split("</dl>")[0])
    for words in ("with reasoning", "1.00 s", "15.0 rows/s", "5.0%", "cpu, float32, transformers"):
        assert words in head.text


def test_published_figures_stand_beside_whole_sets_alone() -> None:
    rows = many(TRUTH, SAID, set="xstest")
    whole, part = (report_on(rows, "OpenAIModeration", left_out) for left_out in (0, 5))
    assert "0.710 GuardReasoner-VL-7B" in cell(report_present.page(whole), 'data-set="xstest"').text
    assert "GuardReasoner" not in cell(report_present.page(part), 'data-set="xstest"').text
    assert "beside whole sets alone" in report_present.page(part)
    assert "beside whole sets alone" not in report_present.page(whole)


def test_averages_name_how_many_sets_they_are_over() -> None:
    report = report_on(many(TRUTH, SAID, set="one") + many(TRUTH, TRUTH, set="two"))
    shown = cell(report_present.page(report), 'class="gr-e-average" data-average="request"').text
    assert "average of 2 sets" in shown
    assert f"{report['averages']['request']['f1']:.3f}" in shown


def test_a_set_without_harmful_rows_has_a_dash_and_no_curve_but_its_false_alarms() -> None:
    answers: list[Answer] = [number % 4 == 0 for number in range(20)]
    html = report_present.page(report_on(many([False] * 20, answers, set="harmless")))
    assert "–0.0000.250" not in html
    assert "0.250" in cell(html, 'data-set="harmless"').text
    assert "No row is harmful here" in html


def test_a_report_of_the_first_look_alone_shows_its_calibration() -> None:
    rows = [replace(row, verdict=replace(row.verdict, assessment=None, generation=None)) for row in many(TRUTH, TRUTH)]
    report = report_on(rows, deliberated=False, one_by_one=(), batched=None)
    html = report_present.page(report)
    assert "first look only" in html
    assert 'data-look="deliberated"' not in html
    error = report["sets"][0]["sides"]["request"]["probabilities"]["first_look"]["calibration_error"]
    assert f"{error:.3f}" in cell(html, f'data-set="{HELD_OUT}"').text


def test_the_confusion_counts_add_up_and_have_words() -> None:
    report = report_on(many(TRUTH, SAID))
    side = report["sets"][0]["sides"]["request"]
    text = Page(report_present.confusion(side)).text
    for words in ("found", "missed", "false alarm", "passed", "3 of these could not be read"):
        assert words in text
    assert sum(side["confusion"].values()) == side["labelled"] == 60


def corners(path: str) -> list[tuple[float, float]]:
    """The corners of a path of straight lines and steps."""
    x = y = 0.0
    found = []
    for kind, first, second in re.findall(r"([MLHV])([\d.]+)(?: ([\d.]+))?", path):
        x, y = (x, float(first)) if kind == "V" else (float(first), y if kind == "H" else float(second))
        found.append((x, y))
    return found


def curves(plot: str) -> list[list[tuple[float, float]]]:
    """The curves of a plot in the units of its axes; the grid is left out."""
    drawn = re.findall(r'<path class="gr-e-curve" data-look="\w+" d="([^"]+)"', plot.split("<ul>")[0])
    return [[((x - 52) / 278, (230 - y) / 220) for x, y in corners(path)] for path in drawn]


def test_curves_stay_inside_their_plots() -> None:
    looks = report_on(many(TRUTH, SAID))["sets"][0]["sides"]["request"]["probabilities"]
    for plot in (report_plots.precision_recall(looks, (0.5, 0.4), 0.3), report_plots.calibration(looks)):
        assert len(curves(plot)) == 2
        assert all(-0.001 <= value <= 1.001 for curve in curves(plot) for corner in curve for value in corner)


def test_the_area_under_the_drawn_curve_is_the_average_precision() -> None:
    looks = report_on(many(TRUTH, SAID))["sets"][0]["sides"]["request"]["probabilities"]
    drawn = curves(report_plots.precision_recall(looks, (None, None), 0.3))
    for curve, look in zip(drawn, ("deliberated", "first_look"), strict=True):
        area = sum((x - before) * y for (before, _), (x, y) in pairwise(curve))
        assert area == pytest.approx(looks[look]["average_precision"], abs=0.01)


def test_perfect_probabilities_lie_on_the_diagonal() -> None:
    reliability = [{"rows": 10, "mean_p": p, "harmful_share": p} for p in (0.1, 0.5, 0.9)]
    looks = {"first_look": {"reliability": reliability, "calibration_error": 0.0}}
    [curve] = curves(report_plots.calibration(looks))
    assert [x for x, _ in curve] == pytest.approx([0.1, 0.5, 0.9], abs=0.002)
    assert all(x == pytest.approx(y, abs=0.002) for x, y in curve)


# -- the list ---------------------------------------------------------------------------------------------------------


def line(state: JobState, progress: Progress | None = None, report: Any = None, **more: Any) -> EvaluationLine:
    """An evaluation of the list."""
    options = {"files": ["/somewhere/everyday.jsonl"], "limit": 50, "first_look_only": True}
    spec = JobSpec(JobKind.EVALUATE, "the first", options=options, created_at="2026-11-21T10:00:00+00:00")
    status = JobStatus(state, progress=progress, sentence=more.pop("sentence", ""))
    return EvaluationLine("run-1", spec, status, "builtin", report, **more)


@pytest.mark.parametrize(
    ("state", "acts"),
    [
        (JobState.QUEUED, ["cancel"]), (JobState.RUNNING, ["cancel"]), (JobState.FAILED, ["resume", "delete"]),
        (JobState.CANCELLED, ["resume", "delete"]), (JobState.SUCCEEDED, ["open", "delete"]),
    ],
)  # fmt: skip
def test_a_row_offers_what_can_be_done_in_its_state(state: JobState, acts: list[str]) -> None:
    report = report_on(many(TRUTH, SAID)) if state is JobState.SUCCEEDED else None
    page = Page(evaluate_present.listed([line(state, report=report)]))
    assert [value for _, name, value in page.attributes if name == "data-e-do"] == acts
    assert evaluate_present.STATES[state.value] in page.text


def test_a_running_row_says_how_far_it_is_and_how_long_it_takes_still() -> None:
    progress = Progress(25, 100, "moderating", at=110.0, first_done=5, first_at=100.0)
    text = Page(evaluate_present.listed([line(JobState.RUNNING, progress)])).text
    assert "running 25%" in text
    assert "moderating · about 38 s left" in text
    assert "waiting, 2 before it" in evaluate_present.listed([line(JobState.QUEUED, place=2)])


def test_empty_states_say_what_to_do_next() -> None:
    assert "press <b>Start</b>" in evaluate_present.listed([])
    assert "<b>Evaluations</b>" in report_present.nothing()
    assert "two finished evaluations" in compare_present.nothing(1)
    assert "<b>Train</b>" in promote_present.nothing()
    assert "Nothing was promoted yet" in promote_present.history([])
    assert "Train a checkpoint" in promote_present.checkpoints([CheckpointLine("builtin", None, True, True, ())])


def test_files_are_counted_before_they_are_scored() -> None:
    counts = [FileCounts("everyday", "ToxicChat", 1200, 1000, 3), FileCounts("other", "Made up", 5, 5, 0)]
    shown = Page(evaluate_present.seen(counts, ["ToxicChat"])).text
    assert "everydaypublished figures will stand beside1,2001,0003" in shown
    assert shown.count("published") == 1


# -- two checkpoints, and the gate ------------------------------------------------------------------------------------


def test_two_evaluations_stand_side_by_side_with_words_for_every_difference() -> None:
    worse: list[Answer] = [not truth for truth in TRUTH]
    before, after = many(TRUTH, TRUTH), many(TRUTH, worse, checkpoint="guard-2")
    found = compare(before, after)
    html = compare_present.page(found, report_on(before), report_on(after))
    assert "60 rows in common" in html
    assert "a significant loss" in html
    assert ("broken (60)", "broken") in compare_present.flip_choices(found)
    flipped = rows_present.flips(found.flips, 20, lambda ref: "")
    assert "20 of 60" in flipped
    assert flipped.count('data-kind="broken"') == 20


def test_evaluations_without_a_row_in_common_say_so() -> None:
    before, after = many(TRUTH, SAID, set="one"), many(TRUTH, SAID, set="two")
    assert "No row in common" in compare_present.page(compare(before, after), report_on(before), report_on(after))


@pytest.mark.parametrize(
    ("count", "said", "reason", "word", "tone"),
    [
        (240, True, "", "It may go live", "allow"),
        (240, False, "", "Refused: a significant loss", "block"),
        (60, True, "", "Refused: not enough evidence", "review"),
        (60, True, "It is a trial.", "It may go live, for the reason written down", "allow"),
    ],
)
def test_the_gate_answers_in_words_with_its_figures(count: int, said: bool, reason: str, word: str, tone: str) -> None:
    truth = [number % 2 == 0 for number in range(count)]
    answers: list[Answer] = [value if said else not value for value in truth]
    decision = judge(many(truth, list(truth)), many(truth, answers, checkpoint="guard-2"), reason=reason)
    html = compare_present.gate(Asked("guard-2", decision, "run-2", "run-1", "guard-1"))
    page = Page(html)
    assert word in page.text
    assert ("section", "data-tone", tone) in page.attributes
    assert f"held-out rows{count}F1" in page.text
    assert all(each in page.text for each in decision.sentences)


def test_the_history_tells_who_promoted_what_on_which_report_and_why() -> None:
    gate = {"outcome": "not enough evidence", "overridden": True}
    events = [
        Promotion(EventKind.PROMOTE, "bread-1", "builtin", "Ann", "2026-11-21T10:00:00", "run-7", "A trial.", gate),
        Promotion(EventKind.ROLLBACK, "builtin", "bread-1", "Bob", "2026-11-21T11:00:00"),
    ]
    rows = promote_present.history(events).split("<tr ")[1:]
    assert "rolled back to <b>builtin</b>" in rows[0], "the newest first"
    for words in (
        "promoted <b>bread-1</b>",
        "Ann",
        "A trial.",
        "not enough evidence, overridden",
        'data-e-run="run-7"',
    ):
        assert words in rows[1]


def test_a_checkpoint_that_was_never_evaluated_is_to_be_evaluated_first() -> None:
    card = OriginCard(
        "bread-1", "bread", "builtin", "2026-11-21T10:00:00", figures={"validation_f1": 0.8125, "ok": True}
    )
    known = [CheckpointLine("builtin", None, True, True, ("run-1",)), CheckpointLine("bread-1", card, False, False, ())]
    html = promote_present.checkpoints(known)
    assert "validation f1 0.812" in html
    assert 'data-e-do="evaluate" data-e-run="bread-1"' in html
    assert (
        promote_present.checkpoints([known[0], replace(known[1], reports=("run-2",))]).count('data-e-do="choose"') == 1
    )


# -- text stays text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", PAYLOADS)
def test_texts_of_files_models_and_people_stay_text(payload: str) -> None:
    row = scored(payload, True, False, set=payload, response=(False, True), checkpoint=payload)
    media = (image(), image("b" * 64, media_type="video/mp4", modality=Modality.VIDEO, duration_s=2.0, frame_count=48))
    row = replace(row, row=replace(row.row, sample=replace(row.row.sample, request=payload, media=media)))
    other = replace(row, verdict=replace(row.verdict, assessment=None, error=payload))
    report = report_on([row], payload)
    report["checkpoint"]["id"] = payload
    found = compare([row], [other])
    card = OriginCard(payload, payload, payload, payload, payload, payload, payload, payload)
    event = Promotion(EventKind.PROMOTE, payload, payload, payload, payload, payload, payload, {"outcome": payload})
    spec = JobSpec(JobKind.EVALUATE, payload, options={"files": [payload]}, created_at=payload)
    listed = EvaluationLine(payload, spec, JobStatus(JobState.FAILED, sentence=payload), payload, None)
    pages = {
        "report": report_present.page(report),
        "wrong": rows_present.wrong([row, other], 20, lambda ref: payload),
        "compare": compare_present.page(found, report, report)
        + rows_present.flips(found.flips, 20, lambda ref: payload),
        "gate": compare_present.gate(Asked(payload, judge([row], [other], reason=payload), payload, payload, payload)),
        "promote": promote_present.checkpoints([CheckpointLine(payload, card, False, True, ())])
        + promote_present.history([event])
        + promote_present.about(payload, "other"),
        "list": evaluate_present.listed([listed]),
        "seen": evaluate_present.seen([FileCounts(payload, payload, 1, 1, 1)], [payload]),
        "job": _job(JobUse(payload, payload, "training", payload, payload, (payload,))),
    }
    for name, html in pages.items():
        page = Page(html)
        assert not {"script", "style", "iframe", "object"} & set(page.tags), name
        assert not [each for each in page.attributes if each[1].startswith("on")], name
        assert payload in page.text or payload in [value for _, _, value in page.attributes], name


@given(texts)
def test_any_text_can_be_shown(text: str) -> None:
    row = scored(text, True, False)
    row = replace(row, row=replace(row.row, sample=replace(row.row.sample, request=text)))
    rows_present.wrong([row], 20, lambda ref: "").encode("utf-8")


def test_media_are_veiled_until_asked_for() -> None:
    row = scored(1, True, False)
    row = replace(row, row=replace(row.row, sample=replace(row.row.sample, media=(image(),))))
    page = Page(rows_present.wrong([row], 20, lambda ref: f"media/{ref.digest}"))
    assert ("img", "src", f"media/{'a' * 64}") in page.attributes
    assert ("button", "data-e-reveal", "") in [(tag, name, value or "") for tag, name, value in page.attributes]
    assert any(name == "class" and "gr-r-media" in value.split() for _, name, value in page.attributes)
