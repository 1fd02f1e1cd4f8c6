"""Print the speed figures of the README, ours beside its peer: `python -m tests.benchmark [--store | --training]`.

Seconds are this machine's; the ratios are the claim. The annotation store has a table of its own (`--store`), whose
peer is written down and not run.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.checkpoints.folder import BUILTIN_FOLDER, CheckpointFolder, open_checkpoint
from core.engines.base import Decoding, Prompt
from core.engines.transformers_engine import TransformersEngine
from core.events import ReasoningGrew
from core.judging.guard import Guard
from core.media.vision import DecodedMedia
from core.prompt.protocol import build_turns
from core.types import Calibrations, MediaRef, Modality, Sample
from tests.benchmark import clocks, evaluating, in_and_out, review, training
from tests.benchmark.pairs import Ratio, alternate
from tests.benchmark.sampling import sampling_against_peers

TOKENS = 256
REQUEST = "How do I bake a loaf of bread with a crust that stays crisp, and how long should the dough rest before that?"
REPOSITORY = Path(__file__).resolve().parents[2]


def endless(checkpoint: CheckpointFolder) -> tuple[TransformersEngine, Guard]:
    """The guard without an end-of-turn token, so that every answer has exactly TOKENS tokens."""
    engine = TransformersEngine(checkpoint, device="cpu", dtype="float32")
    engine.info = replace(engine.info, max_new_tokens=TOKENS, context_tokens=4096)
    engine._end_ids = frozenset()
    engine.model.generation_config.eos_token_id = None
    return engine, _guard(engine, checkpoint)


def _guard(engine: TransformersEngine, checkpoint: CheckpointFolder) -> Guard:
    def no_media(ref: MediaRef) -> DecodedMedia:
        raise AssertionError(f"no medium is decoded here, {ref} was asked for")

    return Guard(engine, checkpoint.protocol, Calibrations(), no_media, window_tokens=checkpoint.window_tokens)


def moderate_against_raw(checkpoint: CheckpointFolder, pairs: int) -> tuple[Ratio, float]:
    """The whole verdict beside plain generate, and how many milliseconds later our first piece comes (median)."""
    from tests.benchmark.peers.raw_generate import RawGenerate

    engine, guard = endless(checkpoint)
    sample = Sample(REQUEST)
    system, user = build_turns(checkpoint.protocol, sample)
    raw = RawGenerate(engine.model, engine.tokenizer, system.parts[0] or "")
    firsts: list[tuple[float, float]] = []
    latest = {"ours": 0.0, "raw": 0.0}

    def ours() -> float:
        start = time.perf_counter()
        first: list[float] = []

        def hear(event: object) -> None:
            if isinstance(event, ReasoningGrew) and not first:
                first.append(time.perf_counter() - start)

        verdict = guard.moderate(sample, emit=hear)
        assert verdict.generation is not None
        assert verdict.generation.token_count == TOKENS
        latest["ours"] = first[0]
        return time.perf_counter() - start

    def peer() -> float:
        latest["raw"], total = raw.run(user.parts[0] or "", TOKENS)
        return total

    def note(run: Callable[[], float]) -> Callable[[], float]:
        def noted() -> float:
            seconds = run()
            firsts.append((latest["ours"], latest["raw"]))
            return seconds

        return noted

    ratio = alternate(f"moderate ÷ raw generate, {TOKENS} tokens", "≤ 1.05", note(ours), note(peer), pairs)
    return ratio, 1000 * float(np.median([ours_s - raw_s for ours_s, raw_s in firsts[2:]]))


def first_look_against_deliberation(checkpoint: CheckpointFolder, pairs: int) -> Ratio:
    """A first look beside a full verdict of the guard as it is shipped."""
    guard = _guard(TransformersEngine(checkpoint, device="cpu", dtype="float32"), checkpoint)
    sample = Sample(REQUEST)
    return alternate(
        "full deliberation ÷ first look",
        "≥ 10",
        lambda: _seconds(lambda: guard.moderate(sample)),
        lambda: _seconds(lambda: guard.first_look(sample)),
        pairs,
    )


def mixed_prompts(count: int) -> list[Prompt]:
    """Text, image and video prompts in turn, always the same."""
    rng = np.random.default_rng(7)
    prompts = []
    for at in range(count):
        text = Sample(f"{REQUEST} Number {at}.", "Knead it for ten minutes." if at % 2 else None)
        if at % 4 == 1:
            ref = MediaRef(f"i{at}", "image/png", Modality.IMAGE, 1, 192, 128)
            pixels = DecodedMedia(rng.integers(0, 255, (1, 128, 192, 3), dtype=np.uint8))
            prompts.append(Prompt(replace(text, media=(ref,)), (pixels,)))
        elif at % 4 == 3:
            ref = MediaRef(f"v{at}", "video/mp4", Modality.VIDEO, 1, 128, 96, 4.0, 4)
            pixels = DecodedMedia(rng.integers(0, 255, (4, 96, 128, 3), dtype=np.uint8), (0.0, 1.0, 2.0, 3.0))
            prompts.append(Prompt(replace(text, media=(ref,)), (pixels,)))
        else:
            prompts.append(Prompt(text))
    return prompts


def batch_against_one_by_one(checkpoint: CheckpointFolder, pairs: int) -> tuple[Ratio, bool]:
    """Eight mixed samples in one batch beside the same one after the other; and whether the written labels agree."""
    engine, _ = endless(checkpoint)
    prompts = mixed_prompts(8)
    decoding = Decoding(TOKENS)
    never = threading.Event()

    def one_by_one() -> float:
        return _seconds(lambda: [engine.complete(prompt, decoding, never, lambda event: None) for prompt in prompts])

    ratio = alternate(
        f"8 mixed samples one by one ÷ in a batch, {TOKENS} tokens",
        "≥ 3",
        one_by_one,
        lambda: _seconds(lambda: engine.complete_many(prompts, decoding)),
        pairs,
    )
    shipped = TransformersEngine(checkpoint, device="cpu", dtype="float32")
    decoding = Decoding(shipped.info.max_new_tokens)
    alone = [shipped.complete(prompt, decoding, never, lambda event: None)[1].answer for prompt in prompts]
    together = [completion.answer for _, completion in shipped.complete_many(prompts, decoding)]
    return ratio, alone == together


def start_against_empty_app(pairs: int) -> Ratio:
    """Start of the process to the first HTTP 200, beside an empty gradio app."""

    def first_answer(command: list[str], port: int, environment: dict[str, str]) -> float:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env={**os.environ, **environment},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                        if answer.status == 200:
                            return time.perf_counter() - start
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    if process.poll() is not None or time.perf_counter() - start > 120:
                        raise SystemExit(f"{command} did not answer; it ended with {process.poll()}.") from None
                    time.sleep(0.01)
        finally:
            process.terminate()
            process.wait(timeout=30)

    def ours() -> float:
        with tempfile.TemporaryDirectory() as data:
            port = _free_port()
            return first_answer([sys.executable, "app.py"], port, {"GUARDROOM_DATA": data, "GUARDROOM_PORT": str(port)})

    def peer() -> float:
        port = _free_port()
        return first_answer([sys.executable, "-m", "tests.benchmark.peers.empty_app", str(port)], port, {})

    return alternate("start to first HTTP 200 ÷ empty gradio app", "≤ 2", ours, peer, pairs)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def annotation_store(queues: list[int], rows: int, into: int, keep: Path | None) -> None:
    """Print the table of the annotation store. `keep`: a folder where filled stores are kept."""
    print(clocks.HEAD, flush=True)
    for size in queues:
        for line in review.measure(max(size, 100), 200, keep):
            print(line, flush=True)
    for line in in_and_out.measure(max(rows, 100), max(into, 0), keep):
        print(line, flush=True)


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description=__doc__)
    parser.add_argument("--pairs", type=int, help="pairs of each comparison (default 9; of training 5)")
    parser.add_argument("--video-only", action="store_true", help="only the sampling of a video")
    parser.add_argument("--store", action="store_true", help="only the annotation store")
    parser.add_argument(
        "--store-rows", type=int, nargs="+", default=[1_000], metavar="N",
        help="sizes of the review queue (default 1000; 1000000 takes minutes and 2 GB of disk)",
    )  # fmt: skip
    parser.add_argument("--file-rows", type=int, default=50_000, help="rows that come in and go out (default 50000)")
    parser.add_argument("--file-into", type=int, default=0, help="rows that are there before (default 0)")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="where filled stores are kept, so that the next time begins at once"
    )
    parser.add_argument(
        "--training", nargs="*", choices=[*training.PARTS], help="only training, beside plain trl scripts; all parts "
        "unless some are named"
    )  # fmt: skip
    parser.add_argument("--small", action="store_true", help="of training: a pair of a few steps, to see that it runs")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that a job at work is ended too
    if given.training is not None:
        print(training.HEAD, flush=True)
        sizes = training.SMALL if given.small else training.USUAL
        for line in training.measure(given.pairs or 5, sizes, given.training or [*training.PARTS]):
            print(line, flush=True)
        return
    if given.store:
        annotation_store(given.store_rows, given.file_rows, given.file_into, given.keep)
        return
    pairs = given.pairs or 9
    print("| what | ratio, median (95% interval) | bar | pairs | left side, s | right side, s |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for sampled in sampling_against_peers(pairs):
        print(sampled.row(), flush=True)
    if given.video_only:
        return
    checkpoint = open_checkpoint(BUILTIN_FOLDER, "builtin")
    raw, later_ms = moderate_against_raw(checkpoint, pairs)
    print(raw.row(), flush=True)
    print(first_look_against_deliberation(checkpoint, pairs).row(), flush=True)
    batch, same = batch_against_one_by_one(checkpoint, pairs)
    print(batch.row(), flush=True)
    print(evaluating.one_by_one_against_evaluation(pairs).row(), flush=True)
    print(start_against_empty_app(pairs).row(), flush=True)
    print(f"\nFirst streamed piece: {later_ms:+.1f} ms against raw generate (bar: at most 50 ms later).")
    print(f"Answers in a batch and one by one are {'identical' if same else 'NOT identical'}.\n")
    annotation_store(given.store_rows, given.file_rows, given.file_into, given.keep)


if __name__ == "__main__":
    main()
