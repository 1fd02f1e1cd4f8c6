"""A job launched as people launch it: the real app on a store of its own, its Train tab filled in by a real Chromium.

Whoever has started a training need not stay: the page is closed while the job is at work, and another page reads how it
ended.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.train.start.form import FieldSpec, fields, shown
from tests.browser import SLOW_MS, launched, shoot, visit
from tests.running import running
from train_jobs.launching.launcher import Launcher
from train_jobs.recipes.files import find_recipe
from train_jobs.runs.folder import RunFolder, list_runs
from train_jobs.runs.specs import JobKind, JobSpec

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.running import Running

PREFIXES: Mapping[JobKind, str] = {JobKind.SFT: "gr-t", JobKind.GRPO: "gr-g"}
"""Of the ids of the form's fields."""
LOOK_EVERY_S = 0.5


def carry_out(work: Path, spec: JobSpec) -> RunFolder:
    """Fill in the form, start, and wait for the end of the job, good or bad; one that is interrupted is killed.

    Args:
        work: a new data folder: its runs and checkpoints stay, and it gets a copy of the store in which the snapshot
            was frozen.

    Raises:
        AssertionError: the job has other settings than the specification, or the page says another end than the run.
    """
    assert spec.snapshot is not None
    shutil.copytree(Path(spec.snapshot).parents[1], work, dirs_exist_ok=True)
    launcher = Launcher(work / "runs")
    with running(work, checkpoint=str(spec.base)) as app:
        try:
            with _page(app) as page:
                _fill(page, spec)
                page.click("#gr-t-start")
                page.wait_for_selector(".gr-t-run[data-state]", timeout=SLOW_MS)
            [run] = list_runs(work / "runs")
            launched_spec = run.spec()
            assert (launched_spec.base, launched_spec.settings) == (spec.base, spec.settings)
            while not run.status().state.is_over:
                time.sleep(LOOK_EVERY_S)
            with _page(app) as page:
                page.get_by_role("tab", name="Train", exact=True).click()
                page.get_by_role("tab", name="Runs", exact=True).click()
                page.wait_for_selector(f".gr-t-run[data-state={run.status().state}]")
                shoot(page, f"ablations-{spec.name}")
        finally:
            for each in list_runs(work / "runs"):
                if not each.status().state.is_over:
                    launcher.cancel(each.id, at_once=True)
            launcher.close()
    return run


@contextmanager
def _page(app: Running) -> Iterator[Page]:
    with launched() as browser:
        yield from visit(browser, app)


def _fill(page: Page, spec: JobSpec) -> None:
    """Every field that the specification has otherwise than its recipe."""
    page.get_by_role("tab", name="Train", exact=True).click()
    page.wait_for_selector(".gr-t-counts")
    page.fill("#gr-t-base input", spec.base)
    page.press("#gr-t-base input", "Enter")
    if spec.kind is JobKind.GRPO:
        page.click("#gr-t-stage label:nth-of-type(2)")
    assert spec.recipe is not None
    recipe = find_recipe(spec.recipe)
    page.click("#gr-t-recipe input")
    page.get_by_role("option", name=f"{recipe.title} · {recipe.name}", exact=True).click()
    page.wait_for_function("(said) => document.querySelector('#gr-t-command')?.textContent.includes(said)",
        arg=f"--recipe {spec.recipe} ")  # fmt: skip
    page.click("#gr-t-advanced button")
    usual = recipe.settings.model_dump(mode="json")
    before, wanted = (shown(spec.kind, settings) for settings in (usual, spec.settings))
    for each, was, value in zip(fields(spec.kind), before, wanted, strict=False):
        if value != was:
            _set(page, PREFIXES[spec.kind], each, value)
    page.click("#gr-t-name textarea, #gr-t-name input")
    page.keyboard.press("Control+A")
    page.keyboard.type(spec.name)
    page.wait_for_function("(said) => document.querySelector('#gr-t-command')?.textContent.includes(said)",
        arg=f"--name {spec.name}")  # fmt: skip


def _set(page: Page, prefix: str, field: FieldSpec, value: Any) -> None:
    place = f"#{prefix}-{field.name.replace('.', '-').replace('_', '-')}"
    if field.kind == "yes or no":
        page.set_checked(f"{place} input[type=checkbox]", value)
    elif field.kind == "choice":
        page.click(f"{place} input")
        page.get_by_role("option", name={each: words for words, each in field.choices}[value], exact=True).click()
    else:
        page.fill(f"{place} input", str(value))
