"""A tenth of the store's soak (`python -m tests.soak store`): whatever happens, nothing acknowledged is lost."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from annotation_store.store import AnnotationStore
from annotation_store.turns import Turns
from tests.review import open_store
from tests.soak import store
from tests.soak.found import Found, check_store
from tests.soak.store_disk import can_mount, full_disk, read_only
from tests.soak.store_workers import Said, add_item, said_in

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by signals")


def test_twenty_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    found = store.kills(20, tmp_path)
    assert found.wrong == []
    assert found.counts["kills"] == 20
    assert found.counts["acknowledged decisions"] > 20
    assert found.counts["integrity checks"] == 3


def test_eight_workers_decide_each_of_a_thousand_items_once(tmp_path: Path) -> None:
    found = store.workers(1_000, 8, tmp_path)
    assert found.wrong == []
    assert found.counts["decided"] == 1_000
    assert found.counts["expired"] > 10
    assert found.counts["refused"] >= found.counts["expired"]


def test_a_full_disk_and_a_read_only_database_are_told_in_words_and_lose_nothing(tmp_path: Path) -> None:
    parts: dict[str, Callable[[Path], Found]] = {
        "full": lambda folder: full_disk(folder, mounted=False),
        "read-only": read_only,
    }
    if can_mount():
        parts["mounted"] = lambda folder: full_disk(folder, mounted=True)
    for name, part in parts.items():
        (tmp_path / name).mkdir()
        found = part(tmp_path / name)
        assert found.wrong == [], name
        assert found.counts["acknowledged decisions"] >= 10, name


def test_twenty_flipped_bits_are_noticed_and_never_served(tmp_path: Path) -> None:
    found = store.flipped_bits(20, tmp_path)
    assert found.wrong == []
    assert found.counts["noticed"] == 20


def test_sixteen_writing_processes_beside_an_import_are_not_locked_out(tmp_path: Path) -> None:
    found = store.writers(16, 20, 10_000, tmp_path)
    assert found.wrong == []
    assert found.counts["written"] == 320


# -- that the soak can find something ---------------------------------------------------------------------------------


def test_an_event_that_is_not_there_is_found_to_be_lost(tmp_path: Path) -> None:
    with open_store(tmp_path / "guardroom.db") as opened:
        add_item(opened, "one")
        found = Found()
        store._look_for(opened, [["ready"], ["label", "e1-x", "l1-x"]], found)
        assert found.wrong == ["The acknowledged event e1-x is lost."]
        with opened.writing("Spoiling a counter") as connection:
            connection.exec_driver_sql("UPDATE queue_counts SET open_items = 7 WHERE kind = ''")
        check_store(opened, found, "now")
    assert "7 items are counted as open now, 1 are." in found.wrong


def test_half_a_line_is_no_acknowledgement(tmp_path: Path) -> None:
    said = Said(tmp_path / "said")
    said("label", "a", "b")
    os.write(said._file, b"label c")
    assert said_in(tmp_path / "said") == [["label", "a", "b"]]


# -- turns ------------------------------------------------------------------------------------------------------------


def _hold(database: Path, ready: Path, seconds: float) -> None:
    with Turns(database).taken(10) as mine:
        assert mine
        ready.touch()
        threading.Event().wait(seconds)


def test_a_turn_is_given_to_one_at_a_time_and_comes_back_when_its_process_is_killed(tmp_path: Path) -> None:
    database, ready = tmp_path / "guardroom.db", tmp_path / "ready"
    process = multiprocessing.get_context("forkserver").Process(target=_hold, args=(database, ready, 60.0))
    process.start()
    while not ready.exists():
        assert process.is_alive()
    turns = Turns(database)
    with turns.taken(0.05) as mine:
        assert not mine
    process.kill()
    process.join()
    with turns.taken(10) as mine, Turns(database).taken(0.01) as others:
        assert (mine, others) == (True, False)
    turns.close()


def test_a_store_without_lock_files_still_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError("no locks here")

    monkeypatch.setattr("annotation_store.turns.fcntl.flock", refuse)
    with AnnotationStore.open(tmp_path / "guardroom.db") as opened:
        add_item(opened, "one")
        assert opened.counts().samples == 1


# -- what waits for the disk ------------------------------------------------------------------------------------------


def test_a_decision_waits_for_the_disk_and_a_claim_does_not_whichever_was_before(tmp_path: Path) -> None:
    """A claim that is lost with the power is refused as one that is over; a decision must never be lost."""
    waits = {1: False, 2: True}  # SQLite's NORMAL and FULL
    with open_store(tmp_path / "guardroom.db") as opened:
        for lease in (False, True, False, True, True, False):
            with opened.writing("Looking", lease=lease) as connection:
                said = connection.exec_driver_sql("PRAGMA synchronous").scalar()
            assert waits[said or 0] is not lease
