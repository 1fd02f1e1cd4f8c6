"""A new run: what its form does. The form is laid out in `app.train_layout`, its values go through `app.training`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from app import data_present, leakage, train_estimate, train_form, training
from app import train_present as present
from app.present import escape, message
from app.services import Services
from app.tasks import Task
from app.train_layout import StartParts
from app.training import Draft
from core.errors import GuardroomError, InputError

Changes = dict[Any, Any]

LEAKS = "leakage check"


class TrainStart:
    """The handlers of the form.

    Args:
        token: the owner's token as the page asks for it.
        cloned: a `gr.State` with the run that the form was filled from.
    """

    def __init__(self, services: Services, parts: StartParts, token: gr.Textbox, cloned: gr.State) -> None:
        self.services = services
        self.parts = parts
        self.token = token
        self.cloned = cloned

    def wire(self) -> None:
        """Events to handlers, but for entering and starting, which the page wires."""
        parts = self.parts
        local: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        queued: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 4}
        parts.snapshot.input(self.counted, [self.token, parts.snapshot], parts.counts, **local)
        weigh: list[Any] = [parts.estimate, parts.command]
        asked = [self.token, self.cloned, *parts.chosen]
        parts.recipe.input(
            self.take_recipe, [self.token, parts.recipe], [parts.about, *parts.fields, parts.sizes], **local
        ).then(self.weigh, asked, weigh, **local)
        parts.fields[-1].input(
            lambda which: gr.Row(visible=which == train_form.GIVEN_PICTURES), parts.fields[-1], parts.sizes, **local
        )
        given = [*parts.fields, parts.snapshot, parts.base, parts.device, parts.name]
        gr.on(
            [each.input for each in (*given, parts.teacher_url, parts.teacher_model)], self.weigh, asked, weigh,
            trigger_mode="always_last", **local,
        )  # fmt: skip
        parts.freeze.click(
            self.freeze, [self.token, parts.freeze_name, parts.freeze_what],
            [parts.frozen, parts.snapshot, parts.counts, parts.empty, parts.freezing], **queued,
        ).then(self.weigh, asked, weigh, **local)  # fmt: skip
        gr.on(
            [parts.leak_check.click, parts.leak_path.submit], self.compare,
            [self.token, parts.snapshot, parts.leak_file, parts.leak_path], parts.leaks, **queued,
        )  # fmt: skip
        parts.leak_stop.click(lambda: self.services.tasks.stop(LEAKS), None, None, **local)

    # -- coming in ------------------------------------------------------------------------------------------------

    @property
    def screen(self) -> list[Any]:
        """What changes when the tab is entered or a run is cloned."""
        parts = self.parts
        return [
            parts.empty, parts.snapshot, parts.freezing, parts.counts, parts.clone, parts.name, parts.base,
            parts.device, parts.recipe, parts.about, *parts.fields, parts.sizes, parts.teacher_url, parts.teacher_model,
            parts.estimate, parts.command, self.cloned,
        ]  # fmt: skip

    def enter(self, snapshot: str | None, recipe: str | None) -> Changes:
        """What there is to choose from; what was chosen stays chosen.

        Raises:
            GuardroomError: the store or the registry cannot be read.
        """
        parts = self.parts
        changed, digest = self._snapshots(snapshot)
        found, problems = training.known_recipes(self.services)
        bases, devices = training.bases(self.services), training.devices()
        changed |= {
            parts.base: gr.Dropdown(bases),
            parts.device: gr.Dropdown(devices) if recipe else gr.Dropdown(devices, value=devices[0][1]),
            parts.recipe: gr.Dropdown([(f"{each.title} · {each.name}", each.name) for each in found]),
        }
        if recipe:
            return changed
        base = next((value for label, value in bases if label.endswith("(promoted)")), bases[0][1])
        name = training.usual_recipe(found, base, devices[0][1])
        if name is None:
            return changed | {parts.about: "".join(message(each, "bad") for each in problems)}
        chosen = next(each for each in found if each.name == name)
        values = chosen.settings.model_dump(mode="json")
        draft = Draft("", digest, name, base, values, device=devices[0][1])
        changed[parts.base] = gr.Dropdown(bases, value=base)
        changed[parts.recipe] = gr.Dropdown([(f"{each.title} · {each.name}", each.name) for each in found], value=name)
        return changed | self._filled(draft, problems) | self._weighed(lambda: draft)

    def clone(self, draft: Draft) -> Changes:
        """The form as a run had it.

        Raises:
            GuardroomError: as `enter`.
        """
        parts = self.parts
        changed = self.enter(draft.snapshot, draft.recipe)
        teacher = draft.options.get("teacher") or {}
        said = f"The form holds the values of {draft.cloned_from}; change what you like."
        return changed | self._filled(draft, ()) | self._weighed(lambda: draft) | {
            parts.snapshot: gr.Dropdown(value=draft.snapshot),
            parts.base: draft.base,
            parts.device: draft.device,
            parts.recipe: draft.recipe,
            parts.name: draft.name,
            parts.clone: message(said),
            parts.teacher_url: teacher.get("url") or "",
            parts.teacher_model: teacher.get("model") or "",
            self.cloned: draft.cloned_from,
        }  # fmt: skip

    def _filled(self, draft: Draft, problems: Sequence[str]) -> Changes:
        chosen = training.recipe(self.services, draft.recipe)
        shown = train_form.shown(draft.changes)
        return {
            self.parts.about: present.recipe(chosen, problems),
            **dict(zip(self.parts.fields, shown, strict=True)),
            self.parts.sizes: gr.Row(visible=shown[-1] == train_form.GIVEN_PICTURES),
        }

    def take_recipe(self, http: gr.Request, offered: str, name: str) -> Changes:
        """A recipe was chosen: its words and its values."""
        try:
            self.services.gate.check(offered, http.headers)
            chosen = training.recipe(self.services, name)
            _, problems = training.known_recipes(self.services)
            return self._filled(Draft("", None, name, changes=chosen.settings.model_dump(mode="json")), problems)
        except GuardroomError as error:
            return {self.parts.about: message(str(error), "bad")}

    # -- data -----------------------------------------------------------------------------------------------------

    def _snapshots(self, chosen: str | None) -> tuple[Changes, str | None]:
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
        from annotation_store.selecting import selection_from_json

        parts, services = self.parts, self.services
        try:
            services.gate.check(offered, http.headers)
            selection = selection_from_json({"labelled": what})

            def work(task: Task) -> Any:
                return services.freeze(selection, (name or "").strip() or "for training", "owner", task.tell, task.stop)

            task = services.tasks.begin("snapshot", work)
            yield {parts.frozen: data_present.bar(0, "Comparing…")}
            for progress in task.follow():
                yield {parts.frozen: data_present.freezing(progress)}
            info = task.outcome.result()
            changed, _ = self._snapshots(info.digest)
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
            yield data_present.bar(0, "Reading…")
            for done, total in task.follow():
                yield data_present.bar(done / max(total, 1), f"Compared {done:,} of {total:,}")
            yield present.leaks(task.outcome.result())
        except GuardroomError as error:
            yield message(str(error), "bad")

    # -- weighing and starting ------------------------------------------------------------------------------------

    def weigh(self, http: gr.Request, offered: str, cloned: str | None, *chosen: Any) -> Changes:
        """What the choice would cost, and its command; or what is wrong with it."""
        try:
            self.services.gate.check(offered, http.headers)
        except GuardroomError as error:
            return {self.parts.estimate: message(str(error), "bad"), self.parts.command: ""}
        return self._weighed(lambda: draft(cloned, *chosen))

    def _weighed(self, drawn: Callable[[], Draft]) -> Changes:
        parts = self.parts
        try:
            said = drawn()
            if not said.snapshot:
                return {parts.estimate: "", parts.command: ""}
            spec = training.spec_of(self.services, said)
            text = present.estimate(*train_estimate.known(self.services, spec))
            changed = present.changed(training.recipe(self.services, said.recipe), spec.settings)
            return {
                parts.estimate: f'{text}<p class="gr-quiet">{escape(changed)}</p>',
                parts.command: present.command(training.command(self.services, spec)),
            }
        except GuardroomError as error:
            return {parts.estimate: message(str(error), "bad"), parts.command: ""}

    def begin(self, cloned: str | None, *chosen: Any) -> str:
        """Launch what the form says. Returns the run's id.

        Raises:
            GuardroomError: it cannot be launched; the message says why.
        """
        return self.services.launcher().launch(training.spec_of(self.services, draft(cloned, *chosen)))


def draft(
    cloned: str | None, snapshot: str | None, name: str, base: str | None, device: str, recipe: str | None,
    teacher_url: str | None, teacher_model: str | None, *fields: Any,
) -> Draft:  # fmt: skip
    """What the form says, as a value.

    Raises:
        InputError: something is missing.
    """
    if not recipe:
        raise InputError("No recipe is chosen.")
    options: dict[str, Any] = {}
    if url := (teacher_url or "").strip():
        options["teacher"] = {"url": url}
        if model := (teacher_model or "").strip():
            options["teacher"]["model"] = model
    return Draft(
        name=name or "",
        snapshot=snapshot,
        recipe=recipe,
        base=base or "",
        changes=train_form.changes(fields),
        options=options,
        device=device,
        cloned_from=cloned,
    )
