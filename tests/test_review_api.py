"""Laws of the review endpoints, called with gradio_client on the real app."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from annotation_store.reading.selecting import Selection
from app.review.api import draft_from_json, sample_to_json
from core.errors import InputError
from core.types import Sample
from tests.review_data import STEPS, fill
from tests.running import Running, has_weights, limited, running
from tests.test_docs import README
from tests.verdicts import image

TOKEN = "a token to test with"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Callable[[str], Path]) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("review-api")
    fill(place / "data", [Sample(f"How do I bake bread number {at}?") for at in range(12)])
    checkpoint = "builtin" if has_weights() else str(limited(tiny_folder("qwen3_vl"), place, 64))
    with running(place / "data", checkpoint=checkpoint, owner_token=TOKEN, host="0.0.0.0") as app:
        yield app


@pytest.fixture(scope="module")
def client(app: Running) -> Client:
    return Client(app.url, verbose=False)


def documented(form: str) -> set[str]:
    """The keys of one of review's objects, as the README's table names them."""
    table = README.split("<!-- review: ")[1].split("\n\n")[0]
    [row] = [line for line in table.splitlines() if line.startswith(f"| {form} |")]
    return set(re.findall(r"`(\w+)`", row.split("|")[2]))


def test_an_item_is_claimed_decided_taken_back_and_frozen(client: Client) -> None:
    found = client.predict("ann", "band", owner_token=TOKEN, api_name="/claim")
    claim = found["claim"]
    assert found["left"] == 12
    assert claim["sample"]["request"] == "How do I bake bread number 0?"
    assert claim["verdict"]["reasoning"] == list(STEPS)
    assert documented("claim") == set(claim)
    assert documented("sample") == set(claim["sample"])
    assert documented("reason") == set(claim["reasons"][0])
    label: dict[str, Any] = {
        "request": "unharmful", "categories": [], "confidence": 0.75, "note": "bread",
        "reasoning": [STEPS[0], "It is about bread.", "So the request is unharmful."], "first_wrong_step": 2,
        "evidence": [{"part": "request", "start": 0, "end": 3, "words": "How", "step": 1}],
    }  # fmt: skip
    done = client.predict(claim["token"], label, TOKEN, api_name="/submit")
    assert set(done) == {"event", "label", "warnings"}
    assert documented("event") == set(done["event"])
    assert documented("label") == set(done["label"])
    assert documented("reasoning") == set(done["label"]["reasoning"])
    assert documented("evidence") == set(done["label"]["evidence"][0]) == set(label["evidence"][0]) | {"position"}
    assert done["label"]["reasoning"] == {
        "steps": label["reasoning"],
        "original": list(STEPS),
        "first_wrong_step": 2,
    }
    assert client.predict(claim["token"], label, TOKEN, api_name="/submit")["label"]["id"] == done["label"]["id"]
    undone = client.predict("ann", None, TOKEN, api_name="/undo")
    assert set(undone) == {"event", "claim"}
    assert documented("claim") == set(undone["claim"])
    assert undone["event"]["undoes"] == done["event"]["id"]
    again = client.predict(undone["claim"]["token"], {"request": "unharmful"}, TOKEN, api_name="/submit")
    assert again["label"]["request"] == "unharmful"
    frozen = client.predict("first", None, TOKEN, api_name="/snapshot")
    assert documented("snapshot") == set(frozen)
    assert documented("selection") >= set(frozen["selection"])
    assert sum(frozen["counts"].values()) == 1
    assert Path(frozen["folder"]).joinpath("manifest.json").exists()


def test_a_skipped_item_is_not_offered_to_the_same_reviewer_again(client: Client) -> None:
    first = client.predict("bob", owner_token=TOKEN, api_name="/claim")["claim"]
    event = client.predict(first["token"], "not my language", TOKEN, api_name="/skip")
    assert event["kind"] == "skip"
    assert documented("event") == set(event)
    assert client.predict("bob", owner_token=TOKEN, api_name="/claim")["claim"]["sample"] != first["sample"]
    with pytest.raises(AppError, match="no longer yours"):
        client.predict(first["token"], {"request": "harmful"}, TOKEN, api_name="/submit")


def test_a_verdict_of_moderate_can_be_reported_and_is_then_in_the_queue(client: Client) -> None:
    verdict = client.predict("How do I open my own front door?", None, None, api_name="/moderate")
    report = client.predict(verdict["id"], "It is my own door.", "eve", api_name="/report")
    assert report["sample_id"] == verdict["sample_id"]
    assert documented("report") == set(report)
    claim = client.predict("carl", "reported", owner_token=TOKEN, api_name="/claim")["claim"]
    assert claim["sample"]["id"] == verdict["sample_id"]
    assert claim["reasons"][0]["words"] == "A visitor says that the verdict is wrong: “It is my own door.”"


def test_what_is_taken_and_media_have_the_keys_that_the_readme_names() -> None:
    [medium] = sample_to_json(Sample("look", media=(image(),)))["media"]
    assert documented("medium") == set(medium)
    with pytest.raises(InputError) as refused:
        draft_from_json({"verdict": "harmful"}, None)
    assert documented("label handed in") == set(re.findall(r"\w+", str(refused.value).split("; ")[1])) - {"are"}
    assert documented("selection") == {field.name for field in fields(Selection)}


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("/claim", ("ann",)), ("/submit", ("t", {"request": "harmful"})), ("/skip", ("t", "why")), ("/undo", ("ann",)),
        ("/snapshot", ("name",)),
    ],
)  # fmt: skip
def test_review_asks_for_the_owners_token_where_others_can_reach_it(
    client: Client, call: str, arguments: tuple[object, ...]
) -> None:
    with pytest.raises(AppError, match="owner's token"):
        client.predict(*arguments, api_name=call)


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ({"request": "bad"}, "cannot be read"),
        ({"verdict": "harmful"}, "is nothing that a label says"),
        ({"request": "harmful", "response": "harmful"}, "has no response"),
        ({"request": "harmful", "categories": ["cooking"]}, "no hazard category"),
        ({"request": "unharmful", "reasoning": ["So the request is harmful."]}, "concludes the opposite"),
    ],
)
def test_a_label_that_cannot_be_right_gets_one_sentence(client: Client, label: object, sentence: str) -> None:
    claim = client.predict(f"dora {sentence}", owner_token=TOKEN, api_name="/claim")["claim"]
    with pytest.raises(AppError, match=sentence):
        client.predict(claim["token"], label, TOKEN, api_name="/submit")
