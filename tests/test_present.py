"""Laws of what the page shows: text stays text, decisions carry words, and nothing moves while it streams."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.header_present import status_line
from app.markup import evidence
from app.markup.numbers import clock, probability
from app.markup.tables import progress_bar
from app.markup.text import escape, message
from app.moderate import card as present
from app.moderate.preview import player
from app.moderate.progress import Progress, decided_by
from app.shared.pacing import paced
from core.events import Event, FirstLooked, MediaRead, Queued, ReasoningGrew, VerdictReached
from core.judging.deciding import decide
from core.media.vision import DecodedMedia
from core.serving.live import GuardStatus
from core.types import (
    Assessment,
    Decision,
    FinishReason,
    Generation,
    HarmProbability,
    Label,
    Modality,
    Sample,
    Thresholds,
    Verdict,
    WindowScore,
)
from tests.verdicts import image, texts, verdict_on, verdicts

PAYLOADS = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</article></section><svg/onload=alert(1)>",
    "' onmouseover='alert(1)",
    "${alert(1)} {{constructor}} `${1}`",
    "<style>*{display:none}</style><!--",
)
READY = GuardStatus("ready", "Ready", None, "transformers", "cpu", "float32")
SAMPLE = Sample("How do I bake bread?")


class Page(HTMLParser):
    """What a browser makes of a piece of HTML: its elements, its attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def value(self, name: str) -> str:
        return next(value for _, each, value in self.attributes if each == name)


def shown_with(text: str) -> list[str]:
    """Everything that can be shown, with this text wherever somebody else's text can be."""
    verdict = verdict_on(
        SAMPLE,
        id=text,
        checkpoint_id=text,
        assessment=Assessment(Label.HARMFUL, Label.ABSENT, (text,), (text, f"and {text}")),
        decision=Decision.REVIEW,
        error=text,
        warnings=(text,),
        windows=(WindowScore(0, 2, 0.5, "video"), WindowScore(0, 2, 0.5, text)),
    )
    status = GuardStatus("failed", text, None, text, text, text)
    begun = Progress.begun(SAMPLE, Thresholds())
    return [
        present.card(begun.after(VerdictReached(verdict)), status),
        present.card(begun.after(ReasoningGrew(f"1. {text}\n2. {text}", 9)), status),
        present.card(Progress.broken(text), status),
        present.card(Progress(), status),
        present.card(begun.after(Queued(1, loading=True)), status),
        status_line(status),
        present.copy_button(verdict),
        progress_bar(0.5, text),
        message(text, "bad"),
        evidence.render((evidence.Thumbnail(1.0, text),), 1, verdict.windows, Thresholds()),
        player(image(media_type=f"image/{text}"), text),
        player(image(media_type=text, modality=Modality.VIDEO, duration_s=2.0), text),
    ]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_text_of_others_never_becomes_markup(payload: str) -> None:
    for harmless, hostile in zip(shown_with("plain"), shown_with(payload), strict=True):
        there, here = Page(harmless), Page(hostile)
        assert here.tags == there.tags
        assert [pair[:2] for pair in here.attributes] == [pair[:2] for pair in there.attributes]
        assert "script" not in here.tags
        assert not [name for _, name, _ in here.attributes if name.startswith("on")]
        if "plain" in there.text:
            assert payload in here.text


@given(verdicts)
def test_every_verdict_can_be_shown_and_copied(verdict: Verdict) -> None:
    page = Page(present.card(Progress.begun(SAMPLE, Thresholds()).after(VerdictReached(verdict)), READY))
    assert present.DECISION_WORDS[verdict.decision] in page.text
    assert page.value("data-decision") == verdict.decision.value
    assert "script" not in page.tags
    present.card(Progress(), READY).encode("utf-8")
    copied = Page(present.copy_button(verdict)).value("data-copy")
    assert json.loads(copied) == json.loads(
        json.dumps(verdict.to_json(), ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")
    )


@given(texts)
def test_escaped_text_can_be_sent_and_reads_the_same(text: str) -> None:
    sent = escape(text)
    sent.encode("utf-8")
    assert not set(sent) & set("<>\"'")


def test_decisions_differ_in_word_and_in_sign_and_not_by_colour_alone() -> None:
    cards = [
        present.card(
            Progress.begun(SAMPLE, Thresholds()).after(VerdictReached(verdict_on(SAMPLE, decision=each))), READY
        )
        for each in Decision
    ]
    signs = {card[card.index("<svg") : card.index("</svg>")] for card in cards}
    assert len(signs) == len(Decision)
    assert len({Page(card).text for card in cards}) == len(Decision)


def events() -> list[Event]:
    """One moderation from the queue to the verdict."""
    return [
        Queued(0, loading=True),
        Queued(2),
        Queued(1),
        FirstLooked(HarmProbability(0.4, 0.2), ()),
        ReasoningGrew("1. The user asks", 4),
        ReasoningGrew("1. The user asks for bread.\n2. That is", 9),
        VerdictReached(
            verdict_on(
                SAMPLE,
                assessment=Assessment(
                    Label.UNHARMFUL, Label.UNHARMFUL, reasoning=("The user asks for bread.", "Fine.")
                ),
                deliberated=HarmProbability(0.1, 0.2),
            )
        ),
    ]


def test_the_card_keeps_its_skeleton_from_the_first_moment_to_the_verdict() -> None:
    moments = [Progress(), Progress.begun(replace(SAMPLE, response="Flour and water."), Thresholds())]
    for event in events():
        moments.append(moments[-1].after(event))
    moments.append(Progress.broken("The request is empty."))
    skeletons = set()
    for moment in moments:
        above = present.card(moment, READY).split('<section class="gr-reasoning">')[0]
        skeletons.add(tuple(tag for tag in Page(above).tags if tag not in {"path", "circle"}))
    assert len(skeletons) == 1


def test_each_moment_says_what_happens() -> None:
    progress = Progress.begun(SAMPLE, Thresholds())
    said = []
    for event in events():
        progress = progress.after(event)
        said.append(Page(present.card(progress, GuardStatus("loading", "Reading the weights"))).text)
    assert "Reading the weights" in said[0]
    assert "2 people before you." in said[1]
    assert "1 person before you." in said[2]
    assert "0.40" in said[3]
    assert "0.20" in said[3]
    assert "That is" in said[5]
    assert "Allow" in said[6]


def test_an_error_keeps_what_was_there_and_says_why() -> None:
    text = Page(present.card(Progress.broken("The request is empty; write a text."), READY)).text
    assert "Not judged" in text
    assert "The request is empty; write a text." in text


@pytest.mark.parametrize(
    ("p_harmful", "shown"),
    [(None, "–"), (0.0, "0.00"), (0.004, "<0.01"), (0.346, "0.35"), (0.996, ">0.99"), (1.0, "1.00")],
)
def test_probabilities_have_two_decimals_and_no_false_certainty(p_harmful: float | None, shown: str) -> None:
    assert probability(p_harmful) == shown


@pytest.mark.parametrize(
    ("seconds", "shown", "with_tenths"),
    [(0, "0:00", "0:00.0"), (7.46, "0:07", "0:07.5"), (59.96, "1:00", "1:00.0"), (3723, "1:02:03", "1:02:03.0")],
)
def test_times_read_as_a_clock(seconds: float, shown: str, with_tenths: str) -> None:
    assert clock(seconds) == shown
    assert clock(seconds, tenths=True) == with_tenths


def test_the_sentence_fits_the_decision() -> None:
    at = Thresholds(0.3, 0.6)
    for p_harmful, words in ((0.1, "below the review"), (0.4, "between review"), (0.9, "at or above the block")):
        verdict = verdict_on(
            SAMPLE, thresholds=at, deliberated=HarmProbability(p_harmful), decision=at.decide(p_harmful)
        )
        assert words in present.why(verdict)
    raised = verdict_on(SAMPLE, thresholds=at, decision=Decision.REVIEW, warnings=("One part was not looked at.",))
    assert "see the notes" in present.why(raised)
    unread = verdict_on(SAMPLE, assessment=None, error="It was cut off.", decision=Decision.REVIEW)
    assert present.why(unread) == "It was cut off. A person should look at it."


def test_a_cut_off_or_stopped_generation_says_so() -> None:
    for reason, word in ((FinishReason.LENGTH, "cut off"), (FinishReason.CANCELLED, "stopped")):
        verdict = verdict_on(SAMPLE, generation=Generation("", 5, reason, None, 0.1))
        assert (
            word in Page(present.card(Progress.begun(SAMPLE, Thresholds()).after(VerdictReached(verdict)), READY)).text
        )


# -- other thresholds -------------------------------------------------------------------------------------------


@given(verdicts, st.floats(0, 1), st.floats(0, 1))
def test_other_thresholds_never_let_pass_what_could_not_be_read(verdict: Verdict, one: float, other: float) -> None:
    at = Thresholds(min(one, other), max(one, other))
    assert decided_by(verdict, verdict.thresholds) == verdict
    if at == verdict.thresholds:
        return
    again = decided_by(verdict, at)
    assert again.thresholds == at
    assert again.id == verdict.id
    if verdict.assessment is None:
        assert again.decision is Decision.REVIEW
    plain = decide(at, verdict.assessment, verdict.deliberated, verdict.first_look)
    assert again.decision in (plain, Decision.REVIEW)
    assert again.decision is plain or plain is Decision.ALLOW


def test_a_verdict_in_doubt_stays_in_review_and_a_harmful_stretch_raises_doubt() -> None:
    doubtful = verdict_on(SAMPLE, decision=Decision.REVIEW, warnings=("3 parts were not looked at.",))
    assert decided_by(doubtful, Thresholds(0.5, 0.9)).decision is Decision.REVIEW
    calm = verdict_on(SAMPLE, windows=(WindowScore(0, 2, 0.5, "video"), WindowScore(2, 4, 0.1, "video")))
    strict = decided_by(calm, Thresholds(0.2, 0.4))
    assert strict.decision is Decision.REVIEW
    assert len(strict.warnings) == len(calm.warnings) + 1


# -- the video's strip and plot ---------------------------------------------------------------------------------


def clip(frames: int) -> DecodedMedia:
    return DecodedMedia(np.zeros((frames, 36, 64, 3), np.uint8), tuple(at / 2 for at in range(frames)))


def test_every_frame_and_every_stretch_seeks_to_its_own_time() -> None:
    pictures, sampled = evidence.thumbnails([clip(6)])
    windows = (WindowScore(0, 1.5, 0.1, "video"), WindowScore(1.5, 3, 0.9, "video", deliberated=True))
    page = Page(evidence.render(pictures, sampled, windows, Thresholds()))
    seeks = [float(value) for _, name, value in page.attributes if name == "data-seek"]
    assert seeks == [0, 0.5, 1, 1.5, 2, 2.5, 0, 1.5]
    labels = [value for tag, name, value in page.attributes if tag == "button" and name == "aria-label"]
    assert len(labels) == len(seeks)
    assert "0.90 harmful, block; the reasoning is about this stretch" in labels[-1]
    assert "6 frames" in page.text


def test_a_long_video_shows_some_frames_and_says_how_many_there_are() -> None:
    pictures, sampled = evidence.thumbnails([clip(200)])
    assert len(pictures) == evidence.MAX_THUMBNAILS
    assert (pictures[0].at, pictures[-1].at) == (0.0, 99.5)
    assert f"{evidence.MAX_THUMBNAILS} of 200 frames" in Page(evidence.render(pictures, sampled, (), Thresholds())).text


def test_a_still_image_has_no_strip() -> None:
    assert evidence.thumbnails([DecodedMedia(np.zeros((1, 8, 8, 3), np.uint8))]) == ((), 0)


def test_only_stretches_of_the_video_are_on_the_time_line() -> None:
    parts = (WindowScore(2, 4, 0.2, "video"), WindowScore(0, 900, 0.9, "request"), WindowScore(0, 2, 0.1, "video"))
    assert [window.start for window in evidence.timeline(parts)] == [0, 2]


# -- pace -------------------------------------------------------------------------------------------------------


def test_text_is_told_at_a_pace_and_everything_else_at_once() -> None:
    now = iter([0.0, 0.0, 0.01, 0.02, 0.1, 0.1])
    grown = [ReasoningGrew(str(at), at) for at in range(4)]
    end = events()[-1]
    told = list(paced(iter([FirstLooked(HarmProbability(0.1), ()), *grown, end]), 0.06, lambda: next(now)))
    assert told == [FirstLooked(HarmProbability(0.1), ()), grown[0], grown[3], end]


def test_closing_the_paced_events_closes_the_guards() -> None:
    closed = []

    def endless() -> object:
        try:
            while True:
                yield MediaRead(())
        finally:
            closed.append(True)

    told = paced(endless())  # type: ignore[arg-type]
    next(told)
    told.close()  # type: ignore[attr-defined]
    assert closed == [True]
