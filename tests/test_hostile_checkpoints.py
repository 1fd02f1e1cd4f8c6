"""Hostile checkpoints load nothing: each is refused in a sentence, and nothing of it runs, hangs or fills the memory.

What is broken or careless is in `test_checkpoint`; here are those that somebody made on purpose. Each goes all the way
through `core.serving.loading.load_guard`, as a source that a person has named.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import CheckpointError
from core.media.store import MediaStore
from core.serving.loading import load_guard
from core.settings import Settings

MARK = "guardroom_was_here"
EVIL = f"import sys\nsys.modules['{MARK}'] = sys\n"
SECRET = "only-for-the-owner"

Harm = Callable[[Path], None]


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (EVIL,))


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def secret_beside(folder: Path, content: str = SECRET) -> Path:
    path = folder.parent / "secret"
    path.write_text(content)
    return path


# -- what runs code -----------------------------------------------------------------------------------------------


def pickle_for_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))


def pickle_that_is_called_safe(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb()))


def torch_archive_that_is_called_safe(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
        archive.writestr("archive/version", "3")


def pickle_named_by_the_index(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "weights.dat").write_bytes(pickle.dumps(Bomb()))
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": "weights.dat"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def remote_code(folder: Path) -> None:
    (folder / "modeling_evil.py").write_text(EVIL)
    changed(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"})


def remote_code_of_another_repository(folder: Path) -> None:
    changed(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["owner/evil--tokenization.Evil", None]})


def kernel_from_the_hub(folder: Path) -> None:
    changed(folder / "config.json", attn_implementation="owner/evil-kernel")


def kernel_in_a_part(folder: Path) -> None:
    changed(folder / "config.json", text_config={"_attn_implementation": "owner/evil@main:evil"})


def quantised(folder: Path) -> None:
    changed(folder / "config.json", quantization_config={"quant_method": "evil", "modules": ["os.system"]})


def template_that_reaches_for_python(folder: Path) -> None:
    escape = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    (folder / "chat_template.jinja").write_text(escape)


def adapter_on_another_base(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "/tmp/evil"}')


# -- what reaches out of the folder -------------------------------------------------------------------------------


def path_in_the_index(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder.parent / "elsewhere.safetensors")
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": "../elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def weights_by_a_link(folder: Path) -> None:
    shutil.move(folder / "model.safetensors", folder.parent / "elsewhere.safetensors")
    (folder / "model.safetensors").symlink_to(folder.parent / "elsewhere.safetensors")


def tokenizer_by_a_relative_link(folder: Path) -> None:
    shutil.move(folder / "tokenizer.json", folder.parent / "elsewhere.json")
    (folder / "tokenizer.json").symlink_to("../elsewhere.json")


def protocol_by_a_link(folder: Path) -> None:
    (folder / "protocol.toml").symlink_to(secret_beside(folder, f'name = "x"\nversion = "1"\nsystem = "{SECRET}"'))


def template_by_a_link(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    (folder / "chat_template.jinja").symlink_to(secret_beside(folder))


def folder_by_a_link(folder: Path) -> None:
    (folder.parent / "templates").mkdir()
    (folder / "additional_chat_templates").symlink_to(folder.parent / "templates", target_is_directory=True)


def link_to_nothing(folder: Path) -> None:
    (folder / "special_tokens_map.json").symlink_to("/no/such/file")


def link_to_itself(folder: Path) -> None:
    (folder / "special_tokens_map.json").symlink_to(folder / "special_tokens_map.json")


def card_that_names_a_path(folder: Path) -> None:
    (folder / "guard.json").write_text(json.dumps({"format": 1, "protocol": "../secret"}))
    secret_beside(folder)


# -- what never ends, or takes everything -------------------------------------------------------------------------


def pipe_for_a_file(folder: Path) -> None:
    os.mkfifo(folder / "generation_config.json.part")
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "generation_config.json.part").rename(folder / "generation_config.json")


def pipe_for_weights(folder: Path) -> None:
    os.mkfifo(folder / "more.safetensors")  # the fingerprint reads both ends of every weights file


def device_for_a_file(folder: Path) -> None:
    (folder / "special_tokens_map.json").symlink_to("/dev/zero")


def endless_configuration(folder: Path) -> None:
    with (folder / "tokenizer_config.json").open("ab") as file:
        file.truncate(65 * 1024**2)


def huge_layers(folder: Path) -> None:
    changed(folder / "config.json", hidden_size=1_000_000, intermediate_size=10_000_000, num_attention_heads=1000)


def huge_vocabulary(folder: Path) -> None:
    changed(folder / "config.json", vocab_size=10**12)


def endless_layers(folder: Path) -> None:
    changed(folder / "config.json", num_hidden_layers=10**9)


def layers_that_are_no_number(folder: Path) -> None:
    changed(folder / "config.json", num_hidden_layers=[1] * 10)


def layers_below_nothing(folder: Path) -> None:
    changed(folder / "config.json", hidden_size=-(2**62))


def huge_vision_tower(folder: Path) -> None:
    changed(folder / "config.json", vision_config={"depth": 1000, "hidden_size": 10**5, "intermediate_size": 10**6})


def header_longer_than_the_file(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")


def header_that_overlaps(folder: Path) -> None:
    one = {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 8]}
    header = json.dumps(
        {"model.embed_tokens.weight": one, "model.norm.weight": one | {"data_offsets": [4, 12]}}
    ).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(12))


# -- what does not belong together --------------------------------------------------------------------------------


def missing_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


def another_architecture(folder: Path) -> None:
    changed(folder / "config.json", model_type="gpt2", architectures=["GPT2LMHeadModel"])


def an_architecture_that_its_weights_are_not(folder: Path) -> None:
    changed(folder / "config.json", model_type="qwen3_vl", architectures=["Qwen3VLForConditionalGeneration"])


def sharing_a_pickle(folder: Path) -> None:
    (folder / "optimizer.pt").write_bytes(pickle.dumps(Bomb()))


HOSTILE: dict[str, Harm] = {
    function.__name__.replace("_", " "): function
    for function in (
        pickle_for_weights, pickle_that_is_called_safe, torch_archive_that_is_called_safe, pickle_named_by_the_index,
        remote_code, remote_code_of_another_repository, kernel_from_the_hub, kernel_in_a_part, quantised,
        template_that_reaches_for_python, adapter_on_another_base, path_in_the_index, weights_by_a_link,
        tokenizer_by_a_relative_link, protocol_by_a_link, template_by_a_link, folder_by_a_link, link_to_nothing,
        link_to_itself, card_that_names_a_path, pipe_for_a_file, pipe_for_weights, device_for_a_file,
        endless_configuration, huge_layers, huge_vocabulary, endless_layers, layers_that_are_no_number,
        layers_below_nothing, huge_vision_tower, header_longer_than_the_file, header_that_overlaps, missing_shard,
        another_architecture, an_architecture_that_its_weights_are_not, sharing_a_pickle,
    )
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # the libraries complain as well, each in its own way
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_checkpoint_loads_nothing(
    case: str, tiny_folder: Callable[[str], Path], tmp_path: Path, store: MediaStore
) -> None:
    folder = Path(shutil.copytree(tiny_folder("llama"), tmp_path / "checkpoint"))
    HOSTILE[case](folder)
    said: list[BaseException | None] = []

    def load() -> None:
        try:
            load_guard(str(folder), Settings(device="cpu"), store, lambda share, words: None)
            said.append(None)
        except BaseException as error:
            said.append(error)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive(), "it hangs"
    assert isinstance(said[0], CheckpointError), said[0]
    assert "\n" not in str(said[0])
    assert len(str(said[0])) < 700
    assert SECRET not in str(said[0])
    assert MARK not in sys.modules


@pytest.mark.filterwarnings("ignore")
def test_the_good_checkpoint_that_they_were_made_from_loads(
    tiny_folder: Callable[[str], Path], store: MediaStore
) -> None:
    guard = load_guard(str(tiny_folder("llama")), Settings(device="cpu"), store, lambda share, words: None)
    assert guard.engine.info.parameters


def test_the_links_of_the_hubs_cache_are_let_pass(
    tiny_folder: Callable[[str], Path], tmp_path: Path, store: MediaStore
) -> None:
    blobs, revision = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    revision.mkdir(parents=True)
    for number, path in enumerate(sorted(tiny_folder("llama").iterdir())):
        shutil.copy(path, blobs / str(number))
        (revision / path.name).symlink_to(Path("../../blobs") / str(number))
    assert load_guard(str(revision), Settings(device="cpu"), store, lambda share, words: None).engine.info.parameters
