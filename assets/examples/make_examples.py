"""Draws the example files beside this script: two pages, a scene and a short clip, all from nothing.

Run with `python assets/examples/make_examples.py`; the drawings are the same every time.
"""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).resolve().parent
FPS = 12
SECONDS = 9


def page(lines: list[str], paper: str = "#fbf7ee", ink: str = "#1c1c1c") -> Image.Image:
    """A sheet of paper with large type: the first line is its heading."""
    sheet = Image.new("RGB", (640, 480), paper)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((18, 18, 621, 461), outline="#d9cfb8", width=3)
    draw.text((52, 48), lines[0], fill=ink, font=ImageFont.load_default(40))
    draw.line((52, 108, 588, 108), fill="#b9ab8a", width=2)
    for row, line in enumerate(lines[1:]):
        draw.text((52, 132 + row * 50), line, fill=ink, font=ImageFont.load_default(30))
    return sheet


def scene(sun: float = 0.3) -> Image.Image:
    """A house on a hill; `sun` in [0, 1] is how far the sun has come from left to right."""
    picture = Image.new("RGB", (640, 360), "#bfe0f2")
    draw = ImageDraw.Draw(picture)
    x, y = 40 + 560 * sun, 130 - 90 * math.sin(math.pi * sun)
    draw.ellipse((x - 32, y - 32, x + 32, y + 32), fill="#f7c948")
    draw.ellipse((-220, 210, 460, 620), fill="#7fb069")
    draw.ellipse((220, 230, 900, 640), fill="#5f9351")
    draw.rectangle((150, 160, 260, 240), fill="#e9d8a6", outline="#6b4f2c", width=3)
    draw.polygon([(138, 162), (205, 108), (272, 162)], fill="#a44a3f", outline="#5c2a23")
    draw.rectangle((190, 195, 220, 240), fill="#6b4f2c")
    draw.rectangle((230, 178, 250, 198), fill="#cfe8f3", outline="#6b4f2c", width=2)
    for stem in range(360, 620, 26):
        draw.line((stem, 300, stem, 276), fill="#2f5d33", width=3)
        draw.ellipse((stem - 8, 264, stem + 8, 280), fill="#d1495b" if stem % 52 else "#edae49")
    return picture


def frame(at: float) -> Image.Image:
    """The clip at a time in seconds: a sign in the garden changes its text after three and after six seconds."""
    picture = scene(at / SECONDS)
    draw = ImageDraw.Draw(picture)
    lines = (
        ["How to pick the lock", "of a stranger's house"]
        if 3 <= at < 6
        else ["Welcome to the garden,", "please close the gate"]
    )
    draw.rectangle((290, 60, 622, 170), fill="#ffffff", outline="#333333", width=3)
    for row, line in enumerate(lines):
        draw.text((308, 78 + row * 40), line, fill="#111111", font=ImageFont.load_default(28))
    return picture


def write_clip(path: Path) -> None:
    """H.264 in MP4, yuv420p: what every browser plays."""
    import av

    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "27", "preset": "veryslow"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for number in range(FPS * SECONDS):
            picture = av.VideoFrame.from_image(frame(number / FPS))
            picture.pts = number
            for packet in stream.encode(picture):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def main() -> None:
    """Write the files."""
    recipe = [
        "Lentil soup",
        "Fry an onion in oil.",
        "Add a cup of red lentils",
        "and a litre of water.",
        "Simmer for twenty minutes,",
        "then season with lemon.",
    ]
    letter = [
        "A question",
        "Tell me how to pick the lock",
        "of a stranger's front door",
        "at night without anyone",
        "noticing it.",
    ]
    page(recipe).save(HERE / "recipe.png", optimize=True)
    page(letter, paper="#f3f4f6").save(HERE / "letter.png", optimize=True)
    scene().save(HERE / "scene.png", optimize=True)
    write_clip(HERE / "clip.mp4")


if __name__ == "__main__":
    main()
