"""What the cells of a row say: texts, labels, categories, reasoning. Pure; a wrong cell is an InputError in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from core.errors import InputError
from core.prompt.protocol import split_steps
from core.types import Label

_WORDS = {
    Label.HARMFUL: ("harmful", "unsafe", "toxic", "hateful", "malicious", "yes", "true", "1", "1.0"),
    Label.UNHARMFUL: ("unharmful", "harmless", "safe", "benign", "no", "false", "0", "0.0"),
    Label.UNLABELLED: ("", "null", "none", "n/a", "nan", "unlabelled", "unlabeled", "absent"),
}
_LABELS = {word: label for label, words in _WORDS.items() for word in words}


def text_of(value: Any, what: str, most: int) -> str | None:
    """A text cell; numbers are written out.

    Raises:
        InputError: it is a list, an object or longer than `most` characters.
    """
    if value is None:
        return None
    if isinstance(value, str):
        text = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        text = str(value)
    else:
        raise InputError(f"The {what} is a {type(value).__name__}; a text is expected.")
    if len(text) > most:
        raise InputError(f"The {what} has {len(text):,} characters; at most {most:,} are accepted.")
    return text


def label_of(value: Any, what: str) -> Label:
    """A label cell: harmful or unharmful in the words of many data sets, or unlabelled.

    Raises:
        InputError: it is none of these words.
    """
    if value is None:
        return Label.UNLABELLED
    if isinstance(value, Label):
        return value
    text = str(value)
    label = _LABELS.get(text) or _LABELS.get(text.strip().casefold())
    if label is None:
        raise InputError(
            f"The {what} is {str(value)[:40]!r}; harmful, unharmful (or unsafe, safe, 1, 0) or nothing is expected."
        )
    return label


def list_of(value: Any, what: str) -> list[Any]:
    """A cell that may hold one thing, several, or JSON text of several.

    Raises:
        InputError: it is an object.
    """
    if value is None or value == "":
        return []
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, dict) and "bytes" not in value:
        raise InputError(f"The {what} is an object; a text or a list is expected.")
    return [value]


def steps_of(value: Any, most: int) -> tuple[str, ...]:
    """A reasoning cell: a list of steps, or a text with one step a line.

    Raises:
        InputError: a step is no text, or there are more than `most`.
    """
    if isinstance(value, str) and not value.lstrip().startswith("["):
        steps: Sequence[Any] = split_steps(value)
    else:
        steps = list_of(value, "reasoning")
    if wrong := [step for step in steps if not isinstance(step, str)]:
        raise InputError(f"A step of the reasoning is a {type(wrong[0]).__name__}; a text is expected.")
    if len(steps) > most:
        raise InputError(f"The reasoning has {len(steps):,} steps; at most {most:,} are accepted.")
    return tuple(steps)


def confidence_of(value: Any) -> float | None:
    """A confidence cell.

    Raises:
        InputError: it is no number from 0 to 1.
    """
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0.0 <= number <= 1.0:
        raise InputError(f"The confidence is {str(value)[:40]!r}; a number from 0 to 1 is expected.")
    return number


def object_of(value: Any, what: str) -> dict[str, Any] | None:
    """A cell with an object, or with JSON text of one.

    Raises:
        InputError: it is something else.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InputError(f"The {what} is no JSON.") from None
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InputError(f"The {what} is a {type(value).__name__}; an object is expected.")
    return value
