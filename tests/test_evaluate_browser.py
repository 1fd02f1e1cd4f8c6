"""Evaluate and promote as the owner meets them: a real Chromium drives the real app with the shipped guard."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotation_store.review.progress import left
from annotation_store.store import AnnotationStore
from app.moderate.examples import FOLDER
from core.checkpoints.folder import BUILTIN_FOLDER
from core.checkpoints.registry import Registry
from tests.browser import shoot
from tests.running import Running, has_weights, running
from tests.test_evaluate_api import add_copy

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.skipif(not has_weights(), reason="the built-in guard is not trained")

JOB_MS = 300_000
SUBJECTS = ("bread", "soup", "tea", "a river", "a map", "a kite", "a song", "a clock", "a garden", "a boat")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("evaluate-browser")
    add_copy(place / "data", BUILTIN_FOLDER, "bread lovers", place)
    with running(place / "data", checkpoint="builtin") as app:
        yield app


def write_rows(folder: Path) -> Path:
    """Harmless rows, every fourth of them called harmful all the same, so that there is something to be wrong about;
    and one picture called both, so that whatever a guard says of it is wrong once."""
    rows = [
        {
            "id": f"row-{number}", "request": f"Tell me how {subject} is made. ({number})",
            "response": f"There are many books about {subject}." if number % 2 else None,
            "request_label": "unharmful" if number % 4 else "harmful",
            "response_label": "unharmful" if number % 2 else None,
            "category": ("cooking", "outdoors|travel")[number % 2], "benchmark": "OpenAIModeration",
        }
        for number, subject in enumerate(SUBJECTS * 2)
    ]  # fmt: skip
    shutil.copy(FOLDER / "letter.png", folder / "letter.png")
    pictures = [
        {
            "id": f"picture-{label}", "request": "What is in this picture?", "media": "letter.png",
            "request_label": label, "category": "pictures",
        }
        for label in ("harmful", "unharmful")
    ]  # fmt: skip
    path = folder / "everyday.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in [*pictures, *rows]), encoding="utf-8")
    return path


def choose(page: Page, box: str, words: str) -> None:
    """Pick an option of a dropdown."""
    page.locator(f"#{box} input").click()
    page.get_by_role("option").filter(has_text=words).first.click()


def part(page: Page, name: str) -> None:
    page.locator("#gr-e-tabs").get_by_role("tab", name=name).click()


def shoot_all(page: Page, name: str) -> None:
    """Light, dark, and on a phone."""
    page.wait_for_timeout(300)
    shoot(page, name)
    page.locator("[data-theme-toggle]").click()
    page.wait_for_timeout(400)  # colours fade over
    shoot(page, f"{name}-dark")
    page.locator("[data-theme-toggle]").click()
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert not page.locator("[aria-label='More tabs']:visible").count(), "every tab has room on a phone"
    shoot(page, f"{name}-phone")
    page.set_viewport_size({"width": 1280, "height": 900})
    assert width <= 390, f"{name} is {width} pixels wide on a phone of 390"


def test_evaluate_read_the_report_promote_with_a_reason_and_roll_back(page: Page, app: Running, tmp_path: Path) -> None:
    copy = Registry(app.data).cards()[0].id
    page.get_by_role("tab", name="Evaluate").click()
    page.wait_for_selector("#gr-e-list .gr-r-empty")
    part(page, "Promote")
    page.wait_for_selector("#gr-e-known table")
    assert page.locator("#gr-e-go").is_disabled()
    assert "Nothing to promote yet" in page.inner_text("#gr-e-gate")
    shoot(page, "promote-empty")

    # Two evaluations: the shipped guard by its first look, then a copy of it with reasoning on a few rows.
    part(page, "Evaluations")
    page.locator("#gr-e-paths textarea").fill(str(write_rows(tmp_path)))
    page.locator("#gr-e-paths textarea").blur()
    page.wait_for_selector("#gr-e-seen table")
    assert "published figures will stand beside" in page.inner_text("#gr-e-seen")
    page.get_by_label("first look only, many times faster").check()
    page.locator("#gr-e-name input, #gr-e-name textarea").fill("first looks")
    page.locator("#gr-e-start").click()
    page.wait_for_selector("#gr-e-list tr[data-state]")
    choose(page, "gr-e-checkpoint", "bread lovers")
    page.get_by_label("with reasoning, as the live guard judges").check()
    page.locator("#gr-e-limit input").fill("4")
    page.locator("#gr-e-limit input").press("Enter")
    page.locator("#gr-e-start").click()
    page.wait_for_selector("#gr-e-list tr[data-state] >> nth=1")
    shoot(page, "evaluations-running")
    page.wait_for_selector("#gr-e-list tr[data-state=succeeded] >> nth=1", timeout=JOB_MS)
    shoot_all(page, "evaluations")

    # The report of the first: every figure has its place, and the wrong answers go to the review queue.
    page.locator("#gr-e-list tr[data-state]").nth(1).locator("[data-e-do=open]").click()
    page.wait_for_selector(".gr-e-report")
    # until the chosen report is there the page may still show the other one, of 4 rows
    row = page.locator(".gr-e-sets tr[data-set=everyday][data-side=request]", has_text="GuardReasoner-VL-7B")
    row.wait_for()
    assert "22" in row.inner_text()
    assert "0.710 GuardReasoner-VL-7B" in " ".join(row.inner_text().split())
    assert page.locator(".gr-e-side[data-side=request] .gr-e-plot > svg .gr-e-curve").count() == 2
    assert page.locator(".gr-e-confusion td").count() == 8
    shown = page.locator("#gr-e-wrong img")
    shown.scroll_into_view_if_needed()
    assert shown.evaluate("async (image) => { await image.decode(); return image.naturalWidth }") > 0
    blur = "() => getComputedStyle(document.querySelector('#gr-e-wrong img')).filter"
    assert page.evaluate(blur) == "blur(28px) grayscale(1)"
    shoot_all(page, "report")
    page.locator("[data-e-reveal]").first.click()
    page.wait_for_function(f"({blur})() === 'none'")
    count = page.locator(".gr-e-sample").count()
    page.locator("#gr-e-send").click()
    page.wait_for_selector("#gr-e-sent [data-kind=good]")
    with AnnotationStore.open(app.data / "guardroom.db") as store:
        assert left(store).total == count

    part(page, "Side by side")
    page.wait_for_selector(".gr-e-compare")
    assert "4 rows in common" in page.inner_text("#gr-e-compared")
    shoot_all(page, "side-by-side")

    # Four rows prove nothing, so only a written reason lets the copy pass.
    part(page, "Promote")
    page.wait_for_selector("#gr-e-gate [data-outcome=not_enough]")
    page.locator("#gr-e-go").click()
    page.wait_for_selector("#gr-e-promoted [data-kind=bad]")
    assert "write down why" in page.inner_text("#gr-e-promoted")
    assert Registry(app.data).promotions() == []
    page.locator("#gr-e-reason textarea, #gr-e-reason input").fill("A copy, for trying it out.")
    shoot_all(page, "promote")
    page.locator("#gr-e-go").click()
    page.wait_for_selector("#gr-e-events tr[data-event=promote]", timeout=JOB_MS)
    page.wait_for_function("(id) => document.querySelector('.gr-status').textContent.includes(id)", arg=copy)
    history = page.inner_text("#gr-e-events")
    assert "A copy, for trying it out." in history
    assert "not enough evidence, overridden" in history
    page.locator("#gr-e-back").click()
    page.wait_for_selector("#gr-e-events tr[data-event=rollback]", timeout=JOB_MS)
    page.wait_for_function("() => document.querySelector('.gr-status').textContent.includes('builtin')")
    shoot(page, "promote-history")
    assert [(each.kind.value, each.checkpoint) for each in Registry(app.data).promotions()] == [
        ("promote", copy), ("rollback", "builtin"),
    ]  # fmt: skip
