"""Laws of the endpoints of evaluation and promotion, called with gradio_client on the real app."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from core.checkpoints.folder import BUILTIN_FOLDER
from core.checkpoints.registry import OriginCard, Registry
from tests.running import Running, has_weights, limited, running
from train_jobs.runs.folder import RunFolder

TOKEN = "a token to test with"
SUBJECTS = ("bread", "soup", "tea", "rivers", "maps", "kites")


def write_rows(path: Path) -> Path:
    """A small harmless file in the schema of evaluation files."""
    rows = [
        {
            "id": f"row-{number}",
            "request": f"How do I learn about {subject}?",
            "response": f"Read a book about {subject}." if number % 2 else None,
            "request_label": "unharmful",
            "response_label": "unharmful" if number % 2 else None,
            "category": "everyday",
            "benchmark": "Made up",
        }
        for number, subject in enumerate(SUBJECTS)
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


def add_copy(root: Path, folder: Path, name: str, place: Path) -> OriginCard:
    """A copy of a checkpoint in the registry of a data root; it answers as the original does."""
    copy = shutil.copytree(folder, place / f"copy of {folder.name}")
    return Registry(root).add(copy, name=name, base="builtin", author="Ann", figures={"validation_f1": 0.5})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Callable[[str], Path]) -> Path:
    if has_weights():
        return BUILTIN_FOLDER
    return limited(tiny_folder("qwen3_vl"), tmp_path_factory.mktemp("limited"), 64)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_rows(tmp_path_factory.mktemp("rows") / "everyday.jsonl"))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("evaluate-api")
    add_copy(place / "data", folder, "bread", place)
    checkpoint = "builtin" if has_weights() else str(folder)
    with running(place / "data", checkpoint=checkpoint, owner_token=TOKEN, host="0.0.0.0") as app:
        yield app


@pytest.fixture(scope="module")
def client(app: Running) -> Client:
    return Client(app.url, verbose=False)


@pytest.fixture(scope="module")
def candidate(app: Running) -> str:
    return Registry(app.data).cards()[0].id


@pytest.fixture(scope="module")
def evaluated(client: Client, candidate: str, rows: str) -> list[dict[str, Any]]:
    """Everything that an evaluation of the copy, with reasoning, streams."""
    return list(client.submit(candidate, None, [rows], limit=2, wait=True, owner_token=TOKEN, api_name="/evaluate"))


def test_an_evaluation_tells_how_it_stands_until_its_report_is_there(
    evaluated: list[dict[str, Any]], candidate: str, app: Running
) -> None:
    keys = {"run", "name", "state", "sentence", "checkpoint", "sets", "first_look_only", "done", "total",
            "seconds_left", "report"}  # fmt: skip
    assert all(set(each) == keys for each in evaluated)
    first, last = evaluated[0], evaluated[-1]
    assert first["report"] is None
    assert first["state"] in ("queued", "running")
    assert (last["state"], last["checkpoint"], last["sets"]) == ("succeeded", candidate, ["everyday"]), last["sentence"]
    report = last["report"]
    assert report["checkpoint"]["id"] == candidate
    assert (report["look"], report["rows"], report["sets"][0]["left_out"]) == ("deliberation", 2, len(SUBJECTS) - 2)
    assert RunFolder(app.data / "runs" / last["run"]).report() == report


def test_without_waiting_the_run_is_named_at_once(client: Client, rows: str, app: Running) -> None:
    told = client.predict("builtin", None, [rows], True, 3, name="quick", owner_token=TOKEN, api_name="/evaluate")
    assert (told["name"], told["first_look_only"], told["report"]) == ("quick", True, None)
    spec = RunFolder(app.data / "runs" / told["run"]).spec()
    assert (spec.author, spec.options["limit"], spec.options["files"]) == ("api", 3, [rows])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"checkpoint": "builtin"}, "nothing to score on"),
        ({"checkpoint": " ", "files": ["x"]}, "No checkpoint is named|no evaluation file"),
        ({"checkpoint": "builtin", "files": ["/nowhere/rows.jsonl"]}, "no evaluation file or folder"),
        ({"checkpoint": "builtin", "snapshot": "n1-none"}, "There is no snapshot"),
        ({"checkpoint": "builtin", "files": "rows"}, "no list of paths"),
        ({"checkpoint": "builtin", "files": ["x"], "limit": -1}, "whole number of at least 1"),
    ],
)
def test_what_cannot_be_evaluated_gets_one_sentence(client: Client, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AppError, match=sentence):
        client.predict(**arguments, owner_token=TOKEN, api_name="/evaluate")


def test_the_gate_answers_without_changing_anything(
    client: Client, evaluated: list[dict[str, Any]], candidate: str, app: Running
) -> None:
    run = evaluated[-1]["run"]
    asked = client.predict(candidate, run, only_ask=True, owner_token=TOKEN, api_name="/promote")
    assert (asked["checkpoint"], asked["report"], asked["event"]) == (candidate, run, None)
    assert (asked["gate"]["outcome"], asked["gate"]["allowed"]) == ("not enough evidence", False)
    assert "enough evidence" in asked["gate"]["sentences"][0]
    with pytest.raises(AppError, match="write down why"):
        client.predict(candidate, run, "Ann", owner_token=TOKEN, api_name="/promote")
    assert Registry(app.data).promotions() == []


def test_a_written_reason_promotes_the_live_guard_swaps_and_a_rollback_brings_the_old_one_back(
    client: Client, evaluated: list[dict[str, Any]], candidate: str
) -> None:
    before = client.predict("Hello.", api_name="/first_look")
    done = client.predict(
        candidate, evaluated[-1]["run"], "Ann", "A copy, for trying it out.", owner_token=TOKEN, api_name="/promote"
    )
    event = done["event"]
    assert (event["kind"], event["checkpoint"], event["author"]) == ("promote", candidate, "Ann")
    assert event["reason"] == "A copy, for trying it out."
    assert event["gate"]["overridden"]
    now = client.predict("Hello.", api_name="/first_look")
    assert now["checkpoint_id"] == candidate
    assert now["request"] == before["request"], "a copy answers as the original"
    if event["previous"] != "builtin":
        pytest.skip("the built-in guard is not trained: what the settings named cannot be gone back to by its name")
    back = client.predict("Ann", "It was a trial.", TOKEN, api_name="/rollback")
    assert (back["kind"], back["checkpoint"], back["previous"]) == ("rollback", "builtin", candidate)
    assert client.predict("Hello.", api_name="/first_look")["checkpoint_id"] == before["checkpoint_id"]
    with pytest.raises(AppError, match="nothing to go back to"):
        client.predict("Ann", "", TOKEN, api_name="/rollback")


@pytest.mark.parametrize(
    ("call", "arguments"),
    [("/evaluate", ("builtin", None, ["/etc"])), ("/promote", ("builtin", "run")), ("/rollback", ("Ann",))],
)
def test_evaluation_and_promotion_belong_to_the_owner(client: Client, call: str, arguments: tuple[Any, ...]) -> None:
    for token in (None, "another token"):
        with pytest.raises(AppError, match="owner's token"):
            client.predict(*arguments, owner_token=token, api_name=call)
