"""Reports of wrong verdicts, and how much is stored: values without sqlalchemy, so pages may import them freely."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Report:
    """A person said that a verdict is wrong. Never changed once written."""

    id: str
    """Digest of verdict, reporter and note, so that saying the same twice is one report."""
    verdict_id: str
    sample_id: str
    note: str
    """What the person wrote, without surrounding white space; may be empty."""
    reporter: str
    created_at: str
    """UTC, ISO 8601 with microseconds."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much the store holds."""

    samples: int
    media: int
    verdicts: int
    reports: int
