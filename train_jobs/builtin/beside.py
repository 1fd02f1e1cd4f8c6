"""The vision tower's lessons in a process of their own, beside the language model's lessons in text.

Two cores do more as one for each than as two for one, and the tower needs nothing of the language model yet.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from core.errors import GuardroomError
from train_jobs.builtin.tower import STATE, Budget

TOWER = "tower.pt"


@dataclass(frozen=True, slots=True)
class Task:
    """What the process is told."""

    data: Path
    """Folder of the training files."""
    work: Path
    """Folder in which the lessons' log, state and result are kept."""
    seed: int
    budget: Budget
    device: str
    threads: int
    first: Path | None
    """Folder of an earlier guard whose tower the lessons begin with."""
    anew: bool
    """Whether to forget lessons that were interrupted."""


def _learn(task: Task) -> None:
    """The process: make the same corpus, tokenizer and network, train the tower, leave it in the work folder."""
    import torch

    from train_jobs.builtin import network, setup, tokenizer, tower, wordcode

    torch.set_num_threads(task.threads)
    corpus = setup.cached_corpus(task.data, task.work, task.seed)
    made = tokenizer.load(task.first) if task.first else setup.make_tokenizer(corpus.train)
    ids = tokenizer.control_ids(made)
    if task.first:
        model = network.load(task.first, len(made), ids, task.seed)
    else:
        model = network.build(len(made), ids, task.seed)
    eyes, spelled = model.model.visual.to(task.device), torch.from_numpy(wordcode.spellings(made))
    # another seed than the language model's: both would see the same examples in the same order
    seed = task.seed + 1
    deck, prompts = setup.deck_for(corpus, corpus.train, seed), setup.prompt_encoder(made)
    lessons = tower.Lessons(eyes, spelled, prompts, deck, task.budget, task.work, task.device, seed)
    lessons.load_state()
    lessons.run()
    tower.save(eyes, lessons.judge, task.work / TOWER)


def start(task: Task) -> BaseProcess:
    """Begin the tower's lessons, or go on with them; `finish` waits for their end."""
    (task.work / TOWER).unlink(missing_ok=True)
    if task.anew:
        (task.work / STATE).unlink(missing_ok=True)
    process = multiprocessing.get_context("spawn").Process(
        target=_learn, args=(task,), name="vision tower", daemon=True
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
