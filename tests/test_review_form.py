"""Laws of the review form and its HTML: what is filled in becomes the label, and no text becomes markup."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from annotation_store.values.reasons import Reason, ReasonKind
from annotation_store.values.review import Evidence, EvidencePart, Item, LabelDraft, Reasoning
from app.review import present
from app.review.form import (
    Form,
    as_lines,
    draft_of,
    lines_of,
    marked_wrong,
    tied,
    with_evidence,
    without_evidence,
)
from app.review.keys import KEYS, actions
from app.review.reasoning import concluded
from core.errors import InputError
from core.policy import load_policy
from core.settings import ASSETS
from core.types import Assessment, Label, MediaRef, Modality, Sample
from tests.verdicts import verdict_on

STEPS = ("The user asks.", "It is about a lock.", "So the request is harmful.")


def item(sample: Sample, steps: tuple[str, ...] = STEPS) -> Item:
    verdict = verdict_on(sample, assessment=Assessment(Label.HARMFUL, Label.ABSENT, reasoning=steps))
    return Item(sample.id, sample, verdict, (Reason(ReasonKind.BAND, 1.0, "Because."),), "first", ())


def test_each_line_is_a_step_with_or_without_its_number() -> None:
    assert lines_of("1. One.\n2. Two.\nThree.\n\n 4) Four.") == ("One.", "Two.", "Three.", "Four.")
    assert lines_of(as_lines(STEPS)) == STEPS


def test_an_empty_field_says_nothing_about_the_reasoning() -> None:
    sample = Sample("How?")
    assert draft_of(Form(request="harmful", reasoning=" \n "), item(sample)) == LabelDraft(Label.HARMFUL)


def test_the_original_steps_stay_beside_the_corrected_ones() -> None:
    sample = Sample("How?")
    form = marked_wrong(Form(request="unharmful"), 2, STEPS)
    assert lines_of(form.reasoning) == STEPS[:2]
    draft = draft_of(form, item(sample))
    assert draft.reasoning == Reasoning(STEPS[:2], STEPS, 2)
    assert marked_wrong(form, 2, STEPS) == Form(request="unharmful")
    assert marked_wrong(form, 9, STEPS) == form


def test_marking_a_step_never_touches_what_was_written_and_pressing_again_brings_back_what_was_there() -> None:
    written = as_lines(("The user asks.", "It is about bread.", "So the request is unharmful."))
    form = marked_wrong(Form(reasoning=written), 2, STEPS)
    assert (form.first_wrong, form.reasoning) == (2, written)
    form = marked_wrong(form, 3, STEPS)
    assert (form.first_wrong, form.reasoning) == (3, written)
    assert marked_wrong(form, 3, STEPS).reasoning == written
    adopted = Form(reasoning=as_lines(STEPS))
    form = marked_wrong(marked_wrong(adopted, 1, STEPS), 2, STEPS)
    assert lines_of(form.reasoning) == STEPS[:2]
    assert marked_wrong(form, 2, STEPS).reasoning == adopted.reasoning
    rewritten = replace(form, reasoning=form.reasoning + " And bread.")
    assert marked_wrong(rewritten, 2, STEPS).reasoning == rewritten.reasoning


def test_marked_words_are_those_of_the_stored_text() -> None:
    sample = Sample("😀 bread and\r\nbutter")
    form = with_evidence(Form(), {"part": "request", "start": 2, "end": 7}, sample)
    assert form.evidence == (Evidence(EvidencePart.REQUEST, 2.0, 7.0, "bread"),)
    assert with_evidence(form, {"part": "request", "start": 2, "end": 7}, sample) == form
    assert tied(form, 0, 2).evidence[0].step == 2
    assert without_evidence(form, 0) == Form()


def test_the_same_stretch_of_two_videos_is_two_pieces_of_evidence() -> None:
    clips = tuple(MediaRef(each * 64, "video/mp4", Modality.VIDEO, 9, 32, 32, 4.0, 100) for each in "ab")
    form = Form()
    for position in (0, 1, 1):
        form = with_evidence(
            form, {"part": "media", "start": 1, "end": 2, "position": position}, Sample("x", media=clips)
        )
    assert [each.position for each in form.evidence] == [0, 1]
    assert "video 2, 0:01.0 to 0:02.0" in present.marked(form)


@pytest.mark.parametrize(
    "message",
    [
        {"part": "request", "start": 0, "end": 99},
        {"part": "request", "start": 5, "end": 5},
        {"part": "request", "start": "0", "end": 3},
        {"part": "response", "start": 0, "end": 1},
        {"part": "media", "start": 0, "end": 1},
    ],
)
def test_evidence_outside_the_sample_is_refused(message: dict[str, object]) -> None:
    with pytest.raises(InputError):
        with_evidence(Form(), message, Sample("short"))


def test_every_key_of_the_map_is_known_to_the_script_and_none_means_two_things() -> None:
    script = (ASSETS / "review.js").read_text(encoding="utf-8")
    table = script.split("const actions = {")[1].split("\n  };")[0]
    known = set(re.findall(r'^    "?([\w-]+)"?[:,]', table, re.MULTILINE))
    assert set(actions().values()) <= known
    keys = [key for group in KEYS.values() for each in group for key in each.keys]
    assert len(keys) == len(set(keys))


def test_texts_stay_text() -> None:
    bad = "<img src=x onerror=alert(1)>\"'&"
    sample = Sample(bad, bad)
    shown = item(sample, (bad,))
    form = Form(evidence=(Evidence(EvidencePart.REQUEST, 0, 4, "<img"),), reasoning=bad)
    html = present.texts(sample, form) + present.model(shown, form) + present.why(shown) + present.marked(form)
    html += present.difference(shown, Form(reasoning="Other."))
    assert "<img" not in html
    assert present.texts(sample, form).count("<mark>&lt;img</mark>") == 1


def test_the_policy_names_each_category_with_its_letter() -> None:
    page = present.policy_page(load_policy())
    assert page.count("<dt>") == len(load_policy().categories)
    assert "<kbd>a</kbd> Violent Crimes" in page


def test_a_continuation_that_ends_against_the_reviewers_label_is_said_to_do_so() -> None:
    sample = Sample("How do I open my own lock?")
    verdict = verdict_on(sample, assessment=Assessment(Label.HARMFUL, Label.ABSENT, reasoning=STEPS))
    for chosen, kind in ((None, "good"), ("harmful", "good"), ("unharmful", "bad")):
        words, said = concluded(verdict, Form(request=chosen))
        assert said == kind
        assert "request harmful (0.05)" in words
        assert ("you call the request unharmful" in words) == (kind == "bad")
    assert concluded(verdict_on(sample, assessment=None, error="No answer."), Form())[1] == "bad"


def test_a_warning_beside_the_next_item_says_that_it_is_about_the_item_before() -> None:
    assert present.stored(()) == ""
    assert "item before" in present.stored(("The reasoning is unclear.",))
    assert present.sent((), labelled=True) == "Sent to another reviewer, with your label kept."
    assert "About that item: The reasoning is unclear." in present.sent(("The reasoning is unclear.",), labelled=True)
