"""Stored media for the page: only under an address that came with an item, and only when every byte is right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.shared.media_addresses import PREFIX
from core.errors import GuardroomError, MediaDamaged

if TYPE_CHECKING:
    from app.shared.services import Services

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=600",
    "Referrer-Policy": "no-referrer",
}


def serve(web: Any, services: Services) -> None:
    """Add the route to the running web application, before those of Gradio."""
    from starlette.responses import FileResponse, PlainTextResponse, Response
    from starlette.routing import Route

    def medium(request: Any) -> Response:
        digest, kind = request.path_params["digest"], request.path_params["kind"]
        key, run = request.query_params.get("key", ""), request.query_params.get("run", "")
        if not services.addresses.opens(digest, kind, key, run):
            return PlainTextResponse("Not found", 404, headers=HEADERS)
        from annotation_store.reading.media import media_path

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
