"""The configuration file of `accelerate launch` that a training names to run in several processes.

A job's spec says `options["accelerate"] = "/path/to/file.yaml"`; `assets/accelerate/` has examples. The file says how
many processes there are, on which machines, and how they share the model; the recipe alone says what is trained.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import JobError
from train_jobs.runs.specs import JobKind, JobSpec

OPTION = "accelerate"
KINDS = (JobKind.SFT, JobKind.GRPO)
"""The jobs that can run in several processes."""
TYPES = ("NO", "MULTI_CPU", "MULTI_GPU", "FSDP", "DEEPSPEED")


@dataclass(frozen=True, slots=True)
class AccelerateFile:
    """What this side of `accelerate` must know of the file."""

    path: Path
    type: str
    """One of `TYPES`."""
    processes: int
    """On all machines together."""
    machines: int
    port_is_given: bool

    @property
    def on_cpu(self) -> bool:
        """Whether it trains on processors."""
        return self.type == "MULTI_CPU"

    def arguments(self) -> list[str]:
        """Arguments of `accelerate launch`, before the module's name.

        The precision is the recipe's. Processes on CPUs are started as those on GPUs are (`accelerate` itself would
        want MPI), and on one machine any free port serves.
        """
        given = ["--config_file", str(self.path), "--mixed_precision", "no"]
        if self.on_cpu and self.processes > 1:
            given.append("--multi_gpu")
        if self.machines == 1 and not self.port_is_given:
            given += ["--main_process_port", "0"]
        return given


def read_accelerate(path: Path) -> AccelerateFile:
    """Read a configuration file as `accelerate config` writes it.

    Raises:
        JobError: it is missing, or asks for what a training here cannot do.
    """
    import yaml

    try:
        said: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise JobError(f"The accelerate file {path} cannot be read: {error.strerror or error}.") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise JobError(f"The accelerate file {path} is no YAML; write one with `accelerate config`.") from None
    if not isinstance(said, Mapping):
        raise JobError(f"The accelerate file {path} must hold names and values, as `accelerate config` writes them.")
    kind = "MULTI_CPU" if said.get("use_cpu") else str(said.get("distributed_type", "NO")).upper()
    if kind not in TYPES:
        raise JobError(f"The accelerate file {path} has distributed_type {kind}; accepted are {', '.join(TYPES)}.")
    processes, machines = (_whole(path, said, name) for name in ("num_processes", "num_machines"))
    if processes % machines:
        raise JobError(f"The accelerate file {path} has {processes} processes for {machines} machines; share equally.")
    if kind == "FSDP" and str((said.get("fsdp_config") or {}).get("fsdp_version", 1)) != "2":
        raise JobError(f"The accelerate file {path} asks for the first version of FSDP; set fsdp_version: 2.")
    return AccelerateFile(path, kind, processes, machines, said.get("main_process_port") is not None)


def accelerate_of(spec: JobSpec) -> AccelerateFile | None:
    """The file that a job names; none where it runs as one process.

    Raises:
        JobError: the file cannot be used for this job.
    """
    said = spec.options.get(OPTION)
    if said is None:
        return None
    if not isinstance(said, str) or not Path(said).is_absolute():
        raise JobError(f"The option accelerate takes the full path of a file, not {said!r}.")
    if spec.kind not in KINDS:
        raise JobError(f"A job of the kind {spec.kind} runs as one process; leave the option accelerate out.")
    file = read_accelerate(Path(said))
    if file.on_cpu != (spec.queue == "cpu"):
        where = "processors (use_cpu)" if file.on_cpu else "GPUs"
        raise JobError(f"The accelerate file {said} is for {where}, and the job's device is {spec.device}.")
    if file.type == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
        raise JobError(f"The accelerate file {said} asks for DeepSpeed. DeepSpeed is not installed here; install it.")
    return file


def _whole(path: Path, said: Mapping[str, Any], name: str) -> int:
    value = said.get(name, 1)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise JobError(f"The accelerate file {path} has {name}: {value!r}; it must be a whole number from 1 on.")
    return value
