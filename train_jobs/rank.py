"""`python -m train_jobs.rank RUN_FOLDER FUNCTION`: one of the processes that train together, under `accelerate launch`.

`train_jobs.several.start` starts them. On a further machine, with the run folder on a shared disk:

    accelerate launch --config_file FILE --machine_rank 1 -m train_jobs.rank RUN_FOLDER FUNCTION
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import FrameType

from core.errors import Cancelled, GuardroomError
from train_jobs.launching import failures, processes
from train_jobs.launching.secrecy import HidingStream, hide
from train_jobs.runs.folder import RunFolder
from train_jobs.several.ranks import SUPERVISOR, Outcome, RankContext, stop_file

LOOK_EVERY_S = 0.25
PATIENCE = timedelta(hours=2)
"""So long does a process wait for the others at a place where they meet."""
_LOST = re.compile(
    r"connection (was )?(closed|reset|refused)|broken pipe|peer|NCCL|gloo|timed out|socket", re.IGNORECASE
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one process of a job. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train_jobs.rank", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("function", metavar="FUNCTION", help="the job's function, by its dotted name")
    given = parser.parse_args(arguments)
    run, process = RunFolder(given.run), int(os.environ.get("RANK", "0"))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _asking(stop))
    threading.Thread(target=_watch, args=(run, stop), name="watch", daemon=True).start()
    faulthandler.enable()
    secrets = _secrets() if process == 0 else {}
    hidden = (*secrets.values(), os.environ.get("HF_TOKEN", ""))
    if process:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - the first process speaks for all
    else:
        sys.stdout = HidingStream(sys.stdout, hidden)
    sys.stderr = HidingStream(sys.stderr, hidden)
    Outcome(process).write(run)
    try:
        context = RankContext(
            run, run.spec(), run.status(), stop, secrets,
            process=process, processes=int(os.environ.get("WORLD_SIZE", "1")),
        )  # fmt: skip
        _meet(context)
        _function(given.function)(context)
    except Cancelled as error:
        return _end(run, Outcome(process, "cancelled", str(error) or "Cancelled.", time.time()))
    except BaseException as error:
        with contextlib.suppress(OSError):
            if not isinstance(error, GuardroomError):
                traceback.print_exc()
        sentence = hide(failures.of_error(error, run.spec().device), hidden)
        _end(run, Outcome(process, "failed", sentence, time.time(), _lost_peer(error)))
        sys.stderr.flush()
        os._exit(1)  # what waits for the others would wait for ever
    return _end(run, Outcome(process, "succeeded", at=time.time()))


def _end(run: RunFolder, outcome: Outcome) -> int:
    with contextlib.suppress(OSError):  # on a full disk it is told as one that died, and the log says of what
        outcome.write(run)
    if outcome.state != "failed":
        from accelerate import PartialState

        PartialState().destroy_process_group()
    return 0


def _meet(context: RankContext) -> None:
    """Join the other processes; from here on each has its own device."""
    from accelerate import PartialState

    PartialState(cpu=context.device == "cpu", timeout=PATIENCE)


def _function(named: str) -> Callable[[RankContext], None]:
    module, _, name = named.rpartition(".")
    found: Callable[[RankContext], None] = getattr(importlib.import_module(module), name)
    return found


def _asking(stop: threading.Event) -> Callable[[int, FrameType | None], None]:
    return lambda number, frame: stop.set()


def _watch(run: RunFolder, stop: threading.Event) -> None:
    """Pass the wish to stop on, from the job's process and to the others; end when those above are gone."""
    parent, file = os.getppid(), stop_file(run)
    said = os.environ.get(SUPERVISOR, "").partition(" ")
    while True:
        if os.getppid() != parent or (said[0] and not processes.is_alive(int(said[0]), said[2])):
            os._exit(1)
        if stop.is_set():
            with contextlib.suppress(OSError):
                file.touch()
        elif file.exists():
            stop.set()
        time.sleep(LOOK_EVERY_S)


def _lost_peer(error: BaseException) -> bool:
    """Whether it says no more than that another process did not answer."""
    named = any(kind.__name__.startswith("Dist") for kind in type(error).__mro__)
    return named or (isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None)


def _secrets() -> dict[str, str]:
    try:
        told = json.loads(sys.stdin.buffer.read() or b"{}")
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in told.items()} if isinstance(told, dict) else {}


if __name__ == "__main__":
    sys.exit(main())
