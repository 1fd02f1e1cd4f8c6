"""Which deleted samples a run must not name any more: a note in its folder, that every reader of the run looks at.

forgotten.jsonl     {"sample": id}, one a line
"""

from __future__ import annotations

from train_jobs.runs.files import append_line, read_lines
from train_jobs.runs.folder import RunFolder

_NOTES = "forgotten.jsonl"


def note(run: RunFolder, sample_id: str) -> None:
    """Note a deleted sample; anybody may, at any time.

    Raises:
        OSError: it cannot be written.
    """
    if sample_id not in forgotten(run):
        append_line(run.path / _NOTES, {"sample": sample_id})


def forgotten(run: RunFolder) -> frozenset[str]:
    """The ids of those that were noted."""
    return frozenset(str(line.get("sample")) for line in read_lines(run.path / _NOTES))
