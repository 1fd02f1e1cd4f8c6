"""The tables, one module a subject. Importing this package registers all of them with `Base.metadata`."""

from annotation_store.models.base import NAMES, Base
from annotation_store.models.duplicates import (
    GroupMemberRow,
    GroupRow,
    ImageBandRow,
    ImageHashRow,
    TextBandRow,
    TextSignatureRow,
)
from annotation_store.models.events import EventRow, PaceCountRow
from annotation_store.models.imports import ImportBatchRow, ImportedSampleRow, RefusedRow
from annotation_store.models.labels import EvidenceRow, LabelReasoningRow, LabelRow, SettledLabelRow
from annotation_store.models.mining import MinedSampleRow, MiningRunRow
from annotation_store.models.queue import (
    ClaimRow,
    PassRow,
    QueueCountRow,
    QueueItemRow,
    QueueReasonRow,
    ReasonWeightRow,
)
from annotation_store.models.removal import PendingRemovalRow, TombstoneRow
from annotation_store.models.samples import MediaRow, SampleMediaRow, SampleRow, SampleWordsRow
from annotation_store.models.snapshots import SnapshotMemberRow, SnapshotRow
from annotation_store.models.verdicts import ReportRow, VerdictRow

__all__ = [
    "NAMES",
    "Base",
    "ClaimRow",
    "EventRow",
    "EvidenceRow",
    "GroupMemberRow",
    "GroupRow",
    "ImageBandRow",
    "ImageHashRow",
    "ImportBatchRow",
    "ImportedSampleRow",
    "LabelReasoningRow",
    "LabelRow",
    "MediaRow",
    "MinedSampleRow",
    "MiningRunRow",
    "PaceCountRow",
    "PassRow",
    "PendingRemovalRow",
    "QueueCountRow",
    "QueueItemRow",
    "QueueReasonRow",
    "ReasonWeightRow",
    "RefusedRow",
    "ReportRow",
    "SampleMediaRow",
    "SampleRow",
    "SampleWordsRow",
    "SettledLabelRow",
    "SnapshotMemberRow",
    "SnapshotRow",
    "TextBandRow",
    "TextSignatureRow",
    "TombstoneRow",
    "VerdictRow",
]
