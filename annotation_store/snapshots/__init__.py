"""Freezing selections as folders that stand alone. Reading and verifying them needs no database.

read, verify    core.snapshot and core.snapshot_check, which the training jobs use as well
values          what freezing tells (without sqlalchemy)
freezing        freeze: a selection as a folder
folders         writing a folder: rows, media, manifest last
listing         snapshots: those that were frozen
removal         remove_deleted: deleted samples out of the folders
"""

from core.snapshot import Snapshot, SnapshotItem, Split, read
from core.snapshot_check import verify

__all__ = ["Snapshot", "SnapshotItem", "Split", "read", "verify"]
