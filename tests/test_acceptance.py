"""The whole product in one test: a house policy that the built-in guard cannot know is taught to it and taken back.

A real Chromium drives the real app on a CPU. Families of samples (`tests.families`) of which the guard gets at least
half wrong are moderated, reported and reviewed; a snapshot is frozen, a training launched with the shipped recipe and
watched, its checkpoint and the built-in guard evaluated, promoted, tried and rolled back. Alone:

    python -m pytest tests/test_acceptance.py

`BY_PAGE` members of each family are moderated, reported and reviewed on the page, by keyboard; about pictures
the reviewers write down what they read, because the guard reads badly. The others go through the named API (/moderate,
/report, /claim, /submit), and so do the answers about unseen members before the training, after the promotion and after
the rollback: on the page they would take most of the time and show nothing new. Everything from the snapshot to the
rollback is done on the page.

"Wrong" is by the label that the guard states for the request, not by the decision at its thresholds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gradio_client import Client, handle_file

from core.checkpoints.registry import Registry
from core.evaluation.metrics import Confusion
from core.snapshots.folder import USED, read
from core.types import Label
from tests.browser import READY, copied, drop, judge, shoot, write
from tests.conftest import SUMMARY
from tests.families import MEMBERS, SEED, Family, Member, families
from tests.jobs import finish
from tests.running import ROOT, Running, has_weights, running
from train_jobs.launching.launcher import Launcher
from train_jobs.recipes.files import find_recipe
from train_jobs.runs.folder import RunFolder, list_runs
from train_jobs.runs.specs import JobKind

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.skipif(not has_weights(), reason="the built-in guard is not trained")

BY_PAGE = 2
JOB_MS = 1_800_000
"""For a training and an evaluation on a machine that has other things to do."""
MOST_LOST_F1 = 0.02
LEAST_RIGHT = 16
"""Of 20 unseen members of each family."""
BENCHMARKS = ROOT.parent / "shared" / "benchmarks"
GENERAL = (
    "openai_moderation", "harmbench_prompt", "simple_safety_tests", "xstest", "strongreject", "jailbreakbench_harmful",
    "hatecheck", "everyday", "cyberseceval_frr",
)  # fmt: skip
"""Evaluation files of texts whose requests are labelled."""
ROWS_A_FILE = 120
"""Drawn by the evaluation's seed; 1,040 rows of the files above in all."""
UNSEEN, ALIKE = "house-unseen", "house-alike"
"""Evaluation files of this test: unseen members, and what resembles them within the other label."""
TIMES = ("id", "created_at", "ttft_ms", "latency_ms")
"""What two equal answers differ in."""
Json = dict[str, Any]


@dataclass(slots=True)
class Diary:
    """What was seen, with the time since the beginning: printed at once, also where pytest keeps what tests print, and
    again at the end of the run, because a process of pytest-xdist has nowhere to print to."""

    capsys: pytest.CaptureFixture[str]
    keep: Callable[[str, object], None]
    began: float = field(default_factory=time.monotonic)

    def note(self, words: str) -> None:
        line = f"[{time.monotonic() - self.began:6.1f} s] {words}"
        self.keep(SUMMARY, line)
        with self.capsys.disabled():
            print(f"\n{line}", end="", flush=True)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("acceptance") / "data"
    with running(data, checkpoint="builtin") as app:
        yield app
    finish(Launcher(data / "runs"))  # a job goes on without the app


def test_a_house_policy_is_reported_reviewed_trained_evaluated_promoted_and_rolled_back(
    page: Page,
    app: Running,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    diary = Diary(capsys, record_property)
    client = Client(app.url, verbose=False)
    every = families()
    recipe = find_recipe("sft-builtin").settings
    diary.note(f"families of seed {SEED}, recipe sft-builtin of seed {recipe.seed}")

    # People meet the guard's mistakes and report them.
    known: dict[str, tuple[Family, Member]] = {}
    """What is to be reviewed, by sample id."""
    for family in every:
        wrong = 0
        for at, member in enumerate(family.seen):
            verdict = _report(page, member, family, tmp_path) if at < BY_PAGE else _call(client, member, tmp_path)
            if at >= BY_PAGE:
                client.predict(verdict["id"], family.policy, "visitor", api_name="/report")
            known[verdict["sample_id"]] = family, member
            wrong += verdict["request"]["label"] != family.truth
        diary.note(f"{family.name}: {wrong} of {MEMBERS} wrong before, {MEMBERS} moderated and reported")
        assert family.known or wrong * 2 >= MEMBERS, (
            f"The built-in guard already gets {MEMBERS - wrong} of {MEMBERS} of {family.name!r} right, so there is "
            "nothing to teach it; choose another family in tests/families.py."
        )
    before = _answers(client, every, tmp_path)
    _tell(diary, "unseen before", every, before)

    # Reviewers label them.
    for family in every:
        for _ in range(MEMBERS - BY_PAGE):
            held = client.predict("ann", "reported", None, None, family.words, api_name="/claim")["claim"]
            of, member = known[held["sample"]["id"]]
            label = {"request": of.truth, "response": None, "note": of.policy, "reasoning": of.steps(member)}
            client.predict(held["token"], label, api_name="/submit")
    reviewed = _review_the_rest(page, known)
    diary.note(f"{len(known)} reviewed, {reviewed} of them on the page")

    # The owner freezes them and trains.
    _freeze(page)
    for family in every:
        shares = _shares(app, [id for id, (of, _) in known.items() if of is family])
        diary.note(f"snapshot, {family.name}: " + ", ".join(f"{split} {count}" for split, count in shares.items()))
        assert sum(shares.values()) == MEMBERS
    words = _train(page)
    run = next(run for run in list_runs(app.data / "runs") if run.spec().kind is JobKind.SFT)
    trained = run.report() or {}
    diary.note(f"trained, {len(words)} states of the page seen, the last {words[-1]!r}")
    diary.note(f"training: {trained['seconds']} s, {json.dumps(trained['figures'])}, {json.dumps(trained['data'])}")

    # Both guards are evaluated, and the new one goes live.
    candidate = Registry(app.data).cards()[0].id
    files = _house_files(every, tmp_path)
    general = [path for name in GENERAL if (path := BENCHMARKS / f"{name}.jsonl").is_file()]
    if len(general) < len(GENERAL):
        diary.note(f"general F1: left out, because the evaluation files are not all in {BENCHMARKS}")
        general = []
    _evaluate(page, [*files, *general], candidate)
    old, new = _reports(app, candidate)
    for family in every:
        for name in (UNSEEN, ALIKE):
            was_right, is_right = (_right(report, name, family) for report in (old, new))
            diary.note(f"evaluated, {name} {family.name}: {was_right} of {MEMBERS} right before, {is_right} after")
    lost = None
    if general:
        was, now = _general(old), _general(new)
        assert was.labelled == now.labelled >= 1000
        assert was.f1 is not None
        assert now.f1 is not None
        lost = was.f1 - now.f1
        diary.note(
            f"general F1 over {was.labelled:,} rows: {was.f1:.4f} before, {now.f1:.4f} after ({-lost:+.4f}); "
            f"recall {was.recall:.4f} and {now.recall:.4f}, false alarms {was.false_alarm_rate:.4f} and "
            f"{now.false_alarm_rate:.4f}"
        )
    gate = _promote(page, candidate)
    diary.note(f"promoted {candidate}; the gate: {gate}")
    after = _answers(client, every, tmp_path)
    _tell(diary, "unseen after", every, after)
    assert {answer["checkpoint_id"] for answers in after.values() for answer in answers} == {candidate}

    # And back.
    _roll_back(page)
    again = _answers(client, every, tmp_path)
    same = sum(
        _lasting(one) == _lasting(other)
        for family in every
        for one, other in zip(before[family.name], again[family.name], strict=True)
    )
    diary.note(f"rolled back: {same} of {len(every) * MEMBERS} answers about unseen members as before, word for word")
    diary.note("done")

    assert same == len(every) * MEMBERS
    for family in (each for each in every if not each.known):
        assert _count_right(family, after[family.name]) >= LEAST_RIGHT, family.name
    if lost is None:
        pytest.skip(f"all held but the general F1, which was not measured: {BENCHMARKS} lacks evaluation files")
    assert lost <= MOST_LOST_F1


# -- moderating -----------------------------------------------------------------------------------------------------


def _report(page: Page, member: Member, family: Family, folder: Path) -> Json:
    """Moderate on the page, and say that the verdict is wrong."""
    page.get_by_role("tab", name="Moderate").click()
    if page.locator("#gr-box .delete-button").count():
        page.locator("#gr-box .delete-button").click()
        page.wait_for_selector("#gr-preview .gr-figure", state="hidden")
    write(page, member.request)
    if member.drawn:
        drop(page, member.draw(folder))
    judge(page)
    verdict = copied(page)
    page.click("#gr-wrong")
    page.locator("#gr-note textarea").fill(family.policy)
    page.click("#gr-send")
    page.wait_for_selector("#gr-said [data-kind=good]")
    shoot(page, "acceptance-report")
    return verdict


def _call(client: Client, member: Member, folder: Path) -> Json:
    """Moderate through the API."""
    media = handle_file(str(member.draw(folder))) if member.drawn else None
    verdict: Json = client.predict(member.request, None, media, api_name="/moderate")
    return verdict


def _answers(client: Client, every: Sequence[Family], folder: Path) -> dict[str, list[Json]]:
    return {family.name: [_call(client, member, folder) for member in family.unseen] for family in every}


def _count_right(family: Family, answers: Sequence[Json]) -> int:
    return sum(answer["request"]["label"] == family.truth for answer in answers)


def _tell(diary: Diary, when: str, every: Sequence[Family], answers: Mapping[str, Sequence[Json]]) -> None:
    said = ", ".join(f"{family.name} {_count_right(family, answers[family.name])}" for family in every)
    diary.note(f"{when}, right of {MEMBERS}: {said}")


def _lasting(answer: Json) -> Json:
    return {key: value for key, value in answer.items() if key not in TIMES}


# -- reviewing ------------------------------------------------------------------------------------------------------


def _review_the_rest(page: Page, known: Mapping[str, tuple[Family, Member]]) -> int:
    """Label what still waits, by keyboard alone; how many there were.

    The reasoning about pictures is corrected: what the guard has read is mostly not what they show.
    """
    page.get_by_role("tab", name="Review").click()
    page.wait_for_selector(".gr-r-why")
    done = 0
    while not page.is_visible(".gr-r-empty") and (item := page.get_attribute(".gr-r-why", "data-item")) in known:
        family, member = known[str(item)]
        keys = [family.truth.value[0], "Enter"]  # h or u
        if steps := family.steps(member):
            page.keyboard.press("1")
            page.wait_for_function("() => document.querySelector('#gr-r-reasoning textarea').value.includes('1. ')")
            page.keyboard.press("e")
            page.keyboard.press("Control+A")
            page.keyboard.type("\n".join(f"{at}. {step}" for at, step in enumerate(steps, 1)))
            page.wait_for_selector(".gr-r-diff")
            page.keyboard.press("Escape")
            keys[-1] = "Control+Enter"
            shoot(page, "acceptance-review")
        for key in keys:
            page.keyboard.press(key)
        page.wait_for_function(
            "(before) => document.querySelector('#gr-r-empty h2')?.checkVisibility()"
            " || document.querySelector('.gr-r-why')?.dataset.item !== before",
            arg=item,
        )
        done += 1
    return done


# -- training -------------------------------------------------------------------------------------------------------


def _freeze(page: Page) -> None:
    """Freeze a snapshot in the Train tab."""
    page.get_by_role("tab", name="Train").click()
    page.wait_for_selector("#gr-t-empty h2")
    page.fill("#gr-t-freeze-name textarea, #gr-t-freeze-name input", "house policy")
    page.click("#gr-t-freeze")
    page.wait_for_selector(".gr-t-counts")


def _shares(app: Running, ids: Sequence[str]) -> dict[str, int]:
    """How many of these samples are in which split of the only snapshot."""
    [manifest] = (app.data / "snapshots").glob("*/manifest.json")
    snapshot = read(manifest.parent)
    return {split.value: sum(row.sample.id in ids for row in snapshot.rows(split)) for split in USED}


def _train(page: Page) -> list[str]:
    """Start the shipped recipe and watch it to its end; the different things that the page said of it."""
    page.fill("#gr-t-name textarea, #gr-t-name input", "House policy")
    page.wait_for_selector("#gr-t-command >> text=sft-builtin")
    page.click("#gr-t-start")
    page.wait_for_selector(".gr-t-run[data-state=running]", timeout=JOB_MS)
    page.wait_for_selector("figure[data-known=true] >> text=Loss", timeout=JOB_MS)
    shoot(page, "acceptance-train")
    said: dict[str, None] = {}
    deadline = time.monotonic() + JOB_MS / 1000
    while page.get_attribute(".gr-t-run", "data-state") == "running":
        assert time.monotonic() < deadline
        said[" ".join(page.inner_text(".gr-t-run").split())] = None
        page.wait_for_timeout(500)
    page.wait_for_selector(".gr-t-run[data-state=succeeded]")
    shoot(page, "acceptance-trained")
    return [*said, " ".join(page.inner_text(".gr-t-run").split())]


# -- evaluating -----------------------------------------------------------------------------------------------------


def _house_files(every: Sequence[Family], folder: Path) -> list[Path]:
    """The unseen members and their look-alikes as evaluation files; the category is the family."""
    paths = []
    for name in (UNSEEN, ALIKE):
        rows = []
        for family in every:
            other = Label.UNHARMFUL if family.truth is Label.HARMFUL else Label.HARMFUL
            truth, members = (family.truth, family.unseen) if name == UNSEEN else (other, family.alike)
            for at, member in enumerate(members):
                row = {"id": f"{family.name} {at}", "request": member.request, "request_label": truth}
                media = {"media": member.draw(folder).name} if member.drawn else {}
                rows.append(row | media | {"category": family.name})
        paths.append(folder / f"{name}.jsonl")
        paths[-1].write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return paths


def _evaluate(page: Page, files: Sequence[Path], candidate: str) -> None:
    """Evaluate the built-in guard and the new checkpoint on the same rows."""
    page.get_by_role("tab", name="Evaluate").click()
    page.wait_for_selector("#gr-e-paths textarea")
    page.locator("#gr-e-paths textarea").fill("\n".join(map(str, files)))
    page.locator("#gr-e-paths textarea").blur()
    page.wait_for_selector("#gr-e-seen table")
    page.locator("#gr-e-limit input").fill(str(ROWS_A_FILE))
    page.locator("#gr-e-limit input").press("Enter")
    page.click("#gr-e-start")
    page.wait_for_selector("#gr-e-list tr[data-state]")
    page.locator("#gr-e-checkpoint input").click()
    page.get_by_role("option").filter(has_text=candidate).first.click()
    page.click("#gr-e-start")
    page.wait_for_selector("#gr-e-list tr[data-state=succeeded] >> nth=1", timeout=JOB_MS)
    shoot(page, "acceptance-evaluated")


def _reports(app: Running, candidate: str) -> tuple[Json, Json]:
    """Of the built-in guard, and of the new checkpoint."""
    runs: list[RunFolder] = [run for run in list_runs(app.data / "runs") if run.spec().kind is JobKind.EVALUATE]
    reports = {report["checkpoint"]["id"] == candidate: report for run in runs if (report := run.report())}
    return reports[False], reports[True]


def _right(report: Json, name: str, family: Family) -> int:
    [found] = [each for each in report["sets"] if each["name"] == name]
    counted = Confusion(**found["by_category"][family.name]["confusion"])
    return counted.hits + counted.passes


def _general(report: Json) -> Confusion:
    """The requests of all evaluation files together."""
    sides = [each["sides"]["request"] for each in report["sets"] if each["name"] not in (UNSEEN, ALIKE)]
    return sum((Confusion(**side["confusion"]) for side in sides), Confusion())


# -- promoting ------------------------------------------------------------------------------------------------------


def _promote(page: Page, candidate: str) -> str:
    """Let the checkpoint go live, with a reason, because so few rows are held out; what the gate said."""
    page.locator("#gr-e-tabs").get_by_role("tab", name="Promote").click()
    page.wait_for_selector("#gr-e-gate [data-outcome]")
    said = page.inner_text("#gr-e-gate")
    page.locator("#gr-e-reason textarea, #gr-e-reason input").fill("It knows the house policy now.")
    shoot(page, "acceptance-promote")
    page.click("#gr-e-go")
    page.wait_for_selector("#gr-e-events tr[data-event=promote]")
    page.wait_for_function("(id) => document.querySelector('.gr-status').textContent.includes(id)", arg=candidate)
    page.wait_for_selector(READY)
    return " ".join(said.split())


def _roll_back(page: Page) -> None:
    page.click("#gr-e-back")
    page.wait_for_selector("#gr-e-events tr[data-event=rollback]")
    page.wait_for_function("() => document.querySelector('.gr-status').textContent.includes('builtin')")
    page.wait_for_selector(READY)
    shoot(page, "acceptance-rolled-back")
