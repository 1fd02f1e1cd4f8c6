"""The run folder: all that is known about one job, and the only place that knows its file names.

    spec.json       what was asked for; written once
    status.json     how it stands; replaced atomically, by whoever holds the run's lock
    cancel.json     somebody asked to cancel (the job may be writing its status at that time)
    metrics.jsonl   one object a line, appended
    log.txt         standard output and error of the job's process
    checkpoints/    one folder each; complete when its marker, written last, is there and all it names are
    rollouts/       what the model wrote while it was trained
    result/         what the job made
    report.json     its figures
    lock, reserve   held by the one who writes; a little room for the last words on a full disk

The folder is the truth: whoever looks only reads it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import JobError
from core.files import replace_file, sync_folder
from train_jobs.runs.checkpoints import MARKER, SavedCheckpoint, read_checkpoint, write_marker
from train_jobs.runs.files import append_line, plain, pretty, read_lines, tail
from train_jobs.runs.locks import FileLock
from train_jobs.runs.specs import JobSpec, JobState, JobStatus, check_transition

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,120}")
_RESERVE_BYTES = 65_536
_ATTEMPT = "--- attempt"


def utc_now() -> str:
    """The present time, UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Somebody asked a job to end."""

    asked_at: float
    """Seconds since the epoch."""
    by: str = ""


class RunFolder:
    """One run, by its folder. Reading needs nothing; what writes says who may."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunFolder) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    # -- names --------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The run's id is its folder's name."""
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        """Where the job saves checkpoints, each in a folder of its own. A trainer's output folder."""
        return self._made("checkpoints")

    @property
    def rollouts(self) -> Path:
        """Where completions that were sampled in training are kept."""
        return self._made("rollouts")

    @property
    def result(self) -> Path:
        """Where the job leaves what it made."""
        return self._made("result")

    @property
    def report_path(self) -> Path:
        """`report.json`, written by `write_report`."""
        return self.path / "report.json"

    @property
    def log_path(self) -> Path:
        """Standard output and error of every attempt, one after the other."""
        return self.path / "log.txt"

    def _made(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(exist_ok=True)
        return folder

    # -- spec, status, report -----------------------------------------------------------------------------------

    @classmethod
    def create(cls, root: Path, spec: JobSpec, ticket: int) -> RunFolder:
        """A new run under `root`, queued. It appears as a whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        root.mkdir(parents=True, exist_ok=True)
        spec = spec if spec.created_at else replace(spec, created_at=utc_now())
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        run_id = f"{stamp}-{spec.kind}-{secrets.token_hex(3)}"
        coming = cls(root / f".new-{run_id}")
        coming.path.mkdir()
        try:
            replace_file(coming.path / "spec.json", pretty(spec.to_json()), durable=True)
            status = JobStatus(JobState.QUEUED, ticket=ticket, queued_at=utc_now())
            replace_file(coming.path / "status.json", pretty(status.to_json()), durable=True)
            coming._refill_reserve()
            made = cls(root / run_id)
            os.rename(coming.path, made.path)
        except BaseException:
            shutil.rmtree(coming.path, ignore_errors=True)
            raise
        sync_folder(root)
        return made

    def spec(self) -> JobSpec:
        """What was asked for.

        Raises:
            JobError: `spec.json` is missing or is not a spec.
        """
        return JobSpec.from_json(self._read("spec.json"))

    def status(self) -> JobStatus:
        """How the job stands, as it was last written.

        Raises:
            JobError: `status.json` is missing or is not a status.
        """
        return JobStatus.from_json(self._read("status.json"))

    def status_version(self) -> int:
        """Changes whenever the status is written; 0 when there is none."""
        try:
            return (self.path / "status.json").stat().st_mtime_ns
        except OSError:
            return 0

    def advance(self, state: JobState, **changes: Any) -> JobStatus:
        """Go to another state, and change what is given beside it. Only for the holder of the run's lock.

        On a full disk the reserve is given up for it.

        Raises:
            JobError: the table of transitions does not allow it; nothing was written.
            OSError: it cannot be written.
        """
        old = self.status()
        check_transition(old.state, state)
        new = replace(old, state=state, **changes)
        self.write_status(new, durable=True)
        return new

    def write_status(self, status: JobStatus, *, durable: bool = False) -> None:
        """Replace `status.json`. Only for the holder of the run's lock.

        Raises:
            OSError: it cannot be written.
        """
        self._write("status.json", pretty(status.to_json()), durable=durable)

    def _write(self, name: str, data: bytes, *, durable: bool) -> None:
        """Replace a file; what must be written gets the reserve on a full disk."""
        try:
            replace_file(self.path / name, data, durable=durable)
        except OSError:
            if not durable or not self._give_up_reserve():
                raise
            replace_file(self.path / name, data, durable=durable)

    def report(self) -> dict[str, Any] | None:
        """The job's figures; none until it has written them.

        Raises:
            JobError: the file cannot be read.
        """
        if not self.report_path.exists():
            return None
        value: dict[str, Any] = self._read("report.json")
        return value

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Write `report.json`, whole or not at all. Numbers that are not finite are written as null.

        Raises:
            OSError: it cannot be written.
        """
        replace_file(self.report_path, pretty(plain(report)), durable=True)

    def _read(self, name: str) -> Any:
        path = self.path / name
        try:
            return json.loads(path.read_bytes())
        except FileNotFoundError:
            raise JobError(f"{path} is missing, so this is not a whole run folder.") from None
        except (OSError, ValueError) as error:
            raise JobError(f"{path} cannot be read: {error}.") from None

    # -- lock and last words ------------------------------------------------------------------------------------

    def take_lock(self, *, wait: bool = False) -> FileLock | None:
        """The right to write the status; none when another has it (the job itself, as long as it lives).

        Raises:
            JobError: the folder is gone, or cannot be written to.
        """
        try:
            return FileLock.take(self.path / "lock", wait=wait)
        except OSError as error:
            raise JobError(f"{self.path} cannot be locked: {error}.") from None

    def _refill_reserve(self) -> None:
        """Set a little room aside, so that the last words find a place on a full disk."""
        reserve = self.path / "reserve"
        with contextlib.suppress(OSError):
            if not reserve.exists():
                # Not zeros: some file systems would store them as a hole.
                reserve.write_bytes(os.urandom(_RESERVE_BYTES))

    def _give_up_reserve(self) -> bool:
        try:
            (self.path / "reserve").unlink()
        except OSError:
            return False
        return True

    def tidy(self) -> None:
        """Take away what an attempt that died left behind. Only for the holder of the run's lock, before an attempt."""
        # Not that of cancel.json: somebody may be writing it now.
        for part in [*self.path.glob(".status.json.*.part"), *self.path.glob(".report.json.*.part")]:
            part.unlink(missing_ok=True)
        self.report_path.unlink(missing_ok=True)
        self.remove_incomplete_checkpoints()
        self._refill_reserve()

    # -- cancelling ---------------------------------------------------------------------------------------------

    def ask_to_cancel(self, by: str = "") -> CancelRequest:
        """Leave word that the job shall end; the first request counts.

        Raises:
            OSError: it cannot be written.
        """
        if (asked := self.cancel_request()) is not None:
            return asked
        request = CancelRequest(time.time(), by)
        self._write("cancel.json", pretty({"asked_at": request.asked_at, "by": by}), durable=True)
        return request

    def cancel_request(self) -> CancelRequest | None:
        """Who asked the job to end, and when."""
        try:
            read = json.loads((self.path / "cancel.json").read_bytes())
            return CancelRequest(float(read["asked_at"]), str(read["by"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget_cancel(self) -> None:
        """For a run that is queued again."""
        (self.path / "cancel.json").unlink(missing_ok=True)

    # -- metrics and log ----------------------------------------------------------------------------------------

    def append_metric(self, row: Mapping[str, Any]) -> None:
        """Append one row. Numbers that are not finite become null and are named under `not_finite`.

        Raises:
            OSError: it cannot be written.
        """
        told = plain(row)
        lost = [str(name) for name, value in row.items() if value is not None and told[str(name)] is None]
        append_line(self.path / "metrics.jsonl", told | ({"not_finite": lost} if lost else {}))

    def metrics(self) -> list[dict[str, Any]]:
        """All rows in order; torn lines are left out.

        A row with `resumed_from` (written when a job goes on from a checkpoint) takes back the rows of later steps:
        that work was lost and is done again.
        """
        rows: list[dict[str, Any]] = []
        for row in read_lines(self.path / "metrics.jsonl"):
            if "resumed_from" in row:
                rows = [each for each in rows if not _step(each) > row["resumed_from"]]
            rows.append(row)
        return rows

    def log_tail(self, lines: int = 50, longest: int = 65_536, *, last_attempt: bool = False) -> str:
        """The last lines of the log, at most `longest` bytes of it; empty when there is none.

        With `last_attempt` only what the last attempt wrote.
        """
        shown = tail(self.log_path, lines, longest)
        return f"\n{shown}".rpartition(f"\n{_ATTEMPT}")[2].partition("\n")[2] if last_attempt else shown

    def begin_log(self, attempt: int) -> BinaryIO:
        """The log, opened for the output of another attempt, which a line of its own announces.

        Raises:
            OSError: it cannot be written.
        """
        log = self.log_path.open("ab")
        try:
            log.write(f"{_ATTEMPT} {attempt}, {utc_now()}\n".encode())
            log.flush()
        except BaseException:
            log.close()
            raise
        return log

    # -- checkpoints --------------------------------------------------------------------------------------------

    def mark_complete(self, checkpoint: Path, step: int, facts: Mapping[str, Any] | None = None) -> None:
        """Say that a checkpoint's folder is whole: its files go to the disk, then the marker.

        Raises:
            OSError: it cannot be written; the checkpoint stays incomplete.
        """
        write_marker(checkpoint, step, facts or {})

    def complete_checkpoints(self) -> list[SavedCheckpoint]:
        """Those that are whole, the earliest step first."""
        found = [saved for folder in self._checkpoint_folders() if (saved := read_checkpoint(folder)) is not None]
        return sorted(found, key=lambda saved: (saved.step, saved.path.name))

    def last_checkpoint(self) -> SavedCheckpoint | None:
        """Where a resumed job goes on."""
        complete = self.complete_checkpoints()
        return complete[-1] if complete else None

    def remove_incomplete_checkpoints(self) -> list[str]:
        """Remove what a job that died left half written. Only for the holder of the run's lock. Returns the names."""
        broken = [folder for folder in self._checkpoint_folders() if read_checkpoint(folder) is None]
        for folder in broken:
            shutil.rmtree(folder, ignore_errors=True)
        return [folder.name for folder in broken]

    def remove_checkpoint(self, checkpoint: Path) -> None:
        """Remove one; its marker goes first, so that half of it is never taken for a whole one."""
        (checkpoint / MARKER).unlink(missing_ok=True)
        shutil.rmtree(checkpoint, ignore_errors=True)

    def _checkpoint_folders(self) -> list[Path]:
        folder = self.path / "checkpoints"
        return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def list_runs(root: Path) -> list[RunFolder]:
    """Every run under `root`, the newest first."""
    try:
        names = sorted((each.name for each in os.scandir(root) if _ID.fullmatch(each.name)), reverse=True)
    except FileNotFoundError:
        return []
    return [RunFolder(root / name) for name in names if (root / name / "spec.json").is_file()]


def find_run(root: Path, run_id: str) -> RunFolder:
    """The run of that id.

    Raises:
        JobError: there is none; what is no id at all never becomes a path.
    """
    if _ID.fullmatch(run_id) is None or not (root / run_id / "spec.json").is_file():
        raise JobError(f"There is no run {run_id!r}.")
    return RunFolder(root / run_id)


def _step(row: Mapping[str, Any]) -> float:
    step = row.get("step")
    return step if isinstance(step, int | float) else -math.inf
