"""Recipes: the constants of a training as data files, checked, and refused by name where they cannot be.

Those of the project are in assets/recipes; a file in the data root's `recipes/` folder takes the place of the one of
the same name. A file says its `kind`, sft unless it does: what it may say is in `train_jobs.recipes.sft` and
`train_jobs.recipes.grpo`. A job's spec holds the resolved values, so a run can be repeated when the file has changed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from core.errors import JobError
from core.settings import ASSETS
from train_jobs.recipes.grpo import GrpoSettings
from train_jobs.recipes.sft import SftSettings
from train_jobs.recipes.values import checked
from train_jobs.runs.specs import JobKind

S = TypeVar("S", bound=BaseModel)

RECIPES = ASSETS / "recipes"
OWN_FOLDER = "recipes"
"""Under the data root: recipes of the people who use this installation."""
SETTINGS: Mapping[JobKind, type[BaseModel]] = {JobKind.SFT: SftSettings, JobKind.GRPO: GrpoSettings}
"""The kinds of recipes, in the order in which a guard is trained, and what each may say."""


@dataclass(frozen=True, slots=True)
class Recipe(Generic[S]):
    """A named set of constants."""

    kind: JobKind
    name: str
    title: str
    differs: str
    """What differs from the paper, in plain words."""
    bases: str
    """Which checkpoints and machines it is for."""
    settings: S
    own: bool = False
    """Whether it comes from the data root."""


_TEXTS = ("name", "title", "differs", "bases")


def load_recipe(path: Path, *, own: bool = False) -> Recipe[Any]:
    """Read and check one recipe file.

    Raises:
        JobError: it is missing, no TOML, of no known kind, lacks one of its texts, names a key that is not known, or
            holds a value that cannot be used.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JobError(f"There is no recipe file {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise JobError(f"The recipe {path} cannot be read as TOML ({error}).") from None
    said = values.pop("kind", JobKind.SFT.value)
    if said not in [kind.value for kind in SETTINGS]:
        raise JobError(f"The recipe {path} is of the kind {said!r}; there are: {', '.join(SETTINGS)}.")
    texts = {key: values.pop(key, None) for key in _TEXTS}
    for key, value in texts.items():
        if not isinstance(value, str) or not value.strip():
            raise JobError(f"The recipe {path} needs a text as its {key}, not {value!r}.")
    if texts["name"] != path.stem:
        raise JobError(f"The recipe {path} calls itself {texts['name']!r}; its name must be its file's, {path.stem!r}.")
    kind = JobKind(said)
    settings = checked(SETTINGS[kind], values, f"The recipe {path.name}")
    return Recipe(kind, **{key: str(value).strip() for key, value in texts.items()}, settings=settings, own=own)


def list_recipes(data: Path | None = None, kind: JobKind | None = None) -> list[Recipe[Any]]:
    """Every recipe, or every one of a kind: by kind, then by name.

    Those under the data root take the place of the project's of the same name.

    Raises:
        JobError: one of the files cannot be used; `usable_recipes` tells of it without raising.
    """
    good, problems = usable_recipes(data, kind)
    if problems:
        raise JobError(problems[0])
    return good


def usable_recipes(data: Path | None = None, kind: JobKind | None = None) -> tuple[list[Recipe[Any]], list[str]]:
    """As `list_recipes`, and a sentence for each file that cannot be used: one bad file hides no other."""
    good: list[Recipe[Any]] = []
    problems: list[str] = []
    for path, own in _files(data).values():
        try:
            good.append(load_recipe(path, own=own))
        except JobError as error:
            problems.append(str(error))
    order = list(SETTINGS)
    chosen = [each for each in good if kind is None or each.kind is kind]
    return sorted(chosen, key=lambda each: (order.index(each.kind), each.name)), problems


def find_recipe(name: str, data: Path | None = None) -> Recipe[Any]:
    """One recipe by its name.

    Raises:
        JobError: there is none, or its file cannot be used.
    """
    files = _files(data)
    if name not in files:
        raise JobError(f"There is no recipe {name[:80]!r}; there are: {', '.join(files)}.")
    path, own = files[name]
    return load_recipe(path, own=own)


def _files(data: Path | None) -> dict[str, tuple[Path, bool]]:
    """The recipe files by name, and whether each comes from the data root."""
    found = {path.stem: (path, False) for path in RECIPES.glob("*.toml")}
    if data is not None:
        found |= {path.stem: (path, True) for path in (data / OWN_FOLDER).glob("*.toml")}
    return dict(sorted(found.items()))


def resolve(recipe: Recipe[Any], changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The recipe's values with some changed, as a job's spec holds them: plain JSON values, every one of them.

    Args:
        changes: by key; of a section (`reward`, `mining` and the like) a mapping of the changed keys alone.

    Raises:
        JobError: a changed value cannot be used.
    """
    values = recipe.settings.model_dump(mode="json")
    for key, value in (changes or {}).items():
        section = isinstance(value, Mapping) and isinstance(values.get(key), dict)
        values[key] = {**values[key], **value} if section else value
    what = f"The recipe {recipe.name} with these changes"
    return checked(SETTINGS[recipe.kind], values, what).model_dump(mode="json")
