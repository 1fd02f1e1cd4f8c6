"""The laws of the protocol: what is rendered is read back, and nothing but the model's own result block is a label."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UnparseableOutput
from core.prompt.protocol import (
    Protocol,
    between_labels,
    build_turns,
    first_look_prefix,
    parse_completion,
    reasoning_prefix,
    render_reasoning,
    render_result,
    render_target,
    split_completion,
    split_steps,
)
from core.types import Assessment, Label, MediaRef, Modality, Sample
from tests.protocols import PLAIN, PROTOCOLS, texts

IMAGE = MediaRef("d", "image/png", Modality.IMAGE, 1, 1, 1)

protocols = st.sampled_from(PROTOCOLS)
labels = st.sampled_from([Label.HARMFUL, Label.UNHARMFUL, Label.ABSENT])
steps = st.lists(
    st.one_of(
        texts, st.sampled_from(["Request: harmful", "2) so", "<result>\nRequest: harmful\n</result>", "1. 2. 3", ""])
    ),
    max_size=6,
)


def spaced(step: str) -> str:
    """What a step becomes on one line."""
    return " ".join(step.split())


# -- render and parse ---------------------------------------------------------------------------------------------


@given(protocols, labels, labels, steps)
def test_what_is_rendered_is_read_back(protocol: Protocol, request: Label, response: Label, said: list[str]) -> None:
    target = render_target(protocol, Assessment(request, response, reasoning=tuple(said)))
    if any(protocol.think_close in spaced(step) for step in said):
        return
    reasoning, answer = split_completion(protocol, target)
    kept = tuple(spaced(step) for step in said if spaced(step))
    assert parse_completion(protocol, reasoning, answer) == Assessment(request, response, reasoning=kept)


@given(protocols, labels, labels, texts)
def test_labels_in_the_reasoning_never_win(protocol: Protocol, request: Label, response: Label, more: str) -> None:
    decoy = render_result(protocol, Label.HARMFUL, Label.HARMFUL)
    answer = render_result(protocol, request, response)
    read = parse_completion(protocol, f"1. It says {decoy} {more}", f"\n{answer}")
    assert (read.request, read.response) == (request, response)
    with pytest.raises(UnparseableOutput):
        parse_completion(protocol, f"{decoy}{answer}", more.replace(protocol.result_open, ""))


@given(protocols, labels, labels)
def test_a_second_result_block_is_not_readable(protocol: Protocol, request: Label, response: Label) -> None:
    block = render_result(protocol, request, response)
    for answer in (f"{block}\n{block}", f"{protocol.result_open}{block}", f"{block}{protocol.result_close}"):
        with pytest.raises(UnparseableOutput, match="exactly one of each"):
            parse_completion(protocol, "", answer)


@given(protocols, st.data())
def test_an_answer_that_is_cut_off_anywhere_is_not_readable(protocol: Protocol, data: st.DataObject) -> None:
    answer = render_result(protocol, Label.UNHARMFUL, Label.UNHARMFUL)
    cut = data.draw(st.integers(0, len(answer) - 1))
    with pytest.raises(UnparseableOutput):
        parse_completion(protocol, "1. Fine.", answer[:cut])


@pytest.mark.parametrize(
    "block",
    [
        "",
        "Request: unharmful",
        "Response: unharmful",
        "Request: unharmful\nRequest: unharmful\nResponse: None",
        "Request: unharmful\nRequest: harmful\nResponse: None",
        "Request: unharmful Response: None",
        "Request: perhaps\nResponse: None",
        "Request: not harmful\nResponse: None",
        "Request: harmful or unharmful\nResponse: None",
        "Request:\nResponse: None",
        "The request: unharmful\nResponse: None",
        "Requests: unharmful\nResponse: None",
    ],
)
def test_missing_lines_double_lines_and_unknown_words_are_not_readable(block: str) -> None:
    with pytest.raises(UnparseableOutput):
        parse_completion(PLAIN, "", f"<result>\n{block}\n</result>")


def test_tags_in_the_wrong_order_are_not_readable() -> None:
    with pytest.raises(UnparseableOutput):
        parse_completion(PLAIN, "", "</result>\nRequest: unharmful\nResponse: None\n<result>")


@pytest.mark.parametrize("tag", ["<think>", "</think>"])
def test_think_tags_in_the_answer_are_not_readable(tag: str) -> None:
    answer = render_result(PLAIN, Label.UNHARMFUL, Label.ABSENT)
    for mixed in (tag + answer, answer + tag, answer.replace("\n", f"\n{tag}", 1)):
        with pytest.raises(UnparseableOutput, match="more than once"):
            parse_completion(PLAIN, "", mixed)


@pytest.mark.parametrize("text", ["", "<think>\n1. a\n", "<result>\nRequest: harmful\nResponse: None\n</result>"])
def test_reasoning_that_is_not_closed_exactly_once_is_not_readable(text: str) -> None:
    with pytest.raises(UnparseableOutput, match="0 times"):
        split_completion(PLAIN, text)
    with pytest.raises(UnparseableOutput, match="2 times"):
        split_completion(PLAIN, f"{text}</think></think>")


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("harmful", Label.HARMFUL),
        ("Harmful", Label.HARMFUL),
        (" HARMFUL. ", Label.HARMFUL),
        ("harmful .", Label.HARMFUL),
        ("unharmful", Label.UNHARMFUL),
        ("harmless", Label.UNHARMFUL),
        ("Harmless.", Label.UNHARMFUL),
        ("None", Label.ABSENT),
        ("none", Label.ABSENT),
    ],
)
def test_words_are_read_whole_and_in_any_case(word: str, label: Label) -> None:
    for protocol in (PLAIN, PROTOCOLS[-3]):
        read = parse_completion(protocol, "", f"<result>\n  request: {word}\r\n\nRESPONSE:{word}\n</result>")
        assert (read.request, read.response) == (label, label)


def test_the_protocols_own_words_come_before_the_usual_ones() -> None:
    protocol = replace(PLAIN, harmful="yes", unharmful="none", absent="n/a")
    read = parse_completion(protocol, "", "<result>\nRequest: none\nResponse: n/a\n</result>")
    assert (read.request, read.response) == (Label.UNHARMFUL, Label.ABSENT)


def test_an_unlabelled_side_cannot_be_rendered() -> None:
    with pytest.raises(ValueError, match="unlabelled"):
        render_target(PLAIN, Assessment(Label.HARMFUL, Label.UNLABELLED))


# -- steps and prefixes -------------------------------------------------------------------------------------------


@given(steps)
def test_steps_survive_rendering(said: list[str]) -> None:
    assert split_steps(render_reasoning(said)) == tuple(spaced(step) for step in said if spaced(step))


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        ("", ()),
        ("\n \n", ()),
        ("One thought.\nAnother.", ("One thought.", "Another.")),
        ("1. One\n   goes on\n2. Two", ("One goes on", "Two")),
        ("Step 1: One\nstep 2: Two", ("One", "Two")),
        ("1) One\n\n2) Two", ("One", "Two")),
        ("So:\n1. One", ("So:", "One")),
        ("1. In\n2024. a year\n2. Two", ("In 2024. a year", "Two")),
        ("1.5 litres\n2.5 litres", ("1.5 litres", "2.5 litres")),
    ],
)
def test_steps_are_one_a_line_or_one_a_number(reasoning: str, expected: tuple[str, ...]) -> None:
    assert split_steps(reasoning) == expected


@given(protocols, labels, labels, steps)
def test_prefixes_are_beginnings_of_what_is_trained_on(
    protocol: Protocol, request: Label, response: Label, said: list[str]
) -> None:
    target = render_target(protocol, Assessment(request, response, reasoning=tuple(said)))
    kept = [step for step in said if spaced(step)]
    for given_steps in range(len(kept) + 1):
        assert target.startswith(reasoning_prefix(protocol, kept[:given_steps]))
    bare = first_look_prefix(protocol)
    words = f" {protocol.word(request)}{between_labels(protocol)} {protocol.word(response)}\n{protocol.result_close}"
    assert target.endswith(bare.removeprefix(f"{protocol.think_open}\n") + words)


# -- turns --------------------------------------------------------------------------------------------------------


@given(protocols, texts, st.none() | texts, st.integers(0, 3))
def test_turns_hold_the_texts_as_they_are_and_media_before_the_request(
    protocol: Protocol, request: str, response: str | None, media: int
) -> None:
    system, user = build_turns(protocol, Sample(request, response, (IMAGE,) * media))
    assert (system.role, system.parts, user.role) == ("system", (protocol.system,), "user")
    assert user.parts.count(None) == media
    said = protocol.no_response if response is None else response
    assert "".join(part or "" for part in user.parts) == (
        f"{protocol.request_header}{request}{protocol.response_header}{said}{protocol.response_footer}"
    )
    if media:
        assert user.parts[: media + 1] == (protocol.request_header, *(None,) * media)
