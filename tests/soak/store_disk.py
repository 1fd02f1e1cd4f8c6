"""Faults of the disk under the annotation store: no room, no permission to write."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from annotation_store.incoming.values import ImportRow
from annotation_store.review.claims import claim_next
from annotation_store.review.decisions import submit
from annotation_store.store import AnnotationStore
from core.errors import StoreError
from core.types import Sample
from tests.review import HARMFUL, bring, open_store
from tests.soak.found import Found, check_store
from tests.soak.store_workers import WHY, add_item

FULL = "the disk or the database is full; make room and try again"


READ_ONLY = "the database is read-only; give write permission or name another data folder"


def full_disk(folder: Path, *, mounted: bool) -> Found:
    """Decide until the disk is full; then nothing acknowledged is lost, and with room again it goes on.

    Args:
        mounted: on a small file system of its own (Linux, as root); else SQLite is told how large it may grow.
    """
    found = Found()
    with _small_disk(folder) if mounted else _no_disk(folder) as place:
        store = open_store(place / "guardroom.db")
        samples = [Sample(f"request {number}") for number in range(3_000)]
        bring(store, [ImportRow(number, each, reasons=(WHY,)) for number, each in enumerate(samples, start=1)])
        if mounted:
            filler = place / "filler"
            _fill(filler)
        else:
            _allow(store, pages=1)
        kept: list[str] = []
        for said in _failing(store, kept):
            found.must(said.endswith(f"{FULL}."), f"A full disk is told as: {said}")
            found.counts["told that it is full"] += 1
        found.must(found.counts["told that it is full"], "The disk never became full.")
        _all_there(store, kept, found)
        if mounted:
            filler.unlink()
        else:
            _allow(store, pages=1 << 30)
        before = len(kept)
        for said in _failing(store, kept, decisions=20):
            found.must(False, f"With room again: {said}")
        found.must(len(kept) == before + 20, f"With room again {len(kept) - before} of 20 were decided.")
        _all_there(store, kept, found)
        check_store(store, found, "after the disk was full")
        found.counts["acknowledged decisions"] = len(kept)
        store.close()
    return found


def read_only(folder: Path) -> Found:
    """A store that can only be read says so, and gives what it holds."""
    found = Found()
    path = folder / "guardroom.db"
    with open_store(path) as store:
        for number in range(20):
            add_item(store, f"{number}")
        kept: list[str] = []
        for said in _failing(store, kept, decisions=10):
            found.must(False, said)
    with AnnotationStore.open(f"sqlite:///file:{path}?mode=ro&uri=true") as store:
        _all_there(store, kept, found)
        for said in _failing(store, [], decisions=3):
            found.must(said.endswith(f"{READ_ONLY}."), f"A read-only database is told as: {said}")
            found.counts["told that it is read-only"] += 1
    found.must(found.counts["told that it is read-only"] == 3, "A read-only database was written.")
    found.counts["acknowledged decisions"] = len(kept)
    return found


def _failing(store: AnnotationStore, kept: list[str], decisions: int = 3_000) -> Iterator[str]:
    """Decide; the labels go into `kept`, and what was refused is given. Ends after three refusals."""
    refused = 0
    for _ in range(decisions):
        try:
            claim = claim_next(store, "ann")
            if claim is None:
                return
            kept.append(submit(store, claim.token, HARMFUL).label.id)
        except StoreError as error:
            yield str(error)
            refused += 1
            if refused == 3:
                return


def _all_there(store: AnnotationStore, kept: list[str], found: Found) -> None:
    with store.reading("Looking") as connection:
        stored = {row[0] for row in connection.exec_driver_sql("SELECT id FROM labels")}
    found.must(set(kept) <= stored, f"{len(set(kept) - stored)} acknowledged decisions are lost.")


def _allow(store: AnnotationStore, pages: int) -> None:
    with store.reading("Limiting") as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


def can_mount() -> bool:
    """Whether this process may mount file systems of its own."""
    if shutil.which("mount") is None or shutil.which("umount") is None:
        return False
    try:
        with tempfile.TemporaryDirectory() as name, _small_disk(Path(name)):
            return True
    except subprocess.CalledProcessError:
        return False


@contextmanager
def _small_disk(folder: Path, megabytes: int = 12) -> Iterator[Path]:
    place = folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@contextmanager
def _no_disk(folder: Path) -> Iterator[Path]:
    yield folder


def _fill(path: Path) -> None:
    """Leave no room on the disk but a few pages."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65536)
        except OSError:
            pass
        file.truncate(max(0, file.tell() - 65536))
