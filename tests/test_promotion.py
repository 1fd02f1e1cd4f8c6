"""Laws of promotion in the app: the gate is asked, the guard swapped, the event noted, and everything can go back."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.evaluate.to_review import errors_of, send_errors
from app.shared import promotion
from app.shared.identity import OwnerGate
from app.shared.services import Services
from core.errors import CheckpointError, InputError, JobError, PromotionRefused
from core.evaluation.rows import ScoredRow
from core.events import VerdictReached
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.serving.live import LiveGuard
from core.settings import BUILTIN, Settings
from core.types import Sample, Verdict
from tests.evaluated import Answer, many
from tests.running import has_weights
from train_jobs.evaluation.rows import add_rows
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec

TRUTH = [number % 2 == 0 for number in range(240)]
WORSE: list[Answer] = [(not truth) if number % 4 == 0 else truth for number, truth in enumerate(TRUTH)]
PATIENCE_S = 60.0


@pytest.fixture
def make(data_root: Path) -> Iterator[Callable[..., Services]]:
    """Services on one data root, as often as wanted: an app that is started again."""
    made: list[Services] = []

    def build(**settings: Any) -> Services:
        values: dict[str, Any] = {"protocol": "guardroom-v1", "device": "cpu", "threads": 1} | settings
        wanted = Settings(**values)
        media = MediaStore(wanted.data / "media", MediaLimits(), VideoReader(MediaLimits()))
        made.append(Services(wanted, media, LiveGuard(wanted, media), OwnerGate.build(False, "token")))
        return made[-1]

    yield build
    for each in made:
        each.close()


@pytest.fixture
def trained(tiny_folder: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """Folders of tiny checkpoints whose answers differ."""

    def build(name: str, words: int = 12) -> Path:
        from safetensors.torch import load_file, save_file

        folder = Path(shutil.copytree(tiny_folder("llama"), tmp_path / name))
        weights = load_file(folder / "model.safetensors")
        key = next(each for each in sorted(weights) if weights[each].ndim == 2)
        weights[key] = weights[key] * (1.0 + len(name) / 10)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        (folder / "guard.json").write_text(json.dumps({"format": 1, "max_new_tokens": words}))
        return folder

    return build


def evaluated(services: Services, checkpoint: str, rows: Sequence[ScoredRow], **changes: Any) -> str:
    """The run of a finished evaluation."""
    run = RunFolder.create(services.settings.data / "runs", JobSpec(JobKind.EVALUATE, "an evaluation"), 1)
    add_rows(run, rows)
    sets = {each.row.set for each in rows}
    told = {
        "form": "evaluation-v1",
        "checkpoint": {"id": checkpoint},
        "look": "deliberation",
        "sets": [{"name": s, "origin": s, "rows": sum(r.row.set == s for r in rows)} for s in sorted(sets)],
    }
    run.write_report(told | changes)
    return run.id


def settle(services: Services) -> None:
    end = time.monotonic() + PATIENCE_S
    while services.guard.status.state == "loading":
        assert time.monotonic() < end, services.guard.status
        time.sleep(0.02)


def start(services: Services) -> str:
    """Start as the app does; the id of what is live then."""
    promotion.start_guard(services)
    settle(services)
    end = time.monotonic() + PATIENCE_S
    while services.guard._loading.locked():  # the note comes after the swap
        assert time.monotonic() < end
        time.sleep(0.02)
    info = services.guard.status.info
    assert info is not None, services.guard.status
    return info.id


def verdict(services: Services, text: str = "How do I bake bread?") -> Verdict:
    last = list(services.guard.moderate(Sample(text)))[-1]
    assert isinstance(last, VerdictReached)
    return last.verdict


def what(said: Verdict) -> Any:
    """All of a verdict that does not depend on the time."""
    text = said.generation.text if said.generation else None
    return said.checkpoint_id, text, said.assessment, said.first_look, said.deliberated, said.decision


@pytest.fixture
def base(make: Callable[..., Services], trained: Callable[..., Path]) -> Services:
    """An app whose settings name a checkpoint, which is live."""
    services = make(checkpoint=str(trained("the-base")))
    start(services)
    return services


def live_id(services: Services) -> str:
    info = services.guard.status.info
    assert info is not None
    return info.id


def test_a_better_checkpoint_goes_live_and_every_verdict_names_it_until_it_is_taken_back(
    base: Services, trained: Callable[..., Path]
) -> None:
    known = promotion.registry(base)
    first = live_id(base)
    before = what(verdict(base))
    card = known.add(trained("better-one"), name="better", base=BUILTIN, run="run-1")
    reports = evaluated(base, first, many(TRUTH, WORSE)), evaluated(base, card.id, many(TRUTH, TRUTH))
    told: list[float] = []
    event, asked = promotion.promote(
        base, card.id, reports[1], author="ann", tell=lambda progress: told.append(progress.fraction)
    )
    assert (asked.against, asked.promoted, asked.decision.overridden) == (reports[0], first, False)
    assert (event.report, event.gate["outcome"], event.author) == (reports[1], "passed", "ann")
    assert told[-1] == 1.0
    after = what(verdict(base))
    assert after[0] == card.id == live_id(base)
    assert after[1] != before[1]
    back = promotion.rollback(base, author="bob", reason="it alarms")
    assert (back.previous, back.reason) == (card.id, "it alarms")
    assert what(verdict(base)) == before  # bit for bit
    with pytest.raises(PromotionRefused, match="nothing to go back to"):
        promotion.rollback(base, author="bob")


def test_a_significant_loss_is_refused_unless_a_reason_is_written(base: Services, trained: Callable[..., Path]) -> None:
    known, first = promotion.registry(base), live_id(base)
    card = known.add(trained("worse"), name="worse", base=BUILTIN)
    evaluated(base, first, many(TRUTH, TRUTH))
    report = evaluated(base, card.id, many(TRUTH, WORSE))
    with pytest.raises(PromotionRefused, match="significant loss on the held-out rows"):
        promotion.promote(base, card.id, report, author="ann")
    assert live_id(base) == first
    assert known.promotions() == []
    event, asked = promotion.promote(base, card.id, report, author="ann", reason="A pilot of one day.")
    assert asked.decision.overridden
    assert (event.reason, event.gate["overridden"]) == ("A pilot of one day.", True)
    assert live_id(base) == card.id


def test_without_a_report_of_what_is_live_there_is_not_enough_evidence(
    base: Services, trained: Callable[..., Path]
) -> None:
    card = promotion.registry(base).add(trained("new"), name="new", base=BUILTIN)
    report = evaluated(base, card.id, many(TRUTH, TRUTH))
    asked = promotion.ask(base, card.id, report)
    assert (asked.against, asked.decision.outcome.value) == (None, "not enough evidence")
    assert not asked.decision.allowed


def test_the_report_with_the_most_rows_in_common_is_compared(base: Services, trained: Callable[..., Path]) -> None:
    first = live_id(base)
    card = promotion.registry(base).add(trained("new"), name="new", base=BUILTIN)
    report = evaluated(base, card.id, many(TRUTH, TRUTH) + many(TRUTH, TRUTH, set="xstest"))
    evaluated(base, first, many(TRUTH, TRUTH))
    most = evaluated(base, first, many(TRUTH, TRUTH) + many(TRUTH, TRUTH, set="xstest"))
    evaluated(base, first, many(TRUTH, TRUTH, set="another"))
    evaluated(base, first, many(TRUTH, TRUTH) + many(TRUTH, TRUTH, set="xstest"), look="first look")
    assert promotion.ask(base, card.id, report).against == most


def test_a_report_about_something_else_is_refused(base: Services, trained: Callable[..., Path]) -> None:
    known, first = promotion.registry(base), live_id(base)
    card = known.add(trained("new"), name="new", base=BUILTIN)
    other, mine = evaluated(base, first, many(TRUTH, TRUTH)), evaluated(base, card.id, many(TRUTH, TRUTH))
    look = evaluated(base, card.id, many(TRUTH, TRUTH), look="first look")
    unfinished = RunFolder.create(base.settings.data / "runs", JobSpec(JobKind.EVALUATE, "x"), 1).id
    for checkpoint, report, against, words in (
        (card.id, other, None, f"is about {first}, not about"),
        (card.id, look, None, "first look alone"),
        (card.id, unfinished, None, "no report of an evaluation yet"),
        (card.id, mine, mine, f"is not about {first}"),
    ):
        with pytest.raises(PromotionRefused, match=words):
            promotion.ask(base, checkpoint, report, against=against)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        promotion.ask(base, "unknown", mine)
    with pytest.raises(JobError, match="no run"):
        promotion.ask(base, card.id, "../../etc")


def test_what_cannot_be_loaded_is_not_noted_and_the_old_one_stays_live(
    base: Services, trained: Callable[..., Path]
) -> None:
    known, first = promotion.registry(base), live_id(base)
    card = known.add(trained("broken"), name="broken", base=BUILTIN)
    evaluated(base, first, many(TRUTH, TRUTH))
    report = evaluated(base, card.id, many(TRUTH, TRUTH))
    (known.checkpoints / card.id / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError):
        promotion.promote(base, card.id, report, author="ann")
    assert known.promotions() == []
    assert verdict(base).checkpoint_id == first


def test_a_generation_in_flight_ends_with_the_checkpoint_that_it_began_with(
    make: Callable[..., Services], trained: Callable[..., Path]
) -> None:
    services = make(checkpoint=str(trained("slow", words=400)))
    first = start(services)
    card = promotion.registry(services).add(trained("next-one"), name="next", base=BUILTIN)
    evaluated(services, first, many(TRUTH, TRUTH))
    report = evaluated(services, card.id, many(TRUTH, TRUTH))
    events = services.guard.moderate(Sample("How do I bake bread?"))
    next(events)  # it has begun
    swapped = threading.Thread(target=promotion.promote, args=(services, card.id, report), kwargs={"author": "ann"})
    swapped.start()
    last = list(events)[-1]
    swapped.join(PATIENCE_S)
    assert isinstance(last, VerdictReached)
    assert last.verdict.checkpoint_id == first
    assert last.verdict.generation is not None
    assert last.verdict.generation.token_count == 400
    assert verdict(services).checkpoint_id == card.id


def test_what_is_promoted_or_live_is_not_deleted(base: Services, trained: Callable[..., Path]) -> None:
    known, first = promotion.registry(base), live_id(base)
    card = known.add(trained("new"), name="new", base=BUILTIN)
    evaluated(base, first, many(TRUTH, TRUTH))
    for _ in base.guard.load(known.source(card.id)):
        pass
    with pytest.raises(PromotionRefused, match="is live"):
        promotion.delete_checkpoint(base, card.id)
    promotion.promote(base, card.id, evaluated(base, card.id, many(TRUTH, TRUTH)), author="ann")
    with pytest.raises(PromotionRefused, match="is promoted"):
        promotion.delete_checkpoint(base, card.id)
    promotion.rollback(base, author="ann")
    promotion.delete_checkpoint(base, card.id)
    assert known.cards() == []


needs_weights = pytest.mark.skipif(not has_weights(), reason="the built-in guard is not trained")


@needs_weights
def test_a_start_loads_what_is_promoted_unless_the_settings_name_another(
    make: Callable[..., Services], trained: Callable[..., Path]
) -> None:
    services = make()
    known = promotion.registry(services)
    card = known.add(trained("new"), name="new", base=BUILTIN)
    known.promote(card.id, author="ann")
    assert start(services) == card.id
    assert services.guard.status.message == "Ready"
    lines = promotion.checkpoints(services)
    assert [(line.id, line.promoted, line.live) for line in lines] == [(BUILTIN, False, False), (card.id, True, True)]
    other = trained("another")
    assert start(make(checkpoint=str(other))).startswith("another-")


@needs_weights
@pytest.mark.parametrize("harm", ["weights", "tokenizer", "gone", "journal"])
def test_a_start_without_the_promoted_checkpoint_uses_the_built_in_guard_and_says_so(
    make: Callable[..., Services], trained: Callable[..., Path], harm: str
) -> None:
    services = make()
    known = promotion.registry(services)
    card = known.add(trained("new"), name="new", base=BUILTIN)
    known.promote(card.id, author="ann")
    folder = known.checkpoints / card.id
    if harm == "weights":
        (folder / "model.safetensors").unlink()
    elif harm == "tokenizer":
        (folder / "tokenizer.json").write_text("{}")
    elif harm == "gone":
        shutil.rmtree(folder)
    else:
        (services.settings.data / "promotions.jsonl").write_text("nonsense\n")
    assert start(services).startswith("builtin-")
    status = services.guard.status
    assert status.state == "ready"
    end = time.monotonic() + PATIENCE_S
    while "live" not in services.guard.status.message:
        assert time.monotonic() < end, services.guard.status.message
        time.sleep(0.02)
    assert verdict(services).checkpoint_id.startswith("builtin-")


# -- the queue ----------------------------------------------------------------------------------------------------


def test_errors_go_to_the_review_queue_with_one_call(make: Callable[..., Services]) -> None:
    services = make()
    report = evaluated(services, "guard-1", many(TRUTH[:20], WORSE[:20], set="xstest"))
    wrong = errors_of(services, report)
    assert len(wrong) == 5
    told: list[tuple[int, int]] = []
    done, said = send_errors(services, report, "ann", on_done=lambda count, total: told.append((count, total)))
    assert (done.opened, told[-1]) == (5, (5, 5))
    assert said.startswith("5 samples are in the review queue.")
    done, _ = send_errors(services, report, "ann", keys=[wrong[0].key])
    assert (done.waiting, done.queued) == (1, 1)
    with pytest.raises(InputError, match="no wrong answer"):
        send_errors(services, report, "ann", keys=[("xstest", "none", "none")])
