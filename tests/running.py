"""The real app as a process of its own, the way `python app.py` starts it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from core.checkpoints.folder import BUILTIN_FOLDER

ROOT = Path(__file__).resolve().parent.parent


@dataclass(slots=True)
class Running:
    """One running app."""

    url: str
    data: Path
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    """What it has printed so far."""


def has_weights() -> bool:
    """Whether the built-in guard is trained."""
    return any(BUILTIN_FOLDER.glob("*.safetensors"))


def limited(folder: Path, where: Path, max_new_tokens: int) -> Path:
    """A copy of a checkpoint that writes at most so many tokens: a random one hardly ever ends by itself."""
    copy = shutil.copytree(folder, where / folder.name)
    (copy / "guard.json").write_text(json.dumps({"format": 1, "max_new_tokens": max_new_tokens}))
    return copy


@contextmanager
def running(data: Path, **settings: str) -> Iterator[Running]:
    """Start the app on a free port, with settings as in `GUARDROOM_HOST` (here `host=...`), and end it afterwards."""
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith(("GUARDROOM_", "GRADIO_"))}
    named = {f"GUARDROOM_{key.upper()}": value for key, value in {"port": "0", "threads": "1", **settings}.items()}
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env={**surroundings, **named, "GUARDROOM_DATA": str(data), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    app = Running("", data, process)
    listening = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            app.lines.append(line)
            if found := re.search(r"Guardroom is at (http\S+)", line):
                app.url = found.group(1)
                listening.set()
        listening.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert listening.wait(90), "".join(app.lines)
        assert app.url, "".join(app.lines)
        yield app
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        reader.join(10)
        if process.stdout is not None:
            process.stdout.close()
