"""From scored rows to the report: plain values that pages, scripts and people read. Pure.

Every figure is given where it is defined and null where it is not (F1 where nothing is harmful, false alarms where
nothing is harmless). Shares are in [0, 1], times in seconds.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core.evaluation import metrics
from core.evaluation.bootstrap import RESAMPLES, average_interval, interval
from core.evaluation.metrics import Confusion
from core.evaluation.rows import SIDES, ScoredRow, Side
from core.types import CheckpointInfo, Decision
from train_jobs.evaluation.published import PublishedFigures
from train_jobs.evaluation.sets import EvaluationSet

FORM = "evaluation-v1"
CURVE_POINTS = 200
"""Points of a precision-recall curve at most."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """How the rows were scored."""

    info: CheckpointInfo
    engine: str
    device: str
    dtype: str
    deliberated: bool
    """Whether there was reasoning, or the first look alone."""
    seed: int = 0
    resamples: int = RESAMPLES
    batched: Mapping[str, float] | None = None
    """Rows and seconds of this attempt's batches."""
    one_by_one: Sequence[tuple[float | None, float]] = ()
    """Time to the first piece and to the verdict of rows that were judged alone, as a visitor's would be."""


def build_report(
    rows: Sequence[ScoredRow], sets: Sequence[EvaluationSet], how: Circumstances, published: PublishedFigures
) -> dict[str, Any]:
    """The whole report.

    Args:
        rows: every row of the sets, scored.
    """
    by_set = {each.name: [row for row in rows if row.row.set == each.name] for each in sets}
    return {
        "form": FORM,
        "checkpoint": _checkpoint(how),
        "look": "deliberation" if how.deliberated else "first look",
        "rows": len(rows),
        "sets": [_set(each, by_set[each.name], how, published) for each in sets],
        "averages": {
            side.value: _average(
                {of.name: by_set[of.name] for of in sets if published.counts(of.benchmark, side.value)}, side, how
            )
            for side in SIDES
        },
        "by_modality": _breakdown(rows, lambda row: [row.row.sample.modality.value]),
        "writing": _writing(rows),
        "speed": _speed(how),
        "published_averages": [asdict(each) for each in published.averages],
    }


def _checkpoint(how: Circumstances) -> dict[str, Any]:
    info = how.info
    return {
        "id": info.id,
        "source": info.source,
        "protocol_version": info.protocol_version,
        "preprocessing": info.preprocessing.name,
        "parameters": info.parameters,
        "engine": how.engine,
        "device": how.device,
        "dtype": how.dtype,
    }


def _set(
    of: EvaluationSet, rows: Sequence[ScoredRow], how: Circumstances, published: PublishedFigures
) -> dict[str, Any]:
    decisions = Counter(row.verdict.decision for row in rows)
    return {
        "name": of.name,
        "origin": of.origin,
        "benchmark": of.benchmark,
        "rows": len(rows),
        "unlabelled": of.unlabelled,
        "left_out": of.left_out,
        "sides": {side.value: found for side in SIDES if (found := _side(rows, side, how)) is not None},
        "decisions": {decision.value: decisions[decision] for decision in Decision},
        "by_modality": _breakdown(rows, lambda row: [row.row.sample.modality.value]),
        "by_category": _breakdown(rows, lambda row: row.row.categories),
        "writing": _writing(rows),
        # Beside a part of the set a figure of the whole set would say nothing.
        "published": [asdict(each) for each in published.on(of.benchmark)] if not of.left_out else [],
    }


def _side(rows: Sequence[ScoredRow], side: Side, how: Circumstances) -> dict[str, Any] | None:
    labelled = [row for row in rows if row.row.truth(side) is not None]
    if not labelled:
        return None
    counts = [row.counts(side) for row in labelled]
    options = {"resamples": how.resamples, "seed": how.seed}
    sure = interval(counts, resamples=how.resamples, seed=how.seed)
    looks = {"first_look": _probabilities([(row.first_look(side), row.row.truth(side)) for row in labelled])}
    if how.deliberated:
        looks["deliberated"] = _probabilities([(row.deliberated(side), row.row.truth(side)) for row in labelled])
    return figures(sum(counts, Confusion())) | {
        "f1_interval": None if sure is None else [sure.low, sure.high],
        "unreadable": sum(row.said(side) is None for row in labelled),
        "probabilities": looks,
        "bootstrap": options,
    }


def figures(counts: Confusion) -> dict[str, Any]:
    """Counts and everything that follows from them."""
    return {
        "labelled": counts.labelled,
        "harmful": counts.harmful,
        "unharmful": counts.unharmful,
        "f1": counts.f1,
        "precision": counts.precision,
        "recall": counts.recall,
        "false_alarms": counts.false_alarm_rate,
        "accuracy": counts.accuracy,
        "confusion": asdict(counts),
    }


def _probabilities(pairs: Iterable[tuple[float | None, bool | None]]) -> dict[str, Any]:
    """What the probabilities are worth, whatever the label said: calibration and ranking."""
    known = [(p, truth) for p, truth in pairs if p is not None and truth is not None]
    p, truth = [each for each, _ in known], [each for _, each in known]
    auc = metrics.roc_auc(p, truth)
    return {
        "rows": len(known),
        "calibration_error": metrics.calibration_error(p, truth) if known else None,
        "reliability": [
            {"rows": count, "mean_p": mean, "harmful_share": share}
            for count, mean, share in metrics.reliability(p, truth)
        ],
        "roc_auc": None if math.isnan(auc) else auc,
        "average_precision": metrics.average_precision(p, truth),
        "precision_recall": [asdict(each) for each in metrics.precision_recall(p, truth, CURVE_POINTS)],
    }


def _average(by_set: Mapping[str, Sequence[ScoredRow]], side: Side, how: Circumstances) -> dict[str, Any]:
    """F1 over all sets on which it is defined, weighted by labelled samples, as in the papers."""
    counted = {
        name: [row.counts(side) for row in rows if row.row.truth(side) is not None] for name, rows in by_set.items()
    }
    wholes = {name: sum(counts, Confusion()) for name, counts in counted.items()}
    used = [name for name, whole in wholes.items() if whole.f1 is not None]
    sure = average_interval([counted[name] for name in used], resamples=how.resamples, seed=how.seed)
    every = sum(wholes.values(), Confusion())
    return {
        "f1": metrics.weighted_average((wholes[name].f1, wholes[name].labelled) for name in used),
        "f1_interval": None if sure is None else [sure.low, sure.high],
        "sets": used,
        "labelled": sum(wholes[name].labelled for name in used),
        "false_alarms": every.false_alarm_rate,
        "recall": every.recall,
        "pooled": figures(every),
    }


def _breakdown(rows: Sequence[ScoredRow], names: Any) -> dict[str, Any]:
    """Figures of the rows of each name (a row may have several), both sides counted together, most rows first."""
    parts: dict[str, list[ScoredRow]] = {}
    for row in rows:
        for name in names(row):
            parts.setdefault(name, []).append(row)
    ordered = sorted(parts.items(), key=lambda part: (-len(part[1]), part[0]))
    return {
        name: {"rows": len(some)} | figures(sum((row.both for row in some), Confusion())) | {"writing": _writing(some)}
        for name, some in ordered
    }


def _writing(rows: Sequence[ScoredRow]) -> dict[str, Any]:
    """How much was written, and how much of it could be read."""
    written = [row.verdict.generation for row in rows if row.verdict.generation is not None]
    tokens = [each.token_count for each in written]
    unreadable = sum(not row.is_readable for row in rows)
    return {
        "unreadable": unreadable,
        "unreadable_share": unreadable / len(rows) if rows else None,
        "cut_off": sum(each.finish_reason.value == "length" for each in written),
        "mean_tokens": statistics.fmean(tokens) if tokens else None,
        "most_tokens": max(tokens, default=None),
    }


def _speed(how: Circumstances) -> dict[str, Any]:
    """Batches as they ran here, and single verdicts as a visitor waits for them."""
    batched = dict(how.batched or {})
    rows, seconds = batched.get("rows", 0), batched.get("seconds", 0.0)
    alone = [whole for _, whole in how.one_by_one]
    first = [ttft for ttft, _ in how.one_by_one if ttft is not None]
    return {
        "batched_rows": rows,
        "batched_seconds": seconds,
        "batched_rows_per_s": rows / seconds if seconds else None,
        "timed_rows": len(alone),
        "latency_s": _spread(alone),
        "first_piece_s": _spread(first),
        "one_by_one_rows_per_s": len(alone) / sum(alone) if sum(alone) else None,
    }


def _spread(seconds: Sequence[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    ordered = sorted(seconds)
    return {
        "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)) - 1)],
    }
