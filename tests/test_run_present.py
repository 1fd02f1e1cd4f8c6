"""Laws of how runs are shown: values in, text out, no page and no job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.train import plots as train_plots
from app.train.plots import Curves, bounds, figure, plots, points, thinned
from app.train.runs import present
from app.train.runs.views import RunLine, RunView
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec, JobState, JobStatus, Progress

NOW = 1_800_000_000.0
HOSTILE = '<img src=x onerror="alert(1)">'


def spec(**changes: Any) -> JobSpec:
    return JobSpec(**{"kind": JobKind.SFT, "name": "first reviews", "recipe": "sft-builtin"} | changes)


def view(state: JobState, tmp_path: Path, **changes: Any) -> RunView:
    status = JobStatus(state, started_at="2027-01-15T07:59:20+00:00")
    values: dict[str, Any] = {
        "run": RunFolder(tmp_path / "20270115-080000-sft-abcdef"), "spec": spec(), "state": state, "status": status,
        "place": None, "metrics": (), "report": None, "checkpoints": (),
    }  # fmt: skip
    return RunView(**values | changes)


def running(tmp_path: Path, progress: Progress | None) -> RunView:
    return view(JobState.RUNNING, tmp_path, status=JobStatus(JobState.RUNNING, progress=progress))


# -- the state in words -------------------------------------------------------------------------------------------


def test_every_state_has_a_word_a_sign_and_a_sentence(tmp_path: Path) -> None:
    said = {state: present.head(view(state, tmp_path), NOW) for state in JobState}
    for state, html in said.items():
        assert present.STATE_WORDS[state] in html
        assert "<svg" in html
        assert f'data-state="{state}"' in html
    assert len(set(said.values())) == len(JobState)


def test_a_run_that_made_a_checkpoint_leads_to_its_evaluation(tmp_path: Path) -> None:
    made = {"checkpoint": "first-reviews-0123456789ab"}
    assert 'data-e-run="first-reviews-0123456789ab"' in present.head(
        view(JobState.SUCCEEDED, tmp_path, report=made), NOW
    )
    for state in JobState:
        assert "data-e-do" not in present.head(view(state, tmp_path), NOW), "nothing was made"


def test_progress_says_what_is_done_and_how_long_it_will_take_from_now(tmp_path: Path) -> None:
    progress = Progress(30, 60, "training", at=NOW - 20, first_done=0, first_at=NOW - 320)
    said = present.sentence(running(tmp_path, progress), NOW)
    assert said == "Training, step 30 of 60, about 5 min left.", "300 s for 30 steps, less the 20 s since"
    assert 'aria-valuenow="50"' in present.head(running(tmp_path, progress), NOW)
    assert present.sentence(running(tmp_path, None), NOW) == "Running: starting."


def test_a_run_that_is_being_cancelled_says_so(tmp_path: Path) -> None:
    shown = running(tmp_path, Progress(1, 2, "training"))
    shown.run.path.mkdir()
    shown.run.ask_to_cancel("ann")
    assert present.sentence(shown, NOW).startswith("Cancelling: it saves a checkpoint")


@pytest.mark.parametrize(("place", "words"), [(0, "in a moment"), (1, "one job is before it"), (3, "3 jobs are")])
def test_a_waiting_run_says_how_many_are_before_it(tmp_path: Path, place: int, words: str) -> None:
    assert words in present.sentence(view(JobState.QUEUED, tmp_path, place=place), NOW)


def test_a_failed_run_says_why_and_that_it_can_be_resumed_where_it_can(tmp_path: Path) -> None:
    status = JobStatus(JobState.FAILED, sentence="The disk is full.")
    without = present.sentence(view(JobState.FAILED, tmp_path, status=status), NOW)
    assert without == "Failed: The disk is full."
    saved = view(JobState.FAILED, tmp_path, status=status, checkpoints=("checkpoint-2",))
    assert present.sentence(saved, NOW) == f"{without} Resume goes on from its last checkpoint."


def test_what_the_live_guard_does_is_said_only_while_the_run_computes(tmp_path: Path) -> None:
    assert "one thread" in present.head(view(JobState.RUNNING, tmp_path), NOW, "The guard uses one thread.")
    assert "one thread" not in present.head(view(JobState.SUCCEEDED, tmp_path), NOW, "The guard uses one thread.")


def test_the_teachers_work_and_the_gain_are_shown(tmp_path: Path) -> None:
    teacher = {"asked": 30, "kept": 28, "tokens": 2225, "refused": {"other labels": 2}}
    figures = {"validation_f1_before": 0.5, "validation_f1": 0.75}
    said = present.learned(
        view(JobState.SUCCEEDED, tmp_path, metrics=({"teacher": teacher},), report={"figures": figures})
    )
    assert "28 of 30 missing reasonings written, 2 refused (2 other labels), 2,225 tokens" in said
    assert "0.500 before, 0.750 after" in said


def test_what_was_too_long_for_a_fine_tuning_is_told_and_what_was_not_is_not(tmp_path: Path) -> None:
    def said(**data: int) -> str:
        return present.learned(view(JobState.SUCCEEDED, tmp_path, report={"data": data}))

    both = said(left_out_too_long=1, reasoning_left_out_too_long=1200)
    assert "1 training sample was left out" in both
    assert "The reasoning of 1,200 training samples was left out, and the first look alone trained" in both
    assert said(left_out_too_long=0, reasoning_left_out_too_long=0) == said() == ""


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59, "59 s"), (200, "3 min 20 s"), (3000, "50 min"), (4330, "1 h 12 min")]
)
def test_durations_are_as_exact_as_they_are_worth(seconds: float, words: str) -> None:
    assert present.lasted(seconds) == words


def test_names_of_people_and_files_never_become_markup(tmp_path: Path) -> None:
    hostile = spec(name=HOSTILE, base=HOSTILE)
    shown = view(JobState.FAILED, tmp_path, spec=hostile, status=JobStatus(JobState.FAILED, sentence=HOSTILE))
    line = RunLine("r", hostile, shown.status)
    every = (
        present.head(shown, NOW, HOSTILE), present.log(HOSTILE, True),
        present.runs([line, RunLine("r2", None, None, problem=HOSTILE)], "r", NOW), plots([Curves(HOSTILE, [])] * 2),
    )  # fmt: skip
    for html in every:
        assert "<img" not in html
        assert "&lt;img" in html


def test_no_run_says_what_to_do_next() -> None:
    assert "press Start" in present.runs([], None, NOW)


# -- curves -------------------------------------------------------------------------------------------------------


def rows_of(*losses: float) -> list[Mapping[str, Any]]:
    return [{"step": at + 1, "loss": loss} for at, loss in enumerate(losses)]


def test_a_curve_takes_numbers_with_a_step_and_nothing_else() -> None:
    rows: list[Mapping[str, Any]] = [
        {"loss": 9}, {"step": 2, "loss": None}, {"step": 3, "loss": True}, {"step": 1, "loss": float("nan")},
    ]  # fmt: skip
    assert points([*rows, *rows_of(0.5, 0.25)], ("loss",)) == [(1.0, 0.5), (2.0, 0.25)]
    assert points(rows, ("missing",)) == []


def test_long_curves_are_thinned_to_their_means_and_end_where_they_end() -> None:
    found = [(float(at), float(at)) for at in range(10_000)]
    thin = thinned(found, 100)
    assert len(thin) == 100
    assert thin[-1][0] == 9999
    assert thin[0][1] == sum(range(100)) / 100
    assert thinned(found[:50], 100) == found[:50]


@pytest.mark.parametrize("scale", ["free", "from zero"])
@pytest.mark.parametrize("values", [[], [0.0], [3.0], [3.0, 3.0], [-1.0, 2.0], [1e-9, 1e9]])
def test_every_value_lies_inside_its_plot(values: list[float], scale: train_plots.Scale) -> None:
    low, high = bounds(values, scale)
    assert low < high
    assert all(low <= value <= high for value in values)


def test_the_plots_keep_their_places_from_the_first_look_to_the_last() -> None:
    def skeleton(html: str) -> str:
        return re.sub(r"(?<=<svg)[^>]*>.*?(?=</svg>)|(?<=>)[^<>]+|data-known=\"\w+\"|<em.*?</em>", "", html)

    empty = skeleton(plots([Curves("a", [])]))
    assert skeleton(plots([Curves("a", rows_of(1.0))])) == empty
    assert skeleton(plots([Curves("a", rows_of(*(1 / at for at in range(1, 900))), 2000)])) == empty
    assert empty.count("<figure") == len(train_plots.SERIES)


def test_two_runs_share_one_axis_and_are_told_apart_by_name_and_stroke() -> None:
    html = plots([Curves("first", rows_of(1.0, 0.5), 4), Curves("second", rows_of(2.0), 4)])
    assert "first" in html
    assert "second" in html
    first = re.search(r'<path data-run="0" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', html)
    assert first is not None
    assert (first[1], first[3]) == ("25.00", "50.00")
    second = re.search(r'<path data-run="1" d="M([\d.]+) ([\d.]+)"', html)
    assert second is not None
    assert float(second[2]) < float(first[2]), "the higher loss is drawn higher"


@pytest.mark.parametrize(
    ("value", "form", "words"),
    [
        (None, "loss", "–"), (0.98765, "share", "0.988"), (2e-4, "rate", "2.0e-4"), (0.0, "rate", "0"),
        (12345.6, "count", "12,346"), (1.34e9, "bytes", "1.3 GB"), (2.5e7, "bytes", "25 MB"), (0, "bytes", "0"),
        (-3.7e-9, "free", "0.000"), (-0.25, "free", "-0.250"),
    ],
)  # fmt: skip
def test_figures_are_written_in_the_words_of_their_plot(value: float | None, form: str, words: str) -> None:
    assert figure(value, form) == words


def test_the_list_marks_the_open_run_and_shows_each_runs_figures() -> None:
    status = JobStatus(
        JobState.SUCCEEDED, started_at="2027-01-15T07:59:20+00:00", finished_at="2027-01-15T08:02:40+00:00"
    )
    lines = [RunLine("r1", spec(), status, 0.875, 0.1), RunLine("r2", replace(spec(), name="other"), status)]
    html = present.runs(lines, "r1", NOW)
    assert html.count('aria-current="true"') == 1
    assert "0.875" in html
    assert "3 min 20 s" in html
    assert 'data-open="r2"' in html
