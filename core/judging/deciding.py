"""From what a model wrote and how sure it was to a decision: pure rules, each on the careful side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from core.engines.base import Completion
from core.errors import UnparseableOutput
from core.prompt.protocol import Protocol, parse_completion
from core.types import Assessment, Calibration, Decision, FinishReason, HarmProbability, Label, Thresholds, WindowScore


def calibrate(p: float | None, calibration: Calibration) -> float | None:
    """p' = sigmoid(logit(p) / temperature + bias); none stays none."""
    if p is None or calibration == Calibration():
        return p
    clipped = min(max(p, 1e-7), 1 - 1e-7)
    logit = math.log(clipped / (1 - clipped)) / calibration.temperature + calibration.bias
    return 1 / (1 + math.exp(-logit))


def calibrate_both(raw: HarmProbability, calibration: Calibration) -> HarmProbability:
    """`calibrate` for each side."""
    return HarmProbability(calibrate(raw.request, calibration), calibrate(raw.response, calibration))


def read(protocol: Protocol, completion: Completion, *, has_response: bool) -> tuple[Assessment | None, str | None]:
    """What the completion says, or why it cannot be read. A side that was not asked about is absent."""
    if completion.finish_reason is FinishReason.CANCELLED:
        return None, "The reasoning was stopped before there was an answer."
    try:
        said = parse_completion(protocol, completion.reasoning, completion.answer)
    except UnparseableOutput as error:
        if completion.finish_reason is FinishReason.LENGTH:
            return None, f"The reasoning was cut off after {completion.token_count} tokens, before there was an answer."
        return None, str(error)
    if not has_response:
        return replace(said, response=Label.ABSENT), None
    if said.response is Label.ABSENT:
        return None, "The model gave no label for the response."
    return (said, None) if said.request is not Label.ABSENT else (None, "The model gave no label for the request.")


def decide(
    thresholds: Thresholds, assessment: Assessment | None, deliberated: HarmProbability, first: HarmProbability
) -> Decision:
    """The decision of the worse side: by its probability, or by its label where the engine gives no probability.

    A side that was not deliberated on (another part of the sample was) is decided by its first look.
    """
    if assessment is None:
        return Decision.REVIEW
    decisions = []
    for label, said, looked in (
        (assessment.request, deliberated.request, first.request),
        (assessment.response, deliberated.response, first.response),
    ):
        if label is Label.UNLABELLED:
            decisions.append(thresholds.decide(looked))
        elif label is not Label.ABSENT and said is not None:
            decisions.append(thresholds.decide(said))
        elif label is not Label.ABSENT:
            decisions.append(Decision.BLOCK if label is Label.HARMFUL else Decision.ALLOW)
    return worse(decisions)


def decide_first(thresholds: Thresholds, first: HarmProbability, *, has_response: bool) -> Decision:
    """The decision of the worse side by the first look alone; a side that could not be looked at goes to review."""
    sides = [first.request, first.response] if has_response else [first.request]
    return worse([thresholds.decide(p_harmful) for p_harmful in sides])


def worse(decisions: Sequence[Decision]) -> Decision:
    """The strictest of them; review when there is none."""
    order = (Decision.ALLOW, Decision.REVIEW, Decision.BLOCK)
    return max(decisions, key=order.index, default=Decision.REVIEW)


def harmful_parts(thresholds: Thresholds, windows: Sequence[WindowScore]) -> list[WindowScore]:
    """Parts that the reasoning is not about, yet which look harmful by themselves: with one of them nothing passes."""
    return [
        window for window in windows if not window.deliberated and thresholds.decide(window.p_harmful) is Decision.BLOCK
    ]
