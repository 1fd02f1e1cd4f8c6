"""Label Studio's figures: version 1.23.2 on SQLite, measured once on two CPU cores in November 2026, not beside ours.

It cannot be installed next to this project's requirements, so what it took is written down here.
"""

from __future__ import annotations

IMPORT = "5,400 rows/s"
NEXT_ITEM = {1_000: "67 ms", 50_000: "97 ms"}
"""By tasks in the project."""
SUBMIT = "202 to 233 ms"


def next_item(rows: int) -> str:
    """The figure for the largest project measured that is no larger than this one; it grows with the rows."""
    measured = [size for size in NEXT_ITEM if size <= rows]
    return f"{NEXT_ITEM[max(measured)]} ({max(measured):,} rows)" if measured else ""
