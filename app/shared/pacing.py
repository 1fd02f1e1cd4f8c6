"""Growing text told at a pace that a page and a connection can follow; everything else at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator

from core.events import Event, ReasoningGrew

TELL_EVERY_S = 0.06


def paced(
    events: Iterator[Event], every_s: float = TELL_EVERY_S, now: Callable[[], float] = time.monotonic
) -> Iterator[Event]:
    """Leave out text that came sooner than `every_s` seconds after the last; each carries all before it.

    Closing this closes `events`, so that a closed page stops the model.
    """
    told_at = -every_s
    try:
        for event in events:
            if isinstance(event, ReasoningGrew):
                if now() - told_at < every_s:
                    continue
                told_at = now()
            yield event
    finally:
        if isinstance(events, Generator):
            events.close()
