"""Protocols to test with: those that are shipped, and others with words of their own."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from core.prompt.protocol import Protocol, load_protocol
from core.settings import ASSETS

SHIPPED = [load_protocol(path) for path in sorted((ASSETS / "protocols").glob("*.toml"))]
PLAIN = Protocol("plain", "plain-1", "Judge.")
PROTOCOLS = [
    *SHIPPED,
    replace(PLAIN, answers_header="Answers:\n", harmful="Harmful", unharmful="Unharmful"),
    replace(PLAIN, request_key="User request:", response_key="AI response:", harmful="unsafe", unharmful="safe"),
    replace(PLAIN, think_open="[THINK]", think_close="[/THINK]", absent="n/a"),
]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
