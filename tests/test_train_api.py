"""Laws of the job endpoints, called with gradio_client on the real app."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from app.train.api import job_to_json
from app.train.runs.views import RunView
from core.settings import REPOSITORY
from tests.jobs import finish
from tests.running import Running, has_weights, limited, running
from tests.train_data import fill_labelled
from train_jobs.launching.launcher import Launcher
from train_jobs.recipes.files import find_recipe
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec, JobState, JobStatus, Progress

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
TOKEN = "a token to test with"
OVER = ("succeeded", "failed", "cancelled")
FEW_STEPS = {"epochs": 1, "replay": 0.0, "teacher": "none", "batch": 8, "micro_batch": 8}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Callable[[str], Path]) -> str:
    if has_weights():
        return "builtin"
    return str(limited(tiny_folder("qwen3_vl"), tmp_path_factory.mktemp("base"), 64))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, base: str) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("train-api")
    fill_labelled(place / "data", 24)
    with running(place / "data", checkpoint=base, owner_token=TOKEN, host="0.0.0.0") as app:
        yield app
    finish(Launcher(place / "data" / "runs"))  # a job goes on without the app


@pytest.fixture(scope="module")
def client(app: Running) -> Client:
    return Client(app.url, verbose=False)


@pytest.fixture(scope="module")
def snapshot(client: Client) -> str:
    frozen = client.predict("first", {"labelled": "yes"}, TOKEN, api_name="/snapshot")
    assert sum(frozen["counts"].values()) == 24
    return str(frozen["digest"])


def documented() -> tuple[set[str], set[str]]:
    """The keys of a run, and of its progress, that the README's table names for /job."""
    [row] = [line for line in README.splitlines() if line.startswith("| `/job` |")]
    told = row.split("|")[3]
    inner = re.search(r"`progress` \((.*?)\)", told)
    assert inner is not None
    return set(re.findall(r"`(\w+)`", told.replace(inner[1], ""))), set(re.findall(r"`(\w+)`", inner[1]))


def as_documented(found: Json) -> Json:
    keys, of_progress = documented()
    assert set(found) == keys
    assert found["progress"] is None or set(found["progress"]) == of_progress
    return found


def launch(client: Client, **job: Any) -> Json:
    return as_documented(client.predict(job, TOKEN, api_name="/launch"))


def job(client: Client, run: str) -> Json:
    return as_documented(client.predict(run, None, TOKEN, api_name="/job"))


def cancel(client: Client, run: str) -> Json:
    return as_documented(client.predict(run, TOKEN, api_name="/cancel"))


def until(client: Client, run: str, *states: str) -> Json:
    deadline = time.monotonic() + 240
    while (found := job(client, run))["state"] not in states:
        assert found["state"] not in OVER, found["sentence"] + found["log"]
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    return found


def test_a_training_is_launched_waits_its_turn_and_is_cancelled(client: Client, snapshot: str, base: str) -> None:
    first = launch(client, snapshot=snapshot, name="first", recipe="sft-builtin", base=base, settings=FEW_STEPS)
    assert first["spec"]["settings"]["epochs"] == 1
    usual = find_recipe("sft-builtin").settings.label_weight
    assert first["spec"]["settings"]["label_weight"] == usual, "what is not said is the recipe's"
    assert Path(first["spec"]["snapshot"]).name == snapshot
    second = launch(client, snapshot=snapshot, base=base, device="cpu")
    assert second["state"] == "queued"
    assert second["place"] == 1
    assert second["spec"]["recipe"] == "sft-builtin", "the recipe that goes with the device is the usual one"
    gone = cancel(client, second["id"])
    assert (gone["state"], gone["started_at"]) == ("cancelled", None)
    until(client, first["id"], "running")
    asked = cancel(client, first["id"])
    assert asked["state"] in ("running", "cancelled")
    ended = until(client, first["id"], "cancelled")
    assert ended["finished_at"]
    assert ended["sentence"].startswith("Cancelled")
    with pytest.raises(AppError, match="ended already"):
        client.predict(first["id"], TOKEN, api_name="/cancel")


def test_a_run_with_progress_and_a_report_has_the_keys_of_the_readme_too(tmp_path: Path) -> None:
    status = JobStatus(JobState.RUNNING, progress=Progress(1, 4, "training"))
    view = RunView(
        RunFolder(tmp_path / "20270115-080000-sft-abcdef"), JobSpec(JobKind.SFT, "a training"), JobState.RUNNING,
        status, None, ({"step": 1, "loss": 0.5},), {"seconds": 1.0}, ("checkpoint-1",),
    )  # fmt: skip
    told = as_documented(job_to_json(view, "its log"))
    assert (told["progress"]["done"], told["report"], told["checkpoints"]) == (1, {"seconds": 1.0}, ["checkpoint-1"])
    assert (told["metrics"], told["log"], told["spec"]["kind"]) == ([{"step": 1, "loss": 0.5}], "its log", "sft")


def test_a_reinforcement_is_launched_by_its_recipe_or_its_kind_alone(client: Client, snapshot: str, base: str) -> None:
    named = launch(
        client, snapshot=snapshot, name="rl", recipe="grpo-builtin", base=base,
        settings={"epochs": 1, "reward": {"most": 0.3}},
    )  # fmt: skip
    cancel(client, named["id"])
    spec = named["spec"]
    assert spec["kind"] == "grpo"
    usual = find_recipe("grpo-builtin").settings
    assert spec["settings"]["reward"] == usual.reward.model_dump(mode="json") | {"most": 0.3}
    assert spec["settings"]["mining"] == usual.mining.model_dump(mode="json"), "what is not said is the recipe's"
    by_kind = launch(client, snapshot=snapshot, kind="grpo", base=base, device="cpu")
    cancel(client, by_kind["id"])
    assert by_kind["spec"]["recipe"] == "grpo-builtin"
    until(client, named["id"], "cancelled")
    until(client, by_kind["id"], "cancelled")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({}, "No snapshot is chosen"),
        ({"snapshot": "n1-nowhere"}, "no snapshot"),
        ({"snapshot": "/nowhere/at/all"}, "no complete snapshot"),
        ({"snapshot": "SNAPSHOT", "kind": "evaluate"}, "/evaluate"),
        ({"snapshot": "SNAPSHOT", "steps": 3}, "no steps"),
        ({"snapshot": "SNAPSHOT", "settings": {"epoch": 1}}, "unknown key"),
        ({"snapshot": "SNAPSHOT", "settings": {"epochs": 0}}, "epochs = 0"),
        ({"snapshot": "SNAPSHOT", "settings": [1]}, "object with names"),
        ({"snapshot": "SNAPSHOT", "recipe": "sft-nobody"}, "no recipe"),
        ({"snapshot": "SNAPSHOT", "kind": "sft", "recipe": "grpo-vl"}, "of the kind grpo, not sft"),
        ({"snapshot": "SNAPSHOT", "kind": "grpo", "settings": {"reward": {"slope": 1}}}, "unknown key 'reward.slope'"),
        ({"snapshot": "SNAPSHOT", "options": {"accelerate": "/nowhere.yaml"}}, "/nowhere.yaml cannot be read"),
        ({"snapshot": "SNAPSHOT", "device": "toaster"}, "must be cpu, mps"),
        ({"snapshot": "SNAPSHOT", "options": {"api_key": "abcdefgh"}}, "secret"),
        ({"snapshot": "SNAPSHOT", "name": TOKEN}, "secret"),
    ],
)
def test_a_job_that_cannot_be_launched_gets_one_sentence(
    client: Client, snapshot: str, said: Json, sentence: str
) -> None:
    asked = {key: snapshot if value == "SNAPSHOT" else value for key, value in said.items()}
    with pytest.raises(AppError, match=sentence):
        client.predict(asked, TOKEN, api_name="/launch")


@pytest.mark.parametrize("run", ["", "nobody", "../data", "20270101-000000-sft-abcdef"])
def test_what_is_no_run_is_said_to_be_none(client: Client, run: str) -> None:
    for call in ("/job", "/cancel"):
        with pytest.raises(AppError, match="There is no run"):
            client.predict(*((run, None, TOKEN) if call == "/job" else (run, TOKEN)), api_name=call)


@pytest.mark.parametrize(("call", "arguments"), [("/launch", ({},)), ("/job", ("x",)), ("/cancel", ("x",))])
def test_jobs_ask_for_the_owners_token_where_others_can_reach_them(
    client: Client, call: str, arguments: tuple[object, ...]
) -> None:
    with pytest.raises(AppError, match="owner's token"):
        client.predict(*arguments, api_name=call)
