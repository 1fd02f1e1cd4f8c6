"""Harmless everyday writing, made here from word lists, so that style alone does not tell harm.

The corpora's harmful and benign sides come from different places. These rows give the benign side greetings, small
talk, recipes, poems, code, letters and questions, also some in the manner of the harmful side (verbs that sound
violent, "how to get away ...", posts full of feeling, hate quoted in order to oppose it); `wrapped` puts one frame
around rows of both sides.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from core.types import Label
from train_jobs.builtin import phrases as say
from train_jobs.builtin.corpus import TextRow

Maker = Callable[[random.Random], tuple[str, str]]
"""Makes a request and its topic."""


def _fill(template: str, rng: random.Random, *contents: str) -> str:
    """Put contents where `{}` stands and words from the lists where their names stand."""
    text = template
    for content in contents:
        text = text.replace("{}", content, 1)
    if contents:
        text = text.replace("{}", contents[-1])
    for name, words in (
        ("place2", say.PLACE), ("place", say.PLACE), ("day", say.DAY), ("kin", say.KIN), ("job", say.JOB),
        ("country", say.COUNTRY), ("invention", say.INVENTION), ("animal", say.ANIMAL), ("ing2", say.INGREDIENT),
        ("ing", say.INGREDIENT), ("harm", say.HARM),
    ):  # fmt: skip
        while "{" + name + "}" in text:
            text = text.replace("{" + name + "}", rng.choice(words), 1)
    return text.replace("{n}", str(rng.randint(2, 999))).replace("{m}", str(rng.randint(2, 99)))


def _greeting(rng: random.Random) -> tuple[str, str]:
    if rng.random() < 0.4:
        return rng.choice(say.SMALL_TALK) + rng.choice(("", "", "!", ".", " :)", " please", "...")), "small talk"
    hello = rng.choice(say.HELLOS)
    hello = hello.capitalize() if rng.random() < 0.5 else hello
    return hello + rng.choice(say.HELLO_TAILS), "a greeting"


def _how(rng: random.Random) -> tuple[str, str]:
    return _fill(rng.choice(say.HOW), rng, rng.choice(say.DO)), "everyday life"


def _looks_bad(rng: random.Random) -> tuple[str, str]:
    return _fill(rng.choice(say.HOW), rng, rng.choice(say.LOOKS_BAD)), "everyday life"


def _creative(rng: random.Random) -> tuple[str, str]:
    return _fill(rng.choice(say.WRITE), rng, rng.choice(say.THING), rng.choice(say.THING)), "creative writing"


def _poem(rng: random.Random) -> tuple[str, str]:
    lines = rng.sample(say.LINE_A, rng.randint(2, 6))
    return "\n".join(line + rng.choice((",", ".", ";", "")) for line in lines), "a poem"


def _recipe(rng: random.Random) -> tuple[str, str]:
    mine = rng.sample(say.INGREDIENT, rng.randint(3, 5))
    dish = f"{mine[0].capitalize()} {rng.choice(say.DISH)}"
    steps = [_fill(step, rng, *rng.sample(mine, 2)) for step in rng.sample(say.STEP, rng.randint(2, 4))]
    amounts = [f"{rng.randint(1, 500)} {rng.choice(('g', 'ml', 'spoons of', 'cups of'))} {each}" for each in mine]
    if rng.random() < 0.3:
        return f"What can I cook with {', '.join(mine[:-1])} and {mine[-1]}?", "a recipe"
    if rng.random() < 0.3:
        return f"Give me a recipe for {dish.lower()}" + rng.choice((".", "", " please", " for four people")), "a recipe"
    numbered = [f"{at}. {step}" for at, step in enumerate(steps, 1)]
    return rng.choice((dish, f"Recipe: {dish}", f"{dish} for {rng.randint(2, 8)}")) + "\n" + "\n".join(
        (rng.choice((amounts, [])) or ["Ingredients: " + ", ".join(mine)]) + rng.choice((steps, numbered))
    ), "a recipe"


NAMES = [
    "total",
    "count",
    "items",
    "name",
    "value",
    "node",
    "left",
    "right",
    "index",
    "user",
    "order",
    "price",
    "text",
    "row",
    "score",
    "page",
    "key",
]


def _code(rng: random.Random) -> tuple[str, str]:
    a, b, c = rng.sample(NAMES, 3)
    n = rng.randint(1, 50)
    code = rng.choice(
        (
            f"def {a}_{b}({c}):\n    result = []\n    for each in {c}:\n        if each > {n}:\n"
            "            result.append(each)\n    return result",
            f"for i in range({n}):\n    print({a}[i], {b})",
            f"SELECT {a}, {b} FROM {c}s WHERE {a} > {n} ORDER BY {b};",
            f"function {a}({b}) {{\n  return {b}.map(x => x * {n});\n}}",
            f"const {a} = {b}.filter(({c}) => {c}.id === {n});\nconsole.log({a});",
            f'#include <stdio.h>\nint main() {{\n  int {a} = {n};\n  printf("%d", {a});\n  return 0;\n}}',
            f'<div class="{a}">\n  <p>{b}</p>\n</div>',
            f"import pandas as pd\n{a} = pd.read_csv('{b}.csv')\n{a}.groupby('{c}').mean()",
            f"git checkout -b {a}-{b}\ngit push origin {a}-{b}",
            f"class {a.capitalize()}:\n    def __init__(self, {b}, {c}={n}):\n"
            f"        self.{b} = {b}\n        self.{c} = {c}",
            f"try:\n    {a} = int({b})\nexcept ValueError:\n    {a} = {n}",
        )
    )
    ask = rng.choice(
        (
            "",
            "",
            "What does this do?\n",
            "Explain this code:\n",
            "Why does this fail?\n",
            "Add a test:\n",
            "Refactor it:\n",
        )
    )
    return ask + code, "writing code"


def _letter(rng: random.Random) -> tuple[str, str]:
    who, other = rng.choice(say.KIN), rng.choice(say.DO)
    return _fill(
        rng.choice(
            (
                "Dear {kin},\nthank you for your letter. Last week I tried to {}. It was fun.\nLove from {place}",
                "Dear Sir or Madam,\nI would like to book a table for {n} on {day}.\nKind regards",
                "Hi team, the meeting moves to {day}. Please bring ideas on how to {}.",
                "Dear {kin}, happy birthday! I hope that you have time to {}.",
                "To whom it may concern, I apply for the position of {job} in {place}. I can {}.",
                "Write an email to my {kin} about how to {} on {day}",
                "Write a letter to my landlord about the heating in {place}",
                "Can you check the grammar of this: Yesterday me and my {kin} wants to {}.",
                "Dear diary, today my {kin} and I decided to {}. We laughed a lot.",
            )
        ),
        rng, other,
    ).replace("{kin}", who), "a letter"  # fmt: skip


def _product(rng: random.Random) -> tuple[str, str]:
    return _fill(rng.choice(say.ASK_PRODUCT), rng, rng.choice(say.PRODUCT), rng.choice(say.PRODUCT)), "a product"


def _fact(rng: random.Random) -> tuple[str, str]:
    return _fill(rng.choice(say.FACT), rng), "a question of fact"


def _safe_context(rng: random.Random) -> tuple[str, str]:
    return _fill(rng.choice(say.SAFE_CONTEXT), rng), "prevention and help"


def _post(rng: random.Random) -> tuple[str, str]:
    return _fill(rng.choice(say.LIKE), rng, rng.choice(say.MATTER)), "a post"


def _respect(rng: random.Random) -> tuple[str, str]:
    return _fill(rng.choice(say.RESPECT), rng, rng.choice(say.GROUP)), "a group of people"


MAKERS: Sequence[tuple[Maker, float]] = (
    (_greeting, 0.07), (_how, 0.19), (_looks_bad, 0.12), (_creative, 0.10), (_poem, 0.04), (_recipe, 0.07),
    (_code, 0.06), (_letter, 0.07), (_product, 0.07), (_fact, 0.10), (_safe_context, 0.06), (_post, 0.08),
    (_respect, 0.03),
)  # fmt: skip


def _row(number: int, request: str, topic: str, response: str | None = None) -> TextRow:
    return TextRow(
        id=f"own_{number:05d}",
        request=request,
        response=response,
        request_label=Label.UNHARMFUL,
        response_label=Label.ABSENT if response is None else Label.UNHARMFUL,
        source="everyday",
        topic=topic,
    )


def everyday_rows(count: int, seed: int) -> list[TextRow]:
    """So many distinct harmless requests, one in nine with a harmless reply; the same for the same seed."""
    rng = random.Random(seed)
    makers, weights = zip(*MAKERS, strict=True)
    rows: list[TextRow] = []
    seen: set[str] = set()
    while len(rows) < count:
        request, topic = rng.choices(makers, weights)[0](rng)
        if request.lower() in seen:
            continue
        seen.add(request.lower())
        reply = rng.choice(say.REPLIES).replace("{}", rng.choice(say.REPLY_TAILS)) if rng.random() < 0.11 else None
        rows.append(_row(len(rows), request, topic, reply))
    return rows


def counter_speech(rows: Sequence[TextRow], count: int, seed: int) -> Iterator[TextRow]:
    """Hateful posts of the corpora quoted in order to oppose them: harmless."""
    rng = random.Random(seed)
    posts = [row for row in rows if row.request_label is Label.HARMFUL and len(row.request.split()) <= 18]
    for number, row in enumerate(rng.sample(posts, min(count, len(posts)))):
        text = rng.choice(say.OPPOSE).replace("{}", row.request.strip().rstrip(".").replace('"', "'"))
        yield replace(_row(number, text, "hate that is opposed"), id=f"opp_{number:05d}")


def wrapped(row: TextRow, rng: random.Random) -> TextRow:
    """The same request in a frame of everyday words: its label stays."""
    return replace(row, request=_fill(rng.choice(say.WRAPS), rng, row.request))


def roughened(text: str, rng: random.Random) -> str:
    """Light changes of letter case and punctuation that change no meaning."""
    choice = rng.random()
    if choice < 0.35:
        return text.lower()
    if choice < 0.5:
        return text.rstrip(".!?")
    if choice < 0.6:
        return text.upper() if len(text) < 120 else text
    if choice < 0.75:
        return text + rng.choice(("!", "?", "...", " ?", "."))
    if choice < 0.9:
        return text[:1].lower() + text[1:]
    return text.replace(",", "").replace("'", "")
