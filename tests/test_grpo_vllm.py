"""Laws of generation by vLLM in GRPO: what is refused in a sentence, and when; and what is asked of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.engines.transformers_engine import TransformersEngine
from core.errors import JobError
from core.judging.guard import Guard
from core.media.store import MediaStore
from core.snapshots.folder import Split
from core.types import Sample
from tests.grpo_runs import TEXTS, A, H, attempt, new_run, settings_of
from tests.hard_data import write_snapshot
from tests.media_files import picture_file
from train_jobs.grpo import job as grpo
from train_jobs.grpo.hard_rows import read_hard, read_mined
from train_jobs.grpo.trainer import never_written
from train_jobs.recipes.grpo import check_grpo
from train_jobs.runs.context import JobContext

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def test_vllm_is_asked_for_in_a_sentence_where_it_is_missing(tmp_path: Path) -> None:
    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed here")
    snapshot = write_snapshot(tmp_path / "snapshots" / "hard", {Split.TRAIN: TEXTS})
    run = new_run(tmp_path, snapshot, settings_of(vllm="colocate"))
    with pytest.raises(JobError, match="vLLM is not installed here; install it"):
        attempt(run)


def test_pictures_are_refused_before_anything_is_mined(
    tmp_path: Path, store: MediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpo, "check_vllm", lambda settings: None)  # as if it were installed
    picture = store.accept(picture_file(tmp_path / "a.png"))
    rows = [*TEXTS, (Sample("What is in it?", None, (picture,)), H, A)]
    snapshot = write_snapshot(tmp_path / "snapshots" / "hard", {Split.TRAIN: rows}, store)
    run = new_run(tmp_path, snapshot, settings_of(vllm="colocate", mining={"rule": "omni-v1", "n": 2}))
    with pytest.raises(JobError, match="texts alone here, and 1 of the training samples hold"):
        attempt(run)
    assert read_mined(run) == []
    assert read_hard(run) is None


@pytest.mark.parametrize(
    ("vllm", "address"), [("none", ""), ("colocate", ""), ("server", "http://127.0.0.1:8000")], ids=lambda each: each
)
def test_tokens_that_stand_for_pictures_are_never_drawn_in_the_words_of_what_generates(
    tmp_path: Path, shipped_guard: Guard, vllm: str, address: str
) -> None:
    assert isinstance(shipped_guard.engine, TransformersEngine)
    encoder = shipped_guard.engine.encoder
    base: Any = SimpleNamespace(prompts=encoder)
    snapshot = write_snapshot(tmp_path / "snapshots" / "hard", {Split.TRAIN: TEXTS})
    values = settings_of(vllm=vllm, vllm_address=address)
    settings, run = check_grpo(values), new_run(tmp_path, snapshot, values)
    share, _ = grpo.shared(settings, 1)
    arguments = grpo.trainer_arguments(JobContext(run, run.spec(), run.status()), settings, share, base, 2)
    tokens = never_written(encoder)
    assert tokens
    # vLLM's SamplingParams has no suppress_tokens, and transformers no logit_bias.
    wanted = {"suppress_tokens": tokens} if vllm == "none" else {"logit_bias": dict.fromkeys(tokens, -100.0)}
    assert arguments.generation_kwargs == wanted
    assert arguments.use_vllm == (vllm != "none")
    if vllm == "server":
        assert (arguments.vllm_mode, arguments.vllm_server_base_url) == ("server", address)
