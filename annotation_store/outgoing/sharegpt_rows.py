"""A labelled sample as a conversation: the protocol's turns, the media named, the judgement as the assistant's turn."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from annotation_store.outgoing.exact import EXACT, messages_digest
from annotation_store.outgoing.rows import STATED, plain_row
from annotation_store.values.review import Exported, LabelRecord
from core.engines.openai_chat import escape_controls
from core.prompt.protocol import Protocol, build_turns, render_target
from core.types import Label, Modality

_PLACES = {Modality.IMAGE: "<image>", Modality.VIDEO: "<video>"}
_TYPED = re.compile(r"<(image|video|audio)>", re.IGNORECASE)


class ShareGptRows:
    """Renders rows in one protocol.

    Trainers read `<image>` and control tokens such as `<|im_end|>` out of the text, whoever typed them. So a space is
    put into those that stand in a sample; the exact row goes along in a column of its own, for the way back.
    """

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        # Every control string begins with such a character, and most texts hold none.
        self._openings = {"<", protocol.think_open[0], protocol.think_close[0]}
        self.left_out: dict[str, int] = {}

    def why_not(self, item: Exported) -> str | None:
        """Why a sample cannot be a row: a target needs a label for every side that is there."""
        if item.label is None:
            return "not labelled"
        if item.label.draft.request not in STATED:
            return "request not labelled"
        if item.sample.response is not None and item.label.draft.response not in STATED:
            return "response not labelled"
        return None

    def row(self, item: Exported, media: list[str]) -> dict[str, Any]:
        """The row. `why_not` must have been asked before."""
        if item.label is None:
            raise ValueError("a sample without a label has no target")
        sample = replace(
            item.sample,
            request=self._harmless(item.sample.request),
            response=None if item.sample.response is None else self._harmless(item.sample.response),
        )
        system, user = build_turns(self._protocol, sample)
        places = iter([_PLACES[ref.modality] for ref in sample.media])
        content = "".join(next(places) if part is None else part for part in user.parts)
        messages = [
            {"role": "system", "content": "".join(part or "" for part in system.parts)},
            {"role": "user", "content": content},
            {"role": "assistant", "content": self._target(item.label)},
        ]
        row: dict[str, Any] = {"messages": messages}
        for name, kind in (("images", Modality.IMAGE), ("videos", Modality.VIDEO)):
            named = [path for path, ref in zip(media, sample.media, strict=True) if ref.modality is kind]
            if named:
                row[name] = named
        exact = {"messages_sha256": messages_digest(messages), "row": plain_row(item, media)}
        return row | {EXACT: json.dumps(exact, ensure_ascii=False, separators=(",", ":"))}

    def _target(self, label: LabelRecord) -> str:
        """The target as it was written out, where it is in this protocol; else rendered from the steps."""
        said = label.draft.reasoning
        if said and said.target is not None and said.protocol_version == self._protocol.version:
            return said.target
        steps = tuple(self._harmless(step) for step in label.assessment.reasoning)
        response = label.draft.response if label.draft.response in STATED else Label.ABSENT
        return render_target(self._protocol, replace(label.assessment, response=response, reasoning=steps))

    def _harmless(self, text: str) -> str:
        if not any(each in text for each in self._openings):
            return text
        return _TYPED.sub(r"< \1>", escape_controls(text, self._protocol)[0])
