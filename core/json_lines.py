"""One JSON value a line, as UTF-8 that every reader accepts."""

from __future__ import annotations

import json
import re
from typing import Any

_SURROGATES = re.compile("[\ud800-\udfff]")


def json_line(value: Any) -> bytes:
    """Compact JSON with a newline. Keys stay in their order, so equal values give equal bytes.

    Letters are written as themselves. Lone surrogates, which UTF-8 cannot carry, are written as JSON's own escapes; two
    that happen to make up a pair come back as the character that the pair stands for.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return _SURROGATES.sub(lambda match: f"\\u{ord(match.group()):04x}", text).encode() + b"\n"
