"""Laws of the training benchmark: both sides train on the same tokens, and all of it runs; no figure is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.checkpoints.folder import BUILTIN_FOLDER, open_checkpoint
from core.judging.guard import Guard
from core.settings import BUILTIN
from core.snapshots.folder import Split
from tests.benchmark import training
from tests.benchmark.training import Timed, chat, labelled, launched, prompts_alone, scripted, write_lines
from tests.snapshots import write_snapshot
from train_jobs.recipes.files import find_recipe, resolve
from train_jobs.recipes.grpo import GrpoSettings
from train_jobs.runs.specs import JobKind, JobSpec

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def test_speed_is_counted_from_the_end_of_the_first_step_or_rollout() -> None:
    steps = Timed(100.0, (110.0, 111.0, 112.0), each=8, every=1, peak_bytes=0)
    assert (steps.first_step_s, steps.per_s) == (10.0, 8.0)
    rollouts = Timed(100.0, (108.0, 110.0, 118.0, 120.0), each=32, every=2, peak_bytes=0)
    assert rollouts.per_s == 6.4, "64 completions in the 10 s of the second rollout"


def test_the_plain_script_is_given_the_tokens_that_a_job_trains_on(shipped_guard: Guard) -> None:
    encoder = shipped_guard.engine.encoder  # type: ignore[attr-defined]
    protocol, tokenizer = shipped_guard.protocol, encoder.tokenizer
    for item in labelled(6):
        row = chat(protocol, item)
        plain = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
        ours = [*encoder.encode(item.sample).ids, *encoder.target_ids(item.assessment), tokenizer.eos_token_id]
        # After the end of the turn the template puts a newline, which nothing is trained on in ours.
        assert tokenizer(plain, add_special_tokens=False)["input_ids"][: len(ours)] == ours
        assert tokenizer.decode(ours) + "\n" == plain


def test_a_job_and_the_plain_script_do_the_same_steps(tmp_path: Path) -> None:
    items = labelled(training.SMALL.sft_rows)
    snapshot = write_snapshot(tmp_path / "snapshot", {Split.TRAIN: items})
    batch = {"batch": training.TRL_BATCH, "micro_batch": training.TRL_BATCH}
    settings = resolve(find_recipe("sft-builtin"), {**training.PLAIN, **batch})
    spec = JobSpec(JobKind.SFT, "benchmark", settings=settings, base=BUILTIN, snapshot=str(snapshot))
    ours = launched(tmp_path / "data", spec, training.TRL_BATCH)
    protocol = open_checkpoint(BUILTIN_FOLDER, BUILTIN).protocol
    rows = write_lines(tmp_path / "sft.jsonl", [chat(protocol, item) for item in items])
    plain = scripted("plain_sft", BUILTIN_FOLDER, rows)
    for timed in (ours, plain):
        assert len(timed.ends) == training.SMALL.sft_rows // training.TRL_BATCH
        assert timed.started < timed.ends[0] <= timed.ends[-1]
        assert timed.peak_bytes > 2**26
    assert not (tmp_path / "data").exists()
    assert plain.each == ours.each


def test_a_job_and_the_plain_script_draw_the_same_completions(tmp_path: Path) -> None:
    protocol = open_checkpoint(BUILTIN_FOLDER, BUILTIN).protocol
    shape = {"prompts": 2, "generations": 2, "updates": 2, "passes": 1, "longest_completion": 96, "micro_batch": 2}
    changes = {**shape, "epochs": 1, "mining": {"rule": "all"}, "concatenation": {"share": 0.0}}
    settings = resolve(find_recipe("grpo-builtin"), changes)
    snapshot = write_snapshot(tmp_path / "snapshot", {Split.TRAIN: labelled(2)})
    spec = JobSpec(
        JobKind.GRPO, "benchmark", settings=settings, recipe="grpo-builtin", base=BUILTIN, snapshot=str(snapshot)
    )
    ours = launched(tmp_path / "data", spec, 2, 2)
    rows = write_lines(tmp_path / "grpo.jsonl", prompts_alone(protocol, snapshot, GrpoSettings(**settings)))
    given = {"--prompts": 2, "--generations": 2, "--updates": 2, "--passes": 1, "--limit": 96}
    plain = scripted("plain_grpo", BUILTIN_FOLDER, rows, *(str(word) for pair in given.items() for word in pair))
    assert (len(plain.ends), plain.each, plain.every) == (len(ours.ends), ours.each, ours.every) == (2, 2, 2)
    assert 1 < plain.tokens == ours.tokens < 96


def test_live_moderation_is_measured_beside_a_job_that_is_ended_afterwards(tmp_path: Path) -> None:
    (row,) = training.live_beside_training(tmp_path, training.SMALL, 1)
    assert row.startswith("| live moderation while a job trains ÷ without, tokens/s | ")
    assert row.count("|") == training.HEAD.splitlines()[0].count("|")
