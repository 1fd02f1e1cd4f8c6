"""After the training: calibration and thresholds from held-out rows, and `guard.json`."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.checkpoint import GUARD_FILE, GUARD_FORMAT
from core.engines.base import Prompt
from core.types import Calibration, HarmProbability, Label, Thresholds
from train_jobs.builtin.corpus import TextRow
from train_jobs.builtin.figures import calibrated, choose_thresholds, fit_calibration
from train_jobs.builtin.judge import Judge, prompt_of
from train_jobs.builtin.media_sets import three_ways
from train_jobs.builtin.setup import PREPROCESSING

CONTEXT_TOKENS, WINDOW_TOKENS, MAX_NEW_TOKENS = 640, 224, 176


def weights_digest(folder: Path) -> str:
    """A short digest of the weights files, by which the checkpoint names itself."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def write_guard_file(
    folder: Path, first: Calibration, deliberated: Calibration, thresholds: Thresholds
) -> dict[str, Any]:
    """Write `guard.json`, which `core.checkpoint` reads; returns what it says."""
    said = {
        "format": GUARD_FORMAT,
        "id": f"builtin-{weights_digest(folder)}",
        "protocol": "protocol.toml",
        "context_tokens": CONTEXT_TOKENS,
        "window_tokens": WINDOW_TOKENS,
        "max_new_tokens": MAX_NEW_TOKENS,
        "first_look_trained": True,
        "thresholds": asdict(thresholds),
        "calibration": {"first_look": asdict(first), "deliberated": asdict(deliberated)},
        "preprocessing": asdict(PREPROCESSING),
    }
    (folder / GUARD_FILE).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    return said


def truths(row: TextRow, p: HarmProbability) -> list[tuple[float, bool]]:
    """Probability and truth of each labelled side that has both."""
    pairs = ((p.request, row.request_label), (p.response, row.response_label))
    return [
        (value, label is Label.HARMFUL)
        for value, label in pairs
        if value is not None and label in (Label.HARMFUL, Label.UNHARMFUL)
    ]


def calibrate_folder(
    folder: Path, work: Path, held_out: Sequence[TextRow], rows: int, seed: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Fit both calibrations and the thresholds on held-out rows, typed and drawn, and write `guard.json`."""
    write_guard_file(folder, Calibration(), Calibration(), Thresholds())
    judge = Judge(folder, work, say)
    try:
        rng = random.Random(seed)
        chosen = rng.sample(list(held_out), min(rows, len(held_out)))
        prompts: list[Prompt] = [prompt_of(row) for row in chosen]
        shown = three_ways(held_out, max(8, rows // 5), seed + 1)
        media = [prompt for each in shown for prompt in (each.image, each.video)]
        answers = judge.answers([*prompts, *media], "held-out rows for calibration")
    finally:
        judge.close()
    looked: list[tuple[float, bool]] = []
    told: list[tuple[float, bool]] = []
    harmless: list[float] = []
    for row, (look, completion) in zip(chosen, answers, strict=False):
        looked += truths(row, look)
        told += truths(row, completion.probability)
        if row.request_label is Label.UNHARMFUL and row.response is None and completion.probability.request is not None:
            harmless.append(completion.probability.request)
    for at, (look, completion) in enumerate(answers[len(chosen) :]):
        if look.request is not None and completion.probability.request is not None:
            looked.append((look.request, shown[at // 2].harmful))
            told.append((completion.probability.request, shown[at // 2].harmful))
    first = fit_calibration([p for p, _ in looked], [truth for _, truth in looked])
    deliberated = fit_calibration([p for p, _ in told], [truth for _, truth in told])
    thresholds = choose_thresholds(calibrated(harmless, deliberated))
    said = write_guard_file(folder, first, deliberated, thresholds)
    say(f"calibrated on {len(looked)} first looks and {len(told)} deliberations: {json.dumps(said['calibration'])}")
    say(f"thresholds from {len(harmless)} harmless held-out requests: {json.dumps(said['thresholds'])}")
    return said
