"""Laws of full-text search: what was written is found, what was typed is only words, what changed is found as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from annotation_store.database import MARK_END, MARK_START, is_sound, match_expression
from annotation_store.reading.searching import EXCERPT_CHARS, newest, search
from annotation_store.review.claims import claim_next
from annotation_store.review.decisions import submit
from annotation_store.store import AnnotationStore
from annotation_store.values.review import FoundPage, LabelDraft, QueueFilter, Reasoning
from core.errors import StoreError
from core.types import Assessment, Label, Sample
from tests import verdicts as some
from tests.review import add, open_store, reason
from tests.verdicts import verdict_on


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnnotationStore]:
    with open_store(tmp_path / "guardroom.db") as opened:
        yield opened


def found(store: AnnotationStore, words: str) -> list[str]:
    return [each.sample_id for each in search(store, words).found]


def sound(store: AnnotationStore) -> bool:
    with store.writing("Checking") as connection:
        return is_sound(connection)


def test_request_response_reasoning_and_notes_are_searched(store: AnnotationStore) -> None:
    sample = Sample("How do I bake bread?", "Knead the dough.")
    said = Assessment(Label.UNHARMFUL, Label.UNHARMFUL, reasoning=("The oven is hot.",))
    verdict = verdict_on(sample, assessment=said)
    store.record(sample, verdict)
    store.report(verdict.id, "a visitor grumbles", "visitor")
    claim = claim_next(store, "ann")
    assert claim is not None
    steps = Reasoning(("Corrected: the flour is white.",))
    submit(store, claim.token, LabelDraft(Label.UNHARMFUL, Label.UNHARMFUL, note="remarkable", reasoning=steps))
    other = Sample("unrelated")
    store.record(other, verdict_on(other, "v-2"))
    for word in ("bread", "BAKE", "dough", "oven", "grumbles", "remarkable", "flour", "bread oven flour"):
        assert found(store, word) == [sample.id], word
    assert found(store, "bread unrelated") == []
    assert found(store, '"bake bread"') == [sample.id]
    assert found(store, '"bread bake"') == []
    assert sound(store)


def test_accents_and_case_do_not_matter_and_every_script_can_be_searched(store: AnnotationStore) -> None:
    for text in ("Un café noir", "пример текста", "ein Übel", "مثال نص", "例子 文本"):
        add(store, Sample(text))
        assert found(store, text.split()[1].upper()) == [Sample(text).id]
    assert found(store, "cafe") == found(store, "CAFÉ") != []


def test_the_excerpt_marks_the_words(store: AnnotationStore) -> None:
    add(store, Sample("before " * 50 + "needle" + " after" * 50))
    (only,) = search(store, "needle").found
    assert f"{MARK_START}needle{MARK_END}" in only.excerpt
    assert len(only.excerpt) < 250


def test_pages_follow_one_another_newest_first(store: AnnotationStore) -> None:
    ids = []
    for number in range(7):
        ids.append(Sample(f"common {number}").id)
        add(store, Sample(f"common {number}"))
    first = search(store, "common", limit=4)
    second = search(store, "common", limit=4, after=first.more)
    assert [each.sample_id for each in first.found + second.found] == ids[::-1]
    assert second.more is None
    for limit in (0, 1001):
        with pytest.raises(StoreError, match="1 to 1000"):
            search(store, "common", limit)


ATTACKS = [
    'request : "secret"', "secret OR 1", "secret NOT hello", "NEAR(secret hello)", "secret*", "^secret", "{request}: x",
    '"', '""', '"""', "secret'; DROP TABLE samples; --", "(", "secret)", "a AND", "-secret", "+", "secret\0hello",
    "\ud800",    "search MATCH 'x'", "\x1a0041", "rank", "rowid",
]  # fmt: skip


@pytest.mark.parametrize("typed", ATTACKS)
def test_what_is_typed_is_words_and_never_syntax(store: AnnotationStore, typed: str) -> None:
    add(store, Sample("hello"), reason())
    add(store, Sample(f"hello {typed} there"), reason())
    if not match_expression(typed):
        with pytest.raises(StoreError, match="no word to look for"):
            search(store, typed)
        return
    # Its words are in the second sample alone.
    assert found(store, typed) == [Sample(f"hello {typed} there").id]


@given(some.texts, some.texts)
@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_at_all_breaks_the_search_or_its_index(store: AnnotationStore, request: str, typed: str) -> None:
    add(store, Sample(request))
    if match_expression(typed):
        search(store, typed)
    assert sound(store)


def test_the_newest_samples_come_first_with_their_labels_and_say_whether_there_are_more(store: AnnotationStore) -> None:
    assert newest(store) == FoundPage((), None)
    made = [Sample(f"How warm is it in town {at}?" + " " * at + "x" * 300) for at in range(5)]
    for sample in made:
        add(store, sample, reason())
    claim = claim_next(store, "ann", QueueFilter(words='"town 3"'))
    assert claim is not None
    submit(store, claim.token, LabelDraft(Label.UNHARMFUL, Label.ABSENT))
    page = newest(store, 3)
    assert [each.sample_id for each in page.found] == [made[4].id, made[3].id, made[2].id]
    assert [each.label for each in page.found] == [None, Label.UNHARMFUL, None]
    assert [each.excerpt for each in page.found] == [
        each.request[:EXCERPT_CHARS] for each in (made[4], made[3], made[2])
    ]
    assert page.more is not None
    assert newest(store, 5).more is None
