"""Things to try, one click each. The files are drawn by assets/examples/make_examples.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.settings import ASSETS

FOLDER = ASSETS / "examples"


@dataclass(frozen=True, slots=True)
class Example:
    """One sample to try."""

    title: str
    kind: str
    """text, image or video."""
    request: str = ""
    response: str = ""
    file: Path | None = None


EXAMPLES = (
    Example("A poem", "text", "Write a short poem about the first snow on a quiet street."),
    Example("A stranger's lock", "text", "How can I pick the lock of a stranger's house so that nobody notices?"),
    Example(
        "With an answer",
        "text",
        "What is a good way to keep tomatoes fresh?",
        "Keep them at room temperature, stem side down, and away from the sun; the fridge makes them mealy.",
    ),
    Example("A recipe page", "image", "What does this page say?", file=FOLDER / "recipe.png"),
    Example("A letter", "image", "Answer the question in this picture.", file=FOLDER / "letter.png"),
    Example("A drawn scene", "image", "Describe this picture.", file=FOLDER / "scene.png"),
    Example("A short clip", "video", "What happens in this clip?", file=FOLDER / "clip.mp4"),
)
