"""The open store: its transactions, and recording and reading verdicts and reports.

Human review is in packages of its own (see the package), whose functions take a store first and work inside
`AnnotationStore.writing` and `AnnotationStore.reading`. Values go in and come out (`core.types`, `values`);
no row, session or connection leaves the package.
Every write is one transaction and can be repeated without harm. A store may be used by many threads, and its database
by many processes, at once.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from sqlalchemy import URL, Connection, Engine, Row, Select, func, insert, select

from annotation_store.columns import canonical_time, now_text
from annotation_store.database import (
    BUSY_SECONDS,
    database_file,
    database_url,
    explained,
    leasing,
    open_engine,
    writing,
)
from annotation_store.migrate import migrate
from annotation_store.models import MediaRow, ReportRow, SampleRow, VerdictRow
from annotation_store.queue.again import open_for
from annotation_store.queue.items import add_reasons
from annotation_store.rows.samples import keep_sample, read_samples, sample_key
from annotation_store.rows.words import add_words
from annotation_store.rules.reasons import ReasonRules, reasons_for, reported
from annotation_store.turns import Turns
from annotation_store.values.reports import Counts, Report
from core.errors import StoreError
from core.types import Sample, Verdict
from core.verdict_json import verdict_from_document, verdict_to_document

MAX_NOTE_CHARS = 10_000
MAX_PAGE = 1_000
"""Most reports that are handed out at once."""


class AnnotationStore:
    """An open store. `open` makes one; `close` it, or use it in a `with` statement."""

    def __init__(self, url: URL, rules: ReasonRules | None = None) -> None:
        self.rules = rules or ReasonRules()
        self._engine = open_engine(url)
        self._writer = writing(self._engine)
        self._leaser = leasing(self._engine)
        self._turns = Turns(database_file(url))

    @classmethod
    def open(cls, url_or_path: str | Path, rules: ReasonRules | None = None) -> AnnotationStore:
        """Open a database, creating it or bringing its schema up to date first.

        Args:
            url_or_path: a SQLAlchemy URL, or the path of a SQLite file; its folder is made when missing.
            rules: when a recorded verdict makes a sample hard; those of `annotation_store.rules.reasons` by default.

        Raises:
            StoreError: the place cannot be opened, is no database, or was written by a newer version.
        """
        url = database_url(url_or_path)
        migrate(url)
        return cls(url, rules)

    @property
    def engine(self) -> Engine:
        """For the operations of this package that need more than a transaction."""
        return self._engine

    def close(self) -> None:
        """Give the database's connections back."""
        self._engine.dispose()
        self._turns.close()

    def __enter__(self) -> AnnotationStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- writing --------------------------------------------------------------------------------------------------

    def record(self, sample: Sample, verdict: Verdict, rules: ReasonRules | None = None) -> None:
        """Keep a verdict together with the sample it judges, and put the sample into the queue where it is hard.

        Recording the same again changes nothing.

        Args:
            rules: when it is hard, in the place of the store's rules.

        Samples and media are known by their content: of one that is stored already, the first description stays.

        Raises:
            StoreError: the verdict is about another sample, another verdict has the same id, a value cannot be
                written as JSON, or the database failed. Nothing was written then.
        """
        if verdict.sample_id != sample.id:
            raise StoreError(f"The verdict {verdict.id!r} is about {verdict.sample_id!r}, not about {sample.id!r}.")
        document = _document(verdict)
        created_at = canonical_time(verdict.created_at)
        with self.writing("Recording the verdict") as connection:
            known = connection.scalar(select(VerdictRow.document).where(VerdictRow.id == verdict.id))
            if known is not None:
                if verdict_from_document(json.loads(known)) == verdict:
                    return
                raise StoreError(f"The id {verdict.id!r} belongs to another verdict, and verdicts are never changed.")
            said = verdict.assessment
            now = now_text()
            key, new = keep_sample(connection, sample, now)
            connection.execute(
                insert(VerdictRow).values(
                    id=verdict.id,
                    sample_key=key,
                    checkpoint_id=verdict.checkpoint_id,
                    protocol_version=verdict.protocol_version,
                    decision=verdict.decision.value,
                    request_label=said.request.value if said else None,
                    response_label=said.response.value if said else None,
                    p_request=verdict.deliberated.request,
                    p_response=verdict.deliberated.response,
                    first_look_p_request=verdict.first_look.request,
                    first_look_p_response=verdict.first_look.response,
                    error=verdict.error,
                    created_at=created_at,
                    document=document,
                )
            )
            add_words(connection, key, new=new, reasoning=said.reasoning if said else ())
            add_reasons(connection, key, reasons_for(verdict, rules or self.rules), now)

    def report(self, verdict_id: str, note: str, reporter: str) -> Report:
        """Keep that a person calls a verdict wrong, and put its sample into the queue, also where it had been decided.

        Each new note of the same person about the same verdict is a report of its own. A note that the person left
        before, or pressing again without one, changes nothing and gives back the report that is there.

        Raises:
            StoreError: there is no such verdict, the reporter is not named, the note is longer than
                `MAX_NOTE_CHARS`, or the database failed.
        """
        note = note.strip()
        if len(note) > MAX_NOTE_CHARS:
            raise StoreError(f"The note has {len(note):,} characters; at most {MAX_NOTE_CHARS:,} are accepted.")
        if not reporter.strip():
            raise StoreError("The report names no reporter; a name or an identifier is expected.")
        report_id = _report_id(verdict_id, reporter, note)
        with self.writing("Keeping the report") as connection:
            keys = connection.execute(
                select(VerdictRow.key, VerdictRow.sample_key, VerdictRow.checkpoint_id).where(
                    VerdictRow.id == verdict_id
                )
            ).one_or_none()
            if keys is None:
                raise StoreError(
                    f"There is no verdict {verdict_id[:80]!r} in the store; the id of a recorded one is expected."
                )
            same = ReportRow.id == report_id
            if not note:
                same = (ReportRow.verdict_key == keys.key) & (ReportRow.reporter == reporter)
            known = connection.execute(_reports().where(same).limit(1)).one_or_none()
            if known is not None:
                return _report(known)
            now = now_text()
            connection.execute(
                insert(ReportRow).values(
                    id=report_id,
                    verdict_key=keys.key,
                    sample_key=keys.sample_key,
                    note=note,
                    reporter=reporter,
                    created_at=now,
                )
            )
            add_words(connection, keys.sample_key, new=False, notes=[note])
            open_for(connection, keys.sample_key, reported(note, keys.checkpoint_id), reporter, now)
            return _report(connection.execute(_reports().where(ReportRow.id == report_id)).one())

    # -- reading --------------------------------------------------------------------------------------------------

    def verdict(self, verdict_id: str) -> Verdict:
        """A recorded verdict, exactly as it was.

        Raises:
            StoreError: there is none of that id, or the database failed.
        """
        with self.reading("Reading the verdict") as connection:
            document = connection.scalar(select(VerdictRow.document).where(VerdictRow.id == verdict_id))
        if document is None:
            raise StoreError(
                f"There is no verdict {verdict_id[:80]!r} in the store; the id of a recorded one is expected."
            )
        return verdict_from_document(json.loads(document))

    def sample(self, sample_id: str) -> Sample:
        """A stored sample with its media in order.

        Raises:
            StoreError: there is none of that id, or the database failed.
        """
        with self.reading("Reading the sample") as connection:
            key = sample_key(connection, sample_id)
            return read_samples(connection, [key])[key]

    def reports(self, limit: int = 50, offset: int = 0) -> list[Report]:
        """Reports, newest first: at most `limit` of them, after the first `offset`.

        Raises:
            StoreError: `limit` is not in 1 to `MAX_PAGE` or `offset` is negative, or the database failed.
        """
        if not (1 <= limit <= MAX_PAGE and 0 <= offset <= sys.maxsize):
            raise StoreError(
                f"A page of {limit} reports from {offset} on cannot be read; 1 to {MAX_PAGE} from 0 on are."
            )
        with self.reading("Reading the reports") as connection:
            return [_report(row) for row in connection.execute(_reports().limit(limit).offset(offset))]

    def counts(self) -> Counts:
        """How many samples, media, verdicts and reports there are, at one moment.

        Raises:
            StoreError: the database failed.
        """
        tables = (SampleRow, MediaRow, VerdictRow, ReportRow)
        with self.reading("Counting") as connection:
            return Counts(
                *connection.execute(
                    select(*(select(func.count()).select_from(each).scalar_subquery() for each in tables))
                ).one()
            )

    # -- transactions ---------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, doing: str, *, lease: bool = False) -> Iterator[Connection]:
        """One transaction that writes, for the operations of this package. `doing` begins the message of a failure.

        `lease`: it writes nothing but claims, and need not wait for the disk (`annotation_store.database.leasing`).
        """
        with self._turns.taken(BUSY_SECONDS) as mine:
            if not mine:
                raise StoreError(f"{doing} failed: other writes took more than {BUSY_SECONDS:.0f} seconds; try again.")
            with explained(doing), (self._leaser if lease else self._writer).begin() as connection:
                yield connection

    @contextmanager
    def reading(self, doing: str) -> Iterator[Connection]:
        """One transaction that reads one state of the database, for the operations of this package."""
        with explained(doing), self._engine.begin() as connection:
            yield connection


def _document(verdict: Verdict) -> str:
    """The JSON text of a verdict. Not escaped to ASCII: reading that back would join two lone surrogates into one."""
    try:
        return json.dumps(verdict_to_document(verdict), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise StoreError(f"The verdict {verdict.id!r} cannot be written as JSON: {error}.") from None


def _report_id(verdict_id: str, reporter: str, note: str) -> str:
    content = json.dumps([verdict_id, reporter, note], ensure_ascii=False, separators=(",", ":"))
    return "r1-" + hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def _report(row: Row[str, str, str, str, str, str]) -> Report:
    """A row of `_reports` as the value that is handed out."""
    return Report(*row)


def _reports() -> Select[str, str, str, str, str, str]:
    """The columns of `Report` in its order, newest first."""
    return (
        select(ReportRow.id, VerdictRow.id, SampleRow.id, ReportRow.note, ReportRow.reporter, ReportRow.created_at)
        .join(VerdictRow, VerdictRow.key == ReportRow.verdict_key)
        .join(SampleRow, SampleRow.key == ReportRow.sample_key)
        .order_by(ReportRow.key.desc())
    )
