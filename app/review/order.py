"""What comes first in the queue, for the owner to weigh, and how often people agree with the guard."""

from __future__ import annotations

from typing import Any

import gradio as gr

from annotation_store.rules.reasons import DEFAULT_WEIGHTS, LEAST_WEIGHT, MOST_WEIGHT
from annotation_store.values.reasons import KIND_NAMES, ReasonKind
from app.review import order_present as present
from app.shared.services import Services
from core.errors import GuardroomError


def build(services: Services, token: gr.Textbox) -> None:
    """Lay the part out and wire it. Call below the queue."""
    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    with gr.Accordion("Order and audit", open=False, elem_id="gr-o") as part:
        shown = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="gr-o-shown")
        with gr.Row(elem_classes="gr-d-buttons"):
            kind = gr.Dropdown(
                [(name, each.value) for each, name in KIND_NAMES.items()], value=ReasonKind.REPORTED.value,
                label="Reason", elem_id="gr-o-kind", filterable=False, min_width=160,
            )  # fmt: skip
            weight = gr.Number(
                DEFAULT_WEIGHTS[ReasonKind.REPORTED], label=f"Weight, {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}",
                elem_id="gr-o-weight", min_width=120,
            )  # fmt: skip
            give = gr.Button("Give this weight", size="sm", elem_id="gr-o-give")

    def look(offered: str, http: gr.Request) -> str:
        from annotation_store.review.progress import audit_figures, left
        from annotation_store.review.weights import weights

        try:
            services.gate.check(offered, http.headers)
            store = services.store()
            return present.order(weights(store), left(store).by_kind) + present.agreement(audit_figures(store))
        except GuardroomError as error:
            return present.failed(error)

    def change(kind: str, weight: float | None, offered: str, http: gr.Request) -> str:
        from annotation_store.review.weights import set_weight

        try:
            services.gate.check(offered, http.headers)
            set_weight(services.store(), ReasonKind(kind), -1.0 if weight is None else float(weight), "owner")
        except GuardroomError as error:
            return present.failed(error) + look(offered, http)
        return look(offered, http)

    def weight_of(kind: str, offered: str, http: gr.Request) -> Any:
        from annotation_store.review.weights import weights

        try:
            services.gate.check(offered, http.headers)
            return weights(services.store())[ReasonKind(kind)]
        except GuardroomError:
            return gr.skip()

    part.expand(look, token, shown, **hidden).then(weight_of, [kind, token], weight, **hidden)
    kind.input(weight_of, [kind, token], weight, **hidden)
    gr.on([give.click, weight.submit], change, [kind, weight, token], shown, **hidden)
