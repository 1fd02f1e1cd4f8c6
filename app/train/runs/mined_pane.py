"""The hard samples of the open run, and these into the review queue with one click."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.markup.tables import progress_bar
from app.markup.text import message
from app.shared.services import Services
from app.shared.tasks import Task
from app.train.runs import mined_present as present
from app.train.runs import views as run_views
from app.train.runs.mined_verdicts import Judged, judge_sent
from app.train.runs.rollouts_layout import MinedParts
from app.train.runs.views import RunView
from core.errors import CheckpointError, GuardroomError, InputError, JobError
from train_jobs.grpo.mined import kept_samples, mining_figures
from train_jobs.runs.specs import JobKind

if TYPE_CHECKING:
    from annotation_store.mining.from_training import Sent

Changes = dict[Any, Any]
TASK = "sending of mined samples to the review queue"


class MinedPane:
    """The handlers.

    Args:
        token: the owner's token as the page asks for it.
        opened: a `gr.State` with the id of the run that is open.
    """

    def __init__(self, services: Services, parts: MinedParts, token: gr.Textbox, opened: gr.State) -> None:
        self.services = services
        self.parts = parts
        self.token = token
        self.opened = opened

    @property
    def screen(self) -> list[Any]:
        """All that a look may change."""
        parts = self.parts
        return [parts.whole, parts.found, parts.sending, parts.send]

    def wire(self) -> None:
        """Events to handlers."""
        parts = self.parts
        parts.send.click(
            self.send, [self.token, self.opened, parts.reopen], [parts.sent, parts.send], show_progress="hidden",
            api_visibility="private", concurrency_limit=2,
        )  # fmt: skip

    def values(self, view: RunView) -> dict[str, tuple[Any, Any, Callable[[Any], Any]]]:
        """What the pane shows of a run now: by name a component, its value, and how it becomes an update."""
        parts = self.parts
        if view.spec.kind is not JobKind.GRPO:
            return {"hard": (parts.whole, "", lambda title: gr.Accordion(visible=False))}
        try:
            found = mining_figures(view.run)
            title, page = present.title(found), present.page(found)
        except JobError as error:
            found, title, page = None, "Hard samples", message(str(error), "bad")
        count = found.all.kept if found is not None and found.by_wrong else 0
        return {
            "hard": (parts.whole, title, lambda title: gr.Accordion(label=title, visible=True)),
            "hard_found": (parts.found, page, str),
            "hard_sending": (parts.sending, bool(count), lambda on: gr.Row(visible=on)),
            "hard_send": (parts.send, present.send_words(count), lambda words: gr.Button(words, interactive=True)),
        }

    def send(self, offered: str, opened: str | None, reopen: bool, http: gr.Request) -> Iterator[Changes]:
        """Put the kept samples into the review queue."""
        parts = self.parts
        try:
            self.services.gate.check(offered, http.headers)
            view = run_views.view(self.services, opened or "")
            task = self.services.tasks.begin(TASK, lambda task: send_mined(self.services, view, bool(reopen), task))
            yield {parts.sent: progress_bar(0, "Reading…"), parts.send: gr.Button(interactive=False)}
            for done, total, what in task.follow():
                yield {parts.sent: progress_bar(done / max(total, 1), f"{what}: {done:,} of {total:,}")}
            yield {
                parts.sent: message(present.sent(*task.outcome.result()), "good"),
                parts.send: gr.Button(interactive=True),
            }
        except GuardroomError as error:
            yield {parts.sent: message(str(error), "bad"), parts.send: gr.Button(interactive=True)}


def send_mined(services: Services, view: RunView, reopen: bool, task: Task) -> tuple[Sent, Judged]:
    """Put the samples that a run has mined and kept into the review queue, each with a verdict of the live guard.

    Raises:
        InputError: there is none.
        JobError: what was mined is damaged.
        StoreError: the database failed; the samples before that are in the queue.
    """
    from annotation_store.mining.from_training import MinedSample, enqueue_mined

    kept = kept_samples(view.run)
    if not kept:
        raise InputError("This run has mined no sample that could be sent to review.")
    store = services.store()
    sent = enqueue_mined(
        store,
        [MinedSample(each.sample_id, each.answers, each.wrong or 0) for each in kept],
        _checkpoint_id(view.spec.base),
        "owner",
        reopen=reopen,
        on_done=lambda count: task.tell((count, len(kept), "Sent to the queue")),
    )
    judged = judge_sent(
        services.guard,
        store,
        [each.sample_id for each in kept],
        task.stop,
        lambda done, of: task.tell((done, of, "Judged by the live guard")),
    )
    return sent, judged


def _checkpoint_id(source: str) -> str:
    """The id that verdicts of a checkpoint bear; what lies on the Hub, or is gone, goes by its name."""
    from core.checkpoints.folder import local_folder, open_checkpoint

    try:
        folder = local_folder(source)
        return source if folder is None else open_checkpoint(folder, source).info.id
    except CheckpointError:
        return source
