"""The recipes of the cells: each paper's form scaled to the built-in guard, whole and without one of its parts.

The scaled forms are recipes like all others (`assets/recipes/grpo-builtin*.toml`): they keep the papers' rules and
change what a guard of a few million parameters cannot do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OMNI_V1, OMNI_V2, VL, VL_ECO = "grpo-builtin", "grpo-builtin-v2", "grpo-builtin-vl", "grpo-builtin-vl-eco"
SFT_RECIPE = "sft-builtin"

Changes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Variant:
    """One column of the experiment; one row of the table."""

    name: str
    what: str
    """In words, for the table."""
    recipe: str
    changes: Changes = field(default_factory=dict)
    """To the recipe, by key; of a section a mapping of the changed keys. One part, or none."""

    @property
    def sft(self) -> bool:
        """No reinforcement: supervised training goes on for as long as the whole recipe took."""
        return self.recipe == SFT_RECIPE


NO_LENGTH: Changes = {"reward": {"length_term": False}}
NO_JOINED: Changes = {"concatenation": {"share": 0.0}}
NO_DYNAMIC_CLIPPING: Changes = {"dynamic_clipping": False}

VARIANTS: tuple[Variant, ...] = (
    Variant("omni-v1", "Omni v1", OMNI_V1),
    Variant("sft", "SFT alone, as long as Omni v1", SFT_RECIPE),
    Variant("omni-v1-no-exploration", "Omni v1 without exploration", OMNI_V1, NO_LENGTH),
    Variant("omni-v1-no-joined", "Omni v1 without concatenation", OMNI_V1, NO_JOINED),
    Variant("vl", "VL", VL),
    Variant("vl-no-dynamic-clipping", "VL without dynamic clipping", VL, NO_DYNAMIC_CLIPPING),
    Variant("vl-no-joined", "VL without concatenation", VL, NO_JOINED),
    Variant("vl-no-length", "VL without the length term", VL, NO_LENGTH),
    Variant("vl-eco", "VL-Eco", VL_ECO),
    Variant("omni-v2", "Omni v2", OMNI_V2),
    Variant("omni-v2-no-length", "Omni v2 without the length term", OMNI_V2, NO_LENGTH),
)
"""In the order of the table. In Omni v1 exploration is the length term."""

FULL = "omni-v1"
"""Whose wall time supervised training alone is given."""


def find(name: str) -> Variant:
    """By its name.

    Raises:
        SystemExit: there is none; the message names all.
    """
    for variant in VARIANTS:
        if variant.name == name:
            return variant
    raise SystemExit(f"There is no variant {name!r}; there are: {', '.join(each.name for each in VARIANTS)}.")
