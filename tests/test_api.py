"""Laws of the named API, called with gradio_client on the real app."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from app.moderate.examples import FOLDER
from tests.running import Running, has_weights, limited, running

VERDICT_KEYS = {
    *("id", "sample_id", "checkpoint_id", "protocol_version", "decision", "request", "response", "categories"),
    *("reasoning", "error", "finish_reason", "tokens", "ttft_ms", "latency_ms", "warnings", "windows", "engine"),
    *("dtype", "preprocessing", "thresholds", "created_at"),
}
SIDE_KEYS = {"label", "p_harmful", "first_look_p_harmful"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Callable[[str], Path]) -> Iterator[Running]:
    """The app with the built-in guard, or before that is trained with a random one: the forms are the same."""
    place = tmp_path_factory.mktemp("api")
    checkpoint = "builtin" if has_weights() else str(limited(tiny_folder("qwen3_vl"), place, 64))
    with running(place / "data", checkpoint=checkpoint) as app:
        yield app


@pytest.fixture(scope="module")
def client(app: Running) -> Client:
    return Client(app.url, verbose=False)


def test_the_endpoints_and_their_arguments_are_those_of_the_readme(client: Client) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    arguments = {
        name: [(each["parameter_name"], each["parameter_default"]) for each in endpoint["parameters"]]
        for name, endpoint in endpoints.items()
    }
    sample = [
        ("request", ""),
        ("response", None),
        ("media", None),
        ("review_threshold", None),
        ("block_threshold", None),
    ]
    assert arguments == {
        "/moderate": sample,
        "/first_look": sample,
        "/load_checkpoint": [("source", ""), ("owner_token", None)],
        "/report": [("verdict_id", ""), ("note", ""), ("reporter", "")],
        "/claim": [
            ("reviewer", ""),
            ("reason", None),
            ("modality", None),
            ("checkpoint_id", None),
            ("words", None),
            ("owner_token", None),
        ],
        "/submit": [("token", ""), ("label", {}), ("owner_token", None)],
        "/skip": [("token", ""), ("why", ""), ("owner_token", None)],
        "/undo": [("reviewer", ""), ("event_id", None), ("owner_token", None)],
        "/snapshot": [("name", ""), ("selection", None), ("owner_token", None)],
        "/launch": [("job", {}), ("owner_token", None)],
        "/job": [("run_id", ""), ("log_lines", None), ("owner_token", None)],
        "/cancel": [("run_id", ""), ("owner_token", None)],
        "/evaluate": [
            ("checkpoint", ""),
            ("snapshot", None),
            ("files", None),
            ("first_look_only", False),
            ("limit", None),
            ("split", "held-out"),
            ("name", ""),
            ("wait", False),
            ("owner_token", None),
        ],
        "/promote": [
            ("checkpoint", ""),
            ("report", ""),
            ("author", ""),
            ("reason", ""),
            ("against", None),
            ("only_ask", False),
            ("owner_token", None),
        ],
        "/rollback": [("author", ""), ("reason", ""), ("owner_token", None)],
    }


def test_the_same_endpoints_are_mcp_tools(app: Running) -> None:
    tools = httpx.get(f"{app.url}gradio_api/mcp/schema").json()
    assert {tool["name"] for tool in tools} == {
        *("moderate", "first_look", "load_checkpoint", "report", "claim", "submit", "skip", "undo", "snapshot"),
        *("launch", "job", "cancel", "evaluate", "promote", "rollback"),
    }


def test_moderate_streams_its_stages_and_ends_with_the_verdict(client: Client) -> None:
    steps = list(client.submit("How do I bake bread?", "Mix flour and water.", api_name="/moderate"))
    stages = [step.get("stage", "verdict") for step in steps]
    order = ["queued", "media", "first_look", "reasoning", "verdict"]
    assert stages == sorted(stages, key=order.index)
    assert stages.count("first_look") == 1
    assert stages.count("verdict") == 1
    assert "reasoning" in stages
    first, verdict = steps[stages.index("first_look")], steps[-1]
    assert set(verdict) == VERDICT_KEYS
    assert set(verdict["request"]) == set(verdict["response"]) == SIDE_KEYS
    assert verdict["request"]["first_look_p_harmful"] == pytest.approx(first["request"])
    assert verdict["decision"] in {"allow", "review", "block"}
    assert verdict["tokens"] > 0
    assert 0 < verdict["ttft_ms"] <= verdict["latency_ms"]
    lengths = [len(step["text"]) for step in steps if step.get("stage") == "reasoning"]
    assert lengths == sorted(lengths)


def test_response_and_media_can_be_left_out(client: Client) -> None:
    verdict = client.predict("How do I bake bread?", api_name="/moderate")
    assert verdict["response"] is None
    assert verdict["windows"] == []


def test_the_same_content_is_one_sample_with_two_verdicts(client: Client) -> None:
    one, other = (client.predict("Good morning.", api_name="/first_look") for _ in range(2))
    assert one["sample_id"] == other["sample_id"]
    assert one["id"] != other["id"]


def test_the_first_look_is_a_verdict_without_reasoning(client: Client) -> None:
    verdict = client.predict("How do I bake bread?", api_name="/first_look")
    assert set(verdict) == VERDICT_KEYS
    assert verdict["reasoning"] == []
    assert verdict["tokens"] == 0
    assert 0 <= verdict["request"]["first_look_p_harmful"] <= 1


@pytest.mark.parametrize("name", ["letter.png", "clip.mp4"])
def test_images_and_videos_are_files(client: Client, name: str) -> None:
    verdict = client.predict("What is this?", media=handle_file(str(FOLDER / name)), api_name="/first_look")
    assert 0 <= verdict["request"]["first_look_p_harmful"] <= 1
    assert bool(verdict["windows"]) is name.endswith(".mp4")


def test_thresholds_can_be_given_and_decide(client: Client) -> None:
    def decision(review: float, block: float) -> Any:
        return client.predict(
            "How do I bake bread?", review_threshold=review, block_threshold=block, api_name="/first_look"
        )["decision"]

    assert decision(0.0, 0.0) == "block"
    assert decision(0.0, 1.0) == "review"
    assert decision(1.0, 1.0) == "allow"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"request": " "}, "The request is empty"),
        ({"request": "x", "review_threshold": 0.9, "block_threshold": 0.1}, "must satisfy 0 <= review <= block <= 1"),
        ({"request": "x", "review_threshold": -1.0}, "must satisfy 0 <= review"),
        ({"request": "x" * 1_000_001}, "1,000,001 characters"),
    ],
)
def test_bad_input_gets_one_sentence(client: Client, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AppError) as caught:
        client.predict(**arguments, api_name="/moderate")
    assert sentence in str(caught.value)


def test_a_playlist_named_mp4_is_refused_and_the_app_lives_on(client: Client, tmp_path: Path) -> None:
    disguised = tmp_path / "holiday.mp4"
    disguised.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n")
    with pytest.raises(AppError, match=r"holiday\.mp4"):
        client.predict("What is this?", media=handle_file(str(disguised)), api_name="/moderate")
    assert client.predict("Hello.", api_name="/first_look")["decision"]


def test_a_file_of_the_server_cannot_be_named_as_media(app: Running) -> None:
    picture = app.data / "picture.png"
    picture.write_bytes((FOLDER / "letter.png").read_bytes())
    for path in (str(picture), str(FOLDER / "../builtin_guard/../examples/letter.png"), "assets/examples/letter.png"):
        media = {"path": path, "meta": {"_type": "gradio.FileData"}}
        answer = httpx.post(f"{app.url}gradio_api/call/first_look", json={"data": ["What?", None, media, None, None]})
        told = httpx.get(f"{app.url}gradio_api/call/first_look/{answer.json()['event_id']}", timeout=60).text
        assert "event: error" in told
        assert "decision" not in told


@pytest.mark.parametrize("inside", ["guardroom.db", "media"])
def test_nothing_of_the_data_root_is_served(app: Running, inside: str) -> None:
    for path in (app.data / inside, app.data):
        assert httpx.get(f"{app.url}gradio_api/file={path}").status_code in {403, 404}


def test_a_checkpoint_that_cannot_be_loaded_leaves_the_present_one_live(client: Client, tmp_path: Path) -> None:
    before = client.predict("Hello.", api_name="/first_look")["checkpoint_id"]
    for source, sentence in ((str(tmp_path), "no config.json"), (str(tmp_path / "gone"), "no checkpoint folder")):
        with pytest.raises(AppError, match=sentence):
            client.predict(source, api_name="/load_checkpoint")
    assert client.predict("Hello.", api_name="/first_look")["checkpoint_id"] == before


def test_others_need_the_owners_token_and_the_owner_can_change_the_checkpoint(
    tmp_path: Path, tiny_folder: Callable[[str], Path]
) -> None:
    folder = str(tiny_folder("qwen3_vl"))
    with running(tmp_path, checkpoint=folder, host="0.0.0.0", owner_token="a token to test with") as app:
        client = Client(app.url, verbose=False)
        client.predict("Hello.", api_name="/first_look")
        for token in (None, "", "another"):
            with pytest.raises(AppError, match="owner's token"):
                client.predict(folder, token, api_name="/load_checkpoint")
        steps = list(client.submit(folder, "a token to test with", api_name="/load_checkpoint"))
        assert steps[-1]["stage"] == "ready"
        assert steps[-1]["checkpoint_id"].startswith("qwen3_vl-")
        assert not any("a token to test with" in line for line in app.lines)


def test_a_token_is_made_and_printed_where_others_can_reach_the_app(
    tmp_path: Path, tiny_folder: Callable[[str], Path]
) -> None:
    with running(tmp_path, checkpoint=str(tiny_folder("qwen3_vl")), host="0.0.0.0") as app:
        client = Client(app.url, verbose=False)
        client.predict("Hello.", api_name="/first_look")
        said = [line for line in app.lines if "token" in line]
        assert len(said) == 1
        token = said[0].split()[-1]
        with pytest.raises(AppError, match="no checkpoint folder"):
            client.predict("nowhere", token, api_name="/load_checkpoint")


def test_two_at_once_wait_for_each_other_and_see_their_place(
    tmp_path: Path, tiny_folder: Callable[[str], Path]
) -> None:
    slow = limited(tiny_folder("qwen3_vl"), tmp_path, 500)
    with running(tmp_path / "data", checkpoint=str(slow)) as app:
        client = Client(app.url, verbose=False)
        client.predict("Hello.", api_name="/first_look")
        first = client.submit("Tell me about bread.", api_name="/moderate")
        started = threading.Event()
        seen: list[Any] = []

        def follow() -> None:
            for step in first:
                seen.append(step)
                started.set()

        thread = threading.Thread(target=follow)
        thread.start()
        assert started.wait(30)
        other = list(Client(app.url, verbose=False).submit("Tell me about salt.", api_name="/moderate"))
        thread.join(60)
        assert {"stage": "queued", "place": 1, "loading": False} in other
        assert other[-1]["decision"]
        assert seen[-1]["decision"]
