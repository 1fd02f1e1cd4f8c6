"""A queue item as HTML: pure functions of values. Every text that a person or a model wrote is escaped here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from annotation_store.values.reasons import KIND_NAMES, ReasonKind
from annotation_store.values.review import EventKind, Evidence, EvidencePart, Item, Left, Pace, QueueFilter, Recent
from app.markup.evidence import harm_over_time
from app.markup.numbers import clock
from app.markup.text import escape, excerpt, letters
from app.markup.verdicts import label_words, side_rows
from app.review.form import Form, lines_of, steps_of
from app.review.keys import KEYS, actions
from core.policy import Policy
from core.types import Label, MediaRef, Modality, Sample, Verdict

if TYPE_CHECKING:
    from annotation_store.duplicates.near import Neighbour

CATEGORY_LETTERS = "abcdefghijklmnopqrstuvwxyz"
SKIP_REASONS = (
    "I do not read this language",
    "It needs an expert",
    "The media cannot be seen or heard well enough",
    "The policy does not say",
    "I would rather not look at this",
)


# -- the bar above ------------------------------------------------------------------------------------------------


def bar(left: Left, all_today: Pace, mine_today: Pace, words: str = "") -> str:
    """What is left, and today's pace.

    Args:
        words: what the queue is searched for besides; no counter knows how many items hold it.
    """
    which = " with any words" if words else ""
    return (
        f'<p class="gr-left" role="status"><strong data-left="{left.total}">{left.total:,}</strong> left{which}'
        f'<span>·</span><strong data-today="{all_today.decided}">{all_today.decided:,}</strong> decided today'
        f'<span class="gr-quiet">({mine_today.decided:,} by you, {mine_today.skipped:,} skipped)</span></p>'
    )


def kind_choices(left: Left) -> list[tuple[str, str]]:
    """Reasons with how many items have them."""
    return [("every reason", "")] + [
        (f"{KIND_NAMES[kind]} ({left.by_kind.get(kind.value, 0):,})", kind.value) for kind in ReasonKind
    ]


def modality_choices(left: Left) -> list[tuple[str, str]]:
    """Modalities with how many items are of them."""
    return [("every modality", "")] + [
        (f"{each.value} ({left.by_modality.get(each.value, 0):,})", each.value) for each in Modality
    ]


def checkpoint_choices(left: Left, chosen: str) -> list[tuple[str, str]]:
    """Checkpoints with how many items are about their verdicts."""
    known = dict(sorted(left.by_checkpoint.items()))
    if chosen:
        known.setdefault(chosen, 0)
    return [("every checkpoint", "")] + [(f"{name} ({count:,})", name) for name, count in known.items()]


# -- the item, left -----------------------------------------------------------------------------------------------


def media(sample: Sample, urls: Sequence[str]) -> str:
    """The media at these addresses, blurred, greyscale and muted until asked for (assets/review.js and review.css)."""
    if not sample.media:
        return ""
    figures = "".join(_figure(ref, url, at) for at, (ref, url) in enumerate(zip(sample.media, urls, strict=True)))
    moving = any(ref.modality is Modality.VIDEO for ref in sample.media)
    return (
        f'<section class="gr-r-media" data-item="{escape(sample.id)}" aria-label="Media">{_switches(moving=moving)}'
        f"{figures}{_player() if moving else ''}</section>"
    )


def _figure(ref: MediaRef, url: str, at: int) -> str:
    size = f"{ref.width} × {ref.height}"
    if ref.modality is Modality.VIDEO:
        length = f" · {clock(ref.duration_s or 0.0)}"
        fps = (ref.frame_count or 0) / ref.duration_s if ref.duration_s else 0.0
        shown = (
            f'<video src="{escape(url)}" data-at="{at}" data-fps="{fps:.4f}" controls muted playsinline loop '
            'preload="metadata" controlslist="nofullscreen nodownload noremoteplayback" disablepictureinpicture '
            'aria-label="The given video"></video>'
        )
    else:
        length = ""
        shown = f'<img src="{escape(url)}" data-at="{at}" alt="The given picture, {size}" draggable="false">'
    caption = f"{ref.media_type} · {size}{length}"
    return (
        f'<figure class="gr-r-figure"><div class="gr-r-veil">{shown}'
        '<button type="button" class="gr-r-reveal" data-r-do="reveal"><span>Hidden until you ask</span>'
        "<kbd>r</kbd> reveal</button></div>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _switches(*, moving: bool) -> str:
    mute = '<label><input type="checkbox" data-r-switch="mute" checked> muted</label>' if moving else ""
    return (
        '<div class="gr-r-switches" role="group" aria-label="How media are shown">'
        '<label><input type="checkbox" data-r-switch="blur" checked> blurred</label>'
        '<label class="gr-r-slide">by <input type="range" min="4" max="60" value="28" data-r-switch="strength" '
        'aria-label="How strongly media are blurred"></label>'
        f'<label><input type="checkbox" data-r-switch="grey" checked> greyscale</label>{mute}</div>'
    )


def _player() -> str:
    buttons = (("back", "‹ frame", ","), ("play", "play", "k"), ("on", "frame ›", "."), ("slower", "slower", "<"))
    shown = "".join(
        f'<button type="button" data-r-do="{does}" title="key {escape(key)}">{words}</button>'
        for does, words, key in (*buttons, ("faster", "faster", ">"))
    )
    return (
        f'<div class="gr-r-player">{shown}<output data-r-rate>1×</output>'
        '<button type="button" data-r-do="from" title="key [">evidence from here</button>'
        '<button type="button" data-r-do="to" title="key ]">to here</button><output data-r-from></output></div>'
    )


def fetched(urls: Sequence[str]) -> str:
    """Pictures that the browser fetches and does not show."""
    return "".join(f'<img class="gr-r-fetched" src="{escape(url)}" alt="" aria-hidden="true">' for url in urls)


def timeline(verdict: Verdict | None) -> str:
    """The harm timeline of a video, to jump by; nothing for anything else."""
    if verdict is None or not any(window.what == "video" for window in verdict.windows):
        return ""
    return harm_over_time(verdict.windows, verdict.thresholds)


def texts(sample: Sample, form: Form) -> str:
    """Request and response, with the words that are marked as evidence."""
    parts = [_text("request", "Request", sample.request, form.evidence)]
    if sample.response is not None:
        parts.append(_text("response", "Response", sample.response, form.evidence))
    return f'<section class="gr-r-texts">{"".join(parts)}</section>'


def _text(part: str, title: str, text: str, evidence: Sequence[Evidence]) -> str:
    if not text:
        return f'<h3>{title}</h3><p class="gr-quiet">No words; the media speak for themselves.</p>'
    spans = sorted((int(each.start), int(each.end)) for each in evidence if each.part.value == part)
    shown: list[str] = []
    at = 0
    for start, end in spans:
        start = max(start, at)
        if end > start:
            shown.append(letters(text[at:start]) + f"<mark>{letters(text[start:end])}</mark>")
            at = end
    shown.append(letters(text[at:]))
    return (
        f'<h3>{title}</h3><div class="gr-r-text" data-part="{part}" tabindex="0" dir="auto" '
        f'aria-label="{title}">{"".join(shown)}</div>'
    )


def marked(form: Form) -> str:
    """The evidence so far: what was marked, the step that it belongs to, and a way to take it back."""
    if not form.evidence:
        return (
            '<p class="gr-quiet">Evidence: select words and press <kbd>m</kbd>; on a video press <kbd>[</kbd> where it '
            "begins and <kbd>]</kbd> where it ends.</p>"
        )
    steps = lines_of(form.reasoning)
    rows = "".join(_marked(each, at, len(steps)) for at, each in enumerate(form.evidence))
    return f'<ul class="gr-r-evidence">{rows}</ul>'


def _marked(evidence: Evidence, at: int, steps: int) -> str:
    options = "".join(
        f'<option value="{step}"{" selected" if evidence.step == step else ""}>step {step}</option>'
        for step in range(1, max(steps, evidence.step or 0) + 1)
    )
    return (
        f"<li><span>{escape(stretch(evidence))}</span>"
        f'<select data-r-tie="{at}" aria-label="The step that this belongs to">'
        f'<option value="0">no step</option>{options}</select>'
        f'<button type="button" data-r-drop="{at}" aria-label="Take this evidence back">×</button></li>'
    )


def stretch(evidence: Evidence) -> str:
    """Where a piece of evidence lies, and its words; not yet escaped."""
    if evidence.part is EvidencePart.MEDIA:
        which = f"{evidence.position + 1}, " if evidence.position else ""
        return f"video {which}{clock(evidence.start, tenths=True)} to {clock(evidence.end, tenths=True)}"
    where = f"“{excerpt(evidence.words, 70)}”" if evidence.words else f"{evidence.start:.0f} to {evidence.end:.0f}"
    return f"{evidence.part.value}: {where}"


def near(neighbours: Sequence[Neighbour]) -> str:
    """Samples that are nearly the same and were labelled before, with their labels."""
    if not neighbours:
        return ""
    rows = "".join(_near(each) for each in neighbours)
    return f'<section class="gr-r-near"><h3>Like it, labelled before</h3><ul>{rows}</ul></section>'


def _near(each: Neighbour) -> str:
    said = each.label
    by = "" if said is None else said.reviewer or said.source or ""
    labels = "" if said is None else label_words(said.draft.request) + (
        f" · response {label_words(said.draft.response)}" if each.sample.response is not None else ""
    )  # fmt: skip
    alike = "the same picture" if each.same_picture else f"{each.words:.0%} of the words"
    return (
        f'<li><button type="button" class="gr-r-like" data-r-page="{escape(each.sample_id)}">'
        f"{escape(excerpt(each.sample.request, 140))}</button>"
        f'<div>{labels}<span class="gr-quiet"> {escape(alike)}{escape(" · " + by if by else "")}</span></div></li>'
    )


def policy_page(policy: Policy) -> str:
    """What counts as harmful: each category with its letter, one sentence, and what is not meant."""
    rows = "".join(
        f"<dt><kbd>{letter}</kbd> {escape(each.name)}</dt>"
        f"<dd>{escape(each.description)} <em>{escape(each.not_meant)}</em></dd>"
        for letter, each in zip(CATEGORY_LETTERS, policy.categories, strict=False)
    )
    return (
        f'<details class="gr-r-policy" id="gr-r-policy"><summary>Policy <span class="gr-quiet">'
        f"{escape(policy.version)}</span> <kbd>p</kbd></summary><dl>{rows}</dl></details>"
    )


# -- the item, right ----------------------------------------------------------------------------------------------


def why(item: Item) -> str:
    """Why the item is in the queue, and whether it was here before."""
    stages = {"second_opinion": "Second opinion: another reviewer has looked at it.", "reopened": "Opened again."}
    stage = f"<li>{stages[item.stage]}</li>" if item.stage in stages else ""
    rows = "".join(
        f'<li data-kind="{reason.kind.value}"><b>{escape(KIND_NAMES[reason.kind])}</b> {escape(reason.words)}</li>'
        for reason in item.reasons
    )
    return (
        f'<section class="gr-r-why" data-item="{escape(item.sample_id)}" aria-label="Why it is here">'
        f"<h3>Why it is here</h3><ul>{stage}{rows}</ul></section>"
    )


def model(item: Item, form: Form) -> str:
    """The model's two verdicts and its reasoning as numbered steps; a press on one marks it as the first wrong."""
    verdict = item.verdict
    if verdict is None:
        return (
            '<section class="gr-r-model"><h3>The model</h3><p class="gr-quiet">No checkpoint has judged this sample '
            "yet.</p></section>"
        )
    rows = side_rows(verdict, has_response=item.sample.response is not None)
    steps = "".join(_step(step, number, form) for number, step in enumerate(steps_of(verdict), 1))
    none = "" if steps else '<p class="gr-quiet">The model wrote no steps.</p>'
    error = f'<p class="gr-r-error">{escape(verdict.error)}</p>' if verdict.error else ""
    return (
        f'<section class="gr-r-model" data-verdict="{escape(verdict.id)}"><h3>The model '
        f'<span class="gr-quiet">{escape(verdict.checkpoint_id)} · {verdict.decision.value}</span></h3>'
        f'{rows}{error}<ol class="gr-r-steps">{steps}</ol>{none}</section>'
    )


def _step(step: str, number: int, form: Form) -> str:
    wrong = form.first_wrong
    state = "wrong" if wrong == number else "after" if wrong is not None and number > wrong else "kept"
    said = "; the first wrong step" if state == "wrong" else ""
    return (
        f'<li data-state="{state}"><button type="button" data-r-wrong="{number}" '
        f'aria-pressed="{str(state == "wrong").lower()}" title="Mark step {number} as the first wrong one" '
        f'aria-label="Step {number}{said}">{number}</button><span dir="auto">{escape(step)}</span></li>'
    )


def difference(item: Item, form: Form) -> str:
    """The model's steps against the corrected ones, line by line."""
    return changes(steps_of(item.verdict), lines_of(form.reasoning))


def changes(before: Sequence[str], after: Sequence[str]) -> str:
    """Steps against others, line by line; nothing where one side is empty or nothing changes."""
    import difflib

    if not after or not before or tuple(after) == tuple(before):
        return ""
    rows = []
    for line in difflib.ndiff(before, after):
        if line[:1] in "-+":
            tag = "del" if line[0] == "-" else "ins"
            rows.append(f"<{tag}>{escape(line[2:])}</{tag}>")
    return f'<details class="gr-r-diff"><summary>What changes</summary>{"".join(rows)}</details>'


def recent(done: Sequence[Recent]) -> str:
    """The reviewer's last actions; each can be opened again."""
    if not done:
        return '<p class="gr-quiet">What you decide appears here and can be opened again.</p>'
    return f'<ol class="gr-r-recent">{"".join(_recent(each) for each in done)}</ol>'


def _recent(each: Recent) -> str:
    words = {EventKind.DECIDE: "", EventKind.SKIP: "skipped", EventKind.SECOND_OPINION: "second opinion"}
    said = words.get(each.event.kind, each.event.kind.value)
    if each.label is not None:
        sides = [label_words(each.label.draft.request)]
        if each.label.draft.response is not Label.ABSENT:
            sides.append(label_words(each.label.draft.response))
        said = " / ".join(sides) + (f" · {said}" if said else "")
    undone = ' data-undone="true"' if each.event.undone else ""
    again = "" if each.event.undone else (
        f'<button type="button" data-r-reopen="{escape(each.event.sample_id)}">open again</button>'
    )  # fmt: skip
    return (
        f"<li{undone}><time>{escape(each.event.created_at[11:16])}</time> {said}"
        f'<button type="button" class="gr-r-like" data-r-page="{escape(each.event.sample_id)}">'
        f"{escape(excerpt(each.request, 70))}</button>{again}</li>"
    )


# -- instead of an item -------------------------------------------------------------------------------------------


def empty(left: Left, wanted: QueueFilter) -> str:
    """What to do next when nothing is to be reviewed."""
    filtered = wanted != QueueFilter()
    if filtered:
        word, said = "Nothing like this is waiting", "Take the filters away to see what else there is."
    elif left.total:
        word = "Nothing left for you"
        said = f"{left.total:,} items are with other reviewers, or you have skipped them or sent them on."
    else:
        word, said = "The queue is empty", "Hard samples come here by themselves. To fill it now:"
    ways = (
        "<li>moderate something under <b>Moderate</b>; what is unsure, cut off or contradicts itself comes here</li>"
        "<li>press <b>This verdict is wrong</b> on a verdict</li>"
        "<li>let the guard answer stored samples or a file several times under <b>Mine</b>; where it is wrong or "
        "unsure comes here</li>"
        "<li>bring a file in under <b>Data</b></li>"
    )
    return (
        f'<section class="gr-r-empty" role="status"><h2>{word}</h2><p>{said}</p>'
        f"{'' if filtered else f'<ul>{ways}</ul>'}</section>"
    )


def stored(warnings: Sequence[str]) -> str:
    """What the page says beside the next item about the one that was just stored; nothing where all is well."""
    return f"Stored. About the item before this one: {' '.join(warnings)} Press z to change it." if warnings else ""


def sent(warnings: Sequence[str], *, labelled: bool) -> str:
    """The same of an item that goes to another reviewer, with a label or without."""
    said = "Sent to another reviewer" + (", with your label kept." if labelled else ".")
    return f"{said} About that item: {' '.join(warnings)} Press z to change it." if warnings else said


def windows() -> str:
    """The map of keys and the question for a reason: two dialogs that the script opens."""
    groups = "".join(
        f"<section><h3>{escape(group)}</h3><dl>"
        + "".join(
            f"<dt><kbd>{escape(each.shown or each.keys[0])}</kbd></dt><dd>{escape(each.words)}</dd>" for each in keys
        )
        + "</dl></section>"
        for group, keys in KEYS.items()
    )
    reasons = "".join(
        f'<li><button type="button" data-r-why="{escape(words)}"><kbd>{number}</kbd> {escape(words)}</button></li>'
        for number, words in enumerate(SKIP_REASONS, 1)
    )
    return (
        f'<dialog id="gr-r-map" class="gr-r-dialog" aria-label="Keys"><header><h2>Keys</h2>'
        f'<button type="button" data-r-close>close</button></header><div class="gr-r-groups">{groups}</div></dialog>'
        f'<dialog id="gr-r-ask" class="gr-r-dialog" aria-label="Why"><header><h2 data-r-asked>Why?</h2>'
        f'<button type="button" data-r-close>close</button></header><ol>{reasons}</ol>'
        '<form method="dialog"><label>or in your own words <input type="text" maxlength="2000"></label>'
        '<button type="submit">Send</button></form></dialog>'
        f'<i id="gr-r-keys" hidden data-keys="{escape(json.dumps(actions()))}"></i>'
    )
