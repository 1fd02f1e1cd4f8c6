"""Laws of the engine's key: it goes to the server whose key it is, and to no other that somebody names."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from core.settings import key_for
from tests.evaluated import file_row, write_rows
from train_jobs.evaluation import job as evaluate
from train_jobs.runs.context import JobContext
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec

if TYPE_CHECKING:
    from tests.openai_server import Server

KEY = "sk-guardroom-secret-0123456789"
OWN = "https://gpu.example/openai/v1"


@pytest.mark.parametrize(
    ("url", "engine_url", "same"),
    [
        (OWN, OWN, True),
        (" https://GPU.example:443/v2/ ", OWN, True),
        ("http://h", "http://h:80/v1", True),
        ("http://[::1]:8000", "http://[0:0:0:0:0:0:0:1]:8000/v1", False),
        ("http://gpu.example/openai/v1", OWN, False),
        ("https://gpu.example:8443/openai/v1", OWN, False),
        ("https://gpu.example.evil.example/openai/v1", OWN, False),
        ("https://evil.example/https://gpu.example/openai/v1", OWN, False),
        ("https://gpu.example@evil.example/v1", OWN, False),
        ("http://127.0.0.1:8000", "http://localhost:8000", False),
        (OWN, None, False),
        ("", "", False),
        ("/v1", "/v1", False),
        ("http://h:port", "http://h:port", False),
    ],
)
def test_the_key_is_for_one_scheme_host_and_port(url: str, engine_url: str | None, same: bool) -> None:
    assert key_for(url, engine_url, KEY) == (KEY if same else None)
    assert key_for(url, engine_url, None) is None


@pytest.mark.parametrize("own", [True, False])
def test_an_evaluated_server_gets_the_key_only_where_it_is_the_engines(
    serve: Callable[..., AbstractContextManager[Server]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [file_row(0)])
    monkeypatch.setenv("GUARDROOM_PROTOCOL", "guardroom-v1")
    with serve() as server:
        monkeypatch.setenv("GUARDROOM_ENGINE_URL", server.url.removesuffix("/v1") if own else "http://127.0.0.1:9/v1")
        options = {"files": [str(rows)], "timed": 0, "resamples": 100}
        spec = JobSpec(JobKind.EVALUATE, "a server", base=server.url, options=options, device="cpu")
        run = RunFolder.create(tmp_path / "runs", spec, 1)
        evaluate.run(JobContext(run, spec, run.status(), secrets={"engine_key": KEY}))
    assert (run.report() or {})["rows"] == 1
    assert set(server.seen.authorizations) == {f"Bearer {KEY}" if own else None}
