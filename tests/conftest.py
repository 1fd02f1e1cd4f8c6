"""What tests share: a data root of their own, tiny random checkpoints, a video reader, a server on loopback."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import tiny

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from core.engines.transformers_engine import TransformersEngine
    from core.judging.guard import Guard
    from core.media.store import MediaStore
    from core.media.video import VideoReader
    from tests.openai_server import Server
    from tests.running import Running
    from train_jobs.launching.launcher import Launcher

ARCHITECTURES = ("qwen3_vl", "qwen2_5_vl", "llama")
SUMMARY = "summary"
"""The name of a test's property that is a line to be printed at the end of the run."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have recorded for it, whichever process they ran in."""
    reports = [each for kind in ("passed", "failed", "skipped") for each in terminalreporter.stats.get(kind, [])]
    for report in reports:
        lines = [line for name, line in getattr(report, "user_properties", []) if name == SUMMARY]
        if lines and report.when == "call":
            terminalreporter.section(report.nodeid)
            terminalreporter.write_line("\n".join(lines))


@pytest.fixture(scope="session", autouse=True)
def _settled_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that is set outside reaches the tests, and nothing that they write leaves them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [each for each in os.environ if each.startswith("GUARDROOM_")]:
            patch.delenv(name)
        patch.setenv("GUARDROOM_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(autouse=True)
def data_root(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty data root for every test."""
    root = tmp_path_factory.mktemp("data")
    monkeypatch.setenv("GUARDROOM_DATA", str(root))
    return root


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny random checkpoint of one architecture. Copy it before changing anything in it."""

    @cache
    def folder(model_type: str) -> Path:
        import torch

        torch.set_num_threads(1)
        return tiny.build(tmp_path_factory.mktemp("tiny") / model_type, model_type)

    return folder


@pytest.fixture(scope="session")
def tiny_engine(tiny_folder: Callable[[str], Path]) -> Callable[[str], TransformersEngine]:
    """A tiny random checkpoint loaded from disk as any other; its protocol is guardroom-v1."""

    @cache
    def engine(model_type: str) -> TransformersEngine:
        from core.checkpoints.folder import open_checkpoint
        from core.engines.transformers_engine import TransformersEngine

        folder = tiny_folder(model_type)
        return TransformersEngine(open_checkpoint(folder, str(folder), "guardroom-v1"), device="cpu")

    return engine


@pytest.fixture(scope="session")
def shipped_guard() -> Guard:
    """The built-in guard on this machine's CPU; media come from nowhere."""
    from core.checkpoints.folder import BUILTIN_FOLDER, open_checkpoint

    if not list(BUILTIN_FOLDER.glob("*.safetensors")):
        pytest.skip(f"{BUILTIN_FOLDER} has no weights; train them with: python -m train_jobs.builtin_guard")
    import torch

    from core.engines.transformers_engine import TransformersEngine
    from core.judging.guard import Guard
    from core.media.vision import DecodedMedia
    from core.types import MediaRef

    def decode(ref: MediaRef) -> DecodedMedia:
        raise AssertionError(f"no test hands media to this guard, and yet {ref} is asked for")

    torch.set_num_threads(1)
    folder = open_checkpoint(BUILTIN_FOLDER, "builtin")
    return Guard(
        TransformersEngine(folder, device="cpu"),
        folder.protocol,
        folder.calibrations,
        decode,
        window_tokens=folder.window_tokens,
    )


@pytest.fixture(scope="session")
def reader() -> Iterator[VideoReader]:
    """One worker for all who read good files with it; a test that ends or starves a worker makes its own reader."""
    from core.media.limits import MediaLimits
    from core.media.video import VideoReader

    made = VideoReader(MediaLimits(decode_timeout_s=60))
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path, reader: VideoReader) -> MediaStore:
    """An empty media store."""
    from core.media.limits import MediaLimits
    from core.media.store import MediaStore

    return MediaStore(tmp_path / "media", MediaLimits(), reader)


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of H.264 in an MP4, a key frame every 1.2 seconds. Copy it before changing anything in it."""
    from tests.media_files import X264
    from tests.video_files import make_video

    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", frames=60, options=X264 | {"g": "12"})


@pytest.fixture(scope="session")
def local(tiny_engine: Callable[[str], TransformersEngine]) -> TransformersEngine:
    """The tiny model that the loopback server serves, in this process."""
    return tiny_engine("qwen3_vl")


@pytest.fixture
def serve(local: TransformersEngine) -> Iterator[Callable[..., AbstractContextManager[Server]]]:
    """Starts a chat completions server on loopback; no thread of it may be left."""
    from tests.openai_server import serving

    before = set(threading.enumerate())
    yield lambda **switches: serving(local, **switches)
    assert set(threading.enumerate()) <= before


@pytest.fixture
def runs_root(tmp_path: Path) -> Path:
    """Where `make_launcher` keeps its runs; nothing is there yet."""
    return tmp_path / "runs"


@pytest.fixture
def make_launcher(runs_root: Path) -> Iterator[Callable[..., Launcher]]:
    """Makes launchers of the tests' tiny job on one root; what is left in the end is ended."""
    from tests.jobs import finish, launcher_of

    made: list[Launcher] = []

    def one(**more: Any) -> Launcher:
        made.append(launcher_of(runs_root, **more))
        return made[-1]

    yield one
    for launcher in made:
        finish(launcher)


@pytest.fixture
def launcher(make_launcher: Callable[..., Launcher]) -> Launcher:
    """One such launcher."""
    return make_launcher()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium; a module's own, because Playwright keeps an event loop in this thread that others may not want."""
    from tests.browser import launched

    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, app: Running) -> Iterator[Page]:
    """A fresh visitor's page of the module's app; see `tests.browser.visit`."""
    from tests.browser import visit

    yield from visit(browser, app)
