"""Stored media for the page: only under an address that came with an item, and only when every byte is right."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from core.errors import GuardroomError, MediaDamaged
from core.types import MediaRef

if TYPE_CHECKING:
    from app.shared.services import Services

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

    def of(self, ref: MediaRef, run: str = "") -> str:
        """Relative to the page, so that it works behind a path prefix as well.

        Args:
            run: the evaluation whose file it is; a medium of a stored sample unless given.
        """
        kind = ref.media_type.replace("/", ".", 1)
        where = f"&run={quote(run)}" if run else ""
        return f"{PREFIX}/{ref.digest}/{kind}?key={self._sign(ref.digest, kind, run)}{where}"

    def opens(self, digest: str, kind: str, key: str, run: str = "") -> bool:
        """Whether the address was handed out by this process."""
        return hmac.compare_digest(self._sign(digest, kind, run).encode(), key.encode("utf-8", "replace"))

    def _sign(self, digest: str, kind: str, run: str) -> str:
        said = f"{digest} {kind} {run}".encode("utf-8", "replace")
        return hmac.new(self.key, said, hashlib.sha256).hexdigest()[:40]


def serve(web: Any, services: Services) -> None:
    """Add the route to the running web application, before those of Gradio."""
    from starlette.responses import FileResponse, PlainTextResponse, Response
    from starlette.routing import Route

    def medium(request: Any) -> Response:
        digest, kind = request.path_params["digest"], request.path_params["kind"]
        key, run = request.query_params.get("key", ""), request.query_params.get("run", "")
        if not services.addresses.opens(digest, kind, key, run):
            return PlainTextResponse("Not found", 404, headers=HEADERS)
        from annotation_store.media_reading import media_path

        try:
            path = _evaluated(services, run, digest) if run else media_path(services.store(), services.media, digest)
        except MediaDamaged as error:
            return PlainTextResponse(str(error), 410, headers=HEADERS | {"Cache-Control": "no-store"})
        except GuardroomError as error:
            return PlainTextResponse(str(error), 404, headers=HEADERS | {"Cache-Control": "no-store"})
        return FileResponse(path, media_type=kind.replace(".", "/", 1), headers=HEADERS)

    web.router.routes.insert(0, Route(f"/{PREFIX}/{{digest}}/{{kind}}", medium, methods=["GET", "HEAD"]))


def _evaluated(services: Services, run: str, digest: str) -> Path:
    """A medium of an evaluation's rows, which need not be in the store; its bytes are checked just the same.

    Raises:
        JobError: the run is gone.
        MediaError: the file is gone.
        MediaDamaged: its bytes have changed.
    """
    from core.media.store import MediaStore
    from train_jobs.evaluation.rows import media_folder
    from train_jobs.runs.folder import find_run

    folder = media_folder(find_run(services.runs, run))
    return MediaStore(folder, services.media.limits, services.media.reader).verified_path(digest)
