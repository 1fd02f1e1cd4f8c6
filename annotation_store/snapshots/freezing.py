"""Freezing a selection: compare, split, write, copy, and only then know it as a snapshot."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, update

from annotation_store.columns import now_text, to_json
from annotation_store.database import explained
from annotation_store.duplicates.grouping import assign_splits
from annotation_store.duplicates.passing import mark_duplicates
from annotation_store.models import SampleRow, SnapshotMemberRow, SnapshotRow
from annotation_store.outgoing.rows import STATED
from annotation_store.reading.selecting import Selection, count_selected, read_selected, selected
from annotation_store.snapshots.folders import RowFiles, copy_media, write_manifest
from annotation_store.snapshots.listing import snapshot
from annotation_store.snapshots.values import FreezeProgress, SnapshotInfo
from annotation_store.store import AnnotationStore
from annotation_store.values.review import Exported
from core.errors import Cancelled, StoreError
from core.files import sync_folder
from core.media.store import MediaStore
from core.policy import load_policy
from core.snapshots.check import verify
from core.snapshots.folder import Manifest, Origin, SnapshotItem, Split, content_digest

MAX_NAME_CHARS = 100
_BUILDING = ".freezing-"
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
"""Two lone surrogates that JSON would join into one character: the row would no longer be the sample."""

Telling = Callable[[FreezeProgress], None]


def freeze(
    store: AnnotationStore,
    media: MediaStore,
    root: Path,
    selection: Selection,
    *,
    name: str,
    created_by: str,
    protocol_version: str,
    progress: Telling | None = None,
    stop: threading.Event | None = None,
) -> SnapshotInfo:
    """Freeze all labelled samples that pass a filter as a folder that stands alone.

    Samples that were not compared yet are compared first; groups without a split get theirs now, for ever. Left out,
    and counted in the manifest, are samples without a label, and those that are withheld because they lie between
    groups of different splits. The same content under the same protocol gives the same digest, and freezing it again
    gives the snapshot that is there.

    Args:
        root: the folder of snapshots; the snapshot's folder is named by its digest.
        protocol_version: the protocol that trains and serves with it.

    Raises:
        StoreError: nothing labelled is selected, a sample was deleted meanwhile, the name is empty or too long, or
            the disk or the database failed. No snapshot is there then.
        MediaError: a medium is missing or damaged.
        Cancelled: it was stopped.
    """
    name = " ".join(name.split())
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise StoreError(f"The snapshot's name has {len(name)} characters; 1 to {MAX_NAME_CHARS} are accepted.")
    tell = progress or (lambda _: None)
    mark_duplicates(
        store, media, stop=stop, progress=lambda state: tell(FreezeProgress("comparing", state.done, state.total))
    )
    _heed(stop)
    with explained("Freezing the snapshot"):
        root.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=root))
    try:
        with explained("Freezing the snapshot"):
            manifest, members = _build(store, media, part, selection, name, created_by, protocol_version, tell, stop)
            folder = _put_in_place(part, root, manifest)
        _register(store, manifest, folder.name, members)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return snapshot(store, root, manifest.digest)


Members = list[tuple[str, str, str]]
"""Sample id, label id and split."""


def _build(
    store: AnnotationStore,
    media: MediaStore,
    part: Path,
    selection: Selection,
    name: str,
    created_by: str,
    protocol_version: str,
    tell: Telling,
    stop: threading.Event | None,
) -> tuple[Manifest, Members]:
    members: Members = []
    left_out: Counter[str] = Counter()
    with store.writing("Giving splits to near-duplicate groups") as connection:
        for keys in selected(connection, selection):
            _heed(stop)
            assign_splits(connection, _whole_labels(connection, keys), now_text())
    with ExitStack() as files:
        rows = RowFiles(part, files)
        # One transaction: the snapshot is what the store held at one moment.
        with store.reading("Freezing the snapshot") as connection:
            total = count_selected(connection, selection)
            for keys in selected(connection, selection):
                _heed(stop)
                for item in read_selected(connection, keys):
                    reason = _why_not(item)
                    if reason is not None or item.label is None or item.split is None:
                        left_out[reason or "not labelled"] += 1
                        continue
                    rows.write(item.split, _as_item(item))
                    members.append((item.sample_id, item.label.id, item.split.value))
                tell(FreezeProgress("writing", len(members) + sum(left_out.values()), total))
        entries = rows.close()
    if not members:
        raise StoreError("No labelled sample passes this filter, so there is nothing to freeze; widen the filter.")

    def copying(done: int) -> None:
        _heed(stop)
        tell(FreezeProgress("copying media", done, len(rows.media)))

    entries += copy_media(part, list(rows.media), media, copying)
    digest = content_digest(protocol_version, tuple(entries))
    manifest = Manifest(
        digest=digest,
        original_digest=digest,
        name=name,
        created_by=created_by,
        created_at=now_text(),
        protocol_version=protocol_version,
        policy_version=load_policy().version,
        selection=selection.to_json(),
        counts=rows.counts,
        left_out=dict(left_out),
        files=tuple(entries),
    )
    write_manifest(part, manifest)
    return manifest, members


def _whole_labels(connection: Connection, keys: list[int]) -> list[int]:
    """Those that a snapshot can take: only they need a split now."""
    items = dict(zip(keys, read_selected(connection, keys), strict=False))
    return [key for key, item in items.items() if _stated(item)]


def _stated(item: Exported) -> bool:
    said = item.label
    return said is not None and (said.draft.request in STATED or said.draft.response in STATED)


def _why_not(item: Exported) -> str | None:
    if not _stated(item):
        return "not labelled"
    if item.split is None:
        return "not compared yet"
    if _PAIR.search(item.sample.request + (item.sample.response or "")):
        return "text that JSON cannot hold"
    return "withheld between splits" if item.split is Split.WITHHELD else None


def _as_item(item: Exported) -> SnapshotItem:
    record = item.label
    if record is None:
        raise StoreError("A sample without a label cannot be frozen.")
    said = record.draft
    reasoning = said.reasoning
    evidence = tuple(
        {"part": each.part.value, "position": each.position, "start": each.start, "end": each.end,
         "words": each.words, "step": each.step}
        for each in said.evidence
    )  # fmt: skip
    origin = Origin(
        label_id=record.id,
        reviewer=record.reviewer,
        source=record.source,
        created_at=record.created_at,
        confidence=said.confidence,
        note=said.note,
        target=reasoning.target if reasoning else None,
        target_protocol=reasoning.protocol_version if reasoning else None,
        original_reasoning=reasoning.original if reasoning else None,
        first_wrong_step=reasoning.first_wrong_step if reasoning else None,
        evidence=evidence,
    )
    return SnapshotItem(item.sample, record.assessment, origin)


def _put_in_place(part: Path, root: Path, manifest: Manifest) -> Path:
    """Move the finished folder to its name. The same content may be there already."""
    folder = root / manifest.digest
    if folder.exists():
        if not verify(folder):
            return folder
        # What is there was damaged; this is the same content, whole.
        shutil.rmtree(folder)
    sync_folder(part)
    os.replace(part, folder)
    sync_folder(root)
    return folder


def _register(store: AnnotationStore, manifest: Manifest, folder: str, members: Members) -> None:
    """Know the snapshot in the store. Until here it is only a folder, which the same freezing would find again."""
    with store.writing("Keeping the snapshot") as connection:
        known = connection.scalar(select(SnapshotRow.key).where(SnapshotRow.digest == manifest.digest))
        if known is None:
            row = {
                "digest": manifest.digest,
                "name": manifest.name,
                "folder": folder,
                "selection": to_json(dict(manifest.selection)),
                "protocol_version": manifest.protocol_version,
                "counts": to_json(dict(manifest.counts) | {"left_out": dict(manifest.left_out)}),
                "created_by": manifest.created_by,
                "created_at": manifest.created_at,
            }
            connection.execute(insert(SnapshotRow), [row | {"broken_at": None}])
            known = connection.scalar(select(SnapshotRow.key).where(SnapshotRow.digest == manifest.digest))
        else:
            # Deleted samples cannot come back, so the same content means that none of it was deleted.
            connection.execute(update(SnapshotRow).where(SnapshotRow.key == known).values(broken_at=None))
            connection.execute(delete(SnapshotMemberRow).where(SnapshotMemberRow.snapshot_key == known))
        connection.execute(
            insert(SnapshotMemberRow),
            [
                {"snapshot_key": known, "sample_id": sample_id, "label_id": label_id, "split": split}
                for sample_id, label_id, split in members
            ],
        )
        there = connection.execute(
            select(SnapshotMemberRow.sample_id)
            .outerjoin(SampleRow, SampleRow.id == SnapshotMemberRow.sample_id)
            .where(SnapshotMemberRow.snapshot_key == known, SampleRow.key.is_(None))
            .limit(1)
        ).one_or_none()
        if there is not None:
            raise StoreError("A selected sample was deleted while the snapshot was written; freeze it again.")


def _heed(stop: threading.Event | None) -> None:
    if stop and stop.is_set():
        raise Cancelled("Freezing was stopped before its end; no snapshot was kept.")
