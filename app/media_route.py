"""Stored media for the page: only under an address that came with an item, and only when every byte is right."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.errors import GuardroomError, MediaDamaged
from core.types import MediaRef

if TYPE_CHECKING:
    from app.services import Services

PREFIX = "guardroom-media"

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=600",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class MediaAddresses:
    """Makes and checks addresses. The key is new at every start, so an old address opens nothing."""

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def of(self, ref: MediaRef) -> str:
        """Relative to the page, so that it works behind a path prefix as well."""
        kind = ref.media_type.replace("/", ".", 1)
        return f"{PREFIX}/{ref.digest}/{kind}?key={self._sign(ref.digest, kind)}"

    def opens(self, digest: str, kind: str, key: str) -> bool:
        """Whether the address was handed out by this process."""
        return hmac.compare_digest(self._sign(digest, kind).encode(), key.encode("utf-8", "replace"))

    def _sign(self, digest: str, kind: str) -> str:
        return hmac.new(self.key, f"{digest} {kind}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:40]


def serve(web: Any, services: Services) -> None:
    """Add the route to the running web application, before those of Gradio."""
    from starlette.responses import FileResponse, PlainTextResponse, Response
    from starlette.routing import Route

    def medium(request: Any) -> Response:
        digest, kind = request.path_params["digest"], request.path_params["kind"]
        if not services.addresses.opens(digest, kind, request.query_params.get("key", "")):
            return PlainTextResponse("Not found", 404, headers=HEADERS)
        from annotation_store.media_reading import media_path

        try:
            path = media_path(services.store(), services.media, digest)
        except MediaDamaged as error:
            return PlainTextResponse(str(error), 410, headers=HEADERS | {"Cache-Control": "no-store"})
        except GuardroomError as error:
            return PlainTextResponse(str(error), 404, headers=HEADERS | {"Cache-Control": "no-store"})
        return FileResponse(path, media_type=kind.replace(".", "/", 1), headers=HEADERS)

    web.router.routes.insert(0, Route(f"/{PREFIX}/{{digest}}/{{kind}}", medium, methods=["GET", "HEAD"]))
