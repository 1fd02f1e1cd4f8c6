"""The exact row beside the turns of a ShareGPT export, and the digest that says whether the turns were edited since."""

from __future__ import annotations

import hashlib
from typing import Any

EXACT = "guardroom"
"""A column of Guardroom's own exports: the plain row as JSON text, with the digest of the messages beside it."""


def messages_digest(messages: Any) -> str:
    """The digest that goes with the exact row, so that messages edited by hand are read anew."""
    digest = hashlib.sha256()
    for turn in messages:
        for part in (str(turn["role"]), str(turn["content"])):
            # The length keeps texts apart that only differ in where one ends.
            digest.update(f"{len(part)} {part}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
