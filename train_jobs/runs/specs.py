"""What a job is asked to do, and how it stands: the values of `spec.json` and `status.json`.

queued ──► running ──► succeeded
  │ │         │ └────► failed ────┐
  │ │         └──────► cancelled ─┤ resume: queued again, on the same run folder
  │ └─► failed ───────────────────┤
  └───► cancelled ────────────────┘
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from core.errors import JobError

TRAINING = "training"
"""What a training calls its steps in its progress."""

_DEVICE = re.compile(r"cpu|mps|cuda(:\d{1,3})?")
_SECRET_NAMES = frozenset(
    {"api_key", "engine_key", "owner_token", "hf_token", "password", "secret", "access_token", "auth_token"}
)
LONGEST_NAME = 200


class JobKind(StrEnum):
    """What a job does."""

    SFT = "sft"
    EVALUATE = "evaluate"
    MINE = "mine"
    GRPO = "grpo"


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether nothing happens to the job any more unless somebody resumes it."""
        return self not in (JobState.QUEUED, JobState.RUNNING)

    @property
    def can_resume(self) -> bool:
        """Whether the job can be queued again on the same run folder."""
        return self.is_over and JobState.QUEUED in TRANSITIONS[self]


TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}
"""Every allowed step from one state to another; there is no other place that says so."""


def check_transition(old: JobState, new: JobState) -> None:
    """Refuse a step that is not in the table.

    Raises:
        JobError: the step is not allowed.
    """
    if new not in TRANSITIONS[old]:
        allowed = ", ".join(sorted(TRANSITIONS[old])) or "nothing, it is final"
        raise JobError(f"A job that is {old} cannot become {new}; it can become: {allowed}.")


@dataclass(frozen=True, slots=True)
class JobSpec:
    """Everything that a job is told. It is written once, into `spec.json`, and holds no secret.

    Raises:
        JobError: a value cannot be used; the message names it.
    """

    kind: JobKind
    name: str
    """What people call the run."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The recipe's values, fully resolved: JSON, so that the run can be repeated without the recipe file."""
    recipe: str | None = None
    """The name of the recipe that `settings` came from."""
    base: str = "builtin"
    """The checkpoint to start from or to score, as `core.serving.loading.load_guard` takes it."""
    snapshot: str | None = None
    """The path of a snapshot's folder."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What belongs to this kind of job alone, such as the files to score on: JSON."""
    device: str = "cpu"
    """`cpu`, `mps`, `cuda` (the first GPU) or `cuda:N`; never `auto`, because the queue is per device."""
    author: str = ""
    created_at: str = ""
    """UTC, ISO 8601."""
    cloned_from: str | None = None
    """The run whose spec this one began as."""

    def __post_init__(self) -> None:
        if self.kind not in tuple(JobKind):
            raise JobError(f"A job's kind must be one of {', '.join(JobKind)}, not {self.kind!r}.")
        object.__setattr__(self, "kind", JobKind(self.kind))
        for name in ("name", "base", "device", "author", "created_at"):
            if not isinstance(getattr(self, name), str):
                raise JobError(f"A job's {name} must be a text, not {getattr(self, name)!r}.")
        for name in ("recipe", "snapshot", "cloned_from"):
            if not isinstance(getattr(self, name), str | None):
                raise JobError(f"A job's {name} must be a text or null, not {getattr(self, name)!r}.")
        if not self.name.strip() or len(self.name) > LONGEST_NAME:
            raise JobError(f"A job needs a name of 1 to {LONGEST_NAME} characters, not {self.name[:LONGEST_NAME]!r}.")
        if _DEVICE.fullmatch(self.device) is None:
            raise JobError(f"A job's device must be cpu, mps, cuda or cuda:N, not {self.device!r}.")
        for name in ("settings", "options"):
            if not isinstance(getattr(self, name), Mapping):
                raise JobError(f"A job's {name} must be an object with names and values.")
            object.__setattr__(self, name, _plain(getattr(self, name), name))
        for name in ("base", "snapshot", "name"):
            _check_open(getattr(self, name), name)

    @property
    def queue(self) -> str:
        """The device whose queue the job waits in: `cpu`, `mps` or `cuda:N`. The CPU counts as one device."""
        return "cuda:0" if self.device == "cuda" else self.device

    def to_json(self) -> dict[str, Any]:
        """The content of `spec.json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> JobSpec:
        """Read what `to_json` wrote, or what a script hands in; what is left out takes its default.

        Raises:
            JobError: a key is unknown or missing, or a value cannot be used.
        """
        return cls(**_known(cls, value, "job", needed=("kind", "name")))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running job is, in its own units (steps, rows)."""

    done: float
    total: float
    words: str = ""
    """What it is doing, for people."""
    at: float = 0.0
    """When this was said, in seconds since the epoch."""
    first_done: float = 0.0
    first_at: float = 0.0
    """The first report of this stretch of work, from which the speed is measured."""

    @property
    def fraction(self) -> float:
        """In [0, 1]."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """By the speed since this stretch began; none until there is one."""
        if self.done <= self.first_done or self.at <= self.first_at:
            return None
        return max(0.0, self.total - self.done) * (self.at - self.first_at) / (self.done - self.first_done)

    def next(self, done: float, total: float, words: str, at: float) -> Progress:
        """The next report: the same stretch while the total stays and the work goes forward."""
        if total != self.total or done < self.done:
            return Progress(done, total, words, at, done, at)
        return Progress(done, total, words, at, self.first_done, self.first_at)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The content of `status.json`."""

    state: JobState
    ticket: int = 0
    """The place in the queue: lower goes first. A resumed job draws a new one."""
    attempt: int = 1
    """1, and one more for every time it was resumed."""
    pid: int | None = None
    """The job's process, once it runs; it is the leader of its own process group."""
    process_started: str | None = None
    """When that process started (`train_jobs.launching.processes`): tells it from another with the same pid."""
    progress: Progress | None = None
    sentence: str = ""
    """Why it failed or was cancelled, and what to do; empty while all is well."""
    queued_at: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    """Of this attempt; UTC, ISO 8601."""

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> JobStatus:
        """Read what `to_json` wrote.

        Raises:
            JobError: it is not that.
        """
        read = _known(cls, value, "status", needed=("state",))
        try:
            read["state"] = JobState(read["state"])
            if read.get("progress") is not None:
                read["progress"] = Progress(**_known(Progress, read["progress"], "progress"))
        except (TypeError, ValueError) as error:
            raise JobError(f"The status cannot be read: {error}.") from None
        return cls(**read)


def requeued(status: JobStatus, ticket: int, now: str) -> JobStatus:
    """An ended job as it waits for its next attempt.

    Raises:
        JobError: it has not ended, or is final.
    """
    check_transition(status.state, JobState.QUEUED)
    return JobStatus(JobState.QUEUED, ticket=ticket, attempt=status.attempt + 1, queued_at=now)


def _known(cls: type[Any], value: Any, what: str, needed: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise JobError(f"A {what} must be an object with names and values, not {value!r}.")
    names = [each.name for each in fields(cls)]
    unknown = sorted(str(key) for key in value if key not in names)
    if unknown:
        raise JobError(f"A {what} has no {', '.join(unknown)}; it has: {', '.join(names)}.")
    missing = [name for name in needed if name not in value]
    if missing:
        raise JobError(f"A {what} needs {', '.join(missing)}.")
    return dict(value)


def _plain(value: Any, where: str) -> Any:
    """The value as JSON carries it; refuses what it cannot carry, and what would put a secret on disk."""
    _check_open(value, where)
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise JobError(f"A job's {where} must be plain JSON values: {error}.") from None


def _check_open(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, each in value.items():
            if not isinstance(key, str):
                raise JobError(f"The names in a job's {where} must be texts, not {key!r}.")
            if key.lower() in _SECRET_NAMES and each:
                raise JobError(f"{where}.{key} looks like a secret, and a run folder must hold none; leave it out.")
            _check_open(each, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for each in value:
            _check_open(each, where)
    elif isinstance(value, str) and "://" in value and "@" in value and _has_credentials(value):
        raise JobError(f"The address in {where} carries a user name or password; a run folder must hold no secret.")


def _has_credentials(address: str) -> bool:
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        return False
    return parts.username is not None or parts.password is not None
