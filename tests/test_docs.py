"""The README says what is: its settings table, its commands, its files."""

from __future__ import annotations

import re
from pathlib import Path

from core.checkpoints.folder import BUILTIN_FOLDER
from core.settings import Settings

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def settings_table() -> str:
    """The table that the README must hold; `python -m tests.test_docs` prints it."""
    rows = ["| variable | default | what |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "the platform's data folder" if name == "data" else field.default
        shown = "" if default is None else str(default)
        rows.append(f"| `GUARDROOM_{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows)


def test_the_settings_table_names_every_setting_with_its_default_and_description() -> None:
    assert settings_table() in README


def test_every_module_that_the_readme_runs_exists() -> None:
    modules = set(re.findall(r"python -m ([\w.]+)", README))
    assert modules
    for module in modules - {"venv"}:
        path = REPOSITORY / Path(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_every_file_that_the_readme_links_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    for link in links:
        assert (REPOSITORY / link).exists(), link


def test_every_top_level_folder_is_in_the_annotated_tree() -> None:
    tree = README.split("## How it is made")[1].split("```")[1]
    for path in REPOSITORY.iterdir():
        if path.is_dir() and not path.name.startswith(".") and (path / "__init__.py").exists():
            assert f"{path.name}/" in tree, path.name


def test_the_space_front_matter_names_the_installed_gradio() -> None:
    from importlib.metadata import version

    named = re.search(r"^sdk_version: (\d+)\.(\d+)", README, re.MULTILINE)
    assert named is not None
    assert named.groups() == tuple(version("gradio").split(".")[:2])


if __name__ == "__main__":
    print(settings_table())


def test_no_file_of_the_built_in_guard_is_larger_than_a_hugging_face_space_takes() -> None:
    sizes = {path.name: path.stat().st_size for path in BUILTIN_FOLDER.iterdir()}
    assert sum(sizes.values()) < 40_000_000
    assert {name: size for name, size in sizes.items() if size >= 10_000_000} == {}
