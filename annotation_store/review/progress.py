"""What is left and how fast it goes: read off counters that every change keeps up, never counted."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import case, func, select

from annotation_store.columns import utc_text
from annotation_store.models import LabelRow, PaceCountRow, QueueCountRow, SettledLabelRow, VerdictRow
from annotation_store.rows.events import quarter_of
from annotation_store.store import AnnotationStore
from annotation_store.values.review import Agreement, AuditFigures, EventKind, Left, Pace, QueueFilter


def left(store: AnnotationStore, wanted: QueueFilter | None = None) -> Left:
    """How many open items there are, by kind of reason, modality and checkpoint.

    Args:
        wanted: only items like this; its words are not looked at, because no counter knows them.

    Raises:
        StoreError: the database failed.
    """
    wanted = wanted or QueueFilter()
    with store.reading("Counting what is left") as connection:
        rows = connection.execute(
            select(
                QueueCountRow.kind, QueueCountRow.modality, QueueCountRow.checkpoint_id, QueueCountRow.open_items
            ).where(QueueCountRow.open_items > 0)
        ).all()
    kind = wanted.kind.value if wanted.kind else ""
    checkpoint = wanted.checkpoint_id
    by_kind: dict[str, int] = {}
    by_modality: dict[str, int] = {}
    by_checkpoint: dict[str, int] = {}
    for row in rows:
        if wanted.modality is not None and row.modality != wanted.modality.value:
            continue
        if row.kind and checkpoint in (None, row.checkpoint_id):
            by_kind[row.kind] = by_kind.get(row.kind, 0) + row.open_items
        if row.kind == kind and row.checkpoint_id:
            by_checkpoint[row.checkpoint_id] = by_checkpoint.get(row.checkpoint_id, 0) + row.open_items
        # Of items of any kind and any checkpoint there is one counter; of one kind there is one a checkpoint.
        meant = checkpoint in (None, row.checkpoint_id) if kind else row.checkpoint_id == (checkpoint or "")
        if row.kind == kind and meant:
            by_modality[row.modality] = by_modality.get(row.modality, 0) + row.open_items
    return Left(sum(by_modality.values()), by_kind, by_modality, by_checkpoint)


def pace(store: AnnotationStore, since: datetime, reviewer: str | None = None) -> Pace:
    """What was done since a moment, by one reviewer or by all.

    Args:
        since: with a time zone; it is taken back to the beginning of its quarter of an hour. Midnight of any time
            zone is such a beginning.

    Raises:
        StoreError: the database failed.
    """
    question = select(PaceCountRow.kind, func.sum(PaceCountRow.events)).group_by(PaceCountRow.kind)
    question = question.where(
        PaceCountRow.kind.in_([EventKind.DECIDE.value, EventKind.SKIP.value, EventKind.SECOND_OPINION.value]),
        PaceCountRow.quarter >= quarter_of(utc_text(since)),
    )
    if reviewer is not None:
        question = question.where(PaceCountRow.reviewer == reviewer)
    with store.reading("Reading the pace") as connection:
        done = {row[0]: int(row[1]) for row in connection.execute(question)}
    return Pace(
        done.get(EventKind.DECIDE.value, 0),
        done.get(EventKind.SKIP.value, 0),
        done.get(EventKind.SECOND_OPINION.value, 0),
    )


def audit_figures(store: AnnotationStore) -> AuditFigures:
    """How often people agree with the verdicts, over the random audit share and over all other items apart.

    Only labels of people that count now and that were given with a verdict in view; a label agrees when it differs
    from the verdict on neither side that is labelled.

    Raises:
        StoreError: the database failed.
    """
    differs = ((LabelRow.request_label != "unlabelled") & (LabelRow.request_label != VerdictRow.request_label)) | (
        (LabelRow.response_label != "unlabelled") & (LabelRow.response_label != VerdictRow.response_label)
    )
    unread = VerdictRow.request_label.is_(None)
    question = (
        select(LabelRow.audited, func.count(), func.sum(case((differs | unread, 0), else_=1)))
        .join(SettledLabelRow, SettledLabelRow.label_key == LabelRow.key)
        .join(VerdictRow, VerdictRow.key == LabelRow.verdict_key)
        .where(LabelRow.reviewer.is_not(None))
        .group_by(LabelRow.audited)
    )
    with store.reading("Comparing labels with verdicts") as connection:
        found = {bool(row[0]): Agreement(int(row[1]), int(row[2] or 0)) for row in connection.execute(question)}
    return AuditFigures(found.get(True, Agreement(0, 0)), found.get(False, Agreement(0, 0)))
