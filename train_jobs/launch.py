"""Launch a training from the shell and follow it: what the page's form does, as one command.

    python -m train_jobs.launch --snapshot FOLDER --recipe sft-builtin --name "first reviews" --set epochs=4

The run lies under the data root and shows up in the app; Ctrl-C cancels it, which saves a checkpoint first.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import GuardroomError, JobError
from core.settings import load_settings
from train_jobs.launching.launcher import Launcher
from train_jobs.recipes.files import find_recipe, resolve
from train_jobs.runs.specs import JobSpec, JobState

EVERY_S = 0.5


def read_changes(said: Sequence[str]) -> dict[str, Any]:
    """`key=value` with a JSON value, or a plain word, as a mapping.

    Raises:
        JobError: one of them has no equals sign.
    """
    changes: dict[str, Any] = {}
    for each in said:
        key, sign, value = each.partition("=")
        if not sign:
            raise JobError(f"--set {each!r} has no value; write it as key=value, for example epochs=4.")
        try:
            changes[key.strip()] = json.loads(value)
        except ValueError:
            changes[key.strip()] = value.strip()
    return changes


def read_spec(arguments: Sequence[str] | None, data: Path) -> JobSpec:
    """The job that a command line describes.

    Raises:
        JobError: the recipe is not known, or a value cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m train_jobs.launch", description=__doc__.partition("\n")[0])
    parser.add_argument("--snapshot", required=True, help="folder of a snapshot")
    parser.add_argument("--base", default="builtin", help="builtin, a checkpoint folder, or a Hub id")
    parser.add_argument("--recipe", default="sft-builtin", help="a recipe of assets/recipes or the data root")
    parser.add_argument("--name", default="from the shell", help="what people call the run")
    parser.add_argument("--device", default="cpu", help="cpu, mps, cuda or cuda:N")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a recipe value to change")
    parser.add_argument("--teacher-url", help="a chat server that writes missing reasoning, else the base does")
    parser.add_argument("--teacher-model", help="its model; the first one unless given")
    parser.add_argument("--accelerate", metavar="FILE", help="an accelerate configuration: several processes")
    given = parser.parse_args(arguments)
    recipe = find_recipe(given.recipe, data)
    options: dict[str, Any] = {}
    if given.teacher_url:
        options["teacher"] = {"url": given.teacher_url, "model": given.teacher_model}
    if given.accelerate:
        options["accelerate"] = str(Path(given.accelerate).expanduser().absolute())
    return JobSpec(
        recipe.kind,
        given.name,
        settings=resolve(recipe, read_changes(given.set)),
        recipe=recipe.name,
        base=given.base,
        snapshot=str(Path(given.snapshot).expanduser().absolute()),
        options=options,
        device=given.device,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Launch, follow, and return 0 when the run succeeded."""
    try:
        settings = load_settings()
        spec = read_spec(arguments, settings.data)
        key = settings.engine_key.get_secret_value() if settings.engine_key else ""
        launcher = Launcher(settings.data / "runs", secrets=lambda: {"engine_key": key} if key else {})
        run_id = launcher.launch(spec)
    except GuardroomError as error:
        print(error, file=sys.stderr)
        return 1
    run = launcher.find(run_id)
    print(f"Run {run_id}, log at {run.log_path}", flush=True)
    told = ""
    try:
        while not run.status().state.is_over:
            launcher.reconcile()
            progress = run.status().progress
            words = (
                f"{progress.words} {progress.done:g} of {progress.total:g}" if progress else run.status().state.value
            )
            if words != told:
                print(words, flush=True)
                told = words
            time.sleep(EVERY_S)
    except KeyboardInterrupt:
        launcher.cancel(run_id, "the shell")
        print(f"Cancelling; a checkpoint is saved first. Watch {run.log_path}.", flush=True)
        return 130
    status = run.status()
    print(f"{status.state}. {status.sentence}".strip(), flush=True)
    return 0 if status.state is JobState.SUCCEEDED else 1


if __name__ == "__main__":
    sys.exit(main())
