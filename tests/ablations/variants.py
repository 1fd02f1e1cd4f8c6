"""The recipes of the cells: the built-in guard's own, the papers' other forms scaled to it, each without one part.

The papers' forms keep their rules and change what a guard of seven million parameters cannot do: its answers have some
70 tokens instead of 200 to 2,048, so lengths are counted against 60 tokens; sampling, learning rate, group size and the
number of updates are those of `grpo-builtin`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RECIPE = "grpo-builtin"
SFT_RECIPE = "sft-builtin"

Changes = Mapping[str, Any]

OMNI_V2: Changes = {
    "schedule": "cosine",
    "clip_low": 0.2,
    "clip_high": 0.2,
    "mask_wrong_groups": False,
    "reward": {"form": "omni-v2", "most": 0.4, "scale": 60.0, "free": 60.0},
    "mining": {"rule": "omni-v2", "n": 8},
    "concatenation": {"share": 0.0},
}
"""Concise correctness: a wrong answer gets nothing for its length, so nothing is masked; no concatenation."""

VL: Changes = {
    "clip_low": 0.2,
    "clip_high": 0.2,
    "dynamic_clipping": True,
    "reward": {"form": "vl", "beta": 1.0, "floor": 0.25},
    "mining": {"rule": "vl"},
}
"""Length-aware safety: all four answers wrong, the clip range closes, a fifth of the set is joined."""

VL_ECO: Changes = {**VL, "reward": {"form": "vl", "beta": 1 / 6, "floor": 1 / 6}}
"""VL with length free beyond a sixth of the limit."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One column of the experiment; one row of the table."""

    name: str
    what: str
    """In words, for the table."""
    changes: Changes = field(default_factory=dict)
    """To `grpo-builtin`, by key; of a section a mapping of the changed keys."""
    sft: bool = False
    """No reinforcement: supervised training goes on for as long as the whole recipe took."""


def without(changes: Changes, **more: Any) -> Changes:
    """Changes with some more; sections are merged."""
    merged = dict(changes)
    for key, value in more.items():
        merged[key] = {**merged.get(key, {}), **value} if isinstance(value, Mapping) else value
    return merged


NO_LENGTH: Changes = {"reward": {"length_term": False}}
NO_JOINED: Changes = {"concatenation": {"share": 0.0}}

VARIANTS: tuple[Variant, ...] = (
    Variant("omni-v1", "Omni v1, as grpo-builtin"),
    Variant("sft", "SFT alone, as long", sft=True),
    Variant("omni-v1-no-exploration", "Omni v1 without exploration", NO_LENGTH),
    Variant("omni-v1-no-joined", "Omni v1 without concatenation", NO_JOINED),
    Variant("vl", "VL", VL),
    Variant("vl-no-dynamic-clipping", "VL without dynamic clipping", without(VL, dynamic_clipping=False)),
    Variant("vl-no-joined", "VL without concatenation", without(VL, **NO_JOINED)),
    Variant("vl-no-length", "VL without the length term", without(VL, **NO_LENGTH)),
    Variant("vl-eco", "VL-Eco", VL_ECO),
    Variant("omni-v2", "Omni v2", OMNI_V2),
    Variant("omni-v2-no-length", "Omni v2 without the length term", without(OMNI_V2, **NO_LENGTH)),
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
