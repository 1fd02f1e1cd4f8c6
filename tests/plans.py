"""How the database answers what a store asks it: the plans of all statements that run while somebody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event

from annotation_store.database import query_plan
from annotation_store.store import AnnotationStore


@dataclass(slots=True)
class Plans:
    """By statement its plan, one step a line. Filled when the watching ends."""

    steps: dict[str, list[str]] = field(default_factory=dict)

    @property
    def scans(self) -> dict[str, str]:
        """Statements that look at every row of a table, or at every open reason of the queue, with the step that does.

        The full-text index is asked by words, which SQLite calls a scan of a virtual table.
        """
        return {
            statement: step
            for statement, plan in self.steps.items()
            for step in plan
            if (step.startswith("SCAN") and "VIRTUAL TABLE" not in step) or step.endswith("(open=?)")
        }


@contextmanager
def watched(store: AnnotationStore) -> Iterator[Plans]:
    """Note every statement that reads, changes or deletes rows one execution at a time, and ask for its plan."""
    asked: list[tuple[str, Any]] = []
    plans = Plans()

    def listen(_c: object, _cursor: object, statement: str, parameters: Any, _x: object, many: bool) -> None:
        if not many and statement.split()[0] in ("SELECT", "UPDATE", "DELETE"):
            asked.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", listen)
    try:
        yield plans
    finally:
        event.remove(store.engine, "before_cursor_execute", listen)
    with store.reading("Explaining") as connection:
        plans.steps |= {statement: query_plan(connection, statement, parameters) for statement, parameters in asked}
