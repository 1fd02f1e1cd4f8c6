"""How far one moderation has come: a value that grows with every event, from which the card is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from core.events import Event, FirstLooked, MediaRead, Queued, ReasoningGrew, VerdictReached
from core.judging.deciding import decide, harmful_parts
from core.types import Decision, HarmProbability, Modality, Sample, Thresholds, Verdict, WindowScore

Phase = Literal["empty", "waiting", "reading", "deliberating", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Everything that the card shows at one moment."""

    phase: Phase = "empty"
    modality: Modality = Modality.TEXT
    has_response: bool = False
    thresholds: Thresholds = field(default_factory=Thresholds)
    place: int = 0
    """People before this one, while waiting."""
    loading: bool = False
    """Waiting for the guard itself rather than for other people."""
    first_look: HarmProbability | None = None
    windows: tuple[WindowScore, ...] = ()
    reasoning: str = ""
    tokens: int = 0
    verdict: Verdict | None = None
    error: str = ""

    @classmethod
    def begun(cls, sample: Sample, thresholds: Thresholds) -> Progress:
        """The moment after the button was pressed."""
        return cls("reading", sample.modality, sample.response is not None, thresholds)

    @classmethod
    def broken(cls, error: str) -> Progress:
        """Nothing can be judged, and `error` says why in one sentence."""
        return cls("failed", error=error)

    def after(self, event: Event) -> Progress:
        """The moment after one more event."""
        match event:
            case Queued(place=place, loading=loading):
                return replace(self, phase="waiting", place=place, loading=loading)
            case MediaRead():
                return replace(self, phase="reading")
            case FirstLooked(probability=probability, windows=windows):
                return replace(self, phase="deliberating", first_look=probability, windows=windows)
            case ReasoningGrew(text=text, token_count=count):
                return replace(self, phase="deliberating", reasoning=text, tokens=count)
            case VerdictReached(verdict=verdict):
                return replace(
                    self, phase="done", verdict=verdict, windows=verdict.windows, thresholds=verdict.thresholds
                )


def decided_by(verdict: Verdict, thresholds: Thresholds) -> Verdict:
    """The same verdict under other thresholds; nothing is judged anew.

    A verdict that went to review for a reason other than its probabilities (it could not be read, a part was not seen,
    one stretch of a video looks harmful) never becomes an allowed one.
    """
    if thresholds == verdict.thresholds:
        return verdict
    before, now = (
        decide(each, verdict.assessment, verdict.deliberated, verdict.first_look)
        for each in (verdict.thresholds, thresholds)
    )
    warnings = verdict.warnings
    if now is Decision.ALLOW and verdict.decision is Decision.REVIEW and before is Decision.ALLOW:
        now = Decision.REVIEW
    elif now is Decision.ALLOW and (harmful := harmful_parts(thresholds, verdict.windows)):
        now = Decision.REVIEW
        warnings = (*warnings, f"One part ({harmful[0].what}) looks harmful by itself, so a person should see it.")
    return replace(verdict, thresholds=thresholds, decision=now, warnings=warnings)
