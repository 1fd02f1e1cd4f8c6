"""A tenth of the soak (`python -m tests.soak video`): memory stays, damage is answered, and nothing else is touched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import ROOT
from tests.soak.__main__ import GROWTH_MB
from tests.soak.tracing import can_trace, seen, traced
from tests.soak.video import grow, mutation_command

COUNT = 50


@pytest.mark.skipif(sys.platform != "linux", reason="the memory limit of the worker is Linux's")
def test_fifty_videos_leave_memory_where_it_was() -> None:
    growth = grow(COUNT)
    assert growth.warm_mb > 50
    assert growth.grown_mb <= GROWTH_MB


@pytest.mark.skipif(not can_trace(), reason="strace is not installed, or may not trace here")
def test_fifty_mutated_files_crash_nothing_and_the_worker_opens_them_alone(tmp_path: Path) -> None:
    folder, logs = tmp_path / "files", tmp_path / "logs"
    folder.mkdir()
    logs.mkdir()
    done = subprocess.run(traced(mutation_command(COUNT, folder), logs), cwd=ROOT, stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0
    said = json.loads(done.stdout)
    assert sum(said["outcomes"].values()) == COUNT
    assert {"read", "MediaDamaged"} <= set(said["outcomes"])
    assert said["left_behind"] == []
    found = seen(logs)
    assert found.workers == said["workers"] >= 1
    assert len(found.opened) > COUNT / 2
    assert found.others(folder) == []
    assert found.sockets == ()
    assert found.processes == ()


@pytest.mark.skipif(not can_trace(), reason="strace is not installed, or may not trace here")
def test_the_watch_sees_what_a_worker_must_not_do(tmp_path: Path) -> None:
    """A process that limits itself as the worker does, and then misbehaves in a thread."""
    other = tmp_path / "other"
    other.write_text("x")
    script = (
        "import os, resource, socket, threading\n"
        "_, most = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (20, most))\n"
        "def misbehave():\n"
        f"    os.close(os.open({str(other)!r}, os.O_RDONLY)); socket.socket().close()\n"
        "thread = threading.Thread(target=misbehave); thread.start(); thread.join()\n"
        "os.system('true')\n"
    )
    logs = tmp_path / "logs"
    logs.mkdir()
    subprocess.run(traced([sys.executable, "-S", "-c", script], logs), check=True)
    found = seen(logs)
    assert found.workers == 1
    assert str(other) in found.others(tmp_path / "elsewhere")
    assert found.sockets
    assert found.processes
