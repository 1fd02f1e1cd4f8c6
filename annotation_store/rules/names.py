"""Is this a name that can be kept beside what its person did?"""

from __future__ import annotations

from core.errors import StoreError

MAX_NAME_CHARS = 200


def named(reviewer: str) -> None:
    """Refuse an empty or endless reviewer's name."""
    if not reviewer.strip() or len(reviewer) > MAX_NAME_CHARS:
        raise StoreError(
            f"{reviewer[:40]!r} names no reviewer; a name of 1 to {MAX_NAME_CHARS} characters is expected."
        )
