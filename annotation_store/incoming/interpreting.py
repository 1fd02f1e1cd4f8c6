"""From a row of a file to a row of the store, by the columns that the person agreed to."""

from __future__ import annotations

import json
import os
import tempfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

from annotation_store.incoming import labels_said as said
from annotation_store.incoming.files import media_file
from annotation_store.incoming.proposing import propose
from annotation_store.incoming.sharegpt import Turns, exact_row
from annotation_store.incoming.values import Columns, ImportLimits, Row
from annotation_store.outgoing.rows import detailed
from annotation_store.rules.drafts import MAX_NOTE_CHARS, NOTHING_SAID, check_draft
from annotation_store.values.review import LabelDraft, Reasoning
from core.errors import GuardroomError, InputError
from core.policy import Policy
from core.types import Label, MediaRef, Sample

_REMEMBERED = 4_096
"""Media paths whose reference is remembered: many rows may name the same picture."""

_MAX_EXTRA_CHARS = 20_000

OWN = propose(
    ("id", "request", "response", "media", "request_label", "response_label", "categories", "reasoning", "confidence",
     "note", "label_detail")
)  # fmt: skip
"""The columns of Guardroom's own rows."""


class Accepting(Protocol):
    """Where media go (`core.media.store.MediaStore`)."""

    def accept(self, path: Path, file_name: str | None = None) -> MediaRef:
        """Copy a file into the store; MediaError when it cannot be."""


class Rejected(InputError):
    """A row is not taken in; the message says why."""


class Interpreter:
    """Reads rows of one file. Without `media` nothing is stored, and paths are only looked up (for the preview)."""

    def __init__(
        self,
        columns: Columns,
        folder: Path,
        limits: ImportLimits,
        policy: Policy,
        media: Accepting | None,
        source: str = "imported",
    ) -> None:
        self._columns = columns
        self._folder = folder.resolve()
        self._limits = limits
        self._media = media
        self._turns = Turns(source)
        self._categories = {each.id: each.id for each in policy.categories}
        self._categories |= {each.name.casefold(): each.id for each in policy.categories}
        self._used = set(columns.named().values())
        self._seen: OrderedDict[str, MediaRef] = OrderedDict()

    def read(self, row: Row) -> tuple[Sample, LabelDraft | None, str | None, str | None]:
        """The sample, its label, what the file calls it, and the rest of the row as JSON.

        Raises:
            InputError: the row cannot be taken in; the message says why.
        """
        columns = self._columns
        if columns.messages is None:
            return self._plain(row, columns, self._used)
        messages = _parsed(row.get(columns.messages))
        exact = exact_row(row, messages)
        if exact is not None:
            return self._plain(exact, OWN, set(OWN.named().values()))
        media = self._listed(row, columns.images) + self._listed(row, columns.videos)
        spoken = self._turns.read(messages)
        request = said.text_of(spoken.request, "request", self._limits.max_text_chars) or ""
        response = said.text_of(spoken.response, "response", self._limits.max_text_chars)
        sample = self._sample(request, response, media)
        draft = None
        if spoken.assessment is not None:
            judged = spoken.assessment
            reasoning = None
            if judged.reasoning:
                steps = said.steps_of(judged.reasoning, self._limits.max_steps)
                reasoning = Reasoning(steps, None, None, spoken.target, spoken.protocol_version)
            draft = self._checked(
                LabelDraft(judged.request, judged.response, judged.categories, reasoning=reasoning), sample
            )
        return sample, draft, self._named(row, columns.external_id), _rest(row, self._used | {"guardroom"})

    def _plain(
        self, row: Row, columns: Columns, used: set[str]
    ) -> tuple[Sample, LabelDraft | None, str | None, str | None]:
        # No file has a column None, so a column that is not named has no cell.
        cell = cast(Mapping[str | None, Any], row).get
        most = self._limits.max_text_chars
        request = said.text_of(cell(columns.request), "request", most) or ""
        response = said.text_of(cell(columns.response), "response", most)
        media: list[Any] = []
        for column in (columns.media, columns.images, columns.videos):
            if column is not None:
                media += self._listed(row, column)
        sample = self._sample(request, response, media)
        if columns.request_label is columns.response_label is columns.categories is None:  # the file has no labels
            return sample, None, self._named(row, columns.external_id), _rest(row, used)
        harm = said.label_of(cell(columns.request_label), "request label")
        other = said.label_of(cell(columns.response_label), "response label")
        if response is None:
            if other is not Label.UNLABELLED:
                raise Rejected("The response is labelled, but the row has no response.")
            other = Label.ABSENT
        categories = self._known_categories(cell(columns.categories))
        # Names that are not of our policy are kept beside the sample, and make no category.
        kept = used if categories is not None else used - {columns.categories or ""}
        rest = _rest(row, kept)
        draft = None
        if not (harm in NOTHING_SAID and other in NOTHING_SAID):
            thought = cell(columns.reasoning)
            steps = () if thought is None else said.steps_of(thought, self._limits.max_steps)
            draft = LabelDraft(
                harm,
                other,
                tuple(categories or ()),
                said.confidence_of(cell(columns.confidence)),
                said.text_of(cell(columns.note), "note", MAX_NOTE_CHARS) or "",
                Reasoning(steps) if steps else None,
            )
            if (detail := said.object_of(cell(columns.detail), "label's detail")) is not None:
                try:
                    draft = detailed(draft, detail)
                except (KeyError, TypeError, ValueError, AttributeError):
                    raise Rejected("The label's detail is nothing that an export of Guardroom writes.") from None
            draft = self._checked(draft, sample)
        return sample, draft, self._named(row, columns.external_id), rest

    def _sample(self, request: str, response: str | None, media: Sequence[Any]) -> Sample:
        if len(media) > self._limits.max_media:
            raise Rejected(f"The row has {len(media)} media; at most {self._limits.max_media} are accepted.")
        if not request.strip() and not media:
            raise Rejected("The row has neither a request nor media.")
        return Sample(request, response, tuple(filter(None, map(self._medium, media))) if media else ())

    def _checked(self, draft: LabelDraft, sample: Sample) -> LabelDraft | None:
        if draft.request in NOTHING_SAID and draft.response in NOTHING_SAID:
            return None
        if self._media is None and draft.evidence:
            # The preview has no references of media, which evidence in a video is checked against.
            draft = replace(draft, evidence=())
        try:
            check_draft(draft, sample)
        except GuardroomError as error:
            raise Rejected(str(error)) from None
        return draft

    def _known_categories(self, value: Any) -> list[str] | None:
        """Category ids; none where a name is not of our policy."""
        if value is None:
            return []
        if isinstance(value, str) and not value.lstrip().startswith("["):
            value = [part for part in (each.strip() for each in value.replace(";", ",").split(",")) if part]
        names = [str(each).strip() for each in said.list_of(value, "categories")]
        ids = [self._categories.get(name) or self._categories.get(name.casefold()) for name in names]
        return None if None in ids else [each for each in ids if each is not None]

    def _named(self, row: Row, column: str | None) -> str | None:
        if column is None:
            return None
        name = said.text_of(row.get(column), "id", 1_000)
        return name or None

    # -- media -----------------------------------------------------------------------------------------------------

    def _listed(self, row: Row, column: str | None) -> list[Any]:
        return [] if column is None else said.list_of(row.get(column), "media")

    def _medium(self, named: Any) -> MediaRef | None:
        if isinstance(named, Mapping):
            data, path = named.get("bytes"), named.get("path")
            if isinstance(data, bytes):
                return self._of_bytes(data, str(path or "picture"))
            named = path
        if not isinstance(named, str):
            raise Rejected(f"A medium is a {type(named).__name__}; a path is expected.")
        if named in self._seen:
            self._seen.move_to_end(named)
            return self._seen[named]
        path = media_file(self._folder, named)
        if self._media is None:
            return None
        ref = self._media.accept(path, named)
        self._seen[named] = ref
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return ref

    def _of_bytes(self, data: bytes, name: str) -> MediaRef | None:
        """A medium whose bytes stand in the row, as Parquet data sets have them."""
        if self._media is None:
            return None
        handle, temporary = tempfile.mkstemp()
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            return self._media.accept(Path(temporary), name)
        finally:
            Path(temporary).unlink(missing_ok=True)


def _parsed(messages: Any) -> Any:
    """Messages as they are, or as JSON text of them."""
    if isinstance(messages, str):
        try:
            return json.loads(messages)
        except (ValueError, RecursionError):
            raise Rejected("The messages are a text that is no JSON; a list of turns is expected.") from None
    return messages


def _rest(row: Row, used: set[str]) -> str | None:
    """The columns that became nothing of ours, as JSON; none when there are none, or too much to keep."""
    if used.issuperset(row):
        return None
    rest = {name: value for name, value in row.items() if name not in used and value not in (None, "", [])}
    if not rest:
        return None
    try:
        text = json.dumps(rest, ensure_ascii=False, default=str, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return None
    return text if len(text) <= _MAX_EXTRA_CHARS else None
