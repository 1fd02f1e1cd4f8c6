"""Data in and out: import with preview and column mapping, export of a filter, snapshots. The owner's alone."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from annotation_store.incoming.values import Columns
from annotation_store.outgoing.values import ExportForm
from app.data import present
from app.markup.tables import progress_bar
from app.markup.text import message
from app.shared.brought import brought
from app.shared.services import Services
from app.shared.tasks import Task
from core.errors import GuardroomError

if TYPE_CHECKING:
    from annotation_store.reading.selecting import Selection

log = logging.getLogger(__name__)

Changes = dict[Any, Any]

FIELDS = {
    "request": "Request", "response": "Response", "media": "Media", "request_label": "Request label",
    "response_label": "Response label", "categories": "Categories", "reasoning": "Reasoning",
    "confidence": "Confidence", "note": "Note", "external_id": "Row's own id", "detail": "Label detail",
    "messages": "ShareGPT messages", "images": "ShareGPT images", "videos": "ShareGPT videos",
}  # fmt: skip
QUEUEING = [("those without a label", "unlabelled"), ("all", "all"), ("none", "none")]
LABELLED = [
    ("labelled or not", "any"), ("labelled", "yes"), ("labelled by people", "by_people"),
    ("labelled by files", "by_files"), ("not labelled", "no"),
]  # fmt: skip
REFUSED_SHOWN = 200


@dataclass(slots=True)
class _Filter:
    """The components of a filter."""

    labelled: gr.Dropdown
    modality: gr.Dropdown
    request: gr.Dropdown
    source: gr.Textbox
    split: gr.Dropdown
    words: gr.Textbox

    @property
    def all(self) -> list[Any]:
        return [self.labelled, self.modality, self.request, self.source, self.split, self.words]


def chosen(labelled: str, modality: str, request: str, source: str, split: str, words: str) -> Selection:
    """The filter as a value.

    Raises:
        InputError: a value that it cannot have.
    """
    from annotation_store.reading.selecting import selection_from_json

    named = {
        "labelled": labelled, "modality": modality, "request": request, "source": (source or "").strip(),
        "split": split, "words": (words or "").strip(),
    }  # fmt: skip
    return selection_from_json(named)


def build(services: Services, token: gr.Textbox, tab: gr.Tab) -> None:
    """Lay the part out and wire it. Call inside `tab`."""
    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    imported = _import_part(services, token, hidden)
    with gr.Accordion("Filter for export and snapshots", open=True, elem_id="gr-d-filter"):
        with gr.Row():
            found = _Filter(
                gr.Dropdown(LABELLED, value="by_people", label="Label", min_width=190, elem_id="gr-d-labelled"),
                gr.Dropdown(
                    [("every modality", ""), "text", "image", "video"], value="", label="Modality", min_width=170
                ),
                gr.Dropdown([("any", ""), "harmful", "unharmful"], value="", label="Request is", min_width=110),
                gr.Textbox(label="Label's source", placeholder="a data set's name", min_width=170),
                gr.Dropdown([("any", ""), "train", "validation", "test"], value="", label="Split", min_width=110),
                gr.Textbox(label="Words", min_width=130),
            )
        counted = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="gr-d-counted")

    def count(http: gr.Request, offered: str, *picked: str) -> str:
        """How many samples the filter lets through."""
        from annotation_store.reading.selecting import count_selected

        try:
            services.gate.check(offered, http.headers)
            with services.store().reading("Counting samples") as connection:
                return present.counted(count_selected(connection, chosen(*picked)))
        except GuardroomError as error:
            return message(str(error), "bad")

    typed = [each for each in found.all if isinstance(each, gr.Textbox)]
    gr.on(
        [tab.select, *(each.change for each in found.all if each not in typed), *(each.submit for each in typed),
         *(each.blur for each in typed)],
        count, [token, *found.all], counted, trigger_mode="always_last", **hidden,
    )  # fmt: skip
    imported.then(count, [token, *found.all], counted, **hidden)
    _export_part(services, token, found, hidden)
    _snapshot_part(services, token, found, hidden, tab)


# -- import -----------------------------------------------------------------------------------------------------------


def _import_part(services: Services, token: gr.Textbox, hidden: dict[str, Any]) -> Any:
    """Lay it out and wire it; the event of an import that has ended."""
    with gr.Accordion("Import", open=True, elem_id="gr-d-import"):
        with gr.Row():
            file = gr.File(
                label="A file: JSONL, JSON, CSV or Parquet, or a zip",
                file_count="single",
                height=140,
                elem_id="gr-d-file",
            )
            path = gr.Textbox(
                label="or a path on this machine",
                info="A file, or a folder of pictures and videos; media that rows name lie beside the file.",
                elem_id="gr-d-path",
            )
        look = gr.Button("Preview", size="sm", elem_id="gr-d-look")
        shown = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="gr-d-preview")
        with gr.Column(visible=False) as mapping:
            with gr.Row(elem_id="gr-d-columns"):
                columns = [
                    gr.Dropdown([""], value="", label=words, min_width=130, elem_id=f"gr-d-column-{name}")
                    for name, words in FIELDS.items()
                ]
            with gr.Row():
                source = gr.Textbox(label="Source of the labels", elem_id="gr-d-source")
                queueing = gr.Radio(QUEUEING, value="unlabelled", label="Into the queue", elem_id="gr-d-queueing")
            with gr.Row(elem_classes="gr-d-buttons"):
                start = gr.Button("Import", variant="primary", size="sm", elem_id="gr-d-start")
                stop = gr.Button("Stop", size="sm", elem_id="gr-d-stop", interactive=False)
        told = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="gr-d-told")
        refused = gr.File(label="All refused rows", visible=False, elem_id="gr-d-refused")

    def preview(file: str | None, path: str, offered: str, http: gr.Request) -> Changes:
        from annotation_store.incoming.previewing import preview as previewed

        try:
            services.gate.check(offered, http.headers)
            found = previewed(brought(file, path, services.uploads))
        except GuardroomError as error:
            return {
                shown: message(str(error), "bad"),
                mapping: gr.Column(visible=False),
                told: "",
                refused: gr.File(visible=False),
            }
        proposed = found.proposed.named()
        choices = [("–", ""), *((name, name) for name in found.columns)]
        return {
            shown: present.preview(found),
            mapping: gr.Column(visible=True),
            source: found.source,
            told: "",
            refused: gr.File(visible=False),
            **{
                each: gr.Dropdown(choices, value=proposed.get(name, ""))
                for name, each in zip(FIELDS, columns, strict=True)
            },
        }

    gr.on(
        [look.click, path.submit, file.upload], preview, [file, path, token],
        [shown, mapping, source, told, refused, *columns], **hidden,
    )  # fmt: skip

    def go(may: bool, file: str | None, path: str, named: str, wanted: str, *picked: str) -> Iterator[Changes]:
        if not may:
            yield {told: gr.skip()}
            return
        try:
            for said, written in _importing(services, brought(file, path, services.uploads), named, wanted, picked):
                listed = gr.File(str(written), visible=True) if written else gr.File(visible=False)
                yield {told: said, refused: listed} | _busy(stop, True)
        except GuardroomError as error:
            yield {told: message(str(error), "bad")}
        yield _busy(stop, False)

    allowed = gr.State(False)
    ended = start.click(_asked(services), token, [allowed, told], **hidden).then(
        go, [allowed, file, path, source, queueing, *columns], [told, refused, stop], concurrency_limit=4, **hidden
    )
    stop.click(lambda: services.tasks.stop("import"), None, None, queue=False, **hidden)
    return ended


def _busy(stop: gr.Button, on: bool) -> Changes:
    """Only what goes on can be stopped."""
    return {stop: gr.Button(interactive=on)}


def _asked(services: Services) -> Any:
    """First step of what belongs to the owner: whether it may go on, and what to say if not."""

    def ask(offered: str, http: gr.Request) -> tuple[bool, str]:
        try:
            services.gate.check(offered, http.headers)
        except GuardroomError as error:
            return False, message(str(error), "bad")
        return True, ""

    return ask


def _importing(
    services: Services, place: Path, source: str, wanted: str, picked: tuple[str, ...]
) -> Iterator[tuple[str, Path | None]]:
    """What is to be said, and at the end the file with all refused rows where there are any."""
    from annotation_store.incoming.running import Queueing, refused_rows, run_import, write_refused

    store = services.store()
    columns = Columns.from_named({name: column for name, column in zip(FIELDS, picked, strict=True) if column})

    def work(task: Task) -> Any:
        return run_import(
            store, services.media, place, columns, source=source.strip(), imported_by="owner",
            queueing=Queueing(wanted), progress=task.tell, stop=task.stop,
        )  # fmt: skip

    task = services.tasks.begin("import", work)
    yield progress_bar(0, "Reading…"), None
    for progress in task.follow():
        yield present.importing(progress), None
    report = task.outcome.result()
    services.compare_soon()
    if not report.refused:
        yield present.imported(report, ()), None
        return
    written: Path | None = None
    try:
        written = Path(tempfile.mkdtemp(prefix="refused-", dir=services.uploads)) / "refused.csv"
        write_refused(store, report.batch_id, written)
    except OSError as error:  # A full disk takes the list away, not what was imported.
        log.warning("The list of refused rows could not be written: %s", error)
        written = None
    yield present.imported(report, refused_rows(store, report.batch_id, REFUSED_SHOWN)), written


# -- export -----------------------------------------------------------------------------------------------------------


def _export_part(services: Services, token: gr.Textbox, found: _Filter, hidden: dict[str, Any]) -> None:
    with gr.Accordion("Export", open=True, elem_id="gr-d-export"):
        with gr.Row(elem_classes="gr-d-buttons"):
            form = gr.Radio([each.value for each in ExportForm], value="jsonl", label="Format", elem_id="gr-d-form")
            start = gr.Button("Export", variant="primary", size="sm", elem_id="gr-d-write")
            stop = gr.Button("Stop", size="sm", interactive=False)
        told = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="gr-d-written")
        files = gr.File(label="Files", file_count="multiple", visible=False, elem_id="gr-d-files")

    def go(may: bool, form: str, *picked: str) -> Iterator[Changes]:
        if not may:
            yield {told: gr.skip()}
            return
        try:
            store, selection = services.store(), chosen(*picked)
            folder = Path(tempfile.mkdtemp(prefix="export-", dir=services.uploads))

            def work(task: Task) -> Any:
                from annotation_store.outgoing.exporting import export

                return export(
                    store, services.media, selection, ExportForm(form), folder / "guardroom", progress=task.tell,
                    stop=task.stop,
                )  # fmt: skip

            task = services.tasks.begin("export", work)
            yield {told: progress_bar(0, "Writing…"), files: gr.File(visible=False)} | _busy(stop, True)
            for progress in task.follow():
                words = f"{progress.rows:,} of {progress.total:,} rows"
                yield {told: progress_bar(progress.rows / max(progress.total, 1), words)}
            report = task.outcome.result()
            handed = [str(path) for path in report.files]
            if report.media:
                handed = [shutil.make_archive(str(folder / f"guardroom-{form}"), "zip", folder / "guardroom")]
            yield {told: present.exported(report), files: gr.File(handed, visible=True)}
        except GuardroomError as error:
            yield {told: message(str(error), "bad")}
        yield _busy(stop, False)

    allowed = gr.State(False)
    start.click(_asked(services), token, [allowed, told], **hidden).then(
        go, [allowed, form, *found.all], [told, files, stop], concurrency_limit=4, **hidden
    )
    stop.click(lambda: services.tasks.stop("export"), None, None, queue=False, **hidden)


# -- snapshots --------------------------------------------------------------------------------------------------------


def _snapshot_part(services: Services, token: gr.Textbox, found: _Filter, hidden: dict[str, Any], tab: gr.Tab) -> None:
    with gr.Accordion("Snapshots", open=True, elem_id="gr-d-snapshots"):
        with gr.Row(elem_classes="gr-d-buttons"):
            name = gr.Textbox(label="Name", placeholder="for example: first hundred", elem_id="gr-d-name", scale=3)
            start = gr.Button("Freeze", variant="primary", size="sm", elem_id="gr-d-freeze")
            stop = gr.Button("Stop", size="sm", interactive=False)
        told = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="gr-d-frozen")
        listed = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="gr-d-list")
        with gr.Row(elem_classes="gr-d-buttons", visible=False) as checking:
            which = gr.Dropdown([], label="Snapshot", elem_id="gr-d-which", scale=3)
            check = gr.Button("Verify", size="sm", elem_id="gr-d-verify")
        checked = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="gr-d-checked")

    def listing() -> Changes:
        from annotation_store.snapshots.listing import snapshots

        known = snapshots(services.store(), services.snapshots)
        choices = [(f"{each.name} · {each.digest[:16]}", each.digest) for each in known]
        return {
            listed: present.snapshots(known),
            which: gr.Dropdown(choices, value=choices[0][1] if choices else None),
            checking: gr.Row(visible=bool(known)),
        }

    def opened(offered: str, http: gr.Request) -> Changes:
        try:
            services.gate.check(offered, http.headers)
            return listing()
        except GuardroomError as error:
            return {listed: message(str(error), "bad")}

    def go(may: bool, named: str, *picked: str) -> Iterator[Changes]:
        if not may:
            yield {told: gr.skip()}
            return
        try:
            selection = chosen(*picked)

            def work(task: Task) -> Any:
                return services.freeze(selection, named, "owner", task.tell, task.stop)

            task = services.tasks.begin("snapshot", work)
            yield {told: progress_bar(0, "Comparing…")} | _busy(stop, True)
            for progress in task.follow():
                yield {told: present.freezing(progress)}
            info = task.outcome.result()
            rows = sum(info.counts.values())
            yield {told: message(f"Frozen: {rows:,} samples as {info.digest}, in {info.folder}.", "good")} | listing()
        except GuardroomError as error:
            yield {told: message(str(error), "bad")}
        yield _busy(stop, False)

    def verify(digest: str | None, offered: str, http: gr.Request) -> str:
        from annotation_store.snapshots.listing import snapshot
        from core.snapshots.check import verify as check_folder

        try:
            services.gate.check(offered, http.headers)
            folder = snapshot(services.store(), services.snapshots, digest or "").folder
            return present.verified(folder, check_folder(folder))
        except GuardroomError as error:
            return message(str(error), "bad")

    allowed = gr.State(False)
    start.click(_asked(services), token, [allowed, told], **hidden).then(
        go, [allowed, name, *found.all], [told, listed, which, checking, stop], concurrency_limit=4, **hidden
    )
    stop.click(lambda: services.tasks.stop("snapshot"), None, None, queue=False, **hidden)
    tab.select(opened, token, [listed, which, checking], **hidden)
    check.click(verify, [which, token], checked, **hidden)
