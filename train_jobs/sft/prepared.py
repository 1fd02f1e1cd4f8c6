"""What a fine-tuning trains on: the snapshot's examples with their reasoning, and replayed rows; made once for a run.

rollouts/prepared.json      so that a resumed run trains on the same: the reasoning of each sample, and the rows
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import JobError
from core.files import replace_file
from core.json_lines import json_line
from core.snapshots.folder import Snapshot, Split
from train_jobs.recipes.sft import SftSettings
from train_jobs.runs.folder import RunFolder
from train_jobs.sft import replay, synthesise, teachers
from train_jobs.training import saving
from train_jobs.training.base import Base
from train_jobs.training.collator import LineEncoder
from train_jobs.training.dataset import (
    Example,
    ReasoningFrom,
    count_labels,
    count_sources,
    labelled_sides,
    read_examples,
    rows_of,
)
from train_jobs.training.rows import TrainRow

if TYPE_CHECKING:
    from train_jobs.runs.context import JobContext

PREPARED = "prepared.json"
"""Among the rollouts."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run trains on."""

    examples: tuple[Example, ...]
    validation: tuple[Example, ...]
    replayed: tuple[TrainRow, ...]
    facts: Mapping[str, Any]
    """Counts for the report: sources of the reasoning, labels, what was left out, what the teacher did."""


def prepare(context: JobContext, settings: SftSettings, base: Base, snapshot: Snapshot) -> Prepared:
    """Read the snapshot, fill in reasoning, and draw the replayed rows; once for a run, however often it is resumed.

    Of several processes the first does it, and the others wait for what it has made.

    Raises:
        JobError: nothing is left to train on.
        Cancelled: it was stopped.
    """
    validation = read_examples(snapshot, Split.VALIDATION)
    examples = read_examples(snapshot, Split.TRAIN)
    encoder = base.lines(settings)
    examples, too_long = _fitting(examples, encoder, base)
    validation, _ = _fitting(validation, encoder, base)
    if not examples:
        raise JobError(
            f"The snapshot {snapshot.manifest.name!r} has no labelled training sample that fits into "
            f"{encoder.longest:,} tokens ({too_long} are longer); label more, or take a recipe for longer sequences."
        )
    saved = read_prepared(context.run, settings, examples)
    if saved is None and context.process == 0:
        saved = _make(context, settings, base, examples)
        saved[2]["left_out_too_long"] = too_long
        write_prepared(context.run, settings, *saved)
    if saved is None:
        saved = context.await_first(lambda: read_prepared(context.run, settings, examples))
    examples, replayed, facts = saved
    facts |= {"validation": len(validation), "validation_sides": labelled_sides(validation)}
    return Prepared(tuple(examples), tuple(validation), tuple(replayed), facts)


def _make(
    context: JobContext, settings: SftSettings, base: Base, examples: list[Example]
) -> tuple[list[Example], list[TrainRow], dict[str, Any]]:
    def telling(words: str) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            context.check_stop("Cancelled before the first step.")
            context.progress(done, total, words)

        return tell

    replayed: list[TrainRow] = []
    wanted = round(settings.replay * 2 * len(examples))
    if wanted:
        texts = replay.replay_texts(base, wanted, settings.seed, telling("writing texts for replay"))
        replayed = replay.replay_rows(base, texts, settings.replay_reasoned, telling("answering the texts for replay"))
    examples = synthesise.agrees(base.score, examples)
    tell_teacher = telling("writing missing reasoning")

    def told(tally: synthesise.Tally) -> None:
        done = tally.kept + sum(tally.refused.values())
        context.metric({"teacher": tally.to_json()})
        tell_teacher(done, tally.asked)

    examples, tally = teachers.fill_in(context, settings, base, examples, replayed, told)
    fitting, too_long = _with_fitting_reasoning(examples, base.lines(settings), base)
    facts = {
        "examples": len(fitting),
        "labels": dict(count_labels(fitting)),
        "reasoning": count_sources(fitting),
        "reasoning_left_out_too_long": too_long,
        "teacher": tally.to_json(),
        "replayed": len(replayed),
    }
    return fitting, replayed, facts


def _fitting(examples: Sequence[Example], encoder: LineEncoder, base: Base) -> tuple[list[Example], int]:
    """Those whose first look fits into one sequence, and how many do not."""
    fits = [
        example
        for example in examples
        if all(encoder.length(row, _shapes(row, base)) <= encoder.longest for row in rows_of(example, reasoned=False))
    ]
    return fits, len(examples) - len(fits)


def _with_fitting_reasoning(examples: Sequence[Example], encoder: LineEncoder, base: Base) -> tuple[list[Example], int]:
    """The same, without reasoning that makes a row longer than one sequence, and how many lost theirs.

    Whoever wrote it: what is not trained is not told as the writer's.
    """
    kept = [
        each.with_steps((), ReasoningFrom.MISSING)
        if any(encoder.length(row, _shapes(row, base)) > encoder.longest for row in rows_of(each, first_look=False))
        else each
        for each in examples
    ]
    return kept, sum(old is not new for old, new in zip(examples, kept, strict=True))


def _shapes(row: TrainRow, base: Base) -> list[Any]:
    return [saving.shape_of(ref, base.prompts.preprocessing) for ref in row.sample.media]


def write_prepared(
    run: RunFolder,
    settings: SftSettings,
    examples: Sequence[Example],
    replayed: Sequence[TrainRow],
    facts: Mapping[str, Any],
) -> None:
    """Keep what was prepared, whole or not at all.

    Raises:
        OSError: the disk refused.
    """
    told = {
        "for": settings.model_dump(mode="json"),
        "reasoning": {each.sample.id: [each.source.value, list(each.assessment.reasoning)] for each in examples},
        "replayed": [row.to_json() for row in replayed],
        "facts": dict(facts),
    }
    replace_file(run.rollouts / PREPARED, json_line(told), durable=False)


def read_prepared(
    run: RunFolder, settings: SftSettings, examples: Sequence[Example]
) -> tuple[list[Example], list[TrainRow], dict[str, Any]] | None:
    """What an earlier attempt, or another process, has prepared.

    None where there is nothing, or it was for other settings, or lacks one of the examples. It may hold more of them:
    what is deleted leaves the snapshot.
    """
    try:
        told = json.loads((run.path / "rollouts" / PREPARED).read_bytes())
        if told["for"] != settings.model_dump(mode="json"):
            return None
        steps = told["reasoning"]
        again = [
            each.with_steps(steps[each.sample.id][1], type(each.source)(steps[each.sample.id][0])) for each in examples
        ]
        return again, [TrainRow.from_json(row) for row in told["replayed"]], dict(told["facts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget(run: RunFolder, sample_ids: Collection[str]) -> bool:
    """Take deleted samples out of what was prepared, for a run that is resumed later.

    Only for the holder of the run's lock. What cannot be read is removed as a whole: a resumed run prepares again.

    Returns:
        Whether one of them was there.

    Raises:
        OSError: the file cannot be written.
    """
    path = run.path / "rollouts" / PREPARED
    try:
        told = json.loads(path.read_bytes())
        steps, rows = told["reasoning"], told["replayed"]
        kept = {key: value for key, value in steps.items() if key not in sample_ids}
        left = [row for row in rows if TrainRow.from_json(row).sample.id not in sample_ids]
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError, AttributeError):
        path.unlink()
        return True
    if len(kept) == len(steps) and len(left) == len(rows):
        return False
    replace_file(path, json_line(told | {"reasoning": kept, "replayed": left}), durable=True)
    return True
