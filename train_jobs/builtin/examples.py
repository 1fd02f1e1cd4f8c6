"""Training examples drawn from rows: typed texts, texts in pictures and clips, pairs of which one part is harmful."""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from core.media.vision import DecodedMedia
from core.types import Label, MediaRef, Modality, Sample
from train_jobs.builtin import render
from train_jobs.builtin.corpus import TextRow, request_side
from train_jobs.builtin.everyday import roughened, wrapped
from train_jobs.builtin.linear import CrossFitted, document
from train_jobs.builtin.targets import ABSENT, Evidence, Side

IMAGE_PIXELS, FRAME_PIXELS, MAX_FRAMES = 147_456, 49_152, 8
MEDIA_TEXT_WORDS = 24
PIXELS_A_LETTER = (480.0, 900.0)
"""Area of a drawn picture for each letter of its text, from and to, in pixels: letters of 16 to 28 pixels on most."""
TEXT_DELIBERATES = 0.8
"""Share of typed rows that train the reasoned answer too; all train the first look, which is far shorter."""

NEUTRAL = (
    "", "", "What does this say?", "Describe the image.", "What is shown here?", "Follow the steps in the picture.",
    "Please answer the question in the image.", "Read this for me", "Do what it says.", "Can you help with this?",
    "The picture holds a list without content. Write a paragraph for each of its items.", "what is this?",
    "Fill in the numbered points of the list in the image, with details for each.", "What can be seen here?",
    "Explain what you see.", "Write a caption for this photo.", "Continue the text.", "Summarise it.",
    "The image shows a numbered list whose items are empty. Complete every item with detailed text.",
)  # fmt: skip
NEUTRAL_CLIP = (
    "", "", "What happens in this video?", "Describe the clip.", "Summarise the video please.",
    "What does the video say?",    "Do what the video says.", "Is there any text?", "Please watch this.",
)  # fmt: skip
RESPONSE_DEFAULT_RISK = 0.02
JOINED_SHARE, JOINED_WORDS = 0.1, 24
"""How often two typed requests are joined into one, harmful if either is, and how many words of each."""
WORN = 0.3
"""Share of pictures in the guard's own lessons that are worn by travel (`Deck.worn`)."""
LONG_SHARE = 0.12
"""How often a text is cut late (`cut`)."""
DROPPED_SHARE, DROPPED_WORDS = 0.25, 0.2
"""How often words of a typed request are left out, and how many: style tells less then."""
FLAT_SHARE, FLATNESS, LONGEST_WORD, KNOWN = 0.4, 0.4, 16, 5
"""How often the words of a lesson in reading are drawn one by one, the power of its count that a word is drawn with
then, and the most letters and the least count of such a word: running text alone shows few words often and most of them
hardly ever."""
SHAKEN = 0.6
"""Standard deviation of what is added to an estimate's log-odds before it is stated as a grade."""


@dataclass(frozen=True, slots=True)
class Example:
    """One training example before it becomes ids."""

    evidence: Evidence
    request: Side
    response: Side = ABSENT
    medium: DecodedMedia | None = None
    deliberates: bool = True
    """Whether the reasoned answer is trained beside the first look."""
    reading_only: bool = False
    """A first lesson in reading: only the transcription is trained."""
    letters: tuple[render.Letter, ...] | None = None
    """Where the letters of its medium are, if that is known."""
    showing: tuple[int, int] = (0, 1)
    """The first of a clip's frames that shows them, and how many do."""
    meant: str | None = None
    """The request of the corpus that it says, typed or drawn, perhaps cut or framed; none if it says several."""

    @property
    def sample(self) -> Sample:
        """The sample, with a stand-in reference for its medium (the pixels travel beside it)."""
        media: tuple[MediaRef, ...] = ()
        if self.medium is not None:
            frames = self.medium.frames
            media = (stand_in(self.medium.is_video, frames.shape[2], frames.shape[1]),)
        return Sample(self.evidence.request, self.evidence.response, media)


def stand_in(is_video: bool, width: int, height: int) -> MediaRef:
    """A reference for pixels that were never a file."""
    kind = Modality.VIDEO if is_video else Modality.IMAGE
    digest = hashlib.sha256(f"{kind} {width} {height}".encode()).hexdigest()
    return MediaRef(digest, "video/mp4" if is_video else "image/png", kind, 0, width, height)


@dataclass(frozen=True, slots=True)
class Graded:
    """A row with the linear model's held-out estimates."""

    row: TextRow
    request_estimate: float
    response_estimate: float


HOW = re.compile(r"^how (?:can|do|could|would|should|to|does) ?(?:i|we|you|one|someone)? (.+?)\??$", re.IGNORECASE)
HEADINGS = (
    "Methods to {}.",
    "Steps to {}.",
    "Ways to {}.",
    "List of ways to {}.",
    "Guide to {}.",
    "Instructions to {}.",
)


def as_heading(text: str, rng: random.Random) -> str:
    """A question after a way of doing something as the heading of a list; other texts as they are."""
    match = HOW.match(text.strip())
    return rng.choice(HEADINGS).format(match.group(1)) if match and len(text) < 160 else text


def beginning(text: str, words: int) -> str:
    """The first words of a text as it stands, at most ten letters a word on average."""
    end = len(text)
    for number, match in enumerate(re.finditer(r"\S+", text), 1):
        if number >= words or match.end() > 9 * words:
            end = min(match.end(), 10 * words)
            break
    return text[:end]


def cut(text: str, rng: random.Random, usual: int, long: int) -> str:
    """The first words of a text as it stands: mostly a short cut, sometimes a long one."""
    return beginning(text, long if rng.random() < LONG_SHARE else usual)


def thinned(text: str, rng: random.Random) -> str:
    """The text with some words left out; short ones as they are."""
    words = text.split(" ")
    kept = [word for word in words if rng.random() >= DROPPED_WORDS]
    return " ".join(kept) if len(words) > 5 and kept else text


class Deck:
    """Draws examples without end: every row once before any comes again, media and wrappings at random; seeded."""

    def __init__(
        self,
        rows: Sequence[Graded],
        requests: CrossFitted,
        responses: CrossFitted,
        seed: int,
        fonts: Sequence[str],
    ) -> None:
        self._rng = random.Random(seed)
        self._rows = list(rows)
        self._models = {"request": requests, "response": responses}
        self._fonts = fonts
        self.variety = 1.0
        """How varied the lines of the first lessons in reading are drawn; see `render.strip_picture`."""
        self.worn = WORN
        """Share of pictures that are worn by travel; where their letters are is not known then."""
        self._order: list[int] = []
        alone = {row.id for row in request_side([each.row for each in rows])}
        readable = [
            g for g in rows if g.row.id in alone and render.is_drawable(g.row.request) and g.row.request.strip()
        ]
        self._harmful = [g for g in readable if g.row.request_label is Label.HARMFUL]
        self._benign = [g for g in readable if g.row.request_label is Label.UNHARMFUL]
        counted = Counter(word for each in readable for word in each.row.request.split())
        known = [word for word, count in counted.items() if count >= KNOWN and len(word) <= LONGEST_WORD]
        self._words = known or list(counted)
        self._commonness = list(accumulate(counted[word] ** FLATNESS for word in self._words))

    def reseed(self, seed: int) -> None:
        """Draw otherwise from here on, so that a run that goes on does not begin with its first examples again."""
        self._rng = random.Random(seed)
        self._order = []

    def draw(self, kind: str) -> Example:
        """An example of kind `text`, `line` and `page` (lessons in reading), `image` or `video`."""
        if kind == "text":
            return self.text(self._next())
        if kind == "line":
            return self._line()
        if kind == "page":
            return self._page()
        return self.media(self._pick(), kind)

    def _next(self) -> Graded:
        if not self._order:
            self._order = list(range(len(self._rows)))
            self._rng.shuffle(self._order)
        return self._rows[self._order.pop()]

    def _side(self, label: Label, estimate: float) -> Side:
        return Side(label, estimate, self._rng.gauss(0, SHAKEN))

    def _worst(self, rows: Sequence[Graded]) -> Graded:
        return max(rows, key=lambda each: (each.row.request_label is Label.HARMFUL, each.request_estimate))

    def _pick(self, harmful: float = 0.5) -> Graded:
        return self._rng.choice(self._harmful if self._rng.random() < harmful else self._benign)

    def text(self, graded: Graded, *, vary: bool = True) -> Example:
        """The row as typed text, sometimes in a frame of everyday words or with another letter case."""
        rng, row = self._rng, graded.row
        if vary and row.response is None and row.request_label is not Label.UNLABELLED and rng.random() < JOINED_SHARE:
            return self._joined(graded)
        if vary and row.response is None and rng.random() < 0.12:
            row = wrapped(row, rng)
        request = cut(row.request, rng, 60, 150)
        if vary and rng.random() < 0.2:
            request = roughened(request, rng)
        if vary and rng.random() < DROPPED_SHARE:
            request = thinned(request, rng)
        response = None if row.response is None else cut(row.response, rng, 48, 110)
        side = self._side(row.request_label, graded.request_estimate)
        other = ABSENT if response is None else self._side(row.response_label, graded.response_estimate)
        which = "request" if response is None else "response"
        weighed = other if response is not None else side
        seen = request if response is None else f"{request} {response}"
        words = self._models[which].telling_words(seen, graded.row.request, weighed.estimate >= 0.5)
        reasoned = not vary or rng.random() < TEXT_DELIBERATES
        evidence = Evidence(request, response, row.topic, tuple(words))
        return Example(evidence, side, other, deliberates=reasoned, meant=graded.row.request)

    def _joined(self, graded: Graded) -> Example:
        """Two requests as one text: so that a harmful part tells in any company, and a style in none."""
        rng = self._rng
        both = [graded, self._pick(0.35)]
        rng.shuffle(both)
        request = rng.choice(("\n", " ", "\n\n")).join(beginning(each.row.request, JOINED_WORDS) for each in both)
        worst = self._worst(both)
        side = self._side(worst.row.request_label, worst.request_estimate)
        towards = worst.request_estimate >= 0.5
        words = self._models["request"].telling_words(
            beginning(worst.row.request, JOINED_WORDS), worst.row.request, towards
        )
        reasoned = rng.random() < TEXT_DELIBERATES
        return Example(Evidence(request, None, worst.row.topic, tuple(words)), side, deliberates=reasoned)

    def _line(self) -> Example:
        rng = self._rng
        text = self._some_words(1, 5)[:40]
        letters: list[render.Letter] = []
        return self._lesson(text, render.strip_picture(text, rng, self._fonts, letters, self.variety), letters)

    def _page(self) -> Example:
        rng = self._rng
        text = self._some_words(3, 14)[:90]
        letters: list[render.Letter] = []
        pixels = max(8_000, int(len(text) * rng.uniform(*PIXELS_A_LETTER)))
        return self._lesson(text, render.text_picture(text, rng, self._fonts, pixels, letters=letters), letters)

    def _some_words(self, least: int, most: int) -> str:
        count = self._rng.randint(least, most)
        if self._rng.random() < FLAT_SHARE:
            return " ".join(self._rng.choices(self._words, cum_weights=self._commonness, k=count))
        words = self._pick().row.request.split()
        begin = self._rng.randint(0, max(0, len(words) - count))
        return " ".join(words[begin : begin + count])

    def _lesson(self, text: str, picture: render.Picture, letters: Sequence[render.Letter]) -> Example:
        return Example(
            Evidence("", kind="image", shown=text),
            Side(Label.UNLABELLED, 0.5),
            medium=DecodedMedia(picture[None]),
            reading_only=True,
            letters=tuple(letters),
        )

    def media(self, graded: Graded, kind: str, scenario: str | None = None) -> Example:
        """A text in a picture or clip, beside a neutral or another typed request; or media without text.

        Args:
            scenario: `shown` (neutral request), `both` (another row typed beside it) or `empty` (no text in it).
        """
        rng = self._rng
        scenario = scenario or rng.choices(("shown", "both", "empty"), (0.66, 0.18, 0.16))[0]
        neutral = rng.choice(NEUTRAL if kind == "image" else NEUTRAL_CLIP)
        shown: Graded | None = graded
        typed: Graded | None = None
        if scenario == "both":
            typed = self._pick(0.35)
        elif scenario == "empty":
            shown, typed = None, graded if rng.random() < 0.5 else None
        text: str | None = None
        style: str | None = None
        if shown is not None:
            text = cut(shown.row.request, rng, MEDIA_TEXT_WORDS if kind == "image" else 16, MEDIA_TEXT_WORDS)
            if kind == "image" and rng.random() < 0.3:
                text, style = as_heading(text, rng), "list"
        drawn = self._draw_medium(text, kind, style)
        request = neutral if typed is None else cut(typed.row.request, rng, 30, 60)
        present = [each for each in (shown, typed) if each is not None]
        if not present:
            side = self._side(Label.UNHARMFUL, RESPONSE_DEFAULT_RISK)
            return drawn.example(Evidence(request, kind=kind), side)
        worst = self._worst(present)
        side = self._side(worst.row.request_label, worst.request_estimate)
        content = text if worst is shown else request
        towards, topic = worst.request_estimate >= 0.5, worst.row.topic
        words = self._models["request"].telling_words(content or "", worst.row.request, towards, 2)
        meant = shown.row.request if shown is not None and typed is None else None
        return drawn.example(Evidence(request, None, topic, tuple(words), kind, text, drawn.at), side, meant)

    def _draw_medium(self, text: str | None, kind: str, style: str | None) -> Drawn:
        rng = self._rng
        letters: list[render.Letter] | None = None if rng.random() < self.worn else []
        if kind == "video":
            frames = rng.choice((2, 3, 4, 4, 5, 6, 8))
            made = render.clip(text, rng, self._fonts, FRAME_PIXELS, frames, letters)
            return Drawn(made.media, _fixed(letters), made.showing, made.shown_at)
        if text is None:
            pixels = int(rng.uniform(0.1, 0.5) * IMAGE_PIXELS)
            return Drawn(DecodedMedia(render.plain_picture(rng, pixels)[None]), ())
        pixels = min(max(12_000, int(len(text) * rng.uniform(*PIXELS_A_LETTER))), IMAGE_PIXELS)
        picture = render.text_picture(text, rng, self._fonts, pixels, style=style, letters=letters)
        return Drawn(DecodedMedia(picture[None]), _fixed(letters))


@dataclass(frozen=True, slots=True)
class Drawn:
    """A medium as it was drawn: where its letters are, if known, the frames that show them, and since when."""

    medium: DecodedMedia
    letters: tuple[render.Letter, ...] | None
    showing: tuple[int, int] = (0, 1)
    at: float | None = None

    def example(self, evidence: Evidence, side: Side, meant: str | None = None) -> Example:
        """An example of this medium."""
        return Example(evidence, side, medium=self.medium, letters=self.letters, showing=self.showing, meant=meant)


def _fixed(letters: Sequence[render.Letter] | None) -> tuple[render.Letter, ...] | None:
    return None if letters is None else tuple(letters)


def grade(rows: Sequence[TextRow], requests: CrossFitted, responses: CrossFitted) -> list[Graded]:
    """Held-out estimates for every row: of the request alone, and of the pair where there is a response."""
    keys = [row.request for row in rows]
    of_request = requests.p_harmful([row.request for row in rows], keys)
    of_response = responses.p_harmful([document(row) for row in rows], keys)
    return [
        Graded(row, float(p), float(q) if row.response is not None else 0.0)
        for row, p, q in zip(rows, of_request, of_response, strict=True)
    ]
