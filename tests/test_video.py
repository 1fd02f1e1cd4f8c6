"""Videos: which frames are taken, that they are the right ones, and that the worker can be relied upon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from core.errors import MediaDamaged, MediaError
from core.media.limits import MediaLimits
from core.media.sampling import sample_count, sample_indices, sample_times
from core.media.video import VideoReader
from tests.video_files import FFMPEG, ffmpeg_reading, make_video, plain_reading

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


# -- sampling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "duration", "fps", "most", "count"),
    [(1800, 60.0, 1.0, 128, 60), (1800, 60.0, 2.0, 128, 120), (1800, 60.0, 2.0, 16, 16), (1, 0.03, 1.0, 128, 1),
     (30, 1.0, 1.0, 128, 4), (3, 0.1, 1.0, 128, 3), (10, 1.0, 100.0, 128, 10), (216000, 7200.0, 1.0, 512, 512)],
)  # fmt: skip
def test_frames_are_counted_by_rate_and_duration_within_the_cap(
    frames: int, duration: float, fps: float, most: int, count: int
) -> None:
    assert sample_count(frames, duration, fps, most) == count


@pytest.mark.parametrize("frames", [1, 2, 5, 100, 301, 1799, 5394])
@pytest.mark.parametrize("rate", [10.0, 24000 / 1001, 30.0])
def test_at_a_constant_rate_the_stock_rule_chooses_the_same_frames(frames: int, rate: float) -> None:
    times = np.arange(frames) / rate
    for most in (1, 7, 64, 4096):
        chosen = sample_indices(times, frames / rate, 1.0, most)
        stock = np.linspace(0, frames - 1, len(chosen)).round().astype(int).tolist()
        assert chosen == stock


def test_a_capped_sample_still_spans_the_whole_duration() -> None:
    times = sample_times(np.arange(216_000) / 30, 7200.0, 2.0, 512)
    gaps = np.diff(times)
    assert times[0] == 0.0
    assert times[-1] == pytest.approx(7200, abs=0.04)
    assert gaps.max() - gaps.min() < 0.05


def test_a_variable_rate_is_sampled_evenly_in_time_and_a_held_frame_once() -> None:
    times = np.concatenate([np.arange(100) / 100, [30.0, 60.0]])
    chosen = sample_times(times, 60.5, 1.0, 128)
    assert chosen == (0.0, 0.99, 30.0, 60.0)


def test_a_sample_of_nothing_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        sample_count(0, 1.0, 1.0, 1)


# -- frames -----------------------------------------------------------------------------------------------------------

VARIABLE = [0, 100, 200, 1000, 1040, 1080, 1500, 2500, 2533, 2566, 2600, 4000, 4100, 4200, 4300, 6000, 6100, 7000]
X264 = {"threads": "1", "preset": "veryfast", "crf": "12"}
FILES: dict[str, dict[str, Any]] = {
    "constant.mp4": {"options": X264},
    "b-frames.mp4": {"options": X264 | {"bf": "3", "g": "15", "x264-params": "b-adapt=0"}, "frames": 60},
    "open-gop.mp4": {"options": X264 | {"bf": "3", "g": "15", "x264-params": "b-adapt=0:open-gop=1"}, "frames": 60},
    "long-gop.mp4": {"options": X264 | {"g": "1000"}, "frames": 120},
    "variable.mp4": {"options": X264 | {"bf": "2"}, "times_ms": VARIABLE},
    "variable.mkv": {"options": X264 | {"bf": "2"}, "times_ms": VARIABLE},
    "rotated.mp4": {"options": X264, "rotation": 90},
    "upside-down.mov": {"options": X264, "rotation": 180},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=20:bframes=3"}, "frames": 60},
    "odd-444.mp4": {"size": (95, 63), "pixels": "yuv444p", "options": X264},
    "vp8.webm": {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "matroska.mkv": {"options": X264 | {"g": "20"}},
    "fragmented.mp4": {"options": X264 | {"g": "10"}, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "quick.mov": {"codec": "mpeg4", "options": {"bf": "2"}},
    "old.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "motion-jpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "sound.mp4": {"options": X264, "sound": True},
}  # fmt: skip
PLAIN = (
    "constant.mp4",
    "b-frames.mp4",
    "long-gop.mp4",
    "variable.mp4",
    "vp8.webm",
    "vp9.webm",
    "hevc.mp4",
    "matroska.mkv",
)
"""What decord is trusted with."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, how in FILES.items():
        make_video(folder / name, **how)
    return folder


@pytest.mark.parametrize("decord", [True, False], ids=["decord first", "PyAV"])
@pytest.mark.parametrize("name", FILES)
def test_every_sampled_frame_is_the_one_that_a_full_decode_gives(
    files: Path, reader: VideoReader, name: str, decord: bool
) -> None:
    whole, times = plain_reading(files / name)
    facts = reader.probe(files / name)
    assert (facts.height, facts.width) == whole.shape[1:3]
    assert facts.frame_count == len(whole)
    assert facts.times.tolist() == pytest.approx(times, abs=0.0011)
    for count in (len(whole), 5, 2, 1):
        wanted = np.unique(np.linspace(len(whole) - 1, 0, count).round().astype(int))
        read = reader.read(files / name, facts.times[wanted].tolist(), whole.shape[1:3], decord=decord)
        assert read.timestamps == pytest.approx([times[index] for index in wanted], abs=0.0011)
        assert np.array_equal(read.frames, whole[wanted])
        if decord and name in PLAIN and sys.platform == "linux":
            assert reader.last_decoder == "decord"
        elif not decord:
            assert reader.last_decoder == "pyav"


@pytest.mark.parametrize(
    "how",
    [
        {"pixels": "yuv420p10le", "options": X264},
        {"size": (95, 63), "codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    ],
    ids=["ten bits", "odd sides"],
)
def test_deep_pixels_and_odd_sides_give_the_right_frames(
    tmp_path: Path, reader: VideoReader, how: dict[str, Any]
) -> None:
    path = make_video(tmp_path / "film.mkv", **how)
    whole, _ = plain_reading(path)
    facts = reader.probe(path)
    wanted = [0, 7, 21, 39]
    read = reader.read(path, [float(facts.times[index]) for index in wanted], whole.shape[1:3])
    assert reader.last_decoder == "pyav"
    for frame, index in zip(read.frames, wanted, strict=True):
        # FFmpeg has more than one way to blend these colours; they differ far less than two frames do.
        distances = np.abs(whole.astype(np.float32) - frame).mean(axis=(1, 2, 3))
        assert int(distances.argmin()) == index
        assert distances[index] < 3


UNUSUAL: dict[str, dict[str, Any]] = {
    "ten-bits.mkv": {"pixels": "yuv420p10le", "options": X264},
    "ten-bits.mp4": {"codec": "libx265", "pixels": "yuv420p10le", "options": {"x265-params": "log-level=none"}},
    "odd-sides.webm": {"size": (95, 63), "codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
}


@pytest.mark.skipif(FFMPEG is None, reason="the ffmpeg command is the reference here, and it is not installed")
@pytest.mark.parametrize("name", [*FILES, *UNUSUAL])
def test_every_sampled_frame_is_the_one_that_the_ffmpeg_command_gives(
    files: Path, tmp_path: Path, reader: VideoReader, name: str
) -> None:
    path = make_video(tmp_path / name, **UNUSUAL[name]) if name in UNUSUAL else files / name
    facts = reader.probe(path)
    whole = ffmpeg_reading(path, facts.height, facts.width)
    assert facts.frame_count == len(whole)
    for count in (len(whole), 5):
        wanted = np.linspace(0, len(whole) - 1, count).round().astype(int)
        read = reader.read(path, facts.times[wanted].tolist(), whole.shape[1:3])
        assert np.array_equal(read.frames, whole[wanted])


def test_a_turned_film_is_shown_upright(files: Path, reader: VideoReader) -> None:
    facts = reader.probe(files / "rotated.mp4")
    read = reader.read(files / "rotated.mp4", [0.0], (facts.height, facts.width))
    red_corner = read.frames[0, -8:, :4].mean(axis=(0, 1))  # upper left, a quarter turn against the clock
    assert (facts.width, facts.height) == (64, 96)
    assert red_corner[0] > 200
    assert red_corner[1:].max() < 60


def test_frames_are_resized_as_pillow_does(files: Path, reader: VideoReader) -> None:
    whole, times = plain_reading(files / "constant.mp4")
    read = reader.read(files / "constant.mp4", [times[11]], (32, 48))
    expected = Image.fromarray(whole[11]).resize((48, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(read.frames[0], np.asarray(expected))


def test_times_between_frames_take_the_nearest_and_no_frame_twice(files: Path, reader: VideoReader) -> None:
    read = reader.read(files / "constant.mp4", [-3.0, 0.04, 0.11, 1.06, 99.0], (32, 48))
    assert read.timestamps == pytest.approx((0.0, 0.1, 1.1, 3.9), abs=1e-6)


@pytest.mark.parametrize(("form", "suffix"), [("GIF", ".gif"), ("WEBP", ".webp"), ("PNG", ".png")])
def test_animations_are_read_by_their_own_clock(tmp_path: Path, reader: VideoReader, form: str, suffix: str) -> None:
    shades = [Image.new("RGB", (40, 30), (50 * number, 0, 0)) for number in range(5)]
    path = tmp_path / f"moving{suffix}"
    shades[0].save(
        path, form, save_all=True, append_images=shades[1:], duration=[100, 200, 300, 400, 500], lossless=True
    )
    facts = reader.probe(path)
    assert facts.times.tolist() == pytest.approx([0.0, 0.1, 0.3, 0.6, 1.0])
    assert facts.duration_s == pytest.approx(1.5)
    read = reader.read(path, [0.3, 1.0], (30, 40))
    assert read.frames[:, 0, 0, 0].tolist() == [100, 200]
    assert reader.last_decoder == "pillow"


def test_a_frame_that_asks_for_no_time_is_shown_as_browsers_do(tmp_path: Path, reader: VideoReader) -> None:
    shades = [Image.new("L", (8, 8), 80 * number) for number in range(3)]
    shades[0].save(tmp_path / "hasty.gif", save_all=True, append_images=shades[1:], duration=0)
    assert reader.probe(tmp_path / "hasty.gif").duration_s == pytest.approx(0.3)


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decord", [True, False])
@pytest.mark.parametrize("name", ["long-gop.mp4", "old.avi", "matroska.mkv"])
def test_a_damaged_frame_in_the_middle_is_noticed(
    files: Path, tmp_path: Path, reader: VideoReader, name: str, decord: bool
) -> None:
    data = bytearray((files / name).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 600] = np.random.default_rng(7).bytes(600)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MediaDamaged, match="damage"):
        reader.read(tmp_path / name, [each / 10 for each in range(120)], (32, 48), decord=decord)


# -- the worker -------------------------------------------------------------------------------------------------------


def gone(pid: int) -> bool:
    """Whether a process ends within some seconds."""
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_killed_worker_is_replaced(files: Path) -> None:
    reader = VideoReader()
    try:
        reader.warm_up()
        first = reader.worker_pid
        assert first
        os.kill(first, signal.SIGKILL)
        assert reader.probe(files / "constant.mp4").frame_count == 40
        assert reader.worker_pid != first
    finally:
        reader.close()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds that take a while to decode."""
    path = tmp_path_factory.mktemp("wide") / "wide.mp4"
    return make_video(path, size=(1280, 720), frames=120, distinct=4, options=X264 | {"preset": "ultrafast"})


def test_a_worker_killed_while_it_reads_costs_nobody_the_answer_and_the_other_decoder_gives_it(wide: Path) -> None:
    reader = VideoReader()
    try:
        times = reader.probe(wide).times.tolist()
        victim = reader.worker_pid
        assert victim
        timer = threading.Timer(0.15, os.kill, (victim, signal.SIGKILL))
        timer.start()
        read = reader.read(wide, times, (72, 128))
        timer.join()
        assert len(read.frames) == 120
        assert read.timestamps == pytest.approx(times)
        assert reader.worker_pid != victim
        if sys.platform == "linux":
            assert reader.last_decoder == "decord"
    finally:
        reader.close()


def test_reading_beyond_the_time_limit_is_refused_and_the_next_file_is_read(files: Path, wide: Path) -> None:
    reader = VideoReader(MediaLimits(decode_timeout_s=0.06))
    try:
        times = [each / 10 for each in range(120)]
        with pytest.raises(MediaDamaged, match=r"within 0\.06 s"):
            reader.read(wide, times, (720, 1280))
        reader.limits = MediaLimits(decode_timeout_s=60)
        assert reader.probe(files / "constant.mp4").frame_count == 40
    finally:
        reader.close()


def test_the_time_limit_grows_with_long_videos_only() -> None:
    limits = MediaLimits(decode_timeout_s=100)
    assert [limits.read_timeout_s(seconds) for seconds in (1, 900, 1800, 7200, 1e9)] == [100, 100, 200, 800, 800]


@on_linux
def test_reading_beyond_the_memory_limit_is_refused(tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "vast.mp4", size=(3840, 2160), frames=3, distinct=1, options=X264 | {"preset": "ultrafast"}
    )
    free = VideoReader()
    free.warm_up()
    needed = psutil.Process(free.worker_pid).memory_info().vms
    free.close()
    reader = VideoReader(MediaLimits(decode_memory_bytes=needed + 64 * 1024**2))
    try:
        with pytest.raises(MediaDamaged, match="memory"):
            reader.read(path, [0.0, 0.1, 0.2], (64, 96))
    finally:
        reader.close()


@on_linux
def test_while_it_reads_the_worker_can_open_nothing_else(reader: VideoReader) -> None:
    reader.warm_up()
    process = psutil.Process(reader.worker_pid)
    soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
    assert soft == hard == process.num_fds() + 1  # the one for the video itself
    assert process.net_connections() == []
    assert not {name for name in process.environ() if name.startswith("GUARDROOM")}


def test_a_worker_is_replaced_after_its_share_of_files(files: Path) -> None:
    reader = VideoReader(files_per_worker=3)
    try:
        workers = []
        for _ in range(7):
            reader.probe(files / "constant.mp4")
            workers.append(reader.worker_pid)
        assert len(set(workers)) == 3
        assert all(gone(pid) for pid in workers[:-1] if pid and pid != workers[-1])
    finally:
        reader.close()


def test_many_threads_get_each_their_own_answer(files: Path, reader: VideoReader) -> None:
    found: dict[str, int] = {}
    names = list(FILES)[:8]
    threads = [
        threading.Thread(target=lambda name=name: found.update({name: reader.probe(files / name).frame_count}))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: len(plain_reading(files / name)[0]) for name in names}


def test_no_worker_outlives_its_reader(files: Path) -> None:
    reader = VideoReader()
    reader.probe(files / "constant.mp4")
    pid = reader.worker_pid
    reader.close()
    assert pid
    assert gone(pid)
    with pytest.raises(RuntimeError, match="closed"):
        reader.probe(files / "constant.mp4")


def test_no_worker_outlives_a_parent_that_was_killed(files: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from core.media.video import VideoReader\n"
        "reader = VideoReader(); reader.probe(Path(sys.argv[1])); print(reader.worker_pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(files / "constant.mp4")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        parent.kill()
    assert gone(pid)


def test_a_reader_that_was_never_asked_starts_nothing() -> None:
    reader = VideoReader()
    assert reader.worker_pid is None
    reader.close()


def test_the_worker_identifies_what_it_opens(tmp_path: Path, reader: VideoReader) -> None:
    (tmp_path / "film.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n")
    with pytest.raises(MediaError, match="playlist"):
        reader.probe(tmp_path / "film.mp4")
