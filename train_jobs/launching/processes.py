"""Processes by id and start time: is it still that one, is it alive, and signals that reach nobody else.

A process id alone says nothing: the system gives it to another process later. A zombie is dead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MARK = "GUARDROOM_RUN"
"""The environment variable by which everything that a job started is known as its own: the run folder's path."""

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Seen:
    """One process as the system shows it."""

    started: str
    """Unlike that of every other process with the same id."""
    is_zombie: bool


def look(pid: int) -> Seen | None:
    """The process that has this id now; none when there is none."""
    return _look_in_proc(pid) if _has_proc() else look_with_ps(pid)


def start_time(pid: int) -> str | None:
    """When the process with this id started, in the form that `JobStatus.process_started` keeps."""
    seen = look(pid)
    return seen.started if seen else None


def is_alive(pid: int | None, started: str | None) -> bool:
    """Whether exactly that process still runs."""
    if pid is None or started is None or pid <= 0:
        return False
    seen = look(pid)
    return seen is not None and seen.started == started and not seen.is_zombie


def signal_job(pid: int | None, started: str | None, number: signal.Signals) -> bool:
    """Send a signal to a job's whole process group; false, and nothing is sent, when that process is no more.

    A process that leads no group of its own (a job started by hand from a script) gets the signal alone.
    """
    if pid is None or started is None or pid <= 1 or start_time(pid) != started:
        return False
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def marked(number: signal.Signals | None = None, only: Path | None = None) -> dict[Path, list[int]]:
    """Processes by the run folder whose mark they carry; `number` is sent to each where a folder is named.

    Linux only; elsewhere none are found.
    """
    found: dict[Path, list[int]] = {}
    if not _has_proc() or not hasattr(os, "pidfd_open"):
        return found
    start = os.fsencode(f"{MARK}=")
    for entry in os.scandir(_PROC):
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            # Held open, it stays this process, whoever gets the id later.
            handle = os.pidfd_open(int(entry.name))
            try:
                held = (_PROC / entry.name / "environ").read_bytes().split(b"\0")
                folder = next((Path(os.fsdecode(each[len(start) :])) for each in held if each.startswith(start)), None)
                if folder is None or (only is not None and folder != only):
                    continue
                found.setdefault(folder, []).append(int(entry.name))
                if number is not None and only is not None:
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)
    return found


def end_stragglers(run_folder: Path, patience_s: float = 0.5, timeout_s: float = 5.0) -> int:
    """Kill what a dead job left running, and wait until it is gone. Returns how many there were to kill.

    Only for a job that is dead itself: its own process carries the mark too. Helpers that end with their job, and clean
    up after it, get a moment for that.
    """
    ended: set[int] = set()
    began = time.monotonic()
    while (waited := time.monotonic() - began) < timeout_s:
        left = marked(signal.SIGKILL if waited > patience_s else None, run_folder)
        if not left:
            break
        if waited > patience_s:
            ended.update(left[run_folder])
        time.sleep(0.02)
    return len(ended)


@cache
def _has_proc() -> bool:
    return (_PROC / "self" / "stat").exists()


@cache
def _boot() -> str:
    """Ticks since the start of the machine mean nothing after the next start."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _look_in_proc(pid: int) -> Seen | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the name in brackets, and may itself hold blanks and brackets.
    after = text.rpartition(")")[2].split()
    if len(after) < 20:
        return None
    return Seen(f"{_boot()}:{after[19]}", after[0] in "ZXx")


def look_with_ps(pid: int) -> Seen | None:
    """The same where there is no /proc (macOS): to the second, as `ps` tells it."""
    try:
        done = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
            capture_output=True, text=True, check=False, timeout=10, env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    state, _, started = done.stdout.strip().partition(" ")
    return Seen(" ".join(started.split()), state.startswith("Z")) if started.strip() else None
