"""The evaluation job beside judging one row after the other, with the guard as it is shipped."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.serving.loading import load_guard
from core.settings import BUILTIN, Settings
from tests.benchmark.pairs import Ratio, alternate
from train_jobs.evaluation import job as evaluate
from train_jobs.evaluation.job import EvaluateOptions
from train_jobs.runs.context import JobContext
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec

ROWS = 64
SUBJECTS = ("bread", "a garden", "a bicycle", "the tides", "a savings account", "a violin", "a long letter", "the moon")
ASKED = ("Explain {} to a child.", "How do I look after {}?", "Write four lines about {}.", "What do people say of {}?")


def one_by_one_against_evaluation(pairs: int) -> Ratio:
    """Seconds for the same rows one after the other, over those of the job's batches with its writing to disk."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        texts = [ASKED[at % 4].format(SUBJECTS[at // 4 % 8]) + f" ({at} words at most)" for at in range(ROWS)]
        rows = [{"id": at, "request": text, "request_label": "unharmful"} for at, text in enumerate(texts)]
        file = place / "rows.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        media = MediaStore(place / "media", MediaLimits(), VideoReader(MediaLimits()))
        guard = load_guard(BUILTIN, Settings(data=place), media, lambda share, words: None)
        options = EvaluateOptions(files=(str(file),))
        wanted = [row for each in evaluate.read_sets(None, options, media) for row in each.rows]

        def ours() -> float:
            run = RunFolder.create(place / "runs", JobSpec(JobKind.EVALUATE, "benchmark"), 1)
            begun = time.perf_counter()
            evaluate.score(JobContext(run, run.spec(), run.status()), guard, wanted, options)
            return time.perf_counter() - begun

        def peer() -> float:
            begun = time.perf_counter()
            for row in wanted:
                guard.moderate(row.sample)
            return time.perf_counter() - begun

        return alternate(f"one by one ÷ evaluation, {ROWS} texts", "≥ 3", peer, ours, pairs, warm_ups=0)
