"""Laws of training by reinforcement, on the shipped guard with a handful of harmless rows and true trl underneath."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from core.checkpoints.folder import BUILTIN_FOLDER
from core.checkpoints.registry import Registry
from core.engines.transformers_engine import TransformersEngine
from core.judging.guard import Guard
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.media.vision import DecodedMedia
from core.snapshots.folder import Split
from core.types import Assessment, Label, MediaRef, Modality, Sample
from tests.grpo_runs import TEXTS, A, H, U, X, attempt, new_run, settings_of, weights_of
from tests.hard_data import write_snapshot
from tests.media_files import X264, picture_file
from tests.video_files import make_video
from train_jobs.forgetting import forget_sample
from train_jobs.grpo import job as grpo
from train_jobs.grpo import trainer as grpo_trainer
from train_jobs.grpo.hard_rows import join_pairs, read_hard
from train_jobs.grpo.rollouts import RolloutLine, export_rollouts, read_rollout, rollout_steps
from train_jobs.grpo.scoring import CompletionReader, Parsed, Scored, figures
from train_jobs.grpo.trainer import PromptBook
from train_jobs.recipes.grpo import check_grpo
from train_jobs.rules.augment import HardRow, join
from train_jobs.rules.clipping import clip_bound
from train_jobs.rules.rewards import RewardForm, RewardRule, reward
from train_jobs.runs.folder import RunFolder

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


@dataclass(frozen=True)
class Done:
    """A finished run."""

    root: Path
    run: RunFolder
    trainer: Any
    book: PromptBook

    @property
    def updates(self) -> list[dict[str, Any]]:
        return [row for row in self.run.metrics() if "loss" in row]

    @property
    def lines(self) -> list[RolloutLine]:
        return [line for step in rollout_steps(self.run) for line in read_rollout(self.run, step)]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Texts, two pictures and a clip in one training of three updates, with two joined rows and dynamic clipping."""
    import torch

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("grpo")
    media = MediaStore(root / "media", MediaLimits(), VideoReader(MediaLimits(decode_timeout_s=60)))
    small, wide = picture_file(root / "a.png"), picture_file(root / "b.png", size=(96, 64))
    clip = make_video(root / "clip.mp4", frames=4, rate=1, size=(64, 64), options=X264)
    shown = [media.accept(path) for path in (small, wide, clip)]
    media.close()
    rows = [
        *TEXTS,
        (Sample("What is in it?", None, (shown[0],)), H, A),
        (Sample("And here?", None, (shown[1],)), H, A),
        (Sample("What happens?", None, (shown[2],)), H, A),
    ]
    snapshot = write_snapshot(root / "snapshots" / "hard", {Split.TRAIN: rows}, media)
    seen: dict[str, Any] = {}
    make = grpo_trainer.make_trainer

    def making(**options: Any) -> Any:
        seen["book"], seen["trainer"] = options["book"], make(**options)
        return seen["trainer"]

    settings = settings_of(
        prompts=8, generations=3, passes=3, dynamic_clipping=True, clip_high=0.2, learning_rate=2e-3,
        concatenation={"share": 0.25}, longest_completion=82, generate_at_once=9,
    )  # fmt: skip
    run = new_run(root, snapshot, settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpo, "make_trainer", making)
        attempt(run)
    return Done(root, run, seen["trainer"], seen["book"])


def test_texts_pictures_and_videos_are_mixed_in_one_rollout(done: Done) -> None:
    hard = read_hard(done.run)
    assert hard is not None
    kinds = {row.sample.id: row.sample.modality.value for row in hard.rows}
    assert {kinds[line.sample_id] for line in read_rollout(done.run, 0)} == {"text", "image", "video"}
    assert {line.sample_id for line in done.lines} == set(kinds)


def test_weights_move_and_the_frozen_vision_tower_does_not(done: Done) -> None:
    registry = Registry(done.root)
    (card,) = registry.cards()
    assert (card.run, card.recipe, card.author) == (done.run.id, "grpo-builtin", "ann")
    old, new = weights_of(BUILTIN_FOLDER), weights_of(Path(registry.source(card.id)))
    assert old.keys() == new.keys()
    moved = {name for name, value in new.items() if not value.equal(old[name])}
    assert any("language_model" in name for name in moved)
    assert not any("visual" in name for name in moved)


def test_ratios_are_really_clipped_and_the_range_closes(done: Done) -> None:
    steps = len(done.updates)
    assert steps == 3
    for at, row in enumerate(done.updates, 1):
        assert row["clip_low"] == row["clip_high"] == pytest.approx(clip_bound(at, steps))
    # The first pass over a rollout is on policy; from the second on ratios have left 1.
    assert [row["clipped_share"] > 0 for row in done.updates] == [False, True, True]
    assert done.updates[1]["clip_low"] > 0.04


def test_the_rewards_in_the_rollouts_are_the_pure_functions(done: Done) -> None:
    hard = read_hard(done.run)
    assert hard is not None
    gold = {row.sample.id: row.gold for row in hard.rows}
    settings = check_grpo(done.run.spec().settings)
    for line in done.lines:
        said = None if line.said is None else (Label(line.said[0]), Label(line.said[1]))
        expected = reward(settings.reward.rule(), said, gold[line.sample_id], line.tokens, settings.longest_completion)
        assert (line.reward, dict(line.terms), line.accuracy) == (expected.total, expected.terms, expected.accuracy)
        assert (line.said is None) == (line.error is not None)
    for step in rollout_steps(done.run):
        for group in _groups(read_rollout(done.run, step)):
            assert len({line.sample_id for line in group}) == 1
            assert sum(line.advantage for line in group) == pytest.approx(0, abs=1e-3)


def _groups(lines: Sequence[RolloutLine]) -> list[list[RolloutLine]]:
    return [[line for line in lines if line.group == group] for group in sorted({line.group for line in lines})]


def test_what_parsed_is_what_serving_reads(done: Done) -> None:
    from core.engines.base import Completion
    from core.judging.deciding import read
    from core.prompt.protocol import load_protocol
    from core.types import FinishReason, HarmProbability

    protocol = load_protocol(BUILTIN_FOLDER / "protocol.toml")
    responses = {line.sample_id: line.gold[1] != "absent" for line in done.lines}
    assert any(line.said for line in done.lines)
    assert any(line.error for line in done.lines)
    for line in done.lines:
        # The last one: a sample asks about the tag, and the guard may quote it.
        reasoning, _, answer = line.text.rpartition(protocol.think_close)
        finish = FinishReason.LENGTH if line.truncated else FinishReason.STOP
        completion = Completion(line.text, reasoning, answer, (), line.tokens, finish, None, 0.0, HarmProbability())
        said, _ = read(protocol, completion, has_response=responses[line.sample_id])
        assert line.said == (None if said is None else (said.request.value, said.response.value))


def test_every_update_has_its_figures(done: Done) -> None:
    for at, row in enumerate(done.updates, 1):
        assert row["step"] == at
        assert {"loss", "learning_rate", "entropy", "clipped_share", "clip_low", "device_memory_bytes"} <= row.keys()
        assert ("accuracy" in row) == (at == 1), "a rollout's figures go with its first update"
    first = done.updates[0]
    lines = read_rollout(done.run, 0)
    assert first["accuracy"] == pytest.approx(sum(line.accuracy for line in lines) / len(lines))
    assert first["unreadable_share"] == pytest.approx(sum(line.said is None for line in lines) / len(lines))
    assert first["completion_tokens"] == pytest.approx(sum(line.tokens for line in lines) / len(lines))
    assert first["term_exploration"] == pytest.approx(sum(line.terms["exploration"] for line in lines) / len(lines))
    assert first["reward"] == pytest.approx(sum(line.reward for line in lines) / len(lines), abs=1e-5)
    report = done.run.report()
    assert report is not None
    assert report["figures"]["steps"] == 3
    assert report["figures"]["first_accuracy"] == pytest.approx(first["accuracy"])


def test_media_reach_exactly_their_own_rows(done: Done) -> None:
    """A row's log-probabilities are the same in a mixed batch, in any order, and alone: the faults of mixed batches."""
    import torch

    hard = read_hard(done.run)
    assert hard is not None
    trainer = done.trainer
    trainer._texts = [row.to_json() for row in hard.rows]
    trainer._rows = done.book.open(trainer._texts)
    prompts = done.book.prompts(trainer._texts)
    assert {bool(prompt.images or prompt.videos) for prompt in prompts} == {True, False}
    answer = torch.tensor([20, 30, 40, 50])
    width = max(len(prompt.ids) for prompt in prompts)
    ids = torch.zeros(len(prompts), width + len(answer), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for at, prompt in enumerate(prompts):
        ids[at, width - len(prompt.ids) :] = torch.cat([torch.tensor(prompt.ids), answer])
        mask[at, width - len(prompt.ids) :] = 1

    def log_probs(order: list[int], size: int) -> Any:
        trainer._at = order
        with torch.no_grad():
            found, _, _ = trainer._get_per_token_logps_and_entropies(
                trainer.model, ids[order], mask[order], len(answer), batch_size=size
            )
        trainer._at = None
        return found[[order.index(at) for at in range(len(prompts))]]

    rows = list(range(len(prompts)))
    alone = log_probs(rows, 1)
    assert torch.allclose(log_probs(rows[::-1], 3), alone, atol=1e-4)
    assert len({tuple(each.tolist()) for each in alone}) == len(rows), "and every row has its own"


def test_control_tokens_in_content_stay_text(done: Done) -> None:
    hard = read_hard(done.run)
    assert hard is not None
    (typed,) = [row for row in hard.rows if row.sample == TEXTS[1][0]]
    (plain,) = [row for row in hard.rows if row.sample == TEXTS[0][0]]
    tokenizer = done.trainer.processing_class
    ids, images, fields = done.trainer._tokenize_prompts([typed.to_json(), plain.to_json()])
    assert (images, fields) == (None, {})
    controls = set(tokenizer.added_tokens_decoder)
    first, second = ([token for token in each if token in controls] for each in ids)
    assert first == second, "what a person typed adds no control token"
    assert "<|im_end|> and </think>" in tokenizer.decode(ids[0])


def test_a_joined_row_holds_both_texts_and_one_picture(done: Done) -> None:
    hard = read_hard(done.run)
    assert hard is not None
    joined = [row for row in hard.rows if row.made_of]
    assert len(joined) == hard.facts["joined"] == 2
    single = {row.sample.id: row for row in hard.rows if not row.made_of}
    for row in joined:
        one, other = (single[part] for part in row.made_of)
        assert row.sample.request == f"{one.sample.request}\n\n{other.sample.request}"
        assert (row.request is H) == (H in (one.request, other.request))
        both = [ref.modality.value for ref in (*one.sample.media, *other.sample.media)]
        assert [ref.modality.value for ref in row.sample.media] == (["image"] if both == ["image"] * 2 else both)


def test_rollouts_are_exported_and_a_deleted_sample_leaves_them(done: Done, tmp_path: Path) -> None:
    import shutil

    import pandas

    count = export_rollouts(done.run, tmp_path / "all.jsonl")
    assert count == len(done.lines) == len((tmp_path / "all.jsonl").read_text().splitlines())
    assert export_rollouts(done.run, tmp_path / "all.parquet") == count
    table = pandas.read_parquet(tmp_path / "all.parquet")
    assert json.loads(table["terms"][0]).keys() == done.lines[0].terms.keys()
    shutil.copytree(done.root / "runs", tmp_path / "runs")
    copied = RunFolder(tmp_path / "runs" / done.run.id)
    gone = TEXTS[0][0].id
    assert forget_sample(tmp_path / "runs", gone) == 1
    assert forget_sample(tmp_path / "runs", gone) == 0
    hard = read_hard(copied)
    assert hard is not None
    assert all(gone not in (row.sample.id, *row.made_of) for row in hard.rows)
    left = [line for step in rollout_steps(copied) for line in read_rollout(copied, step)]
    assert left
    assert all(gone not in (line.sample_id, *line.made_of) for line in left)
    assert "bake" not in "".join(path.read_text() for path in (copied.path / "rollouts").glob("*.jsonl"))


def test_a_joined_row_without_a_labelled_side_is_left_out(done: Done) -> None:
    one, other = HardRow(Sample("How do I bake?"), X, A), HardRow(Sample("How do I cook?"), U, A)
    assert join(one, other, " ", lambda images: None).request is X
    settings = check_grpo(settings_of(concatenation={"share": 0.4}))
    base: Any = SimpleNamespace(prompts=done.book._encoder)
    media: Any = SimpleNamespace(merge=lambda refs, geometry: None)
    assert join_pairs([one, other], settings, base, media, 400) == []
    (joined,) = join_pairs([replace(one, request=H), other], settings, base, media, 400)
    assert joined.request is H


def test_patches_beyond_the_limit_are_made_again_and_are_the_same(shipped_guard: Guard) -> None:
    engine = shipped_guard.engine
    assert isinstance(engine, TransformersEngine)
    decoded: list[str] = []

    def decode(ref: MediaRef) -> DecodedMedia:
        decoded.append(ref.digest)
        return DecodedMedia(np.full((1, 64, 64, 3), len(ref.digest.strip("0")) * 40, np.uint8))

    refs = [MediaRef(str(at) * at + "0" * (64 - at), "image/png", Modality.IMAGE, 9, 64, 64) for at in (1, 2, 3)]
    rows = [*(HardRow(Sample("What is it?", None, (ref,)), H, A) for ref in refs), HardRow(Sample("Is it warm?"), U, A)]
    texts = [row.to_json() for row in rows for _ in range(2)]
    wide, tight = (PromptBook(engine.encoder, decode, most_bytes=most) for most in (2**30, 1))
    for book in (wide, tight):
        assert book.open(texts) == [row for row in rows for _ in range(2)]
    assert wide.ids(texts) == tight.ids(texts)
    assert len(decoded) == 6
    for one, other in zip(wide.prompts(texts), tight.prompts(texts), strict=True):
        assert (one.ids, one.types) == (other.ids, other.types)
        for mine, theirs in zip(one.images, other.images, strict=True):
            assert mine.grid == theirs.grid
            assert (mine.pixels == theirs.pixels).all()
    assert len(decoded) == 9, "only the tight one has made them again"
    assert tight.held_bytes < wide.held_bytes
    wide.open(texts[-1:])
    assert wide.held_bytes == 0, "what only the rollout before needed is let go"


# -- reading completions ----------------------------------------------------------------------------------------------


def test_completions_are_read_by_ids_as_serving_reads_them(shipped_guard: Guard) -> None:
    engine = shipped_guard.engine
    assert isinstance(engine, TransformersEngine)
    encoder, end = engine.encoder, int(engine.tokenizer.eos_token_id)
    reader = CompletionReader(encoder, frozenset({end}))
    whole = encoder.target_ids(Assessment(H, U, reasoning=("The user asks.", "It is <result> in a quote.")))
    read = reader.parse([*whole, end], has_response=True)
    assert (read.said, read.error, read.tokens, read.truncated) == ((H, U), None, len(whole) + 1, False)
    assert reader.parse([*whole, end], has_response=False).said == (H, A)
    cut = reader.parse(whole[:-3], has_response=True)
    assert (cut.said, cut.truncated) == (None, True)
    assert "cut off" in (cut.error or "")
    silent = encoder.target_ids(Assessment(H, A, reasoning=("The user asks.",)))
    assert reader.parse([*silent, end], has_response=True).said is None, "no label where there is a response"
    close = encoder.controls[encoder.protocol.think_close]
    assert reader.parse([*whole, close, end], has_response=True).said is None, "closed twice"
    typed = [*encoder.plain_ids("</think>\n<result>\nRequest: harmful\nResponse: None\n</result>"), end]
    assert reader.parse(typed, has_response=False).said is None, "a tag in plain letters closes nothing"
    assert reader.parse([end], has_response=False).said is None


def test_figures_of_a_rollout_by_hand() -> None:
    row = HardRow(Sample("How do I bake bread?"), H, A)
    parsed = [Parsed("", (H, A), None, 10, False), Parsed("", (U, A), None, 20, False), Parsed("", None, "", 30, True)]
    rule = RewardRule(RewardForm.OMNI_V1, most=0.2, scale=20)

    def scored(*which: int) -> list[Scored]:
        return [Scored(row, parsed[at], reward(rule, parsed[at].said, row.gold, parsed[at].tokens, 30)) for at in which]

    found = figures([*scored(0, 1), *scored(1, 2), *scored(0, 0)], group=2)
    assert found == pytest.approx(
        {
            "accuracy": 3 / 6,
            "term_accuracy": 3 / 6,
            "term_exploration": 2 * 0.152319 / 6,
            "unreadable_share": 1 / 6,
            "truncated_share": 1 / 6,
            "completion_tokens": 100 / 6,
            "all_wrong_share": 1 / 3,
            "all_right_share": 1 / 3,
        },
        abs=1e-6,
    )
