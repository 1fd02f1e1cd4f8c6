"""What a part of a soak found: counts, and a sentence for everything that was not as it should be."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from annotation_store.database import is_sound
from annotation_store.store import AnnotationStore


@dataclass(slots=True)
class Found:
    """What one part of the soak found."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def must(self, holds: object, words: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.wrong.append(words)


def check_store(store: AnnotationStore, found: Found, when: str) -> None:
    """The file and its index are whole, and what is kept beside the rows is what the rows say."""
    with store.writing("Checking") as connection:
        found.must(is_sound(connection), f"The database is damaged {when}.")
        dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        found.must(not dangling, f"{len(dangling)} rows point at nothing {when}.")
        counted = connection.exec_driver_sql(
            "SELECT (SELECT sum(open_items) FROM queue_counts WHERE kind = '' AND checkpoint_id = ''), "
            "(SELECT count(*) FROM queue_items WHERE state = 'open'), "
            "(SELECT count(*) FROM labels WHERE reviewer IS NOT NULL), "
            "(SELECT count(*) FROM events WHERE label_key IS NOT NULL)"
        ).one()
    found.must((counted[0] or 0) == counted[1], f"{counted[0]} items are counted as open {when}, {counted[1]} are.")
    found.must(counted[2] == counted[3], f"{counted[2]} labels {when} have {counted[3]} events.")
    found.counts["integrity checks"] += 1
