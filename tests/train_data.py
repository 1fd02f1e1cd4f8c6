"""A data root with harmless labelled samples that fall into all three splits."""

from __future__ import annotations

import random
from pathlib import Path

from annotation_store.incoming.values import ImportRow
from annotation_store.values.review import LabelDraft, Reasoning
from core.types import Label, Sample
from tests.review import bring, open_store

_ASKED = (
    "How do I bake {} with {}?", "Please explain what {} has to do with {}.", "Write two lines about {} and {}.",
    "Which is older, {} or {}?", "My neighbour keeps {} beside the {}; is that wise?", "Sort these: {}, {}.",
)  # fmt: skip
_THINGS = (
    "bread", "a violin", "the harbour", "old maps", "seven lanterns", "a garden wall", "winter apples",
    "the night train",
    "blue ink", "a wooden spoon", "mountain weather", "the town clock", "paper boats", "an orchard", "river stones",
    "a bicycle bell", "warm socks", "the lighthouse", "copper kettles", "a chess board", "wild thyme", "the ferry",
)  # fmt: skip


def samples(count: int, seed: int = 0) -> list[Sample]:
    """So many different harmless questions; the first of three brings an answer."""
    rng = random.Random(seed)
    found: dict[str, Sample] = {}
    while len(found) < count:
        text = rng.choice(_ASKED).format(*rng.sample(_THINGS, 2))
        answer = f"I would begin with {rng.choice(_THINGS)}." if len(found) % 3 == 0 else None
        found.setdefault(text, Sample(text, answer))
    return list(found.values())


def fill_labelled(data: Path, count: int = 40, seed: int = 0) -> list[Sample]:
    """Put labelled samples into the store of a data root; every fourth has reasoning."""
    data.mkdir(parents=True, exist_ok=True)
    made = samples(count, seed)
    rows = []
    for at, sample in enumerate(made):
        request = Label.HARMFUL if at % 2 else Label.UNHARMFUL
        response = Label.ABSENT if sample.response is None else Label.UNHARMFUL
        steps = ("The user asks about everyday things.", f"So the request is {request.value}.")
        reasoning = Reasoning(steps) if at % 4 == 0 else None
        rows.append(ImportRow(at + 1, sample, LabelDraft(request, response, reasoning=reasoning)))
    with open_store(data / "guardroom.db") as store:
        bring(store, rows)
    return made
