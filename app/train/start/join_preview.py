"""Joined samples as a training would make them, shown before it starts: drawn from a snapshot, by the job's own code.

Nothing is written: merged pictures live as long as the answer to the page.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from app.markup.media import Address, veiled
from app.markup.text import escape, letters
from app.markup.verdicts import label_words
from core.errors import GuardroomError
from core.media import images
from core.media.identify import HEAD_BYTES, identify
from core.mining.rules import is_labelled
from core.snapshots.folder import Snapshot, Split, read_manifest
from core.types import Label, MediaRef, Modality
from train_jobs.recipes.grpo import ConcatenationSettings
from train_jobs.rules.augment import HardRow, Picture, choose_pairs, join, joined_count, merge_pictures
from train_jobs.training.dataset import read_examples

MOST = 4
"""Joined samples that are shown."""
LOOKED_AT = 400
"""Labelled samples that pairs are drawn from."""
PAIRS = 200
"""Pairs that are looked through for different kinds of media."""
SHOWN_SIDE = 640
"""Longest side of a shown picture, in pixels."""

NO_SNAPSHOT = "Choose a snapshot to see what its samples look like when they are joined."
NO_SHARE = "This recipe joins nothing: the share of joined samples is 0. A share of 0.2 is that of GuardReasoner-VL."
TOO_FEW = "The snapshot has fewer than two labelled training samples, so there is nothing to join."


@dataclass(frozen=True, slots=True)
class Joined:
    """Two samples as one."""

    row: HardRow
    first: HardRow
    second: HardRow


@dataclass(frozen=True, slots=True)
class Preview:
    """A few joined samples."""

    samples: int
    """Labelled training samples of the snapshot."""
    share: float
    joined: tuple[Joined, ...]
    pictures: dict[str, str]
    """Still pictures by digest, as data addresses: those of the snapshot and those that were made."""


def preview(folder: Path, given: ConcatenationSettings, seed: int, max_pixels: int) -> Preview:
    """Join a few pairs of labelled training samples, of as many kinds of media as there are.

    Args:
        max_pixels: of a picture that is read.

    Raises:
        SnapshotError: the snapshot was changed.
    """
    samples, rows = _rows(folder, read_manifest(folder).digest)
    maker = _Maker(Snapshot(folder, read_manifest(folder)), given, max_pixels)
    joined: dict[tuple[str, ...], Joined] = {}
    spare: list[Joined] = []
    for one, other in choose_pairs(len(rows), PAIRS, seed) if given.share else ():
        first, second = rows[one], rows[other]
        kinds = tuple(sorted((first.sample.modality.value, second.sample.modality.value)))
        if kinds in joined and len(spare) >= MOST:
            continue
        try:
            row = join(first, second, given.separator, maker.merge)
        except GuardroomError:  # a damaged picture: the job leaves the pair out as well
            continue
        if is_labelled(row.gold):
            if kinds in joined:
                spare.append(Joined(row, first, second))
            else:
                joined[kinds] = Joined(row, first, second)
    shown = [*sorted(joined.values(), key=lambda each: -len(each.row.sample.media)), *spare][:MOST]
    for ref in (ref for each in shown for ref in each.row.sample.media):
        maker.keep(ref)
    digests = {ref.digest for each in shown for ref in each.row.sample.media}
    return Preview(samples, given.share, tuple(shown), {k: v for k, v in maker.shown.items() if k in digests})


@lru_cache(maxsize=2)
def _rows(folder: Path, digest: str) -> tuple[int, tuple[HardRow, ...]]:
    """How many labelled training samples there are, and some of them, spread over all."""
    examples = read_examples(Snapshot(folder, read_manifest(folder)), Split.TRAIN)
    step = max(1, len(examples) // LOOKED_AT)
    rows = [HardRow(each.sample, each.assessment.request, each.assessment.response) for each in examples[::step]]
    return len(examples), tuple(rows)


class _Maker:
    """Makes one picture of several in memory, by the job's rule."""

    def __init__(self, snapshot: Snapshot, given: ConcatenationSettings, max_pixels: int) -> None:
        self.snapshot = snapshot
        self.given = given
        self.max_pixels = max_pixels
        self.shown: dict[str, str] = {}

    def merge(self, refs: Sequence[MediaRef]) -> MediaRef | None:
        """One picture of several; none where they stay apart.

        Raises:
            MediaError: one of them cannot be read.
        """
        from PIL import Image

        merged = merge_pictures([self._read(ref) for ref in refs], self.given.geometry)
        if merged is None:
            return None
        file = io.BytesIO()
        Image.fromarray(merged).save(file, "PNG")
        data = file.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        self.shown[digest] = _address(merged)
        return MediaRef(digest, "image/png", Modality.IMAGE, len(data), merged.shape[1], merged.shape[0])

    def keep(self, ref: MediaRef) -> None:
        """Have a still picture of the snapshot at hand; one that cannot be read is shown as missing."""
        if ref.modality is Modality.IMAGE and ref.digest not in self.shown:
            try:
                self.shown[ref.digest] = _address(self._read(ref))
            except GuardroomError:
                self.shown[ref.digest] = ""

    def _read(self, ref: MediaRef) -> Picture:
        path = self.snapshot.media_path(ref)
        with path.open("rb") as file:
            kind = identify(file.read(HEAD_BYTES))
        still: Picture = images.read_still(path, kind, self.max_pixels)[0]
        return still


def _address(picture: Picture) -> str:
    """The picture in a size for the page, as a data address."""
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


# -- as HTML ------------------------------------------------------------------------------------------------------


def shown(found: Preview, address: Address) -> str:
    """The joined samples, media blurred until asked for; or why there are none.

    Args:
        address: where the page finds a video of the snapshot.
    """
    if not found.share:
        return _said(NO_SHARE)
    if not found.joined:
        return _said(TOO_FEW)
    count = joined_count(100, found.share)
    words = (
        f"Of every 100 hard samples the training makes {count:,} joined ones. These are drawn from all "
        f"{found.samples:,} labelled training samples, because which ones are hard is known after mining; pairs that "
        "are longer than the longest prompt are left out."
    )

    def where(ref: MediaRef) -> str:
        return found.pictures[ref.digest] if ref.modality is Modality.IMAGE else address(ref)

    items = "".join(_item(each, where) for each in found.joined)
    return f'{_said(words)}<ol class="gr-e-samples gr-t-joined">{items}</ol>'


def _said(words: str) -> str:
    return f'<p class="gr-quiet">{escape(words)}</p>'


def _item(joined: Joined, address: Address) -> str:
    row, sample = joined.row, joined.row.sample
    labels = "".join(
        f"<div><dt>{side}</dt><dd>{_label(one)} + {_label(other)} → {_label(made)}</dd></div>"
        for side, one, other, made in (
            ("request", joined.first.request, joined.second.request, row.request),
            ("response", joined.first.response, joined.second.response, row.response),
        )
        if {one, other} != {Label.ABSENT}
    )
    texts = "".join(
        f'<h4>{side}</h4><div class="gr-r-text" dir="auto">{letters(text)}</div>'
        for side, text in (("Request", sample.request), ("Response", sample.response))
        if text
    )
    media = "".join(veiled(ref, address(ref)) for ref in sample.media)
    videos = sum(ref.modality is Modality.VIDEO for ref in sample.media)
    order = '<p class="gr-quiet">The videos are read one after the other.</p>' if videos > 1 else ""
    return f'<li class="gr-e-sample"><dl class="gr-t-labels">{labels}</dl>{order}{media}{texts}</li>'


def _label(label: Label) -> str:
    return "none" if label is Label.ABSENT else label_words(label)
