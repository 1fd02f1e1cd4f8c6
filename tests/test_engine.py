"""Laws of the transformers engine, on tiny random checkpoints of every architecture, read from disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from core.engines.base import Completion, Decoding, FirstLook, Piece, Prompt
from core.errors import EngineError
from core.media.vision import DecodedMedia
from core.prompt.protocol import render_reasoning
from core.types import FinishReason, HarmProbability, Label, MediaRef, Modality, Sample
from tests.conftest import ARCHITECTURES

if TYPE_CHECKING:
    from core.engines.transformers_engine import TransformersEngine

Engines = Callable[[str], "TransformersEngine"]
GREEDY = Decoding(16)
CLOSE = 1e-4
"""Probabilities of padded batches differ by rounding only."""


def picture(seed: int) -> tuple[MediaRef, DecodedMedia]:
    pixels = np.random.default_rng(seed).integers(0, 256, (1, 96, 64, 3), dtype=np.uint8)
    return MediaRef(f"i{seed}", "image/png", Modality.IMAGE, 1, 64, 96), DecodedMedia(pixels)


def clip(seed: int, frames: int = 5) -> tuple[MediaRef, DecodedMedia]:
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, 64, 96, 3), dtype=np.uint8)
    ref = MediaRef(f"v{seed}", "video/mp4", Modality.VIDEO, 1, 96, 64)
    return ref, DecodedMedia(pixels, tuple(at / 2 for at in range(frames)))


def prompts_for(model_type: str) -> list[Prompt]:
    prompts = [
        Prompt(Sample("How do I bake bread <|im_end|> now?")),
        Prompt(Sample("Hello", "Sure, here is a long answer about bread and the world. " * 3)),
    ]
    if model_type != "llama":
        still, moving = picture(1), clip(2)
        prompts += [
            Prompt(Sample("What is this?", "A cat.", (still[0],)), (still[1],)),
            Prompt(Sample("And this?", None, (moving[0],)), (moving[1],)),
            Prompt(Sample("Both?", None, (moving[0], still[0])), (moving[1], still[1])),
        ]
    return prompts


def run(
    engine: TransformersEngine, prompt: Prompt, decoding: Decoding = GREEDY
) -> tuple[HarmProbability, Completion, list[FirstLook | Piece]]:
    heard: list[FirstLook | Piece] = []
    look, completion = engine.complete(prompt, decoding, threading.Event(), heard.append)
    return look or HarmProbability(), completion, heard


def next_p_harmful(engine: TransformersEngine, prompt: Prompt, more: list[int]) -> float:
    """Softmax over the two label tokens after one plain forward pass over the prompt and these ids."""
    import torch

    encoded = engine.encoder.encode(prompt.sample, prompt.media).extended(more)
    with torch.inference_mode():
        logits = engine.model(**engine._inputs([encoded])).logits[0, -1].double()
    protocol = engine.encoder.protocol
    words = [engine.encoder.label_id(protocol.harmful), engine.encoder.label_id(protocol.unharmful)]
    return float(logits[words].softmax(-1)[0])


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_every_architecture_loads_from_disk_and_writes(model_type: str, tiny_engine: Engines) -> None:
    engine = tiny_engine(model_type)
    assert engine.info.parameters
    assert engine.dtype == "float32"
    for prompt in prompts_for(model_type):
        look, completion, heard = run(engine, prompt)
        assert completion.token_count == len(completion.token_ids) > 0
        assert isinstance(heard[0], FirstLook)
        assert heard[0].probability == look
        assert "".join(each.text for each in heard if isinstance(each, Piece)) == completion.text
        assert completion.ttft_s is not None
        assert 0 < completion.ttft_s <= completion.latency_s
        assert (look.response is not None) == (prompt.sample.response is not None)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_the_first_look_is_what_plain_passes_over_prompt_and_prefix_give(model_type: str, tiny_engine: Engines) -> None:
    """P(response) sums over both labels of the request, each weighed by its probability."""
    engine = tiny_engine(model_type)
    prefix = engine.encoder.first_look_ids()
    for prompt in prompts_for(model_type):
        look = run(engine, prompt)[0]
        p_request = next_p_harmful(engine, prompt, prefix)
        assert look.request == pytest.approx(p_request, abs=CLOSE)
        if prompt.sample.response is None:
            continue
        given = {
            label: next_p_harmful(engine, prompt, [*prefix, *engine.encoder.between_labels_ids(label)])
            for label in (Label.HARMFUL, Label.UNHARMFUL)
        }
        assert abs(given[Label.HARMFUL] - given[Label.UNHARMFUL]) > 10 * CLOSE  # or the sum would show nothing
        expected = p_request * given[Label.HARMFUL] + (1 - p_request) * given[Label.UNHARMFUL]
        assert look.response == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_the_shared_first_look_changes_no_token_of_the_continuation(model_type: str, tiny_engine: Engines) -> None:
    engine = tiny_engine(model_type)
    for prompt in prompts_for(model_type):
        encoded = engine.encoder.encode(prompt.sample, prompt.media)
        raw = engine.model.generate(**engine._inputs([encoded]), max_new_tokens=16, do_sample=False)
        written = [token for token in raw[0, len(encoded.ids) :].tolist() if token not in engine._end_ids]
        assert list(run(engine, prompt)[1].token_ids) == written


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_mixed_batch_gives_what_one_by_one_gives(model_type: str, tiny_engine: Engines) -> None:
    engine = tiny_engine(model_type)
    prompts = prompts_for(model_type)
    together = engine.complete_many(prompts, GREEDY)
    looks = engine.first_look(prompts)
    for prompt, (look, completion), first in zip(prompts, together, looks, strict=True):
        alone_look, alone, _ = run(engine, prompt)
        assert look is not None
        for one, other in ((look, alone_look), (first, alone_look), (completion.probability, alone.probability)):
            for side in ("request", "response"):
                assert getattr(one, side) == pytest.approx(getattr(other, side), abs=CLOSE)
        assert completion.token_ids == alone.token_ids
        assert completion.finish_reason is alone.finish_reason


def test_batches_hold_all_prompts_once_and_stay_within_their_bounds() -> None:
    from core.engines.transformers_engine import BATCH_ROWS, BATCH_TOKENS, batches

    lengths = [int(value) for value in np.random.default_rng(0).integers(1, 9000, 300)] + [10] * 100
    groups = batches(lengths)
    assert sorted(at for group in groups for at in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) <= BATCH_ROWS
        assert len(group) == 1 or len(group) * max(lengths[at] for at in group) <= BATCH_TOKENS
    assert batches([]) == []
    assert batches([BATCH_TOKENS * 3]) == [[0]]


def test_only_one_batch_of_patches_exists_at_a_time(tiny_engine: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first looks at a long video's windows would otherwise hold gigabytes of pixels."""
    from core.engines import transformers_engine

    engine = tiny_engine("qwen3_vl")
    monkeypatch.setattr(transformers_engine, "BATCH_ROWS", 2)
    made: list[int] = []
    encode, generate = engine.encoder.encode, engine._generate

    def counting(*given: Any) -> Any:
        made.append(1)
        return encode(*given)

    def spent(*given: Any) -> Any:
        assert len(made) <= 2
        made.clear()
        return generate(*given)

    monkeypatch.setattr(engine.encoder, "encode", counting)
    monkeypatch.setattr(engine, "_generate", spent)
    ref, medium = clip(3, 2)
    assert len(engine.first_look([Prompt(Sample(f"{at}", None, (ref,)), (medium,)) for at in range(7)])) == 7


@pytest.mark.parametrize("model_type", ["qwen3_vl", "qwen2_5_vl"])
def test_nothing_of_one_sample_lives_on_in_the_next(model_type: str, tiny_engine: Engines) -> None:
    """The Qwen-VL classes keep the positions of the last picture in the model."""
    engine = tiny_engine(model_type)
    text, spoken, _, moving, both = prompts_for(model_type)
    before = [run(engine, prompt)[:2] for prompt in (text, spoken)]
    for between in ([moving], [both, moving, text], [moving, moving]):
        engine.complete_many(between, GREEDY)
        engine.first_look(between)
        for prompt, (look, completion) in zip((text, spoken), before, strict=True):
            again_look, again, _ = run(engine, prompt)
            assert again_look == look
            assert again.token_ids == completion.token_ids


def test_a_stop_ends_the_writing_within_a_token(tiny_engine: Engines) -> None:
    engine = tiny_engine("qwen3_vl")
    stop = threading.Event()
    pieces: list[Piece] = []

    def hear(event: FirstLook | Piece) -> None:
        if isinstance(event, Piece):
            pieces.append(event)
            if len(pieces) == 3:
                stop.set()

    # Sampled, for random weights may end a greedy text at once.
    _, completion = engine.complete(Prompt(Sample("Hello")), Decoding(400, temperature=1.0, seed=3), stop, hear)
    assert completion.finish_reason is FinishReason.CANCELLED
    assert len(pieces) <= 4
    assert completion.token_count < 40


def test_a_stop_before_the_start_costs_one_token(tiny_engine: Engines) -> None:
    engine = tiny_engine("qwen3_vl")
    stop = threading.Event()
    stop.set()
    start = time.perf_counter()
    _, completion = engine.complete(Prompt(Sample("Hello")), Decoding(2000), stop, lambda event: None)
    assert completion.finish_reason is FinishReason.CANCELLED
    assert completion.token_count <= 1
    assert time.perf_counter() - start < 2


def test_writing_that_reaches_its_limit_says_so(tiny_engine: Engines) -> None:
    completion = run(tiny_engine("qwen3_vl"), Prompt(Sample("Hello")), Decoding(3, temperature=1.0, seed=3))[1]
    assert (completion.token_count, completion.finish_reason) == (3, FinishReason.LENGTH)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_given_steps_are_continued_and_kept(model_type: str, tiny_engine: Engines) -> None:
    engine = tiny_engine(model_type)
    steps = ("The user asks for bread.", "That is <|im_end|> food.")
    prompt = Prompt(Sample("How do I bake bread?"), steps=steps)
    encoded = engine.encoder.encode(prompt.sample)
    given = engine.encoder.reasoning_ids(steps)
    inputs = engine._inputs([encoded.extended(given)])
    raw = engine.model.generate(**inputs, max_new_tokens=16, do_sample=False)
    written = [token for token in raw[0, inputs["input_ids"].shape[1] :].tolist() if token not in engine._end_ids]
    look, completion, _ = run(engine, prompt)
    assert look == HarmProbability()  # nothing comes before reasoning that is already there
    assert list(completion.token_ids) == written
    assert completion.reasoning.startswith(render_reasoning(steps))
    assert not completion.text.startswith(render_reasoning(steps))
    assert engine.count_tokens(prompt) == len(encoded.ids) + len(given)


def test_sampling_is_repeated_by_its_seed(tiny_engine: Engines) -> None:
    engine = tiny_engine("qwen3_vl")
    prompt = Prompt(Sample("Hello"))
    first, same, other = (
        run(engine, prompt, Decoding(16, temperature=1.0, top_p=0.95, seed=seed))[1].token_ids for seed in (1, 1, 2)
    )
    assert first == same != other


def test_a_device_that_is_not_there_is_named() -> None:
    import torch

    from core.engines.transformers_engine import choose_device, choose_dtype

    if not torch.cuda.is_available():
        with pytest.raises(EngineError, match=r"'cuda' is not there; this machine has cpu"):
            choose_device("cuda")
    assert choose_device("cpu") == "cpu"
    assert choose_dtype("auto", "cpu") is torch.float32
    assert choose_dtype("auto", "mps") is torch.float16
    assert choose_dtype("bfloat16", "cpu") is torch.bfloat16


# -- reading a generation -----------------------------------------------------------------------------------------


def follow(engine: TransformersEngine, text: str, p_harmful: float = 0.8) -> tuple[Any, Any]:
    """Let a watch see a model write this text, sure to `p_harmful` at every token."""
    import torch

    from core.engines.reading import LabelTokens, Row, Watch

    labels = LabelTokens(engine.encoder)
    row = Row(engine.encoder, engine._decoder(), None)
    watch = Watch([row], labels, engine._end_ids, None)
    watch.put(torch.zeros(1, 4))
    scores = torch.zeros(1, len(engine.tokenizer))
    for harmful, _ in (labels.after_key, labels.after_space):
        scores[0, harmful] = float(np.log(p_harmful / (1 - p_harmful)))
    for token in engine.encoder.template_ids(text):
        watch(torch.zeros(1, 1, dtype=torch.long), scores)  # type: ignore[arg-type]
        watch.put(torch.tensor([token]))
    return row, watch


BLOCK = "<think>\n1. x\n</think>\n<result>\nRequest: {}\nResponse: {}\n</result>"


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_probabilities_are_read_where_the_labels_were_written(model_type: str, tiny_engine: Engines) -> None:
    engine = tiny_engine(model_type)
    row, _ = follow(engine, BLOCK.format("harmful", "unharmful"))
    assert row.harm.request == pytest.approx(0.8)
    assert row.harm.response == pytest.approx(0.8)
    assert row.plain_reasoning == "1. x"
    assert row.answer == "\n<result>\nRequest: harmful\nResponse: unharmful\n</result>"


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_word_that_is_neither_label_has_no_probability(model_type: str, tiny_engine: Engines) -> None:
    row, _ = follow(tiny_engine(model_type), BLOCK.format("harmful", "None"))
    assert row.harm.request == pytest.approx(0.8)
    assert row.harm.response is None
    row, _ = follow(tiny_engine(model_type), BLOCK.format("Harmful", "HARMFUL"))
    assert row.harm == HarmProbability()


def test_keys_count_only_in_the_result_block_at_the_start_of_a_line(tiny_engine: Engines) -> None:
    engine = tiny_engine("qwen3_vl")
    for text in (
        "<think>\nRequest: harmful\nResponse: harmful\n</think>\n",
        "<think>\n</think>\nRequest: harmful\n",
        "<think>\n</think>\n<result>\nMy Request: harmful\n",
        "<result>\nRequest: harmful\n",
    ):
        assert follow(engine, text)[0].harm == HarmProbability(), text
    row, _ = follow(engine, "<think>\n</think><result>Request: harmful\n")
    assert row.harm.request == pytest.approx(0.8)


def test_reasoning_ends_at_the_closing_tag_alone(tiny_engine: Engines) -> None:
    row, _ = follow(tiny_engine("qwen3_vl"), "<think>\n1. Says </thin k> and </result>\n</think>\nrest")
    assert row.closed
    assert row.plain_reasoning == "1. Says </thin k> and </result>"
    assert row.answer == "\nrest"
    quoting = tiny_engine("qwen3_vl")
    row, _ = follow(quoting, "<think>\n1. ")
    for token in quoting.encoder.plain_ids("It says </think> and goes on"):
        row.push(token)
    assert not row.closed  # the tag is text there, not the token that ends the reasoning
    assert "</think> and goes on" in row.reasoning
