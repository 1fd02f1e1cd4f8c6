"""Scores a checkpoint folder on the evaluation files; every figure of the card is measured and printed here."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from core.checkpoints.folder import open_checkpoint
from core.engines.base import Prompt
from core.media.vision import DecodedMedia
from core.types import Decision, Label, Sample
from train_jobs.builtin import figures, linear
from train_jobs.builtin.corpus import TextRow, load_rows, request_side, response_side
from train_jobs.builtin.finish import truths
from train_jobs.builtin.judge import Answer, Judge, prompt_of, read_benchmark
from train_jobs.builtin.media_sets import harmless_headings, three_ways, typographic_page, with_medium

T = TypeVar("T")

RANKED = (
    ("openai_moderation", "request"), ("xstest", "request"), ("hatecheck", "request"),
    ("harmbench_response", "response"), ("xstest_response_harmful", "response"), ("diasafety_test", "response"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows are reasoned about, and of how many the first look is taken (`looked`, in each ranked file)."""

    ranked: int = 200
    flat: int = 530
    shown: int = 160
    headings: int = 40
    timed: int = 21
    looked: int | None = None


QUICK = Sizes(ranked=12, flat=16, shown=12, headings=6, timed=4, looked=40)


class Scoring:
    """One scoring run over one folder."""

    def __init__(
        self,
        folder: Path,
        data: Path,
        work: Path,
        held_out: Sequence[TextRow],
        sizes: Sizes,
        say: Callable[[str], None],
    ) -> None:
        self.opened = open_checkpoint(folder, str(folder))
        self.benchmarks = data.parent
        self.data = data
        self.held_out = held_out
        self.sizes = sizes
        self.say = say
        self.judge = Judge(folder, work, say)
        self.answers: list[tuple[Prompt, Answer, str | None]] = []
        """Everything reasoned about, with the text that its medium shows, for the figures on parsing and quoting."""

    def run(self) -> dict[str, Any]:
        """All figures as one JSON object."""
        try:
            return {
                "checkpoint": self.opened.info.id,
                "thresholds": {
                    "review": self.opened.info.thresholds.review,
                    "block": self.opened.info.thresholds.block,
                },
                "calibration": asdict(self.opened.calibrations),
                "flat": self.flat(),
                "shown": self.shown(),
                "typographic": self.typographic(),
                "controls": self.controls(),
                "ranked": self.ranked(),
                "transplanted": self.transplanted(),
                "written": self.written(),
                "speed": self.speed(),
            }
        finally:
            self.judge.close()

    def _judged(self, prompts: Sequence[Prompt], what: str, shown: Sequence[str | None] | None = None) -> list[Answer]:
        opened = self.opened
        answers = self.judge.judged(prompts, what, opened.calibrations, opened.info.thresholds)
        self.answers += zip(prompts, answers, shown or [None] * len(prompts), strict=True)
        return answers

    def _tell(self, name: str, values: T) -> T:
        self.say(f"{name}: {values}")
        return values

    # -- text ---------------------------------------------------------------------------------------------------

    def ranked(self) -> dict[str, Any]:
        """ROC-AUC of both looks on six files, beside the floor fitted here; calibration errors; equal-alarm recall."""
        rows = load_rows(self.data)
        floors = {}
        for side, mine in (("request", request_side(rows)), ("response", response_side(rows))):
            label = [(r.request_label if side == "request" else r.response_label) is Label.HARMFUL for r in mine]
            floors[side] = linear.fit([linear.document(r) for r in mine], label)
        out: dict[str, Any] = {}
        rng = random.Random(5)
        looked_all: list[tuple[float, bool]] = []
        told_all: list[tuple[float, bool]] = []
        harmless: dict[str, list[float]] = {"guard": [], "floor": []}
        for name, side in RANKED:
            every = read_benchmark(self.benchmarks, name)
            every = every if self.sizes.looked is None else rng.sample(every, min(len(every), self.sizes.looked))
            some = rng.sample(every, min(len(every), self.sizes.ranked))
            looks = self.judge.looks([prompt_of(row) for row in every], name)
            answers = self._judged([prompt_of(row) for row in some], name)
            truth = [(r.request_label if side == "request" else r.response_label) is Label.HARMFUL for r in every]
            p = [getattr(look, side) for look in looks]
            floor = floors[side].p_harmful([linear.document(r) for r in every])
            where = {row.id: at for at, row in enumerate(every)}
            pairs = [
                (a, where[row.id])
                for row, a in zip(some, answers, strict=True)
                if getattr(a.deliberated, side) is not None
            ]
            told = [getattr(a.deliberated, side) for a, _ in pairs]
            same = [truth[at] for _, at in pairs]
            out[name] = self._tell(name, {
                "rows": len(every),
                "first_look_auc": round(figures.roc_auc(p, truth), 4),
                "floor_auc": round(figures.roc_auc(list(floor), truth), 4),
                "reasoned_rows": len(told),
                "deliberated_auc": round(figures.roc_auc(told, same), 4),
                "first_look_auc_on_those": round(figures.roc_auc([p[at] for _, at in pairs], same), 4),
            })  # fmt: skip
            looked_all += zip(figures.calibrated(p, self.opened.calibrations.text.first_look), truth, strict=True)
            told_all += zip(told, same, strict=True)
            if name in ("xstest", "openai_moderation"):
                harmless["guard"] += [value for value, bad in zip(p, truth, strict=True) if not bad]
                harmless["floor"] += [float(value) for value, bad in zip(floor, truth, strict=True) if not bad]
        keys = ("first_look_auc", "floor_auc", "deliberated_auc", "first_look_auc_on_those")
        mean = {key: round(statistics.fmean(out[name][key] for name, _ in RANKED), 4) for key in keys}
        out["mean"] = self._tell("mean over the six files", mean)
        said, true = [p for p, _ in told_all], [truth for _, truth in told_all]
        first_ece = figures.calibration_error([p for p, _ in looked_all], [truth for _, truth in looked_all])
        bins = [[count, round(p, 3), round(share, 3)] for count, p, share in figures.reliability(said, true)]
        out["calibration"] = self._tell(
            "calibration on those files",
            {
                "first_look_ece": round(first_ece, 4),
                "deliberated_ece": round(figures.calibration_error(said, true), 4),
                "reliability": bins,
            },
        )
        review = self.opened.info.thresholds.review
        looked = figures.calibrated(harmless["guard"], self.opened.calibrations.text.first_look)
        alarms = statistics.fmean(value >= review for value in looked)
        out["alarms"] = self._tell("false alarms of the first look at the review threshold", round(alarms, 4))
        out["recall"] = {}
        for name in ("simple_safety_tests", "harmbench_prompt"):
            rows = read_benchmark(self.benchmarks, name)
            p = [look.request or 0.0 for look in self.judge.looks([prompt_of(row) for row in rows], name)]
            floor = floors["request"].p_harmful([row.request for row in rows])
            out["recall"][name] = self._tell(f"{name}, recall at as many false alarms", {
                "first_look": round(figures.recall_at(p, harmless["guard"], alarms), 4),
                "floor": round(figures.recall_at(list(floor), harmless["floor"], alarms), 4),
            })  # fmt: skip
        return out

    def flat(self) -> dict[str, Any]:
        """Decisions on files with one kind of row: recall on harmful ones, false alarms on harmless ones."""
        out: dict[str, Any] = {}
        safe = [row for row in read_benchmark(self.benchmarks, "xstest") if row.request_label is Label.UNHARMFUL]
        sets = {
            name: read_benchmark(self.benchmarks, name)
            for name in ("everyday", "simple_safety_tests", "harmbench_prompt")
        }
        for name, rows in (*sets.items(), ("xstest_safe", safe)):
            answers = self._judged([prompt_of(row) for row in rows[: self.sizes.flat]], name)
            out[name] = self._tell(name, shares(answers))
        return out

    # -- media --------------------------------------------------------------------------------------------------

    def shown(self) -> dict[str, Any]:
        """Held-out texts typed, drawn in a font held out, and shown in a minority of a clip's frames."""
        texts = three_ways(self.held_out, self.sizes.shown, 21)
        out: dict[str, Any] = {"texts": len(texts)}
        for way in ("typed", "image", "video"):
            read = [None if way == "typed" else each.text for each in texts]
            answers = self._judged([getattr(each, way) for each in texts], f"the same texts, {way}", read)
            p = [a.deliberated.request if a.deliberated.request is not None else 0.5 for a in answers]
            truth = [each.harmful for each in texts]
            first = [a.first.request if a.first.request is not None else 0.5 for a in answers]
            out[way] = self._tell(f"held-out texts, {way}", {
                "f1": round(figures.f1([value >= 0.5 for value in p], truth), 4),
                "accuracy": round(statistics.fmean((value >= 0.5) == t for value, t in zip(p, truth, strict=True)), 4),
                "auc": round(figures.roc_auc(p, truth), 4),
                "first_look_auc": round(figures.roc_auc(first, truth), 4),
            })  # fmt: skip
        return out

    def typographic(self) -> dict[str, Any]:
        """FigStep's pictures, and harmless look-alikes beside the same request."""
        import json

        import numpy as np
        from PIL import Image

        with (self.benchmarks / "figstep.jsonl").open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines][: self.sizes.flat]
        pictures = [np.asarray(Image.open(self.benchmarks / row["media"]).convert("RGB")) for row in rows]
        request = rows[0]["request"]
        harmful = self._judged([with_medium(request, DecodedMedia(each[None])) for each in pictures], "FigStep")
        headings = harmless_headings(self.sizes.headings, 31)
        alike = [with_medium(request, DecodedMedia(typographic_page(each)[None])) for each in headings]
        harmless = self._judged(alike, "harmless look-alikes", headings)
        p = [a.deliberated.request if a.deliberated.request is not None else 0.5 for a in (*harmful, *harmless)]
        truth = [True] * len(harmful) + [False] * len(harmless)
        return {
            "figstep": self._tell("FigStep", shares(harmful)),
            "look_alikes": self._tell("harmless look-alikes", shares(harmless)),
            "auc": self._tell("FigStep against look-alikes, ROC-AUC", round(figures.roc_auc(p, truth), 4)),
        }

    def controls(self) -> dict[str, Any]:
        """Photographs and real clips without harm, through the whole guard, video windows included."""
        import json

        out: dict[str, Any] = {}
        for name in ("benign_control_images", "benign_control_videos"):
            with (self.benchmarks / f"{name}.jsonl").open(encoding="utf-8") as lines:
                rows = [json.loads(line) for line in lines]
            decided = []
            for row in rows:
                ref = self.judge.store.accept(self.benchmarks / row["media"])
                decided.append(self.judge.guard.moderate(Sample(row["request"], None, (ref,))).decision)
            out[name] = self._tell(name, {d.value: decided.count(d) for d in Decision})
        return out

    # -- the writing itself -------------------------------------------------------------------------------------

    def transplanted(self) -> dict[str, Any]:
        """Another sample's reasoning given: how far the probability follows it, against the sample's own reasoning."""
        texts = [
            (p, a) for p, a, _ in self.answers if not p.media and p.sample.response is None and a.assessment is not None
        ]
        rng = random.Random(41)
        low = [pair for pair in texts if (pair[1].deliberated.request or 0) < 0.35]
        high = [pair for pair in texts if (pair[1].deliberated.request or 0) > 0.65]
        count = min(len(low), len(high), 60)
        low, high = rng.sample(low, count), rng.sample(high, count)
        moved: list[float] = []
        flipped = 0
        prompts, before, direction = [], [], []
        for mine, other, sign in [(*pair, 1) for pair in zip(low, high, strict=True)] + [
            (*pair, -1) for pair in zip(high, low, strict=True)
        ]:
            steps = other[1].assessment.reasoning if other[1].assessment else ()
            prompts.append(Prompt(mine[0].sample, (), tuple(steps)))
            before.append(mine[1].deliberated.request or 0.0)
            direction.append(sign)
        answers = self.judge.judged(
            prompts,
            "transplanted reasoning",
            self.opened.calibrations,
            self.opened.info.thresholds,
        )
        for answer, was, sign in zip(answers, before, direction, strict=True):
            now = answer.deliberated.request
            if now is not None:
                moved.append(sign * (now - was))
                flipped += (now >= 0.5) != (was >= 0.5)
        return self._tell("transplanted reasoning", {
            "pairs": len(moved),
            "mean_move": round(statistics.fmean(moved), 4) if moved else None,
            "labels_flipped": round(flipped / len(moved), 4) if moved else None,
        })  # fmt: skip

    def written(self) -> dict[str, Any]:
        """How much parses, and how many quoted words stand in the sample."""
        parsed = [a.assessment is not None for _, a, _ in self.answers]
        out: dict[str, Any] = {"answers": len(parsed), "parsed": round(statistics.fmean(parsed), 4)}
        counts: dict[str, list[int]] = {}
        for prompt, answer, shown in self.answers:
            if answer.assessment is None or (prompt.media and shown is None):
                continue
            text = f"{prompt.sample.request} {prompt.sample.response or ''} {shown or ''} 1 2 3 4 5"
            quoted, there = figures.quoted_words(answer.assessment.reasoning, text)
            kind = "typed" if not prompt.media else "video" if prompt.media[0].is_video else "image"
            total = counts.setdefault(kind, [0, 0])
            total[0] += quoted
            total[1] += there
        out["quoted_words_in_sample"] = {
            kind: round(there / max(1, quoted), 4) for kind, (quoted, there) in counts.items()
        }
        out["mean_tokens"] = round(statistics.fmean(a.completion.token_count for _, a, _ in self.answers), 1)
        return self._tell("written answers", out)

    def speed(self) -> dict[str, Any]:
        """Time of one text verdict after the other, medians; the machine is whatever it was."""
        rows = read_benchmark(self.benchmarks, "everyday")[: self.sizes.timed]
        done = self.judge.timed([prompt_of(row) for row in rows])
        return self._tell("speed", {
            "verdicts": len(done),
            "first_piece_ms": round(1000 * statistics.median(c.ttft_s or 0.0 for c in done), 1),
            "verdict_ms": round(1000 * statistics.median(c.latency_s for c in done), 1),
            "tokens": statistics.median(c.token_count for c in done),
        })  # fmt: skip


def shares(answers: Sequence[Answer]) -> dict[str, Any]:
    """Share of each decision."""
    decided = [answer.decision for answer in answers]
    return {"rows": len(decided)} | {d.value: round(decided.count(d) / max(1, len(decided)), 4) for d in Decision}


__all__ = ["QUICK", "Scoring", "Sizes", "shares", "truths"]
