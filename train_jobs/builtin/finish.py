"""After the training: calibration and thresholds from held-out rows, and `guard.json`."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.checkpoints.folder import GUARD_FILE, GUARD_FORMAT
from core.engines.base import Prompt
from core.types import Calibration, Calibrations, HarmProbability, Label, Looks, Thresholds
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


def write_guard_file(folder: Path, calibrations: Calibrations, thresholds: Thresholds) -> dict[str, Any]:
    """Write `guard.json`, which `core.checkpoints.folder` reads; returns what it says."""
    said = {
        "format": GUARD_FORMAT,
        "id": f"builtin-{weights_digest(folder)}",
        "protocol": "protocol.toml",
        "context_tokens": CONTEXT_TOKENS,
        "window_tokens": WINDOW_TOKENS,
        "max_new_tokens": MAX_NEW_TOKENS,
        "first_look_trained": True,
        "thresholds": asdict(thresholds),
        "calibration": asdict(calibrations),
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
    """Fit the calibrations and the thresholds on held-out rows, and write `guard.json`.

    Typed rows and rows drawn into pictures and clips are fitted apart. The thresholds come from typed requests.
    """
    write_guard_file(folder, Calibrations(), Thresholds())
    judge = Judge(folder, work, say)
    try:
        rng = random.Random(seed)
        chosen = rng.sample(list(held_out), min(rows, len(held_out)))
        prompts: list[Prompt] = [prompt_of(row) for row in chosen]
        shown = three_ways(held_out, max(8, rows // 4), seed + 1)
        media = [prompt for each in shown for prompt in (each.image, each.video)]
        answers = judge.answers([*prompts, *media], "held-out rows for calibration")
    finally:
        judge.close()
    typed, drawn = answers[: len(chosen)], answers[len(chosen) :]
    truth_of_drawn = [each.harmful for each in shown for _ in range(2)]
    calibrations = Calibrations(
        text=Looks(
            _fit([pair for row, (look, _) in zip(chosen, typed, strict=True) for pair in truths(row, look)]),
            _fit(
                [pair for row, (_, said) in zip(chosen, typed, strict=True) for pair in truths(row, said.probability)]
            ),
        ),
        media=Looks(
            _fit(list(_requests([look for look, _ in drawn], truth_of_drawn))),
            _fit(list(_requests([said.probability for _, said in drawn], truth_of_drawn))),
        ),
    )
    harmless = [
        said.probability.request
        for row, (_, said) in zip(chosen, typed, strict=True)
        if row.request_label is Label.UNHARMFUL and row.response is None and said.probability.request is not None
    ]
    thresholds = choose_thresholds(calibrated(harmless, calibrations.text.deliberated))
    said = write_guard_file(folder, calibrations, thresholds)
    say(f"calibrated on {len(typed)} typed and {len(drawn)} drawn rows: {json.dumps(said['calibration'])}")
    say(f"thresholds from {len(harmless)} harmless held-out requests: {json.dumps(said['thresholds'])}")
    return said


def _requests(read: Sequence[HarmProbability], harmful: Sequence[bool]) -> Iterator[tuple[float, bool]]:
    """Probability and truth of the requests whose label could be read."""
    for probability, truth in zip(read, harmful, strict=True):
        if probability.request is not None:
            yield probability.request, truth


def _fit(pairs: Sequence[tuple[float, bool]]) -> Calibration:
    return fit_calibration([p for p, _ in pairs], [truth for _, truth in pairs])
