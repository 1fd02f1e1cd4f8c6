"""Samples as chat messages, and streamed chunks as text with label probabilities: rules only, no connection."""

from __future__ import annotations

import base64
import io
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from core.engines.base import Completion, Prompt
from core.media.vision import DecodedMedia, VisionSpec, resize_frames, resized_size
from core.prompt.protocol import Protocol, build_turns, render_reasoning
from core.types import FinishReason, HarmProbability, Preprocessing, Sample

TOP_LOGPROBS = 20
"""Alternatives asked for at each token: the most that the API allows."""
JPEG_QUALITY = 95
SPEC = VisionSpec(16, 2, 2, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Pictures are resized for Qwen3-VL (multiples of 32 pixels), so that a server with that model changes them no more."""
PIXELS_PER_TOKEN = 28 * 28
"""Of a picture, for estimates: Qwen2.5-VL's share. Qwen3-VL needs fewer tokens (32 x 32); others are unknown."""
PICTURE_TOKENS = 12
"""Estimate of the tokens around one picture: its borders, and the time before a frame."""
TURN_TOKENS = 16
"""Estimate of the tokens that a chat template puts around one turn."""

_TOOL_TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")


# -- control strings ----------------------------------------------------------------------------------------------


def escape_controls(text: str, protocol: Protocol) -> tuple[str, tuple[str, ...]]:
    """The text with a space after the first character of each control string, and the strings that were found.

    Ids cannot be built for a server, and its template would make the end of the turn of a typed `<|im_end|>`. A space
    leaves the words readable for the model and for a person. Escaped are `<|...|>` (also in full-width bars), the
    protocol's think tags and Qwen's tool tags: every control token of the Qwen and Llama 3 vocabularies.
    """
    found: list[str] = []

    def part(match: re.Match[str]) -> str:
        found.append(match.group())
        return f"{match.group()[0]} {match.group()[1:]}"

    tags = map(re.escape, (protocol.think_open, protocol.think_close, *_TOOL_TAGS))
    return re.sub("|".join(["<[|｜][^<>|｜\\n]{1,64}[|｜]>", *tags]), part, text), tuple(found)


def prompt_warnings(protocol: Protocol, prompt: Prompt) -> tuple[str, ...]:
    """What of this prompt a server does not get as it is."""
    warnings = []
    for name, text in (("request", prompt.sample.request), ("response", prompt.sample.response or "")):
        if found := escape_controls(text, protocol)[1]:
            several = f"{len(found)} control strings" if len(found) > 1 else "a control string"
            named = ", ".join(list(dict.fromkeys(found))[:3])
            warnings.append(
                f"The {name} holds {several} ({named}); the server would obey such words, so they were sent with a "
                "space put in."
            )
    if any(medium.is_video for medium in prompt.media):
        warnings.append("The server was sent the sampled frames as pictures with their times, not the video itself.")
    return tuple(warnings)


# -- messages -----------------------------------------------------------------------------------------------------


def build_messages(protocol: Protocol, prompt: Prompt, preprocessing: Preprocessing | None) -> list[dict[str, Any]]:
    """The system and the user message of a prompt, control strings escaped.

    Args:
        preprocessing: the pixel ranges of the pictures; none leaves the media out (to count the text alone).
    """
    sample = prompt.sample
    response = None if sample.response is None else escape_controls(sample.response, protocol)[0]
    safe: Sample = replace(sample, request=escape_controls(sample.request, protocol)[0], response=response)
    waiting = iter(prompt.media)
    messages = []
    for turn in build_turns(protocol, safe):
        parts: list[dict[str, Any]] = []
        for part in turn.parts:
            if part is not None:
                parts.append({"type": "text", "text": part})
            elif preprocessing is not None:
                parts += medium_parts(next(waiting), preprocessing)
        plain = all(part["type"] == "text" for part in parts)
        messages.append({"role": turn.role, "content": "".join(part["text"] for part in parts) if plain else parts})
    return messages


def medium_parts(medium: DecodedMedia, preprocessing: Preprocessing) -> list[dict[str, Any]]:
    """A still image without loss; a video as each of its frames after a text with its time."""
    height, width = medium.frames.shape[1:3]
    frames = resize_frames(medium.frames, sent_size(height, width, medium.is_video, preprocessing))
    if medium.timestamps is None:
        return [_picture(frames[0], "png")]
    parts: list[dict[str, Any]] = []
    for frame, seconds in zip(frames, medium.timestamps, strict=True):
        parts += [{"type": "text", "text": f"<{seconds:.1f} seconds>"}, _picture(frame, "jpeg")]
    return parts


def sent_size(height: int, width: int, is_frame: bool, preprocessing: Preprocessing) -> tuple[int, int]:
    """Height and width in which a picture is sent."""
    low, high = (
        (preprocessing.frame_min_pixels, preprocessing.frame_max_pixels)
        if is_frame
        else (preprocessing.image_min_pixels, preprocessing.image_max_pixels)
    )
    return resized_size(height, width, factor=SPEC.factor, min_pixels=low, max_pixels=high)


def _picture(pixels: Any, form: str) -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **({"quality": JPEG_QUALITY} if form == "jpeg" else {}))
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:image/{form};base64,{data}"}}


def estimate_text_tokens(text: str) -> int:
    """A third of the UTF-8 bytes, rounded up: three letters of English a token, one character of Chinese."""
    return -(-len(text.encode("utf-8", "replace")) // 3)


def estimate_picture_tokens(media: Sequence[DecodedMedia], preprocessing: Preprocessing) -> int:
    """Tokens of all pictures, by `PIXELS_PER_TOKEN`."""
    tokens = 0
    for medium in media:
        _, height, width, _ = medium.frames.shape
        height, width = sent_size(height, width, medium.is_video, preprocessing)
        tokens += len(medium.frames) * (-(-height * width // PIXELS_PER_TOKEN) + PICTURE_TOKENS)
    return tokens


# -- answers ------------------------------------------------------------------------------------------------------


def p_harmful(alternatives: Sequence[Mapping[str, Any]], protocol: Protocol) -> float | None:
    """P(harmful) from the alternatives at a label's place: a softmax over those that begin one of the two words.

    A word that is not among them has at most the probability of the last one listed, and at most what all listed leave
    over: that bound is taken, so that no certainty is claimed which nobody has seen. None when both are missing.
    """
    words = (protocol.harmful.casefold(), protocol.unharmful.casefold())
    mass = [0.0, 0.0]
    listed = [math.exp(min(0.0, float(each["logprob"]))) for each in alternatives]
    for each, p in zip(alternatives, listed, strict=True):
        token = str(each["token"]).strip().casefold()
        begins = [bool(token) and word.startswith(token) for word in words]
        if begins.count(True) == 1:
            mass[begins.index(True)] += p
    if not any(mass):
        return None
    bound = max(0.0, min(min(listed), 1.0 - sum(listed)))
    harmful, unharmful = (each or bound for each in mass)
    return harmful / (harmful + unharmful)


def alternatives_at(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The alternatives of one token's `logprobs` entry, the token itself among them."""
    listed: list[Mapping[str, Any]] = list(entry.get("top_logprobs") or ())
    if all(each.get("token") != entry.get("token") for each in listed):
        listed.append(entry)
    return listed


class Transcript:
    """Follows one streamed answer: splits reasoning from answer, reads the label probabilities, counts tokens."""

    def __init__(self, protocol: Protocol, prompt: Prompt, started: float) -> None:
        self.text = ""
        self.reasoning = ""
        self.answer = ""
        self.closed = False
        self.finish: FinishReason | None = None
        self.chunks = 0
        self._protocol = protocol
        self._prompt = prompt
        self._started = started
        self._first_piece_at: float | None = None
        self._last_piece_at = time.perf_counter()
        self._apart = False
        """The server sends the reasoning in a field of its own."""
        self._tokens = 0
        self._counted: int | None = None
        self._read = ""
        """The token texts: before the closing tag all of them, then those after it."""
        self._read_closed = False
        self._probability: dict[str, float | None] = {}
        self._keys = {
            "request": re.compile(re.escape(protocol.request_key) + r"[ \t]*\Z", re.IGNORECASE),
            "response": re.compile(re.escape(protocol.response_key) + r"[ \t]*\Z", re.IGNORECASE),
        }

    def take(self, chunk: Mapping[str, Any]) -> str:
        """Take one chunk; returns the text that it adds.

        Raises:
            KeyError, TypeError, ValueError, AttributeError, IndexError: it is no chunk of a chat completion.
        """
        if chunk.get("usage"):
            self._counted = int(chunk["usage"]["completion_tokens"])
        if not chunk.get("choices"):
            return ""
        choice = chunk["choices"][0]
        delta = choice.get("delta") or {}
        reasoning, content = delta.get("reasoning_content") or delta.get("reasoning") or "", delta.get("content") or ""
        before = len(self.text)
        if reasoning:
            self._take_reasoning(str(reasoning))
        if content:
            self._take_content(str(content))
        entries = (choice.get("logprobs") or {}).get("content") or ()
        self._read_labels(entries)
        self._tokens += len(entries)
        added = self.text[before:]
        if added:
            self.chunks += 1
            self._last_piece_at = time.perf_counter()
            self._first_piece_at = self._first_piece_at or self._last_piece_at
        if choice.get("finish_reason"):
            # Whatever else a server calls it (abort, content_filter), the answer is then not known to be whole.
            self.finish = FinishReason.STOP if choice["finish_reason"] == "stop" else FinishReason.LENGTH
        return added

    def _take_reasoning(self, piece: str) -> None:
        begun = self._apart or bool(self._prompt.steps)
        tag = "" if begun and not self.closed else self._protocol.think_open
        self._apart = True
        self.text += tag + piece
        if self.closed:  # reasoning after the answer has begun: kept where the parser will refuse it
            self.answer += self._protocol.think_open + piece
        else:
            self.reasoning += piece

    def _take_content(self, piece: str) -> None:
        if self._apart and not self.closed:
            self.closed = self._read_closed = True
            self.text += self._protocol.think_close
        self.text += piece
        if self.closed:
            self.answer += piece
            return
        self.reasoning += piece
        if self._protocol.think_close in self.reasoning:
            self.reasoning, self.answer = self.reasoning.split(self._protocol.think_close, 1)
            self.closed = True

    def _read_labels(self, entries: Sequence[Mapping[str, Any]]) -> None:
        for entry in entries:
            if self._read_closed and self._protocol.result_open in self._read:
                for side, key in self._keys.items():
                    if side not in self._probability and key.search(self._read):
                        if str(entry["token"]).strip():  # a space of its own comes before the word
                            self._probability[side] = p_harmful(alternatives_at(entry), self._protocol)
                        break
            self._read += str(entry["token"])
            if not self._read_closed and self._protocol.think_close in self._read:
                self._read = self._read.split(self._protocol.think_close, 1)[1]
                self._read_closed = True

    @property
    def token_count(self) -> int:
        """As the server counted; else the tokens with log probabilities; else the pieces of text."""
        return self._counted or self._tokens or self.chunks

    def completion(self, finish: FinishReason) -> Completion:
        """What has been written so far."""
        given = render_reasoning(self._prompt.steps)
        own = self.reasoning.strip().removeprefix(self._protocol.think_open).strip()
        return Completion(
            text=self.text,
            reasoning="\n".join(part for part in (given, own) if part),
            answer=self.answer,
            token_ids=(),
            token_count=self.token_count,
            finish_reason=finish,
            ttft_s=None if self._first_piece_at is None else self._first_piece_at - self._started,
            latency_s=self._last_piece_at - self._started,
            probability=HarmProbability(self._probability.get("request"), self._probability.get("response")),
        )
