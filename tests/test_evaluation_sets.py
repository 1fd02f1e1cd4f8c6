"""Laws of what is scored: the right rows of files and splits, and options that cannot be used are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.moderate.examples import FOLDER
from core.errors import InputError, JobError, SnapshotError
from core.evaluation.rows import HELD_OUT, VALIDATION, Side
from core.media.store import MediaStore
from core.snapshots.folder import Split
from core.types import (
    Label,
    Modality,
    Sample,
)
from tests.evaluated import file_row, write_rows
from tests.snapshots import item, write_snapshot
from train_jobs.evaluation.job import EvaluateOptions, read_sets
from train_jobs.evaluation.sets import file_set, find_files, part_of, snapshot_set


def test_a_file_becomes_rows_with_their_true_labels(tmp_path: Path, store: MediaStore) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "p.png").write_bytes(next(FOLDER.glob("*.png")).read_bytes())
    path = write_rows(
        tmp_path / "mine.jsonl",
        [
            file_row(1, request_label="harmful", category="a|b"),
            file_row(2, request_label=None),
            file_row(3, response="A reply.", request_label=None, response_label="harmful", category=None),
            file_row(4, media="pictures/p.png", request=""),
            file_row(5, id=17, response="A reply.", request_label="unharmful", extra={"key": 1}),
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
    "no id": (file_row(1, id=None), "id is 'None'"),
    "an empty id": (file_row(1, id=""), "id is ''"),
    "no request": (file_row(1, request=None), "request is 'None'; a text"),
    "nothing at all": (file_row(1, request=" "), "neither a request nor a medium"),
    "a label of another word": (
        file_row(1, request_label="unsafe"),
        "request_label is 'unsafe'; harmful, unharmful or null",
    ),
    "a label of another kind": (file_row(1, request_label=["harmful"]), "request_label"),
    "a label without a response": (file_row(1, response_label="harmful"), "there is no response"),
    "a response of another kind": (file_row(1, response=3), "response is '3'; a text"),
    "media above": (file_row(1, media="../secret.png"), "below the file's own folder"),
    "media at the root": (file_row(1, media="/etc/passwd"), "below the file's own folder"),
    "media with a NUL": (file_row(1, media="a\0b"), "below the file's own folder"),
    "media behind a link": (file_row(1, media="out/secret.png"), "leads out"),
    "media that are not there": (file_row(1, media="none.png"), "is not there any more"),
    "media that are none": (file_row(1, media="mine.jsonl"), '"mine.jsonl"'),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_line_that_is_not_of_the_schema_is_named(case: str, tmp_path: Path, store: MediaStore) -> None:
    line, words = REFUSED[case]
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.png").write_bytes(b"x")
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path / "outside", target_is_directory=True)
    path = write_rows(folder / "mine.jsonl", [file_row(0), line])
    with pytest.raises(InputError, match=words) as caught:
        file_set(path, store)
    assert "mine.jsonl, line 2" in str(caught.value)


def test_a_second_row_of_the_same_id_is_refused(tmp_path: Path, store: MediaStore) -> None:
    with pytest.raises(InputError, match=r"line 3: another row has the id 'r1'"):
        file_set(write_rows(tmp_path / "mine.jsonl", [file_row(1), file_row(2), file_row(1)]), store)


def test_a_folder_stands_for_its_files_and_each_is_taken_once(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    names = [write_rows(tmp_path / f"{name}.jsonl", [file_row(1)]) for name in ("b", "a")]
    write_rows(tmp_path / "train" / "c.jsonl", [file_row(1)])
    assert find_files([str(tmp_path)]) == sorted(names)
    assert find_files([str(names[0]), str(tmp_path)]) == names
    with pytest.raises(InputError, match="no evaluation file or folder"):
        find_files([str(tmp_path / "none")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no evaluation file"):
        find_files([str(tmp_path / "empty")])
    other = write_rows(tmp_path / "train" / "a.jsonl", [file_row(1)])
    with pytest.raises(InputError, match="Two evaluation files are called a"):
        find_files([str(tmp_path), str(other)])
    with pytest.raises(InputError, match="name of a split"):
        find_files([str(write_rows(tmp_path / "held-out.jsonl", [file_row(1)]))])


def test_a_part_is_the_same_rows_for_everybody_and_in_their_order(tmp_path: Path, store: MediaStore) -> None:
    whole = file_set(write_rows(tmp_path / "mine.jsonl", [file_row(number) for number in range(50)]), store)
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
    path = write_rows(tmp_path / "mine.jsonl", [file_row(1, request_label=None)])
    with pytest.raises(JobError, match="None of the rows of mine is labelled"):
        read_sets(None, EvaluateOptions(files=(str(path),)), store)
