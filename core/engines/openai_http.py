"""The line to an OpenAI-compatible server: requests, event streams, and failures as sentences without the key."""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx

from core.errors import EngineError

CONNECT_S = 10.0
SILENCE_S = 300.0
"""Longest wait for the next byte: a busy server may queue a prompt for minutes before its first token."""
MAX_EVENT_BYTES = 4 * 1024**2
"""One event of a stream at most; a token with its alternatives takes a few kilobytes."""
MAX_BODY_BYTES = 4 * 1024**2


class Refused(EngineError):
    """The server answered with an error of its own; `status` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def base_address(url: str) -> httpx.URL:
    """The address below which the API lies, from what people write: with or without /v1, with or without a last slash.

    Raises:
        EngineError: it is no plain http(s) address, or it carries a password.
    """
    try:
        parsed = httpx.URL(url.strip())
    except (httpx.InvalidURL, ValueError):
        parsed = httpx.URL("")
    if parsed.userinfo or parsed.query or parsed.fragment:  # named but not shown: a secret may stand there
        raise EngineError(
            "GUARDROOM_ENGINE_URL holds more than an address (a user name, a password or a query); one like "
            "http://127.0.0.1:8000/v1 is accepted, and the key belongs in GUARDROOM_ENGINE_KEY."
        )
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise EngineError(f"{url!r} is no server address; one like http://127.0.0.1:8000/v1 is accepted.")
    path = parsed.path.rstrip("/").removesuffix("/chat/completions")
    version = path.rsplit("/", 1)[-1]
    if not (version[:1] == "v" and version[1:2].isdigit()):
        path += "/v1"
    return parsed.copy_with(path=path)


class Events:
    """Server-sent events from bytes as they arrive.

    Lines end at LF or CR LF alone: a reader that splits at every Unicode line break would tear a JSON value apart,
    because servers write those unescaped inside it.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._held = 0

    def feed(self, more: bytes) -> Iterator[str]:
        """The data of every event that `more` completes.

        Raises:
            ValueError: an event does not end.
        """
        *lines, self._rest = (self._rest + more).replace(b"\r\n", b"\n").split(b"\n")
        for raw in lines:
            line = raw.rstrip(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
                self._held += len(line)
            elif not line and self._data:
                event, self._data, self._held = b"\n".join(self._data), [], 0
                yield event.decode("utf-8", "replace")
        if len(self._rest) + self._held > MAX_EVENT_BYTES:
            raise ValueError("an event without an end")


class Line:
    """Requests to one server. Belongs to one event loop."""

    def __init__(self, url: str, key: str | None, silence_s: float = SILENCE_S) -> None:
        """Nothing is sent yet.

        Raises:
            EngineError: the address or the key cannot be used.
        """
        self.base = base_address(url)
        self._key = (key or "").strip()
        if not (self._key.isascii() and self._key.isprintable()) or " " in self._key:
            raise EngineError("GUARDROOM_ENGINE_KEY holds characters that no key can have; letters and digits are.")
        self._silence_s = silence_s
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(silence_s, connect=min(CONNECT_S, silence_s), pool=None),
            limits=httpx.Limits(max_connections=None),
            # A proxy is never the way to this machine itself.
            trust_env=not _is_loopback(self.base.host),
        )

    @property
    def name(self) -> str:
        """The server in an error message."""
        return f"The server at {self.base}"

    async def get(self, path: str) -> Any:
        """The JSON value at a path below the base address.

        Raises:
            EngineError: see `post`.
        """
        return await self._value(self._client.build_request("GET", f"{self.base}{path}"))

    async def post(self, path: str, body: dict[str, Any], *, at_root: bool = False) -> Any:
        """Send a JSON value and read one.

        Args:
            at_root: the path lies beside /v1, not below it.

        Raises:
            Refused: the server answered with an error.
            EngineError: it cannot be reached, is silent for too long, or sends no JSON.
        """
        base = str(self.base).rsplit("/", 1)[0] if at_root else str(self.base)
        return await self._value(self._client.build_request("POST", f"{base}{path}", json=body))

    async def stream(self, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Send a JSON value and read events until `[DONE]` or the end. Leaving early closes the connection.

        Raises:
            Refused, EngineError: as `post`; also when the connection breaks in the middle.
        """
        request = self._client.build_request("POST", f"{self.base}{path}", json=body)
        events = Events()
        with self._told():
            response = await self._sent(request)
        try:
            with self._told():
                if response.status_code != httpx.codes.OK:
                    raise self._refusal(response.status_code, await _body(response))
            chunks = response.aiter_bytes()
            while True:
                with self._told("in the middle of an answer"):
                    chunk = await anext(chunks, None)
                    if chunk is None:
                        return
                    values = [event if event == "[DONE]" else json.loads(event) for event in events.feed(chunk)]
                for value in values:
                    if value == "[DONE]":
                        return
                    if not isinstance(value, dict):
                        raise EngineError(f"{self.name} sends events that are no chat completion.")
                    if value.get("error") or value.get("object") == "error":
                        raise EngineError(f"{self.name} failed in the middle of an answer: {self._said(value)}")
                    yield value
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    # -- failures -----------------------------------------------------------------------------------------------

    async def _value(self, request: httpx.Request) -> Any:
        with self._told():
            response = await self._sent(request)
            try:
                body = await _body(response)
            finally:
                await response.aclose()
            if response.status_code != httpx.codes.OK:
                raise self._refusal(response.status_code, body)
            return json.loads(body)

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        """Send; once more where the connection ends before the answer begins.

        A server closes a kept connection after a while, at times in the moment in which it is used again.
        """
        try:
            return await self._client.send(request, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            return await self._client.send(request, stream=True)

    @contextlib.contextmanager
    def _told(self, where: str = "") -> Iterator[None]:
        """Turns what the connection can do wrong into sentences."""
        place = f" {where}" if where else ""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            why = self._clean(str(error)) or type(error).__name__
            raise EngineError(
                f"{self.name} cannot be reached ({why}); check that it runs and that GUARDROOM_ENGINE_URL names it."
            ) from None
        except httpx.TimeoutException:
            raise EngineError(f"{self.name} sent nothing for {self._silence_s:g} seconds{place}.") from None
        except httpx.HTTPError:
            raise EngineError(f"{self.name} broke the connection{place}.") from None
        except ValueError:
            raise EngineError(f"{self.name} sent something{place} that cannot be read as JSON.") from None

    def _refusal(self, status: int, body: bytes) -> Refused:
        if status in (401, 403) and not self._key:
            return Refused(
                f"{self.name} asks for a key; set GUARDROOM_ENGINE_KEY, which is sent only to the server that "
                "GUARDROOM_ENGINE_URL names.",
                status,
            )
        if status in (401, 403):
            return Refused(f"{self.name} does not accept the key; set GUARDROOM_ENGINE_KEY to the right one.", status)
        try:
            said = self._said(json.loads(body))
        except ValueError:
            said = ""
        if status == 404 and said in ("", "Not Found"):
            return Refused(f"{self.name} does not speak the OpenAI API there (it answered 404).", status)
        return Refused(f"{self.name} refused with status {status}{': ' + said if said else '.'}", status)

    def _said(self, value: Any) -> str:
        """The message inside an error value of vLLM, SGLang or FastAPI."""
        for name in ("error", "message", "detail"):
            if isinstance(value, dict) and value.get(name):
                return self._said(value[name])
        return self._clean(value if isinstance(value, str) else json.dumps(value))

    def _clean(self, text: str) -> str:
        """One short line, in which the key cannot stand."""
        line = " ".join(text.split())
        if self._key:
            line = line.replace(self._key, "***")
        return line if len(line) <= 200 else line[:197] + "..."


async def _body(response: httpx.Response) -> bytes:
    """The whole body, if it is not absurdly long.

    Raises:
        ValueError: it is.
    """
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ValueError("a body without an end")
    return body


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
