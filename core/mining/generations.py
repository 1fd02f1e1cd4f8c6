"""Several sampled generations of each sample, read into labels: what mining goes by (arXiv 2602.03328)."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.engines.base import Completion, Decoding, Prompt
from core.errors import Cancelled, EngineError, GuardroomError, InputError
from core.judging.deciding import read
from core.judging.guard import HELD_BYTES, Guard
from core.mining.rules import Answer, Sampling
from core.types import Label, Sample

Planned = tuple[Sample, Prompt | GuardroomError]
"""A sample with its prompt, or with why there is none."""


@dataclass(frozen=True, slots=True)
class Generations:
    """What the guard answered about one sample."""

    answers: tuple[Answer | None, ...]
    """Of the n generations, none for each that could not be read or was cut off; empty where there is an error. The
    response is unlabelled where the sample has one that the judged part does not hold."""
    error: str | None = None
    """Why the sample could not be judged at all, in a sentence."""


def sample_generations(
    guard: Guard, samples: Sequence[Sample], sampling: Sampling, stop: threading.Event | None = None
) -> list[Generations]:
    """Draw n generations of each sample, together where memory allows it; results in the given order.

    A sample that one prompt cannot hold is judged by the part that looks worst, as `Guard.moderate` does it. One that
    cannot be judged (its media are damaged, the engine fails on it alone) gets an error and takes nothing from others.

    Args:
        stop: setting it ends the work within a token.

    Raises:
        Cancelled: it was stopped, so the generations are not complete.
        EngineError: the engine failed on every one of several samples: the fault is not theirs.
    """
    outcomes: list[Generations | GuardroomError] = []
    held: list[Planned] = []
    for sample in samples:
        _check(stop)
        held.append((sample, _planned(guard, sample, stop)))
        if _held_bytes(held) >= HELD_BYTES:
            outcomes += _answered(guard, held, sampling, stop)
            held = []
    outcomes += _answered(guard, held, sampling, stop)
    failures = [each for each in outcomes if isinstance(each, EngineError)]
    if len(failures) == len(samples) > 1:
        raise failures[0]
    return [each if isinstance(each, Generations) else Generations((), str(each)) for each in outcomes]


def _planned(guard: Guard, sample: Sample, stop: threading.Event | None) -> Prompt | GuardroomError:
    try:
        return guard.prompt_of(sample, stop)
    except (InputError, EngineError) as error:
        return error


def _held_bytes(held: Sequence[Planned]) -> int:
    return sum(medium.frames.nbytes for _, each in held if isinstance(each, Prompt) for medium in each.media)


def _answered(
    guard: Guard, held: Sequence[Planned], sampling: Sampling, stop: threading.Event | None
) -> list[Generations | GuardroomError]:
    """All that have a prompt in one go; each by itself where the engine fails on them together."""
    ready = [(sample, each) for sample, each in held if isinstance(each, Prompt)]
    drawn: list[Generations | GuardroomError] = []
    try:
        drawn += _drawn(guard, ready, sampling, stop)
    except EngineError:
        for each in ready:
            try:
                drawn += _drawn(guard, [each], sampling, stop)
            except EngineError as error:
                drawn.append(error)
    results = iter(drawn)
    return [next(results) if isinstance(each, Prompt) else each for _, each in held]


def _drawn(
    guard: Guard, ready: Sequence[tuple[Sample, Prompt]], sampling: Sampling, stop: threading.Event | None
) -> list[Generations]:
    """n rows of each prompt."""
    _check(stop)
    decoding = Decoding(
        guard.engine.info.max_new_tokens, sampling.temperature, sampling.top_p, _seed(sampling.seed, ready), look=False
    )
    rows = [prompt for _, prompt in ready for _ in range(sampling.n)]
    completions = [completion for _, completion in guard.engine.complete_many(rows, decoding, stop)]
    _check(stop)
    return [
        Generations(
            tuple(
                _answer(guard, sample, prompt, completion)
                for completion in completions[at * sampling.n : (at + 1) * sampling.n]
            )
        )
        for at, (sample, prompt) in enumerate(ready)
    ]


def _answer(guard: Guard, sample: Sample, prompt: Prompt, completion: Completion) -> Answer | None:
    asked = prompt.sample.response is not None
    said, _ = read(guard.protocol, completion, has_response=asked)
    if said is None:
        return None
    if sample.response is not None and not asked:
        said = replace(said, response=Label.UNLABELLED)
    return said.request, said.response


def _seed(seed: int, ready: Sequence[tuple[Sample, Prompt]]) -> int:
    """One for each batch, or every batch of a run would draw the same numbers; 30 bits leave room to count on."""
    content = " ".join([str(seed), *(sample.id for sample, _ in ready)])
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:4], "big") >> 2


def _check(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise Cancelled("The sampling was stopped.")
