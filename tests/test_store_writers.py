"""Laws of the annotation store with many writers: none is locked out, and what was acknowledged survives."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from annotation_store.store import AnnotationStore
from annotation_store.values.reports import Counts
from core.types import Sample
from tests.verdicts import verdict_on

ROOT = Path(__file__).resolve().parent.parent

WRITER = r"""
import sys, threading, time
from pathlib import Path
from annotation_store.store import AnnotationStore
from core.types import Sample
from tests.verdicts import verdict_on

path, name, writes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
store = AnnotationStore.open(path)
failed = []

def work(thread):
    try:
        for number in range(writes):
            id = f"{name}-{thread}-{number}"
            sample = Sample(f"request {number}")
            store.record(sample, verdict_on(sample, id))
            sys.stdout.write(id + "\n")
            sys.stdout.flush()
            store.report(id, "wrong", f"person {thread}")
            store.counts()
    except BaseException as error:
        failed.append(error)
        raise

threads = [threading.Thread(target=work, args=(each,)) for each in range(4)]
for each in threads: each.start()
for each in threads: each.join()
store.close()
sys.exit(len(failed))
"""


def start_writer(path: Path, name: str, writes: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WRITER, str(path), name, str(writes)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_sixteen_writers_in_four_processes_start_at_once_on_a_new_file_and_none_is_locked_out(tmp_path: Path) -> None:
    path = tmp_path / "guardroom.db"
    writers = [start_writer(path, f"process {number}", writes=15) for number in range(4)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, said = writer.communicate(timeout=60)
        assert (writer.returncode, said) == (0, "")
    with AnnotationStore.open(path) as store:
        assert store.counts() == Counts(samples=15, media=0, verdicts=240, reports=240)


def test_sixteen_threads_share_one_store(tmp_path: Path) -> None:
    store = AnnotationStore.open(tmp_path / "guardroom.db")
    failures: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for number in range(10):
                sample = Sample(f"request {number}")
                store.record(sample, verdict_on(sample, f"{name}-{number}"))
                assert store.verdict(f"{name}-{number}").sample_id == sample.id
                store.report(f"{name}-{number}", "wrong", "ann")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.counts() == Counts(samples=10, media=0, verdicts=160, reports=160)
    store.close()


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "guardroom.db"
    writer = start_writer(path, "doomed", writes=10_000)
    assert writer.stdin is not None
    assert writer.stdout is not None
    writer.stdin.write("go\n")
    writer.stdin.flush()
    assert writer.stdout.readline() == "ready\n"
    acknowledged = [writer.stdout.readline().strip() for _ in range(40)]
    writer.kill()
    rest, _ = writer.communicate(timeout=30)
    # The last line may have been cut by the kill.
    acknowledged += rest.split("\n")[:-1]
    with AnnotationStore.open(path) as store:
        for verdict_id in acknowledged:
            assert store.verdict(verdict_id).id == verdict_id
        with store.reading("Checking") as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
