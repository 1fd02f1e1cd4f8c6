"""The letter code between the vision tower and the language model, practice with it, and the optimizer of the tower."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import InputError
from core.media.vision import DecodedMedia
from core.types import Label
from train_jobs.builtin import letters, network, render, setup, targets, tokenizer
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


def test_a_letter_is_read_off_its_code_and_nothing_off_none() -> None:
    import torch

    cells = np.random.default_rng(0).integers(0, letters.LETTERS, (200, letters.SLOTS))
    cells[:50] = 0
    reader = letters.speller()
    with torch.no_grad():
        reader.bias[0] = letters.SHARPNESS / 2
        read = reader(torch.from_numpy(letters.codes(cells))).view(-1, letters.SLOTS, letters.LETTERS).argmax(-1)
    assert np.array_equal(read.numpy(), cells)


def test_a_capital_is_nearer_to_its_letter_than_to_any_other() -> None:
    table = letters.table()
    nearness = table @ table.T
    for capital in range(ord("A") - 32, ord("Z") - 31):
        others = nearness[capital].copy()
        others[capital] = -1
        assert others.argmax() == capital + 32


@needs_fonts
def test_every_letter_of_a_drawn_text_stands_in_the_cells_in_order() -> None:
    where: list[render.Letter] = []
    picture = render.strip_picture("bake bread", random.Random(1), FONTS, where, 0.0)
    height, width = picture.shape[:2]
    cells = letters.letter_cells(where, (height, width), (1, height // 16, width // 16))
    seen = "".join(chr(32 + int(cell)) for cell in cells.ravel() if cell)
    assert seen == "bakebread"


@needs_fonts
def test_practice_with_the_code_needs_no_pixels_and_reads_the_text_of_its_own_picture() -> None:
    import torch

    made = encoder()
    lines = [made.line(drawn("bake bread at home with friends", 1)), made.line(drawn("paint a boat", 2))]
    lines.append(made.line(Example(Evidence("How can I paint?"), Side(Label.UNHARMFUL, 0.2))))
    length = len(made.prompts.tokenizer)  # type: ignore[arg-type]
    model = network.build(length, made.prompts.controls, 1)
    batch = coded(collate(lines, model, 0, "cpu"), model, np.random.default_rng(0))
    assert set(batch["inputs"]) == {"inputs_embeds", "attention_mask", "position_ids", "use_cache"}
    plain = model.get_input_embeddings()
    for row, line in enumerate(lines):
        held = batch["inputs"]["inputs_embeds"][row, : len(line.ids)]
        answer = [0] * (len(line.ids) - len(line.prompt.ids))
        typed = torch.tensor([kind == 0 for kind in (*line.prompt.types, *answer)])
        assert torch.equal(held[typed], plain(torch.tensor(line.ids))[typed])
        if line.cells is not None:
            assert int((~typed).sum()) == len(line.cells)
            # mostly right: the nearest letters of what was written there are the picture's own
            read = letters.speller()(held[~typed].detach()).view(-1, letters.SLOTS, letters.LETTERS).argmax(-1).numpy()
            known = line.cells > 0
            assert (read[known] == line.cells[known]).mean() > 0.6
    hidden = model.model(**batch["inputs"]).last_hidden_state
    hidden.sum().backward()
    assert model.model.visual.patch_embed.proj.weight.grad is None


@needs_fonts
def test_a_clips_letters_stand_in_the_frames_that_show_them_alone() -> None:
    where: list[render.Letter] = []
    clip = render.clip("bake bread", random.Random(4), FONTS, 49_152, 6, where)
    example = Example(
        Evidence("What is this?", kind="video", shown="bake bread", at=clip.shown_at),
        Side(Label.UNHARMFUL, 0.2), medium=clip.media, letters=tuple(where), showing=clip.showing,
    )  # fmt: skip
    line = encoder().line(example)
    assert line.cells is not None
    pairs = line.cells.reshape(3, -1, letters.SLOTS)
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

    from core.checkpoints.folder import BUILTIN_FOLDER

    made = tokenizer.load(BUILTIN_FOLDER)
    model = network.load(BUILTIN_FOLDER, len(made), tokenizer.control_ids(made), 1)
    again = network.load(BUILTIN_FOLDER, len(made), tokenizer.control_ids(made), 2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    with pytest.raises(InputError, match="no built-in guard"):
        tokenizer.load(tmp_path)
