"""Safety-aware data concatenation (GuardReasoner-VL, arXiv 2505.11049): pairs of hard samples as one.

Texts are joined, images merged into one picture, videos follow each other, and a side is harmful when either was. So
the guard meets harm that stands beside something harmless. Separator and geometry are not published: they are
parameters.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.media.vision import MAX_ASPECT_RATIO
from core.mining.rules import SAID, Answer
from core.types import Label, MediaRef, Modality, Sample

Picture = npt.NDArray[np.uint8]
"""Shape (height, width, 3), RGB."""


class Geometry(StrEnum):
    """How two pictures become one."""

    SIDE_BY_SIDE = "side-by-side"
    """At the height of the lower one."""
    STACKED = "stacked"
    """At the width of the narrower one."""
    APART = "apart"
    """Not at all: the prompt holds both, one after the other."""


@dataclass(frozen=True, slots=True)
class HardRow:
    """One sample that the policy is trained on, with its labels."""

    sample: Sample
    request: Label
    response: Label
    made_of: tuple[str, ...] = ()
    """The ids of the samples that it was joined from; empty for a sample of the snapshot."""

    @property
    def gold(self) -> Answer:
        """Request and response label."""
        return self.request, self.response

    def to_json(self) -> str:
        """One JSON text: the only form of nested values that a datasets column keeps as it is."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> HardRow:
        """What `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        values = json.loads(text)
        said = values["sample"]
        media = tuple(MediaRef(**ref | {"modality": Modality(ref["modality"])}) for ref in said["media"])
        sample = Sample(said["request"], said["response"], media)
        return cls(sample, Label(values["request"]), Label(values["response"]), tuple(values["made_of"]))


def join_labels(first: Label, second: Label) -> Label:
    """One side's label of a joined row: harmful = first harmful or second harmful (GuardReasoner-VL, arXiv 2505.11049);
    unharmful only when neither can be harmful.

    What the paper leaves open is ours: a side that one of the two does not have is the other's; one that nobody
    labelled may be harmful, so beside an unharmful one it stays unlabelled.
    """
    both = {first, second}
    if Label.HARMFUL in both:
        return Label.HARMFUL
    if Label.UNLABELLED in both:
        return Label.UNLABELLED
    return Label.UNHARMFUL if Label.UNHARMFUL in both else Label.ABSENT


def join_texts(first: str | None, second: str | None, separator: str) -> str | None:
    """first + separator + second (texts are joined: GuardReasoner-VL, arXiv 2505.11049).

    The separator is not published. An empty or missing text brings none; none when both are missing.
    """
    present = [text for text in (first, second) if text is not None]
    if not present:
        return None
    return separator.join(text for text in present if text.strip()) or present[0]


def merge_pictures(pictures: Sequence[Picture], geometry: Geometry) -> Picture | None:
    """One picture of several (images are merged: GuardReasoner-VL, arXiv 2505.11049), none cropped.

    The geometry is not published. Side by side all are brought to the smallest height h = min h_i, each h x
    round(w_i h / h_i), and the widths add up; stacked, to the smallest width, and the heights add up.

    Args:
        pictures: at least one, each of shape (height, width, 3), uint8.

    Returns:
        Shape (height, width, 3), uint8. None when they are to stay apart, or when one picture of them would be
        too long and thin for the checkpoint.
    """
    if geometry is Geometry.APART:
        return None
    across = 1 if geometry is Geometry.STACKED else 0
    common = min(picture.shape[across] for picture in pictures)
    scaled = []
    for picture in pictures:
        height, width = picture.shape[:2]
        factor = common / picture.shape[across]
        size = (common, max(1, round(height * factor))) if across else (max(1, round(width * factor)), common)
        same = size == (width, height)
        made = picture if same else np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
        scaled.append(made)
    merged = np.concatenate(scaled, axis=0 if across else 1)
    return merged if max(merged.shape[:2]) <= MAX_ASPECT_RATIO * min(merged.shape[:2]) else None


Merge = Callable[[Sequence[MediaRef]], MediaRef | None]
"""Makes one stored picture of several; none where they stay apart."""


def join_media(first: Sequence[MediaRef], second: Sequence[MediaRef], merge: Merge) -> tuple[MediaRef, ...]:
    """Images of both as one picture where the first of them stood; videos in sequence (safety-aware concatenation of
    GuardReasoner-VL, arXiv 2505.11049; videos are ours, the paper has none).

    Args:
        merge: makes the one picture; where it gives none all media stay, first's before second's.
    """
    every = [*first, *second]
    images = [ref for ref in every if ref.modality is Modality.IMAGE]
    merged = merge(images) if len(images) > 1 else None
    if merged is None:
        return tuple(every)
    at = every.index(images[0])
    return tuple(
        merged if place == at else ref
        for place, ref in enumerate(every)
        if place == at or ref.modality is not Modality.IMAGE
    )


def join(first: HardRow, second: HardRow, separator: str, merge: Merge) -> HardRow:
    """Two hard samples as one."""
    one, other = first.sample, second.sample
    joined = Sample(
        join_texts(one.request, other.request, separator) or "",
        join_texts(one.response, other.response, separator),
        join_media(one.media, other.media, merge),
    )
    return HardRow(
        joined,
        join_labels(first.request, second.request),
        join_labels(first.response, second.response),
        (*(first.made_of or (one.id,)), *(second.made_of or (other.id,))),
    )


def joined_count(hard: int, share: float) -> int:
    """How many joined rows j make the wanted share of the whole set: j / (n + j) = share, so j = n share / (1 - share),
    rounded; share = 0.2 in the paper (GuardReasoner-VL, arXiv 2505.11049).

    Args:
        hard: n, hard samples before any are joined; of one alone no pair can be made.

    Raises:
        ValueError: the share is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"the share of joined rows must be at least 0 and below 1, not {share}")
    return round(hard * share / (1 - share)) if hard > 1 else 0


def choose_pairs(hard: int, count: int, seed: int) -> list[tuple[int, int]]:
    """Random pairs of two different rows, each in a random order; none comes twice while there are others."""
    rng = random.Random(f"pairs {seed}")
    total = hard * (hard - 1) // 2
    pairs: list[tuple[int, int]] = []
    seen: set[tuple[int, int]] = set()
    while len(pairs) < count and total:
        if len(seen) == total:
            seen.clear()
        one, other = rng.sample(range(hard), 2)
        key = (min(one, other), max(one, other))
        if key not in seen:
            seen.add(key)
            pairs.append((one, other))
    return pairs


def balanced(rows: Sequence[HardRow], rng: random.Random) -> list[HardRow]:
    """All rows, those of the rarer label several times, so that harmful and unharmful ones are equally many.

    Rows on which the same sides are labelled are counted together, one with a harmful side as harmful. Those that all
    have one label stay as they are. (An option, not published: joined rows are mostly harmful, and where one label
    prevails a small guard earns most by saying it always.)
    """
    kinds: dict[tuple[bool, ...], dict[bool, list[HardRow]]] = {}
    for row in rows:
        kind = kinds.setdefault(tuple(label in SAID for label in row.gold), {})
        kind.setdefault(Label.HARMFUL in row.gold, []).append(row)
    found: list[HardRow] = []
    for kind in kinds.values():
        most = max(len(some) for some in kind.values())
        for some in kind.values():
            whole, rest = divmod(most, len(some))
            found += [*some * whole, *rng.sample(some, rest)]
    return found
