"""From what the cells measured to the table: pure arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core.evaluation.bootstrap import Difference, Statistic, accuracy_of, f1_of, paired
from core.evaluation.metrics import Confusion
from tests.ablations.variants import VARIANTS, Variant


@dataclass(frozen=True, slots=True)
class Answers:
    """What a policy said about one sample in several sampled answers."""

    answers: int
    right: int
    """In halves of an answer: one for each labelled side that is right, two where only one side is labelled."""
    unreadable: int
    tokens: int
    """Of all of them together."""

    @property
    def counts(self) -> Confusion:
        """Right and wrong halves, for the bootstrap: their accuracy is the mean of the reward's accuracy term."""
        return Confusion(hits=self.right, misses=2 * self.answers - self.right)


@dataclass(frozen=True, slots=True)
class Policy:
    """A checkpoint as it was measured."""

    answers: Mapping[str, Answers]
    """By sample of the training split."""
    held_out: Mapping[str, tuple[int, int, int, int]]
    """By held-out row: what its deliberated answer counts, in the order of `Confusion`."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        answers = {key: list(asdict(value).values()) for key, value in self.answers.items()}
        return {"answers": answers, "held_out": {key: list(value) for key, value in self.held_out.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Policy:
        """What `to_json` gave."""
        answers = {key: Answers(*each) for key, each in value["answers"].items()}
        held_out = {key: (each[0], each[1], each[2], each[3]) for key, each in value["held_out"].items()}
        return cls(answers, held_out)


@dataclass(frozen=True, slots=True)
class Cell:
    """One variant with one seed."""

    variant: str
    seed: int
    trained: tuple[str, ...]
    """The samples of the training split that it trained on, joined ones left out."""
    before: Policy
    after: Policy
    moved: float
    """Euclidean norm of the difference of all weights."""
    seconds: float
    """Of the job: mining, training, saving."""
    facts: Mapping[str, Any]
    """Settings, steps, rows, the run's own first and last figures."""

    def to_json(self) -> dict[str, Any]:
        """The content of the cell's file."""
        return {
            "variant": self.variant,
            "seed": self.seed,
            "trained": list(self.trained),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "moved": self.moved,
            "seconds": self.seconds,
            "facts": dict(self.facts),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Cell:
        """What `to_json` gave."""
        policies = {name: Policy.from_json(value[name]) for name in ("before", "after")}
        return cls(**{**value, **policies, "trained": tuple(value["trained"])})


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table: one variant over some seeds."""

    variant: str
    seeds: tuple[int, ...]
    accuracy: Difference
    """The accuracy term on the samples that were trained on."""
    risen: int
    """Seeds whose own interval of the rise lies above 0."""
    whole: Difference
    """The same on the whole training split."""
    unreadable: tuple[float, float]
    """Share before and after, on the samples that were trained on."""
    tokens: tuple[float, float]
    """Mean completion length before and after."""
    held_out: Difference | None
    """F1; none where nothing held out is harmful."""
    held_out_accuracy: Difference | None
    """The share that is right, which says it when F1 rises only because everything is called harmful."""
    moved: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def accuracy(cells: Sequence[Cell], *, whole: bool = False) -> Difference:
    """The rise of the mean accuracy term with its 95% bootstrap interval: over samples, paired, all seeds together.

    Args:
        whole: over the whole training split instead of the samples that were trained on.

    Raises:
        ValueError: there are no samples.
    """
    before, after = [], []
    for cell in cells:
        for sample in cell.before.answers if whole else cell.trained:
            before.append(cell.before.answers[sample].counts)
            after.append(cell.after.answers[sample].counts)
    found = paired(before, after, accuracy_of)
    if found is None:
        raise ValueError("no sample was answered, so there is no accuracy")
    return found


def held_out(cells: Sequence[Cell], statistic: Statistic = f1_of) -> Difference | None:
    """What a figure gained on the held-out rows: paired by row, those of all seeds together, with its 95% interval."""
    before, after = [], []
    for cell in cells:
        for row, counts in cell.before.held_out.items():
            before.append(Confusion(*counts))
            after.append(Confusion(*cell.after.held_out[row]))
    return paired(before, after, statistic) if before else None


def summarise(cells: Sequence[Cell]) -> Line:
    """One variant's cells as a row.

    Raises:
        ValueError: there are none, or they are of several variants.
    """
    names = {cell.variant for cell in cells}
    if len(names) != 1:
        raise ValueError(f"a row is made of the cells of one variant, not of {sorted(names)}")
    return Line(
        variant=names.pop(),
        seeds=tuple(sorted(cell.seed for cell in cells)),
        accuracy=accuracy(cells),
        risen=sum(accuracy([cell]).is_gain for cell in cells),
        whole=accuracy(cells, whole=True),
        unreadable=_means(cells, "unreadable"),
        tokens=_means(cells, "tokens"),
        held_out=held_out(cells),
        held_out_accuracy=held_out(cells, accuracy_of),
        moved=_mean([cell.moved for cell in cells]),
        seconds=_mean([cell.seconds for cell in cells]),
    )


def _means(cells: Sequence[Cell], name: str) -> tuple[float, float]:
    """A count per answer, before and after, over the samples that were trained on."""
    found = []
    for when in ("before", "after"):
        some: list[Answers] = [getattr(cell, when).answers[sample] for cell in cells for sample in cell.trained]
        found.append(sum(getattr(each, name) for each in some) / sum(each.answers for each in some))
    return found[0], found[1]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


HEAD = (
    "| recipe | seeds | accuracy term, before → after | rise (95%) | rises on | rise on the whole split | unreadable | "
    "tokens | held-out F1 | significant fall | held-out accuracy | weights moved | s |"
)


def markdown(lines: Sequence[Line], missing: Sequence[tuple[str, int]], variants: Sequence[Variant] = VARIANTS) -> str:
    """The table, and in words which cells were not run.

    Args:
        missing: variant and seed of the cells that were not run.
    """
    words = {variant.name: variant.what for variant in variants}
    rows = [HEAD, "|" + " --- |" * HEAD.count(" | ") + " --- |", *(_row(line, words[line.variant]) for line in lines)]
    lacking: dict[str, list[int]] = {}
    for name, seed in missing:
        lacking.setdefault(name, []).append(seed)
    told = "; ".join(f"{words[name]} (seed {', '.join(map(str, seeds))})" for name, seeds in lacking.items())
    return "\n".join([*rows, "", f"Not run: {told}." if told else "Every cell was run."])


def _row(line: Line, what: str) -> str:
    gained, lost = line.accuracy, line.held_out
    cells = [
        what,
        ", ".join(map(str, line.seeds)),
        f"{gained.before:.3f} → {gained.after:.3f}",
        _signed(gained),
        f"{line.risen} of {len(line.seeds)}",
        _signed(line.whole),
        f"{line.unreadable[0]:.1%} → {line.unreadable[1]:.1%}",
        f"{line.tokens[0]:.0f} → {line.tokens[1]:.0f}",
        _gone_from(lost),
        "—" if lost is None else "yes" if lost.is_loss else "no",
        _gone_from(line.held_out_accuracy),
        f"{line.moved:.2f}",
        f"{line.seconds:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _gone_from(found: Difference | None) -> str:
    return "—" if found is None else f"{found.before:.3f} → {found.after:.3f}, {_signed(found)}"


def _signed(found: Difference) -> str:
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
