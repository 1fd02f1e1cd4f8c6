"""The data of a new run: which snapshot, what it holds, freezing one here, and whether an evaluation file is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from app.data import present as data_present
from app.markup.tables import progress_bar
from app.markup.text import message
from app.shared.services import Services
from app.shared.tasks import Task
from app.train.start import drafts as training
from app.train.start import leakage, present
from app.train.start.layout import StartParts
from core.errors import GuardroomError, InputError

Changes = dict[Any, Any]

LEAKS = "leakage check"


class TrainData:
    """The handlers of the form's left half.

    Args:
        token: the owner's token as the page asks for it.
    """

    def __init__(self, services: Services, parts: StartParts, token: gr.Textbox) -> None:
        self.services = services
        self.parts = parts
        self.token = token

    def wire(self, after_freezing: Callable[[Any], Any]) -> None:
        """Events to handlers.

        Args:
            after_freezing: given the event of a frozen snapshot, to which more can be tied.
        """
        parts = self.parts
        local: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        queued: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 4}
        parts.snapshot.input(self.counted, [self.token, parts.snapshot], parts.counts, **local)
        after_freezing(
            parts.freeze.click(
                self.freeze, [self.token, parts.freeze_name, parts.freeze_what],
                [parts.frozen, parts.snapshot, parts.counts, parts.empty, parts.freezing], **queued,
            )
        )  # fmt: skip
        gr.on(
            [parts.leak_check.click, parts.leak_path.submit], self.compare,
            [self.token, parts.snapshot, parts.leak_file, parts.leak_path], parts.leaks, **queued,
        )  # fmt: skip
        parts.leak_stop.click(lambda: self.services.tasks.stop(LEAKS), None, None, **local)

    def listed(self, chosen: str | None) -> tuple[Changes, str | None]:
        """The list of snapshots and the counts of the one that is chosen, else of the newest."""
        parts = self.parts
        known = training.snapshots(self.services)
        choices = [
            (f"{each.name} · {sum(each.counts.values()):,} samples · {each.created_at[:10]}", each.digest)
            for each in known
        ]
        digest = chosen if chosen in [value for _, value in choices] else next((value for _, value in choices), None)
        return {
            parts.empty: "" if known else present.NO_SNAPSHOT,
            parts.snapshot: gr.Dropdown(choices, value=digest, visible=bool(known)),
            parts.freezing: gr.Accordion(open=not known),
            parts.counts: self._counts(digest),
        }, digest

    def _counts(self, digest: str | None) -> str:
        if not digest:
            return ""
        try:
            return present.counts(training.counts(self.services, digest))
        except GuardroomError as error:
            return message(str(error), "bad")

    def counted(self, http: gr.Request, offered: str, digest: str | None) -> str:
        """What the chosen snapshot holds."""
        try:
            self.services.gate.check(offered, http.headers)
        except GuardroomError as error:
            return message(str(error), "bad")
        return self._counts(digest)

    def freeze(self, http: gr.Request, offered: str, name: str | None, what: str) -> Iterator[Changes]:
        """Freeze a snapshot and choose it."""
        from annotation_store.reading.selecting import selection_from_json

        parts, services = self.parts, self.services
        try:
            services.gate.check(offered, http.headers)
            selection = selection_from_json({"labelled": what})

            def work(task: Task) -> Any:
                return services.freeze(selection, (name or "").strip() or "for training", "owner", task.tell, task.stop)

            task = services.tasks.begin("snapshot", work)
            yield {parts.frozen: progress_bar(0, "Comparing…")}
            for progress in task.follow():
                yield {parts.frozen: data_present.freezing(progress)}
            info = task.outcome.result()
            changed, _ = self.listed(info.digest)
            yield changed | {parts.frozen: message(f"Frozen: {sum(info.counts.values()):,} samples.", "good")}
        except GuardroomError as error:
            yield {parts.frozen: message(str(error), "bad")}

    def compare(
        self, http: gr.Request, offered: str, digest: str | None, file: str | None, path: str | None
    ) -> Iterator[str]:
        """Look for the rows of an evaluation file in the training split."""
        services = self.services
        try:
            services.gate.check(offered, http.headers)
            named = (path or "").strip() or file
            if not named:
                raise InputError("No evaluation file is named; drop one or write a path.")
            folder = training.snapshot_folder(services, digest)

            def work(task: Task) -> Any:
                return leakage.check(
                    folder, Path(named).expanduser(), services.settings.max_image_pixels,
                    lambda done, total: task.tell((done, total)), task.stop,
                )  # fmt: skip

            task = services.tasks.begin(LEAKS, work)
            yield progress_bar(0, "Reading…")
            for done, total in task.follow():
                yield progress_bar(done / max(total, 1), f"Compared {done:,} of {total:,}")
            yield present.leaks(task.outcome.result())
        except GuardroomError as error:
            yield message(str(error), "bad")
