"""The vision tower's lessons in a process of their own, beside the language model's lessons in text.

Two cores do more as one for each than as two for one, and the tower needs nothing of the language model yet.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.process import BaseProcess
from pathlib import Path

from core.errors import GuardroomError

TOWER, LOG = "tower.pt", "tower.jsonl"


def _learn(
    data: Path, work: Path, seed: int, minutes: float | None, steps: int | None, device: str, first: Path | None
) -> None:
    """The process: make the same corpus, tokenizer and network, train the tower, leave it in the work folder."""
    import torch

    from train_jobs.builtin import network, setup, tokenizer, tower, wordcode

    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    corpus = setup.cached_corpus(data, work, seed)
    made = tokenizer.load(first) if first else setup.make_tokenizer(corpus.train)
    ids = tokenizer.control_ids(made)
    model = (network.load(first, len(made), ids, seed) if first else network.build(len(made), ids, seed)).to(device)
    deck = setup.deck_for(corpus, corpus.train, seed + 1)
    eyes, prompts = model.model.visual, setup.prompt_encoder(made)
    spelled = torch.from_numpy(wordcode.spellings(made))
    budget = tower.Budget(minutes, steps)
    judge = tower.pretrain(eyes, spelled, prompts, deck, budget, work / LOG, lambda line: None, device)
    tower.save(eyes, judge, work / TOWER)


def start(
    data: Path, work: Path, seed: int, minutes: float | None, steps: int | None, device: str, first: Path | None
) -> BaseProcess:
    """Begin the tower's lessons, with the weights of an earlier guard if one is given; `finish` waits for them."""
    (work / TOWER).unlink(missing_ok=True)
    process = multiprocessing.get_context("spawn").Process(
        target=_learn, args=(data, work, seed, minutes, steps, device, first), name="vision tower", daemon=True
    )
    process.start()
    return process


def finish(process: BaseProcess, work: Path) -> Path:
    """Wait for the lessons' end; returns where the tower is.

    Raises:
        GuardroomError: the process ended without a tower.
    """
    process.join()
    if process.exitcode != 0 or not (work / TOWER).is_file():
        raise GuardroomError(f"The vision tower's training ended early (exit code {process.exitcode}); start it again.")
    return work / TOWER
