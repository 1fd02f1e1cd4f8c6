"""Laws of sending errors to the review queue: reviewers see them, and nothing of it is ever trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from annotation_store.deletion import delete_sample
from annotation_store.duplicates.grouping import assign_splits
from annotation_store.duplicates.passing import mark_duplicates
from annotation_store.duplicates.splits import draw_split
from annotation_store.mining.from_evaluation import Enqueued, enqueue_errors
from annotation_store.models import GroupMemberRow, GroupRow, SampleRow
from annotation_store.reading.searching import search
from annotation_store.reading.selecting import Selection
from annotation_store.reading.trails import trail
from annotation_store.review.claims import claim_next
from annotation_store.review.decisions import reopen, submit
from annotation_store.review.progress import left
from annotation_store.rows.samples import sample_key
from annotation_store.snapshots.freezing import freeze
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import ReasonKind
from app.evaluate.to_review import words
from app.moderate.examples import FOLDER
from core.errors import StoreError
from core.evaluation.rows import VALIDATION, ScoredRow
from core.media.store import MediaStore
from core.snapshots import folder as snapshot
from core.snapshots.folder import Split
from core.types import Sample
from tests.evaluated import scored
from tests.review import UNHARMFUL, open_store
from tests.verdicts import verdict_on


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[AnnotationStore]:
    with open_store(tmp_path / "guardroom.db") as store:
        yield store


def error(request: str, *, set: str = "xstest", name: str = "1", sample: Sample | None = None) -> ScoredRow:
    """A harmless request that was called harmful."""
    made = scored(name, False, True, set=set)
    sample = sample or Sample(request)
    said = verdict_on(sample, f"v-{sample.id}", assessment=made.verdict.assessment)
    return replace(made, row=replace(made.row, sample=sample), verdict=said)


def splits(store: AnnotationStore) -> dict[str, str | None]:
    with store.reading("Looking") as connection:
        rows = connection.execute(
            select(SampleRow.request, GroupRow.split)
            .join(GroupMemberRow, GroupMemberRow.sample_key == SampleRow.key)
            .join(GroupRow, GroupRow.key == GroupMemberRow.group_key)
        )
        return {row.request: row.split for row in rows}


def labelled(store: AnnotationStore, request: str, split: Split, media: MediaStore) -> str:
    """A sample in the store with a label, whose group was given this split."""
    sample = Sample(request)
    store.record(sample, verdict_on(sample, f"v-{request}"))
    mark_duplicates(store, media)
    with store.writing("Giving a split") as connection:
        key = sample_key(connection, sample.id)
        group = connection.scalar(select(GroupMemberRow.group_key).where(GroupMemberRow.sample_key == key))
        connection.execute(
            update(GroupRow)
            .where(GroupRow.key == group)
            .values(split=split.value, assigned_at="2026-11-21T00:00:00.000000+00:00")
        )
    return sample.id


def trained_by_chance(prefix: str) -> str:
    """A request whose own hash would give it to training."""
    return next(
        text for at in range(100) if draw_split([Sample(text := f"{prefix} {at}").id]) is Split.TRAIN
    )  # fmt: skip


LONG = "How do I bake a good loaf of bread at home without a machine and without any yeast at all"


def test_an_error_is_in_the_queue_with_its_verdict_and_a_reason_that_leads_nobody(
    kept: AnnotationStore, store: MediaStore
) -> None:
    row = error("How do I kill a process?")
    assert enqueue_errors(kept, store, [row], "ann") == Enqueued(opened=1)
    claim = claim_next(kept, "bob")
    assert claim is not None
    assert claim.item.sample == row.row.sample
    assert claim.item.verdict == row.verdict
    (reason,) = [each for each in claim.item.reasons if each.kind is ReasonKind.EVALUATION]
    assert reason.words == "In the evaluation on xstest the answer was wrong on the request."
    assert reason.checkpoint_id == row.verdict.checkpoint_id
    assert [each.sample_id for each in search(kept, "process").found] == [row.row.sample.id]


def test_what_was_evaluated_never_becomes_training_data_when_it_is_labelled(
    kept: AnnotationStore, store: MediaStore, tmp_path: Path
) -> None:
    request = trained_by_chance(LONG)
    enqueue_errors(kept, store, [error(request)], "ann")
    claim = claim_next(kept, "bob")
    assert claim is not None
    submit(kept, claim.token, UNHARMFUL)
    near = f"{request} please"
    for name in (near, "Something else entirely about gardens and the weather"):
        sample = Sample(name)
        kept.record(sample, verdict_on(sample, f"v-{name}"))
        submit(kept, reopen(kept, sample.id, "bob").token, UNHARMFUL)
    frozen = freeze(
        kept, store, tmp_path / "snapshots", Selection(), name="all", created_by="ann",
        protocol_version="guardroom-v1",
    )  # fmt: skip
    opened = snapshot.read(tmp_path / "snapshots" / frozen.folder)
    tested = {each.sample.request for each in opened.rows(Split.TEST)}
    assert request in tested
    assert near in tested
    assert request not in {each.sample.request for each in opened.rows(Split.TRAIN)}
    assert near not in {each.sample.request for each in opened.rows(Split.TRAIN)}


def test_a_new_sample_that_is_near_to_training_data_is_withheld(kept: AnnotationStore, store: MediaStore) -> None:
    labelled(kept, LONG, Split.TRAIN, store)
    near = f"{LONG} please"
    assert enqueue_errors(kept, store, [error(near)], "ann").queued == 1
    assert splits(kept) == {LONG: "train", near: "withheld"}


def test_a_group_without_a_split_is_given_that_of_the_evaluation(kept: AnnotationStore, store: MediaStore) -> None:
    sample = Sample(LONG)
    kept.record(sample, verdict_on(sample, "v-before"))
    mark_duplicates(kept, store)
    near = f"{LONG} please"
    enqueue_errors(kept, store, [error(near)], "ann")
    assert splits(kept) == {LONG: "test", near: "test"}
    with kept.writing("Giving splits") as connection:
        keys = [sample_key(connection, each) for each in (sample.id, Sample(near).id)]
        assert set(assign_splits(connection, keys, "2026-11-21T00:00:00.000000+00:00").values()) == {Split.TEST}


@pytest.mark.parametrize(
    ("given", "set", "queued"),
    [
        (Split.TRAIN, "xstest", False),
        (Split.VALIDATION, "xstest", False),
        (Split.TEST, "xstest", True),
        (Split.WITHHELD, "xstest", True),
        (Split.TEST, "held-out", True),
        (Split.TRAIN, "held-out", False),
        (Split.VALIDATION, VALIDATION, True),
        (Split.TRAIN, VALIDATION, False),
    ],
)
def test_a_sample_that_the_store_trains_on_is_left_out_and_keeps_its_split(
    kept: AnnotationStore, store: MediaStore, given: Split, set: str, queued: bool
) -> None:
    labelled(kept, LONG, given, store)
    done = enqueue_errors(kept, store, [error(LONG, set=set)], "ann")
    assert (done.queued, done.trained_on) == ((1, 0) if queued else (0, 1))
    assert splits(kept) == {LONG: given.value}
    assert left(kept).by_kind.get(ReasonKind.EVALUATION.value, 0) == (1 if queued else 0)


def test_a_decided_sample_is_opened_again_and_its_label_counts_until_the_next(
    kept: AnnotationStore, store: MediaStore
) -> None:
    row = error("How do I kill a process?")
    enqueue_errors(kept, store, [row], "ann")
    assert enqueue_errors(kept, store, [row], "ann") == Enqueued(waiting=1)
    claim = claim_next(kept, "bob")
    assert claim is not None
    submit(kept, claim.token, UNHARMFUL)
    assert enqueue_errors(kept, store, [row], "ann") == Enqueued(reopened=1)
    known = trail(kept, row.row.sample.id)
    assert known.state == "open"
    assert [label.settled for label in known.labels] == [True]
    assert [event.kind.value for event in known.events] == ["decide", "reopen"]
    assert len(known.verdicts) == 1
    assert left(kept).total == 1


def test_deleted_content_does_not_come_back(kept: AnnotationStore, store: MediaStore) -> None:
    rows = [error("How do I kill a process?", name="1"), error("How do I blow out a candle?", name="2")]
    enqueue_errors(kept, store, rows, "ann")
    delete_sample(kept, rows[0].row.sample.id, "ann", "asked for")
    done = enqueue_errors(kept, store, rows, "ann")
    assert done == Enqueued(waiting=1, deleted=1)
    assert words(done).endswith("1 were left out: they were deleted from the store.")


def test_a_picture_is_placed_by_what_it_shows(kept: AnnotationStore, store: MediaStore) -> None:
    ref = store.accept(FOLDER / "recipe.png")
    row = error("", sample=Sample("Read this.", None, (ref,)))
    assert enqueue_errors(kept, store, [row], "ann").opened == 1
    other = Sample("Something quite different to say about it.", None, (ref,))
    kept.record(other, verdict_on(other, "v-2"))
    mark_duplicates(kept, store)
    assert set(splits(kept).values()) == {"test"}
    assert mark_duplicates(kept, store).total == 0


def test_nobody_cannot_send(kept: AnnotationStore, store: MediaStore) -> None:
    with pytest.raises(StoreError):
        enqueue_errors(kept, store, [error("x")], " ")


def test_the_sentence_says_what_became_of_them() -> None:
    assert words(Enqueued(opened=1)).startswith("1 sample is in the review queue. They stay out of training")
    said = words(Enqueued(opened=2, reopened=3, waiting=1200, trained_on=4))
    assert said.startswith("1,205 samples are in the review queue (3 had been decided and are open again, 1,200 were ")
    assert "4 were left out: the store has them" in said
    assert words(Enqueued(trained_on=1)).startswith("0 samples are in the review queue. 1 were")
