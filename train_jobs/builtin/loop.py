"""The training loop: curriculum, loss, schedule, checkpoints outside the repository, metrics as JSON lines."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from train_jobs.builtin import tower
from train_jobs.builtin.batches import LABEL_WEIGHT, Encoder, Line, by_length, coded, collate
from train_jobs.builtin.examples import WORN, Deck, Example
from train_jobs.builtin.network import MEANING, WIDTH
from train_jobs.builtin.pointing import Watch
from train_jobs.builtin.sentences import SENTENCE, Meanings

APART = 0.5
"""Share of the run in which the language model learns from text and from the word code (wordcode.py), while the vision
tower learns beside it to write that code."""

LESSONS: tuple[tuple[float, Mapping[str, float]], ...] = (
    (0.04, {"text": 0.7, "copy": 0.3}),
    (0.13, {"text": 0.6, "copy": 0.03, "page": 0.22, "image": 0.1, "video": 0.05}),
    (APART, {"text": 0.17, "copy": 0.01, "page": 0.6, "image": 0.17, "video": 0.05}),
    (0.85, {"text": 0.25, "copy": 0.02, "page": 0.36, "image": 0.25, "video": 0.12}),
    (1.01, {"text": 0.5, "copy": 0.03, "page": 0.15, "image": 0.22, "video": 0.1}),
)
"""Until which share of the run which kinds of examples are drawn. Quoting comes by way of repeated tokens, pictures by
way of pages: the full form straight away teaches no reading. Text comes last, or pictures take from its quoting."""

WORDING_WEIGHT = 0.5
"""Of the tower's words beside the language model's loss, once they learn together."""
POINTING_WEIGHT = 0.5
"""Of where heads look while an answer quotes what a medium shows."""
MEANING_WEIGHT = 0.5
"""Of how far what the label is read from lies from the sentence encoder's embedding of the request."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard to train."""

    minutes: float | None
    steps: int | None
    batch_tokens: int = 2_600
    """Padded tokens in a batch at most."""
    peak_rate: float = 1.0e-3
    weight_decay: float = 0.05
    warm_up: int = 150
    """Steps over which the learning rate rises to where it begins."""
    pool: int = 192
    """Examples drawn at once and grouped by length."""
    save_every_s: float = 240.0
    check_every_s: float = 420.0

    def progress(self, step: int, seconds: float) -> float:
        """How much of the run is done, in [0, 1]."""
        by_steps = step / self.steps if self.steps else 0.0
        by_time = seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(by_steps, by_time))

    def rate(self, step: int, progress: float) -> float:
        """Learning rate: warm-up, 0.55 of the peak from a tenth of the run on, over the last eighth to nothing."""
        start = 1.0 - 4.5 * min(progress, 0.1)
        return self.peak_rate * min(1.0, (step + 1) / self.warm_up) * start * min(1.0, (1.01 - progress) / 0.12)


def lesson(progress: float) -> Mapping[str, float]:
    """The mix of example kinds at this point of the run."""
    return next(mix for until, mix in LESSONS if progress < until)


def losses(model: Any, batch: Mapping[str, Any], encoder: Encoder) -> tuple[Any, dict[str, float], Any]:
    """The loss of a batch by the mean over its weights, its parts for the log, and the last hidden states.

    Words: cross-entropy at trained tokens. Labels: cross-entropy against the softened label, over the whole vocabulary.
    Logits are computed at trained positions only.

    Args:
        batch: what `collate` or `coded` gave.

    Returns:
        A scalar tensor, unweighted means by name, and a tensor of shape (lines, tokens, WIDTH).
    """
    import torch
    from torch.nn import functional

    hidden = model.model(**batch["inputs"]).last_hidden_state
    where, label_where = batch["where"], batch["label_where"]
    logits = model.lm_head(hidden[where[:, 0], where[:, 1]])
    words = functional.cross_entropy(logits, batch["targets"], reduction="none")
    total = (words * batch["weights"]).sum()
    weight = batch["weights"].sum()
    figures = {"words": float(words.detach().mean())} if len(where) else {}
    if len(label_where):
        label_logits = model.lm_head(hidden[label_where[:, 0], label_where[:, 1]])
        log_p = torch.log_softmax(label_logits, dim=-1)
        wanted = batch["label_soft"]
        labels = -(wanted * log_p[:, encoder.harmful] + (1 - wanted) * log_p[:, encoder.unharmful])
        total = total + LABEL_WEIGHT * labels.sum()
        weight = weight + LABEL_WEIGHT * len(label_where)
        figures["labels"] = float(labels.detach().mean())
    return total / weight, figures, hidden


def label_scores(model: Any, lines: Sequence[Line], encoder: Encoder, pad: int, device: str) -> list[dict[int, float]]:
    """P(harmful) by trained label position, the true answer given up to there; one mapping a line."""
    import torch

    model.eval()
    found: dict[int, dict[int, float]] = {}
    order = {id(line): at for at, line in enumerate(lines)}
    with torch.inference_mode():
        for group in by_length(lines, 6_000):
            batch = collate(group, model, pad, device)
            hidden = model.model(**batch["inputs"]).last_hidden_state
            where = batch["label_where"]
            logits = model.lm_head(hidden[where[:, 0], where[:, 1]])
            p = torch.sigmoid(logits[:, encoder.harmful] - logits[:, encoder.unharmful])
            for (row, at), value in zip(where.tolist(), p.tolist(), strict=True):
                found.setdefault(order[id(group[row])], {})[at] = value
    model.train()
    return [found.get(at, {}) for at in range(len(lines))]


def quick_check(
    model: Any, groups: Mapping[str, Sequence[tuple[Example, Line]]], encoder: Encoder, pad: int, device: str
) -> dict[str, float]:
    """ROC-AUC of the first look at requests and at responses, by kind of held-out examples; where both labels occur."""
    from sklearn.metrics import roc_auc_score

    out: dict[str, float] = {}
    for kind, pairs in groups.items():
        scores = label_scores(model, [line for _, line in pairs], encoder, pad, device)
        for side in ("request", "response"):
            truth: list[bool] = []
            guesses: list[float] = []
            for (example, line), score in zip(pairs, scores, strict=True):
                mine = example.request if side == "request" else example.response
                spots = sorted(at for at in score if at < line.first_look[1])
                if mine.trained and spots:
                    truth.append(mine.label == "harmful")
                    guesses.append(score[spots[0] if side == "request" else spots[-1]])
            if len(set(truth)) == 2:
                out[f"{kind}_{side}_auc"] = round(float(roc_auc_score(truth, guesses)), 4)
    return out


class Trainer:
    """Holds what a run needs between steps.

    Args:
        model: the network, on the device on which it is to be trained; hooks are left in it.
        work: folder of the state and of the log.
        pad: id of the padding token.
        meanings: embeddings of the requests that examples say; without them nothing is told of these.
    """

    def __init__(
        self,
        model: Any,
        encoder: Encoder,
        deck: Deck,
        plan: Plan,
        work: Path,
        pad: int,
        seed: int,
        meanings: Meanings | None = None,
    ) -> None:
        import torch

        from train_jobs.builtin.muon import optimizers

        self.model = model
        self.encoder = encoder
        self.deck = deck
        self.plan = plan
        self.work = work
        self.pad = pad
        self.device = str(next(model.parameters()).device)
        self.seed = seed
        self.rng = random.Random(seed)
        self.misreading = np.random.default_rng(seed)
        self.step = 0
        self.seconds = 0.0
        self.sees = False
        """Whether the tower that learnt words apart is in the network."""
        self._lines: list[list[Line]] = []
        self._seen: list[Any] = []
        merger = model.model.visual.merger
        merger.register_forward_hook(lambda module, given, made: self._seen.append(made))
        self.spelled = model.get_input_embeddings().weight.detach()[:, MEANING:].clone()
        """Spellings of all tokens, shape (vocabulary, SPELLING): they stay as they are."""
        self.judge = tower.Judge(self.spelled, model.config.vision_config.hidden_size)
        self.watch = Watch(model)
        self.meanings = meanings
        self.teller = torch.nn.Linear(WIDTH, SENTENCE).to(self.device)
        """Tells the encoder's embedding of a request from what its label is read from; no part of the guard."""
        self.optimizers = optimizers([model, self.judge.reader, self.teller], plan.peak_rate, plan.weight_decay)

    @property
    def state_file(self) -> Path:
        """Where an interrupted run goes on from."""
        return self.work / "state.pt"

    def save_state(self) -> None:
        """Write weights, optimisers and place, atomically."""
        import torch

        part = self.state_file.with_suffix(".part")
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimizers": [each.state_dict() for each in self.optimizers],
                "judge": self.judge.state(),
                "teller": self.teller.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
                "sees": self.sees,
            },
            part,
        )
        part.replace(self.state_file)

    def load_state(self) -> bool:
        """Go on from the last save, if there is one, with other examples than at first."""
        import torch

        if not self.state_file.is_file():
            return False
        state = torch.load(self.state_file, weights_only=True, map_location=self.device)
        self.model.load_state_dict(state["model"])
        self.judge.load(state["judge"])
        self.teller.load_state_dict(state["teller"])
        for each, held in zip(self.optimizers, state["optimizers"], strict=True):
            each.load_state_dict(held)
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        # states that do not say it are of an earlier version; those of the second half hold the tower
        self.sees = bool(state.get("sees", self.progress >= APART))
        self.spelled.copy_(self.model.get_input_embeddings().weight.detach()[:, MEANING:])
        seed = self.seed + self.step
        self.rng, self.misreading, self.encoder.rng = (
            random.Random(seed),
            np.random.default_rng(seed),
            random.Random(seed),
        )
        self.deck.reseed(seed)
        return True

    def take_tower(self, path: Path) -> None:
        """Put in the vision tower that learnt words apart, and what judged it."""
        weights, judge = tower.load(path, self.device)
        self.model.model.visual.load_state_dict(weights)
        self.judge.load(judge)
        self.sees = True

    @property
    def progress(self) -> float:
        """How much of the plan is done, in [0, 1]."""
        return self.plan.progress(self.step, self.seconds)

    def _looking(self, lines: Sequence[Line], batch: Mapping[str, Any]) -> Any:
        """The weighted loss of where heads looked in the last forward pass, zero where no line says it."""
        missed = self.watch.loss([line.pointers for line in lines], batch["inputs"]["position_ids"])
        return 0.0 if missed is None else POINTING_WEIGHT * missed

    def _telling(self, lines: Sequence[Line], hidden: Any) -> Any:
        """The weighted cosine distance of what labels are read from to the encoder's embeddings; zero without any.

        Args:
            hidden: last hidden states, shape (lines, tokens, WIDTH).
        """
        import torch

        told = [(row, *line.meant) for row, line in enumerate(lines) if line.meant is not None]
        if self.meanings is None or not told:
            return 0.0
        wanted = torch.from_numpy(self.meanings.of([text for _, _, text in told])).to(self.device)
        found = self.teller(hidden[[row for row, _, _ in told], [at for _, at, _ in told]])
        return MEANING_WEIGHT * (1 - torch.nn.functional.cosine_similarity(found, wanted)).mean()

    def _next_batch(self, progress: float) -> list[Line]:
        if not self._lines:
            mix = lesson(progress)
            self.deck.worn = 0.0 if progress < APART else WORN
            kinds = self.rng.choices(list(mix), list(mix.values()), k=self.plan.pool)
            drawn = [
                self.encoder.copying() if kind == "copy" else self.encoder.line(self.deck.draw(kind)) for kind in kinds
            ]
            self._lines = by_length(drawn, self.plan.batch_tokens)
            self.rng.shuffle(self._lines)
        return self._lines.pop()

    def one_step(self, progress: float) -> dict[str, float]:
        """Draw a batch, compute, update; returns figures for the log."""
        import torch

        lines = self._next_batch(progress)
        batch = collate(lines, self.model, self.pad, self.device)
        rate = self.plan.rate(self.step, progress)
        for group in (group for each in self.optimizers for group in each.param_groups):
            group["lr"] = rate
        if progress < APART:
            loss, figures, hidden = losses(self.model, coded(batch, self.model, self.misreading), self.encoder)
        else:
            self._seen.clear()
            loss, figures, hidden = losses(self.model, batch, self.encoder)
            if batch["cells"] is not None:
                merged = torch.cat(self._seen)
                wording, figures["drawn_words"] = self.judge.wording_loss(merged, batch["cells"])
                loss = loss + WORDING_WEIGHT * wording
                figures["wording"] = float(wording.detach())
        self._seen.clear()
        loss = loss + self._looking(lines, batch) + self._telling(lines, hidden)
        for each in self.optimizers:
            each.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for each in self.optimizers:
            each.step()
        with torch.no_grad():  # spellings are never trained
            self.model.get_input_embeddings().weight[:, MEANING:] = self.spelled
        self.step += 1
        return figures | {
            "loss": float(loss.detach()),
            "rate": rate,
            "norm": float(norm),
            "tokens": float(batch["inputs"]["input_ids"].numel()),
        }

    def run(self, groups: Mapping[str, Sequence[tuple[Example, Line]]], until: float = 1.0) -> None:
        """Train until this share of the plan, with a progress bar, saves and checks on the way.

        Args:
            groups: held-out examples by kind, for `quick_check`.
        """
        from tqdm import tqdm

        bar = tqdm(total=1000, desc="training", unit="‰", mininterval=10)
        last = saved = checked = time.monotonic()
        kept: list[dict[str, float]] = []
        log = (self.work / "metrics.jsonl").open("a", encoding="utf-8")
        with log, bar:
            while (progress := self.progress) < until:
                kept.append(self.one_step(progress))
                now = time.monotonic()
                self.seconds += now - last
                last = now
                bar.update(int(1000 * progress) - bar.n)
                if self.step % 20 == 0:
                    mean = _means(kept)
                    place = {"seconds": round(self.seconds, 1), "progress": round(progress, 4)}
                    self._write(log, place | mean)
                    bar.set_postfix(loss=f"{mean['loss']:.3f}", step=self.step)
                    kept = []
                if now - saved > self.plan.save_every_s:
                    self.save_state()
                    saved = time.monotonic()
                if now - checked > self.plan.check_every_s:
                    self._check(log, groups)
                    checked = time.monotonic()
            self._check(log, groups)
        self.save_state()

    def _check(self, log: IO[str], groups: Mapping[str, Sequence[tuple[Example, Line]]]) -> None:
        self._write(log, {"check": quick_check(self.model, groups, self.encoder, self.pad, self.device)})

    def _write(self, log: IO[str], values: Mapping[str, Any]) -> None:
        log.write(json.dumps({"step": self.step} | dict(values)) + "\n")
        log.flush()


def _means(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each figure over the steps that have it."""
    names = sorted({name for each in steps for name in each})
    found = {name: [each[name] for each in steps if name in each] for name in names}
    return {name: round(sum(values) / len(values), 6) for name, values in found.items()}
