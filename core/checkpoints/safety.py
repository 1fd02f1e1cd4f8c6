"""What a checkpoint folder could do to whoever loads it, beyond code and pickles: refused at sight.

Links that lead out of the folder, files that block or never end when they are opened, a configuration that fetches code
by another name, or that describes a model far larger than its weights and would take all memory.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core.errors import CheckpointError

LARGEST_JSON = 64 * 1024**2
"""Bytes. Of the files that are read whole, a tokenizer's is the largest: tens of megabytes at most."""
HARMLESS = 64 * 1024**2
"""Parameters that any machine can hold, so that small folders are left to the loader's own checks."""
MOST_LAYERS = 1_024
CODE_BY_NAME = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
"""Settings by which transformers would fetch compiled kernels from the Hub."""


def check_files(folder: Path) -> None:
    """Only ordinary files and folders, and none that lies elsewhere.

    The Hub's cache is made of links from `snapshots/<revision>/` to `blobs/` beside it; those are let pass.

    Raises:
        CheckpointError: there is another kind of file, or a link that leads out.
    """
    home = folder.resolve()
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    for path in sorted(folder.iterdir()):
        try:
            if path.is_symlink():
                target = path.resolve(strict=True)
                if not (target.is_relative_to(home) or target.is_relative_to(blobs)):
                    raise CheckpointError(
                        f"{folder} holds a link that leads out of it ({path.name}); put the file itself there."
                    )
            mode = path.stat().st_mode
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}).") from None
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise CheckpointError(f"{path} is not an ordinary file, so the folder is not loaded.")
        if path.suffix == ".json" and path.stat().st_size > LARGEST_JSON:
            raise CheckpointError(f"{path} has {path.stat().st_size:,} bytes; at most {LARGEST_JSON:,} are read.")


def check_configuration(folder: Path, config: Mapping[str, Any]) -> None:
    """Nothing that fetches code, and no weights that are packed in a form which would need it.

    Raises:
        CheckpointError: there is.
    """
    for part in _parts(config):
        for name in CODE_BY_NAME:
            if "/" in str(part.get(name) or ""):
                raise CheckpointError(
                    f"{folder} asks for the kernel {str(part[name])[:80]!r}, which is code of its own and never run."
                )
        if part.get("quantization_config") is not None:
            raise CheckpointError(f"{folder} holds quantised weights; only plain ones are loaded.")


def check_size(folder: Path, config: Mapping[str, Any]) -> None:
    """The model that the configuration describes is not larger than its weights can fill.

    Compared is a lower bound of its parameters with the bytes of the weights; two parameters a byte is more than any
    accepted form of weights holds.

    Raises:
        CheckpointError: it is, or a size in it is no positive whole number.
    """
    least = sum(_least_parameters(folder, part) for part in _parts(config))
    held = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if least > HARMLESS + 2 * held:
        raise CheckpointError(
            f"{folder / 'config.json'} describes a model of at least {least:,} parameters, and its weights have "
            f"{held:,} bytes: they do not belong together."
        )


def _parts(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield config
    for name in ("text_config", "vision_config"):
        if isinstance(part := config.get(name), Mapping):
            yield part


def _least_parameters(folder: Path, part: Mapping[str, Any]) -> int:
    """Feed-forward, attention output and embeddings: every supported architecture has those of its layers."""

    def size(*names: str) -> int:
        for name in names:
            value = part.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**40:
                raise CheckpointError(f"{folder / 'config.json'} says {name}={value!r}; a size is expected.")
            return value
        return 0

    hidden, layers = size("hidden_size"), size("num_hidden_layers", "depth")
    stacked = part.get("deepstack_visual_indexes") or ()
    if layers > MOST_LAYERS or (isinstance(stacked, list | tuple) and len(stacked) > MOST_LAYERS):
        raise CheckpointError(f"{folder / 'config.json'} describes more than {MOST_LAYERS:,} layers.")
    attention = size("num_attention_heads") * size("head_dim") * hidden
    embedded = (size("vocab_size") + size("num_position_embeddings") + size("out_hidden_size")) * hidden
    return layers * (2 * hidden * size("intermediate_size") + attention) + embedded
