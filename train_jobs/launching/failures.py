"""Why a job failed, as one sentence that a person can act on. Pure functions; the traceback is in the log."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence

from core.errors import GuardroomError

_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|not enough memory|std::bad_alloc|bad allocation"
    r"|CUBLAS_STATUS_ALLOC_FAILED|unable to allocate [\d.]+ [KMGT]iB|oom[- ]kill",
    re.IGNORECASE,
)
_DISK = re.compile(
    # The last two are how torch.save and numpy.save say it.
    r"no space left on device|disk quota exceeded|file too large|PytorchStreamWriter failed"
    r"|inline_container\.cc.*unexpected pos|\d+ requested and \d+ written",
    re.IGNORECASE,
)
_NO_GPU = re.compile(r"no CUDA GPUs are available|not compiled with CUDA|no NVIDIA driver|invalid device ordinal", re.I)
_DISK_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_LONGEST = 400

OUT_OF_MEMORY = (
    "The job ran out of memory on {device}. Take a smaller batch (with more accumulation steps), shorter sequences, "
    "LoRA or gradient checkpointing in a clone of it, or free memory on the machine and resume."
)
DISK_FULL = "The disk is full. Free some space (old runs and checkpoints can be deleted), then resume."
NO_GPU = "The device {device} cannot be used here. Choose another device in a clone of this run."
KILLED = (
    "The process was killed from outside (signal 9), most often because the machine ran out of memory. Free memory or "
    "take a smaller batch, then resume."
)
SILENT = (
    "The process ended without saying why (killed, or the machine was restarted?). The log's last lines may tell; "
    "resume to go on."
)
KILLED_AFTER_GRACE = "Cancelled. The job was killed before it ended; what came after its last checkpoint is lost."
ENDED_BEFORE_SAVING = "Cancelled. The process ended before it could save; what came after its last checkpoint is lost."

_SIGNALS = {4: "an illegal instruction", 6: "an abort", 7: "a bus error", 8: "an arithmetic fault", 11: "a crash"}


def of_error(error: BaseException, device: str) -> str:
    """The sentence for what a job's function raised. `device` is the job's, for the words.

    Errors of Guardroom are made for people already. Of others the cause and the context are looked at too: libraries
    wrap a full disk in errors of their own.
    """
    chain = list(_chain(error))
    if isinstance(error, GuardroomError):
        return str(error)
    if any(_is_memory(each) for each in chain):
        return OUT_OF_MEMORY.format(device=device)
    if any(_is_disk(each) for each in chain):
        return DISK_FULL
    if any(_NO_GPU.search(str(each)) for each in chain):
        return NO_GPU.format(device=device)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"The Python package {error.name} is missing. Install the requirements again, then resume."
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"{error.filename} is missing. Put it back and resume, or choose another in a clone of this run."
    if isinstance(error, PermissionError) and error.filename is not None:
        return f"{error.filename} may not be read or written. Change its permissions, then resume."
    said = _one_line(str(error))
    return f"The job stopped on an error that was not foreseen, {type(error).__name__}{': ' + said if said else ''}." \
        " The log has the details."  # fmt: skip


def of_death(exit_code: int | None, log_tail: Sequence[str], device: str) -> str:
    """The sentence for a process that ended without a last word.

    Args:
        exit_code: as `subprocess.Popen.returncode` gives it; none when this app did not start the process.
        log_tail: the last lines of its log.
        device: the job's.
    """
    said = "\n".join(log_tail)
    if _MEMORY.search(said):
        return OUT_OF_MEMORY.format(device=device)
    if _DISK.search(said):
        return DISK_FULL
    if exit_code is None or exit_code == 0:
        return SILENT
    if exit_code == -9:
        return KILLED
    if -exit_code in _SIGNALS:
        return f"The process died of {_SIGNALS[-exit_code]} (signal {-exit_code}). The log's last lines tell where."
    if exit_code < 0:
        return f"The process was ended from outside (signal {-exit_code}). Resume to go on."
    last = next((_one_line(line) for line in reversed(log_tail) if line.strip()), "")
    return f"The process ended with exit status {exit_code}" + (f": {last.rstrip('.')}." if last else ".")


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, None if each.__suppress_context__ else each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def _is_memory(error: BaseException) -> bool:
    # torch's class is known by its name: torch need not be loaded for this.
    named = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    numbered = isinstance(error, OSError) and error.errno == errno.ENOMEM
    worded = isinstance(error, RuntimeError) and _MEMORY.search(str(error)) is not None
    return named or numbered or worded or isinstance(error, MemoryError)


def _is_disk(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _DISK_NUMBERS
    return _DISK.search(str(error)) is not None


def _one_line(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return (line if len(line) <= _LONGEST else line[:_LONGEST] + "…").rstrip(".")
