"""Our errors as Gradio hands them to a client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from core.errors import GuardroomError


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn our errors into the ones that Gradio hands to a client, word for word."""
    try:
        yield
    except GuardroomError as error:
        raise gr.Error(str(error), print_exception=False) from None
