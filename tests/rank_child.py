"""`python -m tests.rank_child RUN_FOLDER`: the true child process with tiny jobs that run in several processes.

Each process adds its number, from 1 on, to a sum that all share, step by step; the first saves it in checkpoints.
`spec.options`, beside `accelerate`: `steps`, `pause_s`, `fault` (a name of `strike`), `at` (its step, first attempt
only) and `by` (which process it befalls).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from core.errors import Cancelled, InputError
from train_jobs.child import main
from train_jobs.runs.context import JobContext
from train_jobs.runs.specs import JobKind

KINDS = {JobKind.SFT: "tests.rank_child.add_up_together"}


def add_up_together(context: JobContext) -> None:
    """See above."""
    told: dict[str, Any] = {"steps": 6, "pause_s": 0.0, "fault": None, "at": 3, "by": 1}
    told |= {name: value for name, value in context.spec.options.items() if name in told}
    saved = context.last_checkpoint()
    total = json.loads((saved.path / "state.json").read_bytes())["total"] if saved else 0
    step = saved.step if saved else 0
    pids = context.gather(os.getpid())
    context.metric({"began": step, "pids": pids})
    while step < told["steps"]:
        if context.stop_agreed():
            save(context, step, total)
            raise Cancelled(f"Cancelled at step {step} of {told['steps']}.")
        step += 1
        if told["fault"] and step == told["at"] and context.process == told["by"] and context.attempt == 1:
            strike(told["fault"])
        total += sum(context.gather(context.process + 1))
        context.metric({"step": step, "total": total})
        context.progress(step, told["steps"], "adding up")
        time.sleep(told["pause_s"])
        if step % 2 == 0:
            save(context, step, total)
    if context.process == 0:
        context.run.write_report({"total": total})


def save(context: JobContext, step: int, total: int) -> None:
    """A checkpoint that every process writes a part of."""
    folder = context.run.checkpoints / f"checkpoint-{step}"
    folder.mkdir(exist_ok=True)
    (folder / f"part-{context.process}.json").write_text("{}", encoding="utf-8")
    if context.process == 0:
        (folder / "state.json").write_text(json.dumps({"total": total}), encoding="utf-8")
    context.checkpoint_saved(folder, step)


def strike(fault: str) -> None:
    """What can happen to one process of several."""
    match fault:
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "told to end":
            os.kill(os.getpid(), signal.SIGTERM)
        case "bad data":
            raise InputError("The picture of row 7 cannot be read.")
        case "out of memory":
            raise MemoryError
        case _:
            raise AssertionError(fault)


if __name__ == "__main__":
    sys.exit(main(kinds=KINDS))
