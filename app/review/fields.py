"""Handlers of the queue's fields: what Gradio hands over one by one becomes a form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from app.review.form import Form

Changes = dict[Any, Any]


def page_of(http: gr.Request) -> str:
    """The name of the open page that asks."""
    return http.session_hash or ""


def with_form(work: Callable[[Form, gr.Request], Changes]) -> Callable[..., Changes]:
    """A handler of `Parts.fields`; Gradio gives the request to the parameter that is annotated with it."""

    def handler(
        form: Any, request: Any, response: Any, categories: Any, confidence: Any, note: Any, reasoning: Any,
        http: gr.Request,
    ) -> Changes:  # fmt: skip
        return work(_filled(form, request, response, categories, confidence, note, reasoning), http)

    return handler


def with_message(work: Callable[[str, Form, gr.Request], Changes]) -> Callable[..., Changes]:
    """The same with the script's message before the fields."""

    def handler(
        said: str, form: Any, request: Any, response: Any, categories: Any, confidence: Any, note: Any, reasoning: Any,
        http: gr.Request,
    ) -> Changes:  # fmt: skip
        return work(said, _filled(form, request, response, categories, confidence, note, reasoning), http)

    return handler


def streaming(work: Callable[[Form, gr.Request], Iterator[Changes]]) -> Callable[..., Iterator[Changes]]:
    """The same for work that tells how it goes."""

    def handler(
        form: Any, request: Any, response: Any, categories: Any, confidence: Any, note: Any, reasoning: Any,
        http: gr.Request,
    ) -> Iterator[Changes]:  # fmt: skip
        yield from work(_filled(form, request, response, categories, confidence, note, reasoning), http)

    return handler


def _filled(
    form: Any, request: Any, response: Any, categories: Any, confidence: Any, note: Any, reasoning: Any
) -> Form:
    """The values of `Parts.fields` as a form."""
    return replace(
        form if isinstance(form, Form) else Form(),
        request=request or None,
        response=response or None,
        categories=tuple(categories or ()),
        confidence=None if confidence is None else float(confidence),
        note=note or "",
        reasoning=reasoning or "",
    )
