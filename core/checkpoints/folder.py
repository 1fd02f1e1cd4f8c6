"""Checkpoint folders: what is accepted, and what they say about themselves. Only small files are read here, no weights.

Accepted is a folder in the Hugging Face layout of a supported architecture with safetensors weights. `guard.json`
beside them (the built-in guard has one, training writes one) names protocol, preprocessing, calibration and limits;
without it the published constants of the checkpoint's family apply.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.checkpoints.safety import check_configuration, check_files, check_size
from core.errors import CheckpointError, ProtocolError
from core.prompt.protocol import Protocol, load_protocol
from core.settings import ASSETS, BUILTIN
from core.types import Calibration, Calibrations, CheckpointInfo, Looks, Modality, Preprocessing, Thresholds

BUILTIN_FOLDER = ASSETS / "builtin_guard"
PROTOCOLS = ASSETS / "protocols"
GUARD_FILE = "guard.json"
GUARD_FORMAT = 1
ORIGIN_FILE = "guardroom.json"
"""The origin card of a checkpoint of the registry (`core.checkpoints.registry`)."""

ARCHITECTURES: Mapping[str, tuple[Modality, ...]] = {
    "qwen3_vl": (Modality.TEXT, Modality.IMAGE, Modality.VIDEO),
    "qwen2_5_vl": (Modality.TEXT, Modality.IMAGE, Modality.VIDEO),
    "llama": (Modality.TEXT,),
}
"""Supported `model_type`s: GuardReasoner-Omni 2B and 4B are Qwen3-VL, -VL is Qwen2.5-VL, the first is Llama."""

ENDS = 1 << 20
"""Bytes read from each end of a weights file for the fingerprint."""

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")

OMNI_EVALUATION = Preprocessing(
    name="omni-v1-evaluation",
    fps=2.0,
    max_frames=128,
    frame_min_pixels=4_096,
    frame_max_pixels=131_072,
    image_min_pixels=4_096,
    image_max_pixels=1_605_632,
)
"""GuardReasoner-Omni v1 in evaluation (arXiv 2602.03328). Its images have no cap; v2's bounds memory here."""


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """A checked folder: everything that is known before the weights are read."""

    path: Path
    model_type: str
    info: CheckpointInfo
    protocol: Protocol
    calibrations: Calibrations
    window_tokens: int
    """Content tokens of one window of a long text."""


def open_checkpoint(folder: Path, source: str, protocol_name: str | None = None) -> CheckpointFolder:
    """Check a folder and read what it says.

    Raises:
        CheckpointError: the folder is missing, incomplete, of an unknown architecture, or holds pickled weights or
            code of its own.
    """
    config = check_architecture(folder)
    _check_shards(folder)
    check_size(folder, config)
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(f"{folder} is incomplete: it has no tokenizer.json.")
    model_type = str(config["model_type"])
    said = _read_json(folder / GUARD_FILE) if (folder / GUARD_FILE).exists() else {}
    origin = _read_json(folder / ORIGIN_FILE) if (folder / ORIGIN_FILE).exists() else {}
    if said and said.get("format") != GUARD_FORMAT:
        raise CheckpointError(
            f"{folder / GUARD_FILE} has format {said.get('format')!r}; this version reads {GUARD_FORMAT}."
        )
    try:
        protocol = _protocol_for(folder, said, protocol_name)
    except ProtocolError as error:
        raise CheckpointError(str(error)) from None
    text_config = config.get("text_config", config)
    try:
        preprocessing = Preprocessing(**said["preprocessing"]) if "preprocessing" in said else OMNI_EVALUATION
        calibration = said.get("calibration", {})
        context = min(int(said.get("context_tokens", 32_768)), int(text_config.get("max_position_embeddings", 32_768)))
        max_new_tokens = min(int(said.get("max_new_tokens", 4096)), context // 2)
        window_tokens = int(said.get("window_tokens", max(64, (context - max_new_tokens) // 2)))
        if min(max_new_tokens, window_tokens) < 1:
            raise ValueError(
                f"context_tokens={context}, max_new_tokens={max_new_tokens}, window_tokens={window_tokens}: no room"
            )
        return CheckpointFolder(
            path=folder,
            model_type=model_type,
            info=CheckpointInfo(
                # A guard file may have been copied from the base: the card is the checkpoint's own.
                id=str(origin.get("id") or said.get("id") or fingerprint(folder)),
                source=source,
                protocol_version=protocol.version,
                preprocessing=preprocessing,
                context_tokens=context,
                max_new_tokens=max_new_tokens,
                thresholds=Thresholds(**said.get("thresholds", {})),
                first_look_calibrated=bool(said.get("first_look_trained", False)),
                modalities=ARCHITECTURES[model_type],
            ),
            protocol=protocol,
            calibrations=Calibrations(**{kind: _looks(looks) for kind, looks in calibration.items()}),
            window_tokens=window_tokens,
        )
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise CheckpointError(
            f"{folder / GUARD_FILE} or config.json holds a value that cannot be used ({error})."
        ) from None


def _looks(said: Mapping[str, Any]) -> Looks:
    return Looks(**{name: Calibration(**values) for name, values in said.items()})


def check_architecture(folder: Path) -> Mapping[str, Any]:
    """The configuration of a folder that may still lack its weights: what can be refused before gigabytes are fetched.

    Raises:
        CheckpointError: there is no configuration, it is of an unknown architecture, or the folder brings code or
            pickled weights.
    """
    config = _read_config(folder)
    check_files(folder)
    _refuse_unsafe(folder, config)
    check_configuration(folder, config)
    model_type = str(config.get("model_type"))
    if model_type not in ARCHITECTURES:
        raise CheckpointError(
            f"{folder} is a {model_type!r} model; supported are {', '.join(sorted(ARCHITECTURES))} checkpoints."
        )
    return config


def fingerprint(folder: Path) -> str:
    """A name for a checkpoint that brings none: the folder's name and a digest of its configuration and weights.

    Of each weights file the size and both ends are read, not all of it: gigabytes would take minutes.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as weights:
            digest.update(weights.read(ENDS))
            weights.seek(max(0, size - ENDS))
            digest.update(weights.read(ENDS))
    return f"{folder.resolve().name}-{digest.hexdigest()[:12]}"


def is_hub_id(source: str) -> bool:
    """Whether a source looks like `owner/name` rather than like a path."""
    parts = source.split("/")
    return (
        len(parts) == 2 and all(part and part not in (".", "..", "~") for part in parts) and not Path(source).exists()
    )


def local_folder(source: str) -> Path | None:
    """The folder that a source names, none when it names something on the Hub.

    Raises:
        CheckpointError: it is neither the built-in guard, an existing folder, nor a Hub id.
    """
    if source == BUILTIN:
        return BUILTIN_FOLDER
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # too long, a NUL inside, the home of nobody
        path = Path(source).expanduser()
        if source.strip() and path.is_dir():
            return path
        if is_hub_id(source):
            return None
    shown = source if len(source) <= 200 else f"{source[:200]}..."
    raise CheckpointError(
        f"There is no checkpoint folder {shown!r}; name `builtin`, an existing folder, or a Hub id like owner/name."
    )


DOWNLOAD_PATTERNS = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.toml")
"""What is fetched from the Hub: configuration, tokenizer and safetensors weights, nothing that could run."""


def _read_config(folder: Path) -> Mapping[str, Any]:
    if not folder.is_dir():
        raise CheckpointError(f"There is no checkpoint folder {folder}.")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} is not a checkpoint: it has no config.json.")
    return _read_json(folder / "config.json")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON ({error}).") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds a {type(values).__name__}; a JSON object is expected.")
    return values


def _refuse_unsafe(folder: Path, config: Mapping[str, Any]) -> None:
    configurations = [config] + [
        _read_json(path)
        for name in (
            "tokenizer_config.json",
            "preprocessor_config.json",
            "video_preprocessor_config.json",
            "processor_config.json",
        )
        if (path := folder / name).is_file()
    ]
    if "transformers_weights" in config or (folder / "adapter_config.json").exists():
        raise CheckpointError(
            f"{folder} points to weights other than its own model.safetensors; merge adapters into the weights first."
        )
    if any("auto_map" in each for each in configurations) or any((*folder.glob("*.py"), *folder.glob("*/*.py"))):
        raise CheckpointError(
            f"{folder} brings code of its own, which is never run; only standard architectures are loaded."
        )
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICKLED)
    if pickled:
        raise CheckpointError(
            f"{folder} holds pickled weights ({pickled[0]}), which can run code; only safetensors are loaded."
        )


def _check_shards(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        if not (folder / "model.safetensors").is_file():
            raise CheckpointError(f"{folder} is incomplete: it has no model.safetensors.")
        return
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise CheckpointError(f"{index} has no weight_map that says which file holds which weight.")
    names = set(map(str, weight_map.values()))
    if strange := sorted(name for name in names if Path(name).name != name or not name.endswith(".safetensors")):
        raise CheckpointError(f"{index} names {strange[0]!r}; only safetensors files in the same folder are accepted.")
    if missing := sorted(name for name in names if not (folder / name).is_file()):
        raise CheckpointError(
            f"{folder} is incomplete: {missing[0]} is missing ({len(missing)} of {len(names)} shards)."
        )
    if not names:
        raise CheckpointError(f"{index} names no weights.")


def _protocol_for(folder: Path, said: Mapping[str, Any], wanted: str | None) -> Protocol:
    if "protocol" in said:
        name = str(said["protocol"])
        if not name or Path(name).name != name or name == "..":
            raise ProtocolError(
                f"{folder / GUARD_FILE} names the protocol {name!r}; a file in the same folder is expected."
            )
        return load_protocol(folder / name)
    if (folder / "protocol.toml").is_file():
        return load_protocol(folder / "protocol.toml")
    return named_protocol(wanted)


def named_protocol(wanted: str | None) -> Protocol:
    """A protocol by its name under assets/protocols or by its file; omni-v1 unless one is named.

    Raises:
        ProtocolError: there is no such file, or it is not usable.
    """
    if wanted is None:
        return load_protocol(PROTOCOLS / "omni-v1.toml")
    named = PROTOCOLS / f"{wanted}.toml"
    if Path(wanted).name == wanted and named.is_file():
        return load_protocol(named)
    return load_protocol(Path(wanted).expanduser())
