"""Laws of claims: one holder an item, by a token, for a time; kept by heartbeats, refused when stale."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from annotation_store.review.claims import claim_next, claim_sample, heartbeat, held, release
from annotation_store.review.decisions import recent, second_opinion, skip, submit
from annotation_store.review.progress import left
from annotation_store.store import AnnotationStore
from annotation_store.values.review import Left
from core.errors import StaleClaim, StoreError
from core.types import Sample
from tests.review import HARMFUL, UNHARMFUL, add, expire, open_store, reason, recount
from tests.running import ROOT


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnnotationStore]:
    with open_store(tmp_path / "guardroom.db") as opened:
        yield opened


def test_an_item_that_is_held_is_nobody_elses_and_comes_back_by_itself(store: AnnotationStore) -> None:
    add(store, Sample("one"), reason())
    claim = claim_next(store, "ann")
    assert claim is not None
    assert claim_next(store, "bob") is None
    with pytest.raises(StoreError, match="Another reviewer holds"):
        claim_sample(store, claim.item.sample_id, "bob")
    expire(store, claim.token)
    second = claim_next(store, "bob")
    assert second is not None
    assert second.item.sample == claim.item.sample
    with pytest.raises(StaleClaim, match="no longer yours"):
        submit(store, claim.token, HARMFUL)
    submit(store, second.token, UNHARMFUL)


@pytest.mark.parametrize("act", [heartbeat, lambda s, t: submit(s, t, HARMFUL), lambda s, t: skip(s, t, "why"),
                                 lambda s, t: second_opinion(s, t, "why")])  # fmt: skip
def test_a_stale_token_is_refused_with_its_own_message_and_stores_nothing(store: AnnotationStore, act: Any) -> None:
    add(store, Sample("one"), reason())
    claim = claim_next(store, "ann")
    assert claim is not None
    expire(store, claim.token)
    with pytest.raises(StaleClaim, match=r"your time for it ended at \d\d:\d\d:\d\d UTC"):
        act(store, claim.token)
    with pytest.raises(StaleClaim, match="handed in or given to another"):
        act(store, "c1-nonsense")
    assert recent(store, "ann") == []
    assert left(store).total == 1


def test_a_heartbeat_keeps_the_item_and_a_reload_finds_it(store: AnnotationStore) -> None:
    add(store, Sample("one"), reason())
    add(store, Sample("two"), reason())
    first = claim_next(store, "ann", lease_s=30)
    second = claim_next(store, "ann", lease_s=60)
    assert first is not None
    assert second is not None
    assert heartbeat(store, first.token, lease_s=60) > first.expires_at
    assert [claim.token for claim in held(store, "ann")] == [first.token, second.token]
    assert held(store, "bob") == []
    release(store, first.token)
    assert [claim.token for claim in held(store, "ann")] == [second.token]
    again = claim_next(store, "bob")
    assert again is not None
    assert again.item.sample == first.item.sample


@pytest.mark.parametrize("reviewer", ["", "  ", "x" * 201])
def test_a_claim_needs_a_name(store: AnnotationStore, reviewer: str) -> None:
    with pytest.raises(StoreError, match="names no reviewer"):
        claim_next(store, reviewer)


CLAIMER = r"""
import random, sys, time
from pathlib import Path
from annotation_store.review.claims import claim_next, claim_sample
from annotation_store.review.decisions import skip, submit
from annotation_store.store import AnnotationStore
from core.errors import StaleClaim
from tests.review import HARMFUL

store, me = AnnotationStore.open(Path(sys.argv[1])), sys.argv[2]
dice = random.Random(me)
stale = 0
print("ready", flush=True)
sys.stdin.readline()
while (claim := claim_next(store, me, lease_s=30 if dice.random() < 0.9 else 0.001)) is not None:
    time.sleep(0.002)
    try:
        submit(store, claim.token, HARMFUL)
        print(claim.item.sample_id, flush=True)
    except StaleClaim:
        stale += 1
print("stale", stale, flush=True)
"""


def test_four_processes_decide_every_item_exactly_once(tmp_path: Path) -> None:
    path = tmp_path / "guardroom.db"
    ids = []
    with open_store(path) as store:
        for number in range(80):
            sample = Sample(f"request {number}")
            ids.append(sample.id)
            add(store, sample, reason(strength=number / 80))
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", CLAIMER, str(path), f"reviewer {number}"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    decided: list[str] = []
    stale = 0
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        out, err = worker.communicate(timeout=120)
        assert (worker.returncode, err) == (0, "")
        *some, last = out.split("\n")[:-1]
        decided += some
        stale += int(last.split()[1])
    assert sorted(decided) == sorted(ids)
    assert stale > 0
    with open_store(path) as store:
        assert left(store) == Left(0, {}, {}, {}) == recount(store)
        with store.reading("Counting") as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM labels").scalar() == 80
