"""What the live guard does beside a job: the decision, and that its threads, its device and its pause follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.beside_training import ROOM_BYTES, Beside, LiveWhileTraining, beside_jobs, has_room
from core.errors import CheckpointError
from core.serving.live import LiveGuard
from core.types import Sample
from tests.live_guard import limited, live_guard, threads_of


@pytest.mark.parametrize("setting", ["stay", "cpu", "pause"])
@pytest.mark.parametrize(
    ("home", "busy"),
    [("cpu", set[str]()), ("cpu", {"cuda:0"}), ("cuda", {"cpu", "cuda:1"}), ("cuda:1", {"cuda:0"}), ("", {"cpu"})],
)
def test_a_guard_that_shares_no_device_goes_on_as_ever(setting: LiveWhileTraining, home: str, busy: set[str]) -> None:
    assert beside_jobs(setting, home, busy) == Beside()


@pytest.mark.parametrize(
    ("setting", "home", "fits", "action", "threads"),
    [
        ("stay", "cpu", True, "stay", 1),
        ("cpu", "cpu", True, "stay", 1),
        ("pause", "cpu", True, "pause", None),
        ("stay", "cuda", True, "stay", None),
        ("stay", "cuda:0", False, "cpu", None),
        ("cpu", "cuda", True, "cpu", None),
        ("pause", "cuda", False, "pause", None),
    ],
)
def test_a_guard_that_shares_its_device_does_as_the_setting_says(
    setting: LiveWhileTraining, home: str, fits: bool, action: str, threads: int | None
) -> None:
    done = beside_jobs(setting, home, {"cpu" if home == "cpu" else "cuda:0"}, fits=fits)
    assert (done.action, done.threads) == (action, threads)
    assert done.words.endswith((".", "more slowly."))


@pytest.mark.parametrize(
    ("free", "total", "fits"),
    [
        (ROOM_BYTES, 80 * 1024**3, True),
        (ROOM_BYTES - 1, 80 * 1024**3, False),
        (1024**3, 8 * 1024**3, True),  # of a small GPU an eighth is enough
        (1024**3 - 1, 8 * 1024**3, False),
        (0, 8 * 1024**3, False),
    ],
)
def test_a_gpu_is_full_where_no_long_prompt_finds_room(free: int, total: int, fits: bool) -> None:
    assert has_room(free, total) is fits


@pytest.fixture
def live(tiny_folder: Callable[[str], Path], tmp_path: Path, data_root: Path) -> Iterator[LiveGuard]:
    folder = limited(tiny_folder("llama"), tmp_path / "short", 3)
    with live_guard(folder, data_root) as guard:
        list(guard.load(str(folder)))
        yield guard


def test_the_guard_takes_one_thread_beside_a_job_and_its_own_number_again(live: LiveGuard) -> None:
    import torch

    before, here = threads_of(live), torch.get_num_threads()
    live.use_threads(before + 1)
    assert threads_of(live) == before + 1
    live.use_threads(1)
    assert threads_of(live) == 1
    assert torch.get_num_threads() == here
    live.use_threads(None)
    assert threads_of(live) == before


def test_a_paused_guard_says_why_and_comes_back(live: LiveGuard) -> None:
    sample = Sample("How do I bake bread?")
    known = live.first_look(sample)
    live.pause("The guard pauses.")
    live.pause("Said twice, it stays as it was.")
    assert (live.status.state, live.status.message) == ("paused", "The guard pauses.")
    with pytest.raises(CheckpointError, match=r"^The guard pauses\.$"):
        live.first_look(sample)
    list(live.load(live._settings.checkpoint, device="cpu"))
    assert live.status.state == "ready"
    assert live.first_look(sample).first_look == known.first_look


def test_a_guard_is_loaded_to_the_device_that_is_named(live: LiveGuard) -> None:
    import torch

    if torch.cuda.is_available():
        list(live.load(live._settings.checkpoint, device="cuda"))
        assert live.status.device == "cuda"
        return
    with pytest.raises(Exception, match="'cuda' is not there"):
        list(live.load(live._settings.checkpoint, device="cuda"))
    assert live.status.device == "cpu"
