"""Laws of the live guard: one owner, a queue in which people see their place, swaps that disturb nobody."""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.errors import Cancelled, CheckpointError, EmptyRequest, EngineError
from core.events import Event, FirstLooked, Queued, ReasoningGrew, VerdictReached
from core.judging.guard import Guard
from core.serving.live import LiveGuard
from core.types import Decision, Sample
from tests.live_guard import limited, live_guard

PATIENCE_S = 30.0
"""Nothing here takes more than a second or two on an idle machine."""


@pytest.fixture
def folder(tiny_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A checkpoint whose answers are short."""
    return limited(tiny_folder("llama"), tmp_path / "short", 6)


@pytest.fixture
def talkative(tiny_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A checkpoint that writes for many seconds unless it is stopped: nothing but its limit ends its answers."""
    return limited(tiny_folder("qwen3_vl"), tmp_path / "long", 2000)


@pytest.fixture
def live(folder: Path, data_root: Path) -> Iterator[LiveGuard]:
    with live_guard(folder, data_root, threads=1) as guard:
        yield guard
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("guard-")]


@pytest.fixture
def ready(live: LiveGuard, folder: Path) -> LiveGuard:
    list(live.load(str(folder)))
    return live


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@contextmanager
def occupied(live: LiveGuard) -> Iterator[None]:
    """The owner at work on something else."""
    begun, done = threading.Event(), threading.Event()

    def work(guard: Guard) -> None:
        begun.set()
        done.wait(PATIENCE_S)

    thread = threading.Thread(target=live.call, args=(work,))
    thread.start()
    assert begun.wait(PATIENCE_S)
    try:
        yield
    finally:
        done.set()
        thread.join(PATIENCE_S)


class Person:
    """Somebody whose moderation runs in a thread of its own."""

    def __init__(self, events: Iterator[Event]) -> None:
        self.heard: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._listen, args=(events,))
        self._thread.start()

    def _listen(self, events: Iterator[Event]) -> None:
        try:
            for event in events:
                self.heard.put(event)
            self.heard.put(None)
        except BaseException as error:
            self.heard.put(error)

    def next(self) -> Event | BaseException | None:
        return self.heard.get(timeout=PATIENCE_S)

    def rest(self) -> list[Event | BaseException]:
        heard: list[Event | BaseException] = []
        while (event := self.next()) is not None:
            heard.append(event)
            if isinstance(event, BaseException):
                break
        self._thread.join(PATIENCE_S)
        return heard


# -- queueing -----------------------------------------------------------------------------------------------------


def test_a_moderation_tells_its_events_and_ends_with_the_verdict(ready: LiveGuard) -> None:
    sample = Sample("Hello", "Hi")
    events = list(ready.moderate(sample))
    assert isinstance(events[0], FirstLooked)
    assert isinstance(events[-1], VerdictReached)
    assert all(isinstance(event, ReasoningGrew) for event in events[1:-1])
    verdict = events[-1].verdict
    assert (verdict.sample_id, verdict.checkpoint_id) == (sample.id, "short")
    assert verdict.decision is Decision.REVIEW  # random weights give no readable answer
    assert ready.first_look(sample).first_look == events[0].probability


def test_each_waiting_person_sees_their_place_and_moves_up(ready: LiveGuard) -> None:
    with occupied(ready):
        second = Person(ready.moderate(Sample("second")))
        assert second.next() == Queued(1)
        third = Person(ready.moderate(Sample("third")))
        assert third.next() == Queued(2)
    rest = third.rest()
    assert isinstance(rest[-1], VerdictReached)
    assert [event for event in rest if isinstance(event, Queued)] in ([], [Queued(1)])
    assert isinstance(second.rest()[-1], VerdictReached)


def test_a_closed_iterator_leaves_the_queue(ready: LiveGuard) -> None:
    with occupied(ready):
        leaving = ready.moderate(Sample("leaving"))
        assert next(leaving) == Queued(1)
        staying = Person(ready.moderate(Sample("staying")))
        assert staying.next() == Queued(2)
        leaving.close()  # type: ignore[attr-defined]
        assert staying.next() == Queued(1)
    assert isinstance(staying.rest()[-1], VerdictReached)


def test_a_stop_in_the_queue_ends_the_waiting_at_once(ready: LiveGuard) -> None:
    stop = threading.Event()
    with occupied(ready):
        person = Person(ready.moderate(Sample("impatient"), stop=stop))
        assert person.next() == Queued(1)
        stop.set()
        assert isinstance(person.next(), Cancelled)
        until(lambda: not ready._waiting)


def test_closing_the_iterator_stops_the_model_for_the_next_person(live: LiveGuard, talkative: Path) -> None:
    list(live.load(str(talkative)))
    events = live.moderate(Sample("Tell me everything"))
    for event in events:
        if isinstance(event, ReasoningGrew):
            break
    start = time.monotonic()
    events.close()  # type: ignore[attr-defined]
    live.call(lambda guard: None)
    assert time.monotonic() - start < 2  # thousands of tokens would take longer


def test_a_stop_while_it_writes_gives_a_verdict_that_says_so(live: LiveGuard, talkative: Path) -> None:
    list(live.load(str(talkative)))
    stop = threading.Event()
    last: Event | None = None
    for event in live.moderate(Sample("Tell me everything"), stop=stop):
        last = event
        if isinstance(event, ReasoningGrew):
            stop.set()
    assert isinstance(last, VerdictReached)
    assert last.verdict.decision is Decision.REVIEW
    assert "stopped" in str(last.verdict.error)


def test_a_stop_that_nobody_pressed_is_not_set_behind_their_back(ready: LiveGuard) -> None:
    stop = threading.Event()
    list(ready.moderate(Sample("Hello"), stop=stop))
    assert not stop.is_set()


# -- errors -------------------------------------------------------------------------------------------------------


def test_an_error_reaches_its_caller_alone_and_the_owner_lives_on(ready: LiveGuard) -> None:
    def fail(guard: Guard) -> None:
        raise ZeroDivisionError("by zero")

    with pytest.raises(EngineError, match="ZeroDivisionError") as caught:
        ready.call(fail)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(EmptyRequest):
        list(ready.moderate(Sample("")))
    with occupied(ready):
        bad, good = Person(ready.moderate(Sample(" "))), None
        assert bad.next() == Queued(1)
        good = Person(ready.moderate(Sample("Hello")))
    assert isinstance(bad.rest()[-1], EmptyRequest)
    assert isinstance(good.rest()[-1], VerdictReached)


# -- loading ------------------------------------------------------------------------------------------------------


def test_people_wait_for_the_guard_and_are_told_that_it_is_loading(live: LiveGuard, folder: Path) -> None:
    person = Person(live.moderate(Sample("early")))
    assert person.next() == Queued(0, loading=True)
    before = live.status
    live.start(str(folder))
    assert isinstance(person.rest()[-1], VerdictReached)
    after = live.status
    assert (before.state, after.state) == ("loading", "ready")
    assert after.info is not None
    assert (after.info.id, after.engine, after.device) == ("short", "transformers", "cpu")


def test_loading_tells_how_far_it_is(live: LiveGuard, folder: Path) -> None:
    told = list(live.load(str(folder)))
    assert [each.fraction for each in told] == sorted(each.fraction for each in told)
    assert told[-1].fraction == 1.0
    assert all(each.message for each in told)


def test_a_first_load_that_fails_tells_everybody_why(live: LiveGuard, tmp_path: Path, folder: Path) -> None:
    person = Person(live.moderate(Sample("early")))
    assert person.next() == Queued(0, loading=True)
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        list(live.load(str(tmp_path / "missing")))
    assert live.status.state == "failed"
    error = person.rest()[-1]
    assert isinstance(error, CheckpointError)
    assert str(error) == live.status.message
    list(live.load(str(folder)))  # a second try is welcome
    assert isinstance(list(live.moderate(Sample("Hello")))[-1], VerdictReached)


def test_a_failed_load_leaves_the_working_guard_live(ready: LiveGuard, tmp_path: Path, folder: Path) -> None:
    before = ready.status
    (tmp_path / "empty").mkdir()
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"")
    for bad in (str(tmp_path / "empty"), str(broken), "nothing at all"):
        with pytest.raises(CheckpointError):
            list(ready.load(bad))
        assert ready.status == before
        assert isinstance(list(ready.moderate(Sample("Hello")))[-1], VerdictReached)


def test_an_unforeseen_failure_while_loading_is_an_engine_error(
    ready: LiveGuard, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    def broken(*given: Any) -> Guard:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr("core.serving.live.load_guard", broken)
    with pytest.raises(EngineError, match="the disk is on fire"):
        list(ready.load(str(folder)))
    assert ready.status.state == "ready"


def test_two_loads_at_once_are_one_too_many(live: LiveGuard, folder: Path) -> None:
    first = live.load(str(folder))
    next(first)
    with pytest.raises(CheckpointError, match="Another checkpoint is being loaded"):
        list(live.load(str(folder)))
    list(first)
    list(live.load(str(folder)))


def test_a_load_that_nobody_watches_is_finished_all_the_same(live: LiveGuard, folder: Path) -> None:
    loading = live.load(str(folder))
    next(loading)
    loading.close()  # type: ignore[attr-defined]
    until(lambda: live.status.state == "ready")
    until(lambda: not live._loading.locked())
    list(live.load(str(folder)))


def test_a_swap_waits_for_the_generation_in_flight_and_changes_nothing_in_it(
    live: LiveGuard, talkative: Path, folder: Path
) -> None:
    list(live.load(str(talkative)))
    stop = threading.Event()
    person = Person(live.moderate(Sample("Hello"), stop=stop))
    while not isinstance(person.next(), ReasoningGrew):
        pass
    loader = threading.Thread(target=lambda: list(live.load(str(folder))))
    loader.start()
    until(lambda: bool(live._waiting))  # the new guard is loaded, and its swap is next
    assert live.status.info is not None
    assert live.status.info.id == "long"
    stop.set()
    loader.join(PATIENCE_S)
    end = person.rest()[-1]
    assert isinstance(end, VerdictReached)
    assert end.verdict.checkpoint_id == "long"
    assert live.status.info.id == "short"
    after = list(live.moderate(Sample("Hello")))[-1]
    assert isinstance(after, VerdictReached)
    assert after.verdict.checkpoint_id == "short"


def test_the_replaced_model_is_freed(ready: LiveGuard, folder: Path) -> None:
    old = ready.call(lambda guard: guard.engine)
    list(ready.load(str(folder)))
    assert not hasattr(old, "model")


# -- the end ------------------------------------------------------------------------------------------------------


def test_closing_stops_what_runs_and_refuses_what_waits(live: LiveGuard, talkative: Path) -> None:
    list(live.load(str(talkative)))
    running = Person(live.moderate(Sample("Tell me everything")))
    while not isinstance(running.next(), ReasoningGrew):
        pass
    waiting = Person(live.moderate(Sample("me too")))
    assert waiting.next() == Queued(1)
    start = time.monotonic()
    live.close()
    assert time.monotonic() - start < 5
    assert isinstance(waiting.rest()[-1], Cancelled)
    end = running.rest()[-1]
    assert isinstance(end, VerdictReached)
    assert "stopped" in str(end.verdict.error)
    with pytest.raises(Cancelled, match="shutting down"):
        list(live.moderate(Sample("too late")))
    with pytest.raises(Cancelled, match="shutting down"):
        live.call(lambda guard: None)
    live.close()  # twice does no harm


def test_a_guard_that_is_loaded_too_late_is_freed(
    live: LiveGuard, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.serving.loading import load_guard

    loaded: list[Guard] = []

    def slow(*given: Any) -> Guard:
        guard = load_guard(*given)
        loaded.append(guard)
        live.close()
        return guard

    monkeypatch.setattr("core.serving.live.load_guard", slow)
    with pytest.raises(Cancelled, match="shutting down"):
        list(live.load(str(folder)))
    assert not hasattr(loaded[0].engine, "model")
