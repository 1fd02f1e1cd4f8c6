"""Laws of who may do what belongs to the owner, and of whose moderation a Stop button stops."""

from __future__ import annotations

import pytest

from app.shared.identity import OwnerGate, is_loopback, is_reachable
from app.shared.stops import Stops
from core.errors import NotAllowed

HERE = {"host": "127.0.0.1:7860"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1:80", "localhost", "LOCALHOST:7860", "::1", "[::1]:7860"])
def test_names_of_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "10.0.0.2:7860", "guard.example.org", "localhost.example.org", "127.0.0.1.example.org"],
)
def test_names_of_elsewhere(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("host", "environment", "reachable"),
    [
        ("127.0.0.1", {}, False),
        ("0.0.0.0", {}, True),
        ("127.0.0.1", {"SPACE_ID": "someone/space"}, True),
        ("127.0.0.1", {"GRADIO_SHARE": "True"}, True),
    ],
)
def test_who_can_reach_it(host: str, environment: dict[str, str], reachable: bool) -> None:
    assert is_reachable(host, environment) is reachable


def test_on_loopback_the_person_at_the_machine_is_the_owner() -> None:
    OwnerGate.build(False, None).check(None, HERE)


@pytest.mark.parametrize(
    "headers",
    [{"host": "guard.example.org"}, {**HERE, "x-forwarded-for": "10.0.0.9"}, {**HERE, "forwarded": "for=10.0.0.9"}, {}],
)
def test_what_came_from_elsewhere_needs_the_token_even_on_loopback(headers: dict[str, str]) -> None:
    gate = OwnerGate.build(False, "right")
    with pytest.raises(NotAllowed):
        gate.check(None, headers)
    gate.check("right", headers)


@pytest.mark.parametrize("offered", [None, "", "wrong", "righ", "right ", "réght"])
def test_a_missing_or_wrong_token_is_refused_with_a_sentence(offered: str | None) -> None:
    with pytest.raises(NotAllowed, match=r"owner's token"):
        OwnerGate.build(True, "right").check(offered, HERE)


def test_a_token_is_made_where_none_is_set_and_is_another_each_time() -> None:
    one, other = OwnerGate.build(True, None), OwnerGate.build(True, None)
    assert one.made_here
    assert len(one.token) >= 32
    assert one.token != other.token
    assert not OwnerGate.build(True, "mine").made_here


def test_stop_reaches_the_moderation_of_its_own_page_alone() -> None:
    stops = Stops()
    mine, theirs = stops.begin("mine"), stops.begin("theirs")
    stops.stop("mine")
    stops.stop("nobody")
    assert mine.is_set()
    assert not theirs.is_set()


def test_a_newer_moderation_of_a_page_stops_the_older_and_keeps_its_own_place() -> None:
    stops = Stops()
    older = stops.begin("page")
    newer = stops.begin("page")
    assert older.is_set()
    stops.end("page", older)
    stops.stop("page")
    assert newer.is_set()


def test_the_end_of_a_moderation_stops_its_model() -> None:
    stops = Stops()
    event = stops.begin("page")
    stops.end("page", event)
    assert event.is_set()
