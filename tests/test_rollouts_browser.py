"""A run by reinforcement as its owner reads it: a real Chromium drives the real app on a real short training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotation_store.reading.selecting import Labelled, Selection
from annotation_store.reading.trails import trail
from annotation_store.review.progress import left
from annotation_store.snapshots.freezing import freeze
from core.journal import append_lines
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.types import Label, Sample
from tests.browser import shoot
from tests.payloads import HITS, PAYLOADS
from tests.review import open_store
from tests.rollout_data import BREAD, HARMFUL, KNOT, UNHARMFUL, group, new_run, write_groups, write_hard
from tests.running import Running, running
from tests.train_data import fill_labelled
from train_jobs.grpo import job as grpo
from train_jobs.grpo.hard_rows import MINED, Mined, read_mined
from train_jobs.grpo.rollout_groups import follow_sample, rollout_groups
from train_jobs.grpo.rollouts import read_rollout, rollout_steps
from train_jobs.launching import processes
from train_jobs.recipes.files import find_recipe, resolve
from train_jobs.runs.context import JobContext
from train_jobs.runs.folder import RunFolder, utc_now
from train_jobs.runs.specs import JobState

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

SHORT = {
    "prompts": 3, "generations": 4, "updates": 1, "passes": 1, "micro_batch": 12, "generate_at_once": 12, "epochs": 2,
    "longest_completion": 110, "warm_up": 0.0, "mining": {"rule": "omni-v1", "n": 2}, "concatenation": {"share": 0.2},
}  # fmt: skip
LOG_TOP = "() => document.querySelector('#gr-t-logs').getBoundingClientRect().top + scrollY"


@pytest.fixture(scope="module", autouse=True)
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A data root with stored samples, a snapshot of them, and a finished training on it."""
    import torch

    torch.set_num_threads(1)
    data = tmp_path_factory.mktemp("rollouts") / "data"
    fill_labelled(data, 10)
    media = MediaStore(data / "media", MediaLimits(), VideoReader(MediaLimits()))
    with open_store(data / "guardroom.db") as store:
        frozen = freeze(
            store, media, data / "snapshots", Selection(labelled=Labelled.YES), name="everyday", created_by="ann",
            protocol_version="guardroom-v1",
        )  # fmt: skip
    media.close()
    settings = resolve(find_recipe("grpo-builtin"), SHORT)
    run = new_run(data, settings=settings, snapshot=str(frozen.folder))
    status = run.advance(JobState.RUNNING, started_at=utc_now())
    grpo.run(JobContext(run, run.spec(), status))
    run.advance(JobState.SUCCEEDED, finished_at=utc_now())
    return run


@pytest.fixture(scope="module")
def app(trained: RunFolder) -> Iterator[Running]:
    with running(trained.path.parent.parent) as app:
        yield app


def put(made: Path, app: Running, name: str, state: JobState, **changes: object) -> RunFolder:
    """A run that no launcher has seen waiting."""
    run = new_run(made, ticket=9, name=name)
    status = run.advance(JobState.RUNNING, started_at=utc_now(), **changes)
    if state is not JobState.RUNNING:
        run.advance(state, finished_at=status.started_at)
    os.rename(run.path, app.data / "runs" / run.id)
    return RunFolder(app.data / "runs" / run.id)


@contextmanager
def at_work() -> Iterator[dict[str, object]]:
    """A process that takes the place of a job's."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"]) as process:
        try:
            yield {"pid": process.pid, "process_started": processes.start_time(process.pid)}
        finally:
            process.kill()


def open_run(page: Page, name: str) -> None:
    page.get_by_role("tab", name="Train", exact=True).click()
    page.wait_for_selector("#gr-t-tabs")
    page.get_by_role("tab", name="Runs", exact=True).click()
    page.locator("#gr-t-list [data-open]", has_text=name).first.click()
    page.wait_for_function("(name) => document.querySelector('.gr-t-run h3')?.textContent === name", arg=name)


def step_of(page: Page) -> int:
    return int(page.get_attribute(".gr-g-bar", "data-step") or -1)


def wait_for_step(page: Page, step: int) -> None:
    page.wait_for_selector(f".gr-g-bar[data-step='{step}']")


def test_a_run_is_read_from_its_accuracy_to_one_completion_and_to_the_page_of_its_sample(
    page: Page, app: Running, trained: RunFolder
) -> None:
    open_run(page, trained.spec().name)
    page.wait_for_selector(".gr-g-completion")
    assert "Accuracy on the training prompts" in page.inner_text("#gr-t-head")
    assert page.locator(".gr-t-plots h3").first.inner_text() == "Accuracy"
    unknown = page.locator("figure[data-known=false] figcaption span").all_inner_texts()
    assert unknown == [], "every curve has values"
    found = read_mined(trained)
    kept = [each for each in found if each.kept]
    assert page.inner_text("#gr-t-hard button").startswith(f"Hard samples: {len(kept)} of {len(found)} kept")

    steps = rollout_steps(trained)
    assert step_of(page) == steps[-1], "the newest first"
    last = read_rollout(trained, steps[-1])
    assert page.locator(".gr-g-completion").count() == len(last)
    first = page.locator(".gr-g-completion").first
    assert f"{last[0].reward:.3f}" in first.inner_text()
    first.locator("summary").click()
    assert first.locator(".gr-r-text").inner_text().strip() == last[0].text.strip()
    shoot(page, "rollouts")

    page.click(".gr-g-bar >> text=Earlier")
    wait_for_step(page, steps[-2])
    wrong = sum(line.accuracy < 1 for line in read_rollout(trained, steps[-2]))
    page.click(".gr-g-filters >> text=/^wrong/")
    page.wait_for_selector(".gr-g-filters [aria-pressed=true] >> text=wrong")
    assert page.locator(".gr-g-completion").count() == wrong
    page.click(".gr-g-filters >> text=all completions")
    page.click(".gr-g-bar >> text=Newest")
    wait_for_step(page, steps[-1])

    alone = next(each.figures for each in rollout_groups(trained, steps[-1]) if not each.figures.made_of)
    page.click(f".gr-g-group[data-sample='{alone.sample_id}'] >> text=Through the training")
    page.wait_for_selector(".gr-g-through tbody tr")
    assert page.locator(".gr-g-through tbody tr").count() == len(follow_sample(trained, alone.sample_id))
    assert page.get_attribute(".gr-g-group", "data-sample") == alone.sample_id
    page.click("[data-theme-toggle]")
    shoot(page, "rollouts-dark")
    page.click("[data-theme-toggle]")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shoot(page, "rollouts-phone")
    page.set_viewport_size({"width": 1280, "height": 900})

    page.click("#gr-g-export")
    with page.expect_download() as download:
        page.click("#gr-g-file a[download]")
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(lines) == sum(len(read_rollout(trained, step)) for step in steps)
    assert {json.loads(line)["step"] for line in lines} == set(steps)

    page.click("#gr-t-export button")
    page.click("#gr-t-export-go")
    page.wait_for_selector("#gr-t-files a[download]")

    page.click("#gr-t-hard button")
    for words in (f"{len(kept)} sample", f"{len(kept)} w"):  # they wait there the second time
        page.click("#gr-g-send")
        page.wait_for_function("(said) => document.querySelector('#gr-g-sent').textContent.includes(said)", arg=words)
    with open_store(app.data / "guardroom.db") as store:
        waiting = left(store).by_kind
        verdicts = [trail(store, each.sample_id).verdicts for each in kept]
    assert waiting["generations"] == len(kept)
    assert [len(each) for each in verdicts] == [1] * len(kept), "the live guard judged each of them, and only once"

    page.click(f".gr-g-group[data-sample='{alone.sample_id}'] [data-r-page]")
    page.wait_for_selector(f".gr-s-page[data-sample='{alone.sample_id}']")
    page.click("#gr-s-ask")
    page.fill("#gr-s-why textarea, #gr-s-why input", "a person asked for it")
    page.click("#gr-s-drop")
    page.wait_for_selector("#gr-s-shown [data-kind=good]")
    folder = trained.path / "rollouts"
    assert [path.name for path in folder.glob("*.jsonl") if alone.sample_id in path.read_text()] == []
    page.get_by_role("tab", name="Train", exact=True).click()
    page.wait_for_function("() => document.querySelector('.gr-g-through')?.textContent.includes('No rollout holds')")
    assert page.locator(f".gr-g-group[data-sample='{alone.sample_id}']").count() == 0


def test_a_live_run_shows_its_newest_rollout_until_somebody_reads_and_nothing_moves(
    page: Page, app: Running, tmp_path: Path
) -> None:
    with at_work() as process:
        run = put(tmp_path, app, "a live one", JobState.RUNNING, **process)
        open_run(page, "a live one")
        page.wait_for_selector("#gr-g-groups >> text=No completion yet")
        assert "none mined yet" in page.inner_text("#gr-t-hard")
        page.wait_for_selector(".gr-t-beside")  # the live guard has made room
        top = page.evaluate(LOG_TOP)
        answers = ((Label.UNHARMFUL, Label.ABSENT), None)
        append_lines(run.rollouts / MINED, [Mined(BREAD.id, "text", answers, 2, True).to_json()])
        page.wait_for_selector("#gr-t-hard button >> text=Hard samples: 1 of 1 kept so far")
        write_hard(run, BREAD, KNOT)
        for step in (0, 2):
            run.append_metric({"step": step + 1, "loss": 0.1, "accuracy": 0.5})
            write_groups(run, step, *(group(step, 0, each, HARMFUL, UNHARMFUL, None) for each in (BREAD, KNOT)))
            wait_for_step(page, step)
            page.wait_for_function("(at) => document.querySelector('#gr-t-head').textContent.includes(at)", arg="0.500")
            assert page.evaluate(LOG_TOP) == top, "nothing moves when there is something to show"
        page.wait_for_selector(".gr-g-completion")
        page.locator(".gr-g-completion summary").nth(1).click()
        page.wait_for_selector(".gr-g-bar[data-following=false]")
        write_groups(run, 4, group(4, 0, BREAD, *[HARMFUL] * 40))
        page.wait_for_selector(".gr-g-bar >> text=Rollout 2 of 3")
        assert page.locator(".gr-g-completion[open]").count() == 1, "what is read stays open"
        assert page.evaluate(LOG_TOP) == top
        shoot(page, "rollouts-live")
        page.click(".gr-g-bar >> text=Newest")
        wait_for_step(page, 4)
        page.wait_for_function("() => document.querySelectorAll('.gr-g-completion').length === 40")
        write_groups(run, 6, group(6, 0, BREAD, HARMFUL))
        wait_for_step(page, 6)
        assert page.evaluate(LOG_TOP) == top
        run.advance(JobState.CANCELLED, finished_at=utc_now())


def test_payloads_in_rollouts_run_nothing(page: Page, app: Running, tmp_path: Path) -> None:
    run = put(tmp_path, app, PAYLOADS[16], JobState.SUCCEEDED)
    hostile = [Sample(f"{at} {payload}", payload) for at, payload in enumerate(PAYLOADS)]
    write_hard(run, *hostile)
    groups = [
        group(0, 0, sample, None, text=payload, error=payload, terms={PAYLOADS[0]: 0.5})
        for sample, payload in zip(hostile, PAYLOADS, strict=True)
    ]
    write_groups(run, 0, *groups)
    open_run(page, PAYLOADS[16])
    shown = ""
    for last in (False, True):
        page.wait_for_selector(".gr-g-completion")
        page.evaluate("() => document.querySelectorAll('.gr-g-completion').forEach((each) => { each.open = true; })")
        shown += str(page.text_content("#gr-g-groups"))
        page.click("#gr-g-groups >> text=Through the training >> nth=0")
        page.wait_for_selector(".gr-g-through tbody tr")
        assert page.evaluate(HITS) == {"ran": None, "elements": []}
        if not last:
            page.click(".gr-g-through >> text=Close")
            page.click(".gr-g-pager >> text=Last")
            page.wait_for_selector(".gr-g-pager >> text=page 2 of 2")
    for payload in PAYLOADS:
        assert shown.count(payload.replace("\r", "\n")) >= 2, payload
    assert page.evaluate(HITS) == {"ran": None, "elements": []}
