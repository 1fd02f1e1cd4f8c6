"""`python -m tests.soak video|jobs [--count N]` or `store [--share S]`: faults by the hundred; fails at a bar."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.soak.jobs import Outcome
from tests.soak.tracing import can_trace, seen, traced
from tests.soak.video import grow, mutate, mutation_command

GROWTH_MB = 50.0


def _dots(done: int) -> None:
    if done % 50 == 0:
        print(f"{done} …", file=sys.stderr, flush=True)


def soak_video(count: int) -> int:
    """Both runs; 0 where every bar is held."""
    growth = grow(count, _dots)
    print(
        f"Memory over {growth.videos} videos, app and worker: {growth.warm_mb:.0f} MB when warm, "
        f"{growth.most_mb:.0f} MB at most, grown by {growth.grown_mb:.1f} MB (bar: at most {GROWTH_MB:.0f} MB).",
        flush=True,
    )
    held = growth.grown_mb <= GROWTH_MB
    with tempfile.TemporaryDirectory() as name:
        folder, logs = Path(name) / "files", Path(name) / "logs"
        folder.mkdir()
        logs.mkdir()
        command = mutation_command(count, folder)
        watched = can_trace()
        done = subprocess.run(traced(command, logs) if watched else command, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            print(f"The run over {count} mutated files failed with exit status {done.returncode}.")
            return 1
        said = json.loads(done.stdout)
        outcomes = ", ".join(f"{value} {key}" for key, value in sorted(said["outcomes"].items()))
        print(f"{count} mutated files: {outcomes}; {said['workers']} workers, {len(said['left_behind'])} left behind.")
        held = held and not said["left_behind"]
        if not watched:
            print("What the workers opened was not watched: strace is not installed, or may not trace.")
            return 0 if held else 1
        found = seen(logs)
        others = found.others(folder)
    print(
        f"Watched by strace, after its limits were on: {found.workers} workers, {len(found.opened)} files opened, "
        f"other files {len(others)}, calls about sockets {len(found.sockets)}, "
        f"processes started {len(found.processes)}."
    )
    for line in (*others, *found.sockets, *found.processes):
        print(f"  {line}")
    return 0 if held and not (others or found.sockets or found.processes) else 1


def soak_jobs(count: int) -> int:
    """Faults over job runs, and a twentieth as many over true GRPO runs; 0 where every run ended as it should."""
    from tests.soak import jobs, rl

    with tempfile.TemporaryDirectory() as name:
        held = _told(jobs.soak(count, Path(name), _dots))
    with tempfile.TemporaryDirectory() as name:
        return held | _told(rl.soak(max(len(rl.FAULTS), count // 20), Path(name)))


def _told(found: Outcome) -> int:
    print(f"{found.count} faults over as many job runs:")
    for fault, times in sorted(found.faults.items()):
        print(f"  {times:4d}  {fault}")
    ends = ", ".join(f"{times} {state}" for state, times in sorted(found.ends.items()))
    print(
        f"They ended {ends}; {found.resumed} were resumed from the last complete checkpoint. "
        f"Wrong: {len(found.wrong)}. Processes left behind: {found.orphans}. "
        f"Signals to processes of others: {found.signalled}."
    )
    for words in found.wrong:
        print(f"  {words}")
    return 0 if not (found.wrong or found.orphans or found.signalled) else 1


def soak_store(share: float) -> int:
    """Every part of the store's soak with this share of its counts; 0 where nothing was wrong."""
    from tests.soak import store, store_disk
    from tests.soak.found import Found

    def some(count: int) -> int:
        return max(1, round(share * count))

    parts: list[tuple[str, Callable[[Path], Found]]] = [
        (f"{some(200)} kills under load", lambda folder: store.kills(some(200), folder, _dots)),
        (f"8 workers on {some(10_000)} items", lambda folder: store.workers(some(10_000), 8, folder)),
        ("a database that may not grow", lambda folder: store_disk.full_disk(folder, mounted=False)),
        ("a read-only database", store_disk.read_only),
        (f"{some(200)} flipped bits", lambda folder: store.flipped_bits(some(200), folder)),
        (
            f"16 writers, {some(200)} times each, beside an import of {some(100_000)} rows",
            lambda folder: store.writers(16, some(200), some(100_000), folder),
        ),
    ]
    if store_disk.can_mount():
        parts.insert(2, ("a full disk", lambda folder: store_disk.full_disk(folder, mounted=True)))
    else:
        print("A full disk is not tried, because file systems cannot be mounted here.")
    wrong = 0
    for what, part in parts:
        with tempfile.TemporaryDirectory() as name:
            found = part(Path(name))
        counts = ", ".join(f"{times} {each}" for each, times in sorted(found.counts.items()) if times)
        print(f"{what}: {counts}. Wrong: {len(found.wrong)}.", flush=True)
        for words in found.wrong[:20]:
            print(f"  {words}", flush=True)
        wrong += len(found.wrong)
    return 1 if wrong else 0


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument(
        "what", choices=["video", "store", "jobs", "mutants"], help="mutants: only those, as JSON, in --folder"
    )
    parser.add_argument("--count", type=int, default=500, help="videos, and mutated files (default 500)")
    parser.add_argument("--folder", type=Path, help="an empty folder for the mutated files")
    parser.add_argument("--share", type=float, default=1.0, help="store: this share of every count (default 1)")
    given = parser.parse_args()
    if given.what == "store":
        return soak_store(given.share)
    if given.what == "jobs":
        return soak_jobs(given.count)
    if given.what == "video":
        return soak_video(given.count)
    if given.folder is None:
        parser.error("mutants need a --folder")
    print(json.dumps(asdict(mutate(given.count, given.folder, _dots))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
