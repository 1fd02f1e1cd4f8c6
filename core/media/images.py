"""Pictures to RGB pixels with Pillow: upright, on white, complete or refused."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from core.errors import MediaDamaged
from core.media.identify import FileKind
from core.media.vision import Frames

_READERS = {
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
}
"""The one reader for each kind. Named outright, so Pillow never guesses a format, and so that the size in the header
can be judged by our own limit before Pillow's (a warning, then an error without the size) has a say."""

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How each EXIF orientation is set upright."""

_EXIF_ORIENTATION = 0x0112


@contextmanager
def opened(path: Path, kind: FileKind, max_pixels: int) -> Iterator[Image.Image]:
    """A picture of which only the header was read, its size within the limit.

    Raises:
        MediaDamaged: the header cannot be read, or states too many pixels; the message, like that of every function
            here, is the end of a sentence about the file.
    """
    with path.open("rb") as file, damage_named(kind):
        image = _open_header(file, kind)
        try:
            check_size(image.width, image.height, max_pixels)
            yield image
        finally:
            image.close()


def _open_header(file: BinaryIO, kind: FileKind) -> Image.Image:
    module, reader = _READERS[kind.picture or ""]
    image: Image.Image = getattr(importlib.import_module(module), reader)(file)
    return image


@contextmanager
def damage_named(kind: FileKind) -> Iterator[None]:
    """Turn what Pillow raises for a damaged file (nearly anything) into one sentence."""
    try:
        yield
    except MediaDamaged:
        raise
    except MemoryError:
        raise MediaDamaged(f"needs more memory to decode as {kind.name} than is allowed.") from None
    except Exception as error:
        raise MediaDamaged(f"is a damaged or incomplete {kind.name} file ({_shortened(error)}).") from error


def _shortened(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 100 else text[:99] + "…"


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture or frame without area or beyond the limit.

    Raises:
        MediaDamaged: with both figures in the message.
    """
    if width < 1 or height < 1:
        raise MediaDamaged(f"has a picture of {width} x {height} pixels; both sides must be at least 1.")
    if width * height > max_pixels:
        raise MediaDamaged(
            f"has {width} x {height} = {width * height / 1e6:,.1f} million pixels; "
            f"at most {max_pixels / 1e6:g} million are accepted."
        )


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 (upright) where it is absent or unreadable, as viewers show it."""
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and value in _TRANSPOSE else 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height after the EXIF orientation is applied."""
    swapped = orientation(image) in (5, 6, 7, 8)
    return (image.height, image.width) if swapped else (image.width, image.height)


def is_animated(image: Image.Image) -> bool:
    """Whether there is a second frame (GIF, WebP, and PNG too)."""
    return int(getattr(image, "n_frames", 1)) > 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Eight-bit RGB; transparent pixels on white, 16-bit greys scaled, CMYK and palettes converted."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow's own conversion clips at 255, which turns a 16-bit picture white.
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.clip(np.round(values / 257), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        page = Image.new("RGB", layer.size, "white")
        page.paste(layer, mask=layer.getchannel("A"))
        return page
    return image.convert("RGB")


def read_still(path: Path, kind: FileKind, max_pixels: int) -> Frames:
    """Decode a still picture completely: shape (1, height, width, 3), upright.

    Raises:
        MediaDamaged: it is beyond the limit, truncated or damaged.
    """
    with opened(path, kind, max_pixels) as image:
        turn = _TRANSPOSE.get(orientation(image))
        image.load()
        pixels: Any = to_rgb(image)
        if turn is not None:
            pixels = pixels.transpose(turn)
        return np.asarray(pixels, dtype=np.uint8)[None]
