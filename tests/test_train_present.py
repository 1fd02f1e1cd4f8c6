"""Laws of how trainings are shown: values in, text out, no page and no job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.train.start import present
from app.train.start.counts import SnapshotCounts
from app.train.start.leakage import Leak, LeakReport, Piece, check, find_leaks
from core.errors import InputError
from core.snapshots.folder import Split
from train_jobs.recipes.files import find_recipe, resolve

HOSTILE = '<img src=x onerror="alert(1)">'


def test_texts_of_files_never_become_markup() -> None:
    leak = LeakReport(HOSTILE, 1, 1, (Leak(HOSTILE, HOSTILE, "same text", 1.0),))
    for html in (present.command(HOSTILE), present.leaks(leak)):
        assert "<img" not in html
        assert "&lt;img" in html


def test_no_snapshot_says_what_to_do_next() -> None:
    assert "Review → Data" in present.NO_SNAPSHOT


# -- data ---------------------------------------------------------------------------------------------------------


def counted(**rows: int) -> SnapshotCounts:
    by = {split: rows.get(split.value, 0) for split in (Split.TRAIN, Split.VALIDATION, Split.TEST)}
    facets = {
        "request": {"harmful": by},
        "response": {"unharmful": by, "no response": by},
        "reasoning": {"missing": by},
    }
    return SnapshotCounts(by, facets)


def test_a_snapshot_that_cannot_teach_or_choose_is_said_to_be_one() -> None:
    assert "training split is empty" in present.counts(counted(validation=3))
    assert "validation split is empty" in present.counts(counted(train=3))
    few = present.counts(counted(train=3, validation=9))
    assert "split is empty" not in few
    assert "has 18 labelled sides; below 20" in few
    assert "labelled sides" not in present.counts(counted(train=3, validation=10))
    assert "1 training sample has no reasoning" in present.counts(counted(train=1, validation=1))


def test_a_leak_is_found_word_for_word_and_nearly_but_not_between_different_pictures() -> None:
    long = "How do I keep the winter apples fresh beside the old garden wall until the ferry comes?"
    train = [
        Piece("t-1", "How do I bake bread?"), Piece("t-2", long),
        Piece("t-3", "The same request", frozenset({"a"}), (0,)), Piece("t-4", "", frozenset({"b"})),
    ]  # fmt: skip
    rows = [
        Piece("same", "how do I BAKE bread!"), Piece("near", long.replace("comes", "leaves")),
        Piece("other", "Which is older, the lighthouse or the clock?"),
        Piece("another picture", "The same request", frozenset({"c"}), ((1 << 40) - 1,)),
        Piece("file", "other words", frozenset({"b"})), Piece("picture", "other words", frozenset({"d"}), (1,)),
        Piece("words alone", "The same request"),
    ]  # fmt: skip
    found = {leak.row: (leak.sample, leak.how) for leak in find_leaks(train, rows)}
    assert found == {
        "same": ("t-1", "same text"), "near": ("t-2", "similar text"), "file": ("t-4", "same file"),
        "picture": ("t-3", "similar picture"), "words alone": ("t-3", "same text"),
    }  # fmt: skip


@pytest.mark.parametrize("line", ['{"id": 1', '{"id": 1}', '{"request": 3}', '{"request": "x", "media": "../x.png"}'])
def test_a_line_that_is_no_evaluation_row_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "set.jsonl"
    file.write_text(f"{json.dumps({'id': 'a', 'request': 'How do I bake bread?'})}\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"set\.jsonl, line 2"):
        check(tmp_path, file, 1000)


# -- the recipe ---------------------------------------------------------------------------------------------------


def test_only_what_differs_from_the_recipe_is_named() -> None:
    recipe = find_recipe("sft-builtin")
    assert present.changed(recipe, resolve(recipe)) == "All values are the recipe's."
    said = present.changed(recipe, resolve(recipe, {"epochs": 999}))
    assert said.endswith(f"recipe: epochs {recipe.settings.epochs} → 999.")


def test_of_a_section_only_the_changed_keys_are_named() -> None:
    recipe = find_recipe("grpo-vl")
    said = present.changed(recipe, resolve(recipe, {"reward": {"floor": 0.1}, "vllm": "colocate"}))
    assert said == "Changed from the recipe: vllm none → colocate, reward.floor 0.25 → 0.1."


def test_a_recipe_of_reinforcement_says_what_differs_from_the_paper_and_what_mends_a_weak_spot() -> None:
    said = present.recipe(find_recipe("grpo-omni-v1"))
    assert "mask_wrong_groups = true mends it" in said
    assert "For Qwen3-VL" in said
