"""Reinforcement learning from the Train tab: a real Chromium drives the real app. Screenshots go to tests/output."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.train.start.reward_chart import reward_chart
from tests.browser import SLOW_MS, shoot
from tests.jobs import finish
from tests.running import Running, has_weights, limited, running
from tests.train_data import fill_labelled
from train_jobs.launching.launcher import Launcher
from train_jobs.recipes.files import find_recipe
from train_jobs.recipes.grpo import check_grpo
from train_jobs.rules.rewards import RewardRule
from train_jobs.runs.folder import list_runs
from train_jobs.runs.specs import JobKind, JobState

if TYPE_CHECKING:
    from playwright.sync_api import Page

LONG_MS = 3 * SLOW_MS
"""For a job's process, which imports all that training needs."""
RECIPE = find_recipe("grpo-builtin")
SHORT = {
    "epochs": 1, "generations": 4, "mining-n": 2, "prompts": 8, "longest-completion": 96, "updates": 1, "passes": 1,
    "micro-batch": 32,
}  # fmt: skip
"""A training of a few updates."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Callable[[str], Path]) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("grpo")
    checkpoint = "builtin" if has_weights() else str(limited(tiny_folder("qwen3_vl"), place, 64))
    fill_labelled(place / "data", 24)
    with running(place / "data", checkpoint=checkpoint) as app:
        yield app
    finish(Launcher(place / "data" / "runs"))  # a job goes on without the app


def curve(case: str, limit: int = 0, **changes: Any) -> str:
    """What the chart says below about one case, for the recipe's reward with these changes."""
    rule = RewardRule(**{**RECIPE.settings.reward.model_dump(), **changes})
    drawn = reward_chart(rule, limit or RECIPE.settings.longest_completion)
    found = re.search(f'data-case="{case}".*?<title>(.*?)</title>', drawn)
    assert found
    return found[1]


def says(page: Page, selector: str, words: str) -> None:
    page.wait_for_function(
        "([where, words]) => document.querySelector(where)?.textContent.includes(words)", arg=[selector, words]
    )


def typed(page: Page, field: str, words: str) -> None:
    """Write into a text field as people do: Gradio hears the keys."""
    page.click(f"#{field} textarea, #{field} input")
    page.keyboard.press("Control+A")
    page.keyboard.type(words)


def test_a_reinforcement_is_set_up_by_its_form_started_and_cloned(page: Page, app: Running) -> None:
    page.get_by_role("tab", name="Train").click()
    page.wait_for_selector("#gr-t-tabs")
    page.click("#gr-t-freeze")
    page.wait_for_selector(".gr-t-counts")
    assert page.is_hidden("#gr-g-generations")

    page.click("#gr-t-stage label:nth-of-type(2)")
    says(page, "#gr-t-command", "--recipe grpo-builtin")
    assert page.is_hidden("#gr-t-epochs"), "the fields of the other stage are not shown"
    says(page, "#gr-t-about", RECIPE.differs[:60])
    says(page, "#gr-g-chart", curve("wrong"))
    page.fill("#gr-g-reward-most input", "0.4")
    says(page, "#gr-g-chart", curve("wrong", most=0.4))
    page.click("#gr-g-reward-form input")
    page.get_by_role("option", name="length-aware safety").click()
    says(page, "#gr-g-chart", curve("unreadable", form="vl", most=0.4))
    page.wait_for_selector("#gr-g-reward-floor")
    page.wait_for_selector("#gr-g-reward-most", state="hidden")
    says(page, "#gr-t-estimate", f"reward.form {RECIPE.settings.reward.form} → vl")

    page.click("#gr-t-advanced button")
    assert page.is_hidden("#gr-g-joined p")
    page.click("#gr-g-join")
    page.wait_for_selector(".gr-t-joined li")
    typed(page, "gr-g-concatenation-separator", " / ")
    says(page, ".gr-t-joined", " / ")
    page.fill("#gr-g-concatenation-share input", "0")
    says(page, "#gr-g-joined", "This recipe joins nothing")
    page.fill("#gr-g-concatenation-share input", "0.2")
    page.wait_for_selector(".gr-t-joined li")
    shoot(page, "train-grpo-new")

    for name, value in SHORT.items():
        page.fill(f"#gr-g-{name} input", str(value))
    typed(page, "gr-t-name", "First reinforcement")
    says(page, "#gr-t-command", "--name 'First reinforcement'")
    says(page, "#gr-t-estimate", "find out which of")
    page.click("#gr-t-start")
    page.wait_for_selector(".gr-t-run[data-state=succeeded]", timeout=LONG_MS)
    shoot(page, "train-grpo-done")
    run = list_runs(app.data / "runs")[0]
    spec = run.spec()
    assert (spec.kind, spec.recipe, spec.name) == (JobKind.GRPO, "grpo-builtin", "First reinforcement")
    settings = check_grpo(spec.settings)
    assert (settings.reward.form, settings.reward.most, settings.mining.n) == ("vl", 0.4, 2)
    assert settings.concatenation.separator == " / "
    report = run.report()
    assert report is not None
    assert report["figures"]["steps"] == settings.steps(report["figures"]["rows"])

    page.click("#gr-t-again")
    says(page, "#gr-t-clone", "The form holds the values of")
    assert page.input_value("#gr-g-generations input") == "4"
    assert page.is_checked("#gr-t-stage label:nth-of-type(2) input")
    says(page, "#gr-g-chart", curve("unreadable", SHORT["longest-completion"], form="vl", most=0.4))
    page.wait_for_function("() => document.querySelector('#gr-t-command')?.textContent.includes('grpo-builtin')")
    assert '"most": 0.4' in page.inner_text("#gr-t-command")
    assert run.status().state is JobState.SUCCEEDED
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shoot(page, "train-grpo-phone")
