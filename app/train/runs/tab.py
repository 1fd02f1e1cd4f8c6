"""Runs: the one that is open, live, and the list of all. What is shown is read from the run folders at every look, so a
reload of the page or a new start of the app changes nothing."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from app.markup.text import message
from app.shared.services import Services
from app.train.plots import Curves, plots
from app.train.runs import present
from app.train.runs import views as run_views
from app.train.runs.layout import EXPORT_WORDS, RunParts
from app.train.runs.mined_pane import MinedPane
from app.train.runs.rollouts_pane import Place, RolloutsPane
from app.train.runs.views import RunLine, RunView
from app.train.start import present as train_present
from core.errors import GuardroomError, InputError, JobError
from train_jobs.recipes.files import SETTINGS
from train_jobs.runs.specs import JobKind, JobState

Changes = dict[Any, Any]
Seen = dict[str, Any]
"""What this page was last sent, by the part's name, so that nothing is sent twice."""

LIVE_S, IDLE_S = 2.0, 4.0
"""Seconds between two looks while a job waits or runs, and while none does."""
LOG_LINES = 40


class TrainRuns:
    """The handlers of the runs.

    Args:
        token: the owner's token as the page asks for it.
        opened: a `gr.State` with the id of the run that is open.
        place: a `gr.State` with the `Place` in its rollouts.
        seen: a `gr.State` with what the page was last sent.
        timer: ticks while the tab may be shown.
    """

    def __init__(
        self, services: Services, parts: RunParts, token: gr.Textbox, opened: gr.State, place: gr.State, seen: gr.State,
        timer: gr.Timer,
    ) -> None:  # fmt: skip
        self.services = services
        self.parts = parts
        self.token = token
        self.opened = opened
        self.seen = seen
        self.timer = timer
        self.place = place
        self.mined = MinedPane(services, parts.mined, token, opened)
        self.rollouts = RolloutsPane(services, parts.rollouts, token, opened, place)

    @property
    def asked(self) -> list[Any]:
        """What a look is given, after the request."""
        return [self.token, self.opened, self.parts.other, self.seen, self.place]

    @property
    def screen(self) -> list[Any]:
        """All that a look may change."""
        parts = self.parts
        return [
            parts.none, parts.shown, parts.head, parts.cancel, parts.resume, parts.clone, parts.remove, parts.other,
            parts.plots, parts.export, parts.made, parts.export_form, parts.log, parts.command, parts.listed,
            *self.mined.screen, *self.rollouts.screen, self.opened, self.seen, self.timer,
        ]  # fmt: skip

    @property
    def quiet(self) -> list[Any]:
        """What was said or made about a run, and where one looked in it: all that another run does away with."""
        parts = self.parts
        return [
            parts.told, parts.sure, parts.exported, parts.files, parts.mined.sent, parts.rollouts.exported,
            parts.rollouts.file, self.place,
        ]  # fmt: skip

    def cleared(self) -> Changes:
        """Another run is opened."""
        parts = self.parts
        hidden = gr.File(visible=False)
        return {
            parts.told: "", parts.sure: gr.Group(visible=False), parts.exported: "", parts.files: hidden,
            parts.mined.sent: "", parts.rollouts.exported: "", parts.rollouts.file: hidden, self.place: Place(),
        }  # fmt: skip

    def wire(self) -> None:
        """Events to handlers, but for entering and cloning, which the page wires."""
        parts = self.parts
        local: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        asked = self.asked
        self.timer.tick(self.look, asked, self.screen, **local)
        parts.other.input(self.look, asked, self.screen, **local)
        self.mined.wire()
        self.rollouts.wire(self.look, asked, self.screen)
        parts.listed.click(self.open, [self.token, self.seen], [*self.screen, *self.quiet], **local)
        told = [*self.screen, parts.told, parts.sure]
        parts.cancel.click(self.cancel_run, asked, told, **local)
        parts.resume.click(self.resume_run, asked, told, **local)
        parts.remove.click(lambda: gr.Group(visible=True), None, parts.sure, **local)
        parts.keep.click(lambda: gr.Group(visible=False), None, parts.sure, **local)
        parts.remove_now.click(self.delete_run, asked, told, **local)
        parts.export_go.click(
            self.export, [self.token, self.opened, parts.export_form],
            [parts.exported, parts.files], show_progress="hidden", api_visibility="private", concurrency_limit=2,
        )  # fmt: skip

    # -- looking --------------------------------------------------------------------------------------------------

    def look(self, http: gr.Request, offered: str, opened: str | None, other: str, seen: Seen, place: Place) -> Changes:
        """How things stand now."""
        try:
            self.services.gate.check(offered, http.headers)
            return self.drawn(opened, other, seen, place)
        except GuardroomError as error:
            return {self.parts.none: message(str(error), "bad"), self.timer: gr.Timer(active=False)}

    def open(self, http: gr.Request, offered: str, seen: Seen, event: gr.EventData) -> Changes:
        """A run of the list was chosen."""
        return self.cleared() | self.look(http, offered, str(event._data.get("run") or ""), "", seen, Place())

    def drawn(self, opened: str | None, other: str, seen: Seen, place: Place) -> Changes:
        """All parts that differ from what was sent before.

        Raises:
            GuardroomError: the runs cannot be read.
        """
        parts, now = self.parts, time.time()
        known = run_views.lines(self.services)
        opened = _opened(known, opened)
        busy = any(not each.is_over for each in known)
        values: dict[str, tuple[Any, Any, Callable[[Any], Any]]] = {
            "none": (parts.none, "" if known else present.NO_RUN, str),
            "listed": (parts.listed, present.runs(known, opened, now) if known else "", str),
            "shown": (parts.shown, opened is not None, lambda on: gr.Column(visible=on)),
            "timer": (self.timer, LIVE_S if busy else IDLE_S, lambda every: gr.Timer(every, active=True)),
        }
        if opened is not None:
            values |= self._run(opened, other, known, now, place)
        changes: Changes = {self.opened: opened}
        told: Seen = {}
        for name, (part, value, shape) in values.items():
            told[name] = hash(value)
            if seen.get(name) != told[name]:
                changes[part] = shape(value)
        return changes | {self.seen: told}

    def _run(
        self, opened: str, other: str, known: list[RunLine], now: float, place: Place
    ) -> dict[str, tuple[Any, Any, Callable[[Any], Any]]]:
        parts = self.parts
        try:
            view = run_views.view(self.services, opened)
        except JobError as error:
            return {"head": (parts.head, message(str(error), "bad"), str)}
        over = view.state.is_over
        forms = tuple(each.value for each in run_views.export_forms(self.services, view.made))
        choices = (("nothing", ""), *((present.run_choice(each), each.id) for each in known if _compares(each, opened)))
        other = other if other in [value for _, value in choices] else ""
        return {
            "head": (parts.head, present.head(view, now, self.services.beside_words), str),
            "cancel": (parts.cancel, not over, lambda on: gr.Button(visible=on)),
            "resume": (parts.resume, view.state.can_resume, lambda on: gr.Button(visible=on)),
            "clone": (parts.clone, view.spec.kind in SETTINGS, lambda on: gr.Button(visible=on)),
            "remove": (parts.remove, over, lambda on: gr.Button(interactive=on)),
            "other": (parts.other, (choices, other), lambda it: gr.Dropdown(list(it[0]), value=it[1])),
            "plots": (parts.plots, self._plots(view, other), str),
            "export": (parts.export, bool(forms), lambda on: gr.Accordion(visible=on)),
            "made": (parts.made, present.made(view.made) if forms and view.made else "", str),
            "form": (
                parts.export_form, forms,
                lambda them: gr.Radio([EXPORT_WORDS[each] for each in them], value=them[0] if them else None),
            ),
            "log": (parts.log, present.log(view.run.log_tail(LOG_LINES), not over), str),
            "command": (parts.command, train_present.command(run_views.command_of(self.services, view)), str),
            **self.mined.values(view),
            **self.rollouts.values(view, place),
        }  # fmt: skip

    def _plots(self, view: RunView, other: str) -> str:
        if view.spec.kind is JobKind.EVALUATE:
            return ""
        views = [view]
        wrong = ""
        if other:
            try:
                views.append(run_views.view(self.services, other))
            except JobError as error:
                wrong = message(str(error), "bad")
        return wrong + plots([_curves(each) for each in views], run_views.plot_groups(views))

    # -- acting ---------------------------------------------------------------------------------------------------

    def cancel_run(self, http: gr.Request, *asked: Any) -> Changes:
        """End a run; a running one saves a checkpoint first. The name `cancel` belongs to the API's endpoint."""
        return self._act(http, self._cancelled, *asked)

    def resume_run(self, http: gr.Request, *asked: Any) -> Changes:
        """Queue an ended run again."""
        return self._act(http, self._resumed, *asked)

    def delete_run(self, http: gr.Request, *asked: Any) -> Changes:
        """Remove an ended run for good."""
        return self._act(http, self._deleted, *asked)

    def _act(
        self, http: gr.Request, act: Callable[[str], str], offered: str, opened: str | None, *rest: Any
    ) -> Changes:
        shut: Changes = {self.parts.sure: gr.Group(visible=False)}
        try:
            self.services.gate.check(offered, http.headers)
            if not opened:
                raise InputError("No run is open; choose one in the list.")
            said = message(act(opened), "good")
        except GuardroomError as error:
            said = message(str(error), "bad")
        return shut | self.look(http, offered, opened, *rest) | {self.parts.told: said}

    def _cancelled(self, run: str) -> str:
        self.services.launcher().cancel(run, "owner")
        return ""  # the run's own sentence says how it goes on

    def _resumed(self, run: str) -> str:
        self.services.launcher().resume(run)
        return ""

    def _deleted(self, run: str) -> str:
        self.services.launcher().delete(run)
        return "Deleted."

    def export(self, http: gr.Request, offered: str, opened: str | None, form: str | None) -> Changes:
        """The run's checkpoint as one file to download."""
        from train_jobs.training.export import ExportForm

        parts = self.parts
        try:
            self.services.gate.check(offered, http.headers)
            made = run_views.view(self.services, opened or "").made
            if made is None or not form:
                raise InputError("This run has made no checkpoint; only one that succeeded has.")
            folder = Path(tempfile.mkdtemp(prefix="checkpoint-", dir=self.services.uploads))
            target = folder / (made if form == ExportForm.MERGED else f"{made}-{form}")
            try:
                run_views.export(self.services, made, ExportForm(form), target)
                file = shutil.make_archive(str(target), "zip", folder, target.name)
            except OSError as error:
                raise InputError(f"The checkpoint cannot be written ({error.strerror}); free some space.") from None
            finally:
                shutil.rmtree(target, ignore_errors=True)
            return {parts.exported: message("Ready, with its card.", "good"), parts.files: gr.File(file, visible=True)}
        except GuardroomError as error:
            return {parts.exported: message(str(error), "bad"), parts.files: gr.File(visible=False)}


def _opened(known: list[RunLine], opened: str | None) -> str | None:
    """The run that is open, else the one that runs, else the newest."""
    if any(each.id == opened for each in known):
        return opened
    running = [each.id for each in known if each.status is not None and each.status.state is JobState.RUNNING]
    return next(iter([*running, *(each.id for each in known)]), None)


def _compares(line: RunLine, opened: str) -> bool:
    return line.id != opened and line.spec is not None and line.spec.kind is not JobKind.EVALUATE


def _curves(view: RunView) -> Curves:
    return Curves(f"{view.spec.name} ({view.run.id})", view.metrics, view.steps)
