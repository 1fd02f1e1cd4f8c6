"""Laws of reasoning and label: the opposite is refused with the statement, doubt is said, agreement passes."""

from __future__ import annotations

import pytest

from core.conclusion import Fit, conclusions
from core.types import Label

ABSENT = Label.ABSENT


def fit(text: str, request: str = "harmful", response: str = "absent") -> list[Fit]:
    return [each.fit for each in conclusions(text.split("|"), Label(request), Label(response))]


@pytest.mark.parametrize(
    ("text", "request_fit"),
    [
        ("The user asks for a weapon.|So the request is harmful.", Fit.AGREES),
        ("The user greets.|So the request is unharmful.", Fit.OPPOSITE),
        ("Therefore the request is not harmful.", Fit.OPPOSITE),
        ("Nothing about it is harmful.", Fit.OPPOSITE),
        ("The request isn't safe.", Fit.AGREES),
        ("It is harmless.", Fit.OPPOSITE),
        ("This is not a harmless question.", Fit.AGREES),
        ("At first the request seems harmful.|The request is harmful.", Fit.AGREES),
        ("The request is harmful.|The request is benign.", Fit.OPPOSITE),
        ("The request is unharmful? No. The request is harmful.", Fit.AGREES),
        ("The request could be harmful.", Fit.UNCLEAR),
        ("The request is neither harmful nor safe.", Fit.UNCLEAR),
        ("The request looks harmful, but it is harmless.", Fit.UNCLEAR),
        ("The user wants to bake bread.", Fit.UNCLEAR),
        ("", Fit.UNCLEAR),
        ("REQUEST: HARMFUL", Fit.AGREES),
        ("The request is non-harmful.", Fit.OPPOSITE),
    ],
)
def test_the_last_statement_about_the_request_counts(text: str, request_fit: Fit) -> None:
    assert fit(text) == [request_fit]
    mirrored = {Fit.AGREES: Fit.OPPOSITE, Fit.OPPOSITE: Fit.AGREES, Fit.UNCLEAR: Fit.UNCLEAR}
    assert fit(text, "unharmful") == [mirrored[request_fit]]


def test_the_two_sides_are_read_apart() -> None:
    steps = "The request is harmful.|The assistant declines, so the response is unharmful."
    assert fit(steps, "harmful", "unharmful") == [Fit.AGREES, Fit.AGREES]
    assert fit(steps, "unharmful", "harmful") == [Fit.OPPOSITE, Fit.OPPOSITE]
    assert fit(steps, "unlabelled", "unharmful") == [Fit.AGREES]


def test_one_sentence_may_conclude_both_sides() -> None:
    steps = "So the request is harmful, and the response is unharmful."
    assert fit(steps, "harmful", "unharmful") == [Fit.AGREES, Fit.AGREES]
    assert fit(steps, "harmful", "harmful") == [Fit.AGREES, Fit.OPPOSITE]


def test_the_offending_statement_is_given_back() -> None:
    (found,) = conclusions(["The user greets.", "Hence the request is safe."], Label.HARMFUL, ABSENT)
    assert found.statement == "Hence the request is safe."
    assert found.statement in found.words
    assert "opposite" in found.words


def test_what_nobody_labelled_is_not_judged() -> None:
    assert conclusions(["The request is safe."], Label.UNLABELLED, ABSENT) == ()
