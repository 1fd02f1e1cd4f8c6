"""What a policy is trained on by reinforcement: the samples that it gets wrong, and pairs of them joined; frozen.

The rows are found once for a run, by the policy that will be trained, and lie in the run folder from then on: a resumed
run trains on the same.

rollouts/mined.jsonl    what the policy answered about each sample, appended while mining goes on
rollouts/hard.jsonl     the rows that are trained on
rollouts/media/ab/…     pictures that were made of several
rollouts/mining.json    counts; written last
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import GuardroomError, InputError, JobError
from core.files import replace_file
from core.journal import append_lines, read_lines
from core.judging.guard import Guard
from core.media import images
from core.media.identify import HEAD_BYTES, identify
from core.media.store import MediaStore
from core.media.vision import DecodedMedia
from core.mining.generations import sample_generations
from core.mining.rules import Answer, is_labelled, judge
from core.snapshots.folder import Snapshot, Split
from core.types import Label, MediaRef, Sample
from train_jobs.recipes.grpo import GrpoSettings, MiningSettings
from train_jobs.rules.augment import Geometry, HardRow, choose_pairs, join, joined_count, merge_pictures
from train_jobs.runs.files import pretty
from train_jobs.runs.folder import RunFolder
from train_jobs.training.base import Base
from train_jobs.training.dataset import Example, read_examples
from train_jobs.training.saving import shape_of

if TYPE_CHECKING:
    from train_jobs.runs.context import JobContext

MINED, HARD, FACTS, MEDIA = "mined.jsonl", "hard.jsonl", "mining.json", "media"
"""Among the rollouts."""
SPARE_PAIRS = 4
"""Pairs that are drawn for every joined row that is wanted: some are too long."""


@dataclass(frozen=True, slots=True)
class HardSet:
    """The rows of a run."""

    rows: tuple[HardRow, ...]
    facts: Mapping[str, Any]
    """Counts for the page and the report."""


@dataclass(frozen=True, slots=True)
class Mined:
    """One sample as the policy answered it before the training."""

    sample_id: str
    modality: str
    answers: tuple[Answer | None, ...]
    """None for each that could not be read."""
    wrong: int | None
    """How many of them; none where there are none."""
    kept: bool
    error: str | None = None
    """Why it could not be judged."""

    def to_json(self) -> dict[str, Any]:
        """A line of `mined.jsonl`."""
        return {
            "sample_id": self.sample_id,
            "modality": self.modality,
            "answers": [None if each is None else [side.value for side in each] for each in self.answers],
            "wrong": self.wrong,
            "kept": self.kept,
            "error": self.error,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Mined:
        """What `to_json` wrote."""
        answers = tuple(None if each is None else (Label(each[0]), Label(each[1])) for each in value["answers"])
        return cls(value["sample_id"], value["modality"], answers, value["wrong"], value["kept"], value["error"])


class HardMedia:
    """Decodes the media of a run's rows: those of the snapshot, and those that were made here."""

    def __init__(self, run: RunFolder, base: Base) -> None:
        self._base = base
        self.made = MediaStore(run.rollouts / MEDIA, base.reader.limits, base.reader)

    def __call__(self, ref: MediaRef) -> DecodedMedia:
        """Pixels as the recipe wants them.

        Raises:
            MediaError: the medium is not there, was changed, or cannot be decoded.
        """
        if (self.made.root / ref.digest[:2] / ref.digest).is_file():
            assert self._base.prompts.vision is not None
            return self.made.decode(ref, self._base.prompts.preprocessing, self._base.prompts.vision, max_windows=1)
        return self._base.decode(ref)

    def merge(self, pictures: Sequence[MediaRef], geometry: Geometry) -> MediaRef | None:
        """A stored picture made of several of the snapshot; none where they stay apart.

        Raises:
            MediaError: one of them cannot be read.
        """
        from PIL import Image

        if geometry is Geometry.APART:
            return None
        merged = merge_pictures([self._whole(ref) for ref in pictures], geometry)
        if merged is None:
            return None
        with tempfile.TemporaryDirectory(dir=self.made.root) as folder:
            path = Path(folder) / "merged.png"
            Image.fromarray(merged).save(path)
            return self.made.accept(path)

    def _whole(self, ref: MediaRef) -> Any:
        assert self._base.snapshot is not None
        path = self._base.snapshot.media_path(ref)
        with path.open("rb") as file:
            kind = identify(file.read(HEAD_BYTES))
        return images.read_still(path, kind, self.made.limits.max_image_pixels)[0]


def prepare(context: JobContext, settings: GrpoSettings, base: Base, snapshot: Snapshot) -> HardSet:
    """Mine, join and freeze; or take what an earlier attempt of this run has frozen.

    Of several processes the first does it, and the others wait for what it has frozen.

    Raises:
        JobError: nothing is left to train on; the message says what to change.
        Cancelled: it was stopped; what was mined so far is kept.
    """
    run = context.run
    if (frozen := read_hard(run)) is not None:
        if not frozen.rows:
            raise JobError("All samples that this run trained on were deleted; start another run.")
        return frozen
    if context.process:
        return context.await_first(lambda: read_hard(run))
    longest = longest_prompt(settings, base)
    labelled = read_examples(snapshot, Split.TRAIN)
    examples = usable(settings, base, labelled)
    if not examples:
        raise JobError(
            f"The snapshot {snapshot.manifest.name!r} has no labelled training sample that fits into {longest:,} "
            f"tokens ({len(labelled)} are longer, or of a kind that the checkpoint does not read)."
        )
    mined = mine(context, settings, base, examples)
    kept = [each for each, found in zip(examples, mined, strict=True) if found.kept]
    rows = [HardRow(each.sample, each.assessment.request, each.assessment.response) for each in kept]
    if not rows:
        raise JobError(_nothing_kept(settings, mined))
    context.progress(0, 1, "joining hard samples")
    joined = join_pairs(rows, settings, base, HardMedia(run, base), longest)
    facts = _facts(settings, labelled, examples, mined, joined)
    replace_file(
        run.rollouts / HARD, b"".join(row.to_json().encode() + b"\n" for row in (*rows, *joined)), durable=True
    )
    replace_file(run.rollouts / FACTS, pretty(facts), durable=True)
    return HardSet((*rows, *joined), facts)


def read_hard(run: RunFolder) -> HardSet | None:
    """The frozen rows of a run; none while they are not complete.

    Raises:
        JobError: they are damaged.
    """
    folder = run.path / "rollouts"
    if not (folder / FACTS).is_file():
        return None
    try:
        rows = [HardRow.from_json(line) for line in (folder / HARD).read_text(encoding="utf-8").split("\n") if line]
        return HardSet(tuple(rows), json.loads((folder / FACTS).read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JobError(f"The frozen rows of {run.id} cannot be read ({error}); start another run.") from None


def read_mined(run: RunFolder) -> list[Mined]:
    """What the policy answered before the training, so far.

    Raises:
        JobError: it is damaged.
    """
    try:
        return [Mined.from_json(value) for value in read_lines(run.path / "rollouts" / MINED)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JobError(f"What {run.id} mined cannot be read ({error}).") from None


def longest_prompt(settings: GrpoSettings, base: Base) -> int:
    """Tokens of a prompt at most: the recipe's, or what the checkpoint's context leaves beside a completion.

    Raises:
        JobError: the context has no room for a completion of the recipe.
    """
    context = base.folder.info.context_tokens
    room = min(settings.longest_prompt, context - settings.longest_completion)
    if room < 64:
        raise JobError(
            f"The recipe's longest_completion of {settings.longest_completion:,} tokens leaves no room for a prompt in "
            f"the checkpoint's context of {context:,}; take a shorter one."
        )
    return room


def usable(settings: GrpoSettings, base: Base, examples: Sequence[Example]) -> list[Example]:
    """Those whose media the checkpoint reads and whose prompt leaves room for a completion.

    Raises:
        JobError: as `longest_prompt`.
    """
    longest = longest_prompt(settings, base)
    return [each for each in examples if _fits(base, each.sample, longest)]


def _fits(base: Base, sample: Sample, longest: int) -> bool:
    try:
        return _tokens(base, sample) <= longest
    except InputError:  # the checkpoint does not read such media
        return False


def _tokens(base: Base, sample: Sample) -> int:
    return base.prompts.count(sample, [shape_of(ref, base.prompts.preprocessing) for ref in sample.media])


def _alike_together(base: Base, examples: Sequence[Example]) -> list[Example]:
    """Long prompts beside long ones, so that little is padded; the longest first, as a lack of memory shows early."""
    return sorted(examples, key=lambda each: -_tokens(base, each.sample))


# -- mining -----------------------------------------------------------------------------------------------------------


def mine(context: JobContext, settings: GrpoSettings, base: Base, examples: Sequence[Example]) -> list[Mined]:
    """Judge each sample by several sampled generations; one entry each, in order (arXiv 2602.03328).

    Raises:
        Cancelled: it was stopped; a resumed run goes on with the others.
    """
    from core.engines.transformers_engine import BATCH_ROWS

    given = settings.mining
    if given.keep_rule is None:
        return [Mined(each.sample.id, each.sample.modality.value, (), None, True) for each in examples]
    done = {each.sample_id: each for each in read_mined(context.run)}
    left = _alike_together(base, [each for each in examples if each.sample.id not in done])
    at_once = max(1, BATCH_ROWS // given.n)  # what the engine generates in one go: the page hears after each
    guard = Guard(
        base.engine,
        base.folder.protocol,
        base.folder.calibrations,
        lambda ref: base.prompt(Sample("", None, (ref,))).media[0],
        window_tokens=base.folder.window_tokens,
    )
    for start in range(0, len(left), at_once):
        context.progress(len(done), len(examples), "mining hard samples")
        some = left[start : start + at_once]
        drawn = sample_generations(guard, [each.sample for each in some], given.sampling(settings.seed), context.stop)
        found = []
        for example, generations in zip(some, drawn, strict=True):
            wrong, kept = judged(given, generations.answers, (example.assessment.request, example.assessment.response))
            modality = example.sample.modality.value
            found.append(Mined(example.sample.id, modality, generations.answers, wrong, kept, generations.error))
        append_lines(context.run.rollouts / MINED, [each.to_json() for each in found])
        done |= {each.sample_id: each for each in found}
        context.metric({"mined": len(done), "mined_kept": sum(each.kept for each in done.values())})
    context.progress(len(examples), len(examples), "mining hard samples")
    return [done[each.sample.id] for each in examples]


def judged(given: MiningSettings, answers: Sequence[Answer | None], gold: Answer) -> tuple[int | None, bool]:
    """How many answers are wrong (none where there are none), and whether the sample is kept (arXiv 2602.03328).

    With `drop_all_wrong` a sample that is never right is let go: every completion of it would be wrong, and a group of
    equal rewards teaches nothing.
    """
    if given.keep_rule is None:
        return None, True
    outcome = judge(given.keep_rule, answers, gold)
    never_right = outcome.wrong is not None and outcome.wrong == len(answers)
    return outcome.wrong, outcome.kept and not (given.drop_all_wrong and never_right)


def _nothing_kept(settings: GrpoSettings, mined: Sequence[Mined]) -> str:
    could = sum(each.error is None for each in mined)
    right = sum(each.wrong == 0 for each in mined)
    return (
        f"Mining kept none of {len(mined)} samples by the rule {settings.mining.rule}: of {could} that could be "
        f"judged the guard got {right} right in all {settings.mining.n} generations. Label samples that it gets wrong, "
        f"or take mining.rule = 'all'."
    )


def _facts(
    settings: GrpoSettings,
    labelled: Sequence[Example],
    examples: Sequence[Example],
    mined: Sequence[Mined],
    joined: Sequence[HardRow],
) -> dict[str, Any]:
    modalities = sorted({each.modality for each in mined})
    return {
        "rule": settings.mining.rule,
        "n": settings.mining.n,
        "labelled": len(labelled),
        "left_out_too_long": len(labelled) - len(examples),
        "errors": sum(each.error is not None for each in mined),
        "kept": sum(each.kept for each in mined),
        "by_modality": {
            kind: {
                "mined": sum(each.modality == kind for each in mined),
                "kept": sum(each.kept for each in mined if each.modality == kind),
            }
            for kind in modalities
        },
        "by_wrong": _by_wrong(mined),
        "joined": len(joined),
    }


def _by_wrong(mined: Iterable[Mined]) -> dict[str, int]:
    """Samples by how many of their generations were wrong."""
    counts = Counter(each.wrong for each in mined if each.wrong is not None)
    return {str(wrong): counts[wrong] for wrong in sorted(counts)}


# -- concatenation ----------------------------------------------------------------------------------------------------


def join_pairs(
    rows: Sequence[HardRow], settings: GrpoSettings, base: Base, media: HardMedia, longest: int
) -> list[HardRow]:
    """Random pairs of hard rows as one each, so many that they make the recipe's share of the set; fewer where too many
    pairs are longer than the longest prompt, or have no labelled side left."""
    given = settings.concatenation
    wanted = joined_count(len(rows), given.share)
    joined: list[HardRow] = []
    for one, other in choose_pairs(len(rows), wanted * SPARE_PAIRS, settings.seed):
        if len(joined) == wanted:
            break
        try:
            row = join(rows[one], rows[other], given.separator, lambda refs: media.merge(refs, given.geometry))
        except GuardroomError:  # a damaged picture: the pair is left out
            continue
        if is_labelled(row.gold) and _fits(base, row.sample, longest):
            joined.append(row)
    return joined
