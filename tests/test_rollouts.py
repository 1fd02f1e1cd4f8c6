"""Laws of looking at rollouts: groups and their figures, filters, one sample through a training, pages, places."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from app.train.plots import Curves, PlotGroup, grpo_groups, plots
from app.train.runs import mined_present
from app.train.runs import present as run_present
from app.train.runs import rollouts_present as present
from app.train.runs import views as run_views
from app.train.runs.rollouts_pane import Place, moved
from app.train.runs.views import RunLine, RunView
from core.errors import JobError
from core.types import Label, MediaRef, Modality, Sample
from tests.payloads import PAYLOADS
from tests.rollout_data import (
    BREAD,
    HARMFUL,
    KNOT,
    UNHARMFUL,
    group,
    grpo_spec,
    line,
    new_run,
    write_groups,
    write_hard,
)
from train_jobs.grpo import rollout_groups
from train_jobs.grpo.hard_rows import Mined
from train_jobs.grpo.mined import Count, figures_of
from train_jobs.grpo.rollout_groups import Shown, chosen, counts, follow_sample, groups_of, prompts_of
from train_jobs.grpo.rollouts import RolloutLine, export_rollouts
from train_jobs.recipes.grpo import MiningSettings
from train_jobs.rules.augment import HardRow
from train_jobs.runs.forgotten import note
from train_jobs.runs.specs import JobState, JobStatus

H, U = Label.HARMFUL, Label.UNHARMFUL
MIXED = [
    *group(4, 0, BREAD, HARMFUL, UNHARMFUL, None),
    *group(4, 1, KNOT, HARMFUL, HARMFUL, HARMFUL),
    *group(4, 2, Sample("Is it warm?"), UNHARMFUL, None, None, truncated=True),
]


# -- groups -----------------------------------------------------------------------------------------------------------


def test_a_groups_figures_are_those_of_its_completions() -> None:
    first, second, third = (each.figures for each in groups_of(MIXED))
    assert (first.count, first.right, first.unreadable, first.truncated) == (3, 1, 1, 0)
    assert [first.reward, first.accuracy, first.tokens] == pytest.approx([0.4, 1 / 3, 40])
    assert (first.is_all_wrong, first.is_all_right) == (False, False)
    assert (second.is_all_wrong, second.is_all_right) == (False, True)
    assert (third.is_all_wrong, third.is_all_right, third.truncated) == (True, False, 3)


def test_a_half_right_completion_is_not_right() -> None:
    (found,) = groups_of([line(KNOT, accuracy=0.5)])
    assert found.figures.is_all_wrong
    assert present.outcome(found.lines[0]) == ("half", "half right")


def test_a_group_that_two_processes_wrote_is_one_and_equal_numbers_of_other_samples_are_not() -> None:
    lines = [*group(0, 0, BREAD, HARMFUL), *group(0, 0, KNOT, HARMFUL), *group(0, 0, BREAD, UNHARMFUL)]
    assert [(each.figures.sample_id, each.figures.count) for each in groups_of(lines)] == [(BREAD.id, 2), (KNOT.id, 1)]


@pytest.mark.parametrize(
    ("shown", "left"),
    [
        (Shown.ALL, [3, 3, 3]), (Shown.WRONG, [2, 3]), (Shown.UNREADABLE, [1, 2]), (Shown.ALL_WRONG, [3]),
        (Shown.ALL_RIGHT, [3]),
    ],
)  # fmt: skip
def test_a_filter_keeps_what_it_names_and_the_groups_figures(shown: Shown, left: list[int]) -> None:
    groups = groups_of(MIXED)
    found = chosen(groups, shown)
    assert [len(each.lines) for each in found] == left
    assert all(each.figures in [every.figures for every in groups] for each in found)
    number = len(found) if shown in (Shown.ALL_WRONG, Shown.ALL_RIGHT) else sum(left)
    assert counts(groups)[shown] == number, "and the number beside it is that of what is shown"


# -- read from a run --------------------------------------------------------------------------------------------------


def test_a_sample_is_followed_through_every_rollout_also_where_it_was_joined(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    both = Sample("both")
    write_groups(run, 0, group(0, 0, BREAD, UNHARMFUL, UNHARMFUL), group(0, 0, KNOT, HARMFUL))
    write_groups(run, 4, group(4, 0, KNOT, HARMFUL))
    write_groups(
        run, 12, group(0, 0, both, HARMFUL, made_of=(KNOT.id, BREAD.id)), group(0, 0, BREAD, HARMFUL, UNHARMFUL)
    )
    found = follow_sample(run, BREAD.id)
    assert [(each.step, each.accuracy, bool(each.made_of)) for each in found] == [
        (0, 0.0, False), (12, 1.0, True), (12, 0.5, False),
    ]  # fmt: skip
    assert follow_sample(run, "s1-unknown") == []


def test_work_that_was_done_again_is_seen_and_a_deleted_sample_is_not(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    write_hard(run, BREAD, KNOT)
    write_groups(run, 0, group(0, 0, BREAD, HARMFUL), group(0, 0, KNOT, HARMFUL))
    assert [each.figures.right for each in rollout_groups.rollout_groups(run, 0)] == [1, 1]
    write_groups(run, 0, group(0, 0, BREAD, UNHARMFUL, UNHARMFUL), group(0, 0, KNOT, HARMFUL))
    assert [each.figures.right for each in rollout_groups.rollout_groups(run, 0)] == [0, 1]
    note(run, BREAD.id)
    assert [each.figures.sample_id for each in rollout_groups.rollout_groups(run, 0)] == [KNOT.id]
    assert follow_sample(run, BREAD.id) == []
    assert list(prompts_of(run)) == [KNOT.id]
    assert export_rollouts(run, tmp_path / "all.jsonl") == 1


def test_a_damaged_rollout_is_said_to_be_one(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    write_groups(run, 0, group(0, 0, BREAD, HARMFUL))
    (run.rollouts / "step-000000.jsonl").write_text(f'{{"sample_id": "{BREAD.id}"')
    with pytest.raises(JobError, match="cannot be read"):
        rollout_groups.rollout_groups(run, 0)
    with pytest.raises(JobError, match="cannot be read"):
        follow_sample(run, BREAD.id)


def test_an_export_holds_every_completion_whatever_its_terms_are_called_and_its_text_holds(tmp_path: Path) -> None:
    import pandas

    run = new_run(tmp_path)
    write_groups(run, 0, group(0, 0, BREAD, HARMFUL, None, text="half of a pair: \ud800"))
    write_groups(run, 2, group(0, 0, BREAD, HARMFUL, terms={"accuracy": 1.0, "length": -0.5}))
    assert export_rollouts(run, tmp_path / "all.jsonl") == export_rollouts(run, tmp_path / "all.parquet") == 3
    rows = [json.loads(each) for each in (tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines()]
    table = pandas.read_parquet(tmp_path / "all.parquet").to_dict("records")
    assert [(row["step"], row["text"][:4]) for row in rows] == [(row["step"], row["text"][:4]) for row in table]
    assert [json.loads(row["terms"]) for row in table] == [row["terms"] for row in rows]
    assert [row["said"] is None for row in rows] == [row["said"] is None for row in table] == [False, True, False]


# -- as HTML ----------------------------------------------------------------------------------------------------------


def page_of(lines: list[RolloutLine], shown: Shown = Shown.ALL, **more: object) -> str:
    groups = groups_of(lines)
    given: dict[str, object] = {"page": 0, "prompts": {}, **more}
    return present.rollout(chosen(groups, shown), counts(groups), shown, **given)  # type: ignore[arg-type]


def test_a_completion_shows_its_reward_by_term_its_advantage_and_what_parsed() -> None:
    html = page_of(MIXED)
    assert html.count("<details") == 9
    for words in ("accuracy", "exploration", "advantage", "tokens"):
        assert f"<span>{words}</span>" in html
    assert "1 of 3 right" in html
    assert "There is no result block." in html
    assert html.count("cut off") == 3
    assert "+0.70" in html


def test_payloads_in_the_texts_of_samples_and_of_the_model_never_become_markup(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    hostile = [Sample(payload, payload) for payload in PAYLOADS]
    write_hard(run, *hostile)
    lines = [
        each
        for at, sample in enumerate(hostile)
        for each in group(0, at, sample, None, text=PAYLOADS[at], error=PAYLOADS[at], terms={PAYLOADS[at]: 0.0})
    ]
    found = [each.figures for each in groups_of(lines)]
    pages = -(-len(hostile) // present.of_page(1))
    html = "".join(page_of(lines, page=at, prompts=prompts_of(run)) for at in range(pages))
    html += "".join(present.through([each], 0, prompts_of(run)) for each in found)
    assert html.count("&lt;script data-hit&gt;") > len(PAYLOADS) / 10
    assert "data-hit>" not in html
    assert not re.search(r"<(script|img|svg|iframe|style|x|math)\b", html, re.IGNORECASE)


def test_media_are_named_and_never_shown(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    picture = MediaRef("a" * 64, "image/png", Modality.IMAGE, 10, 640, 480)
    seen = Sample("What is in it?", None, (picture,))
    write_hard(run, seen)
    html = page_of(group(0, 0, seen, HARMFUL), prompts=prompts_of(run))
    assert "image, 640 × 480" in html
    assert picture.digest not in html
    assert "src=" not in html


def test_thousands_of_completions_are_paged_through_and_every_group_is_on_one_page() -> None:
    lines = [each for at in range(500) for each in group(0, at, Sample(f"number {at}"), *[HARMFUL] * 8)]
    pages = -(-500 // present.of_page(8))
    shown: list[str] = []
    for at in range(pages):
        html = page_of(lines, page=at)
        assert html.count("<details") <= present.A_PAGE
        shown += re.findall(r'<section[^>]*data-sample="([^"]+)"', html)
    assert len(shown) == len(set(shown)) == 500
    assert page_of(lines, page=9999) == page_of(lines, page=pages - 1), "a page beyond the last is the last"


def test_the_followed_sample_stands_first_and_what_is_empty_says_so() -> None:
    html = page_of(MIXED, followed=KNOT.id)
    assert html.index(f'data-sample="{KNOT.id}"') < html.index(f'data-sample="{BREAD.id}"')
    assert html.count('data-here="true"') == 1
    assert "No unreadable completion in this rollout" in page_of(group(0, 0, BREAD, HARMFUL), Shown.UNREADABLE)
    assert "no longer in the run" in html, "its text is unknown"
    assert "No rollout holds this sample" in present.through([], 0, {})


def test_a_joined_row_leads_to_the_pages_of_its_samples() -> None:
    html = page_of(group(0, 0, Sample("both"), HARMFUL, made_of=(BREAD.id, KNOT.id)))
    assert re.findall(r'data-r-page="([^"]+)"', html) == [BREAD.id, KNOT.id]


# -- places -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "to", "where"),
    [
        ("step", "4", {"step": 4}), ("at", "0", {"step": 0}), ("at", "99", {"step": 8}), ("newest", "", {"step": None}),
        ("page", "3", {"step": 8, "page": 3}), ("filter", "wrong", {"step": 8, "shown": Shown.WRONG}),
        ("follow", "s1-x", {"step": 8, "sample": "s1-x"}), ("leave", "", {}), ("filter", "<nonsense>", {}),
        ("page", "many", {}), ("nonsense", "1", {}),
    ],
)  # fmt: skip
def test_a_button_leads_where_it_says_and_what_holds_the_rollout_names_it(
    asked: str, to: str, where: dict[str, object]
) -> None:
    """Paging, filtering and following hold the rollout that is shown; the newest would take it away."""
    wanted = {"step": None, "shown": Shown.ALL, "page": 0, "sample": None} | where
    found = moved(Place("r"), [0, 4, 8], asked, to)
    assert {name: getattr(found, name) for name in wanted} == wanted


def test_another_run_begins_at_its_newest_rollout() -> None:
    place = Place("one", 4, Shown.WRONG, 2, "s1-x")
    assert place.of("one") is place
    assert place.of("other") == Place("other")
    assert moved(Place("r"), [], "at", "1") == Place("r"), "before there is a rollout nothing leads anywhere"


def test_the_bar_says_whether_the_newest_is_followed() -> None:
    following = present.bar([0, 4], 4, following=True, running=True)
    assert 'data-following="true"' in following
    assert "as soon as it is there" in following
    held = present.bar([0, 4], 0, following=False, running=True)
    assert 'data-following="false"' in held
    assert "It stays while you read" in held
    assert "Rollout 1 of 2" in held


# -- mining -----------------------------------------------------------------------------------------------------------


def mined(wrong: int, *, kept: bool, modality: str = "text", readable: bool = True) -> Mined:
    answers = tuple((H, Label.ABSENT) if readable else None for _ in range(4))
    return Mined(f"s1-{wrong}{kept}{modality}", modality, answers, wrong, kept)


RULE = MiningSettings(rule="omni-v1", n=4)


def test_the_minings_figures_are_counts_of_what_was_mined() -> None:
    lost = Mined("s1-lost", "video", (), None, False, "The video cannot be read.")
    some = [mined(0, kept=False), mined(4, kept=True, readable=False), mined(4, kept=True, modality="image"), lost]
    found = figures_of(RULE, some, None)
    assert found.all == Count(4, 2)
    assert found.by_modality == {"image": Count(1, 1), "text": Count(2, 1), "video": Count(1, 0)}
    assert found.by_wrong == {0: Count(1, 0), 4: Count(2, 2)}
    assert found.unreadable == Count(1, 1)
    assert found.unjudged == (("The video cannot be read.", 1),)
    assert mined_present.title(found) == "Hard samples: 2 of 4 kept so far (50%)"
    html = mined_present.page(found)
    assert "at least one is wrong (Omni v1)" in html
    assert "<td>4 of 4 wrong: never right</td><td>2</td><td>2</td>" in html
    assert "<td>2 of 4 wrong</td><td>0</td><td>0</td>" in html
    facts = {"by_modality": {}, "joined": 3, "left_out_too_long": 1}
    done = figures_of(RULE, some, facts)
    assert "so far" not in mined_present.title(done)
    assert "3 rows more were made by joining" in mined_present.page(done)
    assert "1 sample was left out" in mined_present.page(done)


def test_a_recipe_that_does_not_mine_says_so() -> None:
    facts = {"by_modality": {"text": {"mined": 5, "kept": 5}}, "joined": 0, "left_out_too_long": 0}
    found = figures_of(MiningSettings(rule="all"), [], facts)
    assert mined_present.title(found) == "Hard samples: all 5, without mining"
    assert "does not mine" in mined_present.page(found)
    assert "4 of 4 wrong" not in mined_present.page(found)
    assert "mining comes first" in mined_present.page(None)


# -- the run's head, list and curves ----------------------------------------------------------------------------------


def view(tmp_path: Path, rows: list[dict[str, float]], **settings: object) -> RunView:
    spec = grpo_spec()
    spec = grpo_spec(settings={**spec.settings, **settings})
    status = JobStatus(JobState.SUCCEEDED)
    run = new_run(tmp_path)
    figures = {"validation_f1_before": 0.5, "validation_f1": 0.75}
    return RunView(run, spec, JobState.SUCCEEDED, status, None, tuple(rows), {"figures": figures}, ())


def test_the_head_says_accuracy_first_and_last_and_the_f1_before_and_after(tmp_path: Path) -> None:
    rows = [{"step": 1, "accuracy": 0.25}, {"step": 2, "loss": 0.1}, {"step": 3, "accuracy": 0.875}]
    said = run_present.learned(view(tmp_path, rows))
    assert "0.250 in the first rollout, 0.875 in the last" in said
    assert "0.500 before, 0.750 after" in said


def test_the_list_shows_accuracy_in_place_of_a_loss_that_says_nothing() -> None:
    html = run_present.runs([RunLine("r", grpo_spec(), JobStatus(JobState.SUCCEEDED), 0.75, None, 0.875)], None, 0.0)
    assert "0.875 right" in html
    assert "0.750" in html


def test_accuracy_is_drawn_first_then_each_term_of_both_runs_and_kl_only_where_it_is_used(tmp_path: Path) -> None:
    one = view(tmp_path / "a", [{"step": 1, "clip_low": 0.2, "clip_high": 0.3}], kl=0.0)
    groups = run_views.plot_groups([one])
    titles = [each.title for group in groups for each in group.series]
    assert titles[0] == "Accuracy"
    assert titles.index("Accuracy term") < titles.index("Exploration term") < titles.index("Loss")
    assert "KL to the base" not in titles
    reward = {**one.spec.settings["reward"], "form": "vl-ordered"}
    other = view(tmp_path / "b", [], kl=0.04, reward=reward, mask_wrong_groups=False)
    both = [each.title for group in run_views.plot_groups([one, other]) for each in group.series]
    assert {"Exploration term", "Readable term", "Length term", "KL to the base"} <= set(both)
    html = plots([Curves("one", one.metrics), Curves("two", other.metrics)], groups)
    assert "0.80–1.30" in html, "the range is that of the ratio"
    assert html.count("<figure") == len(titles)


def test_every_figure_of_a_rollout_and_of_an_update_has_its_curve() -> None:
    from train_jobs.grpo.callback import LOGGED
    from train_jobs.grpo.scoring import Parsed, Scored, figures
    from train_jobs.rules.rewards import RewardForm, RewardRule, reward

    rule = RewardRule(RewardForm.OMNI_V1)
    gold = (H, Label.ABSENT)
    one = Scored(HardRow(BREAD, *gold), Parsed("", None, "no", 3, False), reward(rule, None, gold, 3, 80))
    written = {*figures([one, one], 2), *LOGGED.values(), "clip_low", "clip_high", "completions_per_s"}
    groups: tuple[PlotGroup, ...] = grpo_groups(list(one.reward.terms), kl=True)
    drawn = {key for group in groups for each in group.series for key in (*each.keys, *each.above)}
    assert written - drawn == {"reward_std", "clipped_low_share", "clipped_high_share"}
