"""Which teacher fills in missing reasoning for a job, and its connection to `train_jobs.sft.synthesise`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.errors import JobError
from core.prompt.protocol import Protocol, dump_protocol
from train_jobs.recipes.sft import SftSettings
from train_jobs.sft import synthesise
from train_jobs.training.base import Base
from train_jobs.training.dataset import Example, ReasoningFrom
from train_jobs.training.rows import TrainRow

if TYPE_CHECKING:
    from train_jobs.runs.context import JobContext

TEACHER_KEYS = ("url", "model")
SERVER_TRIES = 3
SERVER_TOKENS = 1024
"""Tokens of one answer of a server: ten steps of 160 characters with room to spare."""


def teacher_server(options: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """Address and model of the teaching server that a job's options name as `{"teacher": {"url": ..., "model": ...}}`.

    Raises:
        JobError: the option has another form.
    """
    said = options.get("teacher")
    if said is None:
        return None
    known = isinstance(said, Mapping) and not set(said) - set(TEACHER_KEYS) and isinstance(said.get("url"), str)
    if not known or not isinstance(said.get("model"), str | None):
        raise JobError(f"The option teacher takes the texts {' and '.join(TEACHER_KEYS)}, not {said!r}.")
    return str(said["url"]), said.get("model")


def fill_in(
    context: JobContext,
    settings: SftSettings,
    base: Base,
    examples: Sequence[Example],
    replayed: Sequence[TrainRow],
    tell: synthesise.Tell,
) -> tuple[list[Example], synthesise.Tally]:
    """Missing reasoning by the server that the job names, else by the base where the recipe says so.

    Raises:
        JobError: the job's option cannot be used.
        EngineError: the server cannot be reached or fails.
    """
    server = teacher_server(context.spec.options)
    missing = sum(each.source is ReasoningFrom.MISSING for each in examples)
    if not missing or (server is None and settings.teacher == "none"):
        return list(examples), synthesise.Tally(asked=0)
    if server is None:
        return synthesise.guard_writes(
            base.engine,
            base.folder.protocol,
            base.prompt,
            examples,
            longest=base.folder.info.max_new_tokens,
            tries=settings.teacher_tries,
            seed=settings.seed,
            known=synthesise.endings(replayed),
            score=base.score,
            tell=tell,
        )
    return _ask_server(context, base, examples, server, settings.seed, tell)


def _ask_server(
    context: JobContext,
    base: Base,
    examples: Sequence[Example],
    server: tuple[str, str | None],
    seed: int,
    tell: synthesise.Tell,
) -> tuple[list[Example], synthesise.Tally]:
    from core.engines.openai_engine import OpenAIEngine, connect
    from core.settings import Settings, key_for, load_settings

    surroundings = load_settings()
    key = key_for(server[0], surroundings.engine_url, context.secrets.get("engine_key"))
    engines: list[OpenAIEngine] = []

    def speaking(protocol: Protocol) -> OpenAIEngine:
        file = context.run.path / "teacher.toml"
        file.write_text(dump_protocol(protocol), encoding="utf-8")
        named = {"engine_url": server[0], "engine_model": server[1], "engine_key": key, "protocol": str(file)}
        try:
            engine, _, _ = connect(Settings(**surroundings.model_dump() | named))
        finally:
            file.unlink(missing_ok=True)
        engines.append(engine)
        return engine

    try:
        return synthesise.server_writes(
            speaking,
            base.folder.protocol,
            base.prompt,
            examples,
            longest=SERVER_TOKENS,
            tries=SERVER_TRIES,
            seed=seed,
            tell=tell,
        )
    finally:
        for engine in engines:
            engine.close()
