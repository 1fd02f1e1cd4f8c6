"""What a training has mined as HTML: pure functions of values; every text is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from app.markup.tables import table
from app.markup.text import escape
from app.mine.present import RULES
from core.mining.rules import KeepRule

if TYPE_CHECKING:
    from annotation_store.mining.from_training import Sent
    from app.train.runs.mined_verdicts import Judged
    from train_jobs.grpo.mined import Count, MiningFigures

NOTHING_YET = (
    '<p class="gr-message">The mining comes first: the model answers every sample several times, and trains on those '
    "that it gets wrong.</p>"
)


def title(found: MiningFigures | None) -> str:
    """The result in a line."""
    if found is None:
        return "Hard samples: none mined yet"
    if not _mines(found):
        return f"Hard samples: all {found.all.kept:,}, without mining"
    so_far = "" if found.is_done else " so far"
    return f"Hard samples: {found.all.kept:,} of {found.all.mined:,} kept{so_far}{_share(found.all)}"


def page(found: MiningFigures | None) -> str:
    """What was mined, and what was kept of it."""
    if found is None:
        return NOTHING_YET
    more = [
        f"{_count(found.joined, 'row')} more {'was' if found.joined == 1 else 'were'} made by joining two of them."
        if found.joined
        else "",
        f"{_count(found.left_out, 'sample')} {'was' if found.left_out == 1 else 'were'} left out: longer than a prompt "
        "may be, or of a kind that the checkpoint does not read."
        if found.left_out
        else "",
    ]
    said = "".join(f"<p>{each}</p>" for each in (_rule(found), *more) if each)
    tables = _modalities(found.by_modality)
    if _mines(found):
        tables += _outcomes(found)
    return f'<div class="gr-g-mined">{said}<div class="gr-g-tables">{tables}</div>{_unjudged(found)}</div>'


def _mines(found: MiningFigures) -> bool:
    return found.rule != "all"


def _rule(found: MiningFigures) -> str:
    if not _mines(found):
        return "The recipe keeps every labelled sample and does not mine."
    dropped = ", but not when all are wrong" if found.drop_all_wrong else ""
    return (
        f"The model answered every sample {found.n} times before the training. A sample is kept when "
        f"{escape(RULES[KeepRule(found.rule)])}{dropped}."
    )


def _modalities(by: Mapping[str, Count]) -> str:
    rows = "".join(_row(escape(kind), count) for kind, count in by.items())
    return table(("modality", "mined", "kept"), rows)


def _outcomes(found: MiningFigures) -> str:
    rows = []
    for wrong in range(found.n + 1):
        count = found.by_wrong.get(wrong)
        words = f"{wrong} of {found.n} wrong"
        if wrong in (0, found.n):
            words += ": right every time" if not wrong else ": never right"
        rows.append(_row(words, count))
    if found.unreadable.mined:
        rows.append(_row("among them never readable", found.unreadable))
    return table(("answers", "samples", "kept"), "".join(rows))


def _row(name: str, count: Count | None) -> str:
    mined, kept = (count.mined, count.kept) if count else (0, 0)
    return f"<tr><td>{name}</td><td>{mined:,}</td><td>{kept:,}</td></tr>"


def _unjudged(found: MiningFigures) -> str:
    if not found.unjudged:
        return ""
    items = "".join(f"<li>{_count(count, 'sample')}: {escape(why)}</li>" for why, count in found.unjudged)
    return f'<p class="gr-quiet">Could not be judged:</p><ul class="gr-quiet">{items}</ul>'


def send_words(count: int) -> str:
    """What the button says."""
    return "Send it to review" if count == 1 else f"Send the {count:,} mined samples to review"


def sent(done: Sent, judged: Judged) -> str:
    """What became of the samples that were sent, in words."""
    new = done.opened + done.reopened
    said = [f"{_count(new, 'sample')} {'is' if new == 1 else 'are'} in the review queue now"]
    if done.reopened:
        said.append(f" ({done.reopened:,} had been decided and {'is' if done.reopened == 1 else 'are'} open again)")
    said.append(".")
    if done.waiting:
        said.append(f" {done.waiting:,} {'was' if done.waiting == 1 else 'were'} waiting there already.")
    if done.decided:
        said.append(
            f" {done.decided:,} {'was' if done.decided == 1 else 'were'} decided by a reviewer and "
            f"{'stays' if done.decided == 1 else 'stay'} so; the sample's page shows the new reason."
        )
    if done.missing:
        said.append(f" {done.missing:,} {'is' if done.missing == 1 else 'are'} not in the store.")
    if judged.verdicts:
        said.append(f" The live guard judged {judged.verdicts:,} of them, so that reviewers see a verdict.")
    if judged.missing:
        why = f": {judged.why}" if judged.why else "."
        said.append(
            f" {_count(judged.missing, 'sample')} {'waits' if judged.missing == 1 else 'wait'} without one{why}"
        )
    return "".join(said)


def _share(count: Count) -> str:
    return f" ({100 * count.kept / count.mined:.0f}%)" if count.mined else ""


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
