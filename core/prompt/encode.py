"""Samples to token ids and patches. Content is data: no text of a sample can ever become a control token.

The chat template is rendered with placeholders where content stands. Control tokens are recognised in the template
alone; each stretch between two of them (template words and content together, so that merges across their border are
those of the stock tokenisation) is encoded as plain text, with every control string that a person typed cut in two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from typing import Protocol as Interface

import numpy as np
import numpy.typing as npt

from core.errors import CheckpointError, EngineError, InputError
from core.media.vision import DecodedMedia, Patches, VisionSpec, patch_timestamps, patchify, resize_frames, resized_size
from core.prompt.protocol import (
    Protocol,
    between_labels,
    build_turns,
    first_look_prefix,
    render_reasoning,
    render_result,
)
from core.types import Assessment, Label, Preprocessing, Sample

TEXT, IMAGE, VIDEO = 0, 1, 2
"""Token types, as the Qwen-VL models number them (`mm_token_type_ids`)."""

TIMESTAMPED = frozenset({"qwen3_vl", "qwen3_vl_moe"})
"""Model types that read a video as one timestamp and one picture after the other."""

VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")

_PLACEHOLDER = re.compile("\ue0f0(\\d+)\ue0f1")


class Tokenizer(Interface):
    """The part of a transformers tokenizer that is used here."""

    chat_template: Any
    added_tokens_decoder: Any

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """Render a conversation."""

    def encode(self, text: str, **options: Any) -> Any:
        """Token ids of a text."""

    def decode(self, token_ids: Any, **options: Any) -> Any:
        """Text of token ids."""


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """One prompt as the model reads it, without batch dimension."""

    ids: tuple[int, ...]
    types: tuple[int, ...]
    """0 text, 1 image, 2 video, one for each id."""
    images: tuple[Patches, ...] = ()
    videos: tuple[Patches, ...] = ()
    seconds_per_patch: tuple[float, ...] = ()
    """For each video the seconds from one temporal patch to the next (read by Qwen2.5-VL)."""

    def extended(self, ids: Iterable[int]) -> EncodedPrompt:
        """The same prompt followed by text tokens."""
        more = tuple(ids)
        return replace(self, ids=self.ids + more, types=self.types + (TEXT,) * len(more))


class PromptEncoder:
    """Builds prompts, training targets and label readings for one checkpoint."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        protocol: Protocol,
        preprocessing: Preprocessing,
        model_type: str,
        vision: VisionSpec | None,
    ) -> None:
        """Take the parts together.

        Raises:
            CheckpointError: the label words cannot be told apart by their first token, or the tokenizer has no
                tokens for pictures although there is a vision tower.
        """
        self.tokenizer = tokenizer
        self.protocol = protocol
        self.preprocessing = preprocessing
        self.vision = vision
        self._timestamped = model_type in TIMESTAMPED
        self.controls: dict[str, int] = {str(token): int(at) for at, token in tokenizer.added_tokens_decoder.items()}
        self._control_ids = frozenset(self.controls.values())
        longest_first = sorted(self.controls, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first))) if longest_first else re.compile(r"(?!)")
        if self.label_id(protocol.harmful) == self.label_id(protocol.unharmful):
            raise CheckpointError("The label words begin with the same token, so their probability cannot be read.")
        if vision is not None and (missing := [token for token in VISION_TOKENS if token not in self.controls]):
            raise CheckpointError(f"The tokenizer lacks {missing[0]}, which a vision checkpoint needs.")

    # -- plain text and templates -------------------------------------------------------------------------------

    def plain_ids(self, text: str) -> list[int]:
        """Ids of a text in which nothing is a control token, whatever was typed.

        Raises:
            EngineError: the tokenizer makes a control token of every spelling of the text.
        """
        ids: list[int] = []
        start = 0
        while match := self._control.search(text, start):
            ids += self._encode(text[start : match.start() + 1])
            start = match.start() + 1
        ids += self._encode(text[start:])
        if not self._control_ids.isdisjoint(ids):
            raise EngineError("The tokenizer turned typed text into a control token; this checkpoint cannot be used.")
        return ids

    def template_ids(self, template: str, contents: Sequence[str] = ()) -> list[int]:
        """Ids of a template of our own, with control tokens, and `slot(n)` standing for the n-th content."""

        def fill(piece: str) -> str:
            return _PLACEHOLDER.sub(lambda match: contents[int(match.group(1))].strip(), piece)

        ids: list[int] = []
        start = 0
        for match in self._control.finditer(template):
            ids += self.plain_ids(fill(template[start : match.start()]))
            ids.append(self.controls[match.group()])
            start = match.end()
        return ids + self.plain_ids(fill(template[start:]))

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False)) if text else []

    # -- prompts ------------------------------------------------------------------------------------------------

    def encode(self, sample: Sample, media: Sequence[DecodedMedia] = ()) -> EncodedPrompt:
        """The prompt of a sample, up to where the assistant begins to write.

        Args:
            media: the decoded pixels, one for each of `sample.media`, in order.

        Raises:
            InputError: the checkpoint reads no media.
            EngineError: the checkpoint's chat template leaves media out.
        """
        ids, types, seconds = self._laid_out(sample, media)
        return EncodedPrompt(
            tuple(ids),
            tuple(types),
            tuple(self.patches(medium) for medium in media if not medium.is_video),
            tuple(self.patches(medium) for medium in media if medium.is_video),
            tuple(seconds),
        )

    def count(self, sample: Sample, media: Sequence[DecodedMedia] = ()) -> int:
        """Length of `encode(sample, media).ids`, without touching a pixel.

        Raises:
            InputError, EngineError: as `encode`.
        """
        return len(self._laid_out(sample, media)[0])

    def _laid_out(self, sample: Sample, media: Sequence[DecodedMedia]) -> tuple[list[int], list[int], list[float]]:
        """Ids, their types, and the seconds from patch to patch of each video."""
        if len(media) != len(sample.media):
            raise ValueError(f"{len(sample.media)} media are named and {len(media)} were decoded")
        if media and self.vision is None:
            raise InputError("This checkpoint reads text only; images and videos need a vision checkpoint.")
        contents: list[str] = []
        conversation = []
        waiting = iter(media)
        for turn in build_turns(self.protocol, sample):
            parts: list[dict[str, str]] = []
            for part in turn.parts:
                if part is None:
                    parts.append({"type": "video" if next(waiting).is_video else "image"})
                elif turn.role == "system":
                    # The protocol's own words: tags in them are control tokens, as they were in training.
                    parts.append({"type": "text", "text": part})
                else:
                    parts.append({"type": "text", "text": slot(len(contents), part)})
                    contents.append(part)
            only_text = "".join(part["text"] for part in parts) if all("text" in part for part in parts) else None
            conversation.append({"role": turn.role, "content": parts if only_text is None else only_text})
        template: str = self.tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        return self._expand(self.template_ids(template, contents), media)

    def _expand(self, ids: Sequence[int], media: Sequence[DecodedMedia]) -> tuple[list[int], list[int], list[float]]:
        """Put as many placeholder tokens where a medium stands as its patches make."""
        if self.vision is None:
            return list(ids), [TEXT] * len(ids), []
        image_pad, video_pad = self.controls["<|image_pad|>"], self.controls["<|video_pad|>"]
        stands = [token == video_pad for token in ids if token in (image_pad, video_pad)]
        if stands != [medium.is_video for medium in media]:
            raise EngineError("The checkpoint's chat template does not put every image and video where it belongs.")
        waiting = iter(media)
        out: list[int] = []
        types: list[int] = []
        seconds: list[float] = []

        def put(more: Sequence[int], kind: int) -> None:
            out.extend(more)
            types.extend([kind] * len(more))

        for token in ids:
            if token == image_pad:
                put([image_pad] * self._merged(self._grid(next(waiting))), IMAGE)
            elif token == video_pad:
                medium = next(waiting)
                shown_at = medium.timestamps or (0.0,)
                tube = self.vision.temporal_patch_size
                seconds.append(tube * (shown_at[-1] - shown_at[0]) / (len(shown_at) - 1) if len(shown_at) > 1 else 1.0)
                t, h, w = self._grid(medium)
                if not self._timestamped:
                    put([video_pad] * self._merged((t, h, w)), VIDEO)
                    continue
                for time in patch_timestamps(shown_at, tube):
                    put(self.plain_ids(f"<{time:.1f} seconds>"), TEXT)
                    put([self.controls["<|vision_start|>"]], TEXT)
                    put([video_pad] * self._merged((1, h, w)), VIDEO)
                    put([self.controls["<|vision_end|>"]], TEXT)
            else:
                put([token], TEXT)
        return out, types, seconds

    def _merged(self, grid: tuple[int, int, int]) -> int:
        assert self.vision is not None
        return grid[0] * grid[1] * grid[2] // self.vision.merge_size**2

    def patches(self, medium: DecodedMedia) -> Patches:
        """A still image, or the frames of a video, resized into the checkpoint's pixel range."""
        assert self.vision is not None
        return patchify(resize_frames(medium.frames, self._size(medium)), self.vision)

    def _size(self, medium: DecodedMedia) -> tuple[int, int]:
        """Height and width that the medium is resized to."""
        assert self.vision is not None
        height, width = medium.frames.shape[1:3]
        given = self.preprocessing
        pixels = (
            (given.frame_min_pixels, given.frame_max_pixels)
            if medium.is_video
            else (given.image_min_pixels, given.image_max_pixels)
        )
        return resized_size(height, width, factor=self.vision.factor, min_pixels=pixels[0], max_pixels=pixels[1])

    def _grid(self, medium: DecodedMedia) -> tuple[int, int, int]:
        """(t, h, w) in patches, as `patchify` will cut it."""
        assert self.vision is not None
        height, width = self._size(medium)
        patch, tube = self.vision.patch_size, self.vision.temporal_patch_size
        return -(-len(medium.frames) // tube), height // patch, width // patch

    # -- answers ------------------------------------------------------------------------------------------------

    def first_look_ids(self) -> list[int]:
        """The answer's opening without reasoning; the request's label comes next."""
        return self.template_ids(first_look_prefix(self.protocol))

    def between_labels_ids(self, request: Label) -> list[int]:
        """The request's label and what leads from it to the response's."""
        return self.plain_ids(f" {self.protocol.word(request)}{between_labels(self.protocol)}")

    def label_id(self, word: str) -> int:
        """The first token of a label word as it follows its key and a space."""
        return self.plain_ids(f" {word}")[0]

    def reasoning_ids(self, steps: Sequence[str]) -> list[int]:
        """The answer's opening with its first steps given; the model goes on with the next step."""
        given = render_reasoning(steps)
        return self.template_ids(f"{self.protocol.think_open}\n{slot(0, given)}" + ("\n" if given else ""), [given])

    def target_ids(self, assessment: Assessment, *, with_reasoning: bool = True) -> list[int]:
        """What the model is trained to write, without the end-of-turn token.

        Args:
            with_reasoning: false for a first-look row, whose think block is empty.
        """
        result = render_result(self.protocol, assessment.request, assessment.response)
        if not with_reasoning:
            opening = f"{self.protocol.think_open}\n"
            return self.template_ids(f"{opening}{self.protocol.think_close}\n{result}")
        given = render_reasoning(assessment.reasoning)
        return self.template_ids(
            f"{self.protocol.think_open}\n{slot(0, given)}\n{self.protocol.think_close}\n{result}", [given]
        )


def slot(number: int, content: str) -> str:
    """The placeholder of the n-th content, with the content's own outer white space left for the template to treat."""
    core = content.strip()
    if not core:
        return content
    start = content.index(core)
    return f"{content[:start]}\ue0f0{number}\ue0f1{content[start + len(core) :]}"


def stack_pixels(patches: Sequence[Patches]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The patches of several pictures one after the other, and their grids, shape (pictures, 3)."""
    return (
        np.concatenate([each.pixels for each in patches]),
        np.array([each.grid for each in patches], dtype=np.int64),
    )
