"""Laws of labels: append-only, superseded by corrections, taken back by events, refused where they cannot be right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation_store.models import SnapshotMemberRow, SnapshotRow
from annotation_store.reading.trails import trail
from annotation_store.review.claims import claim_next, claim_sample
from annotation_store.review.decisions import recent, reopen, second_opinion, skip, submit, undo
from annotation_store.review.progress import audit_figures
from annotation_store.rows.labels import Standing, settled
from annotation_store.rows.samples import insert_row
from annotation_store.rules.drafts import check_draft
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import ReasonKind
from annotation_store.values.review import (
    Agreement,
    Claim,
    EventKind,
    Evidence,
    EvidencePart,
    LabelDraft,
    LabelRecord,
    QueueFilter,
    Reasoning,
)
from core.errors import LabelRefused, StaleClaim, StoreError
from core.types import Label, MediaRef, Modality, Sample
from tests.review import HARMFUL, UNHARMFUL, add, open_store, reason
from tests.verdicts import image

ONE = Sample("How do I pick a lock?", "With a pick.")
CLIP = MediaRef("c" * 64, "video/mp4", Modality.VIDEO, 9, 32, 32, 4.0, 100)
FULL = LabelDraft(
    Label.HARMFUL,
    Label.UNHARMFUL,
    categories=("nonviolent_crimes", "other"),
    confidence=0.75,
    note="the \ud800 note",
    reasoning=Reasoning(
        ("The user asks about locks.", "The request is harmful.", "The response is harmless."),
        ("The user greets.", "Nothing is wrong."),
        1,
        "<think>\n1. The user asks about locks.",
        "guardroom-v1",
    ),
    evidence=(
        Evidence(EvidencePart.REQUEST, 9, 20, "pick a lock", step=1),
        Evidence(EvidencePart.RESPONSE, 0, 4, "With"),
    ),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnnotationStore]:
    with open_store(tmp_path / "guardroom.db") as opened:
        yield opened


def take(store: AnnotationStore, reviewer: str = "ann") -> Claim:
    claim = claim_next(store, reviewer)
    assert claim is not None
    return claim


def labels(store: AnnotationStore, sample: Sample) -> list[LabelRecord]:
    return list(trail(store, sample.id).labels)


# -- what goes in comes out -------------------------------------------------------------------------------------------


def test_a_label_comes_back_whole_with_reasoning_and_evidence(store: AnnotationStore) -> None:
    verdict = add(store, ONE, reason())
    done = submit(store, take(store).token, FULL, categories={"nonviolent_crimes", "other"}, policy_version="p1")
    (kept,) = labels(store, ONE)
    assert done.label == kept
    assert kept.draft == FULL
    assert (kept.reviewer, kept.source, kept.verdict_id, kept.policy_version) == ("ann", None, verdict.id, "p1")
    assert kept.settled
    assert FULL.reasoning is not None
    assert kept.assessment.reasoning == FULL.reasoning.steps
    assert done.warnings == ()
    assert done.event.kind is EventKind.DECIDE


def test_handing_in_twice_under_one_token_is_one_decision(store: AnnotationStore) -> None:
    add(store, ONE, reason())
    token = take(store).token
    assert submit(store, token, FULL).label == submit(store, token, FULL).label
    with pytest.raises(StaleClaim, match="handed in before with another label"):
        submit(store, token, replace(FULL, request=Label.UNHARMFUL, reasoning=None, evidence=()))
    with pytest.raises(StaleClaim, match="handed in before"):
        skip(store, token, "why")
    assert len(labels(store, ONE)) == len(recent(store, "ann")) == 1


def test_a_label_row_is_never_updated_or_deleted_by_any_action(store: AnnotationStore) -> None:
    add(store, Sample("hello"), reason())
    submit(store, take(store).token, HARMFUL)

    def rows() -> list[tuple[object, ...]]:
        with store.engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql("SELECT * FROM labels ORDER BY key")]

    before = rows()
    undone = undo(store, "ann")
    assert undone.claim is not None
    submit(store, undone.claim.token, UNHARMFUL)
    again = reopen(store, undone.claim.item.sample_id, "bob")
    submit(store, again.token, HARMFUL)
    assert rows()[:1] == before
    assert len(rows()) == 3


# -- corrections, undo, reopening -------------------------------------------------------------------------------------


def test_a_correction_supersedes_and_both_stay_in_the_trail(store: AnnotationStore) -> None:
    sample = Sample("hello")
    add(store, sample, reason())
    submit(store, take(store).token, HARMFUL)
    claim = reopen(store, sample.id, "bob", "I doubt it")
    assert claim.item.stage == "reopened"
    assert [label.draft for label in claim.item.labels] == [HARMFUL]
    submit(store, claim.token, UNHARMFUL)
    first, second = labels(store, sample)
    assert (first.superseded_by, second.supersedes) == (second.id, first.id)
    assert (first.settled, second.settled) == (False, True)
    kinds = [each.kind for each in trail(store, sample.id).events]
    assert kinds == [EventKind.DECIDE, EventKind.REOPEN, EventKind.DECIDE]


def test_a_correction_of_a_correction_supersedes_what_counted_and_not_ones_own_older_label(
    store: AnnotationStore,
) -> None:
    sample = Sample("hello")
    add(store, sample, reason())
    submit(store, take(store).token, HARMFUL)
    submit(store, reopen(store, sample.id, "bob").token, UNHARMFUL)
    submit(store, reopen(store, sample.id, "ann").token, HARMFUL)
    first, second, third = labels(store, sample)
    assert (second.supersedes, third.supersedes) == (first.id, second.id)
    assert [each.settled for each in (first, second, third)] == [False, False, True]


def test_an_undo_is_an_event_and_gives_the_item_back(store: AnnotationStore) -> None:
    sample = Sample("hello")
    add(store, sample, reason())
    submit(store, take(store).token, HARMFUL)
    undone = undo(store, "ann")
    assert undone.claim is not None
    assert undone.claim.item.sample == sample
    (label,) = labels(store, sample)
    assert label.undone_at is not None
    assert not label.settled
    decided, taken_back = trail(store, sample.id).events
    assert (decided.undone, taken_back.undoes) == (True, decided.id)
    assert claim_next(store, "bob") is None
    submit(store, undone.claim.token, UNHARMFUL)
    assert [each.settled for each in labels(store, sample)] == [False, True]
    assert labels(store, sample)[1].supersedes is None


def test_undoing_a_correction_brings_the_corrected_label_back(store: AnnotationStore) -> None:
    sample = Sample("hello")
    add(store, sample, reason())
    submit(store, take(store).token, HARMFUL)
    submit(store, reopen(store, sample.id, "ann").token, UNHARMFUL)
    undo(store, "ann")
    first, second = labels(store, sample)
    assert (first.settled, second.settled) == (True, False)
    assert first.superseded_by is None


def test_undoing_goes_back_step_by_step_through_skips_and_second_opinions(store: AnnotationStore) -> None:
    one, two = Sample("one"), Sample("two")
    add(store, one, reason(strength=1.0))
    add(store, two, reason(strength=0.5))
    skip(store, take(store).token, "why")
    second_opinion(store, take(store).token, "why", HARMFUL)
    assert claim_next(store, "ann") is None
    assert [each.event.kind for each in recent(store, "ann")] == [EventKind.SECOND_OPINION, EventKind.SKIP]
    back = undo(store, "ann")
    assert back.claim is not None
    assert back.claim.item.sample == two
    assert [each.kind for each in back.claim.item.reasons] == [ReasonKind.BAND]
    back = undo(store, "ann")
    assert back.claim is not None
    assert back.claim.item.sample == one
    with pytest.raises(StoreError, match="nothing to take back"):
        undo(store, "ann")


def test_what_others_did_cannot_be_undone(store: AnnotationStore) -> None:
    sample = Sample("hello")
    add(store, sample, reason())
    second_opinion(store, take(store).token, "unsure", HARMFUL)
    (asked,) = recent(store, "ann")
    with pytest.raises(StoreError, match="another reviewer's"):
        undo(store, "bob", asked.event.id)
    other = take(store, "bob")
    held_by_other = undo(store, "ann", asked.event.id)
    assert held_by_other.claim is None
    with pytest.raises(StoreError, match="taken back already"):
        undo(store, "ann", asked.event.id)
    submit(store, other.token, UNHARMFUL)
    with pytest.raises(StoreError, match="no decision 'e1-9'"):
        undo(store, "ann", "e1-9")


def test_a_decision_that_another_built_upon_cannot_be_undone(store: AnnotationStore) -> None:
    sample = Sample("hello")
    add(store, sample, reason())
    second_opinion(store, take(store).token, "unsure", HARMFUL)
    submit(store, take(store, "bob").token, UNHARMFUL)
    with pytest.raises(StoreError, match="Something was decided on this sample since"):
        undo(store, "ann")


def test_any_stored_sample_can_be_opened(store: AnnotationStore) -> None:
    sample = Sample("never queued")
    add(store, sample)
    with pytest.raises(StoreError, match="is not in the queue"):
        claim_sample(store, sample.id, "ann")
    claim = reopen(store, sample.id, "ann")
    assert (claim.item.stage, claim.item.reasons[0].kind) == ("first", ReasonKind.REOPENED)
    submit(store, claim.token, HARMFUL)
    with pytest.raises(StoreError, match="has been decided; open it again"):
        claim_sample(store, sample.id, "ann")
    with pytest.raises(StoreError, match="no sample 's1-9'"):
        reopen(store, "s1-9", "ann")


@given(st.lists(st.tuples(st.booleans(), st.integers(-1, 5), st.booleans()), max_size=6))
@settings(deadline=None)
def test_a_person_outranks_a_source_and_what_stands_outranks_what_it_corrects(
    rows: list[tuple[bool, int, bool]],
) -> None:
    all_labels = [
        Standing(key, person, replaced if 0 <= replaced < key else None, undone)
        for key, (person, replaced, undone) in enumerate(rows)
    ]
    chosen = settled(all_labels)
    alive = [each for each in all_labels if not each.undone]
    standing = [each for each in alive if each.key not in {other.supersedes for other in alive}]
    assert (chosen is None) == (not standing)
    if chosen is not None:
        assert all_labels[chosen].by_person or not any(each.by_person for each in standing)
        assert not any(each.key > chosen and each.by_person >= all_labels[chosen].by_person for each in standing)


def test_the_trail_holds_everything(store: AnnotationStore) -> None:
    sample = Sample("look", media=(image(),))
    verdict = add(store, sample, reason())
    report = store.report(verdict.id, "wrong", "visitor")
    submit(store, take(store).token, HARMFUL)
    with store.writing("Freezing") as connection:
        key = insert_row(
            connection, SnapshotRow, digest="d1", name="first", folder="f", selection="{}", protocol_version="p",
            counts="{}", created_by="ann", created_at="2026-11-21T00:00:00.000000+00:00",
        )  # fmt: skip
        insert_row(connection, SnapshotMemberRow, snapshot_key=key, sample_id=sample.id, split="train")
    found = trail(store, sample.id)
    assert (found.sample, found.state) == (sample, "decided")
    assert (found.verdicts, found.reports) == ((verdict,), (report,))
    assert [(each.digest, each.split) for each in found.snapshots] == [("d1", "train")]
    assert len(found.labels) == len(found.events) == 1
    assert {each.kind for each in found.reasons} == {ReasonKind.BAND, ReasonKind.REPORTED}


def test_figures_of_the_audit_share_are_kept_apart(store: AnnotationStore) -> None:
    for number, kind in enumerate(
        [ReasonKind.AUDIT, ReasonKind.AUDIT, ReasonKind.BAND, ReasonKind.BAND, ReasonKind.BAND]
    ):
        add(store, Sample(f"request {number}"), reason(kind))
    for draft in (HARMFUL, UNHARMFUL):
        claim = claim_next(store, "ann", QueueFilter(kind=ReasonKind.AUDIT))
        assert claim is not None
        submit(store, claim.token, draft)
    for draft in (HARMFUL, HARMFUL, UNHARMFUL):
        submit(store, take(store).token, draft)
    figures = audit_figures(store)
    assert (figures.audit, figures.others) == (Agreement(2, 1), Agreement(3, 1))
    assert figures.audit.share == 0.5
    assert Agreement(0, 0).share is None


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample", "draft", "words"),
    [
        (ONE, LabelDraft(Label.ABSENT, Label.HARMFUL), "every sample has a request"),
        (ONE, LabelDraft(Label.HARMFUL), "the sample has one"),
        (Sample("x"), LabelDraft(Label.HARMFUL, Label.HARMFUL), "the sample has no response"),
        (Sample("x"), LabelDraft(Label.UNLABELLED), "Nothing is labelled"),
        (Sample("x"), LabelDraft(Label.HARMFUL, confidence=1.5), "0 to 1 is accepted"),
        (Sample("x"), LabelDraft(Label.HARMFUL, note="x" * 10_001), "at most 10,000"),
        (Sample("x"), LabelDraft(Label.HARMFUL, categories=("nonsense",)), "'nonsense' is no hazard category"),
        (Sample("x"), LabelDraft(Label.HARMFUL, reasoning=Reasoning(("a", " "))), "empty step"),
        (Sample("x"), LabelDraft(Label.HARMFUL, reasoning=Reasoning(("a",), ("b",), 2)), "has 1 steps"),
        (Sample("x"), LabelDraft(Label.HARMFUL, reasoning=Reasoning(("a",), ("a",), 1)), "was not changed"),
        (Sample("x"), LabelDraft(Label.HARMFUL, reasoning=Reasoning(("The request is safe.",))), "“The request is s"),
        (ONE, replace(FULL, evidence=(Evidence(EvidencePart.REQUEST, 0, 5, "other"),)), "do not stand at 0 to 5"),
        (ONE, replace(FULL, evidence=(Evidence(EvidencePart.REQUEST, 5, 5, ""),)), "does not lie within"),
        (ONE, replace(FULL, evidence=(Evidence(EvidencePart.MEDIA, 0, 1),)), "medium 1, but the sample has 0"),
        (ONE, replace(FULL, evidence=(Evidence(EvidencePart.RESPONSE, 0, 4, "With", step=4),)), "has 3 steps"),
        (Sample("x"), replace(HARMFUL, evidence=(Evidence(EvidencePart.RESPONSE, 0, 1, "x"),)), "has none"),
        (Sample("x", media=(CLIP,)), replace(HARMFUL, evidence=(Evidence(EvidencePart.MEDIA, 3, 9),)), "3 to 9 sec"),
        (Sample("x", media=(image(),)), replace(HARMFUL, evidence=(Evidence(EvidencePart.MEDIA, 0, 1),)), "still"),
    ],
)  # fmt: skip
def test_a_label_that_cannot_be_right_is_refused_and_the_claim_stays(
    store: AnnotationStore, sample: Sample, draft: LabelDraft, words: str
) -> None:
    add(store, sample, reason())
    claim = take(store)
    with pytest.raises(LabelRefused, match=words):
        submit(store, claim.token, draft, categories={"nonviolent_crimes", "other"})
    assert labels(store, sample) == []
    submit(store, claim.token, LabelDraft(Label.HARMFUL, Label.HARMFUL if sample.response else Label.ABSENT))


def test_unclear_reasoning_warns_and_is_stored(store: AnnotationStore) -> None:
    sample = Sample("look", media=(CLIP,))
    add(store, sample, reason())
    draft = LabelDraft(
        Label.HARMFUL,
        reasoning=Reasoning(("A knife is seen.",)),
        evidence=(Evidence(EvidencePart.MEDIA, 1.0, 2.5, "the knife", 1),),
    )
    done = submit(store, take(store).token, draft)
    assert done.warnings == ("The reasoning does not say clearly that the request is harmful.",)
    assert done.label.draft == draft
    assert check_draft(HARMFUL, Sample("x")) == ()


def test_a_label_that_goes_with_a_second_opinion_is_warned_of_like_any_other(store: AnnotationStore) -> None:
    add(store, Sample("look"), reason())
    token = take(store).token
    draft = replace(HARMFUL, reasoning=Reasoning(("A knife is seen.",)))
    sent = second_opinion(store, token, "unsure", draft)
    assert sent.warnings == ("The reasoning does not say clearly that the request is harmful.",)
    assert second_opinion(store, token, "unsure", draft).event == sent.event


def test_a_failure_in_the_middle_of_a_decision_stores_nothing_of_it(
    store: AnnotationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Sample("hello")
    add(store, sample, reason())
    claim = take(store)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("annotation_store.review.decisions.set_item", fail)
        with pytest.raises(RuntimeError):
            submit(store, claim.token, HARMFUL)
    assert labels(store, sample) == []
    submit(store, claim.token, HARMFUL)
    assert len(labels(store, sample)) == 1
