"""The labelled texts that the built-in guard learns from, as rows with one fixed split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError
from core.settings import REPOSITORY
from core.types import Label

DEFAULT_DATA = REPOSITORY.parent / "shared" / "benchmarks" / "train"
FILES = ("requests.jsonl", "responses.jsonl", "toxic_posts.jsonl")
VALIDATION_PERCENT = 4


@dataclass(frozen=True, slots=True)
class TextRow:
    """One labelled text: a request, or a request with the response to it."""

    id: str
    request: str
    response: str | None
    request_label: Label
    response_label: Label
    source: str
    """Short name of the corpus it comes from."""
    topic: str = ""
    """What it is about, in plain words; empty when the corpus does not say."""

    @property
    def labelled(self) -> bool:
        """Whether at least one side has a label."""
        return {self.request_label, self.response_label} & {Label.HARMFUL, Label.UNHARMFUL} != set()


def _label(value: str | None, missing: Label) -> Label:
    return Label(value) if value else missing


def row_from_json(values: dict[str, str | None]) -> TextRow:
    """One line of a benchmark file as a row. A missing label is unlabelled, a missing response absent."""
    response = values["response"]
    source = str(values["benchmark"]).removeprefix("train:")
    return TextRow(
        id=str(values["id"]),
        request=values["request"] or "",
        response=response,
        request_label=_label(values["request_label"], Label.UNLABELLED),
        response_label=_label(values["response_label"], Label.ABSENT if response is None else Label.UNLABELLED),
        source=source,
        topic=topic_of(source, values["category"] or ""),
    )


TOPICS = {
    "AdvBench": "breaking rules or laws",
    "CatQA": "acts against laws or rules",
    "HarmfulQA": "a misuse of knowledge",
    "DangerousQA": "an unkind or dangerous act",
    "GPTFuzz-questions": "an unlawful act",
    "CyberSecEval-interpreter": "an attack on a computer",
    "CyberSecEval-FRR": "the defence of a computer",
    "NaturalQuestions-open": "a question of fact",
    "GPTeacher-roleplay": "a role to play",
    "GPTeacher-roleplay-responses": "a role to play",
    "GPTeacher-codegen": "writing code",
    "GPTeacher-codegen-responses": "writing code",
    "Arena-Hard": "everyday work",
    "Self-Instruct-seeds": "an everyday task",
    "MedQuAD": "a question of health",
    "MedSafetyBench": "the conduct of medicine",
    "MedSafetyBench-safe-responses": "the conduct of medicine",
    "GPTFuzz-responses-harmful": "an unlawful act",
    "GPTFuzz-responses-safe": "an unlawful act",
    "DiaSafety-train": "small talk",
    "Davidson-hate": "a post about people",
    "Davidson-neither": "a post",
    "Vicomtech-hate": "a post about people",
    "Vicomtech-noHate": "a post",
    "ToxiGen-demos-hate": "a group of people",
    "ToxiGen-demos-neutral": "a group of people",
}


def topic_of(source: str, category: str) -> str:
    """Plain words for what a row is about: AART names it itself, the other corpora by their kind."""
    if source == "AART" and category:
        return category.lower()
    if source == "Arena-Hard" and category:
        return category.replace("_", " ")
    return TOPICS.get(source, "")


def load_rows(folder: Path) -> list[TextRow]:
    """All labelled rows of the training files, in file order, exact repeats dropped.

    Raises:
        InputError: a file is missing.
    """
    rows: list[TextRow] = []
    seen: set[tuple[str, str]] = set()
    for name in FILES:
        path = folder / name
        if not path.is_file():
            raise InputError(
                f"There is no training file {path}; name the folder that holds {', '.join(FILES)} with --data."
            )
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = row_from_json(json.loads(line))
                key = (" ".join(row.request.lower().split()), " ".join((row.response or "").lower().split()))
                if row.labelled and key not in seen:
                    seen.add(key)
                    rows.append(row)
    return rows


def bucket(text: str, buckets: int = 100, salt: str = "split-v1") -> int:
    """A number in [0, buckets) that depends on the text alone, so that a split never moves."""
    canonical = " ".join(text.lower().split())
    return int.from_bytes(hashlib.sha256(f"{salt}\n{canonical}".encode()).digest()[:8], "big") % buckets


def is_validation(row: TextRow) -> bool:
    """About 4% of the rows, chosen by their request, so that all answers to one request fall on one side."""
    return bucket(row.request) < VALIDATION_PERCENT


def split(rows: Iterable[TextRow]) -> tuple[list[TextRow], list[TextRow]]:
    """Training rows and validation rows, in the given order."""
    train: list[TextRow] = []
    held_out: list[TextRow] = []
    for row in rows:
        (held_out if is_validation(row) else train).append(row)
    return train, held_out


def cut_words(text: str, limit: int) -> str:
    """The first `limit` words with the white space between them as it was."""
    pieces = text.split(" ")
    return text if len(pieces) <= limit else " ".join(pieces[:limit])


def request_side(rows: Sequence[TextRow]) -> list[TextRow]:
    """Rows that say something of a request standing alone."""
    return [row for row in rows if row.response is None and row.request_label in (Label.HARMFUL, Label.UNHARMFUL)]


def response_side(rows: Sequence[TextRow]) -> list[TextRow]:
    """Rows that say something of a response."""
    return [row for row in rows if row.response is not None and row.response_label in (Label.HARMFUL, Label.UNHARMFUL)]
