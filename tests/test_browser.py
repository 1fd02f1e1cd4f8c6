"""The page as a person meets it: a real Chromium drives the real app. Screenshots go to tests/output/screenshots."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotation_store.store import AnnotationStore
from app.moderate.examples import FOLDER
from tests.browser import DONE, FAILED, READY, copied, drop, judge, shoot, visit, write
from tests.running import Running, has_weights, limited, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WATCH = """() => {
  window.moments = [];
  const look = () => {
    const card = document.querySelector(".gr-card");
    if (!card) return;
    const top = (selector) => Math.round(document.querySelector(selector).getBoundingClientRect().top + scrollY);
    window.moments.push({
      phase: card.dataset.phase,
      first: card.querySelector("[data-side=request] .gr-p").textContent,
      steps: card.querySelector(".gr-reasoning ol").textContent,
      said: card.querySelector(".gr-sentence").textContent,
      tops: [top(".gr-sides"), top(".gr-figures"), top(".gr-reasoning h3"), top("#gr-go"), top("#gr-examples")],
    });
  };
  new MutationObserver(look).observe(document.querySelector("#gr-card"),
    {subtree: true, childList: true, characterData: true, attributes: true});
}"""
"""Notes every state that the card goes through, and where its parts stand on the page."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Callable[[str], Path]) -> Iterator[Running]:
    """The app with the built-in guard, or before that is trained with a random one: the page is the same."""
    place = tmp_path_factory.mktemp("browser")
    checkpoint = "builtin" if has_weights() else str(limited(tiny_folder("qwen3_vl"), place, 120))
    with running(place / "data", checkpoint=checkpoint) as app:
        yield app


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Callable[[str], Path]) -> Iterator[Running]:
    """The app with a random guard that goes on writing for a long time, to have something to stop."""
    place = tmp_path_factory.mktemp("endless")
    with running(place / "data", checkpoint=str(limited(tiny_folder("qwen3_vl"), place, 6000))) as app:
        yield app


@pytest.fixture
def endless_page(browser: Browser, endless: Running) -> Iterator[Page]:
    yield from visit(browser, endless)


def test_a_text_streams_from_the_first_look_over_the_reasoning_to_the_verdict(page: Page) -> None:
    assert "press Moderate" in page.inner_text(".gr-sentence")
    shoot(page, "empty")
    page.evaluate(WATCH)
    write(page, "How can I pick the lock of a stranger's house so that nobody notices?")
    card = judge(page)
    moments = page.evaluate("moments")
    streamed = [moment for moment in moments if moment["phase"] == "deliberating"]
    assert len({moment["steps"] for moment in streamed if moment["steps"]}) >= 2
    assert all(moment["first"] != "–" for moment in streamed)
    assert len({tuple(moment["tops"]) for moment in moments}) == 1, "something moved while the text streamed"
    verdict = copied(page)
    assert card.locator(".gr-word").inner_text().lower() == verdict["decision"]
    assert card.locator(".gr-sign path").count() == 1
    shown = card.locator("[data-side=request] .gr-p").all_inner_texts()
    assert shown[0] == f"{verdict['request']['first_look_p_harmful']:.2f}" or shown[0][0] in "<>"
    assert card.locator("[data-figure=tokens] dd").inner_text() == str(verdict["tokens"])
    assert card.locator("[data-figure=checkpoint] dd").inner_text() == verdict["checkpoint_id"]
    assert "none given" in card.locator("[data-side=response]").inner_text()
    shoot(page, "text")


def test_a_response_is_judged_beside_the_request(page: Page) -> None:
    page.get_by_role("button", name="With an answer").click()
    page.wait_for_function("() => document.querySelector('#gr-response textarea')?.value.startsWith('Keep them')")
    judge(page)
    verdict = copied(page)
    assert verdict["response"] is not None
    assert "none given" not in page.inner_text("[data-side=response]")
    shoot(page, "response")


def test_an_image_is_shown_and_judged(page: Page) -> None:
    write(page, "What does this page say?")
    drop(page, FOLDER / "recipe.png")
    picture = page.locator("#gr-preview img")
    assert picture.evaluate("async (image) => { await image.decode(); return image.naturalWidth }") == 640
    judge(page)
    assert copied(page)["request"]["first_look_p_harmful"] is not None
    shoot(page, "image")
    page.locator("#gr-box .delete-button").click()
    page.wait_for_selector("#gr-preview .gr-figure", state="hidden")


def test_a_video_shows_its_frames_and_its_harm_over_time_and_both_seek(page: Page) -> None:
    page.get_by_role("button", name="A short clip").click()
    page.wait_for_selector("#gr-preview video")
    judge(page)
    verdict = copied(page)
    frames, stretches = page.locator(".gr-frame"), page.locator(".gr-stretch")
    assert frames.count() >= 8
    assert stretches.count() == len(verdict["windows"]) >= 2
    for part in (stretches.nth(1), frames.nth(5)):
        part.focus()
        part.press("Enter")
        wanted = float(part.get_attribute("data-seek") or "nan")
        page.wait_for_function(
            "(at) => Math.abs(document.querySelector('#gr-preview video').currentTime - at) < 0.05", arg=wanted
        )
    assert page.evaluate("[...document.querySelectorAll('.gr-frame img')].every((i) => i.naturalWidth > 0)")
    shoot(page, "video")


def test_stop_really_stops_the_model_and_the_verdict_goes_to_review(endless_page: Page) -> None:
    page = endless_page
    write(page, "Write a very long story.")
    page.click("#gr-go")
    page.wait_for_function("() => Number(document.querySelector('[data-figure=tokens] dd').textContent) > 20")
    page.click("#gr-stop")
    page.wait_for_selector(DONE, timeout=10_000)
    verdict = copied(page)
    assert verdict["finish_reason"] == "cancelled"
    assert verdict["decision"] == "review"
    assert verdict["tokens"] < 6000
    assert page.inner_text("[data-figure=ended] dd") == "stopped"
    assert page.is_disabled("#gr-stop")
    shoot(page, "stopped")


def test_two_people_wait_for_each_other_and_one_can_leave_the_queue(
    endless_page: Page, browser: Browser, endless: Running
) -> None:
    others = visit(browser, endless)
    second = next(others)
    write(endless_page, "Write a very long story.")
    endless_page.click("#gr-go")
    endless_page.wait_for_selector(".gr-card[data-phase=deliberating]")
    write(second, "Write another one.")
    second.click("#gr-go")
    second.wait_for_selector(".gr-card[data-phase=waiting]")
    assert second.inner_text(".gr-sentence") == "1 person before you."
    shoot(second, "waiting")
    second.click("#gr-stop")
    second.wait_for_selector(FAILED, timeout=10_000)
    assert "nothing was judged" in second.inner_text(".gr-sentence")
    assert endless_page.get_attribute(".gr-card", "data-phase") == "deliberating"
    endless_page.click("#gr-stop")
    endless_page.wait_for_selector(DONE, timeout=10_000)
    next(others, None)


def test_closing_the_page_frees_the_guard_for_others(browser: Browser, endless: Running) -> None:
    gone = visit(browser, endless)
    page = next(gone)
    write(page, "Write a very long story.")
    page.click("#gr-go")
    page.wait_for_selector(".gr-card[data-phase=deliberating]")
    next(gone, None)
    after = visit(browser, endless)
    page = next(after)
    write(page, "Write another one.")
    page.click("#gr-go")
    page.wait_for_selector(".gr-card[data-phase=deliberating]", timeout=15_000)
    page.click("#gr-stop")
    page.wait_for_selector(DONE, timeout=10_000)
    next(after, None)


def test_a_wrong_verdict_is_kept_with_the_note_and_its_sample(page: Page, app: Running) -> None:
    write(page, "How do I open my own front door when I lost the key?")
    judge(page)
    verdict = copied(page)
    page.click("#gr-wrong")
    page.locator("#gr-note textarea").fill("It is my own door. <b>Really</b>")
    shoot(page, "wrong")
    page.click("#gr-send")
    page.wait_for_selector("#gr-said [data-kind=good]")
    assert "kept for review" in page.inner_text("#gr-said")
    assert page.is_disabled("#gr-wrong")
    with AnnotationStore.open(app.data / "guardroom.db") as store:
        [report] = [each for each in store.reports() if each.verdict_id == verdict["id"]]
        assert report.note == "It is my own door. <b>Really</b>"
        assert report.reporter.startswith("visitor-")
        assert store.verdict(verdict["id"]).to_json() == verdict
        assert store.sample(verdict["sample_id"]).request == "How do I open my own front door when I lost the key?"


def test_a_bad_file_gets_one_sentence_and_what_was_written_stays(page: Page, tmp_path: Path) -> None:
    disguised = tmp_path / "holiday.mp4"
    disguised.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n")
    write(page, "What happens here?")
    drop(page, disguised)
    assert "holiday.mp4" in page.inner_text("#gr-preview [role=alert]")
    assert page.locator("#gr-preview video").count() == 0
    page.click("#gr-go")
    page.wait_for_selector(FAILED)
    assert "holiday.mp4" in page.inner_text(".gr-sentence")
    shoot(page, "bad-file")
    assert page.input_value("#gr-box textarea") == "What happens here?"
    page.locator("#gr-box .delete-button").click()
    page.wait_for_selector("#gr-preview .gr-message", state="hidden")
    judge(page)


def test_a_second_file_takes_the_place_of_the_first(page: Page) -> None:
    write(page, "What does this page say?")
    drop(page, FOLDER / "recipe.png")
    page.locator("#gr-box input[type=file]").set_input_files(FOLDER / "letter.png")
    page.wait_for_selector("#gr-preview img[src*='letter.png']")
    page.wait_for_function("() => document.querySelectorAll('#gr-box .thumbnail-item').length === 1")
    assert page.input_value("#gr-box textarea") == "What does this page say?"
    judge(page)


def test_an_empty_request_is_asked_for(page: Page) -> None:
    page.click("#gr-go")
    page.wait_for_selector(FAILED)
    assert "The request is empty" in page.inner_text(".gr-sentence")
    shoot(page, "empty-request")


def test_thresholds_keep_their_order_and_decide_anew_without_the_model(page: Page) -> None:
    write(page, "How do I bake bread?")
    judge(page)
    before = copied(page)
    page.get_by_role("button", name="Thresholds").click()
    block = page.locator("#gr-block input[type=number]")
    block.fill("0.1")
    block.press("Tab")
    page.wait_for_function("() => document.querySelector('#gr-review input[type=number]').value === '0.1'")
    given = "() => JSON.parse(document.querySelector('.gr-copy').dataset.copy).thresholds.block === {}"
    page.wait_for_function(given.format(0.1))
    after = copied(page)
    assert after["id"] == before["id"]
    assert after["thresholds"] == {"review": 0.1, "block": 0.1}
    block.press("Control+A")
    block.press_sequentially("0.95")
    block.press("Tab")
    page.wait_for_function(given.format(0.95))
    assert copied(page)["thresholds"]["review"] == 0.1, "half a typed number moved the other threshold"
    if before["request"]["p_harmful"] is not None and before["error"] is None:
        assert (after["decision"] == "block") is (before["request"]["p_harmful"] >= 0.1)
    review = page.locator("#gr-review input[type=number]")
    review.fill("0.97")
    review.press("Tab")
    page.wait_for_function("() => document.querySelector('#gr-block input[type=number]').value === '0.97'")
    shoot(page, "thresholds")


def test_a_checkpoint_that_cannot_be_loaded_is_explained_and_the_old_one_stays(page: Page, tmp_path: Path) -> None:
    live = page.inner_text(".gr-status .gr-parts")
    (tmp_path / "config.json").write_text('{"model_type": "qwen3_vl"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickled")
    page.click("#gr-change")
    box = page.locator("#gr-source input")
    box.fill(str(tmp_path))
    box.press("Enter")
    page.click("#gr-load")
    page.wait_for_selector("#gr-told [data-kind=bad]")
    said = page.inner_text("#gr-told")
    assert "pickled" in said
    assert "is still live" in said
    assert page.inner_text(".gr-status .gr-parts") == live
    assert not page.is_visible("#gr-token")
    shoot(page, "checkpoint")


def test_the_page_asks_others_for_the_owners_token(
    browser: Browser, tmp_path: Path, tiny_folder: Callable[[str], Path]
) -> None:
    folder = str(tiny_folder("qwen3_vl"))
    with running(tmp_path, checkpoint=folder, host="0.0.0.0", owner_token="a token to test with") as app:
        visitor = visit(browser, app)
        page = next(visitor)
        page.click("#gr-change")
        page.locator("#gr-source input").fill(folder)
        page.locator("#gr-source input").press("Enter")
        for token, kind, words in (
            ("", "bad", "belongs to the owner"),
            ("another", "bad", "not the owner's token"),
            ("a token to test with", "good", "is live"),
        ):
            page.locator("#gr-token input").fill(token)
            page.click("#gr-load")
            page.wait_for_function(
                "([kind, words]) => "
                "document.querySelector(`#gr-told [data-kind=${kind}]`)?.textContent.includes(words)",
                arg=[kind, words],
            )
        shoot(page, "owner")
        next(visitor, None)


def test_copy_puts_the_verdict_on_the_clipboard(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    write(page, "Good morning.")
    judge(page)
    # The word goes back by itself after a moment, which a busy machine may miss; what was shown is written down.
    page.evaluate(
        """() => {
          window.shown = [];
          const button = document.querySelector(".gr-copy");
          new MutationObserver(() => window.shown.push(button.textContent)).observe(button, {childList: true});
        }"""
    )
    page.click(".gr-copy")
    page.wait_for_function("() => window.shown.includes('Copied')")
    assert json.loads(page.evaluate("navigator.clipboard.readText()")) == copied(page)
    page.wait_for_function("() => document.querySelector('.gr-copy').textContent === 'Copy as JSON'")


def test_everything_can_be_done_with_the_keyboard(page: Page) -> None:
    page.locator("#gr-box textarea").focus()
    page.keyboard.type("Good evening.")
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert "gr-go" in reached
    assert "A poem" in reached
    page.focus("#gr-go")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.locator("#gr-box textarea").press("Shift+Enter")
    page.wait_for_selector(DONE)


def test_a_phone_shows_everything_without_scrolling_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="A short clip").click()
    page.wait_for_selector("#gr-preview video")
    judge(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("#gr-change")
    page.wait_for_selector("#gr-source input")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shoot(page, "phone")


def test_dark_and_light_are_remembered(page: Page) -> None:
    def is_dark() -> bool:
        return bool(page.evaluate("document.body.classList.contains('dark')"))

    page.get_by_role("button", name="A drawn scene").click()
    page.wait_for_selector("#gr-preview img")
    judge(page)
    before = is_dark()
    page.click("[data-theme-toggle]")
    assert is_dark() is not before
    shoot(page, "dark")
    page.reload()
    page.wait_for_selector(READY)
    assert is_dark() is not before
    page.click("[data-theme-toggle]")
    assert is_dark() is before


def test_every_control_has_a_name(page: Page) -> None:
    judge_nothing = page.evaluate(
        """() => [...document.querySelectorAll("button, input, textarea, select, video, img")]
          .filter((e) => e.checkVisibility())
          .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length || e.title
            || e.getAttribute("aria-labelledby") || e.alt !== undefined))
          .map((e) => e.outerHTML.slice(0, 160))"""
    )
    assert judge_nothing == []
