"""Import, export and snapshots as HTML: pure functions of values; every text of a file is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from annotation_store.incoming.values import ImportProgress, ImportReport, Preview, PreviewRow, Refused
from annotation_store.outgoing.values import ExportReport
from annotation_store.snapshots.values import SnapshotInfo
from app.markup.tables import progress_bar, table
from app.markup.text import escape, excerpt, message

if TYPE_CHECKING:
    from annotation_store.snapshots.values import FreezeProgress


def preview(shown: Preview) -> str:
    """The first rows as they would be taken in."""
    head = (
        f"<p><strong>{escape(shown.file_name)}</strong> · {shown.form.value}"
        f"{' · written by Guardroom' if shown.ours else ''} · {len(shown.columns)} columns: "
        f"{escape(excerpt(', '.join(shown.columns), 300))}</p>"
    )
    names = ("row", "request", "response", "media", "request label", "response label", "steps")
    rows = "".join(_preview_row(row) for row in shown.rows)
    return head + table(names, rows)


def _preview_row(row: PreviewRow) -> str:
    if row.refused:
        return (
            f'<tr data-refused="true"><td>{row.row}</td><td>{escape(excerpt(row.request, 80))}</td>'
            f'<td colspan="5">refused: {escape(row.refused)}</td></tr>'
        )
    cells = (
        row.row,
        excerpt(row.request, 120),
        "–" if row.response is None else excerpt(row.response, 90),
        ", ".join(row.media) or "–",
        row.request_label,
        row.response_label,
        row.steps or "–",
    )
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def counted(samples: int) -> str:
    """How many samples the filter lets through, and what to do where there are none."""
    if not samples:
        return message("No sample passes this filter. Review some, bring labelled ones in, or choose another filter.")
    return message(f"{samples:,} sample{'' if samples == 1 else 's'}.")


def importing(progress: ImportProgress) -> str:
    """How far an import is."""
    return progress_bar(
        progress.share,
        f"{progress.rows:,} rows taken in ({progress.new_samples:,} new samples, {progress.new_labels:,} labels, "
        f"{progress.queued:,} into the queue), {progress.refused:,} refused, {progress.rows_per_s:,.0f} rows/s",
    )


def imported(report: ImportReport, refused: Sequence[Refused]) -> str:
    """What an import has done, with the refused rows and their reasons."""
    word = "Stopped" if report.stopped else "Imported"
    head = (
        f'<p class="gr-message" data-kind="good" role="status">{word}: {report.rows:,} rows, '
        f"{report.new_samples:,} new samples, {report.new_labels:,} labels, {report.queued:,} into the queue, "
        f"{report.refused:,} refused, in {report.seconds:.1f} s. "
        f'<span class="gr-quiet">Import {escape(report.batch_id)}</span></p>'
    )
    if not refused:
        return head
    rows = "".join(f"<tr><td>{line.row}</td><td>{escape(line.reason)}</td></tr>" for line in refused)
    more = (
        f"<p class='gr-quiet'>The first {len(refused):,} of {report.refused:,}.</p>"
        if len(refused) < report.refused
        else ""
    )
    return head + "<h3>Refused rows</h3>" + table(("row", "why"), rows) + more


def exported(report: ExportReport) -> str:
    """What an export has written."""
    left = "".join(f"<li>{count:,} left out: {escape(why)}</li>" for why, count in report.left_out.items())
    written = f"{_counted(report.rows, 'row')} and {_counted(report.media, 'media file')}"
    return (
        f'<p class="gr-message" data-kind="good" role="status">{written} '
        f"in {report.seconds:.1f} s.</p>{f'<ul>{left}</ul>' if left else ''}"
    )


def freezing(progress: FreezeProgress) -> str:
    """How far freezing is."""
    share = progress.done / max(progress.total, 1)
    return progress_bar(share, f"{progress.doing}: {progress.done:,} of {progress.total:,}")


def snapshots(known: Sequence[SnapshotInfo]) -> str:
    """The snapshots that the store knows."""
    if not known:
        return '<p class="gr-quiet">No snapshot yet. Label some samples, then freeze them.</p>'
    rows = "".join(_snapshot(each) for each in known)
    return table(("name", "digest", "train", "validation", "test", "left out", "frozen", "by", "protocol"), rows)


def _snapshot(each: SnapshotInfo) -> str:
    counts: Mapping[str, int] = each.counts
    changed = " · a sample was deleted since" if each.changed_at else ""
    cells = (
        each.name,
        each.digest[:16] + "…",
        counts.get("train", 0),
        counts.get("validation", 0),
        counts.get("test", 0),
        sum(each.left_out.values()),
        each.created_at[:16].replace("T", " ") + changed,
        each.created_by,
        each.protocol_version,
    )
    return f'<tr data-digest="{escape(each.digest)}">{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'


def verified(folder: Path, faults: Sequence[str]) -> str:
    """What the check of a snapshot found."""
    if not faults:
        return (
            '<p class="gr-message" data-kind="good" role="status">Every byte is as it was frozen. '
            f'<span class="gr-quiet">{escape(folder)}</span></p>'
        )
    items = "".join(f"<li>{escape(fault)}</li>" for fault in faults[:50])
    return (
        f'<div class="gr-message" data-kind="bad" role="alert">{len(faults):,} things are not as they were frozen:'
        f"<ul>{items}</ul></div>"
    )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
