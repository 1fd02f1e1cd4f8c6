"""Sixty script, HTML and Markdown payloads in every text that the app shows: none runs, none becomes an element.

A real Chromium drives the real app, whose guard is a server that answers with the payloads.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from annotation_store.deletion import delete_sample
from annotation_store.incoming.bulk import import_rows
from annotation_store.incoming.values import ImportRow, Refused
from annotation_store.review.claims import claim_sample
from annotation_store.review.decisions import reopen, second_opinion, skip, submit
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import Reason, ReasonKind
from annotation_store.values.review import Evidence, EvidencePart, LabelDraft, Reasoning
from core.checkpoints.folder import named_protocol
from core.prompt.protocol import render_result
from core.types import Assessment, Decision, HarmProbability, Label, Sample
from tests.browser import DONE, SLOW_MS, visit
from tests.media_files import picture_file
from tests.payloads import HITS, PAYLOADS, as_file_name, batches, one_line
from tests.queueing import enqueue
from tests.review import bring, open_store
from tests.running import Running, running
from tests.verdicts import verdict_on

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FILLED = Sample("\n".join(PAYLOADS), "\n".join(reversed(PAYLOADS)))
"""The sample whose page shows everything."""
GONE = Sample("deleted " + PAYLOADS[0])


class _Answers(BaseHTTPRequestHandler):
    """A chat completions server whose guard reasons in payloads."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": PAYLOADS[16], "max_model_len": 65_536}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if self.path != "/v1/chat/completions":
            return self.send_error(404)
        text = model_output()
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            return self._send({"choices": [{"index": 0, "message": message}], "usage": {"completion_tokens": 9}})
        pieces = [text[at : at + 97] for at in range(0, len(text), 97)]
        lines = [
            *({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces),
            {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {"completion_tokens": len(pieces)}},
        ]
        data = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
        return self._reply("text/event-stream", data.encode())

    def _send(self, value: Any) -> None:
        self._reply("application/json", json.dumps(value).encode())

    def _reply(self, kind: str, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def model_output() -> str:
    """All payloads as steps, then a readable result."""
    protocol = named_protocol(None)
    steps = "\n".join(f"{number}. {one_line(payload)}" for number, payload in enumerate(PAYLOADS, 1))
    result = render_result(protocol, Label.HARMFUL, Label.ABSENT)
    return f"{protocol.think_open}\n{steps}\n{protocol.think_close}\n{result}"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("payloads")
    (place / "data").mkdir()
    fill(place / "data" / "guardroom.db")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        with running(place / "data", engine_url=f"http://127.0.0.1:{server.server_port}/v1") as app:
            yield app
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def fill(path: Path) -> None:
    """Payloads in every column of the store that takes a text."""
    with open_store(path) as store:
        for at, some in enumerate(batches(6)):
            whole = "\n".join(some)
            item = Sample(f"{at} {whole}", whole)
            judge(store, item, f"v-{at}", some, some[0])
            enqueue(store, {item.id: [Reason(ReasonKind.REPORTED, 1.0 - at / 100, f"said {whole}", some[-1])]})
            store.report(f"v-{at}", whole, some[1])
        judge(store, FILLED, "v-all", tuple(map(one_line, PAYLOADS)), PAYLOADS[3])
        for number, payload in enumerate(PAYLOADS):
            store.report("v-all", payload, f"{number} {payload}")
            decide_all_ways(store, number, payload)
        bring(store, [ImportRow(1, FILLED, LabelDraft(Label.HARMFUL, Label.HARMFUL), (), PAYLOADS[5], PAYLOADS[6])],
              source=PAYLOADS[7])  # fmt: skip
        refused = [Refused(number, payload) for number, payload in enumerate(PAYLOADS, 1)]
        import_rows(store, refused, source=PAYLOADS[8], file_name=PAYLOADS[9], form="jsonl", imported_by=PAYLOADS[10])
        judge(store, GONE, "v-gone", ("gone",), "guard-1")
        delete_sample(store, GONE.id, PAYLOADS[16], "\n".join(PAYLOADS))


def judge(store: AnnotationStore, sample: Sample, id: str, steps: tuple[str, ...], checkpoint_id: str) -> None:
    """A verdict whose every text is a payload."""
    verdict = verdict_on(
        sample,
        id,
        checkpoint_id=checkpoint_id,
        decision=Decision.REVIEW,
        assessment=Assessment(Label.HARMFUL, Label.UNHARMFUL if sample.response else Label.ABSENT, (), steps),
        first_look=HarmProbability(0.4),
        deliberated=HarmProbability(0.6),
        engine=steps[-1],
        dtype=steps[0],
        preprocessing=steps[0],
        protocol_version=steps[-1],
        warnings=steps,
    )
    store.record(sample, verdict)
    unread = {"decision": Decision.REVIEW, "assessment": None, "error": "\n".join(steps)}
    store.record(sample, verdict_on(sample, f"{id}-unread", checkpoint_id=checkpoint_id, **unread))


def decide_all_ways(store: AnnotationStore, number: int, payload: str) -> None:
    """A label, a skip or a second opinion by a reviewer of that name, with the payload in every text."""
    reviewer = payload[:200]
    token = reopen(store, FILLED.id, reviewer, payload).token
    start = FILLED.request.index(payload)
    steps = (payload, "The request is harmful.", "The response is unharmful.")
    draft = LabelDraft(
        Label.HARMFUL,
        Label.UNHARMFUL,
        (payload,),
        0.5,
        payload,
        Reasoning(steps, (payload, "no"), 1, payload, payload),
        (Evidence(EvidencePart.REQUEST, start, start + len(payload), payload, 1),),
    )  # fmt: skip
    if number % 3 == 0:
        skip(store, token, payload)
        token = claim_sample(store, FILLED.id, reviewer).token
    if number % 3 == 1:
        second_opinion(store, token, payload, draft, policy_version=payload)
        token = reopen(store, FILLED.id, reviewer).token
    submit(store, token, draft, policy_version=payload)


@pytest.fixture
def page(browser: Browser, app: Running) -> Iterator[Page]:
    """A page on which no payload may run; that the browser refuses what some of them name is no fault."""
    visitor = visit(browser, app, may_complain=True)
    page = next(visitor)
    yield page
    unharmed(page)
    next(visitor, None)


def unharmed(page: Page) -> None:
    """Nothing has run and nothing has become an element."""
    assert page.evaluate(HITS) == {"ran": None, "elements": []}


def hover_over(page: Page, selector: str) -> None:
    """Move the pointer across a part of the page, as a handler for it may wait there."""
    box = page.locator(selector).bounding_box()
    assert box is not None, selector
    for row in range(8):
        y = min(box["y"] + box["height"] * (row + 0.5) / 8, 890)
        page.mouse.move(box["x"] + 5, y)
        page.mouse.move(box["x"] + box["width"] - 5, y, steps=4)


def text_of(page: Page, selector: str) -> str:
    """The text as it stands on the page, and in its fields."""
    return str(
        page.evaluate(
            """(selector) => {
              const part = document.querySelector(selector);
              return part.textContent + [...part.querySelectorAll("textarea, input")].map((each) => each.value).join();
            }""",
            selector,
        )
    )


def open_tab(page: Page, *names: str) -> None:
    for name in names:
        page.get_by_role("tab", name=name, exact=True).click()


def test_there_are_sixty_payloads_and_the_watch_sees_them(browser: Browser) -> None:
    assert len(set(PAYLOADS)) == 60
    page = browser.new_page()
    harmed = 0
    for payload in PAYLOADS:
        page.set_content("<p>hello</p>")
        page.evaluate("(payload) => { document.querySelector('p').innerHTML = payload; }", payload)
        page.wait_for_timeout(5)
        found = page.evaluate(HITS)
        harmed += found["ran"] is not None or bool(found["elements"])
    # The others need a place of their own, such as an attribute or a renderer of Markdown.
    assert harmed >= 40
    page.close()


def test_in_the_queue(page: Page) -> None:
    open_tab(page, "Review")
    page.wait_for_selector(".gr-r-why")
    for at, some in enumerate(batches(6)):
        page.wait_for_function(
            "(words) => document.querySelector('#gr-r-texts')?.textContent.includes(words)", arg=f"{at} {some[0]}"[:12]
        )
        shown = text_of(page, "#gr-r-inside")
        for payload in some:
            assert payload.strip() in shown, payload
        page.keyboard.press("a")
        page.wait_for_function("() => document.querySelector('#gr-r-reasoning textarea').value")
        page.locator("#gr-r-note textarea").fill("\n".join(some))
        page.keyboard.press("Escape")
        hover_over(page, "#gr-r-inside")
        unharmed(page)
        page.locator("#gr-r-reasoning textarea").fill("")
        page.keyboard.press("Escape")
        for key in ("h", "Shift+H", "Enter"):
            page.keyboard.press(key)
    page.locator("#gr-r-past button").first.click()
    page.wait_for_timeout(500)
    hover_over(page, "#gr-r-past")


def test_on_the_page_of_a_sample_with_its_whole_trail(page: Page) -> None:
    open_tab(page, "Review", "Samples")
    page.locator("#gr-s-id textarea, #gr-s-id input").fill(FILLED.id)
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#gr-s-shown').textContent.includes('data-hit')")
    shown = text_of(page, "#gr-s-shown")
    for payload in PAYLOADS:
        assert shown.count(payload.split("\n")[0]) >= 4, payload
    hover_over(page, "#gr-s-shown")
    unharmed(page)
    page.locator("#gr-s-words textarea, #gr-s-words input").fill("onerror")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#gr-s-shown mark')")
    hover_over(page, "#gr-s-shown")
    unharmed(page)
    page.locator("#gr-s-id textarea, #gr-s-id input").fill(GONE.id)
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#gr-s-shown').textContent.includes('was deleted on')")
    hover_over(page, "#gr-s-shown")


def test_in_an_import_with_its_columns_cells_file_names_and_refusals(page: Page, tmp_path: Path) -> None:
    file = tmp_path / as_file_name(f"{PAYLOADS[16]}.jsonl")
    rows: list[dict[str, Any]] = [{"request": each, "response": each, "category": each} for each in PAYLOADS]
    rows += [{"request": "x", "response": "y", "request_label": payload} for payload in PAYLOADS]
    rows[0] |= dict.fromkeys(PAYLOADS, "a cell")
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    look_at(page, file)
    page.locator("#gr-d-source textarea, #gr-d-source input").fill(PAYLOADS[17])
    page.locator("#gr-d-column-request input").click()
    page.wait_for_timeout(300)
    unharmed(page)
    page.keyboard.press("Escape")
    page.locator("#gr-d-start").click()
    page.wait_for_function("() => /refused|taken in/.test(document.querySelector('#gr-d-told').textContent)")
    page.wait_for_timeout(500)
    hover_over(page, "#gr-d-told")
    unharmed(page)
    folder = tmp_path / as_file_name(PAYLOADS[0])
    folder.mkdir()
    for number, payload in enumerate(PAYLOADS):
        if number % 2:
            picture_file(folder / as_file_name(f"{number} {payload}"))
        else:
            (folder / as_file_name(f"{number} {payload}")).write_text(payload)
    look_at(page, folder)
    page.locator("#gr-d-start").click()
    page.wait_for_function("() => /refused|taken in/.test(document.querySelector('#gr-d-told').textContent)")
    page.wait_for_timeout(500)
    hover_over(page, "#gr-d-told")


def look_at(page: Page, path: Path) -> None:
    open_tab(page, "Review", "Data")
    page.locator("#gr-d-path textarea, #gr-d-path input").fill(str(path))
    page.locator("#gr-d-look").click()
    page.wait_for_function(
        "(name) => document.querySelector('#gr-d-preview').textContent.includes(name)", arg=path.name[:4]
    )
    hover_over(page, "#gr-d-preview")
    unharmed(page)


def test_in_the_name_of_a_snapshot_and_in_the_filter(page: Page) -> None:
    open_tab(page, "Review", "Data")
    for payload in PAYLOADS[16:19]:
        page.locator("#gr-d-name textarea, #gr-d-name input").fill(payload)
        page.locator("#gr-d-freeze").click()
        page.wait_for_function("() => document.querySelector('#gr-d-frozen').textContent.trim()")
        page.wait_for_timeout(300)
        hover_over(page, "#gr-d-snapshots")
        unharmed(page)


def test_in_a_verdict_as_it_streams_and_in_its_report(page: Page) -> None:
    page.locator("#gr-box textarea").fill("\n".join(PAYLOADS))
    page.locator("#gr-go").click()
    page.wait_for_selector(DONE, timeout=4 * SLOW_MS)  # so long a text is judged in many windows
    shown = text_of(page, "#gr-card")
    for payload in PAYLOADS:
        assert one_line(payload).strip() in " ".join(shown.split("\n")), payload
    hover_over(page, "#gr-card")
    unharmed(page)
    page.locator("#gr-wrong").click()
    page.locator("#gr-note textarea").fill("\n".join(PAYLOADS))
    page.locator("#gr-send").click()
    page.wait_for_function("() => document.querySelector('#gr-said').textContent.trim()")
