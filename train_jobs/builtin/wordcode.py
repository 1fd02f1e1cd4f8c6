"""The word code: how the vision tower writes down, in the language model's input space, which words a patch shows.

Every token's embedding ends with its spelling, a vector made of its letters and their places and never trained. For a
merged patch the code is the spelling of the token whose first letter stands in it. So to write down a drawn word is to
copy its spelling, a word that training never drew is read letter by letter, and what a spelling means can be learned
from typed words of which nothing but the spelling is left. While the tower learns to write the code, the language
model, which needs no pixels for that, practises with it, and both meet when they are done.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from train_jobs.builtin.network import MARKED, MEANING, SPELLING
from train_jobs.builtin.render import Letter

CHARACTERS, END = 96, "\x7f"
"""How many vectors there are: one for each printable ASCII character, and a last one for any other character; that one
also stands after a token's last letter."""
ASIDE = 2
"""How many patches to the right a token is written at most whose own patch holds another already."""
NOTHING = 0
"""Cell of a patch without a token: the id of the padding token, which no text holds."""
UNKNOWN = -100
"""Cell of every patch of a picture whose words are not known."""
CONSTANT = -0.35
"""What the code holds in its first dimension, with a token or without: about what the token embeddings of a trained
guard hold there."""
LENGTH = 0.68
"""Norm of a spelling: as much a dimension as the rest of an embedding has."""
PRESENCE, OPENING, CAPITAL = 0.3, 0.25, 0.2
"""The marks before the letters (of norm 1), before all are scaled to LENGTH: that there is a token, that a word begins
with it, that it begins with a capital. Of the MARKED dimensions the last one is free."""
LETTERS_TOLD, FADING = 14, 0.95
"""How many of a token's letters are told, and by what factor each counts less than the one before."""
FASTEST = 1.5
"""Radians a place by which the fastest pair turns: neighbouring places are alike, places three apart are not."""
SHARPNESS = 24.0
"""Logit of a token whose spelling is met exactly, before its bias."""
CODE_SEED = 5
MISREAD, FALSE, MISSED = 0.25, 0.02, 0.4
"""In practice with the code: the largest shares of tokens that are misread and of empty patches where one is seen, and
the share of the misread that are not seen at all."""
STRENGTH, NOISE = (0.6, 1.1), 0.04
"""Between which factors practice fades or strengthens a patch's code, and its noise's largest standard deviation."""


def spelling(text: str) -> npt.NDArray[np.float32]:
    """The spelling of a token's text, shape (SPELLING,), norm LENGTH; zeros for empty text.

    Its letters' random vectors are turned by their places, as rotary embeddings are (Su et al. 2021, arXiv 2104.09864),
    and summed; a capital is its small letter and a mark.
    """
    word = text.strip()
    out = np.zeros(SPELLING)
    if not word:
        return out.astype(np.float32)
    told = word[:LETTERS_TOLD].lower()
    for place, letter in enumerate([*told, END]):
        out[MARKED:] += _placed(_number(letter), place)
    out[MARKED:] /= np.linalg.norm(out)
    out[0], out[1], out[2] = PRESENCE, OPENING * (text[0] == " "), CAPITAL * word[0].isupper()
    return (LENGTH * out / np.linalg.norm(out)).astype(np.float32)


@lru_cache(maxsize=1)
def _letters() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Vectors of the characters, shape (CHARACTERS, SPELLING - MARKED), and each pair's turning in radians a place."""
    rng = np.random.default_rng(CODE_SEED)
    made = rng.normal(size=(CHARACTERS, SPELLING - MARKED))
    return made / np.linalg.norm(made, axis=1, keepdims=True), rng.uniform(0, FASTEST, (SPELLING - MARKED) // 2)


def _number(letter: str) -> int:
    """The row of a character among the CHARACTERS vectors."""
    return ord(letter) - 32 if 32 <= ord(letter) < 32 + CHARACTERS - 1 else CHARACTERS - 1


def _placed(number: int, place: int) -> npt.NDArray[np.float64]:
    """What a character adds to a spelling at a place of its token, shape (SPELLING - MARKED,)."""
    letters, turning = _letters()
    left, right = np.split(letters[number], 2)
    cos, sin = np.cos(place * turning), np.sin(place * turning)
    return FADING**place * np.concatenate([left * cos - right * sin, left * sin + right * cos])


def letter_table() -> npt.NDArray[np.float32]:
    """Each character at each place of a token as it counts in a spelling, before the whole is scaled.

    Returns:
        Shape (CHARACTERS, LETTERS_TOLD, SPELLING - MARKED).
    """
    places = range(LETTERS_TOLD)
    return np.array([[_placed(number, at) for at in places] for number in range(CHARACTERS)], dtype=np.float32)


def spellings(tokenizer: Any) -> npt.NDArray[np.float32]:
    """The spelling of every token, shape (vocabulary, SPELLING).

    Zeros for parts of a character and for the tokens that pad and that end a turn; the other control tokens are spelled
    as they are written.
    """
    texts = [tokenizer.decode([at]) for at in range(len(tokenizer))]
    special = set(tokenizer.all_special_ids)
    return np.stack([spelling("" if at in special or "\ufffd" in text else text) for at, text in enumerate(texts)])


def drawn_words(letters: Sequence[Letter], text: str) -> list[str] | None:
    """The words in the order in which their letters were drawn: those of the text, then the numbers of an empty list.

    Returns:
        None when the letters are not those of the text.
    """
    drawn, said = "".join(letter for _, _, letter in letters), "".join(text.split())
    return [*text.split(), *re.findall(r"\d+\.", drawn[len(said) :])] if drawn.startswith(said) else None


def token_starts(words: Sequence[str], tokenizer: Any) -> list[tuple[int, int]]:
    """The ids of the tokens of words in a row, each with the number of its first letter among all letters."""
    line = " " + " ".join(words)
    before = np.cumsum([0, *(letter != " " for letter in line)])
    made = tokenizer(line, add_special_tokens=False, return_offsets_mapping=True)
    found = []
    for token, (begin, end) in zip(made["input_ids"], made["offset_mapping"], strict=True):
        first = next((at for at in range(begin, end) if line[at] != " "), None)
        if first is not None:
            found.append((token, int(before[first])))
    return found


def _place(letter: Letter, size: tuple[int, int], rows: int, columns: int) -> tuple[int, int] | None:
    """Row and column in which a letter stands when a picture of `size` (height, width) is divided into so many."""
    x, y, _ = letter
    right, down = int(x * columns / size[1]), int(y * rows / size[0])
    return (down, right) if 0 <= right < columns and 0 <= down < rows else None


def word_order(
    letters: Sequence[Letter], text: str, tokenizer: Any, size: tuple[int, int], grid: tuple[int, int, int]
) -> list[tuple[int, int]] | None:
    """The drawn tokens in reading order, each with the merged patch in which it is written.

    That is where its first letter stands or, since a patch holds one token, the next free one to the right on its row;
    -1 where there is none.

    Args:
        letters: the drawn letters, in pixels of the picture.
        text: what was drawn, which a list's numbers may follow.
        size: height and width of the picture in pixels.
        grid: (time, height, width) in patches of what it is resized to.

    Returns:
        None when the letters are not those of the text.
    """
    rows, columns = grid[1] // 2, grid[2] // 2
    words = drawn_words(letters, text)
    if words is None:
        return None
    order: list[tuple[int, int]] = []
    taken: set[int] = set()
    for token, first in token_starts(words, tokenizer):
        patch = -1
        if place := _place(letters[first], size, rows, columns):
            down, right = place
            near = range(right, min(right + ASIDE + 1, columns))
            patch = next((down * columns + at for at in near if down * columns + at not in taken), -1)
        taken.add(patch)
        order.append((token, patch))
    return order


def word_cells(order: Sequence[tuple[int, int]] | None, merged: int) -> npt.NDArray[np.int64]:
    """Which token is written in which merged patch.

    Args:
        order: what `word_order` gave.
        merged: how many merged patches there are.

    Returns:
        Token ids, shape (merged,), NOTHING where there is none; all UNKNOWN when the order is not known.
    """
    cells = np.full(merged, UNKNOWN if order is None else NOTHING)
    for token, patch in order or ():
        if patch >= 0:
            cells[patch] = token
    return cells


def codes(cells: Any, spelled: Any) -> Any:
    """Tokens in merged patches as vectors.

    Args:
        cells: tensor of token ids, shape (merged patches,); NOTHING and UNKNOWN write nothing.
        spelled: spellings of all tokens, shape (vocabulary, SPELLING), on the same device.

    Returns:
        Shape (merged patches, MEANING + SPELLING), dtype and device as `spelled`.
    """
    import torch

    written = spelled[cells.clamp(min=0)] * (cells > NOTHING).unsqueeze(-1)
    meaning = torch.zeros(len(cells), MEANING, dtype=written.dtype, device=written.device)
    meaning[:, 0] = CONSTANT
    return torch.cat([meaning, written], dim=1)


def misread(cells: npt.NDArray[np.int64], rng: np.random.Generator, vocabulary: int) -> npt.NDArray[np.int64]:
    """The tokens as an imperfect tower might see them: some others, some missed, some where there are none.

    Args:
        cells: token ids, shape (merged patches,).
        vocabulary: number of tokens, from which the wrong ones are drawn.
    """
    share = rng.uniform(0, MISREAD)
    wrong = rng.random(cells.shape) < np.where(cells > NOTHING, share, share * FALSE / MISREAD)
    other = np.where(rng.random(cells.shape) < MISSED, NOTHING, rng.integers(1, vocabulary, cells.shape))
    return np.where(wrong, other, cells)


def blurred(written: Any, rng: np.random.Generator) -> Any:
    """The code as an imperfect tower might write it: fainter or stronger, and not quite there.

    Args:
        written: tensor of shape (merged patches, MEANING + SPELLING).
    """
    import torch

    strength = torch.from_numpy(rng.uniform(*STRENGTH, (len(written), 1)).astype(np.float32))
    noise = torch.from_numpy(rng.normal(0, rng.uniform(0, NOISE), tuple(written.shape)).astype(np.float32))
    return written * strength.to(written.device) + noise.to(written.device)


def letter_places(
    letters: Sequence[Letter], text: str, tokenizer: Any, size: tuple[int, int], grid: tuple[int, int, int]
) -> npt.NDArray[np.int64]:
    """Which letters stand in which patches, before these are merged.

    Args:
        letters, text, size, grid: as for `word_order`.

    Returns:
        Patch in the order of the processor (merged patches one after the other), character's number and place in its
        token of each letter, shape (letters, 3); no rows when the letters are not those of the text.
    """
    words = drawn_words(letters, text) or []
    found = []
    starts = [first for _, first in token_starts(words, tokenizer)]
    for first, after in pairwise([*starts, len(letters)]):
        for number in range(first, min(after, first + LETTERS_TOLD)):
            if place := _place(letters[number], size, grid[1], grid[2]):
                down, right = place
                merged = (down // 2) * (grid[2] // 2) + right // 2
                patch = 4 * merged + 2 * (down % 2) + right % 2
                found.append((patch, _number(letters[number][2].lower()), number - first))
    return np.array(found, dtype=np.int64).reshape(-1, 3)


def reader(vocabulary: int) -> Any:
    """Reads tokens off merged patches by their nearness to the code; only how common each token is gets learnt."""
    import torch

    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(vocabulary))

        def forward(self, merged: torch.Tensor, spelled: torch.Tensor) -> torch.Tensor:
            """Logits, (merged patches, width) and (vocabulary, SPELLING) -> (merged patches, vocabulary)."""
            return SHARPNESS / LENGTH**2 * merged[:, MEANING:] @ spelled.T + self.bias

    return Reader()
