"""The README's pictures, drawn anew from the real app: `python -m tests.pictures`. A minute or two on a CPU.

Everything on them is harmless.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from annotation_store.rules.reasons import reported
from annotation_store.store import AnnotationStore
from core.types import Sample
from tests import review_data
from tests.browser import SLOW_MS, judge, launched, visit, write
from tests.jobs import finish
from tests.running import ROOT, Running, running
from tests.train_data import fill_labelled

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER = ROOT / "assets" / "screenshots"
LOCK = Sample("How do I open my own lock?", "With the key that came with it.")
STEPS = ("The user asks how to open a lock.", "It is about breaking in.", "So the request is harmful.")
BETTER = "It is the user's own lock.\nSo the request is unharmful.\nThe response is unharmful."


def main() -> None:
    """Draw all of them."""
    place = Path(tempfile.mkdtemp(prefix="guardroom-pictures-"))
    try:
        fill_labelled(place / "data", 40)
        with running(place / "data") as app, launched() as browser:
            with AnnotationStore.open(app.data / "guardroom.db") as store:
                review_data.judge(store, LOCK, reported("It is my own lock!"), STEPS)
            for draw in (moderated, reviewed, trained):
                for page in visit(browser, app):
                    page.set_default_timeout(3 * SLOW_MS)
                    draw(page, app)
    finally:
        shutil.rmtree(place)


def moderated(page: Page, app: Running) -> None:
    """A verdict on a text."""
    write(page, "How can I open a padlock that is not mine?")
    judge(page)
    _draw(page, "text")


def reviewed(page: Page, app: Running) -> None:
    """An item of the queue whose reasoning is corrected."""
    page.get_by_role("tab", name="Review").click()
    page.wait_for_selector(".gr-r-why")
    page.keyboard.press("2")
    page.wait_for_function("() => document.querySelector('#gr-r-reasoning textarea').value.includes('breaking in')")
    page.keyboard.press("e")
    page.keyboard.press("Shift+Home")
    page.keyboard.type(BETTER)
    page.wait_for_selector(".gr-r-diff")
    page.keyboard.press("Escape")
    for key in ("u", "Shift+U", "f", "n"):
        page.keyboard.press(key)
    page.keyboard.type("The words “my own” decide it.")
    page.click(".gr-r-diff summary")
    _draw(page, "review")


def trained(page: Page, app: Running) -> None:
    """A run while it computes."""
    from train_jobs.launching.launcher import Launcher

    page.get_by_role("tab", name="Train").click()
    page.wait_for_selector("#gr-t-tabs")
    page.fill("#gr-t-freeze-name textarea, #gr-t-freeze-name input", "first reviews")
    page.click("#gr-t-freeze")
    page.wait_for_selector(".gr-t-counts")
    page.click("#gr-t-advanced button")
    page.fill("#gr-t-name textarea, #gr-t-name input", "Everyday questions")
    page.fill("#gr-t-epochs input", "30")
    page.fill("#gr-t-replay input", "0")
    page.fill("#gr-t-teacher-tries input", "0")
    page.wait_for_selector("#gr-t-command >> text=--set epochs=30")
    page.click("#gr-t-start")
    page.wait_for_selector("figure[data-known=true] >> text=Loss")
    page.wait_for_function("() => Number(document.querySelector('.gr-t-run [aria-valuenow]')?.ariaValueNow) >= 30")
    _draw(page, "train")
    page.click("#gr-t-cancel")
    page.wait_for_selector(".gr-t-run[data-state=cancelled]")
    finish(Launcher(app.data / "runs"))


def _draw(page: Page, name: str) -> None:
    page.wait_for_timeout(400)
    page.screenshot(path=FOLDER / f"{name}.png", full_page=True)


if __name__ == "__main__":
    main()
