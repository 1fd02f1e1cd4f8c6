"""Settings: one class, read from the environment (`GUARDROOM_*`) and from an `.env` file in the working directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.beside_training import LiveWhileTraining
from core.errors import InputError
from core.types import Thresholds

REPOSITORY = Path(__file__).resolve().parent.parent
ASSETS = REPOSITORY / "assets"
BUILTIN = "builtin"
"""How the shipped checkpoint is named wherever a checkpoint can be named."""


def default_data_root() -> Path:
    """Where this platform keeps an application's data, outside the repository."""
    return Path(platformdirs.user_data_path("guardroom", appauthor=False))


class Settings(BaseSettings):
    """Everything that can be set from outside. The README's table is made from these descriptions."""

    model_config = SettingsConfigDict(env_prefix="GUARDROOM_", env_file=".env", extra="ignore", frozen=True)

    data: Path = Field(default_factory=default_data_root, description="Folder for the database, media and checkpoints.")
    database_url: str | None = Field(
        None, description="SQLAlchemy URL of the annotation store; SQLite under the data folder unless set."
    )
    checkpoint: str = Field(BUILTIN, description="Checkpoint to start with: `builtin`, a local folder, or a Hub id.")
    protocol: str | None = Field(
        None, description="Protocol name (assets/protocols) or file, for checkpoints that bring none."
    )
    engine_url: str | None = Field(
        None, description="Base URL of an OpenAI-compatible server (vLLM, SGLang) to use instead of loading a model."
    )
    engine_model: str | None = Field(None, description="The model's name on that server; its first model unless set.")
    engine_key: SecretStr | None = Field(None, description="Bearer key for that server; no other is sent it.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where the model runs.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="Precision of the weights; `auto` takes what the device does well."
    )
    threads: int | None = Field(
        None, ge=1, le=256, description="CPU threads for the live guard; torch's choice unless set."
    )
    live_while_training: LiveWhileTraining = Field(
        "stay",
        description="What the live guard does while a job holds its device: `stay`, move to the `cpu`, or `pause`.",
    )
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Anything but loopback makes owner actions ask for the owner's token.",
    )
    port: int = Field(7860, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    owner_token: SecretStr | None = Field(
        None,
        description="The owner's token; made and printed at start when the app is reachable by others and none is set.",
    )
    review_threshold: float | None = Field(
        None, ge=0, le=1, description="Review from this probability on; the checkpoint's own unless set."
    )
    block_threshold: float | None = Field(
        None, ge=0, le=1, description="Block from this probability on; the checkpoint's own unless set."
    )
    max_text_chars: int = Field(1_000_000, ge=1, description="Longest accepted request or response, in characters.")
    max_file_bytes: int = Field(512 * 1024**2, ge=1, description="Largest accepted file, in bytes.")
    max_image_pixels: int = Field(64_000_000, ge=1, description="Largest accepted picture, in pixels.")
    max_video_seconds: float = Field(7200.0, gt=0, description="Longest accepted video, in seconds.")
    decode_timeout_s: float = Field(120.0, gt=0, description="Time limit for reading one video, in seconds.")
    decode_memory_bytes: int = Field(
        3 * 1024**3, ge=1, description="Memory limit of the video worker, in bytes (Linux)."
    )

    @field_validator("data")
    @classmethod
    def _home_is_known(cls, value: Path) -> Path:
        return value.expanduser()

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Settings:
        self.thresholds(Thresholds())
        return self

    def thresholds(self, default: Thresholds) -> Thresholds:
        """The checkpoint's thresholds, with those set here in their place."""
        review = default.review if self.review_threshold is None else self.review_threshold
        block = default.block if self.block_threshold is None else self.block_threshold
        if self.block_threshold is None:
            block = max(review, block)
        elif self.review_threshold is None:
            review = min(review, block)
        return Thresholds(review, block)


def key_for(url: str, engine_url: str | None, key: str | None) -> str | None:
    """The engine's key, if a request to `url` may carry it: only to the origin of `engine_url`, whose key it is.

    An origin is scheme, host and port (RFC 6454, section 4); addresses are read as the connection reads them.

    Args:
        url: the address that is asked, typed by anybody.
        engine_url: `Settings.engine_url`.
        key: the key, wherever it was handed over.

    Returns:
        The key, or None where it is another server's, or there is none.
    """
    import httpx

    if engine_url is None:
        return None
    try:
        asked, own = (httpx.URL(each.strip()) for each in (url, engine_url))
    except (httpx.InvalidURL, ValueError):
        return None
    same = (asked.scheme, asked.raw_host, asked.port) == (own.scheme, own.raw_host, own.port)
    return (key or None) if same and own.host else None


def load_settings() -> Settings:
    """Read the settings.

    Raises:
        InputError: a variable holds what it cannot; the message names each.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(map(_sentence, error.errors(include_url=False)))
        raise InputError(f"The settings cannot be used: {wrong}.") from None


def _sentence(error: Any) -> str:
    """What is wrong with one variable. Of an error about several, the values are left out: secrets are among them."""
    if not error["loc"]:
        return str(error["msg"]).removeprefix("Value error, ")
    name = "_".join(map(str, error["loc"])).upper()
    return f"GUARDROOM_{name}={error['input']!r}: {error['msg']}"
