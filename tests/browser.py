"""Where the tests' browser is, and how a fresh machine gets one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""No sandbox, because CI machines run as root; nothing in the background, because tests reach no other machine."""


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
