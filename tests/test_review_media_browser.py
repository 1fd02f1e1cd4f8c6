"""Keys for media, several videos in one sample, opening again, and media on a sample's page, in a real Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annotation_store.reading.trails import trail
from annotation_store.store import AnnotationStore
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.types import Label, Sample
from tests.browser import shoot
from tests.review_data import fill
from tests.running import Running, has_weights, limited, running
from tests.video_files import make_video

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Callable[[str], Path]) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("review-media")
    checkpoint = "builtin" if has_weights() else str(limited(tiny_folder("qwen3_vl"), place, 120))
    (place / "data").mkdir()
    with running(place / "data", checkpoint=checkpoint) as app:
        yield app


def two_clips(data: Path, folder: Path) -> Sample:
    reader = VideoReader(MediaLimits(decode_timeout_s=60))
    try:
        media = MediaStore(data / "media", MediaLimits(), reader)
        clips = [make_video(folder / f"clip-{frames}.mp4", frames=frames) for frames in (30, 50)]
        return Sample("What happens in these clips?", None, tuple(media.accept(clip, clip.name) for clip in clips))
    finally:
        reader.close()


def test_keys_serve_the_video_that_was_played_last_and_the_samples_page_shows_both_hidden(
    page: Page, app: Running, tmp_path: Path
) -> None:
    sample = two_clips(app.data, tmp_path)
    fill(app.data, [sample, Sample("How do I bake bread?")])
    page.get_by_role("tab", name="Review").click()
    page.wait_for_selector("#gr-r-media video")
    page.wait_for_function("() => [...document.querySelectorAll('#gr-r-media video')].every((v) => v.readyState >= 1)")
    videos = page.locator("#gr-r-media video")
    videos.nth(1).evaluate("(video) => video.play()")
    page.wait_for_function("() => document.querySelectorAll('#gr-r-media video')[1].currentTime > 0.2")
    for key in ("k", "[", ".", ".", ".", "]"):
        page.keyboard.press(key)
        page.wait_for_timeout(200)
    page.wait_for_selector(".gr-r-evidence li")
    assert page.inner_text(".gr-r-evidence li span").startswith("video 2, ")
    assert videos.evaluate_all("(all) => all.map((v) => [v.paused, v.currentTime > 0])") == [
        [True, False],
        [True, True],
    ]
    page.keyboard.press("w")
    page.keyboard.press("q")
    assert videos.evaluate_all("(all) => all.map((v) => getComputedStyle(v).filter)") == ["blur(28px)"] * 2
    assert videos.evaluate_all("(all) => all.map((v) => v.muted)") == [False, False]
    assert not page.is_checked("[data-r-switch=grey]")
    page.keyboard.press("w")
    page.keyboard.press("q")
    assert videos.evaluate_all("(all) => all.map((v) => v.muted)") == [True, True]

    for keys, rate in (("<", 0.5), (">>", 2)):
        for key in keys:
            page.keyboard.press(key)
        assert videos.evaluate_all("(all) => all.map((v) => v.playbackRate)") == [1, rate]
        assert page.inner_text("[data-r-rate]") == f"{rate}×"
    for state in (False, True):  # played and paused
        page.keyboard.press("Space")
        page.wait_for_function(
            "(paused) => document.querySelectorAll('#gr-r-media video')[1].paused === paused", arg=state
        )
    is_open = page.evaluate("document.querySelector('#gr-r-policy').open")
    for state in (not is_open, is_open):
        page.keyboard.press("p")
        assert page.evaluate("document.querySelector('#gr-r-policy').open") is state

    # A plot for each video; a stretch and the jump to the next harmful one are about its own.
    stretches = page.locator("#gr-r-timeline .gr-stretch")
    assert page.locator("#gr-r-timeline .gr-plot").count() == 2
    assert stretches.evaluate_all("(all) => all.map((each) => each.dataset.position).join('')") == "000111"
    stretches.nth(4).click()
    page.keyboard.press("j")
    stretches.nth(1).click()
    assert videos.evaluate_all("(all) => all.map((v) => v.currentTime)") == [1, 2]

    for key in ("u", "Enter"):
        page.keyboard.press(key)
    other = "(id) => document.querySelector('.gr-r-why').dataset.item !== id"
    page.wait_for_function(other, arg=sample.id)
    page.keyboard.press("l")
    page.wait_for_function("(id) => document.querySelector('.gr-r-why').dataset.item === id", arg=sample.id)
    assert page.is_checked("#gr-r-request input[value=unharmful]")
    for key in ("h", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function(other, arg=sample.id)
    with AnnotationStore.open(app.data / "guardroom.db") as store:
        first, second = trail(store, sample.id).labels
    assert (second.supersedes, second.draft.request) == (first.id, Label.HARMFUL)
    assert [[each.position for each in label.draft.evidence] for label in (first, second)] == [[1], [1]]

    page.get_by_role("tab", name="Samples").click()
    page.locator("#gr-s-id textarea, #gr-s-id input").fill(sample.id)
    page.keyboard.press("Enter")
    page.wait_for_selector(".gr-s-page video")
    shown = page.locator(".gr-s-page video")
    assert shown.evaluate_all("(all) => all.map((v) => getComputedStyle(v).filter)") == ["blur(28px) grayscale(1)"] * 2
    page.locator(".gr-s-page [data-e-reveal]").first.click()
    assert shown.evaluate_all("(all) => all.map((v) => getComputedStyle(v).filter)") == [
        "none", "blur(28px) grayscale(1)",
    ]  # fmt: skip
    shown.first.evaluate("(video) => { video.muted = true; return video.play(); }")
    assert "video 2, " in page.inner_text(".gr-s-page")
    shoot(page, "sample-media")

    # The page has an address, which another browser opens; the browser's own buttons go back and forth.
    url = page.url.partition("#")[0]
    page.goto(f"{url}?again#sample={sample.id}")
    page.wait_for_selector(f".gr-s-page[data-sample='{sample.id}'] a[href='#sample={sample.id}']")
    page.evaluate("location.hash = 'sample=' + encodeURIComponent('<img src=x onerror=document.title=1>%')")
    page.wait_for_selector("#gr-s-shown [data-kind=bad] >> text=onerror")
    page.go_back()
    page.wait_for_selector(f".gr-s-page[data-sample='{sample.id}']")
