"""The form of a training, made from a recipe's fields: which there are, how they are asked for, back to values."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.errors import InputError
from train_jobs.recipes.files import SETTINGS
from train_jobs.recipes.values import Pictures
from train_jobs.rules.rewards import RewardForm
from train_jobs.runs.specs import JobKind

PICTURES = "preprocessing"
"""The section that may be left to the checkpoint."""

OWN_PICTURES, GIVEN_PICTURES = "checkpoint", "own"
PICTURE_CHOICES = [("the checkpoint's own", OWN_PICTURES), ("these", GIVEN_PICTURES)]

USUAL_PICTURES = Pictures(
    fps=2.0, max_frames=128, frame_min_pixels=4096, frame_max_pixels=65536, image_min_pixels=4096,
    image_max_pixels=589824,
)  # fmt: skip
"""What stands in the fields while the checkpoint's own sizes are taken: the published ones of Omni v1."""

Kind = Literal["choice", "yes or no", "whole", "number", "text"]


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of the form."""

    name: str
    """As in the recipe; those of a section with its name and a dot before it."""
    label: str
    info: str
    kind: Kind
    choices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """Fields that belong together."""

    key: str
    title: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the fields of a kind of recipe stand. Every field of its settings stands in one place."""

    short: tuple[str, ...]
    """Asked for at once."""
    sections: tuple[Section, ...]


SHOWN = "reward"
"""The section that is shown at once, beside its chart; all others are under Advanced."""

PLANS: Mapping[JobKind, Plan] = {
    JobKind.SFT: Plan(
        ("epochs", "learning_rate", "tuning", "first_look_share"),
        (
            Section("rows", "Rows and their loss", (
                "longest_sequence", "label_weight", "reasoning_weight", "replay", "replay_reasoned", "checks_an_epoch",
            )),
            Section("optimiser", "Optimiser", (
                "batch", "micro_batch", "schedule", "warm_up", "weight_decay", "clip_norm", "precision", "seed",
                "gradient_checkpointing",
            )),
            Section("weights", "Weights", ("lora_rank", "lora_alpha", "lora_dropout", "freeze_vision")),
            Section("teacher", "Missing reasoning", ("teacher", "teacher_tries")),
        ),
    ),
    JobKind.GRPO: Plan(
        ("epochs", "learning_rate", "generations", "temperature"),
        (
            Section(SHOWN, "Reward", (
                "reward.form", "reward.most", "reward.scale", "reward.free", "reward.beta", "reward.floor",
                "reward.length_term", "mask_wrong_groups",
            )),
            Section("mining", "Hard samples", (
                "mining.rule", "mining.n", "mining.temperature", "mining.top_p", "mining.drop_all_wrong",
            )),
            Section("concatenation", "Joined samples", (
                "concatenation.share", "concatenation.separator", "concatenation.geometry",
            )),
            Section("rollouts", "Rollouts", (
                "prompts", "longest_prompt", "longest_completion", "top_p", "generate_at_once", "rollouts_a_checkpoint",
                "balance", "mask_truncated",
            )),
            Section("optimiser", "Optimiser", (
                "updates", "passes", "micro_batch", "clip_low", "clip_high", "kl", "loss", "scale_rewards", "schedule",
                "warm_up", "weight_decay", "clip_norm", "precision", "seed", "dynamic_clipping",
                "gradient_checkpointing",
            )),
            Section("weights", "Weights", ("tuning", "lora_rank", "lora_alpha", "lora_dropout", "freeze_vision")),
            Section("vllm", "Who generates", ("vllm", "vllm_address")),
        ),
    ),
}  # fmt: skip

REWARD_CONSTANTS: Mapping[str, frozenset[str]] = {
    RewardForm.OMNI_V1: frozenset({"reward.most", "reward.scale"}),
    RewardForm.OMNI_V2: frozenset({"reward.most", "reward.scale", "reward.free"}),
    RewardForm.VL: frozenset({"reward.beta", "reward.floor"}),
    RewardForm.VL_ORDERED: frozenset({"reward.beta", "reward.floor"}),
}
"""The constants that a form of the reward uses; the others are not shown with it."""

_LABELS = {
    "lora_rank": "LoRA rank", "lora_alpha": "LoRA alpha", "lora_dropout": "LoRA dropout",
    "freeze_vision": "Freeze the vision tower", "warm_up": "Warm-up", "tuning": "Weights",
    "first_look_share": "First-look share", "checks_an_epoch": "Checks an epoch", "micro_batch": "Micro-batch",
    "clip_norm": "Clip norm", "fps": "Frames per second", "top_p": "Top-p", "kl": "KL weight",
    "clip_low": "Clip range below", "clip_high": "Clip range above", "loss": "Loss", "updates": "Updates of a pass",
    "mask_truncated": "Mask what was cut off", "mask_wrong_groups": "Mask equally wrong groups",
    "balance": "Balance the labels",
    "rollouts_a_checkpoint": "Rollouts a checkpoint", "vllm": "Generates", "vllm_address": "vLLM's address",
    "reward.length_term": "Length counts", "reward.most": "Largest bonus or penalty", "reward.free": "Free tokens",
    "mining.rule": "Keep a sample when", "mining.n": "Generations of each",
    "mining.drop_all_wrong": "Drop what is never right", "concatenation.geometry": "Two pictures",
    "concatenation.share": "Share of joined samples",
}  # fmt: skip

_WORDS: Mapping[str, Mapping[str, str]] = {
    "tuning": {"full": "all (full)", "lora": "adapters (LoRA)"},
    "teacher": {"guard": "the guard", "none": "nobody"},
    "reward.form": {
        "omni-v1": "exploration (Omni v1)", "omni-v2": "conciseness (Omni v2)", "vl": "length-aware safety (VL)",
        "vl-ordered": "VL with the order kept",
    },
    "mining.rule": {
        "vl": "all are wrong (VL)", "omni-v1": "at least one is wrong (Omni v1)",
        "omni-v2": "some are wrong, some right (Omni v2)", "all": "always: nothing is mined",
    },
    "concatenation.geometry": {"side-by-side": "side by side", "stacked": "stacked", "apart": "stay apart"},
    "vllm": {"none": "transformers", "colocate": "vLLM inside the job", "server": "a vLLM server"},
    "scale_rewards": {"group": "the group's spread", "batch": "the rollout's spread", "none": "nothing"},
}  # fmt: skip


@cache
def fields(kind: JobKind) -> tuple[FieldSpec, ...]:
    """Every field of a kind of recipe in the order of the form: the short ones, section by section, then pictures."""
    declared = dict(_declared(SETTINGS[kind]))
    plan = PLANS[kind]
    names = [*plan.short, *(name for section in plan.sections for name in section.names)]
    pictures = [name for name in declared if name.startswith(f"{PICTURES}.")]
    return tuple(declared[name] for name in (*names, *pictures))


def _declared(model: type[BaseModel], within: str = "") -> Iterator[tuple[str, FieldSpec]]:
    """Every field of the settings, those of their sections included."""
    for name, info in model.model_fields.items():
        annotation = _plain(info.annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _declared(annotation, f"{name}.")
        else:
            yield within + name, _field(within + name, annotation, info)


def _plain(annotation: Any) -> Any:
    """The annotation without its None."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(each for each in get_args(annotation) if each is not type(None))
    return annotation


def _field(name: str, annotation: Any, info: FieldInfo) -> FieldSpec:
    last = name.rpartition(".")[2]
    label = _LABELS.get(name) or _LABELS.get(last) or last.replace("_", " ").capitalize()
    given: Sequence[str] = ()
    if get_origin(annotation) is Literal:
        given = get_args(annotation)
    elif isinstance(annotation, type) and issubclass(annotation, StrEnum):
        given = [each.value for each in annotation]
    words = _WORDS.get(name, {})
    choices = tuple((words.get(each, each), each) for each in given)
    kinds: Mapping[Any, Kind] = {bool: "yes or no", int: "whole", float: "number", str: "text"}
    return FieldSpec(name, label, info.description or "", "choice" if choices else kinds[annotation], choices)


def shown(kind: JobKind, settings: Mapping[str, Any]) -> list[Any]:
    """A recipe's values in the order of `fields`, and at the end which picture sizes are taken."""
    own = settings.get(PICTURES) is None
    every = {**settings, PICTURES: USUAL_PICTURES.model_dump()} if own else settings
    values = [_as_shown(each, _get(every, each.name)) for each in fields(kind)]
    return [*values, OWN_PICTURES if own else GIVEN_PICTURES]


def _get(settings: Mapping[str, Any], name: str) -> Any:
    section, dot, last = name.rpartition(".")
    return settings[section][last] if dot else settings[last]


def changes(kind: JobKind, values: Sequence[Any]) -> dict[str, Any]:
    """What the form says, as values in place of the recipe's.

    Args:
        values: in the order of `fields`, and at the end which picture sizes are taken.

    Raises:
        InputError: a number is missing.
    """
    *given, sizes = values
    said: dict[str, Any] = {}
    for each, value in zip(fields(kind), given, strict=True):
        section, dot, last = each.name.rpartition(".")
        if section == PICTURES and sizes != GIVEN_PICTURES:
            continue
        if value is None and each.kind != "text":
            raise InputError(f"{each.label} is empty; give a {'choice' if each.kind == 'choice' else 'number'}.")
        into = said.setdefault(section, {}) if dot else said
        into[last] = _as_said(each, value)
    return said | ({} if sizes == GIVEN_PICTURES else {PICTURES: None})


_SIGNS = {"\n": "\\n", "\t": "\\t", "\\": "\\\\"}
_MEANT = {"n": "\n", "t": "\t"}


def _as_shown(spec: FieldSpec, value: Any) -> Any:
    """As the field holds it: line ends of a text are written out, so that they can be seen."""
    return "".join(_SIGNS.get(each, each) for each in value) if spec.kind == "text" else value


def _as_said(spec: FieldSpec, value: Any) -> Any:
    if spec.kind == "text":
        return text_said(value or "")
    return int(value) if spec.kind == "whole" and float(value).is_integer() else value


def text_said(shown: str) -> str:
    """The text that a field with line ends written out means."""
    return re.sub(r"\\(.)", lambda found: _MEANT.get(found[1], found[1]), shown)
