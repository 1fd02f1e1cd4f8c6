"""Mining hard samples: what to go over, the rule, start, stop and resume, and what earlier runs found. The owner's."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.data import present as data_present
from app.markup.tables import progress_bar
from app.markup.text import message
from app.mine import present
from app.mine.work import MiningProgress, MiningReport, mine
from app.shared.brought import brought
from app.shared.services import Services
from app.shared.tasks import Task
from core.errors import Cancelled, GuardroomError, InputError
from core.mining.rules import DEFAULT_BITS, DEFAULT_GENERATIONS, MOST_GENERATIONS, KeepRule, Sampling

if TYPE_CHECKING:
    from annotation_store.mining.runs import Mining
    from annotation_store.mining.values import MiningSettings
    from annotation_store.reading.selecting import Selection
    from annotation_store.store import AnnotationStore

log = logging.getLogger(__name__)

Changes = dict[Any, Any]

TASK = "mining"
LOOK_EVERY_S = 1.0
LABELLED = [
    ("labelled or not", "any"), ("labelled", "yes"), ("labelled by people", "by_people"),
    ("labelled by files", "by_files"), ("not labelled", "no"),
]  # fmt: skip
MODALITIES: list[Any] = [("every modality", ""), "text", "image", "video"]
SPLITS: list[Any] = [("any", ""), "train", "validation", "test"]


def build(services: Services, token: gr.Textbox, tab: gr.Tab) -> gr.Button:
    """Lay the part out and wire it; the button leads to the queue. Call inside `tab`."""
    made = _MineTab(services, token)
    made.wire(tab)
    return made.review


@dataclass(slots=True)
class _Work:
    """The run that this app works on, or has worked on last: the same for every open page."""

    task: Task | None = None

    @property
    def going_on(self) -> bool:
        return self.task is not None and not self.task.outcome.done()

    @property
    def run_id(self) -> str | None:
        """Of the run that is going on, once it has begun."""
        latest = self.task.latest if self.task is not None and self.going_on else None
        return latest.run.id if isinstance(latest, MiningProgress) else None


class _MineTab:
    """The components and their handlers."""

    def __init__(self, services: Services, token: gr.Textbox) -> None:
        self.services = services
        self.token = token
        self.work = _Work()
        html: dict[str, Any] = {"js_on_load": None, "apply_default_css": False}
        gr.HTML(present.about(), **html)
        with gr.Accordion("What to mine", open=True, elem_id="gr-mine-what"):
            self.origin = gr.Radio(
                [("stored samples", "stored"), ("a file", "file")], value="stored", label="Samples from",
                elem_id="gr-mine-origin",
            )  # fmt: skip
            with gr.Row(elem_id="gr-mine-filter") as self.stored:
                self.filter = [
                    gr.Dropdown(LABELLED, value="any", label="Label", min_width=190, elem_id="gr-mine-labelled"),
                    gr.Dropdown(MODALITIES, value="", label="Modality", min_width=190),
                    gr.Textbox(label="Label's source", placeholder="a data set's name", min_width=190),
                    gr.Dropdown(SPLITS, value="", label="Split", min_width=110),
                    gr.Textbox(label="Words", min_width=130, elem_id="gr-mine-words"),
                ]
            with gr.Row(visible=False) as self.brought:
                self.file = gr.File(
                    label="A file: JSONL, JSON, CSV or Parquet", file_count="single", height=140,
                    elem_id="gr-mine-file",
                )  # fmt: skip
                self.path = gr.Textbox(
                    label="or a path on this machine",
                    info="Columns are found by their names, and the rows are stored as samples. Where a file needs "
                    "other columns, bring it in under Data first.",
                    elem_id="gr-mine-path",
                )
            self.seen = gr.HTML("", **html, elem_id="gr-mine-seen")
        with gr.Accordion("How", open=True, elem_id="gr-mine-how"):
            with gr.Row():
                self.rule = gr.Dropdown(
                    [(words, rule.value) for rule, words in present.RULES.items()],
                    value=KeepRule.OMNI_V1.value, label="Keep a labelled sample when", min_width=300, scale=3,
                    elem_id="gr-mine-rule",
                )  # fmt: skip
                self.bits = gr.Number(
                    DEFAULT_BITS, label="Keep an unlabelled one from (bits)", minimum=0.01, maximum=5, step=0.05,
                    info="Entropy of the vote: 1 of 4 dissents at 0.81, 2 of 4 at 1.", min_width=200, scale=2,
                    elem_id="gr-mine-bits",
                )  # fmt: skip
                self.n = gr.Number(
                    DEFAULT_GENERATIONS[KeepRule.OMNI_V1], label="Generations", minimum=2, maximum=MOST_GENERATIONS,
                    precision=0, min_width=100, elem_id="gr-mine-n",
                )  # fmt: skip
                self.temperature = gr.Number(1.0, label="Temperature", minimum=0.05, maximum=2, step=0.1, min_width=100)
                self.top_p = gr.Number(0.95, label="Top-p", minimum=0.05, maximum=1, step=0.05, min_width=100)
            with gr.Row(elem_classes="gr-d-buttons"):
                self.start = gr.Button("Start", variant="primary", size="sm", elem_id="gr-mine-start")
                self.halt = gr.Button("Stop", size="sm", interactive=False, elem_id="gr-mine-stop")
                self.review = gr.Button("Review them", size="sm", visible=False, elem_id="gr-mine-review")
        self.told = gr.HTML("", **html, elem_id="gr-mine-told")
        with gr.Accordion("Runs", open=True, elem_id="gr-mine-runs"):
            self.listed = gr.HTML("", **html, elem_id="gr-mine-list")
            with gr.Row(elem_classes="gr-d-buttons", visible=False) as self.resuming:
                self.which = gr.Dropdown([], label="Stopped run", elem_id="gr-mine-which", scale=3)
                self.resume = gr.Button("Resume", size="sm", elem_id="gr-mine-resume")
        self.timer = gr.Timer(LOOK_EVERY_S, active=False)

    def wire(self, tab: gr.Tab) -> None:
        """Events to handlers."""
        local: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        named = [self.token, self.origin, self.file, self.path, *self.filter]
        drawn = [self.rule, self.bits, self.n, self.temperature, self.top_p]
        dropdowns = [each.input for each in self.filter if isinstance(each, gr.Dropdown)]
        texts = [each.submit for each in (*self.filter, self.path) if isinstance(each, gr.Textbox)]
        gr.on(
            [tab.select, self.origin.input, self.file.upload, self.file.clear, *dropdowns, *texts],
            self.look, named, [self.stored, self.brought, self.seen], **local,
        )  # fmt: skip
        self.rule.input(lambda rule: DEFAULT_GENERATIONS[KeepRule(rule)], self.rule, self.n, **local)
        whole = [
            self.told, self.listed, self.which, self.resuming, self.timer, self.start, self.halt, self.review,
        ]  # fmt: skip
        self.start.click(self.begin, [*named, *drawn], whole, **local)
        self.resume.click(self.go_on, [self.token, self.which], whole, **local)
        self.halt.click(self.stop, self.token, whole, **local)
        gr.on([tab.select, self.timer.tick], self.draw, self.token, whole, **local)

    # -- what to mine ---------------------------------------------------------------------------------------------

    def look(
        self, http: gr.Request, offered: str, origin: str, file: str | None, path: str | None, *picked: str
    ) -> Changes:
        """How many samples pass the filter, or the first rows of the file."""
        from_file = origin == "file"
        shown: Changes = {self.stored: gr.Row(visible=not from_file), self.brought: gr.Row(visible=from_file)}
        try:
            self.services.gate.check(offered, http.headers)
            if not from_file:
                said = self._counted(chosen(*picked))
            elif file or (path or "").strip():
                from annotation_store.incoming.previewing import preview

                said = data_present.preview(preview(brought(file, path, self.services.uploads), rows=5))
            else:
                said = ""
        except GuardroomError as error:
            said = message(str(error), "bad")
        return shown | {self.seen: said}

    def _counted(self, selection: Selection) -> str:
        from annotation_store.reading.selecting import Labelled, count_selected

        with self.services.store().reading("Counting samples to mine") as connection:
            total = count_selected(connection, selection)
            labelled = 0 if selection.labelled is Labelled.NO else total
            if selection.labelled is Labelled.ANY:
                labelled = count_selected(connection, replace(selection, labelled=Labelled.YES))
        return present.counted(total, labelled)

    # -- runs -----------------------------------------------------------------------------------------------------

    def begin(
        self, http: gr.Request, offered: str, origin: str, file: str | None, path: str | None, *picked: Any
    ) -> Changes:
        """Start a new run."""
        from annotation_store.mining.runs import begin

        try:
            self.services.gate.check(offered, http.headers)
            wanted, how = picked[: len(self.filter)], picked[len(self.filter) :]
            settings = settings_of(chosen(*wanted), *how)
            place = brought(file, path, self.services.uploads) if origin == "file" else None
            store = self.services.store()

            def prepare(task: Task) -> Mining:
                checkpoint = self.services.guard.call(lambda guard: guard.engine.info.id)
                if place is None:
                    return begin(store, settings, checkpoint, "owner")
                selection = _imported(self.services, store, place, task)
                return begin(store, replace(settings, selection=selection), checkpoint, "owner")

            self._go(store, prepare)
        except GuardroomError as error:
            return {self.told: message(str(error), "bad")}
        return self._drawn()

    def go_on(self, http: gr.Request, offered: str, run_id: str | None) -> Changes:
        """Resume a run."""
        from annotation_store.mining.runs import resume

        try:
            self.services.gate.check(offered, http.headers)
            if not run_id:
                raise InputError("No run is chosen; choose one that was stopped.")
            store = self.services.store()
            self._go(store, lambda task: resume(store, run_id))
        except GuardroomError as error:
            return {self.told: message(str(error), "bad")}
        return self._drawn()

    def _go(self, store: AnnotationStore, prepare: Callable[[Task], Mining]) -> None:
        """Begin the work behind the page.

        Raises:
            InputError: another run is going on.
        """
        services = self.services

        def work(task: Task) -> MiningReport:
            try:
                mining = prepare(task)
                task.tell(MiningProgress(mining.run, 0.0))
                return mine(
                    services.guard, store, mining, thresholds=services.thresholds(), progress=task.tell, stop=task.stop
                )
            except GuardroomError:
                raise  # a sentence for the page
            except Exception:
                log.exception("The mining failed")
                raise

        self.work.task = services.tasks.begin(TASK, work)

    def stop(self, http: gr.Request, offered: str) -> Changes:
        """Stop the run; what is recorded stays."""
        try:
            self.services.gate.check(offered, http.headers)
            self.services.tasks.stop(TASK)
            return {self.halt: gr.Button(interactive=False)}
        except GuardroomError as error:
            return {self.told: message(str(error), "bad")}

    # -- drawing --------------------------------------------------------------------------------------------------

    def draw(self, http: gr.Request, offered: str) -> Changes:
        """How far the run is, or what it came to; and all runs."""
        try:
            self.services.gate.check(offered, http.headers)
            return self._drawn()
        except GuardroomError as error:
            return {self.told: message(str(error), "bad"), self.timer: gr.Timer(active=False)}

    def _drawn(self) -> Changes:
        from annotation_store.mining.runs import mining_runs
        from annotation_store.mining.values import MiningState

        busy = self.work.going_on
        known = mining_runs(self.services.store())
        working = self.work.run_id
        open_runs = [run for run in known if run.state is not MiningState.DONE and run.id != working]
        told, waiting = self._told()
        return {
            self.told: told,
            self.listed: present.runs(known, working),
            self.which: gr.Dropdown(
                [(present.named(run), run.id) for run in open_runs], value=open_runs[0].id if open_runs else None
            ),
            self.resuming: gr.Row(visible=bool(open_runs) and not busy),
            self.timer: gr.Timer(active=busy),
            self.start: gr.Button(interactive=not busy),
            self.halt: gr.Button(interactive=busy and self.work.task is not None and not self.work.task.stop.is_set()),
            self.review: gr.Button(visible=waiting > 0),
        }

    def _told(self) -> tuple[str, int]:
        """What to say about the run, and how many of its samples wait for review."""
        task = self.work.task
        if task is None:
            return "", 0
        if not task.outcome.done():
            latest = task.latest
            if isinstance(latest, MiningProgress):
                return present.progress(latest), 0
            said = progress_bar(0, "Waiting for the guard…") if latest is None else data_present.importing(latest)
            return said, 0
        error = task.outcome.exception()
        if error is None:
            report: MiningReport = task.outcome.result()
            return present.report(report), report.findings.waiting
        said = str(error) if isinstance(error, GuardroomError) else f"The mining failed: {error!r}."
        return message(said, "plain" if isinstance(error, Cancelled) else "bad"), 0


def chosen(labelled: str, modality: str, source: str, split: str, words: str) -> Selection:
    """The filter as a value.

    Raises:
        InputError: a value that it cannot have.
    """
    from annotation_store.reading.selecting import selection_from_json

    named = {
        "labelled": labelled, "modality": modality, "source": (source or "").strip(), "split": split,
        "words": (words or "").strip(),
    }  # fmt: skip
    return selection_from_json(named)


def settings_of(
    selection: Selection, rule: str, bits: float, n: float, temperature: float, top_p: float
) -> MiningSettings:
    """What the page hands in as settings, with a seed of its own, so that another run draws anew.

    Raises:
        InputError: a value is missing or out of its range.
    """
    from annotation_store.mining.values import MiningSettings

    try:
        sampling = Sampling(int(n), float(temperature), float(top_p), secrets.randbelow(2**31))
        return MiningSettings(selection, KeepRule(rule), sampling, float(bits))
    except (TypeError, ValueError) as error:
        said = "a number is missing" if isinstance(error, TypeError) else str(error)
        raise InputError(f"The mining cannot start: {said}.") from None


def _imported(services: Services, store: AnnotationStore, place: Path, task: Task) -> Selection:
    """The rows of a file as stored samples, with their labels by that source.

    Raises:
        InputError: the file cannot be read, or none of its rows.
        Cancelled: it was stopped; the rows taken in stay.
    """
    from annotation_store.incoming.previewing import preview
    from annotation_store.incoming.running import Queueing, refused_rows, run_import
    from annotation_store.reading.selecting import Selection

    found = preview(place)
    report = run_import(
        store, services.media, place, found.proposed, source=found.source, imported_by="owner",
        queueing=Queueing.NONE, progress=task.tell, stop=task.stop,
    )  # fmt: skip
    services.compare_soon()
    if task.stop.is_set():
        raise Cancelled(f"Stopped while the file was read: {report.rows:,} rows are stored, and none was mined.")
    if not report.rows:
        first = refused_rows(store, report.batch_id, 1)
        why = f" Row {first[0].row}: {first[0].reason}" if first else ""
        raise InputError(f"No row of {place.name} could be taken in.{why}")
    return Selection(batch_id=report.batch_id)
