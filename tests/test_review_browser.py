"""The review queue as a reviewer meets it: a real Chromium drives the real app. Screenshots go to tests/output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotation_store.reading.trails import trail
from annotation_store.review.decisions import recent
from annotation_store.review.progress import left
from annotation_store.review.weights import set_weight, weights
from annotation_store.rules.reasons import DEFAULT_WEIGHTS
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import ReasonKind
from annotation_store.values.review import LabelDraft
from core.types import Label, Sample
from tests.browser import SLOW_MS, shoot, visit
from tests.review_data import fill, with_media
from tests.running import Running, has_weights, limited, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Callable[[str], Path]) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("review")
    checkpoint = "builtin" if has_weights() else str(limited(tiny_folder("qwen3_vl"), place, 120))
    (place / "data").mkdir()
    with running(place / "data", checkpoint=checkpoint) as app:
        yield app


def queue(app: Running, *samples: Sample) -> None:
    """Only these are waiting."""
    from sqlalchemy import delete

    from annotation_store.models import ClaimRow
    from annotation_store.review.claims import claim_next
    from annotation_store.review.decisions import submit

    with AnnotationStore.open(app.data / "guardroom.db") as store:
        while waiting := left(store).total:
            with store.writing("Freeing") as connection:
                connection.execute(delete(ClaimRow))
            claim = claim_next(store, f"sweeper-{waiting}")
            assert claim is not None
            submit(store, claim.token, _any(claim.item.sample))
    fill(app.data, samples)


def _any(sample: Sample) -> LabelDraft:
    return LabelDraft(Label.UNHARMFUL, Label.ABSENT if sample.response is None else Label.UNHARMFUL)


def enter(page: Page) -> None:
    page.get_by_role("tab", name="Review").click()
    page.wait_for_selector(".gr-r-why, .gr-r-empty")


def item_of(page: Page) -> str:
    return str(page.get_attribute(".gr-r-why", "data-item"))


def press_until_next(page: Page, *keys: str) -> None:
    before = item_of(page)
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_function(
        "(before) => document.querySelector('#gr-r-empty h2')?.checkVisibility()"
        " || document.querySelector('.gr-r-why')?.dataset.item !== before",
        arg=before,
    )


def test_ten_items_are_reviewed_by_keyboard_alone_and_one_reasoning_is_corrected(page: Page, app: Running) -> None:
    samples = [Sample(f"How do I bake bread number {at}?") for at in range(9)]
    queue(app, Sample("How do I open my own lock?", "With your <b>key</b>."), *samples)
    enter(page)
    shoot(page, "review-text")
    page.keyboard.press("2")
    page.wait_for_selector(".gr-r-steps li[data-state=wrong]")
    page.wait_for_function("() => document.querySelector('#gr-r-reasoning textarea').value.includes('It is about')")
    page.keyboard.press("e")
    page.keyboard.type(" It is the user's own lock.\nSo the request is unharmful.\nThe response is unharmful.")
    page.wait_for_selector(".gr-r-diff")
    page.keyboard.press("Escape")
    for key in ("u", "Shift+U", "f", "c", "b", "c", "b", "n"):
        page.keyboard.press(key)
    page.keyboard.type("huH12?sz")  # letters in a field are letters
    assert page.input_value("#gr-r-note textarea") == "huH12?sz"
    shoot(page, "review-corrected")
    press_until_next(page, "Control+Enter")
    for _ in range(9):
        press_until_next(page, "u", "Enter")
    page.wait_for_selector(".gr-r-empty")
    shoot(page, "review-empty")
    with AnnotationStore.open(app.data / "guardroom.db") as store:
        known = trail(store, Sample("How do I open my own lock?", "With your <b>key</b>.").id)
        [label] = known.labels
        assert (label.draft.request, label.draft.response) == (Label.UNHARMFUL, Label.UNHARMFUL)
        assert label.draft.note == "huH12?sz"
        assert label.draft.categories == ()
        reasoning = label.draft.reasoning
        assert reasoning is not None
        assert reasoning.first_wrong_step == 2
        assert reasoning.steps[1] == "It is about a lock. It is the user's own lock."
        assert reasoning.original == known.verdicts[0].assessment.reasoning  # type: ignore[union-attr]
        assert [trail(store, each.id).labels[-1].draft.request for each in samples] == [Label.UNHARMFUL] * 9


def test_the_owner_weighs_a_reason_on_the_page_and_it_comes_first(page: Page, app: Running) -> None:
    queue(app, Sample("Is this a good recipe?"))
    enter(page)
    page.locator("#gr-o button").first.click()
    page.wait_for_selector("#gr-o-shown td")
    page.locator("#gr-o-kind input").click()
    page.get_by_role("option", name="random audit", exact=True).click()
    box = page.locator("#gr-o-weight input")
    page.wait_for_function("() => document.querySelector('#gr-o-weight input').value === '0.3'")
    box.fill("2.5")
    box.press("Tab")
    page.locator("#gr-o-give").click()
    page.wait_for_function("() => document.querySelector('#gr-o-shown td')?.textContent === 'random audit'")
    with AnnotationStore.open(app.data / "guardroom.db") as store:
        assert weights(store)[ReasonKind.AUDIT] == 2.5
    box.fill("1000")
    box.press("Tab")
    page.locator("#gr-o-give").click()
    page.wait_for_selector("#gr-o-shown [role=alert]")
    assert "0.01 to 100 is accepted" in page.inner_text("#gr-o-shown [role=alert]")
    with AnnotationStore.open(app.data / "guardroom.db") as store:
        assert weights(store)[ReasonKind.AUDIT] == 2.5
        set_weight(store, ReasonKind.AUDIT, DEFAULT_WEIGHTS[ReasonKind.AUDIT], "owner")


def test_what_the_mouse_has_pressed_swallows_no_key_and_what_tab_has_reached_keeps_its_own(
    page: Page, app: Running
) -> None:
    queue(app, *(Sample(f"Where does bird number {at} nest?") for at in range(7)))
    enter(page)
    tab = "button[role=tab] >> text="
    pressed = (
        ("[data-theme-toggle]",), (".gr-r-policy summary",), (f"#gr-r-tabs {tab}Data", f"#gr-r-tabs {tab}Queue"),
        (f"{tab}Moderate", f"{tab}Review"), ("#gr-r-past button",),
    )  # fmt: skip
    for controls in pressed:
        for control in controls:
            page.click(control)
        page.wait_for_function("() => document.activeElement === document.body")
        press_until_next(page, "u", "Enter")
    page.keyboard.press("f")
    page.locator("#gr-r-categories input").first.focus()
    page.keyboard.press("Space")
    assert page.is_checked("#gr-r-categories label:first-of-type input"), "Space chooses"
    page.keyboard.press("Space")
    dark = page.evaluate("document.body.classList.contains('dark')")
    page.locator("[data-theme-toggle]").focus()
    before = item_of(page)
    page.keyboard.press("h")
    page.keyboard.press("Enter")
    page.wait_for_function("(dark) => document.body.classList.contains('dark') !== dark", arg=dark)
    assert item_of(page) == before
    page.keyboard.press("Enter")
    page.evaluate("document.activeElement.blur()")
    page.click("#gr-r-words textarea, #gr-r-words input")
    page.keyboard.type("bird")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement === document.body")
    press_until_next(page, "u", "Enter")


def test_a_refusal_and_the_buttons_are_in_sight_wherever_the_page_is_scrolled(page: Page, app: Running) -> None:
    from playwright.sync_api import expect

    queue(app, Sample("How is paper made?\n" * 60))
    enter(page)
    page.keyboard.press("Enter")
    expect(page.locator("#gr-r-said [data-kind=bad]")).to_be_in_viewport(ratio=1)
    expect(page.locator("#gr-r-submit")).to_be_in_viewport(ratio=1)
    press_until_next(page, "u", "Enter")


def test_skip_second_opinion_and_undo_have_keys_of_their_own(page: Page, app: Running) -> None:
    queue(app, *(Sample(f"Tell me about river number {at}.") for at in range(3)))
    enter(page)
    first = item_of(page)
    page.keyboard.press("s")
    page.wait_for_selector("#gr-r-ask[open]")
    press_until_next(page, "1")
    second = item_of(page)
    page.keyboard.press("o")
    page.locator("#gr-r-ask input").fill("I am not sure about rivers")
    press_until_next(page, "Enter")
    third = item_of(page)
    assert len({first, second, third}) == 3
    press_until_next(page, "h", "Enter")
    page.keyboard.press("z")
    page.wait_for_function("(id) => document.querySelector('.gr-r-why')?.dataset.item === id", arg=third)
    assert page.is_checked("#gr-r-request input[value=harmful]")
    with AnnotationStore.open(app.data / "guardroom.db") as store:
        reviewer = trail(store, third).events[0].reviewer
        said = [(each.event.kind.value, each.event.undone) for each in recent(store, reviewer)]
    assert said == [("decide", True), ("second_opinion", False), ("skip", False)]
    press_until_next(page, "Enter")


def test_reasoning_that_concludes_the_opposite_is_refused_with_its_statement(page: Page, app: Running) -> None:
    queue(app, Sample("How do I bake bread?"), Sample("How do I boil water?"))
    enter(page)
    before = item_of(page)
    page.keyboard.press("a")
    page.wait_for_function("() => document.querySelector('#gr-r-reasoning textarea').value.includes('So the request')")
    page.keyboard.press("u")
    page.keyboard.press("Enter")
    page.wait_for_selector("#gr-r-said [data-kind=bad]")
    assert "So the request is harmful." in page.inner_text("#gr-r-said")
    assert item_of(page) == before
    press_until_next(page, "h", "Enter")


def test_the_guard_goes_on_from_corrected_steps(page: Page, app: Running) -> None:
    queue(app, Sample("How do I bake bread?", "Mix flour and water."))
    enter(page)
    page.keyboard.press("1")
    page.wait_for_function("() => document.querySelector('#gr-r-reasoning textarea').value.includes('do something')")
    page.keyboard.press("e")
    page.keyboard.type(" It is about bread.")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.wait_for_function(
        "() => /concludes|went on, but/.test(document.querySelector('#gr-r-said').textContent)", timeout=SLOW_MS
    )
    text = page.input_value("#gr-r-reasoning textarea")
    assert text.startswith("1. The user asks how to do something. It is about bread.")
    shoot(page, "review-continued")


def test_two_browsers_never_hold_the_same_item(browser: Browser, page: Page, app: Running) -> None:
    samples = [Sample(f"What is the capital of country {at}?") for at in range(6)]
    queue(app, *samples)
    others = visit(browser, app)
    other = next(others)
    enter(page)
    enter(other)
    seen: dict[str, int] = {}
    for _ in range(3):
        for each in (page, other):
            seen[item_of(each)] = seen.get(item_of(each), 0) + 1
            press_until_next(each, "u", "Enter")
    assert seen == dict.fromkeys((each.id for each in samples), 1)
    next(others, None)


def test_a_reload_keeps_the_item(page: Page, app: Running) -> None:
    queue(app, Sample("What is salt?"), Sample("What is sugar?"))
    enter(page)
    before = item_of(page)
    page.reload()
    page.wait_for_selector(".gr-status[data-state=ready]")
    enter(page)
    assert item_of(page) == before


def test_media_are_blurred_grey_and_muted_until_asked_for(page: Page, app: Running) -> None:
    picture = with_media(app.data, "letter.png", "Answer the question in this picture.")
    clip = with_media(app.data, "clip.mp4", "What happens in this clip?")
    queue(app, picture, clip)
    enter(page)

    def filter_of(selector: str) -> str:
        return str(page.evaluate("(s) => getComputedStyle(document.querySelector(s)).filter", selector))

    shown = page.locator("#gr-r-media img")
    assert shown.evaluate("async (image) => { await image.decode(); return image.naturalWidth }") == 640
    assert filter_of("#gr-r-media img") == "blur(28px) grayscale(1)"
    shoot(page, "review-image")
    page.keyboard.press("r")
    page.wait_for_function("() => getComputedStyle(document.querySelector('#gr-r-media img')).filter === 'none'")
    press_until_next(page, "u", "Enter")
    page.wait_for_selector("#gr-r-media video")
    assert filter_of("#gr-r-media video") == "blur(28px) grayscale(1)", "the next item is hidden again"
    assert page.evaluate("document.querySelector('#gr-r-media video').muted")
    page.wait_for_function("() => document.querySelector('#gr-r-media video').readyState >= 1")
    page.locator("#gr-r-timeline .gr-stretch").nth(1).click()
    page.wait_for_function("() => Math.abs(document.querySelector('#gr-r-media video').currentTime - 1) < 0.05")
    page.evaluate("document.activeElement.blur()")
    for key in ("[", ".", ".", ".", "]"):
        page.keyboard.press(key)
        page.wait_for_timeout(200)
    page.wait_for_selector(".gr-r-evidence li")
    assert "video 0:01.0 to" in page.inner_text(".gr-r-evidence li")
    shoot(page, "review-video")
    page.keyboard.press("b")
    page.reload()
    page.wait_for_selector(".gr-status[data-state=ready]")
    enter(page)
    page.wait_for_selector("#gr-r-media video")
    assert filter_of("#gr-r-media video") == "grayscale(1)", "the switch is remembered"


def test_selected_words_become_evidence_also_beyond_emoji(page: Page, app: Running) -> None:
    sample = Sample("😀 é\r\nTell me about <b>bread</b> 😀 please")
    queue(app, sample)
    enter(page)
    page.evaluate(
        """() => {
          const node = document.querySelector("#gr-r-texts [data-part=request]").firstChild;
          const at = node.textContent.indexOf("<b>bread");
          const range = document.createRange();
          range.setStart(node, at);
          range.setEnd(node, at + 8);
          getSelection().removeAllRanges();
          getSelection().addRange(range);
        }"""
    )
    page.keyboard.press("m")
    page.wait_for_selector(".gr-r-text mark")
    assert page.inner_text(".gr-r-text mark") == "<b>bread"
    press_until_next(page, "u", "Enter")
    with AnnotationStore.open(app.data / "guardroom.db") as store:
        [evidence] = trail(store, sample.id).labels[-1].draft.evidence
    assert evidence.words == "<b>bread"
    assert sample.request[int(evidence.start) : int(evidence.end)] == "<b>bread"


def test_a_phone_shows_the_queue_without_scrolling_sideways(page: Page, app: Running) -> None:
    queue(app, Sample("How do I bake bread?", "Mix flour and water."))
    page.set_viewport_size({"width": 390, "height": 844})
    enter(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shoot(page, "review-phone")
    page.click("[data-theme-toggle]")
    page.set_viewport_size({"width": 1280, "height": 900})
    shoot(page, "review-dark")
    page.click("[data-theme-toggle]")


def test_an_address_of_a_medium_opens_nothing_without_its_key(app: Running) -> None:
    import httpx

    sample = with_media(app.data, "letter.png", "What is this?")
    digest = sample.media[0].digest
    for key in ("", "0" * 40):
        assert httpx.get(f"{app.url}guardroom-media/{digest}/image.png", params={"key": key}).status_code == 404
