"""The order of the queue and the audit's figures, as the owner reads them."""

from __future__ import annotations

from annotation_store.rules.reasons import DEFAULT_WEIGHTS
from annotation_store.values.reasons import ReasonKind
from annotation_store.values.review import Agreement, AuditFigures
from app.review.order_present import agreement, order


def test_the_heaviest_reason_stands_first_with_what_waits_for_it() -> None:
    html = order(DEFAULT_WEIGHTS | {ReasonKind.AUDIT: 3.5}, {"audit": 1200})
    first = html.split("<tbody><tr>")[1].split("</tr>")[0]
    assert first == "<td>random audit</td><td>3.5</td><td>0.3</td><td>1,200</td>"
    assert html.count("<tr>") == len(DEFAULT_WEIGHTS) + 1


def test_the_audits_agreement_stands_apart_and_nothing_reviewed_is_said() -> None:
    html = agreement(AuditFigures(Agreement(0, 0), Agreement(40, 30)))
    assert "random audit, none was reviewed yet" in html
    assert "40 were reviewed; people agree with the guard on 75% of them" in html
