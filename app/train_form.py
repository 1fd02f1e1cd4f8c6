"""The form of a training, made from the recipe's fields: which there are, how they are asked for, back to values."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from core.errors import InputError
from train_jobs.recipes import Pictures, SftSettings

SHORT = ("epochs", "learning_rate", "tuning", "first_look_share")
"""Asked for at once; everything else under Advanced."""

PICTURES = "preprocessing"
"""The one field that holds others."""

OWN_PICTURES, GIVEN_PICTURES = "checkpoint", "own"
PICTURE_CHOICES = [("the checkpoint's own", OWN_PICTURES), ("these", GIVEN_PICTURES)]

_LABELS = {
    "lora_rank": "LoRA rank", "lora_alpha": "LoRA alpha", "lora_dropout": "LoRA dropout",
    "freeze_vision": "Freeze the vision tower", "warm_up": "Warm-up", "tuning": "Weights",
    "first_look_share": "First-look share", "checks_an_epoch": "Checks an epoch", "micro_batch": "Micro-batch",
    "clip_norm": "Clip norm", "fps": "Frames per second",
}  # fmt: skip
_WORDS = {"full": "all (full)", "lora": "adapters (LoRA)", "guard": "the guard", "none": "nobody"}
_CHOICE_WORDS = {"tuning": ("full", "lora"), "teacher": ("guard", "none")}

USUAL_PICTURES = Pictures(
    fps=2.0, max_frames=128, frame_min_pixels=4096, frame_max_pixels=65536, image_min_pixels=4096,
    image_max_pixels=589824,
)  # fmt: skip
"""What stands in the fields while the checkpoint's own sizes are taken: the published ones of Omni v1."""

Kind = Literal["choice", "yes or no", "whole", "number"]


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of the form."""

    name: str
    """As in the recipe; fields of pictures with `preprocessing.` before it."""
    label: str
    info: str
    kind: Kind
    choices: tuple[tuple[str, str], ...] = ()


def fields() -> list[FieldSpec]:
    """Every field: the short ones first, in their order, then the others as the recipe declares them."""
    declared = {name: _field(name, info) for name, info in SftSettings.model_fields.items() if name != PICTURES}
    short = [declared.pop(name) for name in SHORT]
    pictures = [_field(f"{PICTURES}.{name}", info) for name, info in Pictures.model_fields.items()]
    return [*short, *declared.values(), *pictures]


def _field(name: str, info: FieldInfo) -> FieldSpec:
    last = name.rpartition(".")[2]
    label = _LABELS.get(last, last.replace("_", " ").capitalize())
    kind, choices = _kind(name, info.annotation)
    return FieldSpec(name, label, info.description or "", kind, choices)


def _kind(name: str, annotation: Any) -> tuple[Kind, tuple[tuple[str, str], ...]]:
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) is Literal:
        worded = name in _CHOICE_WORDS
        return "choice", tuple((_WORDS.get(each, each) if worded else each, each) for each in get_args(annotation))
    if annotation is bool:
        return "yes or no", ()
    return ("whole" if annotation is int else "number"), ()


def shown(settings: Mapping[str, Any]) -> list[Any]:
    """A recipe's values in the order of `fields`, and at the end which picture sizes are taken."""
    pictures = settings.get(PICTURES)
    given = USUAL_PICTURES.model_dump() if pictures is None else pictures
    values = [
        given[each.name.partition(".")[2]] if each.name.startswith(f"{PICTURES}.") else settings[each.name]
        for each in fields()
    ]
    return [*values, OWN_PICTURES if pictures is None else GIVEN_PICTURES]


def changes(values: Sequence[Any]) -> dict[str, Any]:
    """What the form says, as values in place of the recipe's.

    Args:
        values: in the order of `fields`, and at the end which picture sizes are taken.

    Raises:
        InputError: a number is missing.
    """
    every = fields()
    *given, sizes = values
    said: dict[str, Any] = {}
    pictures: dict[str, Any] = {}
    for each, value in zip(every, given, strict=True):
        into, name = (pictures, each.name.partition(".")[2]) if "." in each.name else (said, each.name)
        if value is None and (into is said or sizes == GIVEN_PICTURES):
            raise InputError(f"{each.label} is empty; give a number.")
        into[name] = int(value) if each.kind == "whole" and value is not None and float(value).is_integer() else value
    return said | {PICTURES: pictures if sizes == GIVEN_PICTURES else None}
