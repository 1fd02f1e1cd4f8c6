"""Where the tests' browser is, how a fresh machine gets one, and a visitor's page in it.

The fixtures `browser` and `page` are in conftest.py; a module that takes `page` brings a fixture `app`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.running import ROOT, Running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Locator, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""No sandbox, because CI machines run as root; nothing in the background, because tests reach no other machine."""
SCREENSHOTS = Path(os.environ.get("GUARDROOM_SCREENSHOTS", ROOT / "tests" / "output" / "screenshots"))
DONE = ".gr-card[data-phase=done]"
FAILED = ".gr-card[data-phase=failed]"
READY = ".gr-status[data-state=ready]"
SLOW_MS = 90_000
"""For anything that the page does, on a machine that has other things to do."""


def find_chromium() -> str | None:
    """The executable named by GUARDROOM_TEST_CHROMIUM, the system's, or the one that Playwright has fetched."""
    named = os.environ.get("GUARDROOM_TEST_CHROMIUM")
    if named:
        return named
    for name in NAMES:
        if found := shutil.which(name):
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        fetched = playwright.chromium.executable_path
    return fetched if Path(fetched).exists() else None


def install_chromium() -> None:
    """Debian's package where this is root on a Debian-like system, else the browser that Playwright fetches."""
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        packages = ["chromium", "fonts-dejavu-core"]
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], check=True, env=environment
        )
        return
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)


@contextmanager
def launched() -> Iterator[Browser]:
    """A Chromium."""
    from playwright.sync_api import sync_playwright

    executable = find_chromium()
    assert executable, "There is no Chromium; `python -m tests` installs one."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield browser
        browser.close()


def visit(browser: Browser, app: Running, *, may_complain: bool = False) -> Iterator[Page]:
    """A fresh visitor's page; nothing on it may fail or open a dialog, and nothing may be asked of another machine.

    Args:
        may_complain: whether the browser may write errors to its console, as about an address that it refuses.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(SLOW_MS)
    faults: list[str] = []

    def refuse(dialog: Dialog) -> None:
        faults.append(dialog.message)
        dialog.dismiss()

    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" and not may_complain else None)
    page.on("dialog", refuse)
    page.on("request", lambda asked: faults.append(asked.url) if is_elsewhere(asked.url) else None)
    page.on("framenavigated", lambda frame: faults.append(frame.url) if is_elsewhere(frame.url) else None)
    page.goto(app.url)
    page.wait_for_selector(READY)
    yield page
    context.close()
    assert faults == []


def is_elsewhere(url: str) -> bool:
    """Whether an address is not on this machine."""
    return not url.startswith(("http://127.0.0.1", "http://localhost", "data:", "blob:"))


def shoot(page: Page, name: str) -> None:
    """A screenshot of the whole page."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def write(page: Page, text: str) -> None:
    """Fill in the request of the Moderate tab."""
    page.locator("#gr-box textarea").fill(text)


def drop(page: Page, file: Path) -> None:
    """Put a file beside the request, and wait until it is shown."""
    page.locator("#gr-box input[type=file]").set_input_files(file)
    page.wait_for_selector("#gr-box .thumbnail-item")
    page.wait_for_selector("#gr-preview .gr-figure, #gr-preview .gr-message")


def judge(page: Page) -> Locator:
    """Press the button and wait for the verdict: another one than what the page shows, however quick it is."""
    shown = "(document.querySelector('.gr-copy')?.dataset.copy ?? '')"
    before = page.evaluate(f"() => {shown}")
    page.click("#gr-go")
    page.wait_for_function(f"(before) => {shown} !== before && document.querySelector('{DONE}')", arg=before)
    return page.locator(".gr-card")


def copied(page: Page) -> dict[str, Any]:
    """The verdict as the page's button copies it."""
    found: dict[str, Any] = json.loads(page.locator(".gr-copy").get_attribute("data-copy") or "")
    return found
