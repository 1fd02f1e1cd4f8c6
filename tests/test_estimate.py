"""Laws of the estimate: what is counted is what is there, and the words say what to do."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from core.checkpoints.folder import BUILTIN_FOLDER
from core.errors import CheckpointError
from train_jobs.launch import read_changes, read_spec
from train_jobs.recipes.files import find_recipe, resolve
from train_jobs.runs.specs import JobKind
from train_jobs.training.estimate import (
    DataFacts,
    ModelFacts,
    command,
    count_rows,
    duration,
    estimate,
    measured_speed,
    read_facts,
    trained_parameters,
)

BUILTIN = find_recipe("sft-builtin").settings
LORA = find_recipe("sft-omni-v1-lora").settings
OMNI_2B = ModelFacts(2_127_532_032, 406_957_056, 28, 2048, 6144, 151_936, 1024)
DATA = DataFacts(300, 400, 3_000)
GB = 1024**3


def test_the_facts_are_read_off_the_files() -> None:
    from core.checkpoints.folder import open_checkpoint
    from core.engines.transformers_engine import TransformersEngine

    facts = read_facts(BUILTIN_FOLDER)
    engine = TransformersEngine(open_checkpoint(BUILTIN_FOLDER, "builtin"), device="cpu")
    tower = sum(each.numel() for each in engine.model.model.visual.parameters())
    assert (facts.parameters, facts.vision_parameters) == (engine.info.parameters, tower)
    assert (facts.layers, facts.width, facts.inner_width) == (4, 352, 704)
    config = engine.model.config.text_config
    assert facts.kv_width == config.num_key_value_heads * config.head_dim
    assert trained_parameters(facts, BUILTIN) == facts.parameters - tower


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_an_adapter_has_about_as_many_parameters_as_it_is_said_to_have() -> None:
    from peft import LoraConfig, get_peft_model

    from core.checkpoints.folder import open_checkpoint
    from core.engines.transformers_engine import TransformersEngine
    from train_jobs.training.adapters import LORA_TARGETS

    engine = TransformersEngine(open_checkpoint(BUILTIN_FOLDER, "builtin"), device="cpu")
    model = get_peft_model(engine.model, LoraConfig(r=LORA.lora_rank, target_modules=LORA_TARGETS))
    real = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert trained_parameters(read_facts(BUILTIN_FOLDER), LORA) == pytest.approx(real, rel=0.15)


def test_a_folder_without_weights_or_with_a_broken_header_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not say how large it is"):
        read_facts(tmp_path)
    (tmp_path / "config.json").write_bytes((BUILTIN_FOLDER / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((1 << 60).to_bytes(8, "little"))
    with pytest.raises(CheckpointError, match="has a header of"):
        read_facts(tmp_path)


def test_full_training_takes_sixteen_bytes_a_trained_parameter_and_adapters_far_less() -> None:
    full = estimate(OMNI_2B, DATA, find_recipe("sft-omni-v1").settings, device="cuda").memory
    trained = OMNI_2B.parameters - OMNI_2B.vision_parameters
    assert full.gradients + full.optimiser == 12 * trained
    assert full.weights == 4 * OMNI_2B.parameters
    lora = estimate(OMNI_2B, DATA, LORA, device="cuda")
    assert lora.memory.total < full.total / 3
    assert lora.memory.weights < 2.2 * OMNI_2B.parameters
    assert lora.trained < OMNI_2B.parameters / 50


def test_longer_sequences_larger_micro_batches_and_kept_activations_take_more() -> None:
    def activations(**changes: object) -> int:
        settings = LORA.model_copy(update=changes)
        return estimate(OMNI_2B, DATA, settings, device="cuda").memory.activations

    least = activations()
    assert activations(micro_batch=2) > least
    assert activations(gradient_checkpointing=False) > 2 * least
    longer = estimate(OMNI_2B, replace(DATA, longest_tokens=6_000), LORA, device="cuda").memory.activations
    assert longer > least
    capped = estimate(OMNI_2B, replace(DATA, longest_tokens=10**6), LORA, device="cuda").memory.activations
    assert capped == estimate(OMNI_2B, replace(DATA, longest_tokens=8_192), LORA, device="cuda").memory.activations


def test_the_words_say_whether_it_fits() -> None:
    def words(free: int | None) -> str:
        return " ".join(estimate(OMNI_2B, DATA, LORA, device="cuda", free=free).words)

    assert "will not fit: take a smaller micro-batch" in words(2 * GB)
    assert "80.0 GiB are free." in words(80 * GB)
    assert "not known" in words(None)
    assert estimate(OMNI_2B, DATA, LORA, device="cuda", free=2 * GB).fits is False
    assert estimate(OMNI_2B, DATA, LORA, device="cuda").fits is None


def test_steps_and_time_follow_from_the_rows() -> None:
    settings = BUILTIN.model_copy(update={"epochs": 3, "replay": 2.0, "first_look_share": 0.5, "batch": 32})
    assert count_rows(60, settings) == math.ceil(3 * (60 * 1.5 + 2 * 2 * 60))
    facts = read_facts(BUILTIN_FOLDER)
    known = estimate(facts, DataFacts(60, 100, 300), settings, device="cpu", tokens_per_s=1000.0)
    assert known.steps == math.ceil(known.rows / 32)
    assert known.seconds == pytest.approx(known.rows * 100 / 1000.0)
    assert any("an earlier run's speed" in each for each in known.words)
    assert estimate(OMNI_2B, DATA, LORA, device="cuda").seconds is None
    assert [duration(each) for each in (0.2, 89, 600, 7200)] == ["1 s", "89 s", "10 minutes", "2.0 hours"]


def test_the_speed_is_that_of_the_latest_run_that_knows_it() -> None:
    assert (
        measured_speed([{"figures": None}, {"figures": {"tokens_per_s": 7.5}}, {"figures": {"tokens_per_s": 1}}]) == 7.5
    )
    assert measured_speed([]) is None


def test_the_command_launches_what_the_form_says(tmp_path: Path) -> None:
    said = command(
        snapshot="/data/snap shot", base="builtin", recipe="sft-builtin", name="it's mine", device="cpu",
        changes={"epochs": 2, "schedule": "linear"},
    )  # fmt: skip
    words = shlex.split(said)
    assert words[:3] == ["python", "-m", "train_jobs.launch"]
    spec = read_spec(words[3:], tmp_path)
    assert (spec.snapshot, spec.name, spec.recipe) == ("/data/snap shot", "it's mine", "sft-builtin")
    assert dict(spec.settings) == resolve(find_recipe("sft-builtin"), {"epochs": 2, "schedule": "linear"})


def test_the_command_of_a_reinforcement_launches_that_kind_with_its_sections_and_its_processes(tmp_path: Path) -> None:
    said = command(
        snapshot="/data/snapshot", base="builtin", recipe="grpo-builtin", name="rl", device="cpu",
        changes={"epochs": 2, "reward": {"form": "vl", "floor": 0.1}}, options=["--accelerate", "/data/two.yaml"],
    )  # fmt: skip
    spec = read_spec(shlex.split(said)[3:], tmp_path)
    assert spec.kind is JobKind.GRPO
    changes = {"epochs": 2, "reward": {"form": "vl", "floor": 0.1}}
    assert dict(spec.settings) == resolve(find_recipe("grpo-builtin"), changes)
    assert dict(spec.options) == {"accelerate": "/data/two.yaml"}


def test_changes_are_json_or_plain_words() -> None:
    assert read_changes(["epochs=4", "tuning=lora", "learning_rate=1e-4"]) == {
        "epochs": 4, "tuning": "lora", "learning_rate": 1e-4,
    }  # fmt: skip
