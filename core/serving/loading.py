"""From the name of a checkpoint (or the address of a server) to a guard that has answered once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.checkpoints.folder import (
    DOWNLOAD_PATTERNS,
    CheckpointFolder,
    check_architecture,
    local_folder,
    open_checkpoint,
)
from core.engines.base import Decoding, Engine, Prompt
from core.errors import CheckpointError
from core.judging.guard import Guard
from core.media.store import MediaStore
from core.settings import Settings
from core.types import Calibrations, Sample

Tell = Callable[[float, str], None]
"""Told the share that is done, in [0, 1], and a sentence."""


def load_guard(source: str, settings: Settings, media: MediaStore, tell: Tell) -> Guard:
    """Check, fetch where needed, load and warm up.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        EngineError: the device or the server fails.
    """
    if settings.engine_url is not None and source == settings.engine_url:
        return _server_guard(settings, media, tell)
    checkpoint = fetch_checkpoint(source, settings.protocol, tell)
    tell(0.6, "Reading the weights")
    from core.engines.transformers_engine import TransformersEngine

    engine = TransformersEngine(checkpoint, device=settings.device, dtype=settings.dtype)
    tell(0.9, "Warming up")
    warm_up(engine)
    spec = engine.encoder.vision
    guard = _guard(engine, checkpoint, settings, media, spec)
    tell(1.0, "Ready")
    return guard


def fetch_checkpoint(source: str, protocol: str | None, tell: Tell) -> CheckpointFolder:
    """Check a checkpoint's folder, fetched from the Hub where it is not here; no weights are read yet.

    Args:
        protocol: name or file of the protocol, for checkpoints that bring none.

    Raises:
        CheckpointError: it cannot be loaded.
    """
    tell(0.02, f"Checking {source}")
    folder = local_folder(source)
    return open_checkpoint(_download(source, tell) if folder is None else folder, source, protocol)


def warm_up(engine: Engine) -> None:
    """One short answer: the first one is many times slower than the others."""
    import threading

    prompt = Prompt(Sample("Hello", "Hello"))
    engine.complete(prompt, Decoding(max_new_tokens=4), threading.Event(), lambda event: None)


def _guard(engine: Engine, folder: CheckpointFolder, settings: Settings, media: MediaStore, spec: Any) -> Guard:
    preprocessing = engine.info.preprocessing
    return Guard(
        engine,
        folder.protocol,
        folder.calibrations,
        lambda ref: media.decode(ref, preprocessing, spec),
        window_tokens=folder.window_tokens,
        max_text_chars=settings.max_text_chars,
    )


def _server_guard(settings: Settings, media: MediaStore, tell: Tell) -> Guard:
    from core.engines.openai_engine import connect

    tell(0.3, "Asking the server")
    engine, protocol, spec = connect(settings)
    guard = Guard(
        engine,
        protocol,
        Calibrations(),
        lambda ref: media.decode(ref, engine.info.preprocessing, spec),
        window_tokens=engine.info.context_tokens // 4,
        max_text_chars=settings.max_text_chars,
    )
    tell(1.0, "Ready")
    return guard


def _download(source: str, tell: Tell) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
    from tqdm.auto import tqdm

    class Progress(tqdm):
        """Passes the share of fetched bytes on, and prints nothing."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            kwargs["disable"] = False
            super().__init__(*args, **kwargs)

        def display(self, *args: Any, **kwargs: Any) -> None:
            if self.total and self.unit == "B":
                tell(0.05 + 0.5 * min(1.0, self.n / self.total), f"Fetching {source}: {self.n / 1e6:,.0f} MB")

    tell(0.05, f"Fetching {source}")
    try:
        check_architecture(Path(snapshot_download(source, allow_patterns="*.json")))
        return Path(snapshot_download(source, allow_patterns=list(DOWNLOAD_PATTERNS), tqdm_class=Progress))
    except RepositoryNotFoundError:
        raise CheckpointError(f"The Hub has no checkpoint {source!r}, or it is private and no token is set.") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:  # ValueError: no valid id
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{source} could not be fetched from the Hub ({reason}).") from None
