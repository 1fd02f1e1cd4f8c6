"""What goes into and comes out of human review: frozen values without sqlalchemy, so pages may import them freely."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from annotation_store.values.reasons import Reason, ReasonKind
from annotation_store.values.reports import Report
from core.snapshots.folder import Split
from core.types import Assessment, Label, Modality, Sample, Verdict


class EventKind(StrEnum):
    """What a reviewer did."""

    DECIDE = "decide"
    SKIP = "skip"
    SECOND_OPINION = "second_opinion"
    UNDO = "undo"
    REOPEN = "reopen"


class EvidencePart(StrEnum):
    """Where evidence lies."""

    REQUEST = "request"
    RESPONSE = "response"
    MEDIA = "media"


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """What a reviewer wants to see; none, and empty words, mean everything."""

    kind: ReasonKind | None = None
    modality: Modality | None = None
    checkpoint_id: str | None = None
    words: str = ""
    """All of these words, and phrases in double quotes, must occur in the sample, its reasoning or its notes."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A stretch of the sample that shows why."""

    part: EvidencePart
    start: float
    """Characters of a text, seconds of a video."""
    end: float
    words: str = ""
    """The marked words of a text; what the reviewer writes about the stretch of a video."""
    step: int | None = None
    """The step of the label's reasoning that it belongs to, from 1."""
    position: int = 0
    """Which of the sample's media, from 0; 0 for texts."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The reasoning of a label: the training target, and what it was made from."""

    steps: tuple[str, ...]
    original: tuple[str, ...] | None = None
    """The model's own steps; none when there were none."""
    first_wrong_step: int | None = None
    """In `original`, from 1; none when no step was marked wrong."""
    target: str | None = None
    """The target as text, of an imported row that holds it word for word."""
    protocol_version: str | None = None
    """The protocol that `target` is written in."""


@dataclass(frozen=True, slots=True)
class LabelDraft:
    """What a reviewer, or a row of a file, says about a sample."""

    request: Label
    response: Label = Label.ABSENT
    categories: tuple[str, ...] = ()
    """Hazard category ids; empty means not stated."""
    confidence: float | None = None
    """In [0, 1]."""
    note: str = ""
    reasoning: Reasoning | None = None
    """None: nothing is said about the reasoning."""
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """A stored label."""

    id: str
    sample_id: str
    draft: LabelDraft
    """What was said."""
    reviewer: str | None
    """None for an imported label."""
    source: str | None
    """The data set of an imported label, else none."""
    created_at: str
    supersedes: str | None
    """Id of the label that it corrects."""
    superseded_by: str | None
    undone_at: str | None
    """When it was taken back."""
    verdict_id: str | None
    """The verdict that the reviewer saw."""
    policy_version: str | None
    audited: bool
    settled: bool
    """Whether it is the label of its sample that counts now."""

    @property
    def assessment(self) -> Assessment:
        """What a training target is rendered from."""
        said = self.draft
        steps = said.reasoning.steps if said.reasoning else ()
        return Assessment(said.request, said.response, said.categories, steps)


@dataclass(frozen=True, slots=True)
class Item:
    """A queue item as the reviewer sees it."""

    sample_id: str
    sample: Sample
    verdict: Verdict | None
    """The latest; none for a sample that no checkpoint has judged."""
    reasons: tuple[Reason, ...]
    """The weightiest first."""
    stage: str
    """first, second_opinion or reopened."""
    labels: tuple[LabelRecord, ...]
    """Labels that stand already, for an item that was opened again. Empty for a second opinion, which is to be
    independent of the first one."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An item that one reviewer holds."""

    token: str
    """Hands the item in; nobody else knows it."""
    reviewer: str
    expires_at: str
    """UTC, ISO 8601; the heartbeat moves it."""
    item: Item


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One thing that a reviewer did."""

    id: str
    kind: EventKind
    sample_id: str
    reviewer: str
    note: str
    """Why, in the reviewer's words."""
    created_at: str
    label_id: str | None
    undoes: str | None
    """Id of the event that this one takes back."""
    undone: bool
    """Whether another event takes this one back."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A decision that is stored."""

    event: EventRecord
    label: LabelRecord
    warnings: tuple[str, ...]
    """Sentences, such as that the reasoning's conclusion is unclear."""


@dataclass(frozen=True, slots=True)
class SentOn:
    """An item that goes to another reviewer."""

    event: EventRecord
    warnings: tuple[str, ...]
    """As in `Submitted`, about the label that went with it."""


@dataclass(frozen=True, slots=True)
class Undone:
    """An action that was taken back."""

    event: EventRecord
    claim: Claim | None
    """The item, back in the reviewer's hands; none when another reviewer holds it meanwhile."""


@dataclass(frozen=True, slots=True)
class Recent:
    """A line of the list of recent decisions."""

    event: EventRecord
    request: str
    """The beginning of the sample's request."""
    modality: Modality
    label: LabelRecord | None


@dataclass(frozen=True, slots=True)
class Left:
    """How many items are open, those that somebody holds included."""

    total: int
    by_kind: dict[str, int]
    """An item with two reasons counts under both."""
    by_modality: dict[str, int]
    by_checkpoint: dict[str, int]


@dataclass(frozen=True, slots=True)
class Pace:
    """What was done since a moment (undone things do not count)."""

    decided: int
    skipped: int
    sent_on: int
    """For a second opinion."""


@dataclass(frozen=True, slots=True)
class Found:
    """A sample that a search found."""

    sample_id: str
    modality: Modality
    excerpt: str
    """The place of the words; each found word stands between the characters U+0002 and U+0003."""
    label: Label | None
    """The settled request label."""


@dataclass(frozen=True, slots=True)
class FoundPage:
    """One page of a search, newest samples first."""

    found: tuple[Found, ...]
    more: int | None
    """What to give as `after` for the next page; none when this was the last."""


@dataclass(frozen=True, slots=True)
class SnapshotRef:
    """A snapshot that holds a sample."""

    digest: str
    name: str
    folder: str
    split: str
    created_at: str


@dataclass(frozen=True, slots=True)
class ImportRef:
    """An import that brought a sample."""

    batch_id: str
    source: str
    file_name: str
    row: int
    external_id: str | None
    started_at: str


@dataclass(frozen=True, slots=True)
class Trail:
    """Everything that the store knows of one sample, each list in order of time."""

    sample_id: str
    sample: Sample
    created_at: str
    state: str | None
    """open or decided; none for a sample that was never in the queue."""
    reasons: tuple[Reason, ...]
    verdicts: tuple[Verdict, ...]
    reports: tuple[Report, ...]
    labels: tuple[LabelRecord, ...]
    events: tuple[EventRecord, ...]
    snapshots: tuple[SnapshotRef, ...]
    imports: tuple[ImportRef, ...]
    split: str | None
    """That of its near-duplicate group."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is left of a deleted sample."""

    sample_id: str
    reason: str
    deleted_by: str
    deleted_at: str
    media: tuple[str, ...]
    """Digests of the files that went with it."""
    snapshots: tuple[str, ...]
    """Digests of the snapshots that held it."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often the settled human label agrees with the verdict that the reviewer saw."""

    decided: int
    agreed: int

    @property
    def share(self) -> float | None:
        """In [0, 1]; none when nothing was decided."""
        return self.agreed / self.decided if self.decided else None


@dataclass(frozen=True, slots=True)
class AuditFigures:
    """Agreement over the random audit share, which is unbiased, apart from that over all other items."""

    audit: Agreement
    others: Agreement


@dataclass(frozen=True, slots=True)
class Exported:
    """A selected sample, with the label that counts."""

    sample_id: str
    """`Sample.id`, kept so that it need not be computed again."""
    sample: Sample
    label: LabelRecord | None
    split: Split | None
