"""The rollouts of the open run: which one, which completions of it, one sample through all of them, and their export.

Where a person looks is kept in the page; a look of the timer never changes it. While the run goes on, the newest
rollout is shown until somebody chooses another, pages, filters, or opens a completion.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from app.markup.text import message
from app.shared.services import Services
from app.train.runs import rollouts_present as present
from app.train.runs import views as run_views
from app.train.runs.rollouts_layout import RolloutParts
from app.train.runs.views import RunView
from core.errors import GuardroomError, InputError, JobError
from train_jobs.grpo.hard_rows import HARD
from train_jobs.grpo.rollout_groups import (
    Shown,
    Stamp,
    chosen,
    counts,
    follow_sample,
    prompts_of,
    rollout_groups,
    stamp,
)
from train_jobs.grpo.rollouts import export_rollouts, rollout_files
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.forgotten import forgotten
from train_jobs.runs.specs import JobKind

Changes = dict[Any, Any]
Values = dict[str, tuple[Any, Any, Callable[[Any], Any]]]
"""What a look finds: by name a component, its value, and how the value becomes an update."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a person looks."""

    run: str = ""
    step: int | None = None
    """None: the newest."""
    shown: Shown = Shown.ALL
    page: int = 0
    sample: str | None = None
    """The one that is followed."""

    def of(self, run: str) -> Place:
        """This place, or where one begins in another run."""
        return self if self.run == run else Place(run)


def moved(place: Place, steps: list[int], asked: str, to: str) -> Place:
    """Where a button leads.

    Args:
        asked: what it says that it does; what is not known changes nothing.
        to: with what.
    """
    now = place.step if place.step is not None else steps[-1] if steps else None
    try:
        match asked:
            case "newest":
                return replace(place, step=None, page=0)
            case "step":
                step = int(to)
                return replace(place, step=step, page=place.page if step == now else 0)
            case "at":
                return replace(place, step=steps[min(max(int(to), 0), len(steps) - 1)], page=0) if steps else place
            case "filter":
                return replace(place, step=now, shown=Shown(to), page=0)
            case "page":
                return replace(place, step=now, page=max(0, int(to)))
            case "follow":
                return replace(place, step=now, sample=to or None, shown=Shown.ALL, page=0)
            case "leave":
                return replace(place, sample=None, page=0)
    except ValueError:
        pass
    return place


class RolloutsPane:
    """The handlers.

    Args:
        token: the owner's token as the page asks for it.
        opened: a `gr.State` with the id of the run that is open.
        place: a `gr.State` with the `Place` of this page.
    """

    def __init__(
        self, services: Services, parts: RolloutParts, token: gr.Textbox, opened: gr.State, place: gr.State
    ) -> None:
        self.services = services
        self.parts = parts
        self.token = token
        self.opened = opened
        self.place = place

    @property
    def screen(self) -> list[Any]:
        """All that a look may change."""
        parts = self.parts
        return [parts.whole, parts.bar, parts.through, parts.groups, parts.exporting]

    def wire(self, look: Callable[..., Changes], asked: list[Any], screen: list[Any]) -> None:
        """Events to handlers.

        Args:
            look: draws the whole run, given what `asked` holds.
            screen: all that it may change.
        """
        local: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        parts = self.parts

        def go(http: gr.Request, offered: str, opened: str | None, event: gr.EventData, *rest: Any) -> Changes:
            *others, there = rest
            try:
                self.services.gate.check(offered, http.headers)
                there = self.gone(opened, there, event)
            except GuardroomError:  # the look says so
                pass
            return look(http, offered, opened, *others, there) | {self.place: there}

        for part in (parts.bar, parts.through, parts.groups):
            part.click(go, asked, [*screen, self.place], **local)
        parts.export.click(
            self.export, [self.token, self.opened, parts.form], [parts.exported, parts.file], show_progress="hidden",
            api_visibility="private", concurrency_limit=2,
        )  # fmt: skip

    def gone(self, opened: str | None, place: Place, event: gr.EventData) -> Place:
        """Where a person looks after a press."""
        said = event._data
        run = self.services.launcher().find(opened or "")
        return moved(place.of(run.id), _steps(run), str(said.get("do") or ""), str(said.get("to") or ""))

    def values(self, view: RunView, place: Place) -> Values:
        """What the pane shows of a run now."""
        parts = self.parts
        is_one = view.spec.kind is JobKind.GRPO
        found: Values = {"rollouts": (parts.whole, is_one, lambda on: gr.Accordion(visible=on))}
        if not is_one:
            return found
        bar, through, groups = self._drawn(view, place.of(view.run.id))
        return found | {
            "rollouts_bar": (parts.bar, bar, str),
            "rollouts_through": (parts.through, through, str),
            "rollouts_groups": (parts.groups, groups, str),
            "rollouts_export": (parts.exporting, bool(bar), lambda on: gr.Row(visible=on)),
        }

    def _drawn(self, view: RunView, place: Place) -> tuple[str, str, str]:
        run, running = view.run, not view.state.is_over
        files = list(rollout_files(run))
        steps = sorted({step for step, _ in files})
        if not steps:
            bar, groups = present.waiting() if running else ("", present.NEVER)
            return bar, "", groups
        step = place.step if place.step in steps else steps[-1]
        bar = present.bar(steps, step, following=running and place.step is None, running=running)
        # Redrawn only when something of it has changed: a look comes every second.
        mine = stamp([run.path / "rollouts" / HARD, *(path for found, path in files if found == step)])
        try:
            through = ""
            if place.sample is not None:
                through = present.through(follow_sample(run, place.sample), step, prompts_of(run))
            gone = forgotten(run)
            return bar, through, _groups(run, step, place.shown, place.page, place.sample, mine, gone)
        except JobError as error:
            return bar, "", message(str(error), "bad")

    def export(self, http: gr.Request, offered: str, opened: str | None, form: str | None) -> Changes:
        """All completions of the run as one file to download."""
        parts = self.parts
        try:
            self.services.gate.check(offered, http.headers)
            run = run_views.view(self.services, opened or "").run
            if not _steps(run):
                raise InputError("This run has no rollout to export.")
            folder = Path(tempfile.mkdtemp(prefix="rollouts-", dir=self.services.uploads))
            target = folder / f"{run.id}-rollouts.{'parquet' if form == 'parquet' else 'jsonl'}"
            try:
                count = export_rollouts(run, target)
            except OSError as error:
                raise InputError(f"The rollouts cannot be written ({error.strerror}); free some space.") from None
            return {parts.exported: present.exported(count), parts.file: gr.File(str(target), visible=True)}
        except GuardroomError as error:
            return {parts.exported: message(str(error), "bad"), parts.file: gr.File(visible=False)}


def _steps(run: RunFolder) -> list[int]:
    return sorted({step for step, _ in rollout_files(run)})


@lru_cache(maxsize=32)
def _groups(
    run: RunFolder, step: int, shown: Shown, page: int, sample: str | None, files: Stamp, gone: frozenset[str]
) -> str:
    """One page of a rollout.

    Args:
        files: what the rollout and the rows are; another value reads them again.
        gone: samples that were deleted since; likewise.
    """
    every = rollout_groups(run, step)
    return present.rollout(chosen(every, shown), counts(every), shown, page, prompts_of(run), sample)
