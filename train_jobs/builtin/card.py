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
download. It has the Qwen3-VL architecture ({parameters:,} parameters, float32, {megabytes:.1f} MB) and was
trained from scratch by `python -m train_jobs.builtin_guard`; no weights of any other model are in it.

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
first look's label, and steps with label. A label token is trained (weight 6) towards 85% label and 15% the
held-out estimate of a linear model (TF-IDF and logistic regression, cross-fitted); an unlabelled side is written
as that estimate says and not trained. The stated grade of risk comes from 80% of the same estimate and 20% of the
label. Prompts count 0.15, reasoning 0.6. Curriculum: text; single drawn lines and small pages, whose letters the
vision tower names patch by patch beside the transcription; then whole pictures and clips beside text. AdamW,
about {batch:,} tokens a step, {steps:,} steps in {minutes:.0f} minutes on {machine} that other work shared.
{history} Calibration and thresholds were fitted on held-out rows.
"""

LIMITS = """\
## Limits

- English only. Text beyond what it was trained on (about 150 words of request, 110 of response) is judged by
  windows in the app, and was cut to its beginning for the scores here.
- It judges words, not intent: a harmless question in harmful words is often held up, a harmful one in plain words
  often passes.
- It does not understand pictures. A photograph without text is judged by the words around it.
- Reading is approximate, above all of small, turned, decorated or handwritten letters; a quote may differ from
  what is shown.
- Its topics and grades are learned from corpora with known biases (dialect in the posts, one-sided styles).
- The reasoning describes what the model was taught to write; it is no proof of why the label was chosen.
"""


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
    for way in ("image", "video"):
        auc, first = shown[way]["auc"], shown[way]["first_look_auc"]
        if shown[way]["f1"] < 0.85 * shown["typed"]["f1"]:
            out.append(
                f"It hardly reads drawn text ({way}): ROC-AUC {auc:.2f}, first look {first:.2f}; chance is 0.50."
            )
    for name, part in scores["controls"].items():
        if held := part["review"] + part["block"]:
            out.append(f"It holds up {held} of {held + part['allow']} harmless files of {name}.")
    out += [
        f"Its mean ROC-AUC ({look}, {mean[look]:.3f}) is below the linear floor ({mean['floor_auc']:.3f})."
        for look in ("first_look_auc", "deliberated_auc")
        if mean[look] < mean["floor_auc"]
    ]
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
    equal = [
        (name.removesuffix("_recall_at_10_percent_alarms"), percent(part["first_look"]), percent(part["floor"]))
        for name, part in ranked.items()
        if name.endswith("_alarms")
    ]
    bins = [
        (count, f"{p:.2f}", f"{share:.2f}", "#" * round(20 * share))
        for count, p, share in ranked["calibration"]["reliability"]
    ]
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

Recall of the first look at 10% false alarms on XSTest-safe and the harmless part of OpenAIModeration:

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

{table(("rows", "mean probability", "share harmful", ""), bins)}

Speed, one text after the other on the CPU, medians of {speed["verdicts"]}: first piece after
{speed["first_piece_ms"]:.0f} ms, verdict after {speed["verdict_ms"]:.0f} ms ({speed["tokens"]:.0f} tokens).

"""
    missed = shortfalls(scores)
    plainly = "## Plainly not met\n\n" + "\n".join(f"- {each}" for each in missed) + "\n\n" if missed else ""
    return HEAD.format(**facts, checkpoint=scores["checkpoint"]) + "\n" + figures + plainly + LIMITS
