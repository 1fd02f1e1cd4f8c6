"""The review queue for scripts and MCP clients: plain values in, plain JSON out, errors in a sentence."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import gradio as gr

from annotation_store.values.reasons import ReasonKind
from annotation_store.values.review import (
    Claim,
    EventRecord,
    Evidence,
    EvidencePart,
    LabelDraft,
    LabelRecord,
    QueueFilter,
    Reasoning,
)
from app.review.form import steps_of
from app.shared.plain_errors import plain_errors
from app.shared.services import Services
from core.errors import InputError
from core.policy import load_policy
from core.types import Label, Modality, Sample

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]
Kind = TypeVar("Kind", bound=StrEnum)


def sample_to_json(sample: Sample) -> Json:
    """What is to be judged; media by digest."""
    return {
        "id": sample.id,
        "request": sample.request,
        "response": sample.response,
        "media": [asdict(ref) | {"modality": ref.modality.value} for ref in sample.media],
    }


def label_to_json(record: LabelRecord) -> Json:
    """A stored label."""
    said = record.draft
    reasoning = said.reasoning
    return {
        "id": record.id,
        "sample_id": record.sample_id,
        "request": said.request.value,
        "response": said.response.value,
        "categories": list(said.categories),
        "confidence": said.confidence,
        "note": said.note,
        "reasoning": None
        if reasoning is None
        else {
            "steps": list(reasoning.steps),
            "original": None if reasoning.original is None else list(reasoning.original),
            "first_wrong_step": reasoning.first_wrong_step,
        },
        "evidence": [asdict(each) | {"part": each.part.value} for each in said.evidence],
        "reviewer": record.reviewer,
        "source": record.source,
        "created_at": record.created_at,
        "supersedes": record.supersedes,
        "verdict_id": record.verdict_id,
        "policy_version": record.policy_version,
    }


def claim_to_json(claim: Claim) -> Json:
    """An item that a reviewer holds."""
    item = claim.item
    return {
        "token": claim.token,
        "reviewer": claim.reviewer,
        "expires_at": claim.expires_at,
        "sample": sample_to_json(item.sample),
        "verdict": item.verdict.to_json() if item.verdict else None,
        "reasons": [
            {
                "kind": each.kind.value,
                "strength": each.strength,
                "words": each.words,
                "checkpoint_id": each.checkpoint_id,
            }
            for each in item.reasons
        ],
        "stage": item.stage,
        "labels": [label_to_json(each) for each in item.labels],
    }


def event_to_json(event: EventRecord) -> Json:
    """Something that a reviewer did."""
    return asdict(event) | {"kind": event.kind.value}


def draft_from_json(said: Mapping[str, Any], original: tuple[str, ...] | None) -> LabelDraft:
    """A label as `/submit` takes it.

    Args:
        original: the model's own steps, kept beside the corrected ones.

    Raises:
        InputError: an unknown key, or a value of the wrong kind.
    """
    known = ("request", "response", "categories", "confidence", "note", "reasoning", "first_wrong_step", "evidence")
    if unknown := [key for key in said if key not in known]:
        raise InputError(f"{str(unknown[0])[:40]!r} is nothing that a label says; {', '.join(known)} are.")
    try:
        steps = tuple(str(step) for step in said.get("reasoning") or ())
        wrong = said.get("first_wrong_step")
        confidence = said.get("confidence")
        return LabelDraft(
            Label(said.get("request") or Label.UNLABELLED),
            Label(said.get("response") or Label.ABSENT),
            tuple(str(each) for each in said.get("categories") or ()),
            None if confidence is None else float(confidence),
            str(said.get("note") or ""),
            Reasoning(steps, original, None if wrong is None else int(wrong)) if steps else None,
            tuple(
                Evidence(
                    EvidencePart(each["part"]),
                    float(each["start"]),
                    float(each["end"]),
                    str(each.get("words") or ""),
                    None if each.get("step") is None else int(each["step"]),
                    int(each.get("position") or 0),
                )
                for each in said.get("evidence") or ()
            ),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"The label cannot be read ({error}); the README says what its keys hold.") from None


def register(services: Services) -> None:
    """Add the endpoints. Call inside `gr.Blocks`; nothing of them is seen on the page."""
    policy = load_policy()

    def report(verdict_id: str, note: str, reporter: str) -> Json:
        with plain_errors():
            return asdict(services.store().report(verdict_id, note or "", (reporter or "").strip() or "api"))

    def claim(
        reviewer: str, http: gr.Request, reason: str | None = None, modality: str | None = None,
        checkpoint_id: str | None = None, words: str | None = None, owner_token: str | None = None,
    ) -> Json:  # fmt: skip
        from annotation_store.review.claims import claim_next
        from annotation_store.review.progress import left

        with plain_errors():
            services.gate.check(owner_token, http.headers)
            wanted = QueueFilter(
                _one_of(ReasonKind, reason, "reason"), _one_of(Modality, modality, "modality"),
                checkpoint_id or None, words or "",
            )  # fmt: skip
            taken = claim_next(services.store(), reviewer, wanted)
            return {
                "claim": None if taken is None else claim_to_json(taken),
                "left": left(services.store(), wanted).total,
            }

    def submit(token: str, label: Json, http: gr.Request, owner_token: str | None = None) -> Json:
        from annotation_store.review.decisions import submit as decide

        with plain_errors():
            services.gate.check(owner_token, http.headers)
            if not isinstance(label, dict):
                raise InputError("The label is no object; the README says what its keys hold.")
            store = services.store()
            done = decide(
                store,
                token,
                draft_from_json(label, _original(services, token)),
                categories=[each.id for each in policy.categories],
                policy_version=policy.version,
            )
            return {
                "event": event_to_json(done.event),
                "label": label_to_json(done.label),
                "warnings": list(done.warnings),
            }

    def skip(token: str, why: str, http: gr.Request, owner_token: str | None = None) -> Json:
        from annotation_store.review.decisions import skip as leave

        with plain_errors():
            services.gate.check(owner_token, http.headers)
            return event_to_json(leave(services.store(), token, why or ""))

    def undo(reviewer: str, http: gr.Request, event_id: str | None = None, owner_token: str | None = None) -> Json:
        from annotation_store.review.decisions import undo as take_back

        with plain_errors():
            services.gate.check(owner_token, http.headers)
            done = take_back(services.store(), reviewer, event_id or None)
            return {
                "event": event_to_json(done.event),
                "claim": None if done.claim is None else claim_to_json(done.claim),
            }

    def snapshot(name: str, http: gr.Request, selection: Json | None = None, owner_token: str | None = None) -> Json:
        from annotation_store.reading.selecting import selection_from_json

        with plain_errors():
            services.gate.check(owner_token, http.headers)
            info = services.freeze(selection_from_json(selection or {"labelled": "yes"}), name or "", "api")
            return asdict(info) | {
                "folder": str(info.folder),
                "selection": dict(info.selection),
                "counts": dict(info.counts),
                "left_out": dict(info.left_out),
            }

    def text(label: str, value: str | None = None) -> gr.Textbox:
        return gr.Textbox(value, label=label)

    with gr.Row(visible=False):
        result = gr.JSON(label="Result")
        trigger = gr.Button()
        secret = gr.Textbox(None, label="Owner's token", type="password")
        label = gr.JSON({}, label="Label")
        selection = gr.JSON(None, label="Selection")
        token, why = text("Token", ""), text("Why", "")
        reviewer, name, event = text("Reviewer", ""), text("Name", ""), text("Event id")
        verdict, note, reporter = text("Verdict id", ""), text("Note", ""), text("Reporter", "")
        reason, modality, checkpoint, words = (text(each) for each in ("Reason", "Modality", "Checkpoint id", "Words"))
    trigger.click(
        report, [verdict, note, reporter], result, api_name="report",
        api_description="Say that a verdict of /moderate is wrong; its sample goes to the review queue.",
    )  # fmt: skip
    trigger.click(
        claim, [reviewer, reason, modality, checkpoint, words, secret], result, api_name="claim",
        api_description="Take the next item of the review queue for a reviewer. The token hands it in; the claim is "
        "null when nothing like this is left.",
    )  # fmt: skip
    trigger.click(
        submit, [token, label, secret], result, api_name="submit",
        api_description="Decide the claimed item: a label with request, response, categories, confidence, note, "
        "reasoning, first_wrong_step and evidence.",
    )  # fmt: skip
    trigger.click(
        skip, [token, why, secret], result, api_name="skip",
        api_description="Leave the claimed item to others, with a reason.",
    )  # fmt: skip
    trigger.click(
        undo, [reviewer, event, secret], result, api_name="undo",
        api_description="Take back a reviewer's last decision, or the one named; its item is claimed again.",
    )  # fmt: skip
    trigger.click(
        snapshot, [name, selection, secret], result, api_name="snapshot",
        api_description="Freeze labelled samples as a folder that stands alone, split into train, validation and test.",
    )  # fmt: skip


def _one_of(kind: type[Kind], word: str | None, what: str) -> Kind | None:
    if not word:
        return None
    try:
        return kind(word)
    except ValueError:
        raise InputError(f"{word[:40]!r} is no {what}; accepted are {', '.join(kind)}.") from None


def _original(services: Services, token: str) -> tuple[str, ...] | None:
    """The model's steps on the item of a token, as the reviewer saw them."""
    from annotation_store.review.claims import item_of

    item = item_of(services.store(), token)
    return steps_of(item.verdict) or None if item else None
