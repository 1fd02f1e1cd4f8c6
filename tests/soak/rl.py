"""Faults over true GRPO runs of the shipped guard: the job is killed, the app, memory and disk run out, it is ended.

After every fault the run must end as it should, leave no process behind, and, once resumed from its last complete
checkpoint, come to what an undisturbed run comes to: the same prompts, learning rate and clip range at every update,
and the same completions and weights.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.checkpoints.registry import Registry
from core.snapshots.folder import Split
from core.types import Sample
from tests.grpo_child import DISK, MEMORY
from tests.grpo_runs import A, H, U, card, settings_of, weights_of
from tests.hard_data import write_snapshot
from tests.jobs import wait_until
from tests.soak.jobs import App, Outcome, alone, check, small_file_system, step_of, strike
from train_jobs.grpo.rollouts import RolloutLine, read_rollout, rollout_steps
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec, JobState

CHILD = "tests.grpo_child"
UPDATES, PASSES = 6, 2
DISK_MB = 500
TEXTS = ("How do I bake bread?", "Who built the lighthouse?", "Is the soup warm?")
FAULTS = (MEMORY, DISK, "the job is killed", "the app is killed", "the system ends the job")


class GrpoSoak:
    """One run a fault, all on the same snapshot, settings and seed."""

    def __init__(self, folder: Path, outcome: Outcome, *, small_disk: bool) -> None:
        rows = [(Sample(text), H if at % 2 else U, A) for at, text in enumerate(TEXTS)]
        snapshot = write_snapshot(folder / "snapshots" / "hard", {Split.TRAIN: rows})
        self.settings = settings_of(
            prompts=1, generations=4, passes=PASSES, micro_batch=4, epochs=1, learning_rate=5e-4, dynamic_clipping=True,
            clip_high=0.2, warm_up=0.2, schedule="cosine", concatenation={"share": 0.0}, longest_completion=82,
        )  # fmt: skip
        self.snapshot, self.small_disk, self.outcome = snapshot, small_disk, outcome
        self.root = folder / "runs"
        self.app = App(self.root, CHILD)
        self.right = self._straight()

    def _launch(self, **options: Any) -> RunFolder:
        return self.app.launch(
            JobSpec(
                JobKind.GRPO, "a soak", settings=self.settings, recipe="grpo-builtin", snapshot=str(self.snapshot),
                options={"small_disk": self.small_disk, **options},
            )
        )  # fmt: skip

    def _straight(self) -> dict[str, Any]:
        run = self._launch()
        wait_until(lambda: run.status().state.is_over, "the undisturbed run is over")
        assert run.status().state is JobState.SUCCEEDED, run.status()
        return came_to(run)

    def one(self, number: int) -> None:
        """One fault. It strikes at other updates each time: before the first checkpoint, after it, between two."""
        # Never so late that the job is done before it is struck.
        name, at = FAULTS[number % len(FAULTS)], 1 + (number // len(FAULTS) + number) % (UPDATES - 3)
        inside = name in (MEMORY, DISK)
        run = self._launch(**({"fault": name, "at": at} if inside else {}))
        if not inside:
            wait_until(lambda: step_of(run) >= at, f"{at} updates are done")
        right = JobState.FAILED
        match name:
            case "the app is killed":
                self.app.kill()
                self.app.start()
                right = JobState.SUCCEEDED
            case "the job is killed":
                strike(run, signal.SIGKILL)
            case "the system ends the job":
                strike(run, signal.SIGTERM)
                right = JobState.CANCELLED
        self.outcome.faults[f"GRPO: {name}"] += 1
        wait_until(lambda: run.status().state.is_over, f"{name}: the run is over")
        status = run.status()
        self.outcome.ends[status.state] += 1
        check(status.state is right, f"{name}: {status.state} instead of {right} ({status.sentence})", self.outcome)
        check(bool(status.sentence) or right is JobState.SUCCEEDED, f"{name}: no sentence", self.outcome)
        alone(run, name, self.outcome)
        if status.state.can_resume:
            self._resume(run, name)
        check(run.status().state is JobState.SUCCEEDED, f"{name}: {run.status()} at last", self.outcome)
        found = came_to(run)
        for what, value in self.right.items():
            check(found.get(what) == value, f"{name} at {at}: other {what} than undisturbed", self.outcome)
        alone(run, name, self.outcome)
        self.app.ask("delete", run=run.id)

    def _resume(self, run: RunFolder, name: str) -> None:
        """Resume it from its last complete checkpoint, to its end."""
        (run.result / "filler").unlink(missing_ok=True)
        whole = {saved.path.name for saved in run.complete_checkpoints()}
        left = {path.name for path in run.checkpoints.iterdir()}
        check(left == whole, f"{name}: incomplete checkpoints {left - whole}", self.outcome)
        last = max((saved.step for saved in run.complete_checkpoints()), default=0)
        self.app.ask("resume", run=run.id)
        wait_until(lambda: run.status().state.is_over, f"{name}: the resumed run is over")
        resumed = [row["resumed_from"] for row in run.metrics() if "resumed_from" in row]
        check(resumed == [last], f"{name}: resumed from {resumed}, not from {last}", self.outcome)
        self.outcome.resumed += 1


def came_to(run: RunFolder) -> dict[str, Any]:
    """What must be the same however often a run was interrupted."""
    updates = [row for row in run.metrics() if "loss" in row]
    told: dict[str, Any] = {
        name: [(row["step"], row[name]) for row in updates] for name in ("learning_rate", "clip_low", "clip_high")
    }
    rollouts = {step: read_rollout(run, step) for step in rollout_steps(run)}
    told["prompts"] = [
        [line.sample_id for line in rollouts[max(step for step in rollouts if step <= update)]]
        for update in range(UPDATES)
    ]
    told["completions"] = {step: list(map(_drawn, lines)) for step, lines in rollouts.items()}
    if run.report() is not None:
        folder = Path(Registry(run.path.parent.parent).source(card(run)))
        told["weights"] = {name: value.numpy().tobytes() for name, value in weights_of(folder).items()}
        shutil.rmtree(folder)  # the disk is small
    return told


def _drawn(line: RolloutLine) -> tuple[str, float]:
    return line.text, line.reward


def soak(count: int, folder: Path, tell: Callable[[int], None] = lambda done: None) -> Outcome:
    """So many faults, one a run, over run folders in `folder` (empty)."""
    outcome = Outcome()
    with small_file_system(folder, DISK_MB) as small_disk:
        running = GrpoSoak(folder, outcome, small_disk=small_disk)
        try:
            for number in range(count):
                running.one(number)
                tell(number + 1)
        finally:
            running.app.close()
    return outcome
