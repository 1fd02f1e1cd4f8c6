"""Laws of the preview of joined samples: what it shows is what the job would make."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from app.train.start import join_preview
from app.train.start.join_preview import preview, shown
from core.media.store import MediaStore
from core.snapshots.folder import Split
from core.types import Label, MediaRef, Modality, Sample
from tests.sft_runs import picture
from tests.snapshots import item, write_snapshot
from train_jobs.recipes.grpo import ConcatenationSettings
from train_jobs.rules.augment import Geometry, join_labels, join_texts

PIXELS = 10**6
GIVEN = ConcatenationSettings(share=0.2)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory, reader: object) -> MediaStore:
    from core.media.limits import MediaLimits

    return MediaStore(tmp_path_factory.mktemp("media"), MediaLimits(), reader)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def refs(media: MediaStore, film: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence[MediaRef]:
    folder = tmp_path_factory.mktemp("made")
    return (picture(folder, media, 1), picture(folder, media, 2), media.accept(film))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, media: MediaStore, refs: Sequence[MediaRef]) -> Path:
    one, two, film = refs
    rows = [
        item(Sample("What is on the <b>menu</b>?", "Soup."), Label.UNHARMFUL, Label.HARMFUL),
        item(Sample("Who sells old maps?"), Label.HARMFUL),
        item(Sample("What does this show?", None, (one,)), Label.HARMFUL),
        item(Sample("And this?", None, (two,)), Label.UNHARMFUL),
        item(Sample("And this clip?", None, (film,)), Label.UNHARMFUL),
    ]
    files = {ref.digest: media.path(ref.digest) for ref in refs}
    return write_snapshot(tmp_path_factory.mktemp("preview") / "snapshot", {Split.TRAIN: rows}, files)


def address(ref: MediaRef) -> str:
    return f"/media/{ref.digest}"


def test_each_is_joined_as_the_job_joins_and_every_kind_of_media_is_among_them(folder: Path) -> None:
    found = preview(folder, GIVEN, 0, PIXELS)
    assert found.samples == 5
    assert 0 < len(found.joined) <= join_preview.MOST
    for each in found.joined:
        one, other = each.first, each.second
        assert each.row.sample.request == join_texts(one.sample.request, other.sample.request, GIVEN.separator)
        assert each.row.request == join_labels(one.request, other.request)
        assert each.row.response == join_labels(one.response, other.response)
        assert each.row.made_of == (one.sample.id, other.sample.id)
    modalities = {ref.modality for each in found.joined for ref in each.row.sample.media}
    assert modalities == {Modality.IMAGE, Modality.VIDEO}


@pytest.mark.parametrize(
    ("geometry", "sizes"),
    [(Geometry.SIDE_BY_SIDE, [(128, 64)]), (Geometry.STACKED, [(64, 128)]), (Geometry.APART, [(64, 64), (64, 64)])],
)
def test_two_pictures_are_merged_by_the_chosen_geometry(
    folder: Path, geometry: Geometry, sizes: list[tuple[int, int]]
) -> None:
    found = preview(folder, ConcatenationSettings(share=0.2, geometry=geometry), 0, PIXELS)
    both = [each for each in found.joined if each.first.sample.media and each.second.sample.media]
    pictures = next(
        [ref for ref in each.row.sample.media if ref.modality is Modality.IMAGE]
        for each in both
        if {ref.modality for ref in (*each.first.sample.media, *each.second.sample.media)} == {Modality.IMAGE}
    )
    assert [(ref.width, ref.height) for ref in pictures] == sizes
    for ref in pictures:
        data = base64.b64decode(found.pictures[ref.digest].partition(",")[2])
        assert Image.open(io.BytesIO(data)).size == (ref.width, ref.height)


def test_what_is_shown_is_blurred_escaped_and_says_how_the_labels_came_about(folder: Path) -> None:
    html = shown(preview(folder, GIVEN, 0, PIXELS), address)
    veils = html.count("gr-r-veil")
    assert veils == html.count("Hidden until you ask") == html.count("<img") + html.count("<video")
    assert veils > 0
    assert "<b>menu" not in html
    assert "harmful</span> → " in html
    assert "Of every 100 hard samples the training makes 25 joined ones" in html


def test_nothing_is_written_by_looking(folder: Path) -> None:
    before = sorted(path for path in folder.rglob("*"))
    preview(folder, GIVEN, 1, PIXELS)
    assert sorted(path for path in folder.rglob("*")) == before


def test_no_share_and_too_few_samples_say_so(folder: Path, tmp_path: Path) -> None:
    assert "the share of joined samples is 0" in shown(preview(folder, ConcatenationSettings(), 0, PIXELS), address)
    lone = write_snapshot(tmp_path / "lone", {Split.TRAIN: [item(Sample("How do I bake bread?"), Label.UNHARMFUL)]})
    assert "nothing to join" in shown(preview(lone, GIVEN, 0, PIXELS), address)


def test_a_pair_with_a_damaged_picture_is_left_out(
    folder: Path, refs: Sequence[MediaRef], tmp_path: Path, media: MediaStore
) -> None:
    one, two, _ = refs
    rows = [
        item(Sample("What does this show?", None, (one,)), Label.HARMFUL),
        item(Sample("And this?", None, (two,)), Label.UNHARMFUL),
    ]
    files = {ref.digest: media.path(ref.digest) for ref in (one, two)}
    torn = write_snapshot(tmp_path / "torn", {Split.TRAIN: rows}, files)
    assert len(preview(torn, GIVEN, 0, PIXELS).joined) > 0
    (torn / "media" / one.digest[:2] / one.digest).write_bytes(b"torn")
    assert preview(torn, GIVEN, 0, PIXELS).joined == ()
