"""What each key does in the review queue. The page's script and the map on `?` are both made of this one table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Key:
    """One shortcut."""

    keys: tuple[str, ...]
    """As `KeyboardEvent.key` names them; Shift is part of the character."""
    does: str
    """The action's name in assets/review.js."""
    words: str
    shown: str = ""
    """How the map writes the key, where it differs."""


KEYS: dict[str, tuple[Key, ...]] = {
    "Label": (
        Key(("h",), "request-harmful", "request is harmful"),
        Key(("u",), "request-unharmful", "request is unharmful"),
        Key(("H",), "response-harmful", "response is harmful", "Shift H"),
        Key(("U",), "response-unharmful", "response is unharmful", "Shift U"),
        Key(("c",), "category", "a category: c, then its letter", "c a … c m"),
        Key(("f",), "confidence", "confidence: unsure, fairly sure, sure"),
        Key(("n",), "note", "write a note"),
    ),
    "Reasoning": (
        Key(tuple("123456789"), "wrong", "this is the first wrong step", "1 … 9"),
        Key(("a",), "adopt", "take the model's steps over"),
        Key(("e",), "edit", "edit the steps"),
        Key(("g",), "continue", "let the guard go on from here"),
        Key(("x",), "stop", "stop the guard"),
    ),
    "Evidence": (
        Key(("m",), "mark", "mark the selected words"),
        Key(("[",), "from", "video: evidence from here"),
        Key(("]",), "to", "video: to here"),
    ),
    "Media": (
        Key(("r",), "reveal", "reveal, and hide again"),
        Key(("b",), "blur", "blur always, or not"),
        Key(("w",), "grey", "greyscale always, or not"),
        Key(("q",), "mute", "muted always, or not"),
        Key(("k", " "), "play", "play and pause", "k or Space"),
        Key((",",), "back", "one frame back"),
        Key((".",), "on", "one frame on"),
        Key(("<", ">"), "speed", "slower and faster", "< >"),
        Key(("j",), "jump", "jump to the next harmful stretch"),
    ),
    "Move on": (
        Key(("Enter",), "submit", "submit and next (Ctrl Enter inside a field)"),
        Key(("s",), "skip", "skip, with a reason"),
        Key(("o",), "second", "ask for a second opinion"),
        Key(("z",), "undo", "undo the last decision"),
        Key(("l",), "reopen", "open your latest decision again, to correct it"),
        Key(("p",), "policy", "show or hide the policy"),
        Key(("?",), "help", "this map"),
        Key(("Escape",), "leave", "leave a field, close a window", "Esc"),
    ),
}


def actions() -> dict[str, str]:
    """Key to action, for the script."""
    return {key: each.does for group in KEYS.values() for each in group for key in each.keys}
