"""Invisible and look-alike characters: found, named, and undone in a second reading of the text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile

_ORDINARY = re.compile(r"[\t\n\v\f\r -~]*")
_WORD = re.compile(r"\w+")
_STYLED_WORD = re.compile("[\\w\u24b6-\u24e9\U0001f110-\U0001f169]+")
"""Circled and squared letters are symbols to Python."""

_PICTURE = (
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u27bf\u2934\u2935\u2b05-\u2b55\u3030"
    "\u303d\u3297\u3299\U0001f000-\U0001f3fa\U0001f400-\U0001faff]"
)
_TONE = "[\U0001f3fb-\U0001f3ff]"
_EMOJI = f"{_PICTURE}(?:{_TONE}|[\ufe0e\ufe0f])?"
_JOINING = (  # Arabic, Syriac, the scripts of India and South-East Asia, Mongolian, and their later blocks
    "[\u0620-\u08ff\u0900-\u109f\u1780-\u18af\u1900-\u1cff\ua800-\uabff\ufb50-\ufdff\ufe70-\ufefc"
    "\U00010a00-\U00010f6f\U00011000-\U00011fff\U0001e900-\U0001e95f]"
)
_UNSPACED = "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"  # Thai, Lao, Burmese, Khmer
_HAN = "[\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af]"


def _tags(letters: str) -> str:
    return "".join(chr(0xE0000 + ord(letter)) for letter in letters)


_HONEST = re.compile(
    "|".join(
        (
            f"\U0001f3f4(?:{'|'.join(map(_tags, ('gbeng', 'gbsct', 'gbwls')))})\U000e007f",  # flags
            "[#*0-9]\ufe0f?\u20e3",  # keycaps
            f"{_EMOJI}(?:\u200d{_EMOJI})+",  # families and professions
            f"{_PICTURE}[\ufe0e\ufe0f]",
            f"(?<={_JOINING})[\u200c\u200d](?=[\\W_]|{_JOINING}|$)",  # shape of letters
            f"(?<={_UNSPACED})\u200b(?={_UNSPACED})",  # where words may break
            f"(?<={_HAN})[\ufe00-\ufe02\U000e0100-\U000e01ef]",  # variants of a character
        )
    )
)
"""Where a character without a shape of its own belongs to what is seen."""

_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u2800\u3164\uffa0")
_SEEN_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
"""Format characters that are printed: Arabic number signs and the like."""

_IMITATORS = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU", "DESERET", "OSAGE")
"""Scripts whose letters are taken for Latin ones; a letter of another script in a Latin word deceives nobody."""

_ROUGH = {
    "в": "b", "к": "k", "м": "m", "н": "h", "п": "n", "т": "t", "и": "u", "я": "r", "ь": "b",
    "κ": "k", "τ": "t", "η": "n", "ω": "w", "χ": "x", "β": "b", "ε": "e", "π": "n",
}  # fmt: skip
"""Likenesses good enough inside a Latin word, too weak to doubt a word of their own script."""


@dataclass(frozen=True, slots=True)
class TextCheck:
    """What stands out in a text."""

    warnings: tuple[str, ...]
    normalised: str
    """The text as a person sees it: compatibility forms folded, invisible characters gone, look-alikes in Latin."""


def check_text(text: str, name: str) -> TextCheck:
    """Look for characters that hide words from a model or from a person.

    Args:
        name: what the text is called in a warning, such as "request".
    """
    if _ORDINARY.fullmatch(text):
        return TextCheck((), text)
    warnings: list[str] = []
    visible = "".join(_without_invisible(text))
    if hidden := len(text) - len(visible):
        some = "an invisible character" if hidden == 1 else f"{hidden:,} invisible characters"
        warnings.append(f"The {name} holds {some}; it was judged with and without.")
    styled = sum(_styled_letters(word.group()) for word in _STYLED_WORD.finditer(visible))
    latin, imitated = _look_alikes_to_latin(unicodedata.normalize("NFKC", visible))
    if count := styled + imitated:
        some = "a character that imitates a Latin letter" if count == 1 else f"{count:,} imitations of Latin letters"
        warnings.append(f"The {name} holds {some}; it was judged as written and as read.")
    return TextCheck(tuple(warnings), latin if warnings else text)


def _without_invisible(text: str) -> Iterator[str]:
    """The text in pieces, without characters that have no shape, save where they shape what is seen."""
    start = 0
    for honest in _HONEST.finditer(text):
        yield from (char for char in text[start : honest.start()] if not _is_invisible(char))
        yield honest.group()
        start = honest.end()
    yield from (char for char in text[start:] if not _is_invisible(char))


@lru_cache(maxsize=4096)
def _is_invisible(char: str) -> bool:
    """Format and control characters, tags, variation selectors, fillers."""
    if char in "\t\n\v\f\r\x85" or char in _SEEN_FORMATS:
        return False
    code = ord(char)
    return (
        unicodedata.category(char) in ("Cf", "Cc")
        or char in _FILLERS
        or 0xFE00 <= code <= 0xFE0F
        or 0xE0000 <= code <= 0xE0FFF
    )


@lru_cache(maxsize=4096)
def _is_latin(char: str) -> bool:
    return unicodedata.name(char, "").startswith("LATIN")


@lru_cache(maxsize=4096)
def _style(char: str) -> str:
    """How a character differs from the ASCII letter that it stands for, such as `<font>`; empty if for none."""
    folded = unicodedata.normalize("NFKC", char)
    if char.isascii() or len(folded) != 1 or not (folded.isascii() and folded.isalpha()):
        return ""
    return unicodedata.decomposition(char).split()[0]


def _styled_letters(word: str) -> int:
    """Mathematical, circled, raised or full-width forms of Latin letters in a word.

    A single one stands for itself (a formula's variable, a Roman numeral), and up to two raised ones at the end are an
    ordinal or an abbreviation.
    """
    if word.isascii():
        return 0
    styles = [_style(char) for char in word]
    if sum(bool(style) or char.isalpha() for char, style in zip(word, styles, strict=True)) < 2:
        return 0
    raised = sum(1 for _ in takewhile(lambda style: style in ("<super>", "<sub>"), reversed(styles)))
    if raised <= 2 and raised < len(word):
        styles = styles[: len(word) - raised]
    return sum(map(bool, styles))


@lru_cache(maxsize=1)
def _twins() -> dict[str, str]:
    """Letters of other scripts to the one ASCII letter that they look like."""
    from confusable_homoglyphs import confusables

    table: dict[str, str] = {}
    for char, likes in confusables.confusables_data.items():
        if len(char) == 1 and char.isalpha() and unicodedata.name(char, "").startswith(_IMITATORS):
            ascii_likes = [like["c"] for like in likes if like["c"].isascii() and like["c"].isalpha()]
            if ascii_likes:
                table[char] = ascii_likes[0]
    return table


def _look_alikes_to_latin(text: str) -> tuple[str, int]:
    """Replace look-alikes in words that mix them with Latin letters, or that stand among Latin words.

    A word all of whose letters have a Latin twin is only taken for an imitation in a text that is mostly Latin: honest
    Cyrillic or Greek text is left as it is. So are single letters, which are variables and prepositions.
    """
    if text.isascii():
        return text, 0
    twins = _twins()
    within_latin = {**_ROUGH, **twins}
    latin_text = sum(map(_is_latin, text)) * 2 > sum(map(str.isalpha, text))
    changed = 0

    def fold(match: re.Match[str]) -> str:
        nonlocal changed
        word = match.group()
        letters = [char for char in word if char.isalpha()]
        if word.isascii() or len(letters) < 2:
            return word
        if any(map(_is_latin, letters)):
            table = within_latin
        elif latin_text and all(char in twins for char in letters):
            table = twins
        else:
            return word
        changed += sum(char in table for char in word)
        return "".join(table.get(char, char) for char in word)

    return _WORD.sub(fold, text), changed
