"""`python -m tests`: see that there is a Chromium, then run ruff, mypy and the tests. Arguments go to pytest."""

from __future__ import annotations

import subprocess
import sys

from tests.browser import find_chromium, install_chromium

WHOLE = ["-n", "logical", "--maxprocesses", "4", "--dist", "loadfile"]
"""One process a core: most tests keep one busy. The tests of a file share what they set up. Files of many tests come
first, so that the acceptance test, whose jobs want every core, has them to itself at the end."""


def main(arguments: list[str]) -> int:
    """The exit status of the first check that failed, else 0. With arguments only pytest runs."""
    if find_chromium() is None:
        install_chromium()
    checks = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]]
    for check in [] if arguments else checks:
        done = subprocess.run([sys.executable, "-m", *check], check=False)
        if done.returncode:
            return done.returncode
    return subprocess.run([sys.executable, "-m", "pytest", *(arguments or WHOLE)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
