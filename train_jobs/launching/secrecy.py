"""No secret reaches a command line, a run folder or a log."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping
from typing import TextIO

from core.errors import JobError

HIDDEN = "•••"
SHORTEST = 6
"""Shorter values are not looked for in texts: they would hide ordinary words."""

_SECRET_NAME = re.compile(
    r"(^|_)(TOKENS?|[A-Z]*KEYS?|SECRETS?|PASSWORD|PASSWD|PASS|PASSPHRASE|CREDENTIALS?|AUTH|COOKIES?|PAT)(_|$)"
    r"|DATABASE_URL|DSN$|^SSH_|^GPG_"
)
_WITH_CREDENTIALS = re.compile(r"://[^/\s@]+@")


def is_secret_name(name: str) -> bool:
    """Whether an environment variable of this name may hold a secret."""
    return _SECRET_NAME.search(name.upper()) is not None


def clean_environment(environment: Mapping[str, str], secrets: Collection[str] = ()) -> dict[str, str]:
    """What a child process may inherit.

    Left out are variables that are secret by name, that hold an address with a password, or one of `secrets`.
    """
    known = _worth_hiding(secrets)
    return {
        name: value
        for name, value in environment.items()
        if not is_secret_name(name)
        and _WITH_CREDENTIALS.search(value) is None
        and not any(secret in value for secret in known)
    }


def refuse_secrets(text: str, secrets: Collection[str], where: str) -> None:
    """Refuse a text that holds a known secret.

    Raises:
        JobError: it does; the message does not repeat it.
    """
    if any(secret in text for secret in _worth_hiding(secrets)):
        raise JobError(f"{where} holds a secret (a token or a key); a run folder must hold none, so leave it out.")


def hide(text: str, secrets: Collection[str]) -> str:
    """The text with every known secret blotted out."""
    for secret in _worth_hiding(secrets):
        text = text.replace(secret, HIDDEN)
    return text


def _worth_hiding(secrets: Collection[str]) -> list[str]:
    # The longest first: one may be a part of another.
    return sorted({each for each in secrets if len(each) >= SHORTEST}, key=len, reverse=True)


class HidingStream(io.TextIOWrapper):
    """Standard output or error without the known secrets. What C libraries write goes past it."""

    def __init__(self, below: TextIO, secrets: Collection[str]) -> None:
        super().__init__(below.buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self._secrets = tuple(_worth_hiding(secrets))

    def write(self, text: str) -> int:
        """Write, blotting out; returns the length of what was asked for."""
        super().write(hide(text, self._secrets))
        return len(text)
