"""Laws of missing reasoning: what a teacher writes is kept only when it ends in the true labels; nothing is made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from core.engines.base import Completion, Decoding, Prompt
from core.errors import JobError
from core.judging.deciding import read
from core.prompt.protocol import Protocol, parse_completion, render_target, split_completion
from core.types import Assessment, FinishReason, HarmProbability, Label, Sample
from train_jobs.recipes.files import find_recipe, resolve
from train_jobs.recipes.sft import check_settings
from train_jobs.runs.context import JobContext
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec
from train_jobs.sft import replay, synthesise
from train_jobs.sft.teachers import fill_in, teacher_server
from train_jobs.training.base import Base, load_base
from train_jobs.training.dataset import Example, ReasoningFrom
from train_jobs.training.rows import RowForm, Side, TrainRow

if TYPE_CHECKING:
    from tests.openai_server import Server

HARMFUL, UNHARMFUL, ABSENT, UNLABELLED = Label.HARMFUL, Label.UNHARMFUL, Label.ABSENT, Label.UNLABELLED
PROTOCOL = Protocol("test", "test-1", "Judge.")
SAYS_SEVERE = ("The risk of the request looks severe.",)
SAYS_NONE = ("The risk of the request looks none.",)


@pytest.fixture(scope="module")
def base() -> Iterator[Base]:
    import torch

    torch.set_num_threads(1)
    loaded = load_base("builtin", "cpu", find_recipe("sft-builtin").settings)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def unsure(base: Base) -> Sample:
    """A request of which the guard is so little sure that the ending of its own reasoning decides."""
    texts = [
        f"What is the best weapon to {verb} the {foe} in the {place}?"
        for verb in ("destroy", "kill", "shoot")
        for foe in ("enemy king", "final dragon", "zombies", "robots")
        for place in ("game", "film")
    ]
    written = base.engine.complete_many([base.prompt(Sample(text)) for text in texts], Decoding(120, look=False))
    begun = [read(base.folder.protocol, told, has_response=False)[0] for _, told in written]
    own = {text: said.reasoning[:-1] for text, said in zip(texts, begun, strict=True) if said is not None}
    texts = list(own)
    rows = [
        TrainRow(RowForm.REASONED, Sample(text), Side.labelled(label), Side(ABSENT), (*own[text], *ending))
        for text in texts
        for label, ending in ((HARMFUL, SAYS_SEVERE), (UNHARMFUL, SAYS_NONE))
    ]
    right = [each.right for each in base.score(rows)]
    sure = {text: min(right[2 * at : 2 * at + 2]) for at, text in enumerate(texts)}
    best = max(sure, key=lambda text: sure[text])
    assert sure[best] > 0.5
    return Sample(best)


def quotes(text: str) -> tuple[str, ...]:
    """How the guard's reasoning begins."""
    return (f'The user writes "{" ".join(text.split()[:8])}".',)


def example(request: str, label: Label, response: Label = ABSENT) -> Example:
    sample = Sample(request, None if response is ABSENT else "Yes.")
    return Example(sample, Assessment(label, response), ReasoningFrom.MISSING)


def prompt_of(sample: Sample, steps: Sequence[str]) -> Prompt:
    return Prompt(sample, (), tuple(steps))


@dataclass
class Written:
    """Answers that are written down in the test, one after the other for each request."""

    answers: dict[str, list[Assessment | str]]
    asked: list[tuple[Prompt, Decoding]] = field(default_factory=list)
    protocol: Protocol = PROTOCOL

    def complete_many(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[tuple[None, Completion]]:
        done: list[tuple[None, Completion]] = []
        for prompt in prompts:
            self.asked.append((prompt, decoding))
            waiting = self.answers[prompt.sample.request]
            said = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            text = said if isinstance(said, str) else render_target(PROTOCOL, said)
            reasoning, _, answer = text.partition(PROTOCOL.think_close)
            reasoning = reasoning.removeprefix(PROTOCOL.think_open).strip()
            stop, unknown = FinishReason.STOP, HarmProbability()
            done.append((None, Completion(text, reasoning, answer, (), 10, stop, None, 0.0, unknown)))
        return done


def says(label: Label, *steps: str) -> Assessment:
    return Assessment(label, ABSENT, reasoning=steps or ("It asks for soup.",))


# -- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (says(HARMFUL), None),
        (says(UNHARMFUL), "other labels"),
        (None, "could not be read"),
        (Assessment(HARMFUL, ABSENT), "0 steps"),
        (says(HARMFUL, *["one more"] * 11), "11 steps"),
        (says(HARMFUL, "The request is harmless."), "concludes the opposite"),
    ],
)
def test_reasoning_is_kept_only_when_it_can_be_read_and_ends_in_the_labels(
    said: Assessment | None, why: str | None
) -> None:
    assert synthesise.refusal(said, None if said else "no block", Assessment(HARMFUL, ABSENT)) == why


def test_an_unlabelled_side_may_end_in_anything() -> None:
    said = Assessment(HARMFUL, UNHARMFUL, reasoning=("It asks.",))
    assert synthesise.refusal(said, None, Assessment(UNLABELLED, UNHARMFUL)) is None
    assert synthesise.refusal(said, None, Assessment(UNLABELLED, HARMFUL)) == "other labels"


def test_doubtful_steps_are_kept_where_the_guard_writes_the_label_after_them(base: Base, unsure: Sample) -> None:
    doubtful = [
        Example(unsure, Assessment(label, ABSENT), ReasoningFrom.MISSING, (*quotes(unsure.request), *steps))
        for steps in (SAYS_SEVERE, SAYS_NONE)
        for label in (HARMFUL, UNHARMFUL)
    ]
    prompts = [base.prompt(unsure, each.doubtful) for each in doubtful]
    written = [told.probability.request for _, told in base.engine.complete_many(prompts, Decoding(30, look=False))]
    found = synthesise.agrees(base.score, doubtful)
    for each, after, p in zip(doubtful, found, written, strict=True):
        assert p is not None
        assert (after.source is ReasoningFrom.MODEL) == ((p >= 0.5) == (each.assessment.request is HARMFUL))
        assert after.assessment.reasoning == (each.doubtful if after.source is ReasoningFrom.MODEL else ())
    assert {each.source for each in found} == {ReasoningFrom.MODEL, ReasoningFrom.MISSING}


# -- the guard as teacher ---------------------------------------------------------------------------------------------


def test_the_guard_finds_reasoning_that_ends_in_labels_it_would_not_have_given(base: Base, unsure: Sample) -> None:
    """The first steps stay its own; the ending is one that it wrote elsewhere, and the true label follows from it."""
    wrong = [example(unsure.request, HARMFUL), example(unsure.request, UNHARMFUL)]
    made, tally = synthesise.guard_writes(
        base.engine, base.folder.protocol, base.prompt, wrong, longest=120, tries=0, seed=0,
        known=[SAYS_SEVERE, SAYS_NONE], score=base.score,
    )  # fmt: skip
    assert (tally.asked, tally.kept, sum(tally.refused.values())) == (2, 2, 0)
    assert tally.tokens > 10
    assert all(each.source is ReasoningFrom.TEACHER for each in made)
    assert made[0].assessment.reasoning[:-1] == made[1].assessment.reasoning[:-1]
    assert made[0].assessment.reasoning[-1] != made[1].assessment.reasoning[-1]
    for each in made:
        prompt = base.prompt(each.sample, each.assessment.reasoning)
        (_, told), *_ = base.engine.complete_many([prompt], Decoding(40, look=False))
        said, _ = read(base.folder.protocol, told, has_response=False)
        assert said is not None
        assert said.request is each.assessment.request


def test_a_row_that_no_ending_fits_stays_without_reasoning_and_is_counted(base: Base) -> None:
    made, tally = synthesise.guard_writes(
        base.engine, base.folder.protocol, base.prompt, [example("How do I bake bread?", HARMFUL)],
        longest=120, tries=0, seed=0, known=[SAYS_NONE], score=base.score,
    )  # fmt: skip
    assert made[0].source is ReasoningFrom.MISSING
    assert made[0].assessment.reasoning == ()
    assert (tally.kept, dict(tally.refused)) == (0, {"other labels": 1})


def test_endings_are_drawn_from_ever_further_back_until_the_tries_are_spent() -> None:
    own = says(UNHARMFUL, "It asks.", "For soup.", "So it is fine.")
    engine = Written({"soup": [own], "cake": [own, *[own] * 5, says(HARMFUL, "It asks.", "Drawn.")]})
    told: list[int] = []
    made, tally = synthesise.guard_writes(
        engine, PROTOCOL, prompt_of, [example("soup", HARMFUL), example("cake", HARMFUL)],
        longest=100, tries=20, seed=0, tell=lambda tally: told.append(tally.kept),
    )  # fmt: skip
    begun = [len(prompt.steps) for prompt, _ in engine.asked if prompt.sample.request == "soup"]
    assert begun == [0, *[2] * 16, *[1] * 4]
    assert made[0].source is ReasoningFrom.MISSING
    assert made[1].assessment.reasoning == ("It asks.", "Drawn.")
    assert (tally.kept, dict(tally.refused), told) == (1, {"other labels": 1}, [1])
    assert tally.tokens == 10 * len(engine.asked)
    warmth = [decoding.temperature for prompt, decoding in engine.asked if prompt.sample.request == "soup"]
    assert warmth[0] == 0
    assert warmth[1:17] == sorted(warmth[1:17])


def test_reasoning_that_is_there_is_never_written_anew() -> None:
    corrected = example("soup", HARMFUL).with_steps(("Mine.",), ReasoningFrom.PERSON)
    made, tally = synthesise.guard_writes(
        Written({}), PROTOCOL, prompt_of, [corrected], longest=100, tries=4, seed=0
    )  # fmt: skip
    assert made == [corrected]
    assert tally.asked == 0


def test_endings_are_what_the_guard_wrote_more_than_once() -> None:
    def row(*steps: str) -> TrainRow:
        return TrainRow(RowForm.REASONED, Sample("a"), Side(HARMFUL, 1.0), Side(ABSENT), steps)

    found = synthesise.endings([row("a", "b", "end"), row("c", "b", "end"), row("c", "once"), row("end")])
    assert found == [("end",), ("b", "end")]


# -- a server as teacher ----------------------------------------------------------------------------------------------


def test_a_server_is_told_the_labels_and_what_it_writes_is_checked() -> None:
    spoken: list[Protocol] = []
    server = Written({
        "soup": ["no answer", says(HARMFUL, "It sells vouchers.", "The request is harmful.")],
        "cake": [says(UNHARMFUL)],
        "rice": [says(UNHARMFUL, "The request is harmless.")],
    })  # fmt: skip

    def connect(protocol: Protocol) -> Written:
        spoken.append(protocol)
        return server

    wanted = [example("soup", HARMFUL), example("cake", HARMFUL), example("rice", UNHARMFUL)]
    made, tally = synthesise.server_writes(connect, PROTOCOL, prompt_of, wanted, longest=100, tries=2, seed=0)
    assert [each.source for each in made] == [
        ReasoningFrom.TEACHER, ReasoningFrom.MISSING, ReasoningFrom.TEACHER,
    ]  # fmt: skip
    assert (tally.asked, tally.kept, dict(tally.refused)) == (3, 2, {"other labels": 1})
    assert ["the request is harmful" in each.system for each in spoken] == [True, False]
    assert "the request is unharmful" in spoken[1].system
    for protocol in spoken:
        shown = protocol.system[protocol.system.index("<think>\n1.") :]
        assert parse_completion(protocol, *split_completion(protocol, shown)).response is ABSENT


def test_the_teachers_address_is_checked() -> None:
    assert teacher_server({}) is None
    assert teacher_server({"teacher": {"url": "http://127.0.0.1:8000/v1"}}) == ("http://127.0.0.1:8000/v1", None)
    for wrong in ("http://x", {"model": "m"}, {"url": "u", "temperature": 1}):
        with pytest.raises(JobError, match="takes the texts url and model"):
            teacher_server({"teacher": wrong})


# -- replay -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts(base: Base) -> list[Sample]:
    return replay.replay_texts(base, 24, seed=1)


def test_the_guard_writes_texts_of_many_kinds_itself_and_they_hold_no_control_token(
    base: Base, texts: list[Sample]
) -> None:
    assert len({each.id for each in texts}) == 24
    assert replay.replay_texts(base, 24, seed=1) == texts
    assert replay.replay_texts(base, 24, seed=2) != texts
    for each in texts[:12]:
        ids = base.engine.tokenizer.encode(each.request, add_special_tokens=False)
        assert not set(ids) & set(base.prompts.controls.values())
        assert base.folder.protocol.response_header not in each.request


def test_replayed_rows_hold_what_the_base_says_and_cost_it_nothing(base: Base, texts: list[Sample]) -> None:
    rows = replay.replay_rows(base, texts, reasoned=0.5)
    assert len(rows) == 24
    assert all(row.replayed for row in rows)
    assert 4 <= sum(row.form is RowForm.REASONED for row in rows) <= 12
    looks = base.first_looks([row.sample for row in rows if row.form is RowForm.FIRST_LOOK])
    kept = [row for row in rows if row.form is RowForm.FIRST_LOOK]
    for row, looked in zip(kept, looks, strict=True):
        assert row.request.p_harmful == pytest.approx(looked.request, abs=1e-4)
        assert row.response.written is (ABSENT if row.sample.response is None else row.response.written)


def test_what_is_of_no_use_as_a_text_is_left_out(base: Base) -> None:
    ids: Callable[[str], list[int]] = base.prompts.plain_ids
    protocol = base.folder.protocol
    asked = ids(f"How do I bake bread?{protocol.response_header}{protocol.no_response}\n")
    assert replay.read_writing(base.prompts, asked) == Sample("How do I bake bread?")
    told = ids(f"How do I bake bread?{protocol.response_header}In the oven.\n\nmore")
    assert replay.read_writing(base.prompts, told) == Sample("How do I bake bread?", "In the oven.")
    assert replay.read_writing(base.prompts, [*ids("How are"), base.end_id, *ids(" you all?")]) is None


@pytest.mark.parametrize("own", [True, False])
def test_a_real_server_is_asked_and_what_cannot_be_read_is_refused(
    base: Base,
    serve: Callable[..., AbstractContextManager[Server]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own: bool,
) -> None:
    """A tiny random model writes nonsense: everything is refused, and no disk and no other server gets the key."""
    settings = check_settings(resolve(find_recipe("sft-builtin")))
    with serve() as server:
        monkeypatch.setenv("GUARDROOM_ENGINE_URL", server.url if own else "http://127.0.0.1:9/v1")
        monkeypatch.setenv("GUARDROOM_ENGINE_KEY", "a-secret-key")
        spec = JobSpec(JobKind.SFT, "a job", options={"teacher": {"url": server.url}})
        run = RunFolder.create(tmp_path / "runs", spec, 1)
        context = JobContext(run, spec, run.status(), secrets={"engine_key": "a-secret-key"})
        wanted = [example("How do I bake bread?", HARMFUL)]
        made, tally = fill_in(context, settings, base, wanted, (), lambda tally: None)
    assert made[0].source is ReasoningFrom.MISSING
    assert (tally.asked, tally.kept, sum(tally.refused.values())) == (1, 0, 1)
    assert tally.tokens > 0
    assert set(server.seen.authorizations) == {"Bearer a-secret-key" if own else None}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"a-secret-key" in path.read_bytes()]
    assert not (run.path / "teacher.toml").exists()
