"""Protocol files are read back equal, refused by name, and made from the first row of published training data."""

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

from core.errors import ProtocolError
from core.prompt.protocol import (
    Protocol,
    build_turns,
    dump_protocol,
    load_protocol,
    protocol_from_mapping,
    protocol_from_sharegpt,
    render_target,
)
from core.protocol_from_data import FIRST_READ, first_row, main
from core.types import Assessment, Label, Sample
from tests.protocols import PROTOCOLS, texts

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
