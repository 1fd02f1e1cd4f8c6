"""The word code between vision tower and language model, practice with it, where heads look, and the optimizer."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.checkpoints.folder import BUILTIN_FOLDER
from core.errors import InputError
from core.media.vision import DecodedMedia
from core.types import Label
from train_jobs.builtin import network, render, setup, targets, tokenizer, wordcode
from train_jobs.builtin.batches import Encoder, coded, collate
from train_jobs.builtin.examples import Example
from train_jobs.builtin.render import font_files
from train_jobs.builtin.targets import Evidence, Side

try:
    FONTS = font_files()[0]
except InputError:
    FONTS = ()
needs_fonts = pytest.mark.skipif(not FONTS, reason="the DejaVu and Liberation fonts are not installed")


def drawn(text: str, seed: int) -> Example:
    where: list[render.Letter] = []
    picture = render.text_picture(text, random.Random(seed), FONTS, 40_000, style="page", letters=where)
    side = Side(Label.UNHARMFUL, 0.2)
    evidence = Evidence("Read it", kind="image", shown=text)
    return Example(evidence, side, medium=DecodedMedia(picture[None]), letters=tuple(where))


def encoder() -> Encoder:
    made = tokenizer.train(["How can I bake bread with my friends at home?"] * 9 + list(targets.wording()) * 9, 420)
    return Encoder(setup.prompt_encoder(made), random.Random(0))


def shipped_tokenizer() -> Any:
    return tokenizer.load(BUILTIN_FOLDER)


def test_a_token_is_read_off_its_code() -> None:
    import torch

    made = shipped_tokenizer()
    spelled = torch.from_numpy(wordcode.spellings(made))
    words = [at for at in range(len(made)) if spelled[at].abs().sum() > 0 and made.decode([at]).startswith(" ")]
    cells = torch.tensor(words[::7])
    with torch.no_grad():
        read = wordcode.reader(len(made))(wordcode.codes(cells, spelled), spelled).argmax(-1)
    assert (read == cells).float().mean() > 0.97
    assert not wordcode.codes(torch.tensor([wordcode.NOTHING]), spelled)[:, network.MEANING :].any()


@needs_fonts
def test_a_token_whose_patch_is_taken_is_written_in_the_next_one() -> None:
    where: list[render.Letter] = []
    text = "I am at a fair"
    picture = render.strip_picture(text, random.Random(1), FONTS, where, 0.0)
    made = shipped_tokenizer()
    order = wordcode.word_order(where, text, made, picture.shape[:2], (1, 2, picture.shape[1] // 16))
    assert order is not None
    patches = [patch for _, patch in order if patch >= 0]
    assert patches == sorted(set(patches))
    wide = picture.shape[0], picture.shape[1] * 4
    crowded = wordcode.word_order([(x / 4, y, letter) for x, y, letter in where], text, made, wide, (1, 2, 4))
    assert crowded is not None
    assert [patch for _, patch in crowded].count(-1) > 0


def test_words_that_share_letters_in_their_places_are_near_and_a_capital_changes_little() -> None:
    def nearness(one: str, other: str) -> float:
        return float(wordcode.spelling(one) @ wordcode.spelling(other)) / wordcode.LENGTH**2

    assert nearness(" bread", " bread") == pytest.approx(1.0, abs=1e-5)
    assert nearness(" bread", " breads") > nearness(" bread", " dared") + 0.2
    assert nearness(" bread", " Bread") > 0.9
    assert 0.9 < nearness(" bread", "bread") < 1.0
    assert not wordcode.spelling("").any()


def test_the_letters_of_a_token_at_their_places_make_its_spelling() -> None:
    table = wordcode.letter_table()
    word = "bake"
    parts = sum(table[ord(letter) - 32, place] for place, letter in enumerate(word))
    parts = parts + table[wordcode.CHARACTERS - 1, len(word)]
    told = wordcode.spelling(word)[network.MARKED :]
    assert np.allclose(parts / np.linalg.norm(parts), told / np.linalg.norm(told), atol=1e-5)


@needs_fonts
def test_every_word_of_a_drawn_text_stands_in_the_cells_in_order() -> None:
    where: list[render.Letter] = []
    picture = render.strip_picture("bake some bread", random.Random(1), FONTS, where, 0.0)
    height, width = picture.shape[:2]
    made = shipped_tokenizer()
    grid = (1, height // 16, width // 16)
    order = wordcode.word_order(where, "bake some bread", made, (height, width), grid)
    cells = wordcode.word_cells(order, grid[1] * grid[2] // 4)
    assert made.decode([int(cell) for cell in cells.ravel() if cell > 0]) == " bake some bread"
    found = wordcode.letter_places(where, "bake some bread", made, (height, width), grid)
    starts = [number for number, (_, _, place) in enumerate(found) if place == 0]
    assert "".join(chr(32 + letter) for _, letter, _ in found) == "bakesomebread"
    assert int((cells > 0).sum()) == len(starts) >= 3
    # four patches make a merged one: a word is written where its first letter stands, or a little to the right
    for number, (at, _) in zip(starts, enumerate(order or ()), strict=True):
        assert 0 <= (order or ())[at][1] - int(found[number][0]) // 4 <= wordcode.ASIDE


@needs_fonts
def test_words_are_unknown_when_the_letters_are_not_those_of_the_text() -> None:
    where: list[render.Letter] = []
    picture = render.strip_picture("bake bread", random.Random(1), FONTS, where, 0.0)
    assert wordcode.word_order(where, "paint a boat", shipped_tokenizer(), picture.shape[:2], (1, 2, 8)) is None
    assert (wordcode.word_cells(None, 4) == wordcode.UNKNOWN).all()


@needs_fonts
def test_practice_with_the_code_needs_no_pixels_and_writes_the_words_of_its_own_picture() -> None:
    import torch

    made = encoder()
    lines = [made.line(drawn("bake bread at home with friends", 1)), made.line(drawn("paint a boat", 2))]
    lines.append(made.line(Example(Evidence("How can I paint?"), Side(Label.UNHARMFUL, 0.2))))
    length = len(made.prompts.tokenizer)  # type: ignore[arg-type]
    table = np.random.default_rng(1).normal(0, 0.05, (length, network.WIDTH)).astype(np.float32)
    table[:, 0] = 0.2
    table[:, network.MEANING :] = wordcode.spellings(made.prompts.tokenizer)
    model = network.build(length, made.prompts.controls, 1, table)
    batch = coded(collate(lines, model, 0, "cpu"), model, np.random.default_rng(0))
    assert set(batch["inputs"]) == {"inputs_embeds", "attention_mask", "position_ids", "use_cache"}
    plain, spelled = model.get_input_embeddings(), torch.from_numpy(table[:, network.MEANING :])
    for row, line in enumerate(lines):
        held = batch["inputs"]["inputs_embeds"][row, : len(line.ids)].detach()
        typed = torch.tensor(
            [kind == 0 for kind in (*line.prompt.types, *[0] * (len(line.ids) - len(line.prompt.ids)))]
        )
        ids = torch.tensor(line.ids)
        # of a typed token at least the spelling is left, and outside the user's turn everything
        assert torch.equal(held[typed][:, network.MEANING :], plain(ids)[typed][:, network.MEANING :])
        outside = torch.arange(len(ids)) < line.opening
        assert torch.equal(held[typed & outside], plain(ids)[typed & outside])
        if line.cells is not None:
            assert int((~typed).sum()) == len(line.cells)
            # mostly right: the nearest spellings to what was written there are those of the picture's own words
            read = wordcode.reader(length)(held[~typed], spelled).argmax(-1).numpy()
            known = line.cells > 0
            assert (read[known] == line.cells[known]).mean() > 0.5
    hidden = model.model(**batch["inputs"]).last_hidden_state
    hidden.sum().backward()
    assert model.model.visual.patch_embed.proj.weight.grad is None


@needs_fonts
def test_a_clips_words_stand_in_the_frames_that_show_them_alone() -> None:
    where: list[render.Letter] = []
    clip = render.clip("bake bread", random.Random(4), FONTS, 49_152, 6, where)
    example = Example(
        Evidence("What is this?", kind="video", shown="bake bread", at=clip.shown_at),
        Side(Label.UNHARMFUL, 0.2), medium=clip.media, letters=tuple(where), showing=clip.showing,
    )  # fmt: skip
    line = encoder().line(example)
    assert line.cells is not None
    pairs = line.cells.reshape(3, -1)
    shown = set(range(clip.showing[0], sum(clip.showing)))
    assert [bool(pair.any()) for pair in pairs] == [bool(shown & {2 * at, 2 * at + 1}) for at in range(3)]
    assert 0 < len(shown) <= 3


def test_an_orthogonal_update_has_singular_values_near_one() -> None:
    import torch

    from train_jobs.builtin.muon import orthogonal

    for shape in ((32, 96), (96, 32)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
        assert 0.3 < float(values.min()) <= float(values.max()) < 1.35


def test_muon_finds_the_matrix_that_a_linear_task_asks_for() -> None:
    import torch

    from train_jobs.builtin.muon import muon

    torch.manual_seed(0)
    wanted, found = torch.randn(8, 16), torch.nn.Parameter(torch.zeros(8, 16))
    optimizer = muon([found], lr=0.05, weight_decay=0.0)
    first = 0.0
    for step in range(300):
        given = torch.randn(64, 16)
        loss: Any = (given @ found.T - given @ wanted.T).square().mean()
        first = first or float(loss.detach())
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / 300)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < first / 100


def test_training_begins_with_the_shipped_guards_weights_or_says_that_a_folder_holds_none(tmp_path: Path) -> None:
    import torch

    made = tokenizer.load(BUILTIN_FOLDER)
    model = network.load(BUILTIN_FOLDER, len(made), tokenizer.control_ids(made), 1)
    again = network.load(BUILTIN_FOLDER, len(made), tokenizer.control_ids(made), 2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    with pytest.raises(InputError, match="no built-in guard"):
        tokenizer.load(tmp_path)


@needs_fonts
def test_a_lesson_in_reading_points_each_word_at_the_one_before_and_each_written_token_at_the_next() -> None:
    made = encoder()
    text = "bake bread at home with my friends"
    line = made.line(replace(drawn(text, 1), reading_only=True))
    tokenizer_of_it: Any = made.prompts.tokenizer
    assert line.cells is not None
    first = line.ids.index(made.prompts.controls["<|vision_end|>"]) - len(line.cells)

    def shown_at(position: int) -> int:
        return int(line.cells[position - first])  # type: ignore[index]

    assert line.pointers.following
    for at, place in line.pointers.following[1:]:
        # what is to be written there is drawn in the patch that is pointed at
        assert line.targets[at] == shown_at(place)
    order = tokenizer_of_it(f" {text}", add_special_tokens=False)["input_ids"]
    pairs = set(itertools.pairwise(order))
    for here, earlier in line.pointers.before:
        assert earlier < here
        assert (shown_at(earlier), shown_at(here)) in pairs


@needs_fonts
def test_a_quote_in_an_answer_points_at_the_frames_that_show_it() -> None:
    where: list[render.Letter] = []
    text = "bake bread at home with my friends"
    clip = render.clip(text, random.Random(4), FONTS, 49_152, 6, where)
    example = Example(
        Evidence("What is this?", kind="video", shown=text, at=clip.shown_at),
        Side(Label.UNHARMFUL, 0.2), medium=clip.media, letters=tuple(where), showing=clip.showing,
    )  # fmt: skip
    line = encoder().line(example)
    assert line.cells is not None
    pads = [at for at, kind in enumerate(line.prompt.types) if kind]
    assert len(line.pointers.following) >= 5
    for at, place in line.pointers.following[1:]:
        assert line.targets[at] == line.cells[pads.index(place)]


@needs_fonts
def test_a_step_towards_the_pointers_lets_the_heads_look_nearer_to_them() -> None:
    import torch

    from train_jobs.builtin.pointing import Watch

    made = encoder()
    lines = [
        made.line(replace(drawn(text, 1), reading_only=True)) for text in ("bake bread at home", "with my friends")
    ]
    length = len(made.prompts.tokenizer)  # type: ignore[arg-type]
    model = network.build(length, made.prompts.controls, 1)
    watch, batch = Watch(model), collate(lines, model, 0, "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    apart = []
    for _ in range(8):
        model.model(**batch["inputs"])
        loss = watch.loss([line.pointers for line in lines], batch["inputs"]["position_ids"])
        assert loss is not None
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        apart.append(float(loss.detach()))
    assert np.isfinite(apart).all()
    assert apart[-1] < apart[0] - 0.3
    model.model(**batch["inputs"])
    assert watch.loss([type(lines[0].pointers)()], batch["inputs"]["position_ids"]) is None
