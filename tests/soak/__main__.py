"""`python -m tests.soak video [--count N]`: many videos, good and damaged; prints figures, fails at a missed bar."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

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


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("what", choices=["video", "mutants"], help="mutants: only those, as JSON, in --folder")
    parser.add_argument("--count", type=int, default=500, help="videos, and mutated files (default 500)")
    parser.add_argument("--folder", type=Path, help="an empty folder for the mutated files")
    given = parser.parse_args()
    if given.what == "video":
        return soak_video(given.count)
    if given.folder is None:
        parser.error("mutants need a --folder")
    print(json.dumps(asdict(mutate(given.count, given.folder, _dots))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
