"""Laws of who may import what, read off the source of every module, and what a start of the app really loads.

`app` uses `annotation_store` and `train_jobs`; those two use `core` and never each other; nothing points back.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAY_USE = {
    "core": set[str](),
    "annotation_store": {"core"},
    "train_jobs": {"core"},
    "app": {"annotation_store", "train_jobs", "core"},
}
"""The packages, and which others each may import."""

ONLY_IN = {"gradio": "app", "sqlalchemy": "annotation_store", "alembic": "annotation_store", "trl": "train_jobs"}

HEAVY = {"torch", "transformers", "tokenizers", "safetensors", "peft", "accelerate", "trl", "datasets"}
HEAVY |= {"av", "decord", "pandas", "pyarrow", "sklearn"}
"""Imported inside the function that needs them."""

HEAVY_AT_THE_TOP = frozenset({"core.engines.transformers_engine", "core.engines.reading"})
"""The exceptions: modules made of torch through and through, which are themselves imported inside a function."""

NOT_AT_START = HEAVY - {"pandas", "pyarrow", "safetensors"} | {"sqlalchemy", "alembic"}
"""What no start of the app has loaded when its page answers (gradio brings the left-out ones by itself)."""


@dataclass(frozen=True, slots=True)
class Imports:
    """What one module imports: dotted names, those that may be modules or names inside one included."""

    everywhere: frozenset[str]
    when_loaded: frozenset[str]
    """Without those inside functions and those for the type checker alone."""


def imports_of(source: str, module: str, is_package: bool = False) -> Imports:
    """Read a module's imports; relative ones are resolved against its name."""
    tree = ast.parse(source)
    base = module if is_package else module.rpartition(".")[0]
    everywhere = {name for node in ast.walk(tree) for name in _names(node, base)}
    return Imports(frozenset(everywhere), frozenset(_when_loaded(tree, base)))


def _when_loaded(node: ast.AST, base: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _names(other, base)
                yield from _when_loaded(other, base)
            continue
        yield from _names(child, base)
        yield from _when_loaded(child, base)


def _names(node: ast.AST, base: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parts = base.split(".")
        start = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
        origin = ".".join(filter(None, (start, node.module)))
        yield origin
        yield from (f"{origin}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
        yield from (
            each.value for each in node.args[:1] if isinstance(each, ast.Constant) and isinstance(each.value, str)
        )


def read_modules() -> dict[str, Imports]:
    """Every module of the four packages by its dotted name."""
    found = {}
    for package in MAY_USE:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            found[name] = imports_of(path.read_text(encoding="utf-8"), name, is_package)
    return found


MODULES = read_modules()


def tops(names: frozenset[str]) -> set[str]:
    """The top-level package of each name."""
    return {name.partition(".")[0] for name in names}


def loaded_with(names: frozenset[str]) -> set[str]:
    """Our modules that importing these names loads, and the modules that those load in turn."""
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        parts = waiting.pop().split(".")
        for size in range(1, len(parts) + 1):
            name = ".".join(parts[:size])
            if name in MODULES and name not in seen:
                seen.add(name)
                waiting.extend(MODULES[name].when_loaded)
    return seen


def test_imports_are_read_as_python_would_run_them() -> None:
    source = (
        "import a.b\n"
        "from .c import d\n"
        "if TYPE_CHECKING:\n    import typed\n"
        "try:\n    import tried\nexcept ImportError:\n    from .. import above\n"
        "class Some:\n    import inside\n"
        "def later():\n    import late\n    importlib.import_module('by.name')\n"
    )
    found = imports_of(source, "top.middle.module")
    loaded = {"a.b", "top.middle.c", "top.middle.c.d", "tried", "top", "top.above", "inside"}
    assert found.when_loaded == loaded
    assert found.everywhere == loaded | {"typed", "late", "by.name"}
    assert "top.middle.c" in imports_of("from .c import d", "top.middle", is_package=True).everywhere


def test_every_package_was_read() -> None:
    assert tops(frozenset(MODULES)) == set(MAY_USE)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_the_arrows_go_one_way(module: str) -> None:
    package = module.partition(".")[0]
    used = tops(MODULES[module].everywhere)
    wrong = used & (MAY_USE.keys() | {"tests"}) - MAY_USE[package] - {package}
    assert not wrong, f"{module} imports {sorted(wrong)}; {package} may import {sorted(MAY_USE[package])}"
    strange = {name for name in used & ONLY_IN.keys() if ONLY_IN[name] != package}
    assert not strange, f"{module} imports {sorted(strange)}, which only {[ONLY_IN[each] for each in strange]} may"


def circle(depth: int | None) -> list[str]:
    """Modules that import each other in a circle; with a depth, their packages (`a.b` of `a.b.c` at depth 2)."""
    uses: dict[str, set[str]] = {}
    for module, imports in MODULES.items():
        place = ".".join(module.split(".")[:depth])
        found = {".".join(name.split(".")[:depth]) for name in imports.everywhere if name in MODULES}
        above = {place.rpartition(".")[0], place.partition(".")[0]}  # `from a.b import c` names the package a.b as well
        uses.setdefault(place, set()).update(found - above - {place})
    try:
        TopologicalSorter(uses).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("depth", [None, 2, 3])
def test_nothing_imports_in_a_circle(depth: int | None) -> None:
    assert circle(depth) == []


@pytest.mark.parametrize("module", sorted(MODULES.keys() - HEAVY_AT_THE_TOP))
def test_heavy_libraries_are_imported_where_they_are_needed(module: str) -> None:
    heavy = tops(MODULES[module].when_loaded) & HEAVY
    assert not heavy, (
        f"{module} imports {sorted(heavy)} when it is loaded; import them inside the function that needs them"
    )


@pytest.mark.parametrize("module", sorted(HEAVY_AT_THE_TOP))
def test_the_exceptions_are_needed(module: str) -> None:
    assert tops(MODULES[module].when_loaded) & HEAVY


def test_the_start_up_path_reaches_nothing_heavy() -> None:
    # All that app.main imports counts, also inside its functions: it is the wiring, and runs as a whole at start.
    reached = loaded_with(MODULES["app.main"].everywhere) | {"app.main"}
    assert "app.ui" in reached
    heavy = {module: found for module in reached if (found := tops(MODULES[module].when_loaded) & NOT_AT_START)}
    assert heavy == {}


START = """
import sys
import gradio

launch = gradio.Blocks.launch

def launch_and_look(page, **options):
    launch(page, **options)
    loaded = sorted({name.partition(".")[0] for name in sys.modules})
    page.close(verbose=False)
    print(*loaded)
    raise SystemExit(0)

gradio.Blocks.launch = launch_and_look
from app.main import main
main()
"""


def test_the_page_answers_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    environment = os.environ | {
        "GUARDROOM_DATA": str(tmp_path),
        "GUARDROOM_PORT": "0",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", START], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"app", "core", "gradio"} <= loaded
    assert loaded & NOT_AT_START == set()
