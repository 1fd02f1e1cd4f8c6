"""Scored rows for tests: what is true and what was said, without a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.evaluation.rows import HELD_OUT, EvaluationRow, ScoredRow
from core.types import Assessment, HarmProbability, Label, Sample
from tests.verdicts import verdict_on

LABELS = {True: Label.HARMFUL, False: Label.UNHARMFUL, None: Label.UNLABELLED}
Answer = bool | None | str
"""Whether harmful is said; `"unreadable"` for an answer that could not be read."""


def scored(
    number: int | str,
    truth: bool | None,
    said: Answer,
    *,
    set: str = HELD_OUT,
    response: tuple[bool | None, Answer] | None = None,
    checkpoint: str = "guard-1",
    p: float | None = None,
    **changes: Any,
) -> ScoredRow:
    """A row about a request, and perhaps a response, with the verdict that goes with what was said."""
    sample = Sample(f"request {number}", None if response is None else f"response {number}")
    row = EvaluationRow(
        set, str(number), sample, LABELS[truth], Label.ABSENT if response is None else LABELS[response[0]], ("some",)
    )
    unreadable = "unreadable" in (said, response and response[1])
    sides = (said, None if response is None else response[1])
    labels = [Label.HARMFUL if side is True else Label.UNHARMFUL for side in sides]
    assessment = Assessment(labels[0], labels[1] if response is not None else Label.ABSENT)
    at = (0.9 if said is True else 0.1) if p is None else p
    values: dict[str, Any] = {
        "checkpoint_id": checkpoint,
        "assessment": None if unreadable else assessment,
        "error": "It cannot be read." if unreadable else None,
        "first_look": HarmProbability(at, None if response is None else 0.9 if response[1] is True else 0.1),
        "deliberated": HarmProbability() if unreadable else HarmProbability(at, None if response is None else 0.2),
    }
    return ScoredRow(row, verdict_on(sample, f"v-{checkpoint}-{set}-{number}", **values | changes))


def many(truth: Sequence[bool | None], said: Sequence[Answer], **changes: Any) -> list[ScoredRow]:
    """A row for each."""
    return [scored(number, t, s, **changes) for number, (t, s) in enumerate(zip(truth, said, strict=True))]


def file_row(number: int | str, **changes: Any) -> dict[str, Any]:
    """A line of a file that is scored."""
    return {
        "id": f"r{number}", "benchmark": "Mine", "modality": "text", "request": f"Tell me about bread, {number}.",
        "response": None, "media": None, "request_label": "unharmful", "response_label": None, "category": "baking",
        "source": "here", "licence": "MIT",
    } | changes  # fmt: skip


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    """A file of such lines."""
    path.write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    return path
