"""Trains, calibrates and scores the built-in guard. Seeded, resumable, on CPU or GPU.

Without options: train from the labelled texts under --data, calibrate on held-out rows, write the checkpoint to --out.
With --evaluate: score the checkpoint in --out on the evaluation files beside the training files, and write its card.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.checkpoints.folder import BUILTIN_FOLDER
from core.errors import GuardroomError, InputError
from core.settings import default_data_root
from train_jobs.builtin.corpus import DEFAULT_DATA

FACTS = "training.json"
"""What the training run was, beside the metrics in the work folder; the card quotes it."""


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train_jobs.builtin_guard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of the training files (%(default)s)")
    parser.add_argument(
        "--work", type=Path, default=None, help="folder for checkpoints and metrics (under the data root unless given)"
    )
    parser.add_argument("--out", type=Path, default=BUILTIN_FOLDER, help="folder of the finished guard (%(default)s)")
    parser.add_argument("--minutes", type=float, default=None, help="time budget of the steps (60 unless --steps)")
    parser.add_argument("--steps", type=int, default=None, help="number of steps instead of a time budget")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; torch's choice unless given")
    parser.add_argument(
        "--start",
        type=Path,
        default=None,
        help="folder of an earlier built-in guard whose weights training begins with",
    )
    parser.add_argument("--fresh", action="store_true", help="start anew instead of going on from the work folder")
    parser.add_argument("--evaluate", action="store_true", help="score the guard in --out and write its card")
    parser.add_argument("--note", default="", help="with --evaluate: a sentence on how the training went, for the card")
    parser.add_argument("--quick", action="store_true", help="with --evaluate: a few rows of each file, no card")
    parser.add_argument("--calibrate", action="store_true", help="only fit calibration and thresholds anew")
    return parser


def work_folder(given: Path | None) -> Path:
    """`--work`, or a folder under the data root."""
    root = Path(os.environ.get("GUARDROOM_DATA") or default_data_root())
    return given or root / "builtin-guard-training"


def say(line: str) -> None:
    """One line of the command's report, at once."""
    print(line, flush=True)


def chosen_device(asked: str) -> str:
    """The device to train on: the one that was asked for, or a GPU where there is one.

    Raises:
        InputError: a GPU was asked for and there is none.
    """
    import torch

    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise InputError("--device cuda: torch finds no CUDA GPU here; auto and cpu are accepted.")
    return "cuda" if asked != "cpu" and there else "cpu"


def train(options: argparse.Namespace, work: Path, corpus: Any) -> None:
    """Train and write the checkpoint folder."""
    import torch

    from train_jobs.builtin import network, setup, tokenizer
    from train_jobs.builtin.batches import Encoder
    from train_jobs.builtin.loop import Plan, Trainer

    device = chosen_device(options.device)
    minutes = options.minutes if options.minutes or options.steps else 60.0
    made = tokenizer.load(options.start) if options.start else setup.make_tokenizer(corpus.train)
    ids = tokenizer.control_ids(made)
    encoder = Encoder(setup.prompt_encoder(made), random.Random(options.seed))
    if options.start:
        model = network.load(options.start, len(made), ids, options.seed).to(device)
    else:
        say("the token embeddings that training begins with")
        model = network.build(len(made), ids, options.seed, setup.embeddings(made, corpus.train)).to(device)
    say(
        f"{len(corpus.train)} rows to train on, {len(corpus.held_out)} held out, {len(made)} tokens, "
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {device}"
    )
    plan = Plan(minutes, options.steps)
    deck = setup.deck_for(corpus, corpus.train, options.seed)
    trainer = Trainer(model, encoder, deck, plan, work, ids["<|endoftext|>"], options.seed, corpus.meanings)
    if options.fresh:
        trainer.state_file.unlink(missing_ok=True)
    if trainer.load_state():
        say(f"going on from step {trainer.step} ({trainer.seconds / 60:.1f} minutes)")
    groups = setup.check_groups(corpus, encoder, {"text": 260, "image": 120, "video": 80})
    if not trainer.sees:
        learn_apart(trainer, groups, options)
    trainer.run(groups)
    network.save(model, made, options.out)
    setup.copy_protocol(options.out)
    machine = f"{torch.get_num_threads()} threads of a {platform.machine()} CPU" if device == "cpu" else "one GPU"
    facts = {
        "parameters": sum(p.numel() for p in model.parameters()), "vocabulary": len(made), "train": len(corpus.train),
        "held_out": len(corpus.held_out), "steps": trainer.step, "minutes": trainer.seconds / 60,
        "batch": plan.batch_tokens, "machine": machine,
    }  # fmt: skip
    (work / FACTS).write_text(json.dumps(facts, indent=2) + "\n")
    say(f"the trained weights are in {options.out}")


def learn_apart(trainer: Any, groups: Any, options: argparse.Namespace) -> None:
    """The first half: language model here, vision tower in a process of its own, each with half of the threads."""
    import torch

    from train_jobs.builtin import beside
    from train_jobs.builtin.loop import APART
    from train_jobs.builtin.tower import Budget

    plan, threads = trainer.plan, torch.get_num_threads()
    half = max(1, threads // 2)
    budget = Budget(
        plan.minutes * APART if plan.minutes else None, max(1, int(plan.steps * APART)) if plan.steps else None
    )
    anew = trainer.step == 0
    eyes = beside.start(
        beside.Task(options.data, trainer.work, options.seed, budget, trainer.device, half, options.start, anew)
    )
    torch.set_num_threads(half)
    trainer.run(groups, APART)
    trainer.take_tower(beside.finish(eyes, trainer.work))
    torch.set_num_threads(threads)
    trainer.save_state()


def evaluate(options: argparse.Namespace, work: Path, corpus: Any) -> None:
    """Score the guard in the output folder; write the figures to the work folder and the card beside the weights."""
    from train_jobs.builtin import network, render, setup
    from train_jobs.builtin.card import PLOT, reliability_svg, render_card
    from train_jobs.builtin.score import QUICK, Scoring, Sizes

    held_out = [each.row for each in corpus.held_out]
    sizes = QUICK if options.quick else Sizes()
    scores = Scoring(options.out, options.data, work, held_out, sizes, say).run()
    name = "figures-quick.json" if options.quick else "figures.json"
    (work / name).write_text(json.dumps(scores, indent=2) + "\n")
    say(json.dumps(scores))
    if options.quick:
        return
    if not (work / FACTS).is_file():
        raise InputError(
            f"There is no {work / FACTS}, so the card cannot say how the guard was trained; train it first."
        )
    weights = sum(path.stat().st_size for path in options.out.glob("*.safetensors"))
    facts = json.loads((work / FACTS).read_text()) | {
        "protocol": setup.PROTOCOL_FILE.stem, "megabytes": weights / 1e6, "everyday": setup.EVERYDAY_ROWS,
        "opposed": setup.OPPOSED_ROWS, "unseen": render.HELD_OUT, "spelling": network.SPELLING,
        "history": options.note,
    }  # fmt: skip
    bins = scores["ranked"]["calibration"]["reliability"]
    (options.out / PLOT).write_text(reliability_svg(bins), encoding="utf-8")
    (options.out / "README.md").write_text(render_card(facts, scores), encoding="utf-8")
    say(f"the card is {options.out / 'README.md'}")


def run(options: argparse.Namespace) -> None:
    """What the options ask for."""
    import torch

    from train_jobs.builtin import setup
    from train_jobs.builtin.finish import calibrate_folder

    if options.threads:
        torch.set_num_threads(options.threads)
    work = work_folder(options.work)
    work.mkdir(parents=True, exist_ok=True)
    say("reading the rows and fitting the teachers")
    corpus = setup.cached_corpus(options.data, work, options.seed, say)
    if options.evaluate:
        evaluate(options, work, corpus)
        return
    if not options.calibrate:
        train(options, work, corpus)
    calibrate_folder(options.out, work, [each.row for each in corpus.held_out], 700, options.seed, say)


def main(given: Sequence[str] | None = None) -> int:
    """Run the command; a failure on purpose is one sentence on the error stream."""
    try:
        run(arguments().parse_args(given))
    except GuardroomError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
