"""Laws of archives in place of files: an export comes back by itself, and nothing is written outside their folder."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from annotation_store.incoming.archives import unpacked
from annotation_store.incoming.previewing import preview
from annotation_store.incoming.running import run_import
from annotation_store.incoming.values import ImportLimits, ImportRow
from annotation_store.outgoing.exporting import export
from annotation_store.outgoing.values import ExportForm
from annotation_store.reading.selecting import Labelled, Selection
from core.errors import InputError
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.types import Sample
from tests.review import bring, open_store


def archive(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, text in files.items():
            made.writestr(name, text)
    return path


@pytest.fixture
def media(tmp_path: Path) -> Iterator[MediaStore]:
    limits = MediaLimits()
    opened = MediaStore(tmp_path / "media", limits, VideoReader(limits))
    yield opened
    opened.close()


def test_an_export_with_media_comes_back_from_its_archive(tmp_path: Path, media: MediaStore) -> None:
    Image.new("RGB", (64, 48), "teal").save(tmp_path / "boat.png")
    picture = media.accept(tmp_path / "boat.png")
    sample = Sample("A boat on a lake?", None, (picture,))
    with open_store(tmp_path / "one.db") as store:
        bring(store, [ImportRow(1, sample, None)])
        export(store, media, Selection(labelled=Labelled.ANY), ExportForm.JSONL, tmp_path / "out" / "guardroom")
    made = Path(shutil.make_archive(str(tmp_path / "export"), "zip", tmp_path / "out" / "guardroom"))
    place = unpacked(made, tmp_path)
    found = preview(place)
    with open_store(tmp_path / "two.db") as store:
        report = run_import(store, media, place, found.proposed, source="set", imported_by="owner")
        assert (report.rows, report.refused) == (1, 0)
        held = store.sample(sample.id)
    assert held is not None
    assert held.media == sample.media


def test_the_same_archive_is_unpacked_once(tmp_path: Path) -> None:
    made = archive(tmp_path / "rows.zip", {"rows/rows.jsonl": json.dumps({"request": "Bake bread?"}) + "\n"})
    first = unpacked(made, tmp_path)
    written = first.stat().st_mtime_ns
    assert first.name == "rows.jsonl"
    assert unpacked(made, tmp_path) == first
    assert first.stat().st_mtime_ns == written
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("unpacking")] == []


def test_what_is_no_archive_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    assert unpacked(file, tmp_path) == file
    assert unpacked(tmp_path / "missing.zip", tmp_path) == tmp_path / "missing.zip"


@pytest.mark.parametrize("name", ["../out.jsonl", "/out.jsonl", "a/../../out.jsonl", "..\\out.jsonl"])
def test_a_name_that_leads_out_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    made = archive(tmp_path / "bad.zip", {"rows.jsonl": "{}\n", name: "{}\n"})
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(InputError, match=r"bad\.zip\" holds .*out\.jsonl\", which leads out"):
        unpacked(made, inner)
    assert list(inner.iterdir()) == []
    assert not (tmp_path / "out.jsonl").exists()


def test_links_damage_and_sizes_are_refused_with_a_sentence(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("rows.jsonl")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as made:
        made.writestr(link, "/etc/hostname")
    with pytest.raises(InputError, match=r"which is a link; only ordinary files"):
        unpacked(tmp_path / "link.zip", tmp_path)
    (tmp_path / "damaged.zip").write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(InputError, match=r"damaged\.zip\" is no zip archive that can be read"):
        unpacked(tmp_path / "damaged.zip", tmp_path)
    with zipfile.ZipFile(tmp_path / "large.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("rows.jsonl", "x" * 5_000_000)
    with pytest.raises(InputError, match=r"large\.zip\" holds more than"):
        unpacked(tmp_path / "large.zip", tmp_path, ImportLimits(max_file_bytes=1_000_000))
    made_twice = archive(tmp_path / "two.zip", {"a.jsonl": "{}\n", "b.csv": "request\n"})
    with pytest.raises(InputError, match=r"two\.zip\" holds 2 files with rows \(\"a\.jsonl\", \"b\.csv\"\)"):
        unpacked(made_twice, tmp_path)
    with pytest.raises(InputError, match=r"empty\.zip\" is empty"):
        unpacked(archive(tmp_path / "empty.zip", {}), tmp_path)
