"""What a training will need, before it starts: memory against what is free, steps and time, and the exact command.

Pure arithmetic on facts of the checkpoint, the data and the recipe; rough on purpose, and said to be. Weights,
gradients and the optimiser's state are known to the byte; activations are an estimate (Korthikanti et al. 2022,
"Reducing Activation Recomputation", with attention computed without a score matrix).
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import CheckpointError
from train_jobs.recipes.grpo import GrpoSettings
from train_jobs.recipes.sft import SftSettings

OVERHEAD_BYTES = {"cuda": 700 * 1024**2, "mps": 300 * 1024**2, "cpu": 600 * 1024**2}
"""What the libraries themselves take."""
VISION = ("visual", "vision_tower")
BUILTIN_PARAMETERS = 10_000_000
"""Up to this size a checkpoint is about the size of the built-in guard, whose speed on a CPU is roughly known."""
BUILTIN_TOKENS_PER_S = 2_150.0
"""Trained tokens a second of the built-in guard on two CPU cores with the app and its page beside it, as runs of the
acceptance test reported them: a rough figure until a run on this machine has measured one."""
REMEDIES = "a smaller micro-batch, shorter sequences, gradient checkpointing or LoRA"
TIGHT = 0.85
"""Share of the free memory from which the estimate says that it may not fit."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a checkpoint without loading it."""

    parameters: int
    vision_parameters: int
    layers: int
    width: int
    inner_width: int
    vocabulary: int
    kv_width: int
    """Numbers that one token leaves in each of a layer's two caches."""


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What is known of the data: training samples, and the tokens of a typical and of the longest row."""

    samples: int
    mean_tokens: int
    longest_tokens: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on the device at the fullest moment."""

    weights: int
    gradients: int
    optimiser: int
    activations: int
    overhead: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimiser + self.activations + self.overhead


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the form shows."""

    memory: Memory
    free: int | None
    """Bytes; none where it is not known."""
    trained: int
    """Parameters that are trained."""
    rows: int
    """Sequences over all epochs, replayed ones included."""
    steps: int
    seconds: float | None
    """None where no speed is known yet."""
    words: tuple[str, ...]
    """Sentences for people."""

    @property
    def fits(self) -> bool | None:
        """Whether the memory will do; none where the free memory is not known."""
        return None if self.free is None else self.memory.total <= self.free


def read_facts(folder: Path) -> ModelFacts:
    """Facts of a checkpoint folder from its configuration and the headers of its weights; no weight is read.

    Raises:
        CheckpointError: a file is missing or cannot be read.
    """
    try:
        config: Mapping[str, Any] = json.loads((folder / "config.json").read_bytes())
        text = config.get("text_config", config)
        counts = [_header(path) for path in sorted(folder.glob("*.safetensors"))]
        whole, seen = (sum(each[at] for each in counts) for at in range(2))
        return ModelFacts(
            parameters=whole,
            vision_parameters=seen,
            layers=int(text["num_hidden_layers"]),
            width=int(text["hidden_size"]),
            inner_width=int(text["intermediate_size"]),
            vocabulary=int(text["vocab_size"]),
            kv_width=_kv_width(text),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} does not say how large it is ({error}).") from None


def _kv_width(text: Mapping[str, Any]) -> int:
    heads = int(text["num_attention_heads"])
    head = text.get("head_dim") or int(text["hidden_size"]) // heads
    return int(text.get("num_key_value_heads") or heads) * int(head)


def _header(path: Path) -> tuple[int, int]:
    """Parameters, and those of the vision tower, of one safetensors file."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > 100 * 1024**2:
            raise ValueError(f"{path.name} has a header of {size:,} bytes")
        told = json.loads(file.read(size))
    whole = seen = 0
    for name, entry in told.items():
        if name == "__metadata__":
            continue
        count = math.prod(entry["shape"])
        whole += count
        seen += count if any(part in name for part in VISION) else 0
    return whole, seen


def trained_parameters(model: ModelFacts, settings: SftSettings | GrpoSettings) -> int:
    """How many parameters change. An adapter puts two thin matrices beside each of seven matrices of a layer."""
    if settings.tuning == "full":
        return model.parameters - (model.vision_parameters if settings.freeze_vision else 0)
    thin = 4 * (model.width + model.width) + 3 * (model.width + model.inner_width)
    return model.layers * settings.lora_rank * thin


def count_rows(samples: int, settings: SftSettings) -> int:
    """Sequences over all epochs: a reasoned row and a first look for each sample, and the replayed ones."""
    own = samples * (1 + settings.first_look_share)
    return math.ceil(settings.epochs * (own + 2 * settings.replay * samples))


def estimate(
    model: ModelFacts,
    data: DataFacts,
    settings: SftSettings,
    *,
    device: str,
    free: int | None = None,
    tokens_per_s: float | None = None,
    halved: bool | None = None,
) -> Estimate:
    """Memory, steps and time of a training.

    Args:
        free: bytes of memory that are free on the device.
        tokens_per_s: as an earlier run on this device with this base measured it; see `measured_speed`.
        halved: whether it computes in bfloat16; by the device and the recipe unless given.
    """
    halved = in_halves(settings, device) if halved is None else halved
    trained = trained_parameters(model, settings)
    tokens = settings.at_once * min(data.longest_tokens, settings.longest_sequence)
    memory = needed_memory(model, settings, tokens, device, halved=halved)
    rows = count_rows(data.samples, settings)
    steps = math.ceil(rows / settings.batch)
    speed = tokens_per_s
    if speed is None and device == "cpu" and model.parameters <= BUILTIN_PARAMETERS:
        speed = BUILTIN_TOKENS_PER_S
    seconds = rows * data.mean_tokens / speed if speed else None
    words = [*memory_words(memory, free, trained, model.parameters), f"{rows:,} sequences in {steps:,} steps."]
    if seconds is None:
        words.append(NO_SPEED)
    else:
        by = (
            "a rough figure for the built-in guard on two free cores"
            if tokens_per_s is None
            else "an earlier run's speed"
        )
        words.append(f"About {duration(seconds)} by {by}, without the time to prepare the rows.")
    return Estimate(memory, free, trained, rows, steps, seconds, tuple(words))


NO_SPEED = "How long it takes is known after the first steps: no run on this device has measured it yet."


def in_halves(settings: SftSettings | GrpoSettings, device: str) -> bool:
    """Whether it computes in bfloat16, by the recipe and the device."""
    return device == "cuda" if settings.precision == "auto" else settings.precision == "bfloat16"


def needed_memory(
    model: ModelFacts, settings: SftSettings | GrpoSettings, tokens: int, device: str, *, halved: bool
) -> Memory:
    """Bytes while an update is computed.

    Args:
        tokens: of all sequences of one forward pass.
        halved: whether it computes in bfloat16.
    """
    trained = trained_parameters(model, settings)
    weight_bytes = 2 if halved and settings.tuning == "lora" else 4
    kept = 1 if settings.gradient_checkpointing else 17
    per_layer = tokens * (model.width * kept + (0 if settings.gradient_checkpointing else 3 * model.inner_width))
    one_layer = tokens * (17 * model.width + 3 * model.inner_width)
    logits = min(tokens, max(1, (1 << 25) // model.vocabulary)) * model.vocabulary * 4 * 3
    return Memory(
        weights=model.parameters * weight_bytes + (trained * 4 if settings.tuning == "lora" else 0),
        gradients=trained * 4,
        optimiser=trained * 8,
        activations=(2 if halved else 4) * (model.layers * per_layer + one_layer) + logits,
        overhead=OVERHEAD_BYTES.get(device.partition(":")[0], OVERHEAD_BYTES["cpu"]),
    )


def memory_words(
    memory: Memory,
    free: int | None,
    trained: int,
    parameters: int,
    remedies: str = REMEDIES,
    fullest: str = "activations",
) -> list[str]:
    """What is trained and what memory it takes, for people.

    Args:
        remedies: what to do where it does not fit.
        fullest: what the activations are called.
    """
    parts = ", ".join(
        f"{name} {gigabytes(value)}"
        for name, value in (
            ("weights", memory.weights),
            ("gradients", memory.gradients),
            ("optimiser", memory.optimiser),
            (f"{fullest} about", memory.activations),
            ("libraries about", memory.overhead),
        )
    )
    said = [
        f"{trained:,} of {parameters:,} parameters are trained.",
        f"Memory: about {gigabytes(memory.total)} ({parts}).",
    ]
    if free is None:
        said.append("How much memory is free is not known here.")
    elif memory.total > free:
        said.append(f"Only {gigabytes(free)} are free, so it will not fit: take {remedies}.")
    elif memory.total > TIGHT * free:
        said.append(f"{gigabytes(free)} are free: it may just fit, and the activations are only an estimate.")
    else:
        said.append(f"{gigabytes(free)} are free.")
    return said


def gigabytes(size: int) -> str:
    """Bytes in words."""
    return f"{size / 1024**3:.1f} GiB" if size >= 0.95 * 1024**3 else f"{size / 1024**2:,.0f} MiB"


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"


def measured_speed(runs: Iterable[Mapping[str, Any]], figure: str = "tokens_per_s") -> float | None:
    """A speed by the reports of finished runs on the same base and device, the newest first."""
    for report in runs:
        speed = report.get("figures", {}).get(figure) if isinstance(report.get("figures"), Mapping) else None
        if isinstance(speed, int | float) and speed > 0:
            return float(speed)
    return None


def free_memory(device: str) -> int | None:
    """Bytes that are free on the device now; none where the system does not say."""
    if device.startswith("cuda"):
        import torch

        try:
            return int(torch.cuda.mem_get_info(torch.device(device))[0])
        except (RuntimeError, AssertionError):
            return None
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def command(
    *,
    snapshot: str,
    base: str,
    recipe: str,
    name: str,
    device: str,
    changes: Mapping[str, Any] | None = None,
    options: Sequence[str] = (),
) -> str:
    """The shell command that launches the same job as the form; see `python -m train_jobs.launch --help`."""
    words = ["python", "-m", "train_jobs.launch", "--snapshot", snapshot, "--base", base, "--recipe", recipe]
    words += ["--name", name, "--device", device]
    for key, value in (changes or {}).items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    return shlex.join([*words, *options])
