"""Replay: rows on which the base's own answers are kept, so that a few reviews do not make a guard forget the rest.

The texts need no data set. Three quarters of them the guard writes itself: given its prompt up to where a person's
request stands, a language model that was trained on prompts goes on with a request (Xu et al. 2024, "Magpie"), of every
kind that it knows, harmful ones included. The others are everyday texts made from word lists. What is kept is the
base's first look, as a probability, and its reasoned answer, word by word: distillation from the base itself (Hinton et
al. 2015; Li and Hoiem 2016, "Learning without Forgetting").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from core.engines.base import Decoding
from core.prompt.encode import PromptEncoder
from core.types import HarmProbability, Label, Sample
from train_jobs.builtin.everyday import everyday_rows
from train_jobs.training.base import Base
from train_jobs.training.rows import RowForm, Side, TrainRow

AT_ONCE = 64
LONGEST_WRITTEN = 96
"""Tokens of a text that the guard writes itself."""
LEAST_CHARS = 8

Tell = Callable[[int, int], None]
"""Told how many of how many are done. May raise, to stop."""


def replay_texts(base: Base, count: int, seed: int, tell: Tell = lambda done, total: None) -> list[Sample]:
    """So many distinct texts, three quarters written by the guard itself; the same for the same checkpoint and seed."""
    everyday = [Sample(row.request, row.response) for row in everyday_rows(count // 4, seed)]
    written = own_writing(base, count - count // 4, seed, tell)
    return [*written, *everyday]


def own_writing(base: Base, count: int, seed: int, tell: Tell = lambda done, total: None) -> list[Sample]:
    """Requests, some with responses, that the guard writes where a person's would stand; temperature 1.

    Fewer than asked for where the guard writes little that can be used.
    """
    import torch
    from transformers import GenerationConfig

    engine = base.engine
    opening = request_opening(base.prompts)
    ends = engine.tokenizer.eos_token_id
    found: dict[str, Sample] = {}
    torch.manual_seed(seed)
    for _ in range(4 + 4 * count // AT_ONCE):
        if len(found) >= count:
            break
        ids = torch.tensor([opening] * AT_ONCE, device=engine.device)
        config = GenerationConfig(
            max_new_tokens=min(LONGEST_WRITTEN, base.folder.info.context_tokens // 3),
            do_sample=True,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            eos_token_id=ends,
            pad_token_id=engine.tokenizer.pad_token_id if engine.tokenizer.pad_token_id is not None else ends,
        )
        with torch.inference_mode():
            out: Any = engine.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config
            )
        for row in out[:, len(opening) :].tolist():
            sample = read_writing(base.prompts, row)
            if sample is not None:
                found.setdefault(sample.id, sample)
        tell(min(len(found), count), count)
    return list(found.values())[:count]


def request_opening(prompts: PromptEncoder) -> list[int]:
    """The prompt's ids up to where the request begins: what prompts with different requests have in common."""
    first, second = prompts.encode(Sample("a")).ids, prompts.encode(Sample("Z")).ids
    same = next(at for at, (one, other) in enumerate(zip(first, second, strict=False)) if one != other)
    return list(first[:same])


def read_writing(prompts: PromptEncoder, ids: Sequence[int]) -> Sample | None:
    """The request, and the response where one follows, of what the guard wrote; none where it is of no use.

    Control tokens end the text: what is trained on is never anything but plain text.
    """
    controls = set(prompts.controls.values())
    end = next((at for at, token in enumerate(ids) if token in controls), len(ids))
    text: str = prompts.tokenizer.decode(list(ids[:end]))
    protocol = prompts.protocol
    request, met, rest = text.partition(protocol.response_header)
    request = request.replace("\ufffd", "").strip()
    if len(request) < LEAST_CHARS:
        return None
    response = rest.replace("\ufffd", "").strip() if met else ""
    if not response or response.startswith(protocol.no_response):
        return Sample(request)
    return Sample(request, response.partition("\n\n")[0])


def replay_rows(
    base: Base, samples: Sequence[Sample], reasoned: float, tell: Tell = lambda done, total: None
) -> list[TrainRow]:
    """What the base says about texts, as rows to train: a share of them with its reasoning, the others as first looks.

    The two kinds alternate over the list, so that every stretch of it holds both.
    """
    rows: list[TrainRow] = []
    for start in range(0, len(samples), AT_ONCE):
        some = list(samples[start : start + AT_ONCE])
        telling = [int((start + at + 1) * reasoned) > int((start + at) * reasoned) for at in range(len(some))]
        looks = base.engine.first_look([base.prompt(each) for each in some])
        answered = [base.prompt(each) for each, wanted in zip(some, telling, strict=True) if wanted]
        said = iter(base.engine.complete_many(answered, Decoding(base.engine.info.max_new_tokens, look=False)))
        for sample, look, wanted in zip(some, looks, telling, strict=True):
            row = _reasoned(base, sample, next(said)[1]) if wanted else None
            rows.append(row or _looked(sample, look))
        tell(start + len(some), len(samples))
    return rows


def _looked(sample: Sample, look: HarmProbability) -> TrainRow:
    return TrainRow(
        RowForm.FIRST_LOOK,
        sample,
        _soft(look.request, None),
        Side(Label.ABSENT) if sample.response is None else _soft(look.response, None),
        replayed=True,
    )


def _reasoned(base: Base, sample: Sample, completion: Any) -> TrainRow | None:
    """The base's answer as a row; none where it cannot be read."""
    from core.judging.deciding import read

    said, _ = read(base.folder.protocol, completion, has_response=sample.response is not None)
    if said is None or not said.reasoning:
        return None
    absent = Side(Label.ABSENT)
    return TrainRow(
        RowForm.REASONED,
        sample,
        _soft(completion.probability.request, said.request),
        absent if sample.response is None else _soft(completion.probability.response, said.response),
        said.reasoning,
        replayed=True,
    )


def _soft(p: float | None, written: Label | None) -> Side:
    """A side as the base sees it."""
    likely = Label.HARMFUL if (p or 0.0) >= 0.5 else Label.UNHARMFUL
    return Side(written or likely, p)
