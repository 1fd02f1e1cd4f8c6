"""Laws of checkpoint folders: what is broken or hostile is refused in one sentence, and nothing in it ever runs."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.checkpoints.folder import OMNI_EVALUATION, fingerprint, is_hub_id, local_folder, open_checkpoint
from core.errors import CheckpointError
from core.types import Calibration, Calibrations, Looks, Modality, Preprocessing, Thresholds
from tests.conftest import ARCHITECTURES

Harm = Callable[[Path], None]


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("import sys; sys.modules['guardroom_was_here'] = sys",))


EVIL = "import sys\nsys.modules['guardroom_was_here'] = sys\n"


def merged(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def written(name: str, content: str | bytes) -> Harm:
    def harm(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return harm


def guard_file(**values: Any) -> Harm:
    return written("guard.json", json.dumps({"format": 1} | values))


def changed(name: str, **values: Any) -> Harm:
    return lambda folder: merged(folder / name, **values)


def both(*harms: Harm) -> Harm:
    def harm(folder: Path) -> None:
        for each in harms:
            each(folder)

    return harm


def gone(name: str) -> Harm:
    return lambda folder: (folder / name).unlink()


def cut(name: str, share: float) -> Harm:
    def harm(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return harm


def sharded(weight_map: Any) -> Harm:
    def harm(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))

    return harm


def half_the_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file(dict(list(weights.items())[::2]), folder / "model.safetensors", {"format": "pt"})


def wrong_shapes(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    name = next(name for name, tensor in weights.items() if tensor.ndim == 2)
    weights[name] = weights[name][:-1].contiguous()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def no_template(folder: Path) -> None:
    for path in (folder / "chat_template.jinja", folder / "chat_template.json"):
        path.unlink(missing_ok=True)
    values = json.loads((folder / "tokenizer_config.json").read_text())
    values.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(values))


def evil_template(folder: Path) -> None:
    no_template(folder)
    escape = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    (folder / "chat_template.jinja").write_text(escape)


REFUSED_AT_SIGHT: dict[str, tuple[Harm, str]] = {
    "pickled weights beside good ones": (written("pytorch_model.bin", pickle.dumps(Bomb())), "pickled weights"),
    "pickled weights by another name": (written("weights.PTH", pickle.dumps(Bomb())), "pickled weights"),
    "pickled weights alone": (
        both(gone("model.safetensors"), written("pytorch_model.bin", b"x")),
        "pickled weights",
    ),
    "code of its own": (written("modeling_evil.py", EVIL), "code of its own"),
    "code for generation": (written("custom_generate/generate.py", EVIL), "code of its own"),
    "auto_map in the configuration": (
        changed("config.json", auto_map={"AutoModelForImageTextToText": "evil.Evil"}), "code of its own",
    ),
    "auto_map in the tokenizer": (
        changed("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]}), "code of its own",
    ),
    "auto_map in the processor": (
        changed("preprocessor_config.json", auto_map={"AutoImageProcessor": "evil.Evil"}), "code of its own",
    ),
    "an adapter that names another base": (
        written("adapter_config.json", '{"peft_type": "LORA", "base_model_name_or_path": "/tmp/evil"}'), "merge",
    ),
    "weights by a name of its own": (changed("config.json", transformers_weights="other.safetensors"), "points to"),
    "a path in the index": (sharded({"a": "../../model.safetensors"}), "same folder"),
    "an absolute path in the index": (sharded({"a": "/etc/model.safetensors"}), "same folder"),
    "a pickle in the index": (sharded({"a": "model.bin"}), "only safetensors files"),
    "numbers in the index": (sharded({"a": 1}), "only safetensors files"),
    "a list for an index": (sharded(["a"]), "no weight_map"),
    "an empty index": (sharded({}), "names no weights"),
    "a missing shard": (
        sharded({"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}),
        r"model-00002-of-00002.safetensors is missing \(1 of 2 shards\)",
    ),
    "no weights": (gone("model.safetensors"), "no model.safetensors"),
    "no tokenizer": (gone("tokenizer.json"), "no tokenizer.json"),
    "no configuration": (gone("config.json"), "no config.json"),
    "a damaged configuration": (cut("config.json", 0.5), "cannot be read as JSON"),
    "a configuration of another kind": (written("config.json", "[1, 2]"), "holds a list; a JSON object is expected"),
    "a configuration too deep to read": (written("config.json", "[" * 100_000), "cannot be read as JSON"),
    "a configuration that is no text": (written("config.json", b"\xff\xfe\x00"), "cannot be read as JSON"),
    "an unknown architecture": (changed("config.json", model_type="gpt2"), "is a 'gpt2' model; supported are llama"),
    "no architecture": (changed("config.json", model_type=None), "is a 'None' model"),
    "an architecture of another kind": (changed("config.json", model_type=["qwen3_vl"]), "supported are"),
    "a text configuration of another kind": (changed("config.json", text_config=[]), "cannot be used"),
    "a damaged guard file": (written("guard.json", "{"), "cannot be read as JSON"),
    "a guard file of another format": (guard_file(format=99), "format 99; this version reads 1"),
    "a guard file without a format": (written("guard.json", '{"id": "x"}'), "format None"),
    "a path for a protocol": (guard_file(protocol="../../../etc/passwd"), "in the same folder is expected"),
    "an absolute path for a protocol": (guard_file(protocol="/etc/passwd"), "in the same folder is expected"),
    "no name for a protocol": (guard_file(protocol=""), "in the same folder is expected"),
    "the folder above for a protocol": (guard_file(protocol=".."), "in the same folder is expected"),
    "the folder itself for a protocol": (guard_file(protocol="."), "in the same folder is expected"),
    "a protocol that is not there": (guard_file(protocol="mine.toml"), "no protocol file"),
    "a NUL in the protocol's name": (guard_file(protocol="a\0b"), "not readable TOML"),
    "weights for a protocol": (guard_file(protocol="model.safetensors"), "not readable TOML"),
    "a damaged protocol": (written("protocol.toml", "name = "), "not readable TOML"),
    "a protocol without a system turn": (written("protocol.toml", 'name = "x"\nversion = "1"'), r"lacks.*system"),
    "a calibration that divides by nothing": (
        guard_file(calibration={"text": {"first_look": {"temperature": 0}}}), "temperature=0 must be positive",
    ),
    "a calibration of words": (guard_file(calibration={"media": {"deliberated": {"bias": "much"}}}), "cannot be used"),
    "a calibration of another kind": (guard_file(calibration=[1]), "cannot be used"),
    "a calibration of unknown words": (guard_file(calibration={"text": {"first_look": {"slope": 1}}}), "slope"),
    "thresholds the wrong way round": (guard_file(thresholds={"review": 0.9, "block": 0.1}), "review <= block"),
    "a context of nothing": (guard_file(context_tokens=0), "no room"),
    "a context without end": (written("guard.json", '{"format": 1, "context_tokens": 1e999}'), "cannot be used"),
    "no windows": (guard_file(window_tokens=-5), "no room"),
    "preprocessing of unknown words": (guard_file(preprocessing={"fps": 2}), "cannot be used"),
    "preprocessing without frames": (
        guard_file(
            preprocessing={
                "name": "x", "fps": 2, "max_frames": 0, "frame_min_pixels": 1, "frame_max_pixels": 2,
                "image_min_pixels": 1, "image_max_pixels": 2,
            }
        ),
        "whole positive numbers",
    ),
}  # fmt: skip

REFUSED_WHEN_LOADED: dict[str, tuple[Harm, str]] = {
    "truncated weights": (cut("model.safetensors", 0.6), "cannot be loaded"),
    "weights that are something else": (written("model.safetensors", pickle.dumps(Bomb())), "cannot be loaded"),
    "empty weights": (written("model.safetensors", b""), "cannot be loaded"),
    "half of the weights": (half_the_weights, "weights are missing"),
    "weights of another shape": (wrong_shapes, "cannot be loaded|another shape"),
    "a damaged tokenizer": (cut("tokenizer.json", 0.5), "cannot be loaded"),
    "no chat template": (no_template, "no chat template"),
    "a broken chat template": (
        both(no_template, written("chat_template.jinja", "{% if %}")),
        "chat template that cannot be used",
    ),
    "a chat template that reaches for Python": (evil_template, "chat template that cannot be used"),
    "a tokenizer larger than its weights": (
        lambda folder: merged(folder / "tokenizer_config.json", extra_special_tokens=["<|a|>", "<|b|>"]),
        r"tokenizer of \d+ tokens and weights for \d+ only",
    ),
    "patches of another size": (changed("preprocessor_config.json", patch_size=14), "cuts pictures into patches"),
    "no picture preparation": (gone("preprocessor_config.json"), "no preprocessor_config.json"),
    "damaged picture preparation": (
        changed("preprocessor_config.json", image_mean=["a"]), "three of each are expected|not a readable",
    ),
}  # fmt: skip


@pytest.fixture
def copy_of(tiny_folder: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda model_type: Path(shutil.copytree(tiny_folder(model_type), tmp_path / "checkpoint"))


def refusal(act: Callable[[], Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        act()
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 600
    assert "guardroom_was_here" not in sys.modules


@pytest.mark.parametrize("case", REFUSED_AT_SIGHT)
def test_a_bad_folder_is_refused_before_anything_heavy_is_read(case: str, copy_of: Callable[[str], Path]) -> None:
    harm, words = REFUSED_AT_SIGHT[case]
    folder = copy_of("qwen3_vl")
    harm(folder)
    refusal(lambda: open_checkpoint(folder, "x"), words)


@pytest.mark.filterwarnings("ignore")  # the libraries complain as well, each in its own way
@pytest.mark.parametrize("case", REFUSED_WHEN_LOADED)
def test_files_that_do_not_fit_are_refused_when_they_are_loaded(case: str, copy_of: Callable[[str], Path]) -> None:
    from core.engines.transformers_engine import TransformersEngine

    harm, words = REFUSED_WHEN_LOADED[case]
    folder = copy_of("qwen3_vl")
    harm(folder)
    checkpoint = open_checkpoint(folder, "x")
    refusal(lambda: TransformersEngine(checkpoint, device="cpu"), words)


def test_a_file_is_no_folder_and_a_missing_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "missing"):
        refusal(lambda path=path: open_checkpoint(path, "x"), f"no checkpoint folder {path}")  # type: ignore[misc]


@pytest.mark.parametrize("source", ["no such folder", "a/b/c", "", "~nobody-at-all/x", "x" * 5000, "a\0b", "../..//x"])
def test_a_source_that_is_nothing_is_refused_by_name(source: str) -> None:
    refusal(lambda: local_folder(source), "There is no checkpoint folder")


def test_sources_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_folder(str(tmp_path)) == tmp_path
    assert local_folder("zhu-thu-22/GuardReasoner-Omni-2B") is None
    builtin = local_folder("builtin")
    assert builtin is not None
    assert builtin.name == "builtin_guard"
    assert not is_hub_id("../x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert local_folder("owner/name") == Path("owner/name")  # what is there goes before what might be fetched


# -- good folders -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_stock_folder_gets_the_published_constants(model_type: str, tiny_folder: Callable[[str], Path]) -> None:
    opened = open_checkpoint(tiny_folder(model_type), "mine")
    assert opened.model_type == model_type
    assert opened.info.source == "mine"
    assert opened.info.preprocessing == OMNI_EVALUATION
    assert opened.info.protocol_version == opened.protocol.version == "omni-v1-own-wording-1"
    assert opened.info.context_tokens == 4096  # as the configuration says
    assert opened.info.max_new_tokens == 2048
    assert not opened.info.first_look_calibrated
    assert (Modality.VIDEO in opened.info.modalities) == (model_type != "llama")
    assert opened.info.id == fingerprint(opened.path)


def test_a_guard_file_says_what_holds_for_its_checkpoint(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("qwen3_vl")
    preprocessing = Preprocessing("mine", 1.0, 4, 10, 20, 30, 40)
    guard_file(
        id="guard-7", protocol="own.toml", context_tokens=512, max_new_tokens=100, window_tokens=50,
        first_look_trained=True, thresholds={"review": 0.2, "block": 0.8},
        calibration={"text": {"first_look": {"temperature": 2.0, "bias": 0.5}}},
        preprocessing={field: getattr(preprocessing, field) for field in preprocessing.__slots__},
    )(folder)  # fmt: skip
    written("own.toml", 'name = "own"\nversion = "own-1"\nsystem = "Judge."')(folder)
    opened = open_checkpoint(folder, "x")
    assert (opened.info.id, opened.protocol.version, opened.window_tokens) == ("guard-7", "own-1", 50)
    assert (opened.info.context_tokens, opened.info.max_new_tokens) == (512, 100)
    assert opened.info.preprocessing == preprocessing
    assert opened.info.thresholds == Thresholds(0.2, 0.8)
    assert opened.calibrations == Calibrations(text=Looks(first_look=Calibration(2.0, 0.5)))
    assert opened.info.first_look_calibrated


def test_a_fingerprint_changes_with_the_weights_and_not_with_the_readme(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("llama")
    before = fingerprint(folder)
    (folder / "README.md").write_text("x")
    assert fingerprint(folder) == before
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    assert fingerprint(folder) != before


def test_sharded_weights_load(copy_of: Callable[[str], Path]) -> None:
    from safetensors import safe_open

    from core.engines.transformers_engine import TransformersEngine

    folder = copy_of("llama")
    with safe_open(folder / "model.safetensors", "pt") as weights:
        names = list(weights.keys())
    sharded(dict.fromkeys(names, "model-00001-of-00002.safetensors"))(folder)
    assert TransformersEngine(open_checkpoint(folder, "x"), device="cpu").info.parameters
