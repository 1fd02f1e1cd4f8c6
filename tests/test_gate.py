"""Laws of the gate and of comparing two evaluations."""

from __future__ import annotations

from typing import Any

import pytest

from core.evaluation.bootstrap import signed
from core.evaluation.comparison import compare, pair_rows
from core.evaluation.gate import GOLD, LEAST_ROWS, Outcome, judge
from core.evaluation.rows import HELD_OUT, VALIDATION, Side, scored_from_json, scored_to_json
from tests.evaluated import Answer, many, scored

TRUTH = [number % 2 == 0 for number in range(240)]


def flipped(every: int) -> list[Answer]:
    """Right but for one row in `every`."""
    return [(not truth) if number % every == 0 else truth for number, truth in enumerate(TRUTH)]


GOOD, WORSE = flipped(40), flipped(5)


def test_no_significant_loss_passes_with_its_figures() -> None:
    decision = judge(many(TRUTH, GOOD), many(TRUTH, TRUTH))
    assert (decision.outcome, decision.allowed, decision.overridden) == (Outcome.PASSED, True, False)
    assert decision.held_out is not None
    assert decision.held_out.difference is not None
    assert decision.held_out.rows == 240
    assert decision.held_out.difference.after == 1.0
    told = decision.to_json()
    assert told["held_out"]["difference"] == pytest.approx(1.0 - told["held_out"]["before"])
    assert told["gold"] is None
    assert "the held-out rows alone speak" in " ".join(decision.sentences)


def test_a_significant_loss_on_held_out_rows_refuses() -> None:
    decision = judge(many(TRUTH, GOOD), many(TRUTH, WORSE))
    assert (decision.outcome, decision.allowed) == (Outcome.LOSS, False)
    assert "significant loss on the held-out rows" in decision.sentences[0]
    assert "write down why" in " ".join(decision.sentences)


def test_a_significant_loss_on_the_evaluation_files_refuses_although_held_out_rows_gain() -> None:
    before = many(TRUTH, GOOD) + many(TRUTH, GOOD, set="xstest")
    after = many(TRUTH, TRUTH) + many(TRUTH, WORSE, set="xstest")
    decision = judge(before, after)
    assert (decision.outcome, decision.allowed) == (Outcome.LOSS, False)
    assert decision.gold is not None
    assert decision.gold.name == GOLD
    assert "significant loss on the evaluation files" in decision.sentences[0]


def test_harmless_files_count_among_the_gold_so_that_new_false_alarms_are_a_loss() -> None:
    harmless = [False] * 200
    alarmed: list[Answer] = [number % 4 == 0 for number in range(200)]
    before = many(TRUTH, TRUTH) + many(TRUTH, TRUTH, set="mixed") + many(harmless, harmless, set="everyday")
    after = many(TRUTH, TRUTH) + many(TRUTH, TRUTH, set="mixed") + many(harmless, alarmed, set="everyday")
    assert judge(before, after).outcome is Outcome.LOSS


def test_where_nothing_is_harmful_accuracy_is_compared() -> None:
    harmless = [False] * 220
    alarmed: list[Answer] = [number % 4 == 0 for number in range(220)]
    decision = judge(many(harmless, harmless), many(harmless, alarmed))
    assert decision.outcome is Outcome.LOSS
    assert decision.held_out is not None
    assert decision.held_out.measure == "accuracy"


@pytest.mark.parametrize(
    ("rows", "outcome"), [(LEAST_ROWS - 1, Outcome.NOT_ENOUGH), (LEAST_ROWS, Outcome.PASSED), (0, Outcome.NOT_ENOUGH)]
)
def test_fewer_than_200_held_out_rows_in_common_is_not_enough(rows: int, outcome: Outcome) -> None:
    decision = judge(many(TRUTH[:rows], TRUTH[:rows]), many(TRUTH, TRUTH))
    assert decision.outcome is outcome
    assert decision.allowed == (outcome is Outcome.PASSED)


def test_rows_of_the_validation_split_are_no_evidence() -> None:
    before, after = many(TRUTH, GOOD, set=VALIDATION), many(TRUTH, TRUTH, set=VALIDATION)
    decision = judge(before, after)
    assert decision.outcome is Outcome.NOT_ENOUGH
    assert (decision.held_out, decision.gold) == (None, None)


def test_rows_whose_label_was_corrected_meanwhile_are_not_compared() -> None:
    corrected = [not truth if number < 60 else truth for number, truth in enumerate(TRUTH)]
    decision = judge(many(TRUTH, TRUTH), many(corrected, TRUTH))
    assert decision.held_out is not None
    assert decision.held_out.rows == 180
    assert decision.outcome is Outcome.NOT_ENOUGH


@pytest.mark.parametrize("after", [WORSE, TRUTH])
def test_a_written_reason_overrides_and_is_kept(after: list[Answer]) -> None:
    rows = 240 if after is WORSE else 100
    decision = judge(many(TRUTH[:rows], GOOD[:rows]), many(TRUTH[:rows], after[:rows]), reason="  A pilot\n with Ann. ")
    assert decision.allowed
    assert decision.overridden
    assert decision.reason == "A pilot with Ann."
    assert decision.outcome is not Outcome.PASSED
    assert "A pilot with Ann." in " ".join(decision.sentences)


@pytest.mark.parametrize("reason", ["", "  ", "\n\t"])
def test_a_blank_reason_is_none(reason: str) -> None:
    assert not judge(many(TRUTH, GOOD), many(TRUTH, WORSE), reason=reason).allowed


def test_a_reason_that_was_not_needed_overrides_nothing() -> None:
    decision = judge(many(TRUTH, GOOD), many(TRUTH, TRUTH), reason="Just so.")
    assert (decision.allowed, decision.overridden) == (True, False)


def test_an_unreadable_answer_counts_against_a_checkpoint() -> None:
    lost: list[Answer] = ["unreadable" if number % 5 == 0 else truth for number, truth in enumerate(TRUTH)]
    assert judge(many(TRUTH, TRUTH), many(TRUTH, lost)).outcome is Outcome.LOSS


# -- comparing ----------------------------------------------------------------------------------------------------


def test_flips_are_the_sides_whose_label_changed_with_the_broken_ones_first() -> None:
    before = [
        scored("same", True, True),
        scored("mended", True, False),
        scored("broken", False, False),
        scored("lost", True, True),
        scored("nobody said", None, True),
        scored("still wrong", False, True),
        scored("two", None, True, response=(True, False)),
    ]
    after = [
        scored("same", True, True),
        scored("mended", True, True),
        scored("broken", False, True),
        scored("lost", True, "unreadable"),
        scored("nobody said", None, False),
        scored("still wrong", False, "unreadable"),
        scored("two", None, True, response=(True, True)),
    ]
    found = [(flip.row.id, flip.side, flip.mended) for flip in compare(before, after).flips]
    assert found == [
        ("broken", Side.REQUEST, False),
        ("lost", Side.REQUEST, False),
        ("mended", Side.REQUEST, True),
        ("two", Side.RESPONSE, True),
        ("nobody said", Side.REQUEST, None),
        ("still wrong", Side.REQUEST, None),
    ]


def test_each_set_is_compared_by_itself_and_by_side() -> None:
    before = many(TRUTH, GOOD) + many(TRUTH, GOOD, set="other", response=(True, False))
    after = many(TRUTH, TRUTH, checkpoint="guard-2") + many(TRUTH, GOOD, set="other", response=(True, True))
    found = compare(before, after[:-40])
    assert (found.before, found.after) == ("guard-1", "guard-2")
    assert (found.rows, found.only_before, found.only_after) == (440, 40, 0)
    held_out, other = found.sets
    assert (held_out.name, other.name) == (HELD_OUT, "other")
    assert held_out.by_side[Side.REQUEST].is_gain
    assert Side.RESPONSE not in held_out.by_side
    assert other.by_side[Side.REQUEST].value == 0.0
    assert other.by_side[Side.RESPONSE].value == 1.0


def test_only_the_same_content_is_the_same_row() -> None:
    same, changed = scored(1, True, True), scored(2, True, True)
    other: Any = scored_from_json(scored_to_json(changed) | {"request": "another request"})
    assert [now.row.id for _, now in pair_rows([same, changed], [scored(1, True, False), other])] == ["1"]


def test_a_difference_bears_its_sign_and_no_difference_bears_none() -> None:
    assert [signed(each) for each in (0.0214, -0.5, 0.0, -0.0002, 0.0004)] == [
        "+0.021",
        "-0.500",
        "0.000",
        "0.000",
        "0.000",
    ]
