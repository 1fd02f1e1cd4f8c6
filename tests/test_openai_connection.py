"""The way to a server: addresses, keys and models, what breaks on it, and the rules that need no server."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
import traceback
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.base import Decoding, Piece, Prompt
from core.engines.openai_chat import Transcript, p_harmful
from core.engines.openai_engine import OpenAIEngine, connect
from core.engines.openai_http import Events, Line, base_address
from core.errors import EngineError
from core.types import Decision, FinishReason, Sample
from tests.openai_client import GREEDY, KEY, PROTOCOL, SAMPLES, connected, guard_of, listen, settings
from tests.openai_server import MODEL

# -- addresses, models and keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "base"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        ("http://h:8000/v1", "http://h:8000/v1"),
        (" http://h:8000/v1/ ", "http://h:8000/v1"),
        ("http://h:8000/v1/chat/completions", "http://h:8000/v1"),
        ("https://h/openai/v1", "https://h/openai/v1"),
        ("https://h/api/v3", "https://h/api/v3"),
        ("http://[::1]:80/guard", "http://[::1]/guard/v1"),
    ],
)
def test_the_address_is_taken_as_people_write_it(written: str, base: str) -> None:
    assert str(base_address(written)) == base


@pytest.mark.parametrize("written", ["", "localhost:8000", "ftp://h/v1", "http://", "http://h:port/v1", "/v1"])
def test_what_is_no_address_is_refused_by_name(written: str) -> None:
    with pytest.raises(EngineError, match=re.escape(repr(written))):
        base_address(written)


@pytest.mark.parametrize("written", [f"http://me:{KEY}@h/v1", f"http://h/v1?key={KEY}", f"http://{KEY}@h"])
def test_an_address_that_holds_a_secret_is_refused_without_showing_it(written: str) -> None:
    with pytest.raises(EngineError, match="GUARDROOM_ENGINE_KEY") as caught:
        base_address(written)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
def test_it_connects_with_and_without_the_version(serve: Any, tail: str) -> None:
    with serve() as server:
        engine, protocol, spec = connect(settings(server.url.removesuffix("/v1") + tail))
        engine.close()
    assert (engine.info.id, protocol, spec.factor) == (MODEL, PROTOCOL, 32)
    assert engine.info.source == server.url


def test_the_named_model_is_chosen_and_an_unknown_one_refused_with_the_names_there(serve: Any) -> None:
    with serve(models=("other", MODEL)) as server:
        with connected(server, engine_model=MODEL) as engine:
            assert engine.info.id == MODEL
            assert server.seen.requests[-1]["model"] == MODEL
        with connected(server) as engine:
            assert engine.info.id == "other"
        with pytest.raises(EngineError, match=rf"'missing'.*other, {MODEL}"):
            connect(settings(server.url, engine_model="missing"))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"key": KEY}, "GUARDROOM_ENGINE_KEY"),
        ({"status": 500}, "500: the engine is dead"),
        ({"status": 301}, "301"),
        ({"status": 404}, "404"),
        ({"not_json": True}, "JSON"),
        ({"models": ()}, "no model"),
        ({"chat_status": 500}, "500"),
        ({"chat_status": 400}, "400"),
    ],
)
def test_a_server_that_cannot_be_used_is_refused_in_one_sentence(serve: Any, how: dict[str, Any], says: str) -> None:
    with serve(**how) as server, pytest.raises(EngineError) as caught:
        connect(settings(server.url))
    assert says in str(caught.value)
    assert server.url.removesuffix("/v1") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_named(serve: Any) -> None:
    with serve() as server:
        url = server.url
    with pytest.raises(EngineError, match=re.escape(f"{url} cannot be reached")):
        connect(settings(url))


def test_a_protocol_that_is_not_there_is_named() -> None:
    with pytest.raises(EngineError, match="no-such-protocol"):
        connect(settings("http://127.0.0.1:1/v1", protocol="no-such-protocol"))


def test_the_key_is_sent_and_never_shown(serve: Any) -> None:
    shown = []
    with serve(key=KEY) as server:
        with connected(server, engine_key=KEY) as engine:
            assert set(server.seen.authorizations) == {f"Bearer {KEY}"}
            shown += [repr(vars(engine)), repr(vars(engine._chat)), repr(engine.info)]
            server.switches.chat_status = 500  # this answer repeats the key
            with pytest.raises(EngineError) as caught:
                engine.first_look(SAMPLES[:1])
            shown += traceback.format_exception(caught.value)
        server.switches.key = "another"
        with pytest.raises(EngineError) as caught:
            connect(settings(server.url, engine_key=KEY))
        shown += traceback.format_exception(caught.value)
    for key in (f"{KEY}\n{KEY}", f"{KEY} x", f"{KEY}é"):
        with pytest.raises(EngineError, match="GUARDROOM_ENGINE_KEY") as caught:
            Line("http://127.0.0.1:1", key)
        shown += traceback.format_exception(caught.value)
    assert KEY not in "".join(shown)


# -- what goes wrong in the middle --------------------------------------------------------------------------------


def test_a_connection_that_breaks_in_mid_stream_is_said(serve: Any) -> None:
    with serve() as server, connected(server) as engine:
        server.switches.drop_after = 5
        heard: list[Any] = []
        with pytest.raises(EngineError, match="broke the connection in the middle of an answer"):
            engine.complete(SAMPLES[0], replace(GREEDY, max_new_tokens=64), threading.Event(), heard.append)
        assert sum(isinstance(event, Piece) for event in heard) >= 1
        server.switches.drop_after = None
        assert listen(engine, SAMPLES[0])[1].finish_reason is FinishReason.STOP


@contextlib.asynccontextmanager
async def hanging_up(first: int) -> AsyncIterator[tuple[Line, list[bytes]]]:
    """A server that closes its first connections when it has read a request, and answers the later ones."""
    asked: list[bytes] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head, re.IGNORECASE)[0])))
        if len(asked) > first:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    async with server:
        line = Line(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None)
        try:
            yield line, asked
        finally:
            await line.close()


def test_a_request_whose_connection_ends_before_the_answer_is_sent_once_more() -> None:
    async def ask() -> tuple[Any, list[bytes]]:
        async with hanging_up(1) as (line, asked):
            return await line.post("/chat/completions", {"model": "m"}), asked

    said, asked = asyncio.run(ask())
    assert said == {}
    assert len(asked) == 2
    assert asked[0] == asked[1]


def test_a_server_that_always_hangs_up_is_said_after_the_second_time() -> None:
    async def ask() -> list[bytes]:
        async with hanging_up(9) as (line, asked):
            with pytest.raises(EngineError, match=r"broke the connection\.$"):
                await line.post("/chat/completions", {"model": "m"})
            return asked

    assert len(asyncio.run(ask())) == 2


def test_an_error_event_in_mid_stream_is_said(serve: Any) -> None:
    with serve() as server, connected(server) as engine:
        server.switches.fail_after = 5
        with pytest.raises(EngineError, match="ran out of memory"):
            listen(engine, SAMPLES[0])


def test_a_silent_server_counts_as_gone(serve: Any) -> None:
    with serve() as server, connected(server, silence_s=0.5) as engine:
        server.switches.slow_s = 5.0
        with pytest.raises(EngineError, match=r"nothing for 0\.5 seconds"):
            listen(engine, SAMPLES[0])


def test_stop_hangs_up_and_the_server_writes_no_more(serve: Any) -> None:
    with serve() as server, connected(server) as engine:
        server.switches.slow_s = 0.02
        stop = threading.Event()
        heard: list[Any] = []

        def hear(event: Any) -> None:
            heard.append(event)
            if len(heard) == 4:
                stop.set()

        _, completion = engine.complete(SAMPLES[0], GREEDY, stop, hear)
        assert completion.finish_reason is FinishReason.CANCELLED
        assert len(heard) <= 6
        assert completion.text == "".join(event.text for event in heard if isinstance(event, Piece))
        deadline = time.monotonic() + 5
        while not server.seen.aborted and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.seen.aborted == 1


def test_stop_does_not_wait_for_a_silent_server(serve: Any) -> None:
    with serve() as server, connected(server) as engine:
        server.switches.slow_s = 10.0
        stop = threading.Event()
        threading.Timer(0.1, stop.set).start()
        begin = time.perf_counter()
        verdict = guard_of(engine).moderate(Sample("How do I bake bread?"), stop=stop)
        assert time.perf_counter() - begin < 2
        assert verdict.decision is Decision.REVIEW
        assert verdict.generation is not None
        assert verdict.generation.finish_reason is FinishReason.CANCELLED


def test_a_server_that_knows_no_end_is_left_and_the_answer_counts_as_cut_off(serve: Any) -> None:
    with serve(endless=True, script=False) as server, connected(server) as engine:
        _, completion, heard = listen(engine, SAMPLES[0], Decoding(10))
    assert completion.finish_reason is FinishReason.LENGTH
    assert len(heard) <= 13


def test_an_answer_that_is_cut_off_goes_to_review(serve: Any) -> None:
    with serve() as server, connected(server) as engine:
        engine.info = replace(engine.info, max_new_tokens=8)
        verdict = guard_of(engine).moderate(Sample("How do I bake bread?"))
    assert verdict.decision is Decision.REVIEW
    assert verdict.error is not None
    assert "cut off" in verdict.error


def test_it_works_where_the_thread_has_a_loop_of_its_own(serve: Any) -> None:
    async def notebook(engine: OpenAIEngine) -> Sequence[Any]:
        return engine.first_look(SAMPLES[:1])

    with serve() as server, connected(server) as engine:
        assert asyncio.run(notebook(engine))[0].request is not None


# -- the rules without a server -----------------------------------------------------------------------------------

EVENTS = ["plain", 'two\u2028 lines\u0085 and \x0b "quotes"', "[DONE]", "日本語"]
BYTES = "".join(f": ping\r\n\r\ndata: {event}\n\nevent: x\r\ndata:{event}\r\n\r\n" for event in EVENTS).encode()


@given(st.lists(st.integers(0, len(BYTES)), max_size=8).map(sorted))
def test_events_are_the_same_however_the_bytes_arrive(cuts: list[int]) -> None:
    reader = Events()
    borders = [0, *cuts, len(BYTES)]
    found = [event for a, b in pairwise(borders) for event in reader.feed(BYTES[a:b])]
    assert found == [event for event in EVENTS for _ in range(2)]


def entry(token: str, p: float) -> dict[str, Any]:
    return {"token": token, "logprob": float(np.log(p))}


def test_the_probability_is_a_softmax_over_tokens_that_begin_one_of_the_words() -> None:
    listed = [entry(" harm", 0.3), entry("Harmful", 0.1), entry(" un", 0.2), entry(" ", 0.2), entry(" None", 0.1)]
    assert p_harmful(listed, PROTOCOL) == pytest.approx(0.4 / 0.6)
    assert p_harmful([entry(" None", 0.9), entry("\n", 0.1)], PROTOCOL) is None


def test_a_word_that_is_not_listed_counts_with_the_most_that_it_can_have() -> None:
    assert p_harmful([entry(" harmful", 0.9), entry(" x", 0.05)], PROTOCOL) == pytest.approx(0.9 / 0.95)
    assert p_harmful([entry(" unharmful", 0.99)], PROTOCOL) == pytest.approx(0.01)
    assert p_harmful([entry(" harmful", 1.0)], PROTOCOL) == 1.0


def written(*deltas: dict[str, str]) -> Transcript:
    transcript = Transcript(PROTOCOL, Prompt(Sample("x")), time.perf_counter())
    for delta in deltas:
        entries = [{"token": text, "logprob": 0.0, "top_logprobs": [entry(" harmful", 0.8), entry(" unharmful", 0.2)]}
                   for text in delta.values()]  # fmt: skip
        transcript.take({"choices": [{"delta": delta, "logprobs": {"content": entries}}]})
    return transcript


def test_labels_quoted_in_the_reasoning_give_no_probability() -> None:
    quoted = {"content": "<think>\n1. <result>\nRequest:"}, {"content": " harmful"}, {"content": "\n</result>"}
    done = written(*quoted).completion(FinishReason.STOP)
    assert (done.probability.request, done.answer) == (None, "")


def test_reasoning_that_comes_back_after_the_answer_has_begun_stands_where_the_parser_refuses_it() -> None:
    done = written({"reasoning": "a"}, {"content": "b"}, {"reasoning": "c"}).completion(FinishReason.STOP)
    assert PROTOCOL.think_open in done.answer
    assert done.text.startswith(PROTOCOL.think_open)
