"""Laws of imports: what is proposed, what is taken in, what is refused and why, and that nothing outside is read."""

from __future__ import annotations

import csv
import importlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import update

from annotation_store.incoming.bulk import CHUNK
from annotation_store.incoming.previewing import preview
from annotation_store.incoming.proposing import propose
from annotation_store.incoming.running import Queueing, refused_rows, run_import, write_refused
from annotation_store.incoming.values import Columns, Form, ImportLimits, ImportReport
from annotation_store.models import RefusedRow
from annotation_store.reading.trails import trail
from annotation_store.review.progress import left
from annotation_store.store import AnnotationStore
from annotation_store.values.review import LabelRecord
from core.errors import InputError
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.types import Label, Sample
from tests.review import open_store

SYSTEM = "You judge what people ask."
USER = "Human user:\n<image>Is this a cake?\n\nAI assistant:\nIt is a cake.\n"
ASSISTANT = (
    "<think>\n1. The user shows a cake.\n2. Nothing here is harmful.\n</think>\n"
    "<result>\nRequest: unharmful\nResponse: unharmful\n</result>"
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnnotationStore]:
    with open_store(tmp_path / "store" / "guardroom.db") as opened:
        yield opened


@pytest.fixture
def media(tmp_path: Path) -> Iterator[MediaStore]:
    limits = MediaLimits()
    opened = MediaStore(tmp_path / "store" / "media", limits, VideoReader(limits))
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "incoming"
    path.mkdir()
    return path


def lines(path: Path, *rows: Any) -> Path:
    path.write_bytes(b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows))
    return path


def picture(path: Path, seed: int = 1) -> Path:
    noise = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def take(store: AnnotationStore, media: MediaStore, path: Path, **options: Any) -> ImportReport:
    columns = options.pop("columns", None) or preview(path).proposed
    return run_import(store, media, path, columns, **{"source": "set", "imported_by": "ann"} | options)


def label(store: AnnotationStore, sample: Sample) -> LabelRecord:
    (found,) = trail(store, sample.id).labels
    return found


def reasons(store: AnnotationStore, report: ImportReport) -> dict[int, str]:
    return {each.row: each.reason for each in refused_rows(store, report.batch_id)}


# -- forms ------------------------------------------------------------------------------------------------------------


def test_the_schema_of_the_benchmarks_is_understood_without_a_word(
    store: AnnotationStore, media: MediaStore, folder: Path
) -> None:
    picture(folder / "cake.png")
    common = {"benchmark": "Cakes", "modality": "text", "category": "Birthday", "source": "x/y:z", "licence": "MIT"}
    path = lines(
        folder / "cakes.jsonl",
        common | {"id": "a", "request": "bake", "response": None, "media": None, "request_label": "unharmful",
                  "response_label": None},
        common | {"id": "b", "request": "look", "response": "seen", "media": "cake.png", "request_label": None,
                  "response_label": "harmful"},
        common | {"id": "c", "request": "later", "response": None, "media": None, "request_label": None,
                  "response_label": None},
    )  # fmt: skip
    seen = preview(path)
    assert (seen.form, seen.source, [row.refused for row in seen.rows]) == (Form.JSONL, "Cakes", [None] * 3)
    assert [(row.request_label, row.response_label) for row in seen.rows] == [
        ("unharmful", "absent"), ("unlabelled", "harmful"), ("unlabelled", "absent"),
    ]  # fmt: skip
    report = take(store, media, path)
    assert (report.rows, report.new_labels, report.queued, report.refused) == (3, 2, 1, 0)
    assert left(store).total == 1
    found = trail(store, Sample("bake").id)
    assert found.labels[0].draft.request is Label.UNHARMFUL
    assert found.labels[0].source == "set"
    assert found.imports[0].external_id == "a"
    ref = media.accept(folder / "cake.png")
    assert label(store, Sample("look", "seen", (ref,))).draft.response is Label.HARMFUL


def test_conversations_give_request_response_labels_and_reasoning(
    store: AnnotationStore, media: MediaStore, folder: Path
) -> None:
    ref = media.accept(picture(folder / "cake.png"))
    turns = [("system", SYSTEM), ("user", USER), ("assistant", ASSISTANT)]
    row = {"messages": [{"role": role, "content": text} for role, text in turns], "images": ["cake.png"]}
    old = {"conversations": [{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Hello."}]}
    path = folder / "set.json"
    path.write_text(json.dumps([row] * 3))
    assert preview(path).form is Form.JSON
    assert take(store, media, path).new_samples == 1
    said = label(store, Sample("Is this a cake?", "It is a cake.", (ref,))).draft
    assert (said.request, said.response) == (Label.UNHARMFUL, Label.UNHARMFUL)
    assert said.reasoning is not None
    assert said.reasoning.steps == ("The user shows a cake.", "Nothing here is harmful.")
    assert take(store, media, lines(folder / "old.jsonl", old)).new_samples == 1
    assert trail(store, Sample("Hello?", "Hello.").id).labels == ()


def test_a_judgement_that_cannot_be_read_is_refused_and_not_guessed(
    store: AnnotationStore, media: MediaStore, folder: Path
) -> None:
    def turns(assistant: str) -> dict[str, Any]:
        return {
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": "Human user:\nHello\n\nAI assistant:\nNone\n"},
                {"role": "assistant", "content": assistant},
            ]
        }

    good = ASSISTANT.replace("Response: unharmful", "Response: None")
    report = take(store, media, lines(folder / "a.jsonl", turns(good), turns(good.replace("Request: unharmful", ""))))
    assert (report.rows, report.refused) == (1, 1)
    assert "0 lines for the request" in reasons(store, report)[2]
    assert label(store, Sample("Hello")).draft.response is Label.ABSENT


def test_a_folder_of_media_is_one_sample_a_file(store: AnnotationStore, media: MediaStore, folder: Path) -> None:
    (folder / "deep").mkdir()
    ref = media.accept(picture(folder / "deep" / "a.png"))
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden").write_text("not looked at")
    report = take(store, media, folder)
    assert (report.form, report.rows, report.refused) == (Form.FOLDER, 1, 1)
    assert "notes.txt" in reasons(store, report)[1]
    assert store.sample(Sample("", None, (ref,)).id).media[0].digest == ref.digest


def test_csv_in_the_words_of_others(store: AnnotationStore, media: MediaStore, folder: Path) -> None:
    path = folder / "set.csv"
    rows = ("\ufeffPrompt,Answer,Label", '"a, ""b""",,unsafe', '"line\r\nline",yes,0', "=1+1,x", "z,,perhaps", "")
    path.write_bytes("\r\n".join(rows).encode())
    report = take(store, media, path)
    assert (report.rows, report.refused) == (2, 2)
    assert label(store, Sample('a, "b"')).draft.request is Label.HARMFUL
    assert label(store, Sample("line\r\nline", "yes")).draft.request is Label.UNHARMFUL
    found = reasons(store, report)
    assert "2 cells" in found[3]
    assert "'perhaps'" in found[4]


def test_a_formula_in_a_foreign_csv_is_left_as_it_is(store: AnnotationStore, media: MediaStore, folder: Path) -> None:
    path = folder / "set.csv"
    path.write_text("request\n'=1+1\n=1+1\n")
    take(store, media, path)
    assert store.sample(Sample("'=1+1").id).request == "'=1+1"
    assert store.sample(Sample("=1+1").id).request == "=1+1"


def test_the_person_can_choose_other_columns(store: AnnotationStore, media: MediaStore, folder: Path) -> None:
    path = lines(folder / "set.jsonl", {"frage": "hello", "text": "not this"})
    assert preview(path).proposed.request == "text"
    chosen = Columns.from_named({"request": "frage"})
    assert preview(path, columns=chosen).rows[0].request == "hello"
    take(store, media, path, columns=chosen)
    assert store.sample(Sample("hello").id)
    with pytest.raises(InputError, match="no column 'nowhere'"):
        preview(path, columns=Columns(request="nowhere"))
    with pytest.raises(InputError, match="nothing that a column can become"):
        Columns.from_named({"colour": "text"})


def test_a_preview_stores_nothing(store: AnnotationStore, media: MediaStore, folder: Path) -> None:
    picture(folder / "cake.png")
    preview(lines(folder / "set.jsonl", {"request": "x", "media": "cake.png"}))
    assert store.counts().samples == 0
    assert not [path for path in media.root.rglob("*") if path.is_file()]


def test_names_of_columns_are_known_in_any_case() -> None:
    assert propose(["Prompt", "Model Output", "IS-HARMFUL", "strange"]) == Columns(
        request="Prompt", response="Model Output", request_label="IS-HARMFUL"
    )


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_every_refused_row_has_its_reason_and_the_others_come_in(
    store: AnnotationStore, media: MediaStore, folder: Path
) -> None:
    (folder.parent / "secret.png").write_bytes(picture(folder / "cake.png").read_bytes())
    os.symlink(folder.parent / "secret.png", folder / "link.png")
    (folder / "broken.png").write_bytes(picture(folder / "cake.png").read_bytes()[:200])
    path = lines(
        folder / "set.jsonl",
        {"request": "good"},
        b"{not json\n",
        b"[1, 2]\n",
        b'{"request": "\xff"}\n',
        {"request": ["a"]},
        {"request": "  "},
        {"request": "x" * 50},
        {"request": "a", "media": "../secret.png"},
        {"request": "a", "media": "link.png"},
        {"request": "a", "media": str(folder.parent / "secret.png")},
        {"request": "a", "media": "gone.png"},
        {"request": "a", "media": "broken.png"},
        {"request": "a", "response_label": "harmful"},
        {"request": "a", "request_label": "harmful", "confidence": 3},
        {"request": "a" * 30, "note": "y" * 200},
        {"request": "also good", "request_label": "safe"},
    )
    limits = ImportLimits(max_text_chars=40, max_row_bytes=220)
    columns = propose(["request", "media", "request_label", "response_label", "confidence", "note"])
    report = take(store, media, path, columns=columns, limits=limits)
    found = reasons(store, report)
    expected = {
        2: "not JSON", 3: "list", 4: "not UTF-8", 5: "a text is expected", 6: "neither a request nor media",
        7: "50 characters", 8: "does not lie in the import's folder", 9: "does not lie in the import's folder",
        10: "does not lie in the import's folder", 11: "not in the import's folder", 12: "damaged",
        13: "no response", 14: "from 0 to 1", 15: "more than 220 bytes",
    }  # fmt: skip
    assert found.keys() == expected.keys()
    assert [number for number, words in expected.items() if words not in found[number]] == []
    assert (report.rows, report.refused) == (2, 14)
    assert not any("secret" in path.name for path in media.root.rglob("*"))


def test_all_refused_rows_come_out_as_csv_and_none_is_a_formula(
    store: AnnotationStore, media: MediaStore, folder: Path, tmp_path: Path
) -> None:
    path = lines(folder / "set.jsonl", {"request": "good"}, *({"request": [each]} for each in "abc"))
    report = take(store, media, path, columns=propose(["request"]))
    with store.writing("Writing as a hostile file would have it") as connection:
        connection.execute(update(RefusedRow).where(RefusedRow.row == 3).values(reason='=1+1, "x"'))
    assert write_refused(store, report.batch_id, tmp_path / "refused.csv", page=2) == 3
    with (tmp_path / "refused.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["row", "reason"]
    assert [row[0] for row in rows[1:]] == ["2", "3", "4"]
    assert rows[2][1] == '\'=1+1, "x"'
    assert "a text is expected" in rows[1][1]


def test_what_stands_around_an_object_in_its_line_is_space_or_a_reason_to_refuse_it(
    store: AnnotationStore, media: MediaStore, folder: Path
) -> None:
    path = folder / "spaced.jsonl"
    path.write_bytes(
        b'{"request": "a"}\r\n \t{"request": "b"}  \n{"request": "c"} {}\n{"request": "d"},\n{"request": "e"}'
    )
    report = take(store, media, path, columns=propose(["request"]))
    assert (report.rows, sorted(reasons(store, report))) == (3, [3, 4])
    assert [store.sample(Sample(each).id).request for each in "abe"] == list("abe")


def test_reasoning_that_concludes_the_opposite_of_its_label_is_refused(
    store: AnnotationStore, media: MediaStore, folder: Path
) -> None:
    path = lines(
        folder / "set.jsonl",
        {"request": "a", "request_label": "unharmful", "reasoning": ["Therefore the request is harmful."]},
        {"request": "b", "request_label": "harmful", "reasoning": "1. It asks.\n2. The request is harmful."},
    )
    report = take(store, media, path)
    assert "concludes the opposite" in reasons(store, report)[1]
    said = label(store, Sample("b")).draft.reasoning
    assert said is not None
    assert said.steps == ("It asks.", "The request is harmful.")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"hello", "cannot be imported"),
        ("a.jsonl", b"", "is empty"),
        ("a.parquet", b"PAR1 and then nothing", "damaged as a Parquet file"),
        ("a.json", b'[{"request": "x"}, {"request": ', "from object 2 on"),
        ("a.csv", b"a,a\n1,2\n", "stand twice"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_a_sentence(
    folder: Path, store: AnnotationStore, media: MediaStore, name: str, content: bytes, words: str
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        preview(folder / name)


def test_a_file_beyond_the_limits_is_refused(folder: Path, store: AnnotationStore, media: MediaStore) -> None:
    path = lines(folder / "a.jsonl", {"request": "x"}, {"request": "y"}, {"request": "z"})
    with pytest.raises(InputError, match=r"GiB"):
        preview(path, limits=ImportLimits(max_file_bytes=10))
    with pytest.raises(InputError, match="more than 2 rows"):
        take(store, media, path, limits=ImportLimits(max_rows=2))
    os.mkfifo(folder / "pipe.jsonl")
    with pytest.raises(InputError, match="not an ordinary file"):
        preview(folder / "pipe.jsonl")


def test_an_unclosed_quote_costs_some_rows_and_not_the_memory(
    store: AnnotationStore, media: MediaStore, folder: Path
) -> None:
    path = folder / "a.csv"
    rows = "".join(f"row {number}\n" for number in range(200))
    path.write_text('request\n"open\n' + rows)
    report = take(store, media, path, columns=Columns(request="request"), limits=ImportLimits(max_row_bytes=500))
    assert report.refused == 1
    assert 100 < report.rows < 200
    assert "quote" in reasons(store, report)[1]


def test_too_many_refused_rows_end_the_import(store: AnnotationStore, media: MediaStore, folder: Path) -> None:
    path = lines(folder / "a.jsonl", {"request": "x"}, *([b"nonsense\n"] * 30))
    report = take(store, media, path, limits=ImportLimits(max_refusals=10))
    assert (report.stopped, report.refused, report.rows) == (True, 10, 1)


# -- running ----------------------------------------------------------------------------------------------------------


def test_an_import_tells_how_far_it_is_and_stops_when_asked(
    store: AnnotationStore, media: MediaStore, folder: Path
) -> None:
    path = lines(folder / "a.jsonl", *({"request": f"number {number}"} for number in range(3 * CHUNK)))
    stop, seen = threading.Event(), []

    def tell(progress: Any) -> None:
        seen.append(progress)
        stop.set()

    report = take(store, media, path, stop=stop, progress=tell)
    assert report.stopped
    assert 0 < report.rows < 3 * CHUNK
    assert 0 < seen[0].share < 1
    again = take(store, media, path)
    assert (again.rows, again.new_samples, again.stopped) == (3 * CHUNK, 3 * CHUNK - report.rows, False)
    assert store.counts().samples == 3 * CHUNK


def test_importing_twice_doubles_nothing(store: AnnotationStore, media: MediaStore, folder: Path) -> None:
    path = lines(folder / "a.jsonl", {"request": "x", "label": "harmful"}, {"request": "x", "label": "harmful"})
    assert (take(store, media, path).new_samples, take(store, media, path).new_labels) == (1, 0)


def test_what_is_queued_is_what_was_asked_for(store: AnnotationStore, media: MediaStore, folder: Path) -> None:
    path = lines(folder / "a.jsonl", {"request": "x", "label": "harmful"}, {"request": "y"})
    assert take(store, media, path, queueing=Queueing.NONE).queued == 0
    assert take(store, media, path, queueing=Queueing.UNLABELLED).queued == 1
    assert take(store, media, path, queueing=Queueing.ALL).queued == 1
    assert left(store).total == 2


def test_pictures_inside_a_parquet_file_are_taken_in(store: AnnotationStore, media: MediaStore, folder: Path) -> None:
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    data = picture(folder / "a.png").read_bytes()
    rows = [{"prompt": "look", "image": {"bytes": data, "path": "a.png"}}, {"prompt": "no picture", "image": None}]
    parquet.write_table(arrow.Table.from_pylist(rows), folder / "set.parquet")
    assert take(store, media, folder / "set.parquet").rows == 2
    assert store.sample(Sample("look", None, (media.accept(folder / "a.png"),)).id)
