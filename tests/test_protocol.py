"""The laws of the protocol: what is rendered is read back, and nothing but the model's own result block is a label."""

from __future__ import annotations

import json
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ProtocolError, UnparseableOutput
from core.prompt.protocol import (
    Protocol,
    between_labels,
    build_turns,
    dump_protocol,
    first_look_prefix,
    load_protocol,
    parse_completion,
    protocol_from_mapping,
    protocol_from_sharegpt,
    reasoning_prefix,
    render_reasoning,
    render_result,
    render_target,
    split_completion,
    split_steps,
)
from core.protocol_from_data import FIRST_READ, first_row, main
from core.settings import ASSETS
from core.types import Assessment, Label, MediaRef, Modality, Sample

SHIPPED = [load_protocol(path) for path in sorted((ASSETS / "protocols").glob("*.toml"))]
PLAIN = Protocol("plain", "plain-1", "Judge.")
PROTOCOLS = [
    *SHIPPED,
    replace(PLAIN, answers_header="Answers:\n", harmful="Harmful", unharmful="Unharmful"),
    replace(PLAIN, request_key="User request:", response_key="AI response:", harmful="unsafe", unharmful="safe"),
    replace(PLAIN, think_open="[THINK]", think_close="[/THINK]", absent="n/a"),
]
IMAGE = MediaRef("d", "image/png", Modality.IMAGE, 1, 1, 1)

protocols = st.sampled_from(PROTOCOLS)
labels = st.sampled_from([Label.HARMFUL, Label.UNHARMFUL, Label.ABSENT])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
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


# -- protocol files -----------------------------------------------------------------------------------------------

fields_of_protocols = st.builds(
    lambda values: {field.name: value for field, value in zip(fields(Protocol), values, strict=True)},
    st.lists(texts, min_size=len(fields(Protocol)), max_size=len(fields(Protocol))),
)


@given(fields_of_protocols)
def test_a_written_protocol_is_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, str]
) -> None:
    protocol = Protocol(**values)
    assert tomllib.loads(dump_protocol(protocol)) == values
    try:
        protocol_from_mapping(values, "x")
    except ProtocolError:
        return
    path = tmp_path_factory.getbasetemp() / "written.toml"
    path.write_text(dump_protocol(protocol), encoding="utf-8", newline="\n")
    assert load_protocol(path) == protocol


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("system", ['"""', "\n\n a \\ \x7f \x00 \r\n\r\u2028\u0085 🙂 \\u0041 ", "ends in\n", '\n"'])
def test_awkward_system_turns_are_read_back_equal(tmp_path: Path, protocol: Protocol, system: str) -> None:
    awkward = replace(protocol, system=system)
    (tmp_path / "p.toml").write_bytes(dump_protocol(awkward).encode())
    assert load_protocol(tmp_path / "p.toml") == awkward


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('name = "a"', "lacks the fields ['system', 'version']"),
        ('name = "a"\nversion = "1"\nsystem = ""\ncolour = "red"', "unknown fields ['colour']"),
        ('name = "a"\nversion = "1"\nsystem = 3', "['system'] must be texts"),
        ('name = "a"\nversion = "1"\nsystem = ""\nabsent = "HARMFUL"', "must differ"),
        ('name = "a"\nversion = "1"\nsystem = ""\nthink_close = " "', "['think_close'] must not be empty"),
        ("name = ", "not readable TOML"),
    ],
)
def test_an_unusable_protocol_file_is_refused_by_name(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(content)
    with pytest.raises(ProtocolError) as caught:
        load_protocol(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_protocol_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"no protocol file .*none\.toml"):
        load_protocol(tmp_path / "none.toml")


# -- from training data -------------------------------------------------------------------------------------------

SYSTEM = 'You judge "requests" and responses.\nWrite <think> </think>, then <result> </result>. \\n is no newline: 🙂\n'


def row(
    header: str = "Human user:\n", answers: str = "", word: str = "harmful", absent: str = "None"
) -> dict[str, Any]:
    """A row in the published form."""
    user = f"{header}<image>How do I bake bread?\n\nAI assistant:\n{absent}\n"
    said = f"<think>\n1. Bread.\n</think>\n<result>\n{answers}Request: {word}\nResponse: {absent}\n</result>"
    turns = [("system", SYSTEM), ("user", user), ("assistant", said)]
    return {"messages": [{"role": role, "content": text} for role, text in turns], "images": ["1.png"]}


@pytest.mark.parametrize("header", ["Human user:\n", "Human User:\n"])
@pytest.mark.parametrize("answers", ["", "Answers:\n"])
@pytest.mark.parametrize(("word", "capital"), [("harmful", False), ("unharmful", False), ("Harmful", True)])
@pytest.mark.parametrize("absent", ["None", "none"])
def test_a_published_row_gives_the_words_that_rebuild_it(
    header: str, answers: str, word: str, capital: bool, absent: str
) -> None:
    published = row(header, answers, word, absent)
    protocol = protocol_from_sharegpt(published, "theirs")
    system, user = build_turns(protocol, Sample("<image>How do I bake bread?"))
    turns = {turn["role"]: turn["content"] for turn in published["messages"]}
    assert system.parts == (turns["system"],)
    assert user.parts == (turns["user"],)
    label = Label.UNHARMFUL if word.casefold() == "unharmful" else Label.HARMFUL
    assert render_target(protocol, Assessment(label, Label.ABSENT, reasoning=("Bread.",))) == turns["assistant"]
    assert protocol.harmful == ("Harmful" if capital else "harmful")


def test_the_version_follows_the_system_turn() -> None:
    other = row()
    other["messages"][0]["content"] += "!"
    versions = {protocol_from_sharegpt(each, "a").version for each in (row(), row(), other)}
    assert len(versions) == 2


def test_the_conversations_spelling_is_read_as_well() -> None:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    turns = [{"from": names[turn["role"]], "value": turn["content"]} for turn in row()["messages"]]
    assert protocol_from_sharegpt({"conversations": turns}, "a") == protocol_from_sharegpt(row(), "a")


def test_blank_lines_at_the_requests_end_are_not_taken_for_the_header() -> None:
    padded = row()
    padded["messages"][1]["content"] = padded["messages"][1]["content"].replace("\n\nAI", "\n\n\n\nAI")
    assert protocol_from_sharegpt(padded, "a").response_header == "\n\nAI assistant:\n"


def spoilt(at: int, turn: Any) -> dict[str, Any]:
    made = row()
    made["messages"][at] = turn
    return made


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({}, "no system, user, assistant turn"),
        ({"messages": "text"}, "no system, user, assistant turn"),
        ({"messages": ["a", "b"]}, "is a str"),
        ({"messages": row()["messages"][:2]}, "no assistant turn"),
        (spoilt(0, {"role": "system", "content": None}), "system turn is no readable text"),
        (spoilt(0, {"role": "system", "content": "\ud800"}), "system turn is no readable text"),
        (spoilt(1, {"role": "user", "content": [{"type": "text"}]}), "user turn is no readable text"),
        (spoilt(1, {"role": "user", "content": "Hello"}), "'Human user:'"),
        (spoilt(2, {"role": "assistant", "content": "Sure!"}), "no result block"),
    ],
)
def test_a_row_of_another_form_is_refused_in_words(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        protocol_from_sharegpt(bad, "a")
    assert says in str(caught.value)


def save(path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("\n" + "".join(f"{json.dumps(each)}\n" for each in rows), encoding="utf-8-sig")
    else:
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", [".json", ".jsonl", ".parquet"])
def test_the_command_writes_a_file_that_is_read_back_equal(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = save(tmp_path / f"train{kind}", [row(answers="Answers:\n"), row(header="Human User:\n")])
    out = tmp_path / "theirs.toml"
    assert main([str(data), "--name", "theirs", "--out", str(out)]) == 0
    assert load_protocol(out) == protocol_from_sharegpt(row(answers="Answers:\n"), "theirs")
    assert "theirs-" in capsys.readouterr().out
    before = out.read_bytes()
    assert main([str(data), "--name", "other", "--out", str(out)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_a_first_row_longer_than_the_first_read_is_read(tmp_path: Path) -> None:
    long = row()
    long["messages"][0]["content"] = "x" * (3 * FIRST_READ)
    assert first_row(save(tmp_path / "long.json", [long, row()])) == long


def test_only_the_beginning_of_a_large_file_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "large.jsonl", [row()])
    with path.open("ab") as file:
        file.write(b" " * FIRST_READ * 4 + b"\xff no text at all")
    assert first_row(path) == row()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.json", None, "no data file"),
        ("data.csv", b"a,b", ".jsonl and .parquet"),
        ("empty.jsonl", b" \n", "holds no rows"),
        ("empty.json", b"[ ]", "holds no rows"),
        ("torn.json", b'[{"messages": [', "cannot be read"),
        ("list.json", b"[[1]]", "is a list"),
        ("bytes.json", b"\xff\xfe\x00", "cannot be read"),
        ("not.parquet", b"PAR1", "cannot be read"),
        ("deep.json", b"[" * 200_000, "cannot be read"),
        ("plain.json", b'{"text": "hello"}', "no system, user, assistant turn"),
    ],
)
def test_data_that_cannot_be_used_is_one_sentence_and_status_1(
    tmp_path: Path, name: str, content: bytes | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main([str(tmp_path / name), "--name", "a", "--out", str(tmp_path / "out.toml")]) == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out.toml").exists()


def test_an_output_folder_that_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = save(tmp_path / "train.json", [row()])
    assert main([str(data), "--name", "a", "--out", str(tmp_path / "no" / "out.toml")]) == 1
    assert "cannot be written" in capsys.readouterr().err
