"""Makes a protocol file from the first row of a checkpoint's training data.

    python -m core.protocol_from_data DATA_FILE --name NAME --out FILE.toml

The data is in the ShareGPT form of the GuardReasoner data sets (`messages`: a system, a user and an assistant turn),
as .json, .jsonl or .parquet. The checkpoint is then prompted with the very words that it was trained with.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import ProtocolError
from core.prompt.protocol import dump_protocol, protocol_from_sharegpt

FIRST_READ = 1 << 20
"""Characters of a JSON file that are tried first; a data set of gigabytes is not read for its first row."""


def first_row(path: Path) -> Mapping[str, Any]:
    """The first row of a data set.

    Raises:
        ProtocolError: the file is missing, empty, of another kind, or damaged.
    """
    try:
        if path.suffix.lower() == ".parquet":
            row = _first_of_parquet(path)
        elif path.suffix.lower() in (".json", ".jsonl"):
            row = _first_of_json(path)
        else:
            raise ProtocolError(f"{path} is no data set that is known; .json, .jsonl and .parquet are.")
    except FileNotFoundError:
        raise ProtocolError(f"There is no data file {path}.") from None
    except (OSError, ValueError, RecursionError) as error:  # ValueError: of json, of the decoding, and of pyarrow
        raise ProtocolError(f"{path} cannot be read ({' '.join(str(error).split())[:200]}).") from None
    if row is None:
        raise ProtocolError(f"{path} holds no rows.")
    if not isinstance(row, Mapping):
        raise ProtocolError(f"The first row of {path} is a {type(row).__name__}; an object with messages is expected.")
    return row


def _first_of_json(path: Path) -> Any:
    """The first value of a list, or of a file of one value a line."""
    decoder = json.JSONDecoder()
    with path.open(encoding="utf-8-sig") as file:
        text = ""
        while True:
            more = file.read(max(FIRST_READ, len(text)))
            text += more
            start = text.lstrip().removeprefix("[").lstrip()
            if not more and start in ("", "]"):
                return None
            try:
                return decoder.raw_decode(start)[0]
            except json.JSONDecodeError:
                if not more:
                    raise


def _first_of_parquet(path: Path) -> Any:
    parquet: Any = importlib.import_module("pyarrow.parquet")
    with path.open("rb") as file:
        for batch in parquet.ParquetFile(file).iter_batches(batch_size=1):
            if rows := batch.to_pylist():
                return rows[0]
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m core.protocol_from_data",
        description="Make a protocol file from the first row of a checkpoint's training data.",
    )
    parser.add_argument("data", type=Path, metavar="DATA_FILE", help="ShareGPT rows as .json, .jsonl or .parquet")
    parser.add_argument("--name", required=True, help="the protocol's name; its version is made of it")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.toml", help="the file to write")
    given = parser.parse_args(arguments)
    try:
        protocol = protocol_from_sharegpt(first_row(given.data), given.name)
        with given.out.open("x", encoding="utf-8", newline="\n") as file:
            file.write(dump_protocol(protocol))
    except ProtocolError as error:
        print(error, file=sys.stderr)
    except FileExistsError:
        print(f"{given.out} is there already; name a new file.", file=sys.stderr)
    except OSError as error:
        print(f"{given.out} cannot be written ({error.strerror}).", file=sys.stderr)
    else:
        print(f"{given.out} holds the protocol {protocol.version}.")
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
