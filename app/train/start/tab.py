"""A new run: what its form does. `layout` beside it says where the form stands, its values go through `drafts`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from app.markup.text import escape, message
from app.shared.services import Services
from app.train.start import drafts as training
from app.train.start import estimate as train_estimate
from app.train.start import form as train_form
from app.train.start import join_preview, present
from app.train.start.data import TrainData
from app.train.start.drafts import Draft
from app.train.start.layout import StartParts
from app.train.start.reward_chart import reward_chart
from core.errors import GuardroomError, InputError
from train_jobs.launching.accelerate_file import OPTION as ACCELERATE
from train_jobs.recipes.files import Recipe
from train_jobs.recipes.grpo import ConcatenationSettings, RewardSettings
from train_jobs.recipes.values import checked
from train_jobs.runs.specs import JobKind

Changes = dict[Any, Any]

REWARD = tuple(f"reward.{name}" for name in RewardSettings.model_fields)
CONSTANTS = tuple(name for name in REWARD if any(name in used for used in train_form.REWARD_CONSTANTS.values()))
JOINING = ("concatenation.share", "concatenation.separator", "concatenation.geometry", "seed")


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
        self.data = TrainData(services, parts, token)
        self.looking = gr.State(False)
        """Whether joined samples were asked for."""

    def wire(self) -> None:
        """Events to handlers, but for entering and starting, which the page wires."""
        parts = self.parts
        local: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        weigh: list[Any] = [parts.estimate, parts.command]
        asked = [self.token, self.cloned, *parts.chosen]
        parts.recipe.input(self.take_recipe, [self.token, parts.recipe], self.filled, **local).then(
            self.weigh, asked, weigh, **local
        )
        parts.stage.input(
            self.take_stage, [self.token, parts.stage, parts.base, parts.device], [parts.recipe, *self.filled], **local
        ).then(self.weigh, asked, weigh, **local)
        for kind in parts.kinds.values():
            kind.fields[-1].input(
                lambda which: gr.Row(visible=which == train_form.GIVEN_PICTURES), kind.fields[-1], kind.sizes, **local
            )
        given = [*parts.fields, parts.snapshot, parts.base, parts.device, parts.name, parts.accelerate]
        gr.on(
            [each.input for each in (*given, parts.teacher_url, parts.teacher_model)], self.weigh, asked, weigh,
            trigger_mode="always_last", **local,
        )  # fmt: skip
        self._wire_reward(local)
        self.data.wire(lambda frozen: frozen.then(self.weigh, asked, weigh, **local))

    def _wire_reward(self, local: dict[str, Any]) -> None:
        """The reward's chart and the joined samples, which follow their fields."""
        parts, rl = self.parts, self.parts.kinds[JobKind.GRPO]
        reward = [rl.field(name) for name in REWARD]
        limit = rl.field("longest_completion")
        gr.on(
            [each.input for each in (*reward, limit)], self.drawn, [self.token, *reward, limit], parts.chart,
            trigger_mode="always_last", **local,
        )  # fmt: skip
        form = rl.field("reward.form")
        form.input(constants, form, [rl.field(name) for name in CONSTANTS], **local)
        joining = [rl.field(name) for name in JOINING]
        inputs = [self.token, self.looking, parts.snapshot, *joining]
        parts.join.click(lambda: True, None, self.looking, **local).then(self.joined, inputs, parts.joined, **local)
        gr.on(
            [each.input for each in (parts.snapshot, *joining)], self.joined, inputs, parts.joined,
            trigger_mode="always_last", **local,
        )  # fmt: skip

    # -- coming in ------------------------------------------------------------------------------------------------

    @property
    def screen(self) -> list[Any]:
        """What changes when the tab is entered or a run is cloned."""
        parts = self.parts
        return [
            parts.empty, parts.snapshot, parts.freezing, parts.counts, parts.clone, parts.name, parts.base,
            parts.device, parts.recipe, *self.filled, parts.teacher_url, parts.teacher_model, parts.accelerate,
            parts.estimate, parts.command, self.cloned,
        ]  # fmt: skip

    @property
    def filled(self) -> list[Any]:
        """What changes with the recipe."""
        parts = self.parts
        kinds = [each for kind in parts.kinds.values() for each in (*kind.groups, *kind.fields, kind.sizes)]
        return [parts.stage, parts.about, *kinds, parts.chart, self.looking, parts.joined]

    def enter(self, snapshot: str | None, recipe: str | None) -> Changes:
        """What there is to choose from; what was chosen stays chosen.

        Raises:
            GuardroomError: the store or the registry cannot be read.
        """
        parts = self.parts
        changed, digest = self.data.listed(snapshot)
        found, problems = training.known_recipes(self.services)
        bases, devices = training.bases(self.services), training.devices()
        changed |= {
            parts.base: gr.Dropdown(bases),
            parts.device: gr.Dropdown(devices) if recipe else gr.Dropdown(devices, value=devices[0][1]),
        }
        if recipe:
            kind = next((each.kind for each in found if each.name == recipe), JobKind.SFT)
            return changed | {parts.recipe: gr.Dropdown(_named(found, kind))}
        base = next((value for label, value in bases if label.endswith("(promoted)")), bases[0][1])
        chosen = training.usual_recipe(found, base, devices[0][1])
        if chosen is None:
            return changed | {parts.about: "".join(message(each, "bad") for each in problems)}
        values = chosen.settings.model_dump(mode="json")
        draft = Draft("", digest, chosen.name, base, values, device=devices[0][1])
        changed[parts.base] = gr.Dropdown(bases, value=base)
        changed[parts.recipe] = gr.Dropdown(_named(found, chosen.kind), value=chosen.name)
        return changed | self._filled(chosen, values, problems) | self._weighed(lambda: draft)

    def clone(self, draft: Draft) -> Changes:
        """The form as a run had it.

        Raises:
            GuardroomError: as `enter`.
        """
        parts = self.parts
        changed = self.enter(draft.snapshot, draft.recipe)
        chosen = training.recipe(self.services, draft.recipe)
        teacher = draft.options.get("teacher") or {}
        said = f"The form holds the values of {draft.cloned_from}; change what you like."
        return changed | self._filled(chosen, draft.changes, ()) | self._weighed(lambda: draft) | {
            parts.snapshot: gr.Dropdown(value=draft.snapshot),
            parts.base: draft.base,
            parts.device: draft.device,
            parts.recipe: gr.Dropdown(_named(training.known_recipes(self.services)[0], chosen.kind), value=chosen.name),
            parts.name: draft.name,
            parts.clone: message(said),
            parts.teacher_url: teacher.get("url") or "",
            parts.teacher_model: teacher.get("model") or "",
            parts.accelerate: draft.options.get(ACCELERATE) or "",
            self.cloned: draft.cloned_from,
        }  # fmt: skip

    def _filled(self, chosen: Recipe[Any], values: Mapping[str, Any], problems: Sequence[str]) -> Changes:
        """The fields of the recipe's kind with these values; those of the other kind are hidden."""
        parts = self.parts
        own = parts.kinds[chosen.kind]
        shown = train_form.shown(chosen.kind, values)
        changed: Changes = {
            parts.stage: chosen.kind.value,
            parts.about: present.recipe(chosen, problems),
            **dict(zip(own.fields, shown, strict=True)),
            own.sizes: gr.Row(visible=shown[-1] == train_form.GIVEN_PICTURES),
            self.looking: False,
            parts.joined: "",
        }
        for kind in parts.kinds.values():
            changed |= {group: gr.Column(visible=kind is own) for group in kind.groups}
        if chosen.kind is JobKind.GRPO:
            form = values["reward"]["form"]
            for name in CONSTANTS:
                value, used = values["reward"][name.partition(".")[2]], train_form.REWARD_CONSTANTS[form]
                changed[own.field(name)] = gr.Number(value=value, visible=name in used)
            changed[parts.chart] = chart(values["reward"], values["longest_completion"])
        return changed

    def take_recipe(self, http: gr.Request, offered: str, name: str) -> Changes:
        """A recipe was chosen: its words and its values."""
        try:
            self.services.gate.check(offered, http.headers)
            chosen = training.recipe(self.services, name)
            _, problems = training.known_recipes(self.services)
            return self._filled(chosen, chosen.settings.model_dump(mode="json"), problems)
        except GuardroomError as error:
            return {self.parts.about: message(str(error), "bad")}

    def take_stage(self, http: gr.Request, offered: str, stage: str, base: str | None, device: str) -> Changes:
        """A stage was chosen: its recipes, and the usual one of them."""
        try:
            self.services.gate.check(offered, http.headers)
            found, problems = training.known_recipes(self.services)
            kind = JobKind(stage)
            chosen = training.usual_recipe(found, base or "", device, kind)
            if chosen is None:
                raise InputError(f"There is no recipe of the kind {kind}.")
            listed = gr.Dropdown(_named(found, kind), value=chosen.name)
            values = chosen.settings.model_dump(mode="json")
            return self._filled(chosen, values, problems) | {self.parts.recipe: listed}
        except GuardroomError as error:
            return {self.parts.about: message(str(error), "bad")}

    # -- the reward and joined samples -----------------------------------------------------------------------------

    def drawn(self, http: gr.Request, offered: str, *said: Any) -> str:
        """The reward that the fields describe, as a chart; or what is wrong with it."""
        *values, limit = said
        try:
            self.services.gate.check(offered, http.headers)
        except GuardroomError as error:
            return message(str(error), "bad")
        return chart({name.partition(".")[2]: value for name, value in zip(REWARD, values, strict=True)}, limit)

    def joined(
        self, http: gr.Request, offered: str, looking: bool, snapshot: str | None, share: Any, separator: str,
        geometry: str, seed: Any,
    ) -> Any:  # fmt: skip
        """A few joined samples of the snapshot, once somebody has asked to see them."""
        if not looking:
            return gr.skip()
        services = self.services
        try:
            services.gate.check(offered, http.headers)
            if not snapshot:
                return message(join_preview.NO_SNAPSHOT)
            given = checked(
                ConcatenationSettings,
                {"share": share, "separator": train_form.text_said(separator), "geometry": geometry}, "The form",
            )  # fmt: skip
            folder = training.snapshot_folder(services, snapshot)
            found = join_preview.preview(folder, given, int(seed or 0), services.settings.max_image_pixels)
            return join_preview.shown(found, services.addresses.of)
        except GuardroomError as error:
            return message(str(error), "bad")

    # -- weighing and starting ------------------------------------------------------------------------------------

    def weigh(self, http: gr.Request, offered: str, cloned: str | None, *chosen: Any) -> Changes:
        """What the choice would cost, and its command; or what is wrong with it."""
        try:
            self.services.gate.check(offered, http.headers)
        except GuardroomError as error:
            return {self.parts.estimate: message(str(error), "bad"), self.parts.command: ""}
        return self._weighed(lambda: self._draft(cloned, *chosen))

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
        return self.services.launcher().launch(training.spec_of(self.services, self._draft(cloned, *chosen)))

    def _draft(
        self, cloned: str | None, snapshot: str | None, name: str, base: str | None, device: str, recipe: str | None,
        teacher_url: str | None, teacher_model: str | None, accelerate: str | None, *fields: Any,
    ) -> Draft:  # fmt: skip
        """What the form says, as a value.

        Raises:
            InputError: something is missing.
            JobError: the recipe is gone.
        """
        if not recipe:
            raise InputError("No recipe is chosen.")
        kind = training.recipe(self.services, recipe).kind
        options: dict[str, Any] = {}
        if kind is JobKind.SFT and (url := (teacher_url or "").strip()):
            options["teacher"] = {"url": url}
            if model := (teacher_model or "").strip():
                options["teacher"]["model"] = model
        if path := (accelerate or "").strip():
            options[ACCELERATE] = path
        first = 0
        for each, parts in self.parts.kinds.items():
            if each is kind:
                break
            first += len(parts.fields)
        own = fields[first : first + len(self.parts.kinds[kind].fields)]
        return Draft(
            name=name or "",
            snapshot=snapshot,
            recipe=recipe,
            base=base or "",
            changes=train_form.changes(kind, own),
            options=options,
            device=device,
            cloned_from=cloned,
        )


def constants(form: str) -> list[gr.Number]:
    """Which constants of the reward are shown with a form of it, in the order of `CONSTANTS`."""
    return [gr.Number(visible=name in train_form.REWARD_CONSTANTS[form]) for name in CONSTANTS]


def chart(said: Mapping[str, Any], limit: Any) -> str:
    """A reward as a chart; or what is wrong with its values, in a sentence."""
    try:
        rule = checked(RewardSettings, said, "The reward").rule()
        if not isinstance(limit, int | float) or limit < 2:
            raise InputError("The reward is drawn up to the longest completion, which must have 2 or more tokens.")
        return reward_chart(rule, int(limit))
    except GuardroomError as error:
        return message(str(error), "bad")


def _named(found: Sequence[Recipe[Any]], kind: JobKind) -> list[tuple[str, str]]:
    return [(f"{each.title} · {each.name}", each.name) for each in found if each.kind is kind]
