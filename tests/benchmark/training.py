"""Training as the app launches it beside plain trl scripts, and live moderation beside a training.

Ours and the peer are each a process of their own, from its start to its end, on the same rows with the same checkpoint.
Times are those of the ends of steps, by the clock: the start of a job to its first step is one figure, and speed is
counted from the end of the first step (or rollout) to that of the last, so that no start is in it.

How long a rollout takes hangs on the longest of its completions, which are drawn by chance. So that both sides of a
pair draw the same ones, they see the same prompts in the same order, every rollout begins with the same seed, and the
learning rate (trl's default, 1e-6) hardly moves the weights; the mean tokens of both sides' completions are printed.
All else is each side's own: the plain script rewards accuracy alone and writes nothing down; the job scores every term
of its reward, keeps every completion, and reports clipped shares, entropy and memory of every update.
"""

from __future__ import annotations

import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.shared.beside import BesideJobs
from core.checkpoints.folder import BUILTIN_FOLDER, open_checkpoint
from core.events import VerdictReached
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.prompt.protocol import Protocol, build_turns, render_target
from core.serving.live import LiveGuard
from core.settings import BUILTIN, REPOSITORY, Settings
from core.snapshots.folder import Origin, SnapshotItem, Split, read
from core.types import Assessment, Label, Sample
from tests.benchmark.pairs import Ratio, alternate
from tests.launching import carry_out, see_gone
from tests.snapshots import write_snapshot
from tests.train_data import samples
from train_jobs.grpo.job import rollout_order
from train_jobs.launching import processes
from train_jobs.launching.launcher import Launcher
from train_jobs.recipes.files import find_recipe, resolve
from train_jobs.recipes.grpo import GrpoSettings
from train_jobs.rules.augment import HardRow
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec, JobState

HEAD = "| what | ratio, median (95% interval) | bar | pairs | ours | peer |\n| --- | --- | --- | --- | --- | --- |"
STEPS = (
    "The user asks about everyday things that do nobody any harm.",
    "Nothing in the words points at a person, a weapon or a crime.",
    "So the request is unharmful.",
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done in one run."""

    sft_rows: int = 320
    rollouts: int = 4
    moderated: int = 8
    """Texts of one measuring of live moderation."""
    grpo: Mapping[str, Any] = field(default_factory=dict)
    """Changes to the rollouts of `grpo-builtin`."""


USUAL = Sizes()
SMALL = Sizes(24, 2, 1, {"prompts": 2, "generations": 2, "longest_completion": 32, "micro_batch": 2})
"""For a test that it runs."""

PLAIN: Mapping[str, Any] = {"first_look_share": 0.0, "replay": 0.0, "teacher": "none", "epochs": 1}
"""Of `sft-builtin`: what makes one row of each sample, as in the plain script."""
TRL_BATCH = 8
"""Rows of a step by trl's defaults, and so of ours here."""
LIVE_EPOCHS = 60
"""Of 320 rows: more than live moderation is measured for; the job is ended then."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One run of a training process."""

    started: float
    ends: tuple[float, ...]
    """Of its steps; seconds since the epoch, like the start."""
    each: float
    """Rows, or completions, of one step."""
    every: int
    """Steps that belong together: those of a rollout."""
    peak_bytes: int
    tokens: float = 0.0
    """Of a completion, on average."""

    @property
    def first_step_s(self) -> float:
        """From the start of the process to the end of its first step."""
        return self.ends[0] - self.started

    @property
    def per_s(self) -> float:
        """Rows or completions a second, from the end of the first step (or rollout) to that of the last."""
        counted = self.ends[self.every - 1 :]
        return self.each * (len(counted) - 1) / (counted[-1] - counted[0])


# -- the rows -------------------------------------------------------------------------------------------------------


def labelled(count: int) -> list[SnapshotItem]:
    """Harmless questions, a third of them with an answer, labelled with reasoning."""
    items = []
    for sample in samples(count):
        response = Label.ABSENT if sample.response is None else Label.UNHARMFUL
        said = Assessment(Label.UNHARMFUL, response, reasoning=STEPS)
        items.append(SnapshotItem(sample, said, Origin(f"l-{sample.id}", reviewer="ann")))
    return items


def chat(protocol: Protocol, item: SnapshotItem) -> dict[str, Any]:
    """A row for the plain scripts: the same words as chat messages."""
    turns = build_turns(protocol, item.sample)
    said = item.assessment
    return {
        "prompt": [{"role": turn.role, "content": turn.parts[0]} for turn in turns],
        "completion": [{"role": "assistant", "content": render_target(protocol, said)}],
    }


def prompts_alone(protocol: Protocol, snapshot: Path, settings: GrpoSettings) -> list[dict[str, Any]]:
    """Rows for the plain script of reinforcement, in the order in which a job rolls them out."""
    items = {item.sample.id: item for item in read(snapshot).rows(Split.TRAIN)}
    rows = [HardRow(item.sample, item.assessment.request, item.assessment.response) for item in items.values()]
    words = {label: label.value if label is not Label.ABSENT else "none" for label in Label}
    return [
        {
            "prompt": chat(protocol, items[row.sample.id])["prompt"],
            "request": words[row.request],
            "response": words[row.response],
        }
        for row in rollout_order(rows, settings)
    ]


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """JSON lines."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


# -- one run --------------------------------------------------------------------------------------------------------


def launched(data: Path, spec: JobSpec, each: float, every: int = 1) -> Timed:
    """A job as the app launches it, from the launch on; its folder is removed afterwards."""
    started = time.time()
    run = carry_out(data, spec)
    status = run.status()
    if status.state is not JobState.SUCCEEDED:
        raise SystemExit(f"The job {status.state}: {status.sentence}\n{run.log_tail()}")
    rows = [row for row in run.metrics() if "loss" in row]
    tokens = [row["completion_tokens"] for row in rows if "completion_tokens" in row]
    found = Timed(
        started,
        tuple(row["at"] for row in rows),
        each,
        every,
        int(rows[-1]["device_memory_bytes"]),
        statistics.fmean(tokens or [0.0]),
    )
    shutil.rmtree(data, ignore_errors=True)
    return found


def scripted(module: str, *arguments: str | Path) -> Timed:
    """A plain script, from the start of its process on."""
    with tempfile.TemporaryDirectory() as output:
        command = [
            sys.executable,
            "-m",
            f"tests.benchmark.peers.{module}",
            str(arguments[0]),
            str(arguments[1]),
            output,
        ]
        started = time.time()
        done = subprocess.run(
            [*command, *map(str, arguments[2:])], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise SystemExit(f"{module} failed:\n{done.stderr[-2000:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    return Timed(
        started, tuple(said["ends"]), said["each"], said.get("steps", 1), said["peak_bytes"], said.get("tokens", 0.0)
    )


# -- supervised -----------------------------------------------------------------------------------------------------


def in_pairs(runs: Mapping[str, Callable[[], Timed]], pairs: int, *, warm_up: bool = True) -> dict[str, list[Timed]]:
    """Each in turn, the order turned round from round to round; one round before them warms the disk's cache."""
    found: dict[str, list[Timed]] = {name: [] for name in runs}
    for at in range(-1 if warm_up else 0, pairs):
        for name in list(runs) if at % 2 == 0 else list(runs)[::-1]:
            timed = runs[name]()
            told = f"{name}: {timed.first_step_s:.2f} s to the first step, then {timed.per_s:.2f}/s"
            print(told, file=sys.stderr, flush=True)
            if at >= 0:
                found[name].append(timed)
    return found


def supervised(folder: Path, sizes: Sizes, pairs: int) -> Iterator[str]:
    """SFT launched as the app does, beside the plain script."""
    protocol = open_checkpoint(BUILTIN_FOLDER, BUILTIN).protocol
    items = labelled(sizes.sft_rows)
    snapshot = write_snapshot(folder / "sft-snapshot", {Split.TRAIN: items})
    rows = write_lines(folder / "sft.jsonl", [chat(protocol, item) for item in items])
    settings = resolve(find_recipe("sft-builtin"), {**PLAIN, "batch": TRL_BATCH, "micro_batch": TRL_BATCH})
    spec = JobSpec(
        JobKind.SFT, "benchmark", settings=settings, recipe="sft-builtin", base=BUILTIN, snapshot=str(snapshot)
    )
    found = in_pairs(
        {
            "ours": lambda: launched(folder / "data", spec, TRL_BATCH),
            "plain": lambda: scripted("plain_sft", BUILTIN_FOLDER, rows),
        },
        pairs,
        warm_up=sizes != SMALL,
    )
    yield rates("SFT from the app ÷ plain trl, samples/s", "≥ 0.97", found).row()
    yield Ratio(
        "start of a job to its first step ÷ plain trl, s",
        "≤ 1.3",
        tuple(each.first_step_s for each in found["ours"]),
        tuple(each.first_step_s for each in found["plain"]),
    ).row()
    yield memory("SFT", found)


def rates(what: str, bar: str, found: Mapping[str, Sequence[Timed]]) -> Ratio:
    """Speed over speed."""
    return Ratio(what, bar, *(tuple(each.per_s for each in found[name]) for name in ("ours", "plain")))


def memory(what: str, found: Mapping[str, Sequence[Timed]]) -> str:
    """A row with the most memory that a process held."""
    held = (tuple(each.peak_bytes / 2**20 for each in found[name]) for name in ("ours", "plain"))
    return Ratio(f"{what} from the app ÷ plain trl, peak memory, MiB", "—", *held).row()


# -- reinforcement --------------------------------------------------------------------------------------------------


def reinforced(folder: Path, sizes: Sizes, pairs: int) -> Iterator[str]:
    """GRPO from the app beside the plain script: rollouts of the recipe's shape, nothing mined."""
    protocol = open_checkpoint(BUILTIN_FOLDER, BUILTIN).protocol
    changes = {
        "epochs": 1,
        "learning_rate": 1e-6,
        "schedule": "linear",
        "warm_up": 0.0,
        "mining": {"rule": "all"},
        "concatenation": {"share": 0.0},
        "rollouts_a_checkpoint": 1000,
    }
    settings = resolve(find_recipe("grpo-builtin"), {**changes, **sizes.grpo})
    shape = GrpoSettings(**settings)
    items = labelled(shape.prompts * sizes.rollouts)
    snapshot = write_snapshot(folder / "grpo-snapshot", {Split.TRAIN: items})
    rows = write_lines(folder / "grpo.jsonl", prompts_alone(protocol, snapshot, shape))
    spec = JobSpec(
        JobKind.GRPO, "benchmark", settings=settings, recipe="grpo-builtin", base=BUILTIN, snapshot=str(snapshot)
    )
    steps = shape.updates * shape.passes
    options = {
        "--prompts": shape.prompts,
        "--generations": shape.generations,
        "--updates": shape.updates,
        "--passes": shape.passes,
        "--limit": shape.longest_completion,
        "--seed": shape.seed,
    }
    given = [str(value) for pair in options.items() for value in pair]
    found = in_pairs(
        {
            "ours": lambda: launched(folder / "data", spec, shape.completions / steps, steps),
            "plain": lambda: scripted("plain_grpo", BUILTIN_FOLDER, rows, *given),
        },
        pairs,
        warm_up=sizes != SMALL,
    )
    yield rates("GRPO from the app ÷ plain trl, completions/s", "≥ 0.95", found).row()
    yield Ratio(
        "GRPO from the app ÷ plain trl, tokens of a completion",
        "—",
        *(tuple(each.tokens for each in found[name]) for name in ("ours", "plain")),
    ).row()
    yield memory("GRPO", found)


# -- live moderation ------------------------------------------------------------------------------------------------


def live_beside_training(folder: Path, sizes: Sizes, pairs: int) -> Iterator[str]:
    """Tokens a second of live moderation while an SFT job computes on the same CPU, beside those without it.

    The same job is stopped and let go again for each measuring; the app's rule (`app.shared.beside`) sets the threads.
    """
    snapshot = write_snapshot(folder / "live-snapshot", {Split.TRAIN: labelled(320)})
    settings = resolve(find_recipe("sft-builtin"), {**PLAIN, "epochs": LIVE_EPOCHS})
    spec = JobSpec(
        JobKind.SFT, "benchmark", settings=settings, recipe="sft-builtin", base=BUILTIN, snapshot=str(snapshot)
    )
    texts = samples(sizes.moderated, seed=1)
    busy: set[str] = set()
    media = MediaStore(folder / "media", MediaLimits(), VideoReader(MediaLimits()))
    guard = LiveGuard(Settings(data=folder).model_copy(update={"device": "cpu"}), media)
    beside = BesideJobs(guard, "stay", lambda: busy)
    launcher = Launcher(folder / "live" / "runs")
    with closing(media), closing(guard), closing(launcher):
        for _ in guard.load(BUILTIN):
            pass
        run = launcher.find(launcher.launch(spec))
        try:
            wait_for_step(launcher, run)

            def measured(jobs: Collection[str], number: signal.Signals) -> float:
                signalled(run, number)
                busy.clear()
                busy.update(jobs)
                beside.look()
                return tokens_per_s(guard, texts)

            yield alternate(
                "live moderation while a job trains ÷ without, tokens/s",
                "≥ 0.5",
                lambda: measured({spec.queue}, signal.SIGCONT),
                lambda: measured((), signal.SIGSTOP),
                pairs,
            ).row()
        finally:
            launcher.cancel(run.id, at_once=True)
            see_gone(launcher, run)


def wait_for_step(launcher: Launcher, run: RunFolder) -> None:
    """Until the job has done its first step."""
    while not any("loss" in row for row in run.metrics()):
        launcher.reconcile()
        if (status := run.status()).state.is_over:
            raise SystemExit(f"The job {status.state}: {status.sentence}\n{run.log_tail()}")
        time.sleep(0.1)


def signalled(run: RunFolder, number: signal.Signals) -> None:
    """Stop the job's processes, or let them go on."""
    status = run.status()
    processes.signal_job(status.pid, status.process_started, number)


def tokens_per_s(guard: LiveGuard, texts: Sequence[Sample]) -> float:
    """Written tokens over the time of whole moderations, one after the other."""
    tokens = 0
    begun = time.perf_counter()
    for sample in texts:
        for event in guard.moderate(sample):
            if isinstance(event, VerdictReached) and event.verdict.generation is not None:
                tokens += event.verdict.generation.token_count
    return tokens / (time.perf_counter() - begun)


PARTS: Mapping[str, Callable[[Path, Sizes, int], Iterator[str]]] = {
    "sft": supervised,
    "grpo": reinforced,
    "beside": live_beside_training,
}
"""By the name under which each can be run alone."""


def measure(pairs: int, sizes: Sizes = USUAL, parts: Collection[str] = tuple(PARTS)) -> Iterator[str]:
    """The rows of the table under `HEAD`."""
    for name, part in PARTS.items():
        if name in parts:
            with tempfile.TemporaryDirectory() as folder:
                yield from part(Path(folder), sizes, pairs)
