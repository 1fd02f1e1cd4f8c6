"""The guard: a sample in, events and a verdict out. Knows windows, calibration and decisions; engines know the model.

Everything here blocks and belongs to one thread; `core.serving.live` puts a queue before it.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Protocol as Interface

from core.engines.base import Completion, Decoding, Engine, FirstLook, Piece, Prompt
from core.errors import EngineError, InputError
from core.events import Event, FirstLooked, MediaRead, ReasoningGrew
from core.judging.deciding import calibrate_both, decide, decide_first, harmful_parts, read
from core.judging.planning import Plan, Planner
from core.judging.windows import Window
from core.media.vision import DecodedMedia
from core.prompt.protocol import Protocol
from core.types import (
    Assessment,
    Calibrations,
    Decision,
    HarmProbability,
    Label,
    MediaRef,
    Sample,
    Thresholds,
    Verdict,
    WindowScore,
)

Decoder = Callable[[MediaRef], DecodedMedia]
Emit = Callable[[Event], None]
Together = Callable[[Sequence[Sample], Sequence[Plan | InputError], Thresholds | None], list[Verdict]]

HELD_BYTES = 512 * 1024**2
"""Decoded pixels that a chunk of many samples holds at once, give or take its last one."""
LOOKS_BETWEEN_STOPS = 8
"""First looks at windows that are begun before the stop is asked for again."""


class Gate(Interface):
    """What is asked between the steps of a long piece of work."""

    def is_set(self) -> bool:
        """Whether to stop."""


class Guard:
    """A loaded engine with its protocol and calibration."""

    def __init__(
        self,
        engine: Engine,
        protocol: Protocol,
        calibrations: Calibrations,
        decode: Decoder,
        *,
        window_tokens: int,
        max_text_chars: int = 1_000_000,
    ) -> None:
        self.engine = engine
        self.protocol = protocol
        self._calibrations = calibrations
        self._planner = Planner(engine, decode, window_tokens=window_tokens, max_text_chars=max_text_chars)

    # -- one sample ---------------------------------------------------------------------------------------------

    def moderate(
        self,
        sample: Sample,
        *,
        thresholds: Thresholds | None = None,
        stop: threading.Event | None = None,
        emit: Emit = lambda event: None,
        steps: Sequence[str] = (),
    ) -> Verdict:
        """Judge one sample with reasoning.

        Args:
            stop: setting it ends the work; the verdict then says that it was stopped, and goes to review.
            emit: told every event of `core.events` except the verdict, which is returned.
            steps: first steps of the reasoning that a person has written; the model goes on from there.

        Raises:
            InputError: the sample is empty, too long, or its media cannot be read.
            EngineError: the engine failed.
        """
        stop = stop or threading.Event()
        plan = self._planner.plan(sample)
        if plan.media:
            emit(MediaRead(plan.media))
        case = Case(sample, plan, tuple(self._look_at(rivals(plan), stop)))
        if case.choice_looks:
            emit(FirstLooked(case.first(None), case.scores()))
        written: list[str] = []

        def hear(event: FirstLook | Piece) -> None:
            if isinstance(event, Piece):
                written.append(event.text)
                emit(ReasoningGrew(_visible(self.protocol, "".join(written)), len(written)))
            elif not case.choice_looks:
                emit(FirstLooked(self._first(event.probability, prompt), case.scores()))

        prompt = replace(case.deliberated.prompt, steps=tuple(steps))
        decoding = Decoding(self.engine.info.max_new_tokens)
        look, completion = self.engine.complete(prompt, decoding, stop, hear)
        # A video's stretches come last: neither the first number nor the reasoning waits for them.
        case = replace(case, looks=(*case.looks, *self._look_at(plan.timeline, stop)))
        return self._verdict(case, case.first(self._first(look, prompt)), completion, thresholds)

    def first_look(self, sample: Sample, *, thresholds: Thresholds | None = None) -> Verdict:
        """Judge one sample without reasoning: the probability before deliberation alone.

        Raises:
            InputError, EngineError: as `moderate`.
        """
        return self._first_looks([sample], [self._planner.plan(sample)], thresholds)[0]

    def continue_from(
        self,
        sample: Sample,
        steps: Sequence[str],
        *,
        thresholds: Thresholds | None = None,
        stop: threading.Event | None = None,
        emit: Emit = lambda event: None,
    ) -> Verdict:
        """Let the model go on from steps that a person has corrected; the verdict holds those and the new ones."""
        return self.moderate(sample, thresholds=thresholds, stop=stop, emit=emit, steps=steps)

    def prompt_of(self, sample: Sample, stop: threading.Event | None = None) -> Prompt:
        """What `moderate` reasons about: the whole sample, or the part that looks worst where that is too long.

        Raises:
            InputError, EngineError: as `moderate`.
        """
        plan = self._planner.plan(sample)
        return Case(sample, plan, tuple(self._look_at(rivals(plan), stop))).deliberated.prompt

    # -- many at once -------------------------------------------------------------------------------------------

    def moderate_many(
        self,
        samples: Sequence[Sample],
        *,
        thresholds: Thresholds | None = None,
        on_done: Callable[[int], None] = lambda done: None,
        stop: Gate | None = None,
        chunk: int = 64,
        deliberate: bool = True,
    ) -> list[Verdict]:
        """Judge many samples of mixed modalities in batches; the same labels as one by one.

        A sample whose media cannot be read gets a verdict that says so, and goes to review: one bad file loses nothing
        else. Likewise one that the engine fails on: where a batch fails, its samples are judged one by one.

        Args:
            on_done: told how many are finished, after each chunk.
            stop: asked between chunks (and between the samples of one that failed); once set, the verdicts so far are
                returned.
            chunk: samples judged together; fewer where their media are large.
            deliberate: reason about them; else the first look alone, as `first_look`.
        """
        together = self._moderate_together if deliberate else self._first_looks
        verdicts: list[Verdict] = []
        waiting = list(reversed(samples))
        while waiting and not (stop is not None and stop.is_set()):
            plans: list[Plan | InputError] = []
            taken: list[Sample] = []
            held = 0
            while waiting and len(taken) < chunk and held < HELD_BYTES:
                taken.append(waiting.pop())
                try:
                    plan = self._planner.plan(taken[-1])
                    held += sum(medium.frames.nbytes for medium in plan.media)
                    plans.append(plan)
                except InputError as error:
                    plans.append(error)
            try:
                verdicts += together(taken, plans, thresholds)
            except EngineError:
                verdicts += self._moderate_apart(together, taken, plans, thresholds, stop)
            on_done(len(verdicts))
        return verdicts

    def _moderate_apart(
        self,
        together: Together,
        samples: Sequence[Sample],
        plans: Sequence[Plan | InputError],
        thresholds: Thresholds | None,
        stop: Gate | None,
    ) -> list[Verdict]:
        """Each sample of a failed batch by itself; those that fail again get a verdict that says why."""
        verdicts: list[Verdict] = []
        for sample, plan in zip(samples, plans, strict=True):
            if stop is not None and stop.is_set():
                break
            try:
                verdicts += together([sample], [plan], thresholds)
            except EngineError as error:
                verdicts.append(self._unjudged(sample, str(error), thresholds))
        return verdicts

    def _moderate_together(
        self, samples: Sequence[Sample], plans: Sequence[Plan | InputError], thresholds: Thresholds | None
    ) -> list[Verdict]:
        """One batch of first looks at all parts, then one batch of deliberations."""
        planned = [(sample, plan) for sample, plan in zip(samples, plans, strict=True) if isinstance(plan, Plan)]
        looks = iter(self._look_at([window for _, plan in planned for window in looked_at(plan)]))
        cases = [Case(sample, plan, tuple(islice(looks, len(looked_at(plan))))) for sample, plan in planned]
        decoding = Decoding(self.engine.info.max_new_tokens)
        results = self.engine.complete_many([case.deliberated.prompt for case in cases], decoding)
        judged = (
            self._verdict(case, case.first(self._first(look, case.deliberated.prompt)), completion, thresholds)
            for case, (look, completion) in zip(cases, results, strict=True)
        )
        return [
            next(judged) if isinstance(plan, Plan) else self._unjudged(sample, str(plan), thresholds)
            for sample, plan in zip(samples, plans, strict=True)
        ]

    def _first_looks(
        self, samples: Sequence[Sample], plans: Sequence[Plan | InputError], thresholds: Thresholds | None
    ) -> list[Verdict]:
        """One batch of first looks at all parts, and nothing else."""
        alone = [plan.choices if isinstance(plan, Plan) and len(plan.choices) == 1 else () for plan in plans]
        parts = [looked_at(plan) if isinstance(plan, Plan) else () for plan in plans]
        looks = iter(self._look_at([each for some in zip(parts, alone, strict=True) for each in (*some[0], *some[1])]))
        verdicts = []
        for sample, plan, some, whole in zip(samples, plans, parts, alone, strict=True):
            if not isinstance(plan, Plan):
                verdicts.append(self._unjudged(sample, str(plan), thresholds))
                continue
            case = Case(sample, plan, tuple(islice(looks, len(some))))
            verdicts.append(self._verdict(case, case.first(next(looks) if whole else None), None, thresholds))
        return verdicts

    # -- results ------------------------------------------------------------------------------------------------

    def _look_at(self, windows: Sequence[Window], stop: threading.Event | None = None) -> list[HarmProbability]:
        """Calibrated first looks; unknown for those that were not begun when `stop` was set."""
        looks: list[HarmProbability] = []
        size = LOOKS_BETWEEN_STOPS if stop is not None else max(1, len(windows))
        for start in range(0, len(windows), size):
            some = [window.prompt for window in windows[start : start + size]]
            stopped = stop is not None and stop.is_set()
            raw = [HarmProbability()] * len(some) if stopped else self.engine.first_look(some)
            looks += map(self._first, raw, some)
        return looks

    def _first(self, raw: HarmProbability | None, prompt: Prompt) -> HarmProbability:
        calibration = self._calibrations.of(media=bool(prompt.media)).first_look
        return calibrate_both(raw or HarmProbability(), calibration)

    def _verdict(
        self, case: Case, first: HarmProbability, completion: Completion | None, thresholds: Thresholds | None
    ) -> Verdict:
        thresholds = thresholds or self.engine.info.thresholds
        sample = case.sample
        deliberated = HarmProbability()
        assessment: Assessment | None = None
        error: str | None = None
        if completion is None:
            decision = decide_first(thresholds, first, has_response=sample.response is not None)
            if first.worst is None:
                error = "This engine gives no probabilities, so there is no first look."
        else:
            prompt = case.deliberated.prompt
            asked = prompt.sample.response is not None
            calibration = self._calibrations.of(media=bool(prompt.media)).deliberated
            deliberated = calibrate_both(completion.probability, calibration)
            if not asked:
                deliberated = replace(deliberated, response=None)
            assessment, error = read(self.protocol, completion, has_response=asked)
            if assessment is not None and sample.response is not None and not asked:
                assessment = replace(assessment, response=Label.UNLABELLED)
            decision = decide(thresholds, assessment, deliberated, first)
        doubts = case.doubts(thresholds, deliberating=completion is not None) if decision is Decision.ALLOW else []
        info = self.engine.info
        return Verdict(
            id=uuid.uuid4().hex,
            sample_id=sample.id,
            checkpoint_id=info.id,
            protocol_version=info.protocol_version,
            engine=self.engine.name,
            dtype=self.engine.dtype,
            preprocessing=info.preprocessing.name,
            thresholds=thresholds,
            decision=Decision.REVIEW if doubts else decision,
            assessment=assessment,
            error=error,
            first_look=first,
            deliberated=deliberated,
            generation=completion.generation if completion else None,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            warnings=tuple(dict.fromkeys((*case.plan.warnings, *doubts))),
            windows=case.scores(deliberating=completion is not None),
        )

    def _unjudged(self, sample: Sample, why: str, thresholds: Thresholds | None) -> Verdict:
        case = Case(sample, Plan((Window(Prompt(sample), 0, 0),)), ())
        verdict = self._verdict(case, HarmProbability(), None, thresholds)
        return replace(verdict, error=why, decision=Decision.REVIEW)


def rivals(plan: Plan) -> tuple[Window, ...]:
    """The choices that need a look to find the worst; a single one has its look from the deliberation's prefill."""
    return plan.choices if len(plan.choices) > 1 else ()


def looked_at(plan: Plan) -> tuple[Window, ...]:
    """All that gets a first look of its own."""
    return rivals(plan) + plan.timeline


@dataclass(frozen=True, slots=True)
class Case:
    """A sample, its plan, and the calibrated first looks at `looked_at(plan)`, or at as many of it as are done."""

    sample: Sample
    plan: Plan
    looks: tuple[HarmProbability, ...]

    def scores(self, *, deliberating: bool = True) -> tuple[WindowScore, ...]:
        """For the page and the verdict: every part that was looked at, with its first look."""
        about = self._worst if deliberating and self.choice_looks else None
        return tuple(
            window.scored(look.worst, deliberated=at == about)
            for at, (window, look) in enumerate(zip(looked_at(self.plan), self.looks, strict=False))
        )

    @property
    def choice_looks(self) -> tuple[HarmProbability, ...]:
        """Those at the choices; empty when there is but one."""
        return self.looks[: len(self.plan.choices)] if len(self.plan.choices) > 1 else ()

    @property
    def deliberated(self) -> Window:
        """The choice that the reasoning is about: the worst one."""
        return self.plan.choices[self._worst]

    @property
    def _worst(self) -> int:
        known = [-1.0 if look.worst is None else look.worst for look in self.choice_looks]
        return known.index(max(known)) if known else 0

    def first(self, whole: HarmProbability | None) -> HarmProbability:
        """The sample's first look: that at the only choice, or for each side the worst of all choices."""
        if not self.choice_looks:
            return whole or HarmProbability()
        return HarmProbability(
            _largest(look.request for look in self.choice_looks), _largest(look.response for look in self.choice_looks)
        )

    def doubts(self, thresholds: Thresholds, *, deliberating: bool) -> list[str]:
        """Why a person should see the sample although what was deliberated on may pass; a sentence each."""
        scores = self.scores(deliberating=deliberating)
        doubts = []
        if self.plan.unseen:
            doubts.append(f"{self.plan.unseen} parts were not looked at, so a person should see the sample.")
        if harmful := harmful_parts(thresholds, scores):
            doubts.append(f"One part ({harmful[0].what}) looks harmful by itself, so a person should see it.")
        unknown = [score for score in scores[: len(self.choice_looks)] if score.p_harmful is None]
        if any(not score.deliberated for score in unknown):
            doubts.append("Parts could not be judged by themselves, so a person should see the sample.")
        return doubts


def _visible(protocol: Protocol, text: str) -> str:
    """The reasoning part of a growing completion, without tags."""
    return text.split(protocol.think_close)[0].replace(protocol.think_open, "").strip()


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
