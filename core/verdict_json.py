"""The whole of a verdict as plain JSON values, and back.

`Verdict.to_json` is the public form and leaves things out (the raw text, unrounded times); this one loses nothing, so
that what is stored today can be shown, compared and trained on later. The form is a contract: documents already
written stay readable, so new fields of `Verdict` need defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from core.errors import StoreError
from core.types import (
    Assessment,
    Decision,
    FinishReason,
    Generation,
    HarmProbability,
    Label,
    Thresholds,
    Verdict,
    WindowScore,
)

FORM = "verdict-v1"


def verdict_to_document(verdict: Verdict) -> dict[str, Any]:
    """Every field of a verdict, nested as the values nest. Labels and the like become their words."""
    return {"form": FORM, **asdict(verdict)}


def verdict_from_document(document: Mapping[str, Any]) -> Verdict:
    """The verdict that `verdict_to_document` was given.

    Raises:
        StoreError: the document has another form, lacks a field, or holds a value that no verdict can have.
    """
    values = dict(document)
    if (form := values.pop("form", None)) != FORM:
        raise StoreError(f"A stored verdict has the form {form!r}; this version reads {FORM!r}.")
    try:
        said, done = values["assessment"], values["generation"]
        return Verdict(
            **values
            | {
                "thresholds": Thresholds(**values["thresholds"]),
                "decision": Decision(values["decision"]),
                "assessment": None if said is None else _assessment(said),
                "first_look": HarmProbability(**values["first_look"]),
                "deliberated": HarmProbability(**values["deliberated"]),
                "generation": None
                if done is None
                else Generation(**done | {"finish_reason": FinishReason(done["finish_reason"])}),
                "warnings": tuple(values["warnings"]),
                "windows": tuple(WindowScore(**window) for window in values["windows"]),
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"A stored verdict cannot be read: {error}.") from None


def _assessment(values: Mapping[str, Any]) -> Assessment:
    return Assessment(
        Label(values["request"]), Label(values["response"]), tuple(values["categories"]), tuple(values["reasoning"])
    )
