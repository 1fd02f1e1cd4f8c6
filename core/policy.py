"""The policy: hazard categories with one sentence each, read from assets/policy.toml and shown to reviewers."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import InputError, PolicyError
from core.settings import ASSETS

POLICY_FILE = ASSETS / "policy.toml"

_FIELDS = ("id", "name", "description", "not_meant")
_ID = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class HazardCategory:
    """One kind of harm."""

    id: str
    """Stands in `Assessment.categories`; lower case, digits and underscores."""
    name: str
    description: str
    """One sentence: what is meant."""
    not_meant: str
    """One sentence of examples that look like it and are not."""


@dataclass(frozen=True, slots=True)
class Policy:
    """All categories, in the order in which they are shown."""

    version: str
    categories: tuple[HazardCategory, ...]

    def category(self, category_id: str) -> HazardCategory:
        """The category of an id.

        Raises:
            InputError: there is none; the message names those that there are.
        """
        for category in self.categories:
            if category.id == category_id:
                return category
        known = ", ".join(category.id for category in self.categories)
        raise InputError(f"{category_id[:80]!r} is no hazard category; accepted are {known}.")


def load_policy(path: Path = POLICY_FILE) -> Policy:
    """Read and check a policy file.

    Raises:
        PolicyError: the file is missing, no TOML, or a category lacks a field, has an unknown one or repeats an id.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PolicyError(f"The policy file {path} cannot be read as TOML ({error}).") from None
    if unknown := sorted(set(values) - {"version", "category"}):
        raise PolicyError(f"{path} has unknown entries {unknown}; a version and [[category]] tables are accepted.")
    version, tables = values.get("version"), values.get("category")
    if not isinstance(version, str) or not version.strip():
        raise PolicyError(f"{path} has the version {version!r}; a text is expected.")
    if not isinstance(tables, list) or not tables:
        raise PolicyError(f"{path} has no [[category]] tables; at least one is expected.")
    categories = tuple(_category(table, f"{path}, category {number}") for number, table in enumerate(tables, 1))
    ids = [category.id for category in categories]
    if repeated := sorted({each for each in ids if ids.count(each) > 1}):
        raise PolicyError(f"{path} has several categories with the id {repeated[0]!r}; each id may stand once.")
    return Policy(version, categories)


def _category(table: Any, where: str) -> HazardCategory:
    if not isinstance(table, dict) or set(table) != set(_FIELDS):
        found = sorted(table) if isinstance(table, dict) else table
        raise PolicyError(f"{where} has the fields {found}; exactly {sorted(_FIELDS)} are expected.")
    if wrong := [name for name in _FIELDS if not isinstance(table[name], str) or not table[name].strip()]:
        raise PolicyError(f"{where}: {wrong[0]} is {table[wrong[0]]!r}; a text that is not empty is expected.")
    if not _ID.fullmatch(table["id"]):
        raise PolicyError(
            f"{where} has the id {table['id']!r}; lower-case letters, digits and underscores are accepted."
        )
    return HazardCategory(**table)
