"""The registry: trained checkpoints under the data root, where each came from, and which of them was promoted when.

    checkpoints/<id>/               a checkpoint folder as `core.checkpoints.folder` accepts it
        guardroom.json              its origin card: what it was made from, by which run, with which figures
    promotions.jsonl                one event a line, appended and never changed; going back is another event

What is promoted is the checkpoint on top of the stack that the events build: a promotion puts one on it, a rollback
takes one off.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.checkpoints.folder import ORIGIN_FILE, fingerprint, is_hub_id, open_checkpoint
from core.errors import CheckpointError, PromotionRefused
from core.journal import append_lines, read_lines
from core.settings import BUILTIN

FORM = "checkpoint-v1"
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,120}")
_COMING, _GOING = ".coming-", ".going-"
_STALE_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class OriginCard:
    """Where a checkpoint comes from: the content of `guardroom.json`. No secret and no path of this machine."""

    id: str
    name: str
    """What people call it."""
    base: str
    """The checkpoint that it was trained from: `builtin`, an id of this registry, a Hub id, or a folder's name."""
    created_at: str
    """UTC, ISO 8601."""
    run: str | None = None
    """The run that made it."""
    snapshot: str | None = None
    """The digest of the snapshot that it was trained on."""
    recipe: str | None = None
    author: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What was measured while it was trained, such as the validation F1."""
    weights: str = ""
    """Digest of its configuration and weights (`core.checkpoints.folder.fingerprint`), to notice a change."""
    form: str = FORM


class EventKind(StrEnum):
    """What happened."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Promotion:
    """One event: a checkpoint went live, or was taken back."""

    kind: EventKind
    checkpoint: str
    """What is promoted from now on: an id of this registry, or `builtin`."""
    previous: str
    """What was before."""
    author: str
    at: str
    """UTC, ISO 8601."""
    report: str | None = None
    """The run whose report spoke for it."""
    reason: str = ""
    gate: Mapping[str, Any] = field(default_factory=dict)
    """What the gate said (`core.evaluation.gate.GateDecision.to_json`)."""


class Registry:
    """The checkpoints and promotions of one data root. Several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkpoints = root / "checkpoints"
        self._journal = root / "promotions.jsonl"

    # -- checkpoints --------------------------------------------------------------------------------------------

    def add(
        self,
        folder: Path,
        *,
        name: str,
        base: str,
        run: str | None = None,
        snapshot: str | None = None,
        recipe: str | None = None,
        author: str = "",
        figures: Mapping[str, Any] | None = None,
        keep: bool = True,
    ) -> OriginCard:
        """Take a checkpoint folder in, under an id of its own, and write its card. It appears whole or not at all.

        Adding the same weights of the same run again gives the card that is there: a job may be repeated.

        Args:
            keep: copy the folder (its weights by hard link where the disk can) and leave it there; else it is moved.

        Raises:
            CheckpointError: the folder is not one that can be loaded.
            OSError: the disk refused.
        """
        opened = open_checkpoint(folder, str(folder))
        weights = weights_digest(folder)
        for card in self.cards():
            if card.run is not None and (card.run, card.weights) == (run, weights):
                return card
        card = OriginCard(
            id=f"{_slug(name)}-{weights}",
            name=" ".join(name.split()) or "unnamed",
            base=base,
            created_at=_now(),
            run=run,
            snapshot=snapshot,
            recipe=recipe,
            author=author,
            figures=dict(figures or {}),
            weights=weights,
        )
        target = self.checkpoints / card.id
        if target.exists():
            raise CheckpointError(f"The registry holds {card.id} already; give this one another name.")
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        coming = self.checkpoints / f"{_COMING}{secrets.token_hex(6)}"
        try:
            if keep:
                shutil.copytree(opened.path, coming, copy_function=_link_or_copy)
            else:
                shutil.move(opened.path, coming)
            _write_card(coming / ORIGIN_FILE, card)
            open_checkpoint(coming, card.id)
            os.rename(coming, target)
        finally:
            shutil.rmtree(coming, ignore_errors=True)
        return card

    def cards(self) -> list[OriginCard]:
        """All whole checkpoints, the newest first. A folder without a readable card is none."""
        found = []
        if self.checkpoints.is_dir():
            for folder in self.checkpoints.iterdir():
                with contextlib.suppress(CheckpointError):
                    found.append(self.get(folder.name))
        return sorted(found, key=lambda card: (card.created_at, card.id), reverse=True)

    def get(self, checkpoint: str) -> OriginCard:
        """The card of a checkpoint.

        Raises:
            CheckpointError: there is none of that id, or its card cannot be read.
        """
        if _ID.fullmatch(checkpoint) is None or not (self.checkpoints / checkpoint / ORIGIN_FILE).is_file():
            raise CheckpointError(f"The registry has no checkpoint {checkpoint[:120]!r}.")
        card = read_card(self.checkpoints / checkpoint)
        if card.id != checkpoint:
            raise CheckpointError(f"The folder {checkpoint} holds the card of {card.id[:120]!r}.")
        return card

    def source(self, checkpoint: str) -> str:
        """What `core.serving.loading.load_guard` is given to load a checkpoint of this registry, or `builtin`.

        Raises:
            CheckpointError: there is none of that id, or its weights are not those that were taken in.
        """
        if checkpoint == BUILTIN:
            return BUILTIN
        card = self.get(checkpoint)
        folder = self.checkpoints / checkpoint
        if weights_digest(folder) != card.weights:
            raise CheckpointError(f"The weights of {checkpoint} have changed since it was taken in; it is not loaded.")
        return str(folder)

    def id_of(self, source: str) -> str:
        """The id of a checkpoint of this registry by its folder; any other source is given back as it is."""
        path = Path(source).expanduser()
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            if path.resolve().parent == self.checkpoints.resolve():
                return path.resolve().name
        return source

    def base_of(self, source: str) -> str:
        """What a card says of the checkpoint that another came from: its id; of a folder elsewhere only the name."""
        name = self.id_of(source)
        return name if is_hub_id(name) else Path(name).name

    def delete(self, checkpoint: str, live: str | None = None) -> None:
        """Remove a checkpoint for good.

        Args:
            live: what the live guard has loaded, as an id of this registry or a source.

        Raises:
            CheckpointError: there is none of that id.
            PromotionRefused: it is promoted, a rollback would go to it, or it is live.
        """
        with self._locked():
            self.get(checkpoint)
            stack = self.stack()
            if stack and stack[-1] == checkpoint:
                raise PromotionRefused(f"{checkpoint} is promoted; promote another one or roll back first.")
            if checkpoint in stack:
                raise PromotionRefused(f"{checkpoint} is kept, because a rollback would go back to it.")
            if live is not None and self.id_of(live) == checkpoint:
                raise PromotionRefused(f"{checkpoint} is live; load another checkpoint first.")
            going = self.checkpoints / f"{_GOING}{secrets.token_hex(6)}"
            os.rename(self.checkpoints / checkpoint, going)  # half a checkpoint is never seen
            shutil.rmtree(going, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what a crash left a day ago or earlier of checkpoints that were coming or going.

        Call it at the start of the app. What is younger may be a job's that is taking its checkpoint in just now.
        """
        if self.checkpoints.is_dir():
            for folder in self.checkpoints.iterdir():
                if folder.name.startswith((_COMING, _GOING)) and time.time() - folder.stat().st_mtime > _STALE_S:
                    shutil.rmtree(folder, ignore_errors=True)

    # -- promotions ---------------------------------------------------------------------------------------------

    def promotions(self) -> list[Promotion]:
        """All events in order. A line that a crash tore was never promised to anybody, and is left out.

        Raises:
            CheckpointError: the file is damaged elsewhere; the message names the line.
        """
        try:
            return [Promotion(**each | {"kind": EventKind(each["kind"])}) for each in read_lines(self._journal)]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"The promotions cannot be read ({error}).") from None

    def stack(self) -> list[str]:
        """What rollbacks would go through: the first is what was live before any promotion, the last is promoted."""
        stack: list[str] = []
        for event in self.promotions():
            if event.kind is EventKind.ROLLBACK:
                stack = stack[:-1]
                continue
            stack = [*(stack or [event.previous]), event.checkpoint]
        return stack

    def current(self) -> str | None:
        """What is promoted: an id, or `builtin`; none when nothing ever was."""
        stack = self.stack()
        return stack[-1] if stack else None

    def promote(
        self,
        checkpoint: str,
        *,
        author: str,
        previous: str = BUILTIN,
        report: str | None = None,
        reason: str = "",
        gate: Mapping[str, Any] | None = None,
    ) -> Promotion:
        """Note that a checkpoint goes live. Whether it may is the gate's part, swapping it in the caller's.

        Args:
            previous: what is live now, for the first promotion; later ones know it.

        Raises:
            CheckpointError: there is none of that id, its weights have changed, or the events cannot be read.
            PromotionRefused: it is promoted already, or nobody is named.
            OSError: the disk refused; nothing was noted.
        """
        self.source(checkpoint)
        author = _named(author)
        with self._locked():
            before = self.current() or previous
            if before == checkpoint:
                raise PromotionRefused(f"{checkpoint} is promoted already.")
            event = Promotion(
                EventKind.PROMOTE, checkpoint, before, author, _now(), report, reason.strip(), dict(gate or {})
            )
            append_lines(self._journal, [asdict(event)])
        return event

    def rollback(self, *, author: str, reason: str = "") -> Promotion:
        """Go back to what was promoted before.

        Raises:
            CheckpointError: the checkpoint to go back to is gone, or its weights have changed.
            PromotionRefused: there is nothing to go back to, or nobody is named.
            OSError: the disk refused; nothing was noted.
        """
        author = _named(author)
        with self._locked():
            stack = self.stack()
            if len(stack) < 2:
                raise PromotionRefused("Nothing was promoted, so there is nothing to go back to.")
            if stack[-2] == BUILTIN or _ID.fullmatch(stack[-2]):
                self.source(stack[-2])
            event = Promotion(EventKind.ROLLBACK, stack[-2], stack[-1], author, _now(), reason=reason.strip())
            append_lines(self._journal, [asdict(event)])
        return event

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process and thread at a time; the operating system lets go when the process ends."""
        self.root.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.root / ".promotions.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def weights_digest(folder: Path) -> str:
    """The part of a checkpoint's fingerprint that its folder's name has no part in."""
    return fingerprint(folder).rpartition("-")[2]


def read_card(folder: Path) -> OriginCard:
    """The origin card of a checkpoint folder.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    path = folder / ORIGIN_FILE
    try:
        value = json.loads(path.read_bytes())
        if value["form"] != FORM:
            raise CheckpointError(f"{path} is written in the form {str(value['form'])[:40]!r}; {FORM} can be read.")
        return OriginCard(**value)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{path} is no origin card ({error}).") from None


def _write_card(path: Path, card: OriginCard) -> None:
    path.unlink(missing_ok=True)  # never through a hard link into the folder that it was copied from
    with path.open("x", encoding="utf-8") as file:
        file.write(json.dumps(asdict(card), indent=1, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _link_or_copy(source: str, target: str) -> str:
    """Hard links for the weights, which are large and never written into; everything else is copied."""
    if source.endswith(".safetensors") and not os.path.islink(source):
        with contextlib.suppress(OSError):
            os.link(source, target)
            return target
    shutil.copy2(source, target)
    return target


def _slug(name: str) -> str:
    """Lower-case letters, digits and dashes: fit for a folder's name and an address."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].strip("-") or "checkpoint"


def _named(author: str) -> str:
    if not author.strip():
        raise PromotionRefused("A promotion needs the name of the person who makes it.")
    return author.strip()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
