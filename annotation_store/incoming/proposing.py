"""Guessing from the names of columns what they are. Pure; the person sees the guess and can change it."""

from __future__ import annotations

from collections.abc import Sequence

from annotation_store.incoming.values import Columns

NAMES: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations", "conversation"),
    "images": ("images",),
    "videos": ("videos",),
    "request": ("request", "prompt", "user_input", "question", "instruction", "query", "text", "input", "goal"),
    "response": ("response", "answer", "completion", "reply", "output", "model_output"),
    "media": ("media", "image", "video", "image_path", "video_path", "file_name", "path"),
    "request_label": (
        "request_label", "prompt_label", "prompt_harm_label", "request_harm_label", "is_harmful", "harmful", "label",
    ),
    "response_label": ("response_label", "response_harm_label", "completion_label"),
    "categories": ("categories", "category", "hazard", "hazards"),
    "reasoning": ("reasoning", "steps", "rationale", "explanation"),
    "confidence": ("confidence",),
    "note": ("note", "notes", "comment"),
    "external_id": ("external_id", "id", "sample_id", "uid"),
    "detail": ("label_detail",),
}  # fmt: skip
"""By field the names that columns have, the most telling first; case, spaces and hyphens do not count."""


def propose(columns: Sequence[str]) -> Columns:
    """What the columns of a file seem to be."""
    plain = {column.strip().casefold().replace(" ", "_").replace("-", "_"): column for column in reversed(columns)}
    found = {field: next((plain[name] for name in names if name in plain), None) for field, names in NAMES.items()}
    if found["messages"]:
        # A file in the ShareGPT form brings everything in its turns.
        found = {field: found[field] for field in ("messages", "images", "videos", "external_id")}
    elif found["media"] is None:
        found["media"], found["images"] = found["images"], None
    return Columns(**found)
