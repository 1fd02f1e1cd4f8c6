"""Train the built-in guard by every recipe of reinforcement, whole and without each of its parts, and print one table.

    python -m tests.ablations --out FOLDER                     runs what is missing, then prints the table
    python -m tests.ablations --out FOLDER --most 1            one more cell, then the table
    python -m tests.ablations --out FOLDER --page              launches what is missing from the app's page
    python -m tests.ablations --out FOLDER --table             the table of what is there

Every cell is a file, so it can be stopped and started at any time. The table is also written to FOLDER as table.md and
table.json.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from core.errors import GuardroomError
from tests import launching
from tests.ablations import by_page
from tests.ablations.cells import Cells, Plan, in_order
from tests.ablations.table import markdown, summarise
from tests.ablations.variants import VARIANTS, find
from train_jobs.builtin.corpus import DEFAULT_DATA


def main(arguments: Sequence[str] | None = None) -> int:
    """Run cells and print the table; 1 where a cell failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.ablations", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the cells")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default 0 1 2")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", default=[each.name for each in VARIANTS])
    parser.add_argument("--most", type=int, help="run so many cells at most")
    parser.add_argument("--page", action="store_true", help="launch from the Train tab instead of directly")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of the training files")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that a job at work is ended too
    chosen = [find(name) for name in given.only]
    cells = Cells(given.out, Plan(data=str(given.data)), by_page.carry_out if given.page else launching.carry_out)
    failed = False
    for name, seed in list(in_order(cells.missing(chosen, given.seeds)))[: 0 if given.table else given.most]:
        began = time.monotonic()
        try:
            cells.run(find(name), seed)
        except GuardroomError as error:
            print(f"{name}, seed {seed}: {error}", file=sys.stderr, flush=True)
            failed = True
        else:
            print(f"{name}, seed {seed}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    write_table(cells, given.out, given.seeds)
    return int(failed)


def write_table(cells: Cells, out: Path, seeds: Sequence[int]) -> None:
    """Print it, and keep it beside the cells."""
    done = cells.done(VARIANTS, seeds)
    by_variant = [[cell for cell in done if cell.variant == variant.name] for variant in VARIANTS]
    lines = [summarise(some) for some in by_variant if some]
    text = markdown(lines, cells.missing(VARIANTS, seeds))
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(f"{text}\n", encoding="utf-8")
    told = {"key": cells.folder.name, "lines": [line.to_json() for line in lines]}
    (out / "table.json").write_text(f"{json.dumps(told, indent=1)}\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    sys.exit(main())
