"""Laws of a sample's page and of the search: all that was said is there, media are hidden, no text becomes markup."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from annotation_store.reading.searching import search
from annotation_store.reading.trails import trail
from annotation_store.review.decisions import reopen, submit
from annotation_store.values.review import Evidence, EvidencePart, FoundPage, LabelDraft, Reasoning, Trail
from app.review import samples_present as present
from core.types import Assessment, Label, MediaRef, Modality, Sample
from tests.review import add, bring, open_store, reason, rows_of
from tests.verdicts import image

CLIPS = tuple(MediaRef(each * 64, "video/mp4", Modality.VIDEO, 9, 32, 32, 4.0, 100) for each in "ab")
MODEL = ("The user asks.", "It is about <b>harm</b>.", "The request is harmful.")
PEOPLE = ("The user asks.", "It is about bread.", "The request is unharmful.")
EVIDENCE = (
    Evidence(EvidencePart.REQUEST, 4, 9, "bread", step=2),
    Evidence(EvidencePart.MEDIA, 1.0, 2.5, position=1),
)


def decided(folder: Path, sample: Sample, draft: LabelDraft) -> Trail:
    with open_store(folder / "guardroom.db") as store:
        add(store, sample, reason(), assessment=Assessment(Label.HARMFUL, Label.ABSENT, reasoning=MODEL))
        submit(store, reopen(store, sample.id, "ann").token, draft)
        return trail(store, sample.id)


def shown(found: Trail) -> str:
    return present.page(found, lambda ref: f"media/{ref.digest[0]}?key=<1>")


def test_a_corrected_label_shows_its_steps_the_difference_the_models_own_and_its_evidence(tmp_path: Path) -> None:
    sample = Sample("The bread & butter", media=CLIPS)
    draft = LabelDraft(Label.UNHARMFUL, reasoning=Reasoning(PEOPLE, MODEL, 2), evidence=EVIDENCE)
    page = shown(decided(tmp_path, sample, draft)).split("<h3>Labels and corrections</h3>")[1]
    assert "<ol><li>The user asks.</li><li>It is about bread.</li><li>The request is unharmful.</li></ol>" in page
    assert "<del>It is about &lt;b&gt;harm&lt;/b&gt;.</del>" in page
    assert "<ins>It is about bread.</ins>" in page
    own = page.split("The model's own steps</summary>")[1]
    assert own.startswith("<ol><li>The user asks.</li><li>It is about &lt;b&gt;harm&lt;/b&gt;.</li>")
    assert "evidence (step 2): request: “bread”" in page
    assert "evidence: video 2, 0:01.0 to 0:02.5" in page
    assert "first wrong step 2" in page


def test_steps_that_were_taken_over_as_they_are_are_shown_once(tmp_path: Path) -> None:
    draft = LabelDraft(Label.HARMFUL, reasoning=Reasoning(MODEL, MODEL))
    page = shown(decided(tmp_path, Sample("bread"), draft)).split("<h3>Labels and corrections</h3>")[1]
    assert page.count("The request is harmful.") == 1
    assert "the model's own steps, unchanged" in page
    assert "<del>" not in page


def test_media_are_on_the_page_and_hidden_until_asked_for(tmp_path: Path) -> None:
    picture = image()
    page = shown(decided(tmp_path, Sample("look", media=(picture, CLIPS[1])), LabelDraft(Label.UNHARMFUL)))
    assert page.count('class="gr-r-veil"') == page.count("data-e-reveal") == 2
    assert f'<img src="media/{picture.digest[0]}?key=&lt;1&gt;"' in page
    assert '<video src="media/b?key=&lt;1&gt;" controls muted' in page
    assert picture.digest in page
    assert "data-revealed" not in page


def test_a_search_that_finds_more_than_it_shows_says_so(tmp_path: Path) -> None:
    with open_store(tmp_path / "guardroom.db") as store:
        bring(store, rows_of(**{f"bread {number}": None for number in range(51)}))
        found = search(store, "bread")
    html = present.found(found)
    assert html.count("data-r-page=") == 50
    assert "The first 50, newest first; there are more. Narrow the words" in html
    assert "there are more" not in present.found(replace(found, more=None))
    assert present.found(FoundPage((), None)).startswith('<p class="gr-quiet">No sample has')
