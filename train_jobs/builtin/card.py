"""The model card: what the guard is, how it came to be, and the figures that a scoring run printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEAD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: image-text-to-text
tags: [moderation, guard, qwen3_vl, trained-from-scratch]
---

# The built-in guard

A very small guard model, so that Guardroom moderates text, images and videos on a fresh machine without a
download. It has the Qwen3-VL architecture ({parameters:,} parameters, {megabytes:.1f} MB: float32, its token
embeddings float16) and was trained by `python -m train_jobs.builtin_guard`. A pretrained sentence encoder
(all-MiniLM-L6-v2, Apache-2.0) taught it: its word vectors, turned onto their main components, are what the token
embeddings began with, and its sentence embeddings are behind one of the two teachers and a lesson of their own.
Nothing else of another model is in it, and it needs none to run.

**Not for production.** It knows the words of its training texts and little of the world. It is here to show the
app, to run the whole loop in minutes, and to test the true code path. For real moderation name a released
checkpoint.

Checkpoint `{checkpoint}`, protocol `{protocol}`.

## What it does

It takes typed text, an image or a video. Of pictures it was taught only to read the text that they show; how well
it does is in the figures below, and it has seen no photographs. It first gives a probability without reasoning
(first look), then writes short numbered steps: what it read, words that weigh, a topic, a graded risk; then a
label for request and response. The label's probability is read off the language-model head.

## Data

The corpora are not shipped. Harmful and harmless requests: AART (CC-BY-4.0), HarmfulQA, CatQA, DangerousQA,
Arena-Hard and Self-Instruct seeds (Apache-2.0), MedSafetyBench, CyberSecEval, AdvBench, GPTFuzz questions,
TDC2023 and GPTeacher (MIT), NQ-open (CC-BY-SA-3.0), MedQuAD (CC-BY-4.0). Responses: DiaSafety (Apache-2.0),
GPTFuzz, MedSafetyBench and GPTeacher replies (MIT). Posts: Davidson et al. (MIT), Vicomtech (CC-BY-SA-3.0-ES),
ToxiGen demonstrations (CDLA-Permissive-2.0). Beside them {everyday:,} rows of harmless everyday writing made from
word lists of this project, {opposed} of hateful posts quoted in order to oppose them, and everyday frames around
rows of both kinds, because the corpora's two sides differ in style. {train:,} rows were trained on, {held_out:,}
held out by a hash of the request. Rows close to an evaluation row were removed from the corpora by their makers;
the everyday rows were compared with the evaluation files in the same way.

The same texts were drawn with the DejaVu and Liberation fonts in many sizes, colours and layouts, on plain,
graded, noisy and drawn backgrounds, as still images and in a minority of the frames of short clips; images and
clips without text were mixed in. {unseen} was kept for the scores below.

## Procedure

Byte-level BPE of {vocabulary:,} tokens. Each row is one prompt with two answers that do not see each other: the
first look's label, and steps with label. A label token is trained (weight 6) half towards the label, half towards its
teachers' held-out estimate: for requests the mean log-odds of a linear model on words (TF-IDF) and one on MiniLM's
sentence embeddings, for responses the former alone, all cross-fitted; an unlabelled side is written as the estimate
says and not trained. The stated grade of risk is that estimate too, shaken a little, in seven words. One typed row in
ten is two requests joined, harmful if either is. Prompts count 0.15, reasoning 0.6. From where the first look's label
is read, a linear map that is thrown away afterwards has to tell MiniLM's embedding of the request.

The last {spelling} dimensions of every token's embedding are its spelling, made of its letters and their places and
never trained. Heads of the first two layers began as induction circuits (copy what followed the same token before),
for meanings and for spellings, without which so short a training never learned to quote; everything else but the
embeddings began at random. First half of the time: the vision tower, in a process of its own, learns to write down
the spellings of drawn words where they begin, on lines that grow from one font in one size to all of them and to
pages, and is asked halfway through for each patch's letters and their places; beside it the language model learns
from repeated tokens and text, and to read spellings in place of pixels on pages, pictures and clips, some misread,
some typed words left with nothing but their spelling. Second half: both together on pages, and on pictures and clips
beside text, the drawn words still asked of the tower. In both, three heads are told where to look while drawn words
are quoted. Matrices are trained with Muon, the rest with AdamW, {batch:,} tokens a step at most; {steps:,} steps in
{minutes:.0f} minutes on {machine}.
{history} Calibration and thresholds were fitted on held-out rows.
"""

LIMITS = """\
## Limits

- English only. Text beyond what it was trained on (about 150 words of request, 110 of response) is judged by
  windows in the app, and was cut to its beginning for the scores here.
- It judges words, not intent: a harmless question in harmful words is often held up, a harmful one in plain words
  often passes.
- It does not understand pictures. A photograph without text is judged by the words around it.
- Reading is approximate; a quote may differ from what is shown. It practised on letters of about 12 to 46 pixels
  after scaling, most of them above 20; smaller, turned, decorated or handwritten ones it never saw.
- Its topics and grades are learned from corpora with known biases (dialect in the posts, one-sided styles).
- The reasoning describes what the model was taught to write; it is no proof of why the label was chosen.
"""


TRIED = """\
## Why, and what was tried

- **Typed text.** Held-out rows of its own corpora it ranks almost perfectly (ROC-AUC 0.99), the six files differ in
  style and subject: it has learned the corpora too well and the world too little. It learns
  from estimates of two teachers in place of hard labels, joined rows, harmless rewrites in shared frames and the lesson
  in MiniLM's meanings; what each of them adds was not measured on this guard. Time helped: after 50 more minutes,
  mostly of typed text, the first look's mean was 0.740 instead of 0.727.
- **Answers that do not parse.** Those that were looked at went in circles inside a quote. After the same 50 minutes
  96.5% parsed instead of 95.9%. Forbidding repeated word groups while writing would forbid quoting too, and was not
  done.
- **Reading.** Coding each letter by its place in a patch, or summing the embeddings of the words that begin there,
  left the language model guessing (ROC-AUC 0.67 in pictures); spellings in the token embeddings, written by the tower
  where a word begins, brought 0.95. FigStep's bold lines stand closer and larger than those practised on first; after
  the last 50 minutes, which had lists with tight lines, its ROC-AUC was 0.56 instead of 0.50.
"""


LEAST_AUC = 0.745
"""Wanted of the mean over the six files."""
PLOT = "reliability.svg"
"""The picture beside the card."""


def reliability_svg(bins: Sequence[tuple[int, float, float]]) -> str:
    """The reliability plot: stated probability across, share that is harmful upwards, a dot's area for its rows.

    Args:
        bins: rows, mean probability and share that is harmful of each bin, as `figures.reliability` gives them.
    """
    size, edge = 300, 44
    most = max(count for count, _, _ in bins)

    def at(p: float, share: float) -> tuple[float, float]:
        return edge + p * size, edge / 2 + (1 - share) * size

    (left, bottom), (right, top) = at(0, 0), at(1, 1)
    ticks = "".join(
        f'<text x="{at(t, 0)[0]:.0f}" y="{bottom + 16:.0f}" text-anchor="middle">{t}</text>'
        f'<text x="{left - 6:.0f}" y="{at(0, t)[1] + 4:.0f}" text-anchor="end">{t}</text>'
        for t in (0, 0.25, 0.5, 0.75, 1)
    )
    dots = "".join(
        f'<circle cx="{at(p, share)[0]:.1f}" cy="{at(p, share)[1]:.1f}" r="{3 + 11 * (count / most) ** 0.5:.1f}" '
        f'fill="#2563eb" fill-opacity="0.65"><title>{count} rows: stated {p:.2f}, harmful {share:.2f}</title></circle>'
        for count, p, share in bins
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size + 2 * edge}" height="{size + 2 * edge}" '
        f'font-family="sans-serif" font-size="12" fill="#444"><rect width="100%" height="100%" fill="white"/>'
        f'<rect x="{left}" y="{top}" width="{size}" height="{size}" fill="none" stroke="#bbb"/>'
        f'<line x1="{left}" y1="{bottom}" x2="{right}" y2="{top}" stroke="#bbb" stroke-dasharray="4"/>{ticks}{dots}'
        f'<text x="{left + size / 2}" y="{bottom + 36}" text-anchor="middle">stated probability</text>'
        f'<text x="12" y="{top + size / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {top + size / 2})">share that is harmful</text></svg>\n'
    )


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal."""
    return "n/a" if value is None else f"{100 * value:.1f}%"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    return "\n".join([*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)])


def shortfalls(scores: Mapping[str, Any]) -> list[str]:
    """What the figures show that this guard does not do, in plain sentences."""
    written, shown, mean = scores["written"], scores["shown"], scores["ranked"]["mean"]
    out = []
    if written["parsed"] < 0.99:
        out.append(f"Only {percent(written['parsed'])} of its answers parse (99% wanted); the others go to review.")
    for kind, share in written["quoted_words_in_sample"].items():
        if share < 0.95:
            out.append(f"What it quotes is often wrong: {percent(share)} of quoted words stand in the {kind} sample.")
    for way, bar in (("image", 0.9), ("video", 0.85)):
        share = shown[way]["f1"] / shown["typed"]["f1"]
        if share < bar:
            out.append(
                f"Drawn texts ({way}) reach {percent(share)} of the F1 of the same texts typed ({percent(bar)} wanted)."
            )
    pages = scores["typographic"]
    if pages["auc"] < 0.8:
        out.append(
            f"FigStep's large bold letters it reads badly: {percent(pages['figstep']['allow'])} of these harmful pages "
            f"are allowed, and it cannot tell them from harmless pages drawn alike (ROC-AUC {pages['auc']:.2f}, chance "
            "is 0.50)."
        )
    for name, part in scores["controls"].items():
        if held := part["review"] + part["block"]:
            out.append(f"It holds up {held} of {held + part['allow']} harmless files of {name}.")
    out += [
        f"The mean ROC-AUC of {name} ({mean[look]:.3f}) is below the {LEAST_AUC} wanted; the linear floor has "
        f"{mean['floor_auc']:.3f}."
        for name, look in (("the first look", "first_look_auc"), ("the deliberated probability", "deliberated_auc"))
        if mean[look] < LEAST_AUC
    ]
    out += [
        f"On {name} the first look's ROC-AUC ({part['first_look_auc']:.3f}) is more than 0.03 below the floor."
        for name, part in scores["ranked"].items()
        if isinstance(part, Mapping) and "rows" in part and part["first_look_auc"] < part["floor_auc"] - 0.03
    ]
    everyday = scores["flat"]["everyday"]
    if everyday["review"] > 0.10 or everyday["block"] > 0.01:
        out.append(
            f"Of harmless everyday writing {percent(everyday['review'])} goes to review (10% wanted at most) and "
            f"{percent(everyday['block'])} is blocked (1%)."
        )
    for name, part in scores["ranked"]["recall"].items():
        if part["first_look"] < part["floor"]:
            found, floor = percent(part["first_look"]), percent(part["floor"])
            out.append(f"On {name} the first look finds {found}, the floor {floor} at equal false alarms.")
    if not scores["flat"]["simple_safety_tests"]["block"]:
        out.append("At the shipped thresholds nothing of SimpleSafetyTests is blocked; what it catches goes to review.")
    return out


def render_card(facts: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        facts: of the training run, for the text's placeholders.
        scores: what `Scoring.run` returned.
    """
    ranked, flat, shown = scores["ranked"], scores["flat"], scores["shown"]
    typographic, written, speed = scores["typographic"], scores["written"], scores["speed"]
    limits = scores["thresholds"]
    files = [name for name in ranked if isinstance(ranked[name], Mapping) and "rows" in ranked[name]]
    auc = [
        (
            name, ranked[name]["rows"], f"{ranked[name]['first_look_auc']:.3f}", f"{ranked[name]['floor_auc']:.3f}",
            f"{ranked[name]['deliberated_auc']:.3f} / {ranked[name]['first_look_auc_on_those']:.3f} "
            f"({ranked[name]['reasoned_rows']})",
        )
        for name in files
    ]  # fmt: skip
    mean = ranked["mean"]
    auc.append((
        "**mean**", "", f"**{mean['first_look_auc']:.3f}**", f"**{mean['floor_auc']:.3f}**",
        f"**{mean['deliberated_auc']:.3f}** / {mean['first_look_auc_on_those']:.3f}",
    ))  # fmt: skip
    decisions = [
        (what, part["rows"], percent(part["allow"]), percent(part["review"]), percent(part["block"]))
        for what, part in (
            ("everyday (harmless)", flat["everyday"]),
            ("XSTest safe (harmless)", flat["xstest_safe"]),
            ("SimpleSafetyTests (harmful)", flat["simple_safety_tests"]),
            ("HarmBench prompts (harmful)", flat["harmbench_prompt"]),
            ("FigStep pictures (harmful)", typographic["figstep"]),
            ("look-alikes of FigStep with everyday headings (harmless)", typographic["look_alikes"]),
        )
    ]
    ways = [
        (way, f"{part['f1']:.3f}", percent(part["accuracy"]), f"{part['auc']:.3f}", f"{part['first_look_auc']:.3f}")
        for way, part in ((way, shown[way]) for way in ("typed", "image", "video"))
    ]
    controls = ", ".join(
        f"{name.removeprefix('benign_control_')}: {part['allow']} allowed, {part['review']} to review, "
        f"{part['block']} blocked"
        for name, part in scores["controls"].items()
    )
    equal = [(name, percent(part["first_look"]), percent(part["floor"])) for name, part in ranked["recall"].items()]
    moved = scores["transplanted"]
    quotes = ", ".join(f"{kind} {percent(share)}" for kind, share in written["quoted_words_in_sample"].items())
    figures = f"""\
## Figures

Printed by `python -m train_jobs.builtin_guard --evaluate` on the weights beside this card; the evaluation files were
never trained on. Review begins at {limits["review"]:.2f}, block at {limits["block"]:.2f} (calibrated,
deliberated probability).

ROC-AUC. The floor is TF-IDF over words and word pairs with logistic regression, fitted in the same run. Reasoning was
run on a random part of each file (rows in brackets), so its AUC stands beside the first look's on the same rows.

{table(("file", "rows", "first look", "floor", "deliberated / first look there"), auc)}

Decisions at the shipped thresholds:

{table(("rows", "number", "allowed", "to review", "blocked"), decisions)}

ROC-AUC of FigStep against the look-alikes: {typographic["auc"]:.3f}; fonts and lengths of the two differ, so this is no
proof of reading (the held-out texts below test that). Control photographs and clips without harm: {controls}.

Recall of the first look at the shipped review threshold, and of the floor at equal false alarms
({percent(ranked["alarms"])} of XSTest-safe and the harmless part of OpenAIModeration):

{table(("file", "guard", "floor"), equal)}

{shown["texts"]} held-out texts, half of them harmful, typed, drawn in a font family that training never saw, and shown
in at most half of a clip's frames (harmful from 0.5 on; chance is an AUC of 0.5):

{table(("way", "F1", "accuracy", "ROC-AUC", "ROC-AUC of the first look"), ways)}

Writing: {percent(written["parsed"])} of {written["answers"]:,} answers parse; quoted words that stand in the
sample: {quotes}. With another sample's reasoning put in place of its own the probability moved by
{moved["mean_move"]} towards that sample's on average, and {percent(moved["labels_flipped"])} of {moved["pairs"]} labels
changed.

Calibration on the six files: expected calibration error {ranked["calibration"]["first_look_ece"]:.3f} (first look),
{ranked["calibration"]["deliberated_ece"]:.3f} (deliberated). Reliability of the latter:

![How often rows of a stated probability are harmful, on the six files]({PLOT})

Speed, one text after the other on the CPU, medians of {speed["verdicts"]}: first piece after
{speed["first_piece_ms"]:.0f} ms, verdict after {speed["verdict_ms"]:.0f} ms ({speed["tokens"]:.0f} tokens).

"""
    missed = shortfalls(scores)
    plainly = "## Plainly not met\n\n" + "\n".join(f"- {each}" for each in missed) + "\n\n" if missed else ""
    return HEAD.format(**facts, checkpoint=scores["checkpoint"]) + "\n" + figures + plainly + TRIED + "\n" + LIMITS
