"""Puts the pieces together: rows, their teachers, tokenizer, token embeddings, encoder, examples to check on."""

from __future__ import annotations

import pickle
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.checkpoints.folder import PROTOCOLS
from core.prompt.encode import PromptEncoder
from core.prompt.protocol import load_protocol
from core.types import Label, Preprocessing
from train_jobs.builtin import network, render, sentences, targets, teachers, tokenizer, wordcode
from train_jobs.builtin.batches import Encoder, Line
from train_jobs.builtin.corpus import TextRow, load_rows, request_side, response_side, split
from train_jobs.builtin.everyday import counter_speech, everyday_rows
from train_jobs.builtin.examples import FRAME_PIXELS, IMAGE_PIXELS, MAX_FRAMES, Deck, Example, Graded, grade
from train_jobs.builtin.linear import CrossFitted, cross_fit, document

VOCABULARY = 8192
"""Tokens in all, control tokens included."""
EVERYDAY_ROWS, OPPOSED_ROWS = 9_000, 500
"""Rows of harmless everyday writing, and of hateful posts quoted in order to oppose them, that are made here."""
PROTOCOL_FILE = PROTOCOLS / "guardroom-v1.toml"

PREPROCESSING = Preprocessing(
    name="builtin-1",
    fps=1.0,
    max_frames=MAX_FRAMES,
    frame_min_pixels=4_096,
    frame_max_pixels=FRAME_PIXELS,
    image_min_pixels=4_096,
    image_max_pixels=IMAGE_PIXELS,
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """All rows, graded, with the models that graded them and the sentence embeddings of their requests."""

    train: tuple[Graded, ...]
    held_out: tuple[Graded, ...]
    requests: CrossFitted
    responses: CrossFitted
    meanings: sentences.Meanings


def all_rows(data: Path, seed: int, everyday: int = EVERYDAY_ROWS) -> list[TextRow]:
    """The training files' rows and our own everyday writing."""
    rows = load_rows(data)
    posts = [row for row in rows if row.source in ("Davidson-hate", "ToxiGen-demos-hate", "Vicomtech-hate")]
    return [*rows, *everyday_rows(everyday, seed), *counter_speech(posts, OPPOSED_ROWS, seed)]


def prepare_corpus(
    data: Path, seed: int, everyday: int = EVERYDAY_ROWS, say: Callable[[str], None] = lambda line: None
) -> Corpus:
    """Load, split, embed and grade; minutes on two cores.

    Raises:
        InputError: the training files or the sentence encoder are missing.
    """
    train, held_out = split(all_rows(data, seed, everyday))

    def fitted(rows: Sequence[TextRow], harmful: Sequence[bool]) -> CrossFitted:
        return cross_fit([document(row) for row in rows], harmful, [row.request for row in rows])

    side = request_side(train)
    requests = fitted(side, [row.request_label is Label.HARMFUL for row in side])
    side = response_side(train)
    responses = fitted(side, [row.response_label is Label.HARMFUL for row in side])
    every = [*grade(train, requests, responses), *grade(held_out, requests, responses)]
    meanings = sentences.meanings([each.row.request for each in every], say)
    meant = teachers.by_meaning(train, [each.row for each in every], meanings)
    taught = teachers.blended([each.request_estimate for each in every], meant.tolist())
    every = [replace(each, request_estimate=float(p)) for each, p in zip(every, taught, strict=True)]
    return Corpus(tuple(every[: len(train)]), tuple(every[len(train) :]), requests, responses, meanings)


def cached_corpus(data: Path, work: Path, seed: int, say: Callable[[str], None] = lambda line: None) -> Corpus:
    """The same, kept in the work folder by this command for this command, so that resuming is quick."""
    path = work / f"corpus-{seed}.pickle"
    if path.is_file():
        with path.open("rb") as file:
            kept: Corpus = pickle.load(file)
        if hasattr(kept, "meanings"):  # an earlier version kept none
            return kept
    corpus = prepare_corpus(data, seed, say=say)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        pickle.dump(corpus, file)
    part.replace(path)
    return corpus


def make_tokenizer(rows: Sequence[Graded]) -> Any:
    """Learn the vocabulary from the training texts and the wording of the targets."""
    texts = [each.row.request for each in rows] + [each.row.response[:1500] for each in rows if each.row.response]
    topics = [f"4. It is about {each.row.topic}." for each in rows if each.row.topic]
    return tokenizer.train([*texts, *topics, *(targets.wording() * 400)], VOCABULARY)


def embeddings(made: Any, rows: Sequence[Graded]) -> Any:
    """The token embeddings that training begins with, shape (vocabulary, WIDTH), float32: meanings and spellings."""

    def weights(texts: Sequence[str], harmful: Sequence[bool]) -> Any:
        return teachers.token_weights(made(list(texts), add_special_tokens=False)["input_ids"], harmful, len(made))

    asked = request_side([each.row for each in rows])
    told = response_side([each.row for each in rows])
    meanings = teachers.warm_start(
        made,
        weights([row.request for row in asked], [row.request_label is Label.HARMFUL for row in asked]),
        weights([row.response or "" for row in told], [row.response_label is Label.HARMFUL for row in told]),
        network.MEANING,
    )
    return np.concatenate([meanings, wordcode.spellings(made)], axis=1)


def prompt_encoder(made: Any) -> PromptEncoder:
    """The encoder of prompts and targets for the built-in guard."""
    return PromptEncoder(made, load_protocol(PROTOCOL_FILE), PREPROCESSING, "qwen3_vl", network.VISION)


def deck_for(corpus: Corpus, rows: Sequence[Graded], seed: int, *, held_out_fonts: bool = False) -> Deck:
    """Examples from these rows, drawn with the training fonts or with the family held out."""
    training, unseen = render.font_files()
    return Deck(rows, corpus.requests, corpus.responses, seed, unseen if held_out_fonts else training)


def check_groups(corpus: Corpus, encoder: Encoder, sizes: dict[str, int]) -> dict[str, list[tuple[Example, Line]]]:
    """Held-out examples of each kind in fonts held out, for the checks during training."""
    deck = deck_for(corpus, corpus.held_out, 11, held_out_fonts=True)
    rng = random.Random(12)
    groups: dict[str, list[tuple[Example, Line]]] = {}
    for kind, size in sizes.items():
        rows = rng.sample(list(corpus.held_out), min(size, len(corpus.held_out)))
        examples = [deck.text(g, vary=False) if kind == "text" else deck.draw(kind) for g in rows]
        groups[kind] = [(example, encoder.line(example)) for example in examples]
    return groups


def copy_protocol(folder: Path) -> None:
    """Put the protocol beside the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROTOCOL_FILE, folder / "protocol.toml")
