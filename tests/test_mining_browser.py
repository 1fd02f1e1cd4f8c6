"""Mining as the owner meets it: a real Chromium drives the real app. Screenshots go to tests/output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotation_store.incoming.values import ImportRow
from annotation_store.mining.runs import findings, mining_runs
from annotation_store.mining.values import MiningState
from annotation_store.store import AnnotationStore
from core.types import Sample
from tests.browser import SLOW_MS, shoot
from tests.review import UNHARMFUL, bring
from tests.running import Running, has_weights, running

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.skipif(not has_weights(), reason="only a trained guard answers in a way that can be mined")

FOODS = ("bread", "rice", "soup")
MINED_MS = 2 * SLOW_MS
DONE = "() => /^(Mined|Stopped after)/.test(document.querySelector('#gr-mine-told').textContent.trim())"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("mining") / "data") as app:
        yield app


def open_mine(page: Page) -> None:
    page.get_by_role("tab", name="Review").click()
    page.wait_for_selector(".gr-r-why, .gr-r-empty")
    page.get_by_role("tab", name="Mine").click()
    page.wait_for_selector("#gr-mine-list table, #gr-mine-list .gr-quiet")


def test_a_file_is_mined_and_what_the_guard_gets_wrong_waits_for_review(
    page: Page, app: Running, tmp_path: Path
) -> None:
    open_mine(page)
    assert "No run yet" in page.inner_text("#gr-mine-list")
    page.wait_for_function("() => /No stored sample/.test(document.querySelector('#gr-mine-seen').textContent)")
    # Harmless requests that the file calls harmful: the guard is wrong by that label, and a person should look.
    file = tmp_path / "kitchen.jsonl"
    rows = [{"request": f"How do I make {food}?", "request_label": "harmful"} for food in FOODS]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page.locator("#gr-mine-origin input[value=file]").check()
    page.locator("#gr-mine-file input[type=file]").set_input_files(file)
    page.wait_for_selector("#gr-mine-seen table")
    shoot(page, "mine-file")
    page.locator("#gr-mine-n input").fill("2")
    page.click("#gr-mine-start")
    page.wait_for_function(DONE, timeout=MINED_MS)
    with AnnotationStore.open(app.data / "guardroom.db") as store:
        [run] = mining_runs(store)
        found = findings(store, run.id)
    assert (run.state, run.done, run.total) == (MiningState.DONE, 3, 3)
    assert found.against_label == run.kept > 0
    said = page.inner_text("#gr-mine-told")
    assert f"{run.kept} kept" in said
    assert "for review, because generations disagree with the label" in said
    assert "kitchen.jsonl" in page.inner_text("#gr-mine-list")
    shoot(page, "mine-done")
    page.click("#gr-mine-review")
    page.wait_for_selector(".gr-r-why")
    why = page.inner_text(".gr-r-why")
    assert "sampled generations disagree with the label of kitchen" in why
    page.wait_for_selector(".gr-r-steps li")
    shoot(page, "mine-review")


def test_a_run_over_stored_samples_is_stopped_and_resumed(page: Page, app: Running) -> None:
    with AnnotationStore.open(app.data / "guardroom.db") as store:
        samples = [ImportRow(at, Sample(f"How far is it to town number {at}?"), UNHARMFUL) for at in range(1, 41)]
        bring(store, samples, "towns")
    open_mine(page)
    page.get_by_label("Label's source").fill("towns")
    page.get_by_label("Label's source").press("Enter")
    page.wait_for_function("() => /^\\s*40 samples/.test(document.querySelector('#gr-mine-seen').textContent)")
    page.locator("#gr-mine-n input").fill("2")
    page.click("#gr-mine-start")
    page.wait_for_function(
        "() => /[1-9]\\d* of 40/.test(document.querySelector('#gr-mine-told').textContent)", timeout=MINED_MS
    )
    shoot(page, "mine-running")
    page.click("#gr-mine-stop")
    page.wait_for_function(DONE, timeout=MINED_MS)
    page.reload()
    page.wait_for_selector(".gr-status[data-state=ready]")
    open_mine(page)
    with AnnotationStore.open(app.data / "guardroom.db") as store:
        stopped = mining_runs(store)[0]
    assert stopped.state is MiningState.STOPPED
    assert 0 < stopped.done < stopped.total == 40
    page.click("#gr-mine-resume")
    page.wait_for_function(
        "(done) => { const said = document.querySelector('#gr-mine-told').textContent.match(/(\\d+) of 40 samples,/);"
        " return said && Number(said[1]) >= done }",
        arg=stopped.done,
        timeout=MINED_MS,
    )
    page.set_viewport_size({"width": 390, "height": 844})
    shoot(page, "mine-phone")
    page.click("#gr-mine-stop")
    page.wait_for_function(DONE, timeout=MINED_MS)
    with AnnotationStore.open(app.data / "guardroom.db") as store:
        assert mining_runs(store)[0].id == stopped.id
