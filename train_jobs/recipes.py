"""Recipes: the constants of a training as data files, checked, and refused by name where they cannot be.

Those of the project are in assets/recipes; a file in the data root's `recipes/` folder takes the place of the one of
the same name. A job's spec holds the resolved values, so a run can be repeated when the file has changed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import JobError
from core.settings import ASSETS
from core.types import Preprocessing

S = TypeVar("S", bound=BaseModel)

RECIPES = ASSETS / "recipes"
OWN_FOLDER = "recipes"
"""Under the data root: recipes of the people who use this installation."""
KIND = "sft"
"""What a recipe is for unless its file says another `kind`; those of other kinds are passed over here.
Those of reinforcement learning are in `train_jobs.grpo_recipes`."""


class Pictures(BaseModel):
    """How media become pixels in training; see METHODS of the papers. Serving keeps the checkpoint's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fps: float = Field(gt=0, le=60)
    max_frames: int = Field(ge=1, le=4096)
    frame_min_pixels: int = Field(ge=1)
    frame_max_pixels: int = Field(ge=1)
    image_min_pixels: int = Field(ge=1)
    image_max_pixels: int = Field(ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Pictures:
        self.preprocessing("check")
        return self

    def preprocessing(self, name: str) -> Preprocessing:
        """The value that the encoder takes."""
        return Preprocessing(name=name, **self.model_dump())


class SftSettings(BaseModel):
    """Every constant of a supervised fine-tuning. Shares are in [0, 1], weights are factors on the loss."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tuning: Literal["full", "lora"]
    freeze_vision: bool = Field(True, description="Leave the vision tower and its projector as they are.")
    lora_rank: int = Field(16, ge=1, le=1024)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    learning_rate: float = Field(gt=0, le=1, description="At its peak.")
    weight_decay: float = Field(0.0, ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warm_up: float = Field(0.03, ge=0, lt=1, description="Share of the steps in which the rate rises.")
    epochs: int = Field(ge=1, le=1000)
    batch: int = Field(ge=1, le=65536, description="Sequences of one update.")
    micro_batch: int = Field(ge=1, le=65536, description="Sequences computed at once; memory goes with it.")
    longest_sequence: int = Field(ge=64, le=1_000_000, description="Tokens; longer samples are left out and counted.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where the device computes it, else float32."
    )
    gradient_checkpointing: bool = Field(False, description="Less memory for a third more time.")
    clip_norm: float = Field(1.0, gt=0, description="Longest gradient.")
    first_look_share: float = Field(1.0, ge=0, le=1, description="Share of the samples that give a first-look row too.")
    label_weight: float = Field(1.0, gt=0, le=1000, description="Factor on the loss of label tokens.")
    reasoning_weight: float = Field(1.0, ge=0, le=1000, description="Factor on the loss of all other tokens.")
    replay: float = Field(0.0, ge=0, le=100, description="Replayed rows for every row of the snapshot.")
    replay_reasoned: float = Field(0.4, ge=0, le=1, description="Share of them that hold the base's reasoning.")
    teacher: Literal["guard", "none"] = Field(
        "guard", description="Who writes missing reasoning: the base with the labels given, or nobody."
    )
    teacher_tries: int = Field(16, ge=0, le=256, description="Endings that the guard as teacher tries for a sample.")
    checks_an_epoch: int = Field(1, ge=1, le=1000, description="Validations, each with a checkpoint.")
    seed: int = Field(0, ge=0, le=2**31 - 1)
    preprocessing: Pictures | None = Field(None, description="None: the checkpoint's own.")

    @model_validator(mode="after")
    def _whole_batches(self) -> SftSettings:
        if self.batch % min(self.batch, self.micro_batch):
            raise ValueError(
                f"batch={self.batch} must be a multiple of micro_batch={self.micro_batch}, which are computed at once"
            )
        return self

    @property
    def at_once(self) -> int:
        """Sequences of one forward pass."""
        return min(self.batch, self.micro_batch)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named set of constants."""

    name: str
    title: str
    differs: str
    """What differs from the paper, in plain words."""
    bases: str
    """Which checkpoints and machines it is for."""
    settings: SftSettings
    own: bool = False
    """Whether it comes from the data root."""


_TEXTS = ("name", "title", "differs", "bases")


def load_recipe(path: Path, *, own: bool = False) -> Recipe:
    """Read and check one recipe file.

    Raises:
        JobError: it is missing, no TOML, names a key that is not known, or holds a value that cannot be used.
    """
    texts, values = read_recipe(path, KIND)
    settings = check_settings(values, f"The recipe {path.name}")
    return Recipe(**texts, settings=settings, own=own)


def read_recipe(path: Path, kind: str) -> tuple[dict[str, str], dict[str, Any]]:
    """The texts of a recipe file and its values, these not checked yet.

    Raises:
        JobError: it is missing, no TOML, of another kind, or lacks one of its texts.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JobError(f"There is no recipe file {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise JobError(f"The recipe {path} cannot be read as TOML ({error}).") from None
    said = values.pop("kind", KIND)
    if said != kind:
        raise JobError(f"The recipe {path} is of the kind {said!r}; here {kind!r} is expected.")
    texts = {key: values.pop(key, None) for key in _TEXTS}
    for key, value in texts.items():
        if not isinstance(value, str) or not value.strip():
            raise JobError(f"The recipe {path} needs a text as its {key}, not {value!r}.")
    if texts["name"] != path.stem:
        raise JobError(f"The recipe {path} calls itself {texts['name']!r}; its name must be its file's, {path.stem!r}.")
    return {key: str(value).strip() for key, value in texts.items()}, values


def check_settings(values: Mapping[str, Any], what: str = "The recipe") -> SftSettings:
    """Check a recipe's values, as a file, a form or a job's spec holds them.

    Raises:
        JobError: a key is unknown or missing, or a value cannot be used; one sentence names each, and what is accepted.
    """
    return checked(SftSettings, values, what)


def checked(model: type[S], values: Mapping[str, Any], what: str) -> S:
    """The values as settings of any kind of recipe.

    Raises:
        JobError: as `check_settings`.
    """
    try:
        return model(**values)
    except ValidationError as error:
        # Unknown keys first: a misspelt one is often the reason why another is missing.
        found = sorted(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
        wrong = "; ".join(dict.fromkeys(_sentence(model, each) for each in found))
        raise JobError(f"{what} cannot be used: {wrong}.") from None


def _sentence(model: type[BaseModel], error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"it has the unknown key {where!r}; accepted are {', '.join(sorted(_fields(model, error['loc'])))}"
    if error["type"] == "missing":
        return f"it lacks {where!r}"
    said = str(error["msg"]).removeprefix("Value error, ")
    return f"{where} = {error['input']!r}: {said}" if where else said


def _fields(model: type[BaseModel], loc: Sequence[Any]) -> Iterable[str]:
    """The keys that are known where a wrong one stands: in the settings, or in a section of them."""
    for name in loc[:-1]:
        kinds = get_args(model.model_fields[name].annotation) or (model.model_fields[name].annotation,)
        model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return model.model_fields


def list_recipes(data: Path | None = None) -> list[Recipe]:
    """Every recipe by its name; those under the data root take the place of the project's of the same name.

    Raises:
        JobError: one of the files cannot be used; `problems` lists them without raising.
    """
    return [load_recipe(path, own=own) for path, own in recipe_files(data)]


def usable_recipes(data: Path | None = None) -> tuple[list[Recipe], list[str]]:
    """The recipes that can be used, and a sentence for each file that cannot: one bad file hides no other."""
    good: list[Recipe] = []
    problems: list[str] = []
    for path, own in recipe_files(data):
        try:
            good.append(load_recipe(path, own=own))
        except JobError as error:
            problems.append(str(error))
    return good, problems


def find_recipe(name: str, data: Path | None = None) -> Recipe:
    """One recipe by its name.

    Raises:
        JobError: there is none, or its file cannot be used.
    """
    files = {path.stem: (path, own) for path, own in recipe_files(data)}
    if name not in files:
        raise JobError(f"There is no recipe {name[:80]!r}; there are: {', '.join(files)}.")
    path, own = files[name]
    return load_recipe(path, own=own)


def recipe_files(data: Path | None, kind: str = KIND) -> Sequence[tuple[Path, bool]]:
    """The recipe files of one kind by name, and whether each comes from the data root."""
    found = {path.stem: (path, False) for path in RECIPES.glob("*.toml")}
    if data is not None:
        found |= {path.stem: (path, True) for path in (data / OWN_FOLDER).glob("*.toml")}
    return [found[name] for name in sorted(found) if _kind_of(found[name][0]) == kind]


def _kind_of(path: Path) -> str:
    """What cannot be read is not passed over: its sentence comes when it is loaded."""
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8")).get("kind", KIND))
    except (OSError, ValueError, RecursionError):
        return KIND


def resolve(recipe: Recipe, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The recipe's values with some changed, as a job's spec holds them: plain JSON values, every one of them.

    Raises:
        JobError: a changed value cannot be used.
    """
    values = recipe.settings.model_dump(mode="json") | dict(changes or {})
    return check_settings(values, f"The recipe {recipe.name} with these changes").model_dump(mode="json")
