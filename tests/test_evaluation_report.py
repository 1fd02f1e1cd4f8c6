"""Laws of the report: what counts as said, and figures that follow from rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from core.evaluation.rows import Side
from core.types import (
    Assessment,
    CheckpointInfo,
    FinishReason,
    Generation,
    HarmProbability,
    Label,
    Preprocessing,
)
from tests.evaluated import many, scored
from train_jobs.evaluation.published import published
from train_jobs.evaluation.report import CURVE_POINTS, Circumstances, build_report
from train_jobs.evaluation.sets import EvaluationSet

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
