"""The Train tab as an owner meets it: a real Chromium drives the real app. Screenshots go to tests/output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import SLOW_MS, shoot
from tests.jobs import finish
from tests.running import Running, has_weights, limited, running
from tests.train_data import fill_labelled
from train_jobs.launching.launcher import Launcher
from train_jobs.runs.folder import list_runs
from train_jobs.runs.specs import JobState

if TYPE_CHECKING:
    from playwright.sync_api import Page

LONG_MS = 3 * SLOW_MS
"""For a job's process, which imports all that training needs."""
WATCH = """() => {
  window.heads = new Set();
  window.tops = new Set();
  const look = () => {
    window.heads.add(document.querySelector("#gr-t-head")?.innerText ?? "");
    const figures = [...document.querySelectorAll("#gr-t-curves section figure")].map((each) => each.offsetHeight);
    if (figures.some((height) => height)) window.tops.add(figures.join());
  };
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""
"""Set before a start, and what it saw asked at the end: on a fast machine a short job is over within seconds."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Callable[[str], Path]) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("train")
    checkpoint = "builtin" if has_weights() else str(limited(tiny_folder("qwen3_vl"), place, 64))
    made = fill_labelled(place / "data", 24)
    asked = [*(each.request.upper() for each in made), "What is a quaternion?"]
    rows = [json.dumps({"id": at, "request": text}) for at, text in enumerate(asked)]
    (place / "set.jsonl").write_text("\n".join(rows), encoding="utf-8")
    with running(place / "data", checkpoint=checkpoint) as app:
        yield app
    finish(Launcher(place / "data" / "runs"))  # a job goes on without the app


def enter(page: Page) -> None:
    page.get_by_role("tab", name="Train").click()
    page.wait_for_selector("#gr-t-tabs")


def state_of(page: Page) -> str:
    return str(page.get_attribute(".gr-t-run", "data-state"))


def wait_for(page: Page, *states: str) -> None:
    selector = ", ".join(f".gr-t-run[data-state={state}]" for state in states)
    page.wait_for_selector(selector, timeout=LONG_MS)


def test_a_training_is_set_up_started_watched_found_again_after_a_reload_and_cancelled(
    page: Page, app: Running
) -> None:
    page.set_default_timeout(LONG_MS)
    enter(page)
    page.wait_for_selector("#gr-t-empty h2")
    shoot(page, "train-empty")

    page.fill("#gr-t-freeze-name textarea, #gr-t-freeze-name input", "first reviews")
    page.click("#gr-t-freeze")
    page.wait_for_selector(".gr-t-counts")
    train, *_, every = page.locator(".gr-t-counts tbody tr:first-child td").all_inner_texts()
    assert every == "24"
    page.click("#gr-t-leakage button")
    page.fill("#gr-t-leak-path textarea, #gr-t-leak-path input", str(app.data.parent / "set.jsonl"))
    page.click("#gr-t-leak-check")
    page.wait_for_selector("#gr-t-leaks [data-kind]")
    assert f"{train} rows of the evaluation file are in the training split" in page.inner_text("#gr-t-leaks")

    page.click("#gr-t-advanced button")
    page.fill("#gr-t-name textarea, #gr-t-name input", "Everyday questions")
    page.fill("#gr-t-epochs input", "2")
    page.fill("#gr-t-replay input", "0")
    page.fill("#gr-t-batch input", "8")
    page.fill("#gr-t-micro-batch input", "8")
    page.fill("#gr-t-teacher-tries input", "0")
    page.wait_for_selector("#gr-t-command >> text=--set epochs=2 --set batch=8 --set micro_batch=8")
    assert "Memory: about" in page.inner_text("#gr-t-estimate")
    shoot(page, "train-new")

    page.evaluate(WATCH)
    page.click("#gr-t-start")
    wait_for(page, "running", "succeeded")
    page.wait_for_selector("figure[data-known=true] >> text=Loss")
    shoot(page, "train-live")
    wait_for(page, "succeeded")
    page.wait_for_selector("#gr-t-export")
    heads = page.evaluate("[...window.heads]")
    assert any("one thread" in head for head in heads), heads
    assert page.evaluate("window.tops.size") == 1, "the plots never changed their size"
    assert page.locator("figure[data-known=true]").count() == 5
    shoot(page, "train-done")

    page.reload()
    page.wait_for_selector(".gr-status[data-state=ready]")
    enter(page)
    page.get_by_role("tab", name="Runs").click()
    wait_for(page, "succeeded")
    assert page.inner_text(".gr-t-run h3") == "Everyday questions"
    page.click("#gr-t-export button")
    page.click("#gr-t-export-go")
    page.wait_for_selector("#gr-t-files a[download]")

    # From what it made to its evaluation, and back.
    page.click(".gr-t-run [data-e-do=evaluate]")
    page.wait_for_selector("#gr-e-checkpoint input >> visible=true")
    page.wait_for_function(
        "() => document.querySelector('#gr-e-checkpoint input').value.includes('Everyday questions')"
    )
    page.get_by_role("tab", name="Train").click()

    page.click("#gr-t-again")
    page.wait_for_function("() => document.querySelector('#gr-t-clone')?.textContent.includes('The form holds')")
    assert page.input_value("#gr-t-epochs input") == "2"
    page.fill("#gr-t-epochs input", "50")
    page.fill("#gr-t-name textarea, #gr-t-name input", "Everyday questions, longer")
    page.wait_for_function("() => document.querySelector('#gr-t-command')?.textContent.includes('epochs=50')")
    page.click("#gr-t-start")
    wait_for(page, "running")
    page.wait_for_function("() => document.querySelector('.gr-t-run h3').textContent.includes('longer')")
    page.wait_for_selector("figure[data-known=true] >> text=Loss")
    page.click("#gr-t-other input")
    page.get_by_role("option").nth(1).click()
    page.wait_for_selector(".gr-t-legend li:nth-child(2)")
    page.click("#gr-t-cancel")
    wait_for(page, "cancelled")
    assert page.is_visible("#gr-t-resume")
    page.click("[data-theme-toggle]")
    shoot(page, "train-dark")
    page.click("[data-theme-toggle]")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shoot(page, "train-phone")
    page.get_by_role("tab", name="New run").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shoot(page, "train-phone-new")
    page.get_by_role("tab", name="Runs").click()
    page.set_viewport_size({"width": 1280, "height": 900})

    runs = list_runs(app.data / "runs")
    assert [run.status().state for run in runs] == [JobState.CANCELLED, JobState.SUCCEEDED]
    assert runs[0].spec().cloned_from == runs[1].id
    assert runs[0].last_checkpoint() is not None, "cancelling saves first"
    page.click("#gr-t-remove")
    page.click("#gr-t-remove-now")
    page.wait_for_function("() => document.querySelectorAll('#gr-t-list tbody tr').length === 1")
    assert [run.id for run in list_runs(app.data / "runs")] == [runs[1].id]
