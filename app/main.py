"""Settings to services to page: the only place where the parts are put together."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from app.shared.identity import OwnerGate, is_reachable
from core.errors import GuardroomError
from core.settings import ASSETS, Settings, load_settings

MAX_THREADS = 96
"""More than may wait for the guard at once, so that Stop always finds a free one."""


def main() -> int:
    """Run until interrupted. Returns the process's exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = load_settings()
    except GuardroomError as error:
        print(error, file=sys.stderr)
        return 2
    uploads = Path(tempfile.mkdtemp(prefix="guardroom-"))
    # Before gradio is imported: what people upload lies in a folder of this process, which goes when the process goes.
    os.environ.setdefault("GRADIO_TEMP_DIR", str(uploads))
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        return _run(settings)
    finally:
        shutil.rmtree(uploads, ignore_errors=True)


def _run(settings: Settings) -> int:
    from app import ui
    from app.shared import media_route, promotion
    from app.shared.services import Services
    from core.media.store import MediaLimits, MediaStore
    from core.media.video import VideoReader
    from core.serving.live import LiveGuard

    host = "0.0.0.0" if os.environ.get("SPACE_ID") else settings.host
    token = settings.owner_token.get_secret_value() if settings.owner_token else None
    gate = OwnerGate.build(is_reachable(host, os.environ), token)
    limits = MediaLimits(
        max_bytes=settings.max_file_bytes,
        max_image_pixels=settings.max_image_pixels,
        max_video_seconds=settings.max_video_seconds,
        decode_timeout_s=settings.decode_timeout_s,
        decode_memory_bytes=settings.decode_memory_bytes,
    )
    media = MediaStore(settings.data / "media", limits, VideoReader(limits))
    services = Services(settings, media, LiveGuard(settings, media), gate, uploads=Path(os.environ["GRADIO_TEMP_DIR"]))
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, end)
    try:
        page = ui.build(services)
        web, url, shared_url = page.launch(**_launch_options(settings, host), **ui.look())
        media_route.serve(web, services)
        # Only now: torch must not stand between the start and the first page.
        promotion.start_guard(services)
        services.look_after_jobs()
        print(f"Guardroom is at {url} (Ctrl+C ends it).", flush=True)
        if shared_url:
            print(f"It is shared at {shared_url}.", flush=True)
        if gate.reachable and gate.made_here:
            print(f"Others can reach it, so owner actions ask for this token: {gate.token}", flush=True)
        with contextlib.suppress(GuardroomError):  # a video will then say what is wrong
            media.reader.warm_up()
        ended.wait()
        page.close(verbose=False)
    except OSError:
        print(
            f"Guardroom cannot listen on {host}:{settings.port}: the port is taken, or the address is not this "
            "machine's; name others with GUARDROOM_PORT and GUARDROOM_HOST.",
            file=sys.stderr,
        )
        return 1
    finally:
        services.close()
    return 0


def _free_port(host: str) -> int:
    """A port that nothing listens on. Gradio's own search begins at one port, where apps that start at once collide.

    Raises:
        OSError: the address is not this machine's.
    """
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as found:
        return int(found.getsockname()[1])


def _launch_options(settings: Settings, host: str) -> dict[str, Any]:
    """What Gradio may do and serve: example files alone; never the data folder nor a checkpoint."""
    blocked = [settings.data, ASSETS / "builtin_guard", ASSETS / "protocols", Path(".env")]
    checkpoint = Path(settings.checkpoint).expanduser()
    if checkpoint.exists():
        blocked.append(checkpoint)
    if settings.database_url and settings.database_url.startswith("sqlite:///"):
        blocked.append(Path(settings.database_url.removeprefix("sqlite:///")))
    return {
        "server_name": host,
        "server_port": settings.port or _free_port(host),
        "share": os.environ.get("GRADIO_SHARE", "").lower() == "true",
        "prevent_thread_lock": True,
        "quiet": True,
        "show_error": False,  # our own sentences are shown all the same; a fault of ours is for the terminal
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "mcp_server": importlib.util.find_spec("mcp") is not None,  # the named API as MCP tools
        "pwa": False,
        "footer_links": ["api"],
        "max_threads": MAX_THREADS,
        "max_file_size": settings.max_file_bytes,
        "allowed_paths": [str(ASSETS / "examples")],
        "blocked_paths": [str(path.resolve()) for path in blocked],
    }
