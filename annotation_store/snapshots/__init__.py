"""Freezing selections as folders that stand alone. Reading and verifying them needs no database.

read, verify    core.snapshots.folder and core.snapshots.check, which the training jobs use as well
values          what freezing tells (without sqlalchemy)
freezing        freeze: a selection as a folder
folders         writing a folder: rows, media, manifest last
listing         snapshots: those that were frozen
removal         remove_deleted: deleted samples out of the folders
"""

from core.snapshots.check import verify
from core.snapshots.folder import Snapshot, SnapshotItem, Split, read

__all__ = ["Snapshot", "SnapshotItem", "Split", "read", "verify"]
