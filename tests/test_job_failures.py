"""What libraries really raise when memory or disk run out is one sentence that helps."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import SnapshotError
from train_jobs.launching.failures import DISK_FULL, OUT_OF_MEMORY, SILENT, of_death, of_error


def error_of(work: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        work()
    return caught.value


def torch_error() -> Exception:
    import torch

    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def wrapped(inner: Exception) -> Exception:
    try:
        raise ValueError("the trainer failed") from inner
    except ValueError as error:
        return error


@pytest.mark.parametrize("how", ["torch on the CPU", "torch on a GPU", "numpy", "python", "wrapped"])
def test_memory_that_runs_out_is_said_as_that(how: str) -> None:
    import torch

    errors: dict[str, Callable[[], Exception]] = {
        "torch on the CPU": lambda: error_of(lambda: torch.empty(10**15)),
        "torch on a GPU": torch_error,
        "numpy": lambda: error_of(lambda: np.empty(10**14)),
        "python": lambda: error_of(lambda: bytearray(10**16)),
        "wrapped": lambda: wrapped(torch_error()),
    }
    assert of_error(errors[how](), "cuda:1") == OUT_OF_MEMORY.format(device="cuda:1")


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    # What the failed library left open does not matter to a lazy one.
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("library", ["python", "numpy", "torch", "safetensors"])
def test_a_full_disk_is_said_as_that(full: Path, library: str) -> None:
    import torch
    from safetensors.torch import save_file

    path, many = full / "weights", torch.ones(100_000)
    saving: dict[str, Callable[[], Any]] = {
        "python": lambda: path.write_bytes(bytes(400_000)),
        "numpy": lambda: np.save(path, many.numpy()),
        "torch": lambda: torch.save(many, path),
        "safetensors": lambda: save_file({"many": many}, path),
    }
    assert of_error(error_of(saving[library]), "cpu") == DISK_FULL


def test_what_guardroom_says_itself_is_left_as_it_is() -> None:
    assert of_error(SnapshotError("/data/x is no snapshot."), "cpu") == "/data/x is no snapshot."


def test_a_kernel_that_ends_processes_is_named_and_silence_too() -> None:
    assert "ran out of memory" in of_death(-9, ["step 3"], "cpu")
    assert of_death(None, ["step 3"], "cpu") == SILENT
    assert of_death(-11, [], "cpu") == "The process died of a crash (signal 11). The log's last lines tell where."
    assert of_death(1, ["Traceback", "ImportError: no torch", ""], "cpu") == (
        "The process ended with exit status 1: ImportError: no torch."
    )
    assert of_death(-6, ["terminate called after throwing an instance of 'std::bad_alloc'"], "cpu") == (
        OUT_OF_MEMORY.format(device="cpu")
    )
