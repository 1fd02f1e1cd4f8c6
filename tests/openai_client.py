"""What the tests of the URL engine share: how they connect and listen, and the samples that they ask about."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from core.engines.base import Decoding, Prompt
from core.engines.openai_engine import OpenAIEngine, connect
from core.judging.guard import Guard
from core.media.vision import DecodedMedia
from core.prompt.protocol import load_protocol
from core.settings import ASSETS, Settings
from core.types import Calibrations, MediaRef, Modality, Sample
from tests.openai_server import Server

KEY = "sk-guardroom-secret-0123456789"
PROTOCOL = load_protocol(ASSETS / "protocols" / "guardroom-v1.toml")
GREEDY = Decoding(128)


def settings(url: str, **more: Any) -> Settings:
    values: dict[str, Any] = {"engine_url": url, "protocol": "guardroom-v1"} | more
    return Settings(_env_file=None, **values)


@contextmanager
def connected(server: Server, silence_s: float = 20.0, **more: Any) -> Iterator[OpenAIEngine]:
    engine, _, _ = connect(settings(server.url, **more), silence_s)
    try:
        yield engine
    finally:
        engine.close()


def guard_of(engine: Any, media: dict[str, DecodedMedia] | None = None) -> Guard:
    return Guard(engine, PROTOCOL, Calibrations(), lambda ref: (media or {})[ref.digest], window_tokens=512)


def listen(engine: OpenAIEngine, prompt: Prompt, decoding: Decoding = GREEDY) -> tuple[Any, Any, list[Any]]:
    heard: list[Any] = []
    look, completion = engine.complete(prompt, decoding, threading.Event(), heard.append)
    return look, completion, heard


def picture(seed: int = 0, size: tuple[int, int] = (96, 128)) -> tuple[MediaRef, DecodedMedia]:
    pixels = np.random.default_rng(seed).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    return MediaRef(f"p{seed}", "image/png", Modality.IMAGE, 9, size[1], size[0]), DecodedMedia(pixels)


def clip(frames: int = 4) -> tuple[MediaRef, DecodedMedia]:
    pixels = np.random.default_rng(7).integers(0, 256, (frames, 64, 64, 3), dtype=np.uint8)
    ref = MediaRef("v", "video/mp4", Modality.VIDEO, 9, 64, 64, frames / 2, frames)
    return ref, DecodedMedia(pixels, tuple(at / 2 for at in range(frames)))


SAMPLES = [
    Prompt(Sample("How do I bake bread?")),
    Prompt(Sample("Who are you?", "I am an assistant.")),
    Prompt(Sample("line\u2028one\n\n  日本語 🙂", "zwei\u0085drei")),
    Prompt(Sample("What is this?", None, (picture()[0],)), (picture()[1],)),
    Prompt(Sample("", "A cat.", (picture(1, (64, 200))[0],)), (picture(1, (64, 200))[1],)),
]
