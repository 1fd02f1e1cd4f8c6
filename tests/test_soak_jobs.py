"""A tenth of the soak (`python -m tests.soak jobs`): whatever dies, every run ends as it should and loses nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.soak import rl
from tests.soak.jobs import Soak, soak

COUNT = len(Soak.FROM_OUTSIDE) + len(Soak.FROM_INSIDE)
"""Every fault once."""


@pytest.mark.skipif(sys.platform != "linux", reason="what a job leaves behind is seen on Linux alone")
def test_every_fault_once_and_nothing_is_lost(tmp_path: Path) -> None:
    found = soak(COUNT, tmp_path)
    assert found.wrong == []
    assert (found.count, found.orphans, found.signalled) == (COUNT, 0, 0)
    assert found.resumed >= COUNT - 2
    assert set(found.ends) == {"succeeded", "failed", "cancelled"}


@pytest.mark.skipif(sys.platform != "linux", reason="what a job leaves behind is seen on Linux alone")
def test_every_fault_once_over_true_grpo_runs_and_they_come_to_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    found = rl.soak(len(rl.FAULTS), tmp_path)
    assert found.wrong == []
    assert (found.count, found.orphans) == (len(rl.FAULTS), 0)
    assert found.resumed == len(rl.FAULTS) - 1
    assert set(found.ends) == {"succeeded", "failed", "cancelled"}
