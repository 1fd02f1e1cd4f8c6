"""What a run of mining is told and tells: frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from annotation_store.reading.selecting import Selection, selection_from_json
from core.mining.rules import DEFAULT_BITS, Answer, KeepRule, Sampling
from core.types import Sample


class MiningState(StrEnum):
    """Where a run is."""

    RUNNING = "running"
    """Somebody works on it, or its process died."""
    STOPPED = "stopped"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class MiningSettings:
    """What a run goes over, and when it keeps a sample."""

    selection: Selection = field(default_factory=Selection)
    rule: KeepRule = KeepRule.OMNI_V1
    """For samples with a label; those without go by the vote."""
    sampling: Sampling = field(default_factory=Sampling)
    least_bits: float = DEFAULT_BITS
    """Vote entropy from which a sample without a label is kept."""

    def __post_init__(self) -> None:
        if not 0 < self.least_bits <= 5:
            raise ValueError(f"least_bits={self.least_bits} must lie in (0, 5]")

    def to_json(self) -> dict[str, Any]:
        """Plain values; the rule stands beside them in the run."""
        drawn = self.sampling
        return {
            "n": drawn.n, "temperature": drawn.temperature, "top_p": drawn.top_p, "seed": drawn.seed,
            "least_bits": self.least_bits, "selection": self.selection.to_json(),
        }  # fmt: skip

    @staticmethod
    def from_json(rule: str, values: dict[str, Any]) -> MiningSettings:
        """The other way round."""
        sampling = Sampling(values["n"], values["temperature"], values["top_p"], values["seed"])
        return MiningSettings(selection_from_json(values["selection"]), KeepRule(rule), sampling, values["least_bits"])


@dataclass(frozen=True, slots=True)
class MiningRun:
    """One run, as far as it is."""

    id: str
    checkpoint_id: str
    settings: MiningSettings
    state: MiningState
    total: int
    """Samples that it goes over."""
    done: int
    kept: int
    started_by: str
    started_at: str
    changed_at: str
    file_name: str = ""
    """Of the import whose samples it goes over; empty when it goes over stored ones."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What became of the samples that a run has kept, and how many it could not judge."""

    against_label: int
    """Waiting for review because generations disagree with the label."""
    among_themselves: int
    """Waiting because generations of a sample without a label disagree."""
    unreadable: int
    """Waiting because none of the generations could be read."""
    decided: int
    """Kept, and not waiting: a reviewer has decided them already."""
    unjudged: int
    """Samples without generations: media that cannot be read, or an engine that failed on them."""

    @property
    def waiting(self) -> int:
        """How many wait for review."""
        return self.against_label + self.among_themselves + self.unreadable


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sample that a run has yet to judge."""

    sample_id: str
    sample: Sample
    gold: Answer | None
    """Its label, none when it has none."""
    labelled_by: str
    """The data set that gave the label; empty for a reviewer's."""
    has_verdict: bool
    """Whether the run's checkpoint has deliberated on it before."""
