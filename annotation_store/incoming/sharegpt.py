"""Rows of conversations: ShareGPT `messages`, or `conversations` with from and value. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotation_store.outgoing.exact import EXACT, messages_digest
from core.errors import InputError, ProtocolError, UnparseableOutput
from core.prompt.protocol import Protocol, parse_completion, protocol_from_sharegpt, render_target, split_completion
from core.types import Assessment, Label

_ROLES = {"human": "user", "gpt": "assistant"}
_PLACE = re.compile(r"<(?:image|video|audio)>\n?")
_KNOWN = 64
"""Protocols that are remembered by their system turn."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a row of turns says."""

    request: str
    response: str | None
    assessment: Assessment | None
    """None when the assistant's turn is an answer to the user and no judgement."""
    target: str | None = None
    """The assistant's turn, where it is not what our own rendering would write."""
    protocol_version: str | None = None


def exact_row(row: Mapping[str, Any], messages: Any) -> dict[str, Any] | None:
    """The plain row that Guardroom wrote beside the turns; none when there is none or the turns were edited."""
    said = row.get(EXACT)
    if not isinstance(said, str):
        return None
    try:
        found = json.loads(said)
        if found["messages_sha256"] == messages_digest(messages) and isinstance(found["row"], dict):
            return dict(found["row"])
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


class Turns:
    """Reads conversations; the protocol is found once for each system turn."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._protocols: dict[str, Protocol | None] = {}

    def read(self, messages: Any) -> Conversation:
        """The request, the response and the judgement in a row's turns.

        Rows of the guard's papers hold a sample in the user's turn and the judgement in the assistant's. Any other
        conversation is its first question with the first answer, unlabelled.

        Raises:
            InputError: it is no conversation, or its judgement cannot be read.
        """
        turns = _turns(messages)
        user, assistant = turns["user"], turns.get("assistant", "")
        if "<result>" not in assistant and "</think>" not in assistant:
            return Conversation(_without_places(user), assistant or None, None)
        protocol = self._protocol(messages, turns.get("system", ""))
        if protocol is None:
            raise InputError(
                "The user's turn does not hold the lines 'Human user:' and 'AI assistant:' or the assistant's no "
                "result block, so what is judged cannot be told."
            )
        request, response = _sides(protocol, user)
        try:
            said = parse_completion(protocol, *split_completion(protocol, assistant))
        except UnparseableOutput as error:
            raise InputError(f"The assistant's turn cannot be read: {error}") from None
        return _judged(protocol, request, response, said, assistant)

    def _protocol(self, messages: Any, system: str) -> Protocol | None:
        known = self._protocols.get(system)
        if known is None:
            turns = messages
            if not system:  # a row without a system turn is read by the same rules
                turns = [{"role": "system", "content": "-"}, *messages]
            try:
                known = protocol_from_sharegpt({"messages": turns}, self._name)
            except ProtocolError:
                return None
            if len(self._protocols) < _KNOWN:
                self._protocols[system] = known
        return known


def _judged(protocol: Protocol, request: str, response: str | None, said: Assessment, assistant: str) -> Conversation:
    side = said.response
    if response is None:
        side = Label.ABSENT
    elif side is Label.ABSENT:
        side = Label.UNLABELLED
    harm = Label.UNLABELLED if said.request is Label.ABSENT else said.request
    assessment = Assessment(harm, side, said.categories, said.reasoning)
    rendered = render_target(protocol, said).strip()
    target = None if rendered == assistant.strip() else assistant
    return Conversation(request, response, assessment, target, protocol.version if target else None)


def _turns(messages: Any) -> dict[str, str]:
    """The first text of each role.

    Raises:
        InputError: there is no user turn, or a turn is no text.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise InputError(f"The messages are a {type(messages).__name__}; a list of turns is expected.")
    turns: dict[str, str] = {}
    for turn in messages:
        if not isinstance(turn, Mapping):
            raise InputError(f"A turn is a {type(turn).__name__}; an object with role and content is expected.")
        role = str(turn.get("role", turn.get("from", "")))
        content = turn.get("content", turn.get("value"))
        if isinstance(content, Sequence) and not isinstance(content, str):
            texts = [part.get("text") or "" for part in content if isinstance(part, Mapping)]
            content = "".join(text for text in texts if isinstance(text, str))
        if not isinstance(content, str):
            raise InputError(f"The content of a turn is a {type(content).__name__}; a text is expected.")
        turns.setdefault(_ROLES.get(role, role), content)
    if "user" not in turns:
        raise InputError("The messages have no turn of the user.")
    return turns


def _sides(protocol: Protocol, user: str) -> tuple[str, str | None]:
    """Request and response of a user turn that is written by the protocol."""
    start = re.match(r"Human user:[^\S\n]*\n", user, re.IGNORECASE)
    middle = re.search(r"\n{0,2}^AI assistant:[^\S\n]*\n", user, re.IGNORECASE | re.MULTILINE)
    if not start or not middle:
        raise InputError("The user's turn does not hold the lines 'Human user:' and 'AI assistant:'.")
    request = _without_places(user[start.end() : middle.start()])
    response = user[middle.end() :]
    if protocol.response_footer:
        response = response.removesuffix(protocol.response_footer)
    absent = response.strip().casefold() in ("none", "")
    return request, None if absent else response


def _without_places(text: str) -> str:
    """The text without the placeholders at which the media stand."""
    return _PLACE.sub("", text)
