"""Laws of the Mine page: what it says of runs, and that only the owner mines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from annotation_store.mining.runs import mining_runs
from annotation_store.mining.values import Findings, MiningRun, MiningSettings, MiningState
from annotation_store.reading.selecting import Selection
from app.mine import present as mine_present
from app.mine import tab as mine_tab
from app.mine.work import MiningReport
from app.shared.identity import OwnerGate
from app.shared.services import Services
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.serving.live import LiveGuard
from core.settings import Settings
from tests.review import HARMFUL, bring, rows_of
from tests.scripted import Voting, guard_of


@pytest.fixture
def live(data_root: Path) -> Iterator[LiveGuard]:
    settings = Settings(device="cpu", threads=1)
    guard = LiveGuard(settings, MediaStore(data_root / "media", MediaLimits(), VideoReader(MediaLimits())))
    yield guard
    guard.close()


def a_run(**changes: Any) -> MiningRun:
    time = "2026-11-21T12:00:00.000000+00:00"
    run = MiningRun(
        "m1-1", "guard-1", MiningSettings(Selection(source="a <set>")), MiningState.RUNNING, 8, 4, 1, "ann", time, time
    )
    return replace(run, **changes)


def test_the_table_of_runs_says_what_each_kept_and_which_was_interrupted() -> None:
    table = mine_present.runs([a_run(id="m1-2"), a_run(), a_run(state=MiningState.DONE, file_name="<b>.jsonl")], "m1-2")
    assert "1 (25%)" in table
    assert "4 of 8" in table
    assert [word for word in ("running", "interrupted", "done") if f"<td>{word}</td>" in table] == [
        "running", "interrupted", "done",
    ]  # fmt: skip
    assert "a &lt;set&gt;" in table
    assert "&lt;b&gt;.jsonl" in table
    assert "No run yet" in mine_present.runs([], None)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((3, 0, 0, 0, 0), "3 wait for review, because generations disagree with the label."),
        ((0, 1, 0, 0, 0), "1 waits for review, because they disagree with each other."),
        ((2, 1, 1, 0, 0), "4 wait for review: 2 because generations disagree with the label, 1 because they disagree"),
        ((0, 0, 0, 2, 0), "2 were decided by a reviewer already"),
        ((1, 0, 0, 0, 1), "1 could not be judged"),
    ],
)
def test_the_end_says_how_many_wait_for_review_and_why(found: tuple[int, ...], said: str) -> None:
    run = a_run(state=MiningState.DONE, done=8, kept=max(1, sum(found[:4])))
    report = MiningReport(run, Findings(*found), (("The picture is damaged.", 1),) if found[4] else (), 1.0)
    assert said in mine_present.report(report)
    assert ("The picture is damaged." in mine_present.report(report)) is bool(found[4])


def test_nothing_is_mined_resumed_stopped_or_shown_without_the_owners_token(data_root: Path, live: LiveGuard) -> None:
    media = MediaStore(data_root / "media", MediaLimits(), VideoReader(MediaLimits()))
    services = Services(Settings(device="cpu"), media, live, OwnerGate.build(True, "secret"))
    live._adopt(guard_of(Voting({})))
    visitor: Any = SimpleNamespace(headers={"host": "guard.example"})

    async def laid_out() -> mine_tab._MineTab:  # gradio wants an event loop, and leaves one of its own open
        with gr.Blocks():
            return mine_tab._MineTab(services, gr.Textbox())

    tab = asyncio.run(laid_out())
    everything = ("any", "", "", "", "")
    how = ("vl", 0.8, 4, 1.0, 0.95)
    try:
        bring(services.store(), rows_of(tea=HARMFUL))
        for offered in ("", "wrong"):
            for answer in (
                tab.begin(visitor, offered, "stored", None, None, *everything, *how),
                tab.go_on(visitor, offered, "m1-1"),
                tab.stop(visitor, offered),
                tab.draw(visitor, offered),
                tab.look(visitor, offered, "stored", None, None, *everything),
            ):
                said = answer.get(tab.told) or answer[tab.seen]
                assert "owner" in said
                assert tab.listed not in answer
        assert mining_runs(services.store()) == []
        tab.begin(visitor, "secret", "stored", None, None, *everything, *how)
        assert tab.work.task is not None
        report = tab.work.task.outcome.result(60)
        assert (report.run.done, report.run.kept) == (1, 1)
        assert "1 waits for review" in tab.draw(visitor, "secret")[tab.told]
        told = tab.begin(visitor, "secret", "stored", None, None, *everything, "vl", 0.8, 1, 1.0, 0.95)[tab.told]
        assert "n=1 generations cannot be drawn; 2 to 32 can" in told
    finally:
        services.close()
