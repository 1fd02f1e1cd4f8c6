"""Finding every changed, missing or added byte of a snapshot."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from core.errors import SnapshotError
from core.snapshots.folder import MANIFEST, read_manifest


def verify(folder: Path) -> list[str]:
    """What is wrong with a snapshot, one sentence each; empty when every byte is as it was frozen.

    A removal that was recorded in the manifest is nothing wrong: the digest is then that of what is left.
    """
    try:
        manifest = read_manifest(folder)
    except SnapshotError as error:
        return [str(error)]
    found = []
    for each in manifest.files:
        path = folder / each.path
        try:
            # A link could be changed behind the snapshot's back: it would not stand alone.
            if not stat.S_ISREG(path.lstat().st_mode):
                found.append(f"{each.path} is not an ordinary file.")
                continue
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            found.append(f"{each.path} is missing.")
        except OSError as error:
            found.append(f"{each.path} cannot be read ({error.strerror}).")
        else:
            if digest != each.sha256:
                found.append(f"{each.path} has changed.")
    listed = {each.path for each in manifest.files} | {MANIFEST}
    for parent, folders, files in os.walk(folder):
        for name in [*files, *(each for each in folders if (Path(parent) / each).is_symlink())]:
            relative = (Path(parent) / name).relative_to(folder).as_posix()
            if relative not in listed:
                found.append(f"{relative} does not belong to the snapshot.")
    return found
