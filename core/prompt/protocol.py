"""What the model is told, what it should write, and how its text is read: one module for serving, training and scoring.

A protocol is a small TOML file (assets/protocols, or `protocol.toml` in a checkpoint's folder). Its `version` is
recorded by every verdict, snapshot and checkpoint. Nothing here knows a tokenizer: `encode` beside it makes ids of it.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from core.errors import ProtocolError, UnparseableOutput
from core.types import Assessment, Label, Sample


@dataclass(frozen=True, slots=True)
class Protocol:
    """The wording that surrounds a sample, and the words of the answer."""

    name: str
    version: str
    system: str
    request_header: str = "Human user:\n"
    """Opens the user turn; media follow it, then the request."""
    response_header: str = "\n\nAI assistant:\n"
    response_footer: str = "\n"
    no_response: str = "None"
    think_open: str = "<think>"
    think_close: str = "</think>"
    result_open: str = "<result>"
    result_close: str = "</result>"
    answers_header: str = ""
    """A line that some checkpoints write before the labels, with its newline."""
    request_key: str = "Request:"
    response_key: str = "Response:"
    harmful: str = "harmful"
    unharmful: str = "unharmful"
    absent: str = "None"

    def word(self, label: Label) -> str:
        """The word that stands for a label in the result block.

        Raises:
            ValueError: for an unlabelled side, which has no word.
        """
        match label:
            case Label.HARMFUL:
                return self.harmful
            case Label.UNHARMFUL:
                return self.unharmful
            case Label.ABSENT:
                return self.absent
            case Label.UNLABELLED:
                raise ValueError("an unlabelled side has no word in the result block")


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the conversation before the chat template: texts, and `None` where a medium stands."""

    role: str
    parts: tuple[str | None, ...]


def build_turns(protocol: Protocol, sample: Sample) -> tuple[Turn, Turn]:
    """The system turn and the user turn for a sample. Media stand between the header and the request."""
    response = protocol.no_response if sample.response is None else sample.response
    tail = f"{sample.request}{protocol.response_header}{response}{protocol.response_footer}"
    if sample.media:
        parts: tuple[str | None, ...] = (protocol.request_header, *(None for _ in sample.media), tail)
    else:
        parts = (protocol.request_header + tail,)
    return Turn("system", (protocol.system,)), Turn("user", parts)


def render_reasoning(steps: Sequence[str]) -> str:
    """Numbered steps, one a line. Newlines inside a step become spaces and blank steps are left out, or the steps could
    not be told apart."""
    flat = [" ".join(step.split()) for step in steps]
    return "\n".join(f"{number}. {step}" for number, step in enumerate(filter(None, flat), 1))


def render_result(protocol: Protocol, request: Label, response: Label) -> str:
    """The result block, from its opening to its closing tag."""
    return (
        f"{protocol.result_open}\n{protocol.answers_header}"
        f"{protocol.request_key} {protocol.word(request)}\n"
        f"{protocol.response_key} {protocol.word(response)}\n{protocol.result_close}"
    )


def render_target(protocol: Protocol, assessment: Assessment) -> str:
    """What the model is trained to write: the think block, then the result block."""
    result = render_result(protocol, assessment.request, assessment.response)
    return f"{protocol.think_open}\n{render_reasoning(assessment.reasoning)}\n{protocol.think_close}\n{result}"


def reasoning_prefix(protocol: Protocol, steps: Sequence[str]) -> str:
    """The opening of an answer whose first steps are given; the model continues with the next step."""
    given = render_reasoning(steps)
    return f"{protocol.think_open}\n{given}\n" if given else f"{protocol.think_open}\n"


def first_look_prefix(protocol: Protocol) -> str:
    """The opening of an answer without reasoning: what follows next is the request's label."""
    return (
        f"{protocol.think_open}\n{protocol.think_close}\n{protocol.result_open}\n"
        f"{protocol.answers_header}{protocol.request_key}"
    )


def between_labels(protocol: Protocol) -> str:
    """What stands between the request's label and the response's."""
    return f"\n{protocol.response_key}"


_STEP_NUMBER = re.compile(r"^\s*(?:step\s+)?\d{1,3}\s*[.):]\s+", re.IGNORECASE)


def split_steps(reasoning: str) -> tuple[str, ...]:
    """The steps of a think block: one a line, or one a number where steps run over lines."""
    lines = [line.strip() for line in reasoning.splitlines() if line.strip()]
    if not any(_STEP_NUMBER.match(line) for line in lines):
        return tuple(lines)
    steps: list[str] = []
    for line in lines:
        numbered = _STEP_NUMBER.match(line)
        if numbered or not steps:
            steps.append(line[numbered.end() :] if numbered else line)
        else:
            steps[-1] += " " + line
    return tuple(steps)


def _label_of(word: str, protocol: Protocol) -> Label | None:
    own = ((protocol.harmful, Label.HARMFUL), (protocol.unharmful, Label.UNHARMFUL), (protocol.absent, Label.ABSENT))
    known = {"harmless": Label.UNHARMFUL, "none": Label.ABSENT} | {key.casefold(): label for key, label in own}
    return known.get(word.strip().rstrip(".").rstrip().casefold())


def parse_completion(protocol: Protocol, reasoning: str, answer: str) -> Assessment:
    """Read what the model wrote.

    Args:
        reasoning: the text before the model's own closing think tag, without the tags.
        answer: the text after it. The engine splits the two by token id where the tag is a control token, so
            a tag that the model only quotes does not count.

    Raises:
        UnparseableOutput: there is not exactly one result block with exactly one line for each side, or one of
            the words is not a label. The message says which.
    """
    if answer.count(protocol.think_close) or answer.count(protocol.think_open):
        raise UnparseableOutput("The model opened or closed its reasoning more than once.")
    opened, closed = answer.count(protocol.result_open), answer.count(protocol.result_close)
    if (opened, closed) != (1, 1):
        raise UnparseableOutput(
            f"The model wrote {opened} opening and {closed} closing result tags; exactly one of each is readable."
        )
    start = answer.index(protocol.result_open) + len(protocol.result_open)
    block = answer[start : answer.index(protocol.result_close)] if answer.index(protocol.result_close) >= start else ""
    found: dict[str, Label] = {}
    for key, side in ((protocol.request_key, "request"), (protocol.response_key, "response")):
        lines = [line.strip() for line in block.splitlines()]
        words = [line[len(key) :] for line in lines if line.casefold().startswith(key.casefold())]
        if len(words) != 1:
            raise UnparseableOutput(
                f"The result block holds {len(words)} lines for the {side}; exactly one is readable."
            )
        label = _label_of(words[0], protocol)
        if label is None:
            raise UnparseableOutput(f"The result block calls the {side} {words[0].strip()[:40]!r}, which is no label.")
        found[side] = label
    return Assessment(found["request"], found["response"], reasoning=split_steps(reasoning))


def split_completion(protocol: Protocol, completion: str) -> tuple[str, str]:
    """Reasoning and answer of a completion given as text, for engines that return no token ids.

    Raises:
        UnparseableOutput: the think block is not closed exactly once.
    """
    count = completion.count(protocol.think_close)
    if count != 1:
        raise UnparseableOutput(f"The model closed its reasoning {count} times; exactly once is readable.")
    reasoning, answer = completion.split(protocol.think_close)
    return reasoning.strip().removeprefix(protocol.think_open), answer


def protocol_from_mapping(values: Mapping[str, Any], origin: str) -> Protocol:
    """Build and check a protocol.

    Raises:
        ProtocolError: an unknown or missing field, a field that is no text, or labels that cannot be told apart.
    """
    known = {field.name for field in fields(Protocol)}
    if unknown := sorted(set(values) - known):
        raise ProtocolError(f"{origin} has unknown fields {unknown}; known are {sorted(known)}.")
    if missing := sorted({"name", "version", "system"} - set(values)):
        raise ProtocolError(f"{origin} lacks the fields {missing}.")
    if wrong := sorted(key for key, value in values.items() if not isinstance(value, str)):
        raise ProtocolError(f"{origin}: the fields {wrong} must be texts.")
    protocol = Protocol(**values)
    tags = ("think_open", "think_close", "result_open", "result_close", "request_key", "response_key")
    needed = (*tags, "harmful", "unharmful", "absent")
    if empty := [name for name in needed if not getattr(protocol, name).strip()]:
        raise ProtocolError(f"{origin}: the fields {empty} must not be empty.")
    if len({protocol.harmful.casefold(), protocol.unharmful.casefold(), protocol.absent.casefold()}) != 3:
        raise ProtocolError(f"{origin}: the three label words must differ.")
    return protocol


def load_protocol(path: Path) -> Protocol:
    """Read one protocol file.

    Raises:
        ProtocolError: the file is missing, no TOML, or not a usable protocol.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ProtocolError(f"There is no protocol file {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ProtocolError(f"{path} is not readable TOML ({error}).") from None
    return protocol_from_mapping(values, str(path))


def protocol_from_sharegpt(row: Mapping[str, Any], name: str) -> Protocol:
    """A protocol with the exact system turn of a ShareGPT training row (`messages`: system, user, assistant).

    The headers are found in the user turn, so that a checkpoint trained on such rows is prompted as it was trained.

    Raises:
        ProtocolError: the row has no such turns, or its user turn does not name the two sides.
    """
    turns = _sharegpt_turns(row)
    user = re.match(r"Human user:[^\S\n]*\n", turns["user"], re.IGNORECASE)
    response = re.search(r"\n{0,2}^AI assistant:[^\S\n]*\n", turns["user"], re.IGNORECASE | re.MULTILINE)
    if not user or not response:
        raise ProtocolError("The row's user turn does not hold the lines 'Human user:' and 'AI assistant:'.")
    answers = re.search(
        r"<result>\s*\n((?:(?!\s*Request:)[^\n]*\n)?)\s*Request:\s*(\w+)[^\n]*\n\s*Response:\s*(\w+)",
        turns["assistant"],
        re.IGNORECASE,
    )
    if not answers:
        raise ProtocolError("The row's assistant turn holds no result block with the lines 'Request:' and 'Response:'.")
    header, request_word, response_word = answers.groups()
    values = {
        "name": name,
        "version": f"{name}-{hashlib.sha256(turns['system'].encode()).hexdigest()[:12]}",
        "system": turns["system"],
        "request_header": user.group(),
        "response_header": response.group(),
        "response_footer": "\n" if turns["user"].endswith("\n") else "",
        "answers_header": header,
    }
    if request_word[0].isupper():
        values |= {"harmful": "Harmful", "unharmful": "Unharmful"}
    if response_word.casefold() == "none":
        values["absent"] = response_word
    said = turns["user"][response.end() :].strip()
    if said.casefold() == "none":
        values["no_response"] = said
    return protocol_from_mapping(values, f"the ShareGPT row for {name}")


def _sharegpt_turns(row: Mapping[str, Any]) -> dict[str, str]:
    """The first text of each role.

    Raises:
        ProtocolError: a role is missing, or its turn is no text.
    """
    listed = row.get("messages") or row.get("conversations") or []
    turns: dict[str, str] = {}
    for turn in listed if isinstance(listed, Sequence) and not isinstance(listed, str) else []:
        if not isinstance(turn, Mapping):
            raise ProtocolError(f"A turn of the row is a {type(turn).__name__}; a role with its content is expected.")
        role = str(turn.get("role", turn.get("from", "")))
        content = turn.get("content", turn.get("value"))
        turns.setdefault({"human": "user", "gpt": "assistant"}.get(role, role), content)
    wanted = ("system", "user", "assistant")
    if missing := [role for role in wanted if role not in turns]:
        raise ProtocolError(f"The row has no {', '.join(missing)} turn; system, user and assistant are expected.")
    for role in wanted:
        try:
            turns[role].encode()
        except (AttributeError, UnicodeEncodeError):
            raise ProtocolError(f"The row's {role} turn is no readable text.") from None
    return turns


def dump_protocol(protocol: Protocol) -> str:
    """The protocol as TOML that `load_protocol` reads back equal. Every field is written, so that a later change of a
    default changes no file."""
    return "".join(f"{field.name} = {_toml_string(getattr(protocol, field.name))}\n" for field in fields(protocol))


def _toml_string(text: str) -> str:
    """A basic string of TOML, over several lines where the text has them.

    JSON escapes what TOML wants escaped, except DEL; a newline right after the opening quotes is not part of the text.
    """
    lines = [json.dumps(line, ensure_ascii=False)[1:-1].replace("\x7f", "\\u007f") for line in text.split("\n")]
    return f'"{lines[0]}"' if len(lines) == 1 else '"""\n' + "\n".join(lines) + '"""'
