"""What lies on each reviewer's desk: the item being decided and the one after it, loaded beforehand.

One desk for each open page. Everything that changes a desk holds its lock, so a quick second key press finds the desk
as the first one left it.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from annotation_store.values.review import (
    Claim,
    EventKind,
    EventRecord,
    LabelDraft,
    LabelRecord,
    QueueFilter,
    SentOn,
    Submitted,
    Undone,
)
from core.errors import GuardroomError, StaleClaim, StoreError
from core.policy import Policy

if TYPE_CHECKING:
    from annotation_store.duplicates.near import Neighbour
    from annotation_store.store import AnnotationStore

log = logging.getLogger(__name__)


def new_reviewer() -> str:
    """A name for a browser that has none yet; the browser keeps it, so a reload keeps the claims."""
    return f"reviewer-{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True, slots=True)
class Held:
    """An item on the desk, with what is like it."""

    claim: Claim
    near: tuple[Neighbour, ...] = ()


@dataclass(slots=True)
class Desk:
    """One page's items."""

    reviewer: str
    wanted: QueueFilter = field(default_factory=QueueFilter)
    now: Held | None = None
    after: Held | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    # -- taking ---------------------------------------------------------------------------------------------------

    def enter(self, store: AnnotationStore) -> None:
        """Go on with what the reviewer holds already (the page was reloaded), or take the next item."""
        from annotation_store.review.claims import held

        with self.lock:
            if self.now is None:
                mine = held(store, self.reviewer)
                if mine:
                    self.now = _seen(store, mine[0])
                    self.after = _seen(store, mine[1]) if len(mine) > 1 else None
            if self.now is None:
                self.advance(store)

    def advance(self, store: AnnotationStore) -> None:
        """The item after this one becomes this one; where there is none it is looked for now."""
        with self.lock:
            self.now, self.after = self.after, None
            if self.now is None:
                self.now = self._next(store)

    def preload(self, store: AnnotationStore) -> None:
        """Take the item after this one, so that the next submission finds it here."""
        with self.lock:
            if self.now is not None and self.after is None:
                self.after = self._next(store)

    def filter(self, store: AnnotationStore, wanted: QueueFilter) -> None:
        """Look for something else: what was held goes back to the queue."""
        with self.lock:
            self.give_back(store)
            self.wanted = wanted
            self.advance(store)

    def give_back(self, store: AnnotationStore) -> None:
        """Put everything back, without an event."""
        from annotation_store.review.claims import release

        with self.lock:
            for item in (self.now, self.after):
                if item is not None:
                    release(store, item.claim.token)
            self.now = self.after = None

    def take(self, store: AnnotationStore, claim: Claim) -> None:
        """Put a certain item on the desk; the one that lay there comes after it."""
        from annotation_store.review.claims import release

        with self.lock:
            if self.now is not None and self.now.claim.item.sample_id != claim.item.sample_id:
                if self.after is not None and self.after.claim.item.sample_id != claim.item.sample_id:
                    release(store, self.after.claim.token)
                self.after = self.now
            elif self.after is not None and self.after.claim.item.sample_id == claim.item.sample_id:
                self.after = None
            self.now = _seen(store, claim)

    def _next(self, store: AnnotationStore) -> Held | None:
        from annotation_store.review.claims import claim_next

        claim = claim_next(store, self.reviewer, self.wanted)
        return None if claim is None else _seen(store, claim)

    # -- keeping --------------------------------------------------------------------------------------------------

    def beat(self, store: AnnotationStore) -> None:
        """Keep what lies here for another while.

        Raises:
            StaleClaim: somebody else has the item by now; it is gone from the desk.
        """
        from annotation_store.review.claims import heartbeat

        with self.lock:
            if self.after is not None:
                try:
                    heartbeat(store, self.after.claim.token)
                except StaleClaim:
                    self.after = None
            if self.now is not None:
                try:
                    heartbeat(store, self.now.claim.token)
                except StaleClaim:
                    self.retake(store)

    def retake(self, store: AnnotationStore) -> None:
        """The time for the present item was over: take it again where nobody else has it.

        Raises:
            StaleClaim: it is another's or decided; the next item lies on the desk.
        """
        from annotation_store.review.claims import claim_sample

        with self.lock:
            if self.now is None:
                return
            try:
                self.now = Held(claim_sample(store, self.now.claim.item.sample_id, self.reviewer), self.now.near)
            except StoreError:
                self.advance(store)
                raise StaleClaim(
                    "Your time for the item was over and another reviewer has it, so nothing was stored; here is the "
                    "next one."
                ) from None

    # -- deciding -------------------------------------------------------------------------------------------------

    def submit(self, store: AnnotationStore, draft: LabelDraft, policy: Policy) -> Submitted:
        """Store the decision and go to the next item.

        Raises:
            StaleClaim, LabelRefused, StoreError: nothing was stored.
        """
        from annotation_store.review.decisions import submit

        with self.lock:
            done = submit(
                store,
                self._token(),
                draft,
                categories=[each.id for each in policy.categories],
                policy_version=policy.version,
            )
            self.advance(store)
            return done

    def skip(self, store: AnnotationStore, why: str) -> EventRecord:
        """Leave the item to others and go to the next.

        Raises:
            StaleClaim, StoreError: nothing was stored.
        """
        from annotation_store.review.decisions import skip

        with self.lock:
            done = skip(store, self._token(), why)
            self.advance(store)
            return done

    def second_opinion(self, store: AnnotationStore, why: str, draft: LabelDraft | None, policy: Policy) -> SentOn:
        """Ask another reviewer, with one's own label where there is one, and go to the next.

        Raises:
            StaleClaim, LabelRefused, StoreError: nothing was stored.
        """
        from annotation_store.review.decisions import second_opinion

        with self.lock:
            done = second_opinion(
                store,
                self._token(),
                why,
                draft,
                categories=[each.id for each in policy.categories],
                policy_version=policy.version,
            )
            self.advance(store)
            return done

    def undo(self, store: AnnotationStore, event_id: str | None = None) -> tuple[Undone, LabelRecord | None]:
        """Take back the last action; its item lies on the desk again. The label that was taken back comes with it.

        Raises:
            StoreError: there is nothing to take back.
        """
        from annotation_store.review.decisions import recent, undo

        with self.lock:
            labels = {each.event.id: each.label for each in recent(store, self.reviewer)}
            undone = undo(store, self.reviewer, event_id)
            if undone.claim is not None:
                self.take(store, undone.claim)
            return undone, labels.get(undone.event.undoes or "")

    def reopen(self, store: AnnotationStore, sample_id: str | None = None) -> None:
        """Put a decided sample on the desk again.

        Args:
            sample_id: which; the reviewer's latest decision that stands and does not lie here by default.

        Raises:
            StoreError: another reviewer holds it, it is not there, or nothing was decided yet.
        """
        from annotation_store.review.decisions import recent, reopen

        with self.lock:
            if sample_id is None:
                here = self.now.claim.item.sample_id if self.now else None
                decided = [
                    each.event.sample_id
                    for each in recent(store, self.reviewer)
                    if each.event.kind is EventKind.DECIDE and not each.event.undone and each.event.sample_id != here
                ]
                if not decided:
                    raise StoreError("There is no decision of yours to open again.")
                sample_id = decided[0]
            self.take(store, reopen(store, sample_id, self.reviewer))

    def _token(self) -> str:
        if self.now is None:
            raise StoreError("There is no item on the desk; the queue is empty.")
        return self.now.claim.token


class Desks:
    """The desks of all open pages. Safe for many threads."""

    def __init__(self) -> None:
        self._desks: dict[str, Desk] = {}
        self._lock = threading.Lock()

    @contextmanager
    def of(self, page: str) -> Iterator[Desk | None]:
        """The page's desk with its lock held; none for a page that has not begun to review."""
        with self._lock:
            desk = self._desks.get(page)
        if desk is None:
            yield None
            return
        with desk.lock:
            yield desk

    def begin(self, page: str, reviewer: str) -> None:
        """Give a page a desk, unless it has one."""
        with self._lock:
            if page not in self._desks:
                self._desks[page] = Desk(reviewer)

    def leave(self, page: str, store: AnnotationStore) -> None:
        """The page was closed: what was loaded beforehand goes back; the item itself stays for a reload."""
        from annotation_store.review.claims import release

        with self._lock:
            desk = self._desks.pop(page, None)
        if desk is None:
            return
        with desk.lock:
            if desk.after is not None:
                release(store, desk.after.claim.token)


def _seen(store: AnnotationStore, claim: Claim) -> Held:
    """With the labelled samples that are nearly the same; what cannot be looked up is left out."""
    from annotation_store.duplicates.near import neighbours

    try:
        return Held(claim, neighbours(store, claim.item.sample_id, limit=4))
    except GuardroomError:
        log.exception("Near-duplicates could not be looked up")
        return Held(claim)
