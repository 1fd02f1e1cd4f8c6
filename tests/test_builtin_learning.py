"""What holds of the steps of the built-in guard's training: what they see, what they move, and how they go on."""

from __future__ import annotations

import json
import pickle
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.checkpoints.folder import open_checkpoint
from core.engines.base import Prompt
from core.engines.transformers_engine import TransformersEngine
from core.errors import GuardroomError
from core.media.vision import DecodedMedia
from core.types import Calibrations, Label, Thresholds
from tests.builtin_rows import needs_fonts, some_rows
from train_jobs import builtin_guard
from train_jobs.builtin import (
    beside,
    finish,
    linear,
    network,
    render,
    sentences,
    setup,
    targets,
    tokenizer,
    tower,
    wordcode,
)
from train_jobs.builtin.batches import Encoder, Line, collate
from train_jobs.builtin.examples import Deck, Example, grade
from train_jobs.builtin.loop import APART, Plan, Trainer, label_scores


@dataclass(frozen=True)
class World:
    """What a small training needs."""

    corpus: setup.Corpus
    encoder: Encoder
    deck: Deck
    ids: dict[str, int]

    def network(self, seed: int) -> Any:
        return network.build(len(self.encoder.prompts.tokenizer), self.ids, seed)  # type: ignore[arg-type]

    def trainer(self, work: Path, seed: int, meanings: sentences.Meanings | None = None) -> Trainer:
        plan = Plan(None, 4, batch_tokens=900, pool=8, warm_up=1)
        pad = self.ids["<|endoftext|>"]
        return Trainer(self.network(seed), self.encoder, self.deck, plan, work, pad, seed, meanings)

    def lessons(self, work: Path, seed: int, steps: int) -> tower.Lessons:
        eyes = self.network(seed).model.visual
        spelled = torch.from_numpy(wordcode.spellings(self.encoder.prompts.tokenizer))
        budget = tower.Budget(None, steps)
        return tower.Lessons(eyes, spelled, self.encoder.prompts, self.deck, budget, work)


@pytest.fixture(scope="module")
def taught() -> tuple[setup.Corpus, Any]:
    """Graded rows and a tokenizer, which no test changes."""
    rows = some_rows()
    texts = [r.request for r in rows]
    alone = [r for r in rows if r.response is None]
    models = linear.cross_fit(
        [r.request for r in alone], [r.request_label is Label.HARMFUL for r in alone], [r.request for r in alone]
    )
    graded = tuple(grade(rows, models, models))
    vectors = np.random.default_rng(0).normal(size=(len(texts), sentences.SENTENCE)).astype(np.float16)
    meanings = sentences.Meanings({text: at for at, text in enumerate(texts)}, vectors)
    made = setup.make_tokenizer(graded)
    return setup.Corpus(graded, (), models, models, meanings), made


@pytest.fixture
def world(taught: tuple[setup.Corpus, Any]) -> World:
    torch.manual_seed(0)
    corpus, made = taught
    encoder = Encoder(setup.prompt_encoder(made), random.Random(0))
    deck = Deck(corpus.train, corpus.requests, corpus.responses, 1, render.font_files()[0])
    return World(corpus, encoder, deck, tokenizer.control_ids(made))


def typed_lines(world: World) -> list[Line]:
    return [world.encoder.line(world.deck.text(each, vary=False)) for each in world.corpus.train[:4]]


def shown_lines(world: World) -> list[Line]:
    return [world.encoder.line(world.deck.draw(kind)) for kind in ("image", "video", "line", "page")]


def same_weights(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@needs_fonts
def test_a_deliberation_does_not_see_the_first_look_beside_it(world: World) -> None:
    model, lines = world.network(0), typed_lines(world)
    batch = collate(lines, model, 0, "cpu")
    begin, end = lines[0].first_look
    with torch.no_grad():
        before = model.model(**batch["inputs"]).last_hidden_state[0]
        changed = dict(batch["inputs"])
        changed["input_ids"] = changed["input_ids"].clone()
        changed["input_ids"][0, begin:end] = 99
        after = model.model(**changed).last_hidden_state[0]
    length = len(lines[0].ids)
    assert torch.allclose(before[end:length], after[end:length], atol=1e-5)
    assert not torch.allclose(before[begin:end], after[begin:end], atol=1e-3)


@needs_fonts
def test_training_moves_every_weight_but_spellings_and_apart_none_of_the_tower(world: World, tmp_path: Path) -> None:
    trainer = world.trainer(tmp_path, 0)
    model = trainer.model
    start = {name: p.detach().clone() for name, p in model.named_parameters()}

    def still() -> set[str]:
        return {name for name, p in model.named_parameters() if torch.equal(p, start[name])}

    seen = [trainer.one_step(0.01) for _ in range(2)]
    # apart the word code stands in for the tower
    assert still() == {name for name in start if ".visual." in name} != set()
    trainer._lines = [shown_lines(world)]
    seen.append(trainer.one_step(0.9))
    assert still() == set()
    table = model.get_input_embeddings().weight.detach()
    (name,) = (name for name in start if name.endswith("embed_tokens.weight"))
    assert torch.equal(table[:, network.MEANING :], start[name][:, network.MEANING :])
    assert all(np.isfinite(list(figures_of_step.values())).all() for figures_of_step in seen)


@needs_fonts
def test_an_interrupted_training_takes_the_same_step_on_the_same_batch(world: World, tmp_path: Path) -> None:
    first, lines = world.trainer(tmp_path, 0), shown_lines(world)
    first._lines = [lines]
    first.one_step(0.9)
    first.save_state()
    again = world.trainer(tmp_path, 1)
    assert again.load_state()
    assert again.step == first.step == 1
    for trainer in (first, again):
        trainer._lines = [lines]
    assert first.one_step(0.9) == again.one_step(0.9)
    assert same_weights(first.model, again.model)


@needs_fonts
def test_a_training_interrupted_before_the_tower_came_in_still_waits_for_it(world: World, tmp_path: Path) -> None:
    first, again = world.trainer(tmp_path, 0), world.trainer(tmp_path, 1)
    first.step = 3
    assert first.progress > APART
    first.save_state()
    assert again.load_state()
    assert not again.sees
    lessons = world.lessons(tmp_path, 2, 1)
    tower.save(lessons.tower, lessons.judge, tmp_path / "tower.pt")
    again.take_tower(tmp_path / "tower.pt")
    again.save_state()
    assert first.load_state()
    assert first.sees
    state = torch.load(first.state_file, weights_only=True)
    del state["sees"]
    torch.save(state, first.state_file)
    assert again.load_state()
    assert again.sees, "a state from before this was noted"


@needs_fonts
def test_what_a_request_means_is_told_from_where_its_first_label_is_read(world: World, tmp_path: Path) -> None:
    lines = typed_lines(world)
    for line, graded in zip(lines, world.corpus.train, strict=False):
        assert line.meant == (min(line.soft), graded.row.request)
    trainer = world.trainer(tmp_path, 0, world.corpus.meanings)
    batch = collate(lines, trainer.model, 0, "cpu")

    def told() -> float:
        with torch.no_grad():
            return float(trainer._telling(lines, trainer.model.model(**batch["inputs"]).last_hidden_state))

    start = told()
    for _ in range(6):
        trainer._lines = [lines]
        trainer.one_step(0.9)
    assert told() < start - 0.05
    assert world.trainer(tmp_path, 0)._telling(lines, torch.zeros(4, 1000, network.WIDTH)) == 0.0


def test_a_lesson_in_quoting_trains_what_stood_there_before() -> None:
    made = tokenizer.train([r.request for r in some_rows()] + list(targets.wording()) * 9, 420)
    encoder = Encoder(setup.prompt_encoder(made), random.Random(0))
    for _ in range(20):
        line = encoder.copying()
        trained = [at for at, weight in enumerate(line.weights) if weight]
        assert len(trained) >= 5
        said = line.ids[: trained[0]]
        asked = tuple(line.targets[at] for at in trained)
        assert any(said[at : at + len(asked)] == asked for at in range(len(said)))


@needs_fonts
def test_the_tower_learns_words_apart_and_comes_into_the_guard_with_what_judged_it(
    world: World, tmp_path: Path
) -> None:
    lessons = world.lessons(tmp_path, 1, 50)
    lessons.run()
    losses = [json.loads(line)["loss"] for line in (tmp_path / tower.LOG).read_text().splitlines()]
    assert losses[1] < losses[0] - 0.3
    assert world.deck.variety == 1.0
    tower.save(lessons.tower, lessons.judge, tmp_path / "tower.pt")
    trainer = world.trainer(tmp_path, 2)
    trainer.take_tower(tmp_path / "tower.pt")
    assert same_weights(trainer.model.model.visual, lessons.tower)
    assert torch.equal(trainer.judge.reader.bias, lessons.judge.reader.bias)


@needs_fonts
def test_interrupted_lessons_of_the_tower_go_on_where_they_were(world: World, tmp_path: Path) -> None:
    first, again = world.lessons(tmp_path, 1, 2), world.lessons(tmp_path, 2, 2)
    first.one_step(0.4)
    first.seconds = 7.0
    first.save_state()
    assert again.load_state()
    assert (again.step, again.seconds) == (1, 7.0)
    assert same_weights(again.tower, first.tower)
    assert same_weights(again.judge.probe, first.judge.probe)
    again.run()
    assert again.step == 2
    assert not same_weights(again.tower, first.tower)
    assert not world.lessons(tmp_path / "elsewhere", 1, 2).load_state()


@needs_fonts
def test_tower_and_language_model_learn_apart_in_two_processes_and_meet(world: World, tmp_path: Path) -> None:
    with (tmp_path / "corpus-3.pickle").open("wb") as file:
        pickle.dump(world.corpus, file)
    trainer = world.trainer(tmp_path, 3)
    options = builtin_guard.arguments().parse_args(["--data", str(tmp_path), "--seed", "3"])
    builtin_guard.learn_apart(trainer, {}, options)
    assert trainer.sees
    assert trainer.step == APART * 4
    weights, _ = tower.load(tmp_path / beside.TOWER, "cpu")
    mine = trainer.model.model.visual.state_dict()
    assert weights.keys() == mine.keys()
    assert all(torch.equal(weights[name], mine[name]) for name in mine)
    assert torch.load(trainer.state_file, weights_only=True)["sees"]


def test_lessons_that_fail_in_their_process_end_the_training_in_a_sentence(tmp_path: Path) -> None:
    task = beside.Task(tmp_path / "nowhere", tmp_path, 3, tower.Budget(None, 1), "cpu", 1, None, True)
    with pytest.raises(GuardroomError, match=r"ended early \(exit code 1\)"):
        beside.finish(beside.start(task), tmp_path)


def test_a_network_built_for_quoting_repeats_tokens_before_any_training() -> None:
    vocabulary = 1000
    ids = {name: at for at, name in enumerate((*tokenizer.CONTROLS, *tokenizer.THINK))}
    embeddings = np.random.default_rng(0).normal(0, 0.04, (vocabulary, network.WIDTH)).astype(np.float32)
    embeddings[:, 0] = 0.16
    said = torch.randint(20, vocabulary, (16, 20), generator=torch.Generator().manual_seed(1))
    right = {}
    for name, start in (("seeded", embeddings), ("random", None)):
        model = network.build(vocabulary, ids, 1, start).eval()
        with torch.no_grad():
            logits = model(input_ids=torch.cat([said, said], 1)).logits[:, 20:-1, 20:]
        right[name] = float((logits.argmax(-1) + 20 == said[:, 1:]).float().mean())
    assert right["seeded"] > 0.1 > 10 * right["random"]


@needs_fonts
def test_the_first_look_read_in_training_is_the_one_read_when_the_guard_runs(tmp_path: Path) -> None:
    """The label's probability in a training line equals the engine's, up to rounding."""
    made = tokenizer.train([r.request for r in some_rows()] + list(targets.wording()) * 9, 420)
    ids = tokenizer.control_ids(made)
    model = network.build(len(made), ids, 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
        words = model.get_input_embeddings().weight
        words.copy_(words.half())  # the precision that they are stored in
    network.save(model, made, tmp_path)
    setup.copy_protocol(tmp_path)
    finish.write_guard_file(tmp_path, Calibrations(), Thresholds())
    encoder = Encoder(setup.prompt_encoder(made), random.Random(0))
    picture = render.text_picture("bake bread", random.Random(2), render.font_files()[0], 20_000)
    examples = [
        Example(targets.Evidence("How can I paint a boat?"), targets.Side(Label.UNHARMFUL, 0.2)),
        Example(
            targets.Evidence("Read it", kind="image", shown="bake bread"), targets.Side(Label.UNHARMFUL, 0.2),
            medium=DecodedMedia(picture[None]),
        ),
    ]  # fmt: skip
    lines = [encoder.line(example) for example in examples]
    trained = [scores[min(scores)] for scores in label_scores(model, lines, encoder, ids["<|endoftext|>"], "cpu")]
    engine = TransformersEngine(open_checkpoint(tmp_path, "test"), device="cpu")
    prompts = [Prompt(e.sample, () if e.medium is None else (e.medium,)) for e in examples]
    looked = [look.request for look in engine.first_look(prompts)]
    assert looked == pytest.approx(trained, abs=1e-4)
