"""Who is the owner: on loopback whoever is at the machine; once others can reach the app, the owner's token tells."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import NotAllowed

_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


def is_loopback(host: str) -> bool:
    """Whether an address or a host name (with or without a port) means this machine alone."""
    name = host.strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_reachable(host: str, environment: Mapping[str, str]) -> bool:
    """Whether others can reach the app: it listens beyond loopback, runs as a Space, or is shared by a tunnel."""
    shared = environment.get("GRADIO_SHARE", "").lower() == "true"
    return not is_loopback(host) or bool(environment.get("SPACE_ID")) or shared


@dataclass(frozen=True, slots=True)
class OwnerGate:
    """Decides about one request. The same for the page and for the API."""

    reachable: bool
    token: str
    made_here: bool = False
    """The token was made at this start, because none was set."""

    @classmethod
    def build(cls, reachable: bool, token: str | None) -> OwnerGate:
        """With the token that was set, or a fresh one."""
        return cls(reachable, token) if token else cls(reachable, secrets.token_urlsafe(24), made_here=True)

    def needs_token(self, headers: Mapping[str, str]) -> bool:
        """Whether this request must bring the token.

        A request that came through a proxy or a tunnel, or that names another host, is from elsewhere even when the
        app itself listens on loopback only.
        """
        if self.reachable:
            return True
        if any(headers.get(name) for name in _FORWARDED):
            return True
        return not is_loopback(headers.get("host", ""))

    def check(self, offered: str | None, headers: Mapping[str, str]) -> None:
        """Let the owner pass.

        Raises:
            NotAllowed: the token is needed and missing or wrong.
        """
        if not self.needs_token(headers):
            return
        if not offered:
            raise NotAllowed("This belongs to the owner; give the owner's token (GUARDROOM_OWNER_TOKEN).")
        if not hmac.compare_digest(offered.encode("utf-8"), self.token.encode("utf-8")):
            raise NotAllowed("That is not the owner's token.")
