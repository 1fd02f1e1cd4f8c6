"""Texts as pictures and clips in many fonts, sizes, colours, layouts and on many backgrounds, drawn with Pillow."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from core.errors import InputError
from core.media.vision import DecodedMedia

FONT_ROOT = Path("/usr/share/fonts/truetype")
FAMILIES = ("dejavu/DejaVuSans", "dejavu/DejaVuSerif", "liberation/Liberation")
HELD_OUT = "DejaVuSerif"
"""Fonts whose file name begins so are kept for validation."""

UNUSUAL = ("ExtraLight", "Condensed", "Narrow", "Italic", "Oblique", "TeX")
"""Faces left out: slanted and narrow letters are too much for so short a training."""

Picture = npt.NDArray[np.uint8]
"""Shape (height, width, 3), RGB."""

Colour = tuple[int, int, int]

Letter = tuple[float, float, str]
"""A drawn letter and the middle of its place, x and y in pixels."""


@lru_cache(maxsize=1)
def font_files() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Font files for training and, apart, of the family held out.

    Raises:
        InputError: the fonts are not installed.
    """
    found = sorted(
        str(path)
        for path in FONT_ROOT.glob("*/*.ttf")
        if str(path.relative_to(FONT_ROOT)).startswith(FAMILIES) and not any(word in path.name for word in UNUSUAL)
    )
    held_out = tuple(path for path in found if Path(path).name.startswith(HELD_OUT))
    training = tuple(path for path in found if path not in held_out)
    if not training or not held_out:
        raise InputError(
            f"There are too few fonts under {FONT_ROOT}; install the packages fonts-dejavu and fonts-liberation."
        )
    return training, held_out


@lru_cache(maxsize=2048)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def is_drawable(text: str) -> bool:
    """Whether the fonts hold every letter: printable ASCII and a few typographic marks."""
    return all(32 <= ord(letter) < 127 or letter in "\n‘’“”–—…éèüöäñç" for letter in text)


def wrap(words: Sequence[str], font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Words into lines of at most `width` pixels; a longer word stands alone."""
    lines: list[str] = []
    line = ""
    for word in words:
        longer = f"{line} {word}" if line else word
        if line and font.getlength(longer) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line else lines


def _colours(rng: random.Random) -> tuple[Colour, Colour]:
    """Background and ink with enough contrast between them; mostly black on white."""
    if rng.random() < 0.7:
        return (255, 255, 255), (0, 0, 0)
    while True:
        back: Colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
        ink: Colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
        if rng.random() < 0.5:
            ink = rng.choice(((0, 0, 0), (255, 255, 255), (20, 20, 80), (200, 0, 0)))
        if abs(_light(back) - _light(ink)) > 95:
            return back, ink


def _light(colour: Colour) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def background(width: int, height: int, rng: random.Random, base: Colour, kind: str | None = None) -> Image.Image:
    """A plain, graded, noisy or drawn background around one base colour."""
    kind = kind or rng.choices(("plain", "gradient", "noise", "scene"), (0.5, 0.2, 0.15, 0.15))[0]
    if kind == "plain":
        return Image.new("RGB", (width, height), base)
    if kind == "scene":
        return scene(width, height, rng)
    other = np.clip(np.array(base) + np.array([rng.randint(-50, 50) for _ in range(3)]), 0, 255)
    across = np.linspace(0, 1, width)[None, :, None] if rng.random() < 0.5 else np.linspace(0, 1, height)[:, None, None]
    values = np.array(base) * (1 - across) + other * across
    values = np.broadcast_to(values, (height, width, 3)).copy()
    if kind == "noise":
        values += np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(4, 18), values.shape)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def scene(width: int, height: int, rng: random.Random) -> Image.Image:
    """A picture without text: sky, ground and shapes, sometimes blurred or grained to look like a photograph."""

    def colour() -> Colour:
        return rng.randrange(256), rng.randrange(256), rng.randrange(256)

    image = background(width, height, rng, colour(), "gradient")
    draw = ImageDraw.Draw(image)
    horizon = int(height * rng.uniform(0.3, 0.9))
    if rng.random() < 0.7:
        draw.rectangle((0, horizon, width, height), fill=colour())
    for _ in range(rng.randint(1, 14)):
        x, y = rng.randrange(width), rng.randrange(height)
        w, h = int(width * rng.uniform(0.03, 0.5)), int(height * rng.uniform(0.03, 0.5))
        shape = rng.randrange(5)
        if shape == 0:
            draw.ellipse((x - w // 2, y - h // 2, x + w // 2, y + h // 2), fill=colour())
        elif shape == 1:
            draw.rectangle((x, y, x + w, y + h), fill=colour(), outline=colour())
        elif shape == 2:
            draw.polygon([(x, y), (x + w, y), (x + w // 2, y - h)], fill=colour())
        elif shape == 3:
            draw.line((x, y, x + w, y + rng.randint(-h, h)), fill=colour(), width=rng.randint(1, 8))
        else:
            draw.arc(
                (x, y, x + w, y + h), rng.randrange(360), rng.randrange(360), fill=colour(), width=rng.randint(1, 6)
            )
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 4)))
    if rng.random() < 0.5:
        grain = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(3, 25), (height, width, 1))
        image = Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))
    return image


def _numbered(words: list[str], rng: random.Random) -> list[list[str]]:
    """The text as a heading over an empty numbered list, as typographic jailbreaks draw it."""
    return [words, *([f"{at}."] for at in range(1, rng.choice((3, 3, 3, 4, 5)) + 1))]


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    line: str,
    font: ImageFont.FreeTypeFont,
    ink: Colour,
    letters: list[Letter] | None,
) -> None:
    """Draw one line and note where its letters are."""
    draw.text(at, line, font=font, fill=ink)
    if letters is not None:
        edges = [at[0] + font.getlength(line[:end]) for end in range(len(line) + 1)]
        middle = at[1] + 0.6 * font.size
        letters += [((edges[n] + edges[n + 1]) / 2, middle, letter) for n, letter in enumerate(line) if letter != " "]


def text_picture(
    text: str,
    rng: random.Random,
    fonts: Sequence[str],
    max_pixels: int,
    *,
    style: str | None = None,
    letters: list[Letter] | None = None,
) -> Picture:
    """A text drawn in one of many styles, the picture no larger than `max_pixels`.

    Args:
        style: `line`, `page`, `list` (a heading over an empty numbered list) or `caption` (on a scene).
        letters: told where each letter is; the picture is then not worn, so that they stay there.
    """
    style = style or rng.choices(("page", "list", "caption", "line"), (0.5, 0.2, 0.2, 0.1))[0]
    words = text.split()
    path = rng.choice(fonts)
    if style == "list":
        paragraphs, size = _numbered(words, rng), rng.randint(21, 46)
    elif style == "line":
        paragraphs, size = [words], rng.randint(19, 36)
    else:
        paragraphs = [line.split() for line in text.split("\n")] if rng.random() < 0.7 else [words]
        size = rng.randint(22, 40)
    side = math.isqrt(max_pixels)
    while True:
        font = _font(path, size)
        step = int(size * rng.uniform(1.0 if style == "list" else 1.15, 1.6))
        edge = max(3, int(size * rng.uniform(0.2, 1.0)))
        longest = max((font.getlength(word) for word in words), default=10)
        width = int(max(longest, side * (10 if style == "line" else rng.uniform(0.45, 1.0)) - 2 * edge))
        lines = [line for paragraph in paragraphs for line in wrap(paragraph, font, width)]
        used = max((font.getlength(line) for line in lines), default=10)
        if style == "line" or rng.random() < 0.3:
            width = int(used) + 2
        width, height = width + 2 * edge, len(lines) * step + 2 * edge
        if width * height <= max_pixels or size <= 12:
            break
        size = max(12, int(size * 0.85))
    if (style == "list" and rng.random() < 0.6) or (style == "page" and rng.random() < 0.3):
        height = max(height, min(width, max_pixels // width))
    elif style == "caption":
        height = max(height, min(int(height * rng.uniform(1.1, 2.5)), max_pixels // width))
    base, ink = _colours(rng)
    under = "scene" if style == "caption" else rng.choices(("plain", "gradient", "noise"), (0.7, 0.18, 0.12))[0]
    image = background(width, height, rng, base, under)
    draw = ImageDraw.Draw(image)
    left, top = edge, edge if style == "list" else edge + rng.randint(0, max(0, height - len(lines) * step - 2 * edge))
    if style == "caption":
        draw.rectangle((0, top - edge // 2, width, top + len(lines) * step + edge // 2), fill=base)
    centred = style in ("page", "caption") and rng.random() < 0.3
    for at, line in enumerate(lines):
        x = left + (width - 2 * edge - font.getlength(line)) / 2 if centred else left
        _write(draw, (x, top + at * step), line, font, ink, letters)
    return np.asarray(image) if letters is not None else _worn(image, rng)


def _worn(image: Image.Image, rng: random.Random) -> Picture:
    """Sometimes scaled down a little, blurred or turned by a hair, as pictures are that have travelled."""
    choice = rng.random()
    if choice < 0.12:
        factor = rng.uniform(0.8, 1.0)
        size = max(32, int(image.width * factor)), max(32, int(image.height * factor))
        image = image.resize(size, Image.Resampling.BICUBIC)
    elif choice < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8)))
    elif choice < 0.25:
        image = image.rotate(rng.uniform(-2.0, 2.0), Image.Resampling.BICUBIC, fillcolor=image.getpixel((0, 0)))
    return np.asarray(image.convert("RGB"))


def strip_picture(
    text: str, rng: random.Random, fonts: Sequence[str], letters: list[Letter] | None = None, variety: float = 1.0
) -> Picture:
    """One line of text, for the first lessons in reading; as high as one row of merged patches, or two.

    Args:
        letters: as for `text_picture`.
        variety: from 0, one font in one size at one height in black on white, to 1, all that is drawn here.
    """
    plain_first = sorted(fonts, key=lambda path: ("Bold" in path, path))
    known = plain_first[: max(1, round(variety * len(plain_first)))]
    size = rng.randint(round(18 - 5 * variety), round(18 + 6 * variety))
    font = _font(rng.choice(known), size)
    varied = rng.random() < variety
    base, ink = _colours(rng) if varied else ((255, 255, 255), (0, 0, 0))
    height = 64 if variety > 0.8 and size >= 22 and rng.random() < 0.5 else 32
    width = max(64, math.ceil((font.getlength(text) + 8) / 32) * 32)
    kinds = ("plain", "plain", "plain", "gradient", "noise")
    image = background(width, height, rng, base, rng.choice(kinds) if varied else "plain")
    slack = max(0, height - int(size * 1.25))
    middle = slack / 2
    place = (rng.randint(1, 8), rng.randint(round(middle * (1 - variety)), round(middle + (slack - middle) * variety)))
    _write(ImageDraw.Draw(image), place, text, font, ink, letters)
    return np.asarray(image)


def plain_picture(rng: random.Random, max_pixels: int) -> Picture:
    """A picture without any text."""
    area = rng.uniform(0.15, 1.0) * max_pixels
    ratio = rng.uniform(0.6, 1.7)
    width, height = int(math.sqrt(area * ratio)), int(math.sqrt(area / ratio))
    kind = rng.choices(("scene", "plain", "gradient", "noise"), (0.7, 0.08, 0.12, 0.1))[0]
    base = rng.randrange(256), rng.randrange(256), rng.randrange(256)
    return np.asarray(background(width, height, rng, base, kind))


@dataclass(frozen=True, slots=True)
class Clip:
    """A drawn clip and when its text can first be seen."""

    media: DecodedMedia
    shown_at: float | None
    showing: tuple[int, int] = (0, 1)
    """The first frame that shows the text, and how many do."""


def clip(
    text: str | None,
    rng: random.Random,
    fonts: Sequence[str],
    frame_pixels: int,
    frames: int,
    letters: list[Letter] | None = None,
) -> Clip:
    """A short clip; the text, if there is one, stands in at most half of its frames, which follow each other.

    Args:
        letters: as for `text_picture`.
    """
    step = rng.choice((0.5, 1.0, 1.0, 1.0, 2.0))
    start = rng.choice((0.0, 0.0, float(rng.randint(1, 120))))
    times = tuple(start + step * at for at in range(frames))
    shown = (
        text_picture(text, rng, fonts, frame_pixels, style=rng.choice(("page", "page", "caption")), letters=letters)
        if text
        else None
    )
    if shown is None:
        first = Image.fromarray(plain_picture(rng, frame_pixels))
    else:
        height, width = shown.shape[:2]
        wide, tall = width, height
        if height < width * 0.5:
            tall = min(int(width * rng.uniform(0.5, 0.8)), max(height, frame_pixels // width))
        elif width < height:
            wide = min(int(height * rng.uniform(1.0, 1.8)), max(width, frame_pixels // height))
        first = scene(wide, tall, rng)
        if rng.random() < 0.4:
            first = background(wide, tall, rng, _colours(rng)[0], rng.choice(("plain", "gradient", "noise")))
        held = first.copy()
        right, down = rng.randint(0, wide - width), rng.randint(0, tall - height)
        held.paste(Image.fromarray(shown), (right, down))
        if letters is not None:
            letters[:] = [(x + right, y + down, letter) for x, y, letter in letters]
        shown = np.asarray(held)
    pictures = [_moved(first, at, rng) for at in range(frames)]
    if shown is not None:
        count = rng.randint(1, max(1, frames // 2))
        begin = rng.randint(0, frames - count)
        pictures[begin : begin + count] = [shown] * count
        return Clip(DecodedMedia(np.stack(pictures), times), times[begin], (begin, count))
    return Clip(DecodedMedia(np.stack(pictures), times), None)


def _moved(image: Image.Image, at: int, rng: random.Random) -> Picture:
    """The same picture some frames later: shifted, and a little lighter or darker."""
    shifted = np.roll(np.asarray(image), at * rng.randint(0, 6), axis=1).astype(np.int16)
    return np.clip(shifted + rng.randint(-8, 8), 0, 255).astype(np.uint8)
