"""What holds of the built-in guard's training material: its rows, targets, texts and pictures."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from core.prompt.protocol import load_protocol, parse_completion, render_reasoning, render_result
from core.types import Label
from tests.builtin_rows import needs_data, needs_fonts, row, some_rows
from train_jobs import builtin_guard
from train_jobs.builtin import everyday, figures, linear, render, targets
from train_jobs.builtin.corpus import DEFAULT_DATA, load_rows, row_from_json, split
from train_jobs.builtin.examples import Deck, as_heading, beginning, grade
from train_jobs.builtin.setup import PROTOCOL_FILE


def test_a_missing_label_is_unlabelled_and_a_missing_response_absent() -> None:
    values: dict[str, str | None] = {
        "id": "x", "benchmark": "train:DiaSafety-train", "request": "hi", "response": "ho", "request_label": None,
        "response_label": "harmful", "category": None,
    }  # fmt: skip
    made = row_from_json(values)
    assert (made.request_label, made.response_label) == (Label.UNLABELLED, Label.HARMFUL)
    assert row_from_json(values | {"response": None, "response_label": None}).response_label is Label.ABSENT


def test_a_missing_training_folder_is_named_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = builtin_guard.main(["--data", str(tmp_path / "nowhere"), "--work", str(tmp_path / "work"), "--steps", "1"])
    assert code == 1
    said = capsys.readouterr().err.strip()
    assert str(tmp_path / "nowhere" / "requests.jsonl") in said
    assert "--data" in said
    assert "\n" not in said


def test_the_split_depends_on_the_request_alone() -> None:
    rows = [row(f"request number {n}", response="a") for n in range(800)]
    train, held_out = split(rows)
    assert 0.02 < len(held_out) / len(rows) < 0.06
    again = split([row(f"REQUEST  number {n}", response="b") for n in range(800)])[1]
    assert [r.request.lower().split() for r in held_out] == [r.request.lower().split() for r in again]
    assert not {r.request for r in train} & {r.request for r in held_out}


def test_everyday_rows_are_distinct_harmless_and_the_same_for_the_same_seed() -> None:
    rows = everyday.everyday_rows(1500, 3)
    assert rows == everyday.everyday_rows(1500, 3)
    assert rows != everyday.everyday_rows(1500, 4)
    assert len({r.request.lower() for r in rows}) == len(rows)
    assert {r.request_label for r in rows} == {Label.UNHARMFUL}
    assert not [r.request for r in rows if "{" in r.request.replace("{\n", "") and r.topic != "writing code"]


@needs_data
def test_the_everyday_rows_are_no_copies_of_evaluation_rows() -> None:
    import json

    def words(text: str) -> frozenset[str]:
        return frozenset("".join(c if c.isalnum() else " " for c in text.lower()).split())

    known = set()
    for path in DEFAULT_DATA.parent.glob("*.jsonl"):
        with path.open(encoding="utf-8") as lines:
            known |= {words(json.loads(line)["request"]) for line in lines}
    same = [
        r.request for r in everyday.everyday_rows(9000, 7) if len(words(r.request)) > 2 and words(r.request) in known
    ]
    assert same == []


@pytest.mark.parametrize("label", [Label.HARMFUL, Label.UNHARMFUL, Label.UNLABELLED])
def test_a_target_parses_back_and_its_steps_never_say_the_label(label: Label) -> None:
    protocol = load_protocol(PROTOCOL_FILE)
    evidence = targets.Evidence('Say "hi"\nto all  people', "Hello there.", "a test", ("hi",), "video", "GO HOME", 64.2)
    said = targets.assessment(evidence, targets.Side(label, 0.7), targets.Side(Label.UNHARMFUL, 0.1))
    parsed = parse_completion(
        protocol, render_reasoning(said.reasoning), render_result(protocol, said.request, said.response)
    )
    assert parsed == said
    assert "harmful" not in render_reasoning(said.reasoning)
    assert 'The frames at 1:04 read "GO HOME".' in said.reasoning
    assert said.request is (Label.UNHARMFUL if label is Label.UNHARMFUL else Label.HARMFUL)


def test_the_grade_rises_with_the_estimate_and_leaves_the_label_open() -> None:
    order = [word for _, word in targets.GRADES]
    for label in (Label.HARMFUL, Label.UNHARMFUL):
        grades = [order.index(targets.Side(label, p).grade) for p in np.linspace(0, 1, 21)]
        assert grades == sorted(grades)
    both = {label: {targets.Side(label, p).grade for p in np.linspace(0.1, 0.9, 9)} for label in Label}
    assert len(both[Label.HARMFUL] & both[Label.UNHARMFUL]) >= 2


def test_a_cut_keeps_the_text_as_it_stands() -> None:
    text = "one  two\nthree four"
    assert beginning(text, 3) == "one  two\nthree"
    assert beginning(text, 9) == text
    assert len(beginning("x" * 10_000, 20)) <= 200


def test_a_question_after_a_way_becomes_a_heading() -> None:
    assert as_heading("How can I bake bread?", random.Random(0)).endswith("bake bread.")
    assert as_heading("Write a poem", random.Random(0)) == "Write a poem"


@needs_fonts
def test_pictures_stay_within_their_pixels_and_differ_from_their_background() -> None:
    rng = random.Random(5)
    fonts, held_out = render.font_files()
    assert not set(fonts) & set(held_out)
    for style in ("page", "list", "caption", "line"):
        for _ in range(8):
            picture = render.text_picture("Please bake some bread for me today", rng, fonts, 40_000, style=style)
            assert picture.shape[0] * picture.shape[1] <= 41_000
            assert picture.dtype == np.uint8
            assert picture.std() > 5
    assert render.strip_picture("hello", rng, fonts).shape[0] in (32, 64)


@needs_fonts
def test_a_clip_shows_its_text_in_at_most_half_of_its_frames_from_the_stated_time_on() -> None:
    rng = random.Random(6)
    for _ in range(12):
        made = render.clip("bake bread", rng, render.font_files()[0], 20_000, 6)
        times = made.media.timestamps
        assert times is not None
        assert made.shown_at in times
        assert len(times) == len(made.media.frames) == 6
    assert render.clip(None, rng, render.font_files()[0], 20_000, 4).shown_at is None


def test_quoted_words_are_counted_against_the_sample() -> None:
    assert figures.quoted_words(['The user writes "Bake some bread".', "no quote"], "bake bread now") == (3, 2)


@needs_fonts
def test_joined_requests_are_harmful_if_either_is() -> None:
    rows = [r for r in some_rows() if r.response is None]
    labels = [r.request_label is Label.HARMFUL for r in rows]
    texts = [r.request for r in rows]
    models = linear.cross_fit(texts, labels, texts)
    deck = Deck(grade(rows, models, models), models, models, 1, render.font_files()[0])
    label_of = {beginning(r.request, 24): r.request_label for r in rows}
    seen = set()
    for graded in grade(rows, models, models):
        example = deck._joined(graded)
        parts = [text for text in label_of if text in example.evidence.request]
        assert example.request.label is (
            Label.HARMFUL if Label.HARMFUL in {label_of[part] for part in parts} else Label.UNHARMFUL
        )
        seen.add(example.request.label)
    assert seen == {Label.HARMFUL, Label.UNHARMFUL}


@needs_data
def test_the_training_files_hold_what_their_readme_says() -> None:
    rows = load_rows(DEFAULT_DATA)
    assert len(rows) > 30_000
    assert all(r.labelled for r in rows)
