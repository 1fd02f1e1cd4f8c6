"""Laws of the watcher that makes room for a job: the live guard follows what computes, and comes back by itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.shared.beside import BesideJobs, room_on
from core.beside_training import LiveWhileTraining
from core.errors import CheckpointError
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.serving.live import LiveGuard
from core.settings import Settings
from core.types import Sample
from tests.live_guard import limited, live_guard, threads_of

SAMPLE = Sample("How do I bake bread?")


@pytest.fixture
def folder(tiny_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    return limited(tiny_folder("llama"), tmp_path / "short", 3)


@pytest.fixture
def live(folder: Path, data_root: Path) -> Iterator[LiveGuard]:
    with live_guard(folder, data_root, threads=2) as guard:
        list(guard.load(str(folder)))
        yield guard


@pytest.mark.parametrize("setting", ["stay", "cpu"])
def test_a_guard_on_the_cpu_gives_way_to_a_job_there_and_no_other(live: LiveGuard, setting: LiveWhileTraining) -> None:
    busy: set[str] = set()
    beside = BesideJobs(live, setting, lambda: busy)
    for device, threads in (("", 2), ("cuda:0", 2), ("cpu", 1), ("", 2)):
        busy = {device} - {""}
        beside.look()
        assert threads_of(live) == threads
        assert ("one thread" in beside.words) is (device == "cpu")


def test_a_guard_that_shall_pause_does_and_comes_back_as_it_was(live: LiveGuard) -> None:
    busy = {"cpu"}
    beside = BesideJobs(live, "pause", lambda: busy)
    known = live.first_look(SAMPLE)
    beside.look()
    beside.look()
    assert live.status.state == "paused"
    assert beside.words == live.status.message
    with pytest.raises(CheckpointError, match="pauses while a job computes"):
        live.first_look(SAMPLE)
    busy = set()
    beside.look()
    assert (live.status.state, beside.words) == ("ready", "")
    assert live.first_look(SAMPLE).first_look == known.first_look


def test_a_guard_leaves_a_gpu_that_a_job_fills_and_stays_away_until_the_job_has_ended(live: LiveGuard) -> None:
    free = {"cuda": (8 * 1024**3, 80 * 1024**3)}
    busy: set[str] = set()
    beside = BesideJobs(live, "stay", lambda: busy, free.get)
    live._status = replace(live._status, device="cuda")  # there is no GPU here; where it goes from there is real
    beside.look()
    busy = {"cuda:0"}
    beside.look()
    assert (live.status.device, "the guard stays" in beside.words) == ("cuda", True)
    free["cuda"] = (1024**3, 80 * 1024**3)
    beside.look()
    assert (live.status.device, "A job fills the GPU" in beside.words) == ("cpu", True)
    free["cuda"] = (70 * 1024**3, 80 * 1024**3)  # by its own going
    beside.look()
    assert "A job fills the GPU" in beside.words
    busy = set()
    beside.look()
    assert (live.status.state, beside.words) == ("ready", "")
    busy = {"cpu"}
    beside.look()
    assert "A job fills the GPU" not in beside.words


def test_without_a_gpu_nobody_says_how_full_it_is() -> None:
    assert room_on("cpu") is None
    assert room_on("") is None
    assert room_on("cuda:99") is None


def test_what_somebody_loads_meanwhile_makes_room_as_well_and_stays_afterwards(
    live: LiveGuard, folder: Path, tmp_path: Path
) -> None:
    busy = {"cpu"}
    beside = BesideJobs(live, "pause", lambda: busy)
    beside.look()
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    list(live.load(str(other)))
    beside.look()
    assert live.status.state == "paused"
    busy = set()
    beside.look()
    assert live.status.info is not None
    assert live.status.info.source == str(other)


def test_a_guard_that_cannot_come_back_is_tried_again(live: LiveGuard, folder: Path) -> None:
    busy = {"cpu"}
    beside = BesideJobs(live, "pause", lambda: busy)
    beside.look()
    away = folder.rename(folder.with_name("away"))
    busy = set()
    with pytest.raises(CheckpointError):
        beside.look()
    away.rename(folder)
    beside.look()
    assert live.status.state == "ready"


def test_a_guard_that_never_came_up_is_left_alone(data_root: Path) -> None:
    settings = Settings(checkpoint="nowhere", device="cpu")
    live = LiveGuard(settings, MediaStore(data_root / "media", MediaLimits(), VideoReader(MediaLimits())))
    BesideJobs(live, "pause", lambda: {"cpu"}).look()
    assert live.status.state == "loading"
    live.close()
