"""Laws of the registry: whole checkpoints with their cards, promotions as events, nothing deleted that is needed."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from core.checkpoints.folder import open_checkpoint
from core.checkpoints.registry import EventKind, OriginCard, Registry
from core.errors import CheckpointError, PromotionRefused
from core.journal import append_lines, read_lines


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "data")


@pytest.fixture
def trained(tiny_folder: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A checkpoint folder as a run leaves it; each name has weights of its own."""

    def make(name: str) -> Path:
        folder = Path(shutil.copytree(tiny_folder("llama"), tmp_path / "runs" / name))
        content = bytearray((folder / "model.safetensors").read_bytes())
        content[-len(name) :] = name.encode()
        (folder / "model.safetensors").write_bytes(content)
        (folder / "guard.json").write_text(json.dumps({"format": 1, "id": "copied-from-the-base"}))
        return folder

    return make


@pytest.fixture
def three(registry: Registry, trained: Callable[[str], Path]) -> list[str]:
    return [registry.add(trained(name), name=name, base="builtin").id for name in ("one", "two", "three")]


# -- checkpoints --------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_taken_in_with_its_card_and_its_own_id(
    registry: Registry, trained: Callable[[str], Path]
) -> None:
    folder = trained("first")
    card = registry.add(
        folder, name="My first: run!", base="builtin", run="run-1", snapshot="n1-abc", recipe="sft-omni-v1",
        author="ann", figures={"validation_f1": 0.8},
    )  # fmt: skip
    assert card.id.startswith("my-first-run-")
    assert registry.get(card.id) == card == registry.cards()[0]
    opened = open_checkpoint(Path(registry.source(card.id)), "x")
    assert opened.info.id == card.id  # and so every verdict names it, whatever its guard file was copied from
    assert folder.exists()
    assert not (folder / "guardroom.json").exists()
    assert json.loads((Path(registry.source(card.id)) / "guardroom.json").read_text())["figures"] == {
        "validation_f1": 0.8
    }
    assert registry.id_of(registry.source(card.id)) == card.id
    assert registry.id_of("owner/name") == "owner/name"


def test_a_card_names_its_base_without_a_path_of_this_machine(
    registry: Registry, trained: Callable[[str], Path]
) -> None:
    card = registry.add(trained("first"), name="first", base="builtin")
    named = {source: registry.base_of(source) for source in ("builtin", "owner/name", registry.source(card.id))}
    assert list(named.values()) == ["builtin", "owner/name", card.id]
    assert registry.base_of(str(trained("my guard"))) == "my guard"


def test_the_same_result_of_the_same_run_is_taken_in_once(registry: Registry, trained: Callable[[str], Path]) -> None:
    folder = trained("first")
    card = registry.add(folder, name="a", base="builtin", run="run-1")
    assert registry.add(folder, name="a", base="builtin", run="run-1") == card
    assert registry.add(folder, name="b", base="builtin", run="run-2").id != card.id
    with pytest.raises(CheckpointError, match="another name"):
        registry.add(folder, name="b", base="builtin", run="run-3")


def test_a_folder_that_cannot_be_loaded_is_not_taken_in(registry: Registry, trained: Callable[[str], Path]) -> None:
    folder = trained("first")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="pickled"):
        registry.add(folder, name="a", base="builtin")
    assert registry.cards() == []


def test_what_a_crash_left_is_no_checkpoint_and_goes(registry: Registry, three: list[str]) -> None:
    (registry.checkpoints / three[0]).rename(registry.checkpoints / ".coming-1")
    shutil.copytree(registry.checkpoints / three[1], registry.checkpoints / "no-card")
    (registry.checkpoints / "no-card" / "guardroom.json").unlink()
    assert {card.id for card in registry.cards()} == set(three[1:])
    registry.tidy()
    assert (registry.checkpoints / ".coming-1").exists()  # it may be a job's that is at work
    os.utime(registry.checkpoints / ".coming-1", (0, 0))
    registry.tidy()
    assert sorted(path.name for path in registry.checkpoints.iterdir()) == sorted(["no-card", *three[1:]])


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", ".coming-1", "no-such", "A", "x" * 300, "a\0b"])
def test_an_id_that_is_none_never_becomes_a_path(registry: Registry, three: list[str], name: str) -> None:
    for act in (registry.get, registry.source, registry.delete):
        with pytest.raises(CheckpointError, match="no checkpoint"):
            act(name)


def test_a_card_that_was_moved_or_damaged_is_refused(registry: Registry, three: list[str]) -> None:
    shutil.copytree(registry.checkpoints / three[0], registry.checkpoints / "other")
    with pytest.raises(CheckpointError, match="holds the card of"):
        registry.get("other")
    for content in ("{", "[]", '{"form": "x"}', '{"form": "checkpoint-v1"}', "[" * 100_000):
        (registry.checkpoints / three[0] / "guardroom.json").write_text(content)
        with pytest.raises(CheckpointError):
            registry.get(three[0])


def test_changed_weights_are_not_loaded(registry: Registry, three: list[str]) -> None:
    path = registry.checkpoints / three[0] / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="have changed"):
        registry.source(three[0])
    with pytest.raises(CheckpointError, match="have changed"):
        registry.promote(three[0], author="ann")
    assert registry.promotions() == []


# -- promotions ---------------------------------------------------------------------------------------------------


def test_promotions_are_events_and_rollbacks_go_back_one_by_one(registry: Registry, three: list[str]) -> None:
    assert registry.current() is None
    first = registry.promote(three[0], author="ann", report="run-1", reason="better", gate={"outcome": "passed"})
    assert (first.kind, first.previous, first.report, first.gate) == (
        EventKind.PROMOTE, "builtin", "run-1", {"outcome": "passed"},
    )  # fmt: skip
    registry.promote(three[1], author="bob")
    registry.promote(three[2], author="bob")
    assert registry.stack() == ["builtin", *three]
    back = registry.rollback(author="ann", reason="it alarms")
    assert (back.checkpoint, back.previous) == (three[1], three[2])
    assert registry.current() == three[1]
    assert registry.rollback(author="ann").checkpoint == three[0]
    registry.promote(three[2], author="ann")
    assert registry.stack() == ["builtin", three[0], three[2]]
    registry.rollback(author="ann")
    registry.rollback(author="ann")
    assert registry.current() == "builtin"
    with pytest.raises(PromotionRefused, match="nothing to go back to"):
        registry.rollback(author="ann")
    assert len(registry.promotions()) == 8
    assert registry.promotions()[0] == first


def test_the_built_in_guard_can_be_promoted_again(registry: Registry, three: list[str]) -> None:
    registry.promote(three[0], author="ann")
    registry.promote("builtin", author="ann")
    assert registry.stack() == ["builtin", three[0], "builtin"]


def test_promoting_what_is_promoted_or_by_nobody_is_refused(registry: Registry, three: list[str]) -> None:
    with pytest.raises(PromotionRefused, match="builtin is promoted already"):
        registry.promote("builtin", author="ann")
    with pytest.raises(PromotionRefused, match="name of the person"):
        registry.promote(three[0], author="  ")
    registry.promote(three[0], author="ann")
    with pytest.raises(PromotionRefused, match="already"):
        registry.promote(three[0], author="ann")
    assert len(registry.promotions()) == 1


def test_what_is_needed_is_not_deleted(registry: Registry, three: list[str]) -> None:
    registry.promote(three[0], author="ann")
    registry.promote(three[1], author="ann")
    for name, live, words in (
        (three[1], None, "is promoted"),
        (three[0], None, "a rollback would go back to it"),
        (three[2], registry.source(three[2]), "is live"),
        (three[2], three[2], "is live"),
    ):
        with pytest.raises(PromotionRefused, match=words):
            registry.delete(name, live=live)
    assert len(registry.cards()) == 3
    registry.delete(three[2], live="builtin")
    assert not (registry.checkpoints / three[2]).exists()
    registry.rollback(author="ann")
    registry.delete(three[1])
    assert [card.id for card in registry.cards()] == [three[0]]


def test_a_torn_last_line_is_left_out_and_cut_off_by_the_next_event(registry: Registry, three: list[str]) -> None:
    registry.promote(three[0], author="ann")
    journal = registry.root / "promotions.jsonl"
    whole = journal.read_bytes()
    for torn in range(1, len(whole)):
        journal.write_bytes(whole + whole[:torn].rstrip(b"\n"))
        assert registry.stack() == ["builtin", three[0]]
    registry.promote(three[1], author="ann")
    assert journal.read_bytes().startswith(whole)
    assert registry.stack() == ["builtin", *three[:2]]


def test_a_damaged_line_is_named_and_nothing_is_guessed(registry: Registry, three: list[str]) -> None:
    registry.promote(three[0], author="ann")
    journal = registry.root / "promotions.jsonl"
    journal.write_bytes(b"{}\n" + journal.read_bytes())
    with pytest.raises(CheckpointError, match="promotions cannot be read"):
        registry.current()
    journal.write_bytes(b"nonsense\n" + journal.read_bytes())
    with pytest.raises(CheckpointError, match="line 1, is damaged"):
        registry.delete(three[1])
    assert len(registry.cards()) == 3


def test_many_promote_at_once_and_no_event_is_lost(registry: Registry, three: list[str]) -> None:
    refused: list[str] = []

    def work(turn: int) -> None:
        for step in range(6):
            try:
                Registry(registry.root).promote(three[(turn + step) % 3], author=f"person {turn}")
            except PromotionRefused:
                refused.append("already")

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = registry.promotions()
    assert len(events) + len(refused) == 24
    assert all(after.previous == before.checkpoint for before, after in pairwise(events))


# -- the journal --------------------------------------------------------------------------------------------------


def test_lines_are_appended_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lines.jsonl"
    assert read_lines(path) == []
    append_lines(path, [{"a": 1}, "x\ny"])
    with pytest.raises(ValueError, match="JSON compliant"):
        append_lines(path, [1, float("nan")])
    append_lines(path, [])
    assert read_lines(path) == [{"a": 1}, "x\ny"]


def test_a_long_torn_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append_lines(path, [1])
    with path.open("ab") as file:
        file.write(b"y" * 200_000)
    append_lines(path, [2])
    assert path.read_bytes() == b"1\n2\n"
    path.write_bytes(b"z" * 200_000)
    append_lines(path, [3])
    assert path.read_bytes() == b"3\n"


def test_weights_are_shared_with_the_run_and_its_card_is_not(
    registry: Registry, trained: Callable[[str], Path]
) -> None:
    folder = trained("first")
    (folder / "guardroom.json").write_text('{"id": "another"}')
    card: OriginCard = registry.add(folder, name="a", base="builtin")
    inside = registry.checkpoints / card.id
    assert os.path.samefile(inside / "model.safetensors", folder / "model.safetensors")
    assert not os.path.samefile(inside / "guard.json", folder / "guard.json")
    assert (folder / "guardroom.json").read_text() == '{"id": "another"}'
    shutil.rmtree(folder)
    assert registry.source(card.id) == str(inside)


def test_a_folder_that_is_moved_in_is_gone_from_where_it_was(
    registry: Registry, trained: Callable[[str], Path]
) -> None:
    folder = trained("first")
    card = registry.add(folder, name="a", base="builtin", keep=False)
    assert not folder.exists()
    assert registry.cards() == [card]
