"""Evaluations: what to score on what, start, progress, cancel, resume and delete. The owner's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from app.evaluate import present
from app.evaluate import work as evaluations
from app.evaluate.work import Wanted
from app.markup.text import message
from app.shared.services import Services
from core.errors import GuardroomError, InputError
from core.settings import BUILTIN

if TYPE_CHECKING:
    from app.evaluate.work import EvaluationLine

Changes = dict[Any, Any]

LOOK_EVERY_S = 1.0
LOOKS = [("with reasoning, as the live guard judges", "deliberation"), ("first look only, many times faster", "first")]
LIMITS: list[Any] = [("all", ""), "50", "200", "1000", "5000"]
AUTHOR = "owner"


class EvaluateTab:
    """The components and their handlers."""

    def __init__(self, services: Services, token: gr.Textbox) -> None:
        self.services = services
        self.token = token
        html: dict[str, Any] = {"js_on_load": None, "apply_default_css": False}
        gr.HTML(present.about(), **html)
        with gr.Accordion("New evaluation", open=True, elem_id="gr-e-new"):
            with gr.Row():
                self.checkpoint = gr.Dropdown(
                    [("Built-in", BUILTIN)], value=BUILTIN, label="Checkpoint", allow_custom_value=True, min_width=230,
                    info="The built-in guard, a trained one, a local folder, or a Hub id such as owner/name.",
                    elem_id="gr-e-checkpoint",
                )  # fmt: skip
                self.look = gr.Radio(
                    LOOKS, value="deliberation", label="How", info="Promotion asks for an evaluation with reasoning.",
                    min_width=230, elem_id="gr-e-look",
                )  # fmt: skip
            with gr.Row():
                self.snapshot = gr.Dropdown(
                    [("none", "")], value="", label="Held-out rows of a snapshot", min_width=230,
                    info="Labels made here that nothing was trained on. The gate wants at least 200 of them.",
                    elem_id="gr-e-snapshot",
                )  # fmt: skip
                self.paths = gr.Textbox(
                    label="Files or folders on this machine, one a line", lines=2, max_lines=6, min_width=230,
                    info="JSONL: id, request, response, media, request_label, response_label, category, benchmark.",
                    elem_id="gr-e-paths",
                )  # fmt: skip
            self.files = gr.File(
                label="or drop files (rows without media)", file_count="multiple", file_types=[".jsonl"],
                height=150, elem_id="gr-e-files",
            )  # fmt: skip
            self.seen = gr.HTML("", **html, elem_id="gr-e-seen")
            with gr.Row(elem_classes="gr-d-buttons"):
                self.limit = gr.Dropdown(
                    LIMITS, value="", label="Rows of each set at most", allow_custom_value=True, min_width=150,
                    elem_id="gr-e-limit",
                )  # fmt: skip
                self.name = gr.Textbox(
                    label="Name", placeholder="what the list calls it", max_lines=1, min_width=180, scale=2,
                    elem_id="gr-e-name",
                )  # fmt: skip
                self.start = gr.Button("Start", variant="primary", size="sm", elem_id="gr-e-start")
        self.told = gr.HTML("", **html, elem_id="gr-e-told")
        with gr.Accordion("Evaluations", open=True, elem_id="gr-e-all"):
            self.listed = gr.HTML("", **html, elem_id="gr-e-list", elem_classes="gr-stacks")
        self.timer = gr.Timer(LOOK_EVERY_S, active=False)

    @property
    def moving(self) -> list[Any]:
        """What changes while evaluations run."""
        return [self.told, self.listed, self.timer]

    @property
    def form(self) -> list[Any]:
        """What can be chosen."""
        return [self.checkpoint, self.snapshot]

    def wire(self) -> None:
        """Events to handlers."""
        local: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        chosen = [self.token, self.files, self.paths]
        gr.on(
            [self.files.upload, self.files.clear, self.paths.blur, self.paths.submit], self.look_at, chosen, self.seen,
            **local,
        )  # fmt: skip
        wanted = [*chosen, self.checkpoint, self.look, self.snapshot, self.limit, self.name]
        self.start.click(self.begin, wanted, [*self.moving, self.name], **local)
        self.timer.tick(self.tick, self.token, [self.listed, self.timer], **local)

    # -- what to score on -----------------------------------------------------------------------------------------

    def choices(self, checkpoint: str | None = None) -> Changes:
        """What can be chosen now; what is chosen stays, unless a checkpoint is named."""
        chosen: dict[str, Any] = {"value": checkpoint} if checkpoint else {}
        return {
            self.checkpoint: gr.Dropdown(evaluations.checkpoint_choices(self.services), **chosen),
            self.snapshot: gr.Dropdown([("none", ""), *evaluations.snapshot_choices(self.services)]),
        }

    def look_at(self, http: gr.Request, offered: str, files: list[str] | None, paths: str) -> str:
        """Check the files and count their rows."""
        from train_jobs.evaluation.published import published
        from train_jobs.evaluation.sets import count_file, find_files

        try:
            self.services.gate.check(offered, http.headers)
            named = [*evaluations.named_paths(paths), *(files or ())]
            counts = [count_file(path) for path in find_files(named)]
        except GuardroomError as error:
            return message(str(error), "bad")
        return present.seen(counts, [each.benchmark for each in published().figures])

    # -- runs -----------------------------------------------------------------------------------------------------

    def begin(
        self, http: gr.Request, offered: str, files: list[str] | None, paths: str, checkpoint: str | None, look: str,
        snapshot: str | None, limit: str | None, name: str,
    ) -> Changes:  # fmt: skip
        """Start an evaluation."""
        try:
            self.services.gate.check(offered, http.headers)
            wanted = Wanted(
                checkpoint or "", snapshot or None,
                files=(*evaluations.named_paths(paths), *evaluations.keep_files(self.services, files or ())),
                first_look_only=look == "first", limit=rows_at_most(limit), name=name or "", author=AUTHOR,
            )  # fmt: skip
            evaluations.launch(self.services, wanted)
        except GuardroomError as error:
            return {self.told: message(str(error), "bad")}
        return self.drawn("Started; its report is in the list below when it is done.") | {self.name: ""}

    def change(self, does: str, run: str) -> Changes:
        """Cancel, resume or delete a run.

        Raises:
            JobError: that cannot be done with it now.
        """
        launcher = self.services.launcher()
        match does:
            case "cancel":
                launcher.cancel(run, AUTHOR)
                said = "It is being cancelled; what is judged already is kept, so it can be resumed."
            case "resume":
                launcher.resume(run)
                said = "It goes on from what is judged already."
            case "delete":
                launcher.delete(run)
                said = "Deleted, with its report."
            case _:
                raise InputError(f"{does[:40]!r} is nothing that can be done with an evaluation.")
        return self.drawn(said)

    # -- drawing --------------------------------------------------------------------------------------------------

    def tick(self, http: gr.Request, offered: str) -> Changes:
        """How the evaluations are."""
        try:
            self.services.gate.check(offered, http.headers)
        except GuardroomError:
            return {self.timer: gr.Timer(active=False)}
        return {each: value for each, value in self.drawn().items() if each is not self.told}

    def drawn(self, said: str = "") -> Changes:
        """The list as it is now, and whether to look again soon."""
        lines = evaluations.evaluations(self.services)
        return {
            self.told: message(said, "good"),
            self.listed: present.listed(lines),
            self.timer: gr.Timer(active=any(_goes_on(line) for line in lines)),
        }


def _goes_on(line: EvaluationLine) -> bool:
    return not line.status.state.is_over


def rows_at_most(value: str | None) -> int | None:
    """What the page says as a number of rows; none for all.

    Raises:
        InputError: it is no whole number above 0.
    """
    text = (value or "").strip().replace(",", "")
    if text in ("", "all"):
        return None
    if not text.isdecimal() or not int(text):
        raise InputError(f"{text[:40]!r} is no number of rows; write a whole number, or choose all.")
    return int(text)
