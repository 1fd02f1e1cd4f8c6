"""Laws of the ablation table: its arithmetic on small inputs, what its cells differ in, and one tiny cell for real."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core.types import HarmProbability, Label
from tests.ablations import by_page
from tests.ablations.cells import Cells, Plan, in_order
from tests.ablations.material import choose
from tests.ablations.table import Answers, Cell, Policy, accuracy, held_out, markdown, summarise
from tests.ablations.variants import FULL, OMNI_V1, OMNI_V2, VARIANTS, VL, VL_ECO, find
from tests.train_data import samples
from train_jobs.builtin.corpus import TextRow, is_validation
from train_jobs.recipes.files import find_recipe, resolve

H, U = Label.HARMFUL, Label.UNHARMFUL
HIT, ALARM, MISS, PASS = (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)


def policy(right: Mapping[str, int], *held: tuple[int, int, int, int], unreadable: int = 0) -> Policy:
    """Four answers about each sample, so many halves of them right."""
    answers = {name: Answers(4, halves, unreadable, 40) for name, halves in right.items()}
    return Policy(answers, {str(at): counts for at, counts in enumerate(held)})


def cell(before: Policy, after: Policy, *, variant: str = "vl", seed: int = 0, trained: str = "abcd") -> Cell:
    return Cell(variant, seed, tuple(trained), before, after, 2.0, 60.0, {"settings": {}})


SAME = dict.fromkeys("abcd", 4)


def test_the_accuracy_term_is_the_mean_over_answers_and_a_half_right_answer_counts_half() -> None:
    found = accuracy([cell(policy({"a": 8, "b": 0}), policy({"a": 8, "b": 3}), trained="ab")])
    assert (found.before, found.after) == (0.5, 11 / 16)


def test_a_rise_on_every_sample_excludes_zero_and_no_change_is_exactly_zero() -> None:
    risen = accuracy([cell(policy(SAME), policy(dict.fromkeys("abcd", 6)))])
    assert (risen.value, risen.low, risen.high) == (0.25, 0.25, 0.25)
    assert risen.is_gain
    still = accuracy([cell(policy(SAME), policy(SAME))])
    assert (still.value, still.low, still.high) == (0.0, 0.0, 0.0)
    assert not still.is_gain


def test_a_rise_that_one_sample_alone_makes_does_not_exclude_zero() -> None:
    found = accuracy([cell(policy(SAME), policy(SAME | {"a": 8}))])
    assert found.value == 0.125
    assert found.low == 0.0
    assert not found.is_gain


def test_samples_that_were_not_trained_on_count_on_the_whole_split_alone() -> None:
    one = cell(policy(SAME), policy(SAME | {"d": 0}), trained="abc")
    assert accuracy([one]).value == 0.0
    assert accuracy([one], whole=True).value == -0.125


def test_held_out_f1_is_paired_by_row_and_a_fall_on_many_rows_is_significant() -> None:
    before = policy(SAME, *[HIT, PASS] * 20)
    worse = policy(SAME, *[MISS, PASS] * 10, *[HIT, PASS] * 10)
    found = held_out([cell(before, worse)])
    assert found is not None
    assert (found.before, round(found.after, 4)) == (1.0, 0.6667)
    assert found.is_loss
    one = held_out([cell(before, policy(SAME, MISS, *[PASS, HIT] * 19, PASS))])
    assert one is not None
    assert not one.is_loss


def test_a_row_of_the_table_is_over_all_seeds_and_says_on_how_many_it_rises() -> None:
    up, down = dict.fromkeys("abcd", 8), dict.fromkeys("abcd", 2)
    line = summarise(
        [
            cell(policy(SAME, HIT, PASS), policy(up, HIT, ALARM, unreadable=1), seed=1),
            cell(policy(SAME, HIT, PASS), policy(down, HIT, PASS), seed=0),
        ]
    )
    assert line.seeds == (0, 1)
    assert line.risen == 1
    assert (line.accuracy.before, line.accuracy.after) == (0.5, 0.625)
    assert line.unreadable == (0.0, 0.125)
    assert line.tokens == (10.0, 10.0)
    assert line.held_out is not None
    assert round(line.held_out.after, 4) == 0.8
    assert line.held_out_accuracy is not None
    assert line.held_out_accuracy.after == 0.75
    with pytest.raises(ValueError, match="one variant"):
        summarise([cell(policy(SAME), policy(SAME)), cell(policy(SAME), policy(SAME), variant="vl-eco")])


def test_the_table_names_the_cells_that_were_not_run() -> None:
    line = summarise([cell(policy(SAME, HIT), policy(SAME, HIT))])
    text = markdown([line], [("omni-v2", 0), ("omni-v2", 2), ("sft", 1)])
    assert text.endswith("Not run: Omni v2 (seed 0, 2); SFT alone, as long as Omni v1 (seed 1).")
    head, rule, row = text.splitlines()[:3]
    assert head.count("|") == rule.count("|") == row.count("|")
    assert markdown([line], []).endswith("Every cell was run.")


def test_a_cell_survives_its_file() -> None:
    one = cell(policy(SAME, HIT), policy(SAME, MISS))
    assert Cell.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_every_ablation_differs_from_its_whole_recipe_in_the_named_part_alone() -> None:
    def values(name: str) -> dict[str, Any]:
        return resolve(find_recipe(find(name).recipe), find(name).changes)

    def differences(name: str, whole: str) -> dict[str, Any]:
        mine, others = values(name), values(whole)
        return {
            key: {part: value for part, value in mine[key].items() if value != others[key][part]}
            if isinstance(mine[key], dict)
            else mine[key]
            for key in mine
            if mine[key] != others[key]
        }

    parts = {
        "no-exploration": {"reward": {"length_term": False}},
        "no-length": {"reward": {"length_term": False}},
        "no-joined": {"concatenation": {"share": 0.0}},
        "no-dynamic-clipping": {"dynamic_clipping": False},
    }
    ablations = [each.name for each in VARIANTS if "-no-" in each.name]
    assert len(ablations) == 6
    for name in ablations:
        whole, _, part = name.partition("-no-")
        assert differences(name, whole) == parts[f"no-{part}"]
    whole_recipes = {each.name: each.recipe for each in VARIANTS if not (each.changes or each.sft)}
    assert whole_recipes == {"omni-v1": OMNI_V1, "omni-v2": OMNI_V2, "vl": VL, "vl-eco": VL_ECO}
    assert whole_recipes[FULL] == OMNI_V1
    masked = {name for name in whole_recipes if values(name)["mask_wrong_groups"]}
    assert masked == {"omni-v1"}, "a masked group shows nothing of the length term of VL"


def test_mostly_samples_are_chosen_that_the_first_look_calls_wrong_half_of_them_harmful() -> None:
    rows = [
        TextRow(str(at), sample.request, None, H if at % 2 else U, Label.ABSENT, "set")
        for at, sample in enumerate(samples(80))
    ]
    wrong = {row.id for row in rows[:40]}
    looks = [HarmProbability((row.request_label is H) != (row.id in wrong)) for row in rows]
    chosen = choose(rows, looks, 20, random.Random(0))
    assert len({row.id for row in chosen}) == 20
    missed = [row for row in chosen[:16] if row.id in wrong]
    assert len(missed) == 16
    assert sum(row.request_label is H for row in missed) == 8


def test_the_whole_recipe_comes_first_in_every_seed() -> None:
    cells = [("sft", 1), (FULL, 1), ("vl", 0), (FULL, 0)]
    assert list(in_order(cells)) == [(FULL, 0), ("vl", 0), (FULL, 1), ("sft", 1)]


# -- one cell -------------------------------------------------------------------------------------------------------


def training_files(folder: Path) -> Path:
    """Harmless texts in the form of the training files, all among those that the built-in guard was not trained on."""
    folder.mkdir()
    rows = []
    for at, sample in enumerate(samples(2000)):
        row = TextRow(f"r{at}", sample.request, None, H if at % 2 else U, Label.ABSENT, "set")
        if is_validation(row):
            said = {"id": row.id, "benchmark": "train:set", "request": row.request, "response": None, "category": None}
            rows.append(said | {"request_label": row.request_label.value, "response_label": None})
    (folder / "requests.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for name in ("responses", "toxic_posts"):
        (folder / f"{name}.jsonl").write_text("")
    return folder


def test_a_cell_is_made_once_then_read_from_its_file_and_launched_from_the_page_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUARDROOM_THREADS", "1")  # as the app of the page has
    plan = Plan(
        hard=6,
        held_out=4,
        answers=2,
        sft={"epochs": 1, "replay": 0.0, "teacher": "none"},
        grpo={
            "prompts": 2, "generations": 2, "updates": 1, "passes": 1, "epochs": 1, "longest_completion": 24,
            "warm_up": 0.0, "learning_rate": 1e-3, "mining": {"rule": "all"},
        },
        data=str(training_files(tmp_path / "train")),
    )  # fmt: skip
    cells, variant = Cells(tmp_path / "cells", plan), find("omni-v1-no-exploration")
    assert cells.missing([variant], [3]) == [(variant.name, 3)]
    made = cells.run(variant, 3)
    assert set(made.trained) <= set(made.before.answers) == set(made.after.answers)
    assert made.before.held_out.keys() == made.after.held_out.keys()
    assert made.facts["settings"]["reward"]["length_term"] is False
    assert made.facts["figures"]["steps"] > 0
    start = json.loads((cells.folder / "seed-3" / "start.json").read_bytes())
    assert start["moved"] > 0
    again = Cells(tmp_path / "cells", plan)
    assert again.done([variant], [3]) == [made]
    assert again.missing([variant], [3]) == []
    assert "without exploration" in markdown([summarise([made])], [])
    left = {path.name for path in (again.folder / "seed-3").iterdir()}
    assert not any(name.startswith(".") for name in left), "what a job needed is gone"

    launched = Cells(tmp_path / "cells", plan, by_page.carry_out).run(variant, 3)
    assert (launched.trained, launched.facts["settings"]) == (made.trained, made.facts["settings"])
    assert launched.moved == pytest.approx(made.moved, rel=1e-4)
    assert launched.after == made.after
