"""A small chat completions server on loopback, over a real model: what the URL engine is tested against.

It builds prompts as servers do, by rendering the chat template and reading control strings anywhere in the result, so
that a text which is not escaped does its harm. Switches make it refuse, break off, or lack what some servers lack.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import torch
from PIL import Image

from core.engines.transformers_engine import TransformersEngine
from core.media.vision import DecodedMedia
from core.prompt.encode import stack_pixels
from tests.openai_model import Script, Tap

MODEL = "tiny-guard"
MAX_BODY = 64 * 1024**2


@dataclass
class Switches:
    """How the server behaves; may be changed while it runs."""

    key: str | None = None
    status: int | None = None
    """Answer every request with this status."""
    chat_status: int | None = None
    """The same, for chat completions only."""
    not_json: bool = False
    models: tuple[str, ...] = (MODEL,)
    max_model_len: int | None = 4096
    logprobs: bool = True
    refuses_logprobs: bool = False
    continues: bool = True
    ignores_prefix: bool = False
    """Accept the beginning of an answer and start a new one."""
    tokenizes: bool = True
    reasoning: str | None = None
    """Send the reasoning apart, in a field of this name."""
    script: bool = True
    """Make the model keep to the answer's form; the labels and their probabilities stay its own choice."""
    drop_after: int | None = None
    """Break the connection after so many tokens."""
    fail_after: int | None = None
    """Send an error event after so many tokens."""
    slow_s: float = 0.0
    """Wait before each token."""
    endless: bool = False
    """Take no notice of max_tokens."""


@dataclass
class Seen:
    """What the server has noticed."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    prompts: list[list[int]] = field(default_factory=list)
    """Token ids of every prompt, pictures unexpanded."""
    pictures: list[tuple[int, int]] = field(default_factory=list)
    """Width and height of every picture."""
    tokens: int = 0
    aborted: int = 0
    """Answers during which the caller hung up."""
    busiest: int = 0
    """Most requests in flight at once."""


class HungUp(Exception):
    """The caller is gone, or is to be dropped."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if not self._is_fine():
            return
        switches = self.server.switches
        if self.path == "/v1/models":
            more = {"max_model_len": switches.max_model_len} if switches.max_model_len else {}
            self._send(200, {"object": "list", "data": [{"id": name, **more} for name in switches.models]})
        else:
            self._send(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if length > MAX_BODY:
            return self._send(413, {"detail": "too long"})
        body = json.loads(self.rfile.read(length))
        if not self._is_fine():
            return None
        switches, seen = self.server.switches, self.server.seen
        if self.path == "/tokenize" and switches.tokenizes:
            ids, _ = self.server.prompt(body)
            return self._send(200, {"count": len(ids), "max_model_len": switches.max_model_len, "tokens": ids})
        if self.path != "/v1/chat/completions":
            return self._send(404, {"detail": "Not Found"})
        if switches.chat_status is not None:
            return self._send(switches.chat_status, {"error": {"message": f"no, {self.headers.get('Authorization')}"}})
        if body.get("continue_final_message") and not switches.continues:
            return self._send(400, {"object": "error", "message": "continue_final_message is not known here"})
        if body.get("logprobs") and switches.refuses_logprobs:
            return self._send(400, {"error": {"message": "logprobs are not known here"}})
        seen.requests.append(body)
        seen.authorizations.append(self.headers.get("Authorization"))
        try:
            self.server.answer(body, self._stream if body.get("stream") else self._collect)
        except (HungUp, ConnectionError):
            seen.aborted += 1
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        return None

    def _is_fine(self) -> bool:
        switches = self.server.switches
        if switches.key is not None and self.headers.get("Authorization") != f"Bearer {switches.key}":
            self._send(401, {"error": "Unauthorized"})
        elif switches.status is not None:
            self._send(switches.status, {"error": {"message": "the engine is dead"}})
        elif switches.not_json:
            self._send_bytes(200, b"<html>hello</html>")
        else:
            return True
        return False

    def _send(self, status: int, value: Any) -> None:
        self._send_bytes(status, json.dumps(value).encode())

    def _send_bytes(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def _collect(self, chunks: Iterator[dict[str, Any]]) -> None:
        text, entries, last = "", [], {}
        for chunk in chunks:
            last = chunk
            for choice in chunk["choices"]:
                text += choice["delta"].get("content", "")
                entries += (choice["logprobs"] or {}).get("content", [])
        logprobs = {"content": entries} if entries else None
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": logprobs}
        self._send(200, {"object": "chat.completion", "choices": [choice], "usage": last["usage"]})

    def _stream(self, chunks: Iterator[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        for chunk in chunks:
            # Unescaped, as vLLM writes it: line separators of Unicode stand inside the value.
            self._chunk(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode())
        self._chunk(b": a comment\r\n\r\ndata: [DONE]\n\n")
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    """Serves one engine's model; requests are taken at once and computed one after the other."""

    daemon_threads = False
    request_queue_size = 128  # as real servers have; with the default of five, many callers at once are dropped
    block_on_close = True

    def __init__(self, engine: TransformersEngine, switches: Switches) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.engine = engine
        self.switches = switches
        self.seen = Seen()
        self.closing = threading.Event()
        self._model_lock = threading.Lock()
        self._counting = threading.Lock()
        self._in_flight = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def prompt(self, body: dict[str, Any]) -> tuple[list[int], list[DecodedMedia]]:
        """Ids of the rendered messages, control strings read wherever they stand, and the pictures."""
        media = []
        conversation = []
        for message in body["messages"]:
            content = message["content"]
            if not isinstance(content, str):
                parts = []
                for part in content:
                    if part["type"] == "image_url":
                        data = base64.b64decode(part["image_url"]["url"].split(",", 1)[1])
                        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
                        media.append(DecodedMedia(pixels[None]))
                        parts.append({"type": "image"})
                    else:
                        parts.append(part)
                content = parts
            conversation.append({"role": message["role"], "content": content})
        going_on = bool(body.get("continue_final_message")) and not self.switches.ignores_prefix
        text = self.engine.tokenizer.apply_chat_template(
            conversation,
            tokenize=False,
            add_generation_prompt=not going_on,
            continue_final_message=going_on,
        )
        return self.engine.tokenizer.encode(text, add_special_tokens=False), media

    def _inputs(self, ids: list[int], media: Sequence[DecodedMedia]) -> dict[str, torch.Tensor]:
        """What the model reads, its placeholders expanded."""
        encoder = self.engine.encoder
        if encoder.vision is None or not media:
            return {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        patches = [encoder.patches(medium) for medium in media]
        pixels, grids = stack_pixels(patches)
        pad, merged = encoder.controls["<|image_pad|>"], encoder.vision.merge_size**2
        waiting = iter(grids.prod(1) // merged)
        long = torch.tensor([[at for each in ids for at in ([each] * (next(waiting) if each == pad else 1))]])
        return {
            "input_ids": long,
            "attention_mask": torch.ones_like(long),
            "mm_token_type_ids": (long == pad).int(),
            "pixel_values": torch.from_numpy(pixels),
            "image_grid_thw": torch.from_numpy(grids),
        }

    def answer(self, body: dict[str, Any], write: Callable[[Iterator[dict[str, Any]]], None]) -> None:
        """Generate, and hand the chunks to `write` as they come."""
        with self._counting:
            self._in_flight += 1
            self.seen.busiest = max(self.seen.busiest, self._in_flight)
        try:
            with self._model_lock, closing(self._chunks(body)) as chunks:
                write(chunks)
        finally:
            with self._counting:
                self._in_flight -= 1

    def _chunks(self, body: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        ids, media = self.prompt(body)
        self.seen.prompts.append(ids)
        self.seen.pictures += [(medium.frames.shape[2], medium.frames.shape[1]) for medium in media]
        with closing(self._deltas(body, ids, media)) as deltas:
            for number, (delta, entries) in enumerate(deltas):
                if number == self.switches.drop_after:
                    raise HungUp
                if number == self.switches.fail_after:
                    yield {"error": {"message": "the model ran out of memory", "code": 500}, "choices": []}
                    return
                finish = delta.pop("finish", None)
                logprobs = {"content": entries} if entries and body.get("logprobs") and self.switches.logprobs else None
                choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
                yield {"object": "chat.completion.chunk", "choices": [choice]}
        yield {"object": "chat.completion.chunk", "choices": [], "usage": {"completion_tokens": self._written}}

    def _deltas(
        self, body: dict[str, Any], ids: list[int], media: Sequence[DecodedMedia]
    ) -> Generator[tuple[dict[str, Any], list[dict[str, Any]]], None, None]:
        """Every token's delta. The model runs in a thread that waits until its token is taken."""
        protocol = self.engine.encoder.protocol
        last = body["messages"][-1]
        prefix = last["content"] if last["role"] == "assistant" and not self.switches.ignores_prefix else ""
        user = json.dumps(body["messages"][1]["content"])
        absent = json.dumps(f"{protocol.response_header}{protocol.no_response}{protocol.response_footer}")[1:-1]
        queue: list[tuple[str, dict[str, Any]]] = []
        failures: list[Exception] = []
        gone = threading.Event()
        ready, taken = threading.Semaphore(0), threading.Semaphore(0)

        def tell(text: str, entry: dict[str, Any]) -> None:
            self.closing.wait(self.switches.slow_s)
            if gone.is_set() or self.closing.is_set():
                raise HungUp
            self.seen.tokens += 1
            queue.append((text, entry))
            ready.release()
            taken.acquire()

        tap = Tap(self.engine, tell)
        steps: list[Any] = [tap]
        if self.switches.script:
            steps.insert(0, Script(self.engine, prefix, absent not in user))
        inputs = self._inputs(ids, media)
        most = 256 if self.switches.endless else int(body["max_tokens"])

        def run() -> None:
            try:
                self.engine.model.generate(
                    **inputs,
                    max_new_tokens=most,
                    do_sample=False,
                    logits_processor=steps,
                    streamer=tap,
                )
            except Exception as failure:
                failures.append(failure)
            finally:
                ready.release()

        self._written = 0
        writer = threading.Thread(target=run, name="test-server-model")
        writer.start()
        thinking = self.switches.reasoning is not None
        try:
            while ready.acquire() and queue:
                text, entry = queue.pop()
                taken.release()
                self._written += 1
                if not thinking or self.switches.reasoning is None:
                    yield {"content": text}, [entry]
                elif entry["token"] == protocol.think_close:
                    thinking = False  # the tags themselves are swallowed, log probabilities and all
                elif entry["token"] != protocol.think_open:
                    yield {self.switches.reasoning: text}, [entry]
            if failures:
                raise failures[0]
            yield {"content": "", "finish": "stop" if tap.ended else "length"}, []
        finally:
            gone.set()
            taken.release()
            writer.join()


@contextmanager
def serving(engine: TransformersEngine, **switches: Any) -> Iterator[Server]:
    """A server for the length of a with block; no thread of it is left afterwards."""
    server = Server(engine, Switches(**switches))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="test-server")
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
