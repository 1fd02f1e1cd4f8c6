"""Addresses of stored media: made for an item that was handed out, and checked when they are asked for."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from urllib.parse import quote

from core.types import MediaRef

PREFIX = "guardroom-media"


@dataclass(frozen=True, slots=True)
class MediaAddresses:
    """Makes and checks addresses. The key is new at every start, so an old address opens nothing."""

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def of(self, ref: MediaRef, run: str = "") -> str:
        """Relative to the page, so that it works behind a path prefix as well.

        Args:
            run: the evaluation whose file it is; a medium of a stored sample unless given.
        """
        kind = ref.media_type.replace("/", ".", 1)
        where = f"&run={quote(run)}" if run else ""
        return f"{PREFIX}/{ref.digest}/{kind}?key={self._sign(ref.digest, kind, run)}{where}"

    def opens(self, digest: str, kind: str, key: str, run: str = "") -> bool:
        """Whether the address was handed out by this process."""
        return hmac.compare_digest(self._sign(digest, kind, run).encode(), key.encode("utf-8", "replace"))

    def _sign(self, digest: str, kind: str, run: str) -> str:
        said = f"{digest} {kind} {run}".encode("utf-8", "replace")
        return hmac.new(self.key, said, hashlib.sha256).hexdigest()[:40]
