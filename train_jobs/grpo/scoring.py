"""From the ids of a completion to its reward: read by serving's parser, scored by the recipe's rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.engines.base import Completion
from core.judging.deciding import read
from core.mining.rules import Answer
from core.prompt.encode import PromptEncoder
from core.types import FinishReason, HarmProbability
from train_jobs.rules.augment import HardRow
from train_jobs.rules.rewards import Reward, RewardRule, mask_wrong_group, reward


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a completion says."""

    text: str
    """Tags included, without the end-of-turn token."""
    said: Answer | None
    """Request and response label; none when there is no readable answer."""
    error: str | None
    tokens: int
    """L: with the end-of-turn token."""
    truncated: bool


@dataclass(frozen=True, slots=True)
class Scored:
    """A completion with its reward."""

    row: HardRow
    parsed: Parsed
    reward: Reward


class CompletionReader:
    """Reads completions as serving does: the answer is what follows the model's own closing think token."""

    def __init__(self, encoder: PromptEncoder, end_ids: frozenset[int]) -> None:
        self._protocol = encoder.protocol
        self._tokenizer: Any = encoder.tokenizer
        self._end_ids = end_ids
        self._close_id = encoder.controls.get(encoder.protocol.think_close)

    def parse(self, ids: Sequence[int], *, has_response: bool) -> Parsed:
        """One completion.

        Args:
            ids: the tokens that the model wrote, with the end-of-turn token where it wrote one.
        """
        ended = bool(ids) and ids[-1] in self._end_ids
        written = list(ids[:-1] if ended else ids)
        text = self._decode(written)
        reasoning, answer = self._split(written, text)
        finish = FinishReason.STOP if ended else FinishReason.LENGTH
        completion = Completion(
            text=text,
            reasoning=reasoning.strip().removeprefix(self._protocol.think_open).strip(),
            answer=answer,
            token_ids=tuple(written),
            token_count=len(written),
            finish_reason=finish,
            ttft_s=None,
            latency_s=0.0,
            probability=HarmProbability(),
        )
        said, error = read(self._protocol, completion, has_response=has_response)
        return Parsed(text, None if said is None else (said.request, said.response), error, len(ids), not ended)

    def _split(self, ids: list[int], text: str) -> tuple[str, str]:
        if self._close_id is None:
            reasoning, _, answer = text.partition(self._protocol.think_close)
            return reasoning, answer
        if self._close_id not in ids:
            return text, ""
        at = ids.index(self._close_id)
        return self._decode(ids[:at]), self._decode(ids[at + 1 :])

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False))


def score(
    reader: CompletionReader,
    rows: Sequence[HardRow],
    completions: Sequence[Sequence[int]],
    rule: RewardRule,
    *,
    limit: int,
    group: int,
    mask_wrong: bool,
) -> list[Scored]:
    """Rewards of completions, one row each; those of one prompt stand beside each other.

    Args:
        limit: tokens that a completion may have.
        group: completions of one prompt.
        mask_wrong: see `train_jobs.rules.rewards.mask_wrong_group`.

    Raises:
        ValueError: there are no whole groups.
    """
    if len(rows) % group or len(rows) != len(completions):
        raise ValueError(f"{len(completions)} completions of {len(rows)} rows do not make whole groups of {group}")
    parsed = [
        reader.parse(ids, has_response=row.sample.response is not None)
        for row, ids in zip(rows, completions, strict=True)
    ]
    rewards = [reward(rule, each.said, row.gold, each.tokens, limit) for row, each in zip(rows, parsed, strict=True)]
    if mask_wrong:
        rewards = [
            masked
            for start in range(0, len(rewards), group)
            for masked in mask_wrong_group(rewards[start : start + group])
        ]
    return [Scored(*each) for each in zip(rows, parsed, rewards, strict=True)]


def figures(scored: Sequence[Scored], group: int) -> dict[str, float]:
    """What a page shows of one rollout: accuracy apart from bonuses, every reward term, shares of groups.

    `accuracy` is the mean share of labelled sides that are right, an unreadable completion counting as wrong.
    """
    count = len(scored)
    groups = [[each.reward for each in scored[start : start + group]] for start in range(0, count, group)]
    lengths = [each.parsed.tokens for each in scored]
    terms = {name: math.fsum(each.reward.terms[name] for each in scored) / count for name in scored[0].reward.terms}
    return {
        "accuracy": math.fsum(each.reward.accuracy for each in scored) / count,
        **{f"term_{name}": value for name, value in terms.items()},
        "unreadable_share": sum(not each.reward.readable for each in scored) / count,
        "truncated_share": sum(each.parsed.truncated for each in scored) / count,
        "completion_tokens": sum(lengths) / count,
        "all_wrong_share": sum(not any(each.right for each in some) for some in groups) / len(groups),
        "all_right_share": sum(all(each.right for each in some) for some in groups) / len(groups),
    }
