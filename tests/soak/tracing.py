"""What a video worker asks of the kernel once its limits are on, as strace saw it. Linux only."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

STRACE = shutil.which("strace")
CALLS = (
    "open,openat,openat2,creat,socket,socketpair,connect,accept,bind,execve,execveat,fork,vfork,clone,clone3,"
    "prlimit64,setrlimit"
)
_HOW = ("-f", "--seccomp-bpf", "-e", f"trace={CALLS}")
"""Only these calls are stopped at, by a filter in the kernel: the others run at full speed."""
MALLOC = "/proc/sys/vm/overcommit_memory"
"""Read once by glibc's malloc (`check_may_shrink_heap`) before it gives memory back."""
_LIMITED = re.compile(r"(prlimit64\(0, |setrlimit\()RLIMIT_NOFILE, \{rlim_cur=\d+, rlim_max=\d+\}.* = 0$")
_STARTED = re.compile(r"^(clone|clone3|fork|vfork)\(.* = (\d+)$")
_OPENED = re.compile(r'^(?:open|openat|openat2|creat)\([^"]*"((?:[^"\\]|\\.)*)".* = (\d+)(?:<.*>)?$')
_SPEAKS = re.compile(r"^(socket|socketpair|connect|accept|bind)\(")
_LEAVES = re.compile(r"^(execve|execveat|fork|vfork)\(")


@dataclass(frozen=True, slots=True)
class Seen:
    """What workers did after they had limited themselves."""

    workers: int
    opened: tuple[str, ...]
    """Every path that was opened, in no order, as often as it was."""
    sockets: tuple[str, ...]
    """Every call about sockets, successful or not."""
    processes: tuple[str, ...]
    """Every call that would start a process, successful or not."""

    def others(self, folder: Path) -> list[str]:
        """Opened files that do not lie in `folder`, but for the one that glibc's malloc reads in any process."""
        return sorted({path for path in self.opened if not path.startswith(f"{folder}/")} - {MALLOC})


def can_trace() -> bool:
    """Whether strace is installed and allowed to trace a child here."""
    if STRACE is None:
        return False
    command = [STRACE, *_HOW, "-o", "/dev/null", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def traced(command: list[str], logs: Path) -> list[str]:
    """The command under strace, one log for each thread in the folder `logs`."""
    assert STRACE
    return [STRACE, "-ff", *_HOW, "-ttt", "-qq", "-s", "4096", "-o", str(logs / "log"), *command]


def seen(logs: Path) -> Seen:
    """Read the logs. A worker is a process that lowered its limit of open files; its threads belong to it."""
    lines: dict[int, list[tuple[float, str]]] = {}
    for path in logs.glob("log.*"):
        parts = (line.split(" ", 1) for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
        lines[int(path.suffix[1:])] = [(float(each[0]), each[1]) for each in parts if len(each) == 2]
    limited = {thread: when for thread, said in lines.items() for when, call in said if _LIMITED.match(call)}
    opened: list[str] = []
    sockets: list[str] = []
    processes: list[str] = []
    for worker, since in limited.items():
        for thread in _family(worker, lines):
            for when, call in lines.get(thread, []):
                if when <= since:
                    continue
                if found := _OPENED.match(call):
                    opened.append(found.group(1))
                elif _SPEAKS.match(call):
                    sockets.append(call)
                elif _LEAVES.match(call) or (_STARTED.match(call) and "CLONE_THREAD" not in call):
                    processes.append(call)
    return Seen(len(limited), tuple(opened), tuple(sockets), tuple(processes))


def _family(root: int, lines: dict[int, list[tuple[float, str]]]) -> list[int]:
    found, at = [root], 0
    while at < len(found):
        for _, call in lines.get(found[at], []):
            if started := _STARTED.match(call):
                found.append(int(started.group(2)))
        at += 1
    return found
