"""Rollouts as HTML: pure functions of values. Texts of samples and of the model are escaped, and media never shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.markup.text import escape, excerpt, letters
from app.markup.verdicts import label_words
from app.train.plots import TERMS, figure
from core.types import Label
from train_jobs.grpo.rollout_groups import Group, GroupFigures, Prompt, Shown, is_right
from train_jobs.grpo.rollouts import RolloutLine

A_PAGE = 48
"""Completions on a page, in whole groups."""
SHORT, SHORT_ANSWER = 150, 80
"""Characters of a request and of a response that are shown."""

NO_ROLLOUT = (
    "No completion yet. After the mining the model writes several completions for each prompt; they are here as soon "
    "as they are scored."
)
NEVER = '<p class="gr-message">This run ended before it had written a completion.</p>'

WORDS = {
    Shown.ALL: ("all completions", "completion"),
    Shown.WRONG: ("wrong", "wrong completion"),
    Shown.UNREADABLE: ("unreadable", "unreadable completion"),
    Shown.ALL_WRONG: ("all-wrong groups", "group in which every completion is wrong"),
    Shown.ALL_RIGHT: ("all-right groups", "group in which every completion is right"),
}


def of_page(generations: int) -> int:
    """Groups on a page."""
    return max(1, A_PAGE // max(1, generations))


# -- which rollout ----------------------------------------------------------------------------------------------------


def bar(steps: Sequence[int], step: int, *, following: bool, running: bool) -> str:
    """Where one is among the rollouts, and the ways to another.

    Args:
        steps: all there are, in order.
        following: the newest is shown, and the next one will be.
        running: more may come.
    """
    at = steps.index(step)
    newest = at == len(steps) - 1
    held = ""
    if running:
        held = "The next one is shown as soon as it is there." if following else "It stays while you read."
    return (
        f'<div class="gr-g-bar" data-following="{str(following).lower()}" data-step="{step}">'
        f"{_to('Earlier', steps[at - 1] if at else None)}"
        f'<label><span class="gr-hidden">Rollout</span><input type="range" min="0" max="{max(1, len(steps) - 1)}" '
        f'value="{at}" step="1" data-g-range{" disabled" if len(steps) == 1 else ""} '
        f'aria-valuetext="after {step} steps"></label>'
        f"{_to('Later', None if newest else steps[at + 1])}"
        f'<button type="button" data-g-do="newest"{" disabled" if following or (newest and not running) else ""}>'
        f'Newest</button><p role="status"><b>Rollout {at + 1:,} of {len(steps):,}</b> '
        f'<span class="gr-quiet">after {_count(step, "step")}. {held}</span></p></div>'
    )


def _to(word: str, step: int | None) -> str:
    where = ' disabled data-g-to=""' if step is None else f' data-g-to="{step}"'
    return f'<button type="button" data-g-do="step"{where}>{word}</button>'


def waiting() -> tuple[str, str]:
    """The bar and the list before there is a rollout: as high as they will be, so that nothing moves then."""
    bar = (
        f'<div class="gr-g-bar" data-following="true">{_to("Earlier", None)}<label><span class="gr-hidden">Rollout'
        f'</span><input type="range" min="0" max="1" value="0" disabled></label>{_to("Later", None)}'
        '<button type="button" disabled>Newest</button><p role="status"><b>No rollout yet</b></p></div>'
    )
    shown = f'<div class="gr-g-list"><p class="gr-message">{NO_ROLLOUT}</p></div>{_pager(0, 1, 0)}'
    return bar, _filters(dict.fromkeys(Shown, 0), Shown.ALL) + shown


# -- the groups -------------------------------------------------------------------------------------------------------


def rollout(
    groups: Sequence[Group],
    counted: Mapping[Shown, int],
    shown: Shown,
    page: int,
    prompts: Mapping[str, Prompt],
    followed: str | None = None,
) -> str:
    """One page of a rollout.

    Args:
        groups: those that pass the filter; of these one page is drawn.
        counted: how many there are of each kind in the whole rollout.
        page: from 0.
        prompts: the rows by sample id.
        followed: the sample that is followed; its groups stand first.
    """
    filters = _filters(counted, shown)
    if not groups:
        said = f"No {WORDS[shown][1]} in this rollout."
        return f'{filters}<div class="gr-g-list"><p class="gr-message">{said}</p></div>{_pager(0, 1, 0)}'
    size = of_page(groups[0].figures.count)
    pages = -(-len(groups) // size)
    page = min(max(page, 0), pages - 1)
    ordered = sorted(groups, key=lambda group: not _is_of(group.figures, followed))
    some = ordered[page * size : (page + 1) * size]
    terms = tuple(groups[0].lines[0].terms)
    items = "".join(_group(each, prompts, terms, followed) for each in some)
    return (
        f"{filters}"
        f'<div class="gr-g-list" tabindex="0" role="region" aria-label="Completions" style="--terms:{len(terms)}">'
        f"{_names(terms)}{items}</div>{_pager(page, pages, len(groups))}"
    )


def _filters(counted: Mapping[Shown, int], shown: Shown) -> str:
    choices = "".join(
        f'<button type="button" data-g-do="filter" data-g-to="{each}" aria-pressed="{str(each is shown).lower()}">'
        f"{words} <b>{counted[each]:,}</b></button>"
        for each, (words, _) in WORDS.items()
    )
    return f'<div class="gr-g-filters" role="group" aria-label="Which completions">{choices}</div>'


def _is_of(figures: GroupFigures, sample_id: str | None) -> bool:
    return sample_id is not None and sample_id in (figures.sample_id, *figures.made_of)


def _names(terms: Sequence[str]) -> str:
    names = ("outcome", "what parsed", "reward", *map(_term, terms), "advantage", "tokens")
    return (
        f'<div class="gr-g-names" aria-hidden="true">{"".join(f"<span>{escape(name)}</span>" for name in names)}</div>'
    )


def _term(name: str) -> str:
    return TERMS.get(name, name).removesuffix(" term").lower()


def _pager(page: int, pages: int, groups: int) -> str:
    if pages == 1:
        return f'<div class="gr-g-pager"><p class="gr-quiet">{_count(groups, "group")}</p></div>'

    def to(word: str, where: int) -> str:
        there = "" if 0 <= where < pages else " disabled"
        return f'<button type="button" data-g-do="page" data-g-to="{where}"{there}>{word}</button>'

    return (
        f'<div class="gr-g-pager">{to("First", 0 if page else -1)}{to("Back", page - 1)}'
        f'<p class="gr-quiet" role="status">page {page + 1:,} of {pages:,}, {_count(groups, "group")}</p>'
        f"{to('On', page + 1)}{to('Last', pages - 1 if page < pages - 1 else -1)}</div>"
    )


def _group(group: Group, prompts: Mapping[str, Prompt], terms: Sequence[str], followed: str | None) -> str:
    figures = group.figures
    here = _is_of(figures, followed)
    follow = (
        '<button type="button" data-g-do="leave">Stop following</button>'
        if here
        else f'<button type="button" data-g-do="follow" data-g-to="{escape(figures.sample_id)}">Through the training'
        "</button>"
    )
    rows = "".join(_completion(line, terms) for line in group.lines)
    return (
        f'<section class="gr-g-group" data-sample="{escape(figures.sample_id)}" data-here="{str(here).lower()}">'
        f"<header>{prompt(figures, prompts)}<p>labelled: {_gold(group.lines[0].gold)}</p>"
        f"<p><b>{figures.right} of {figures.count} right</b>, mean reward {figure(figures.reward, 'loss')}</p>"
        f'<p class="gr-g-links">{follow}{_links(figures)}</p></header>{rows}</section>'
    )


def prompt(figures: GroupFigures, prompts: Mapping[str, Prompt]) -> str:
    """What was asked, short; a medium is named and not shown."""
    known = prompts.get(figures.sample_id)
    if known is None:
        return '<p class="gr-g-asked gr-quiet">The sample is no longer in the run.</p>'
    media = "".join(f'<span class="gr-g-medium">{escape(each)}</span>' for each in known.media)
    answer = ""
    if known.response is not None:
        answer = f'<span class="gr-quiet"> answered: </span>{escape(excerpt(known.response, SHORT_ANSWER))}'
    joined = f'<span class="gr-g-medium">{len(figures.made_of)} samples joined</span>' if figures.made_of else ""
    return f'<p class="gr-g-asked" dir="auto">{joined}{media}{escape(excerpt(known.request, SHORT))}{answer}</p>'


def _links(figures: GroupFigures) -> str:
    """To the pages of the samples; a joined one has none of its own."""
    ids = figures.made_of or (figures.sample_id,)
    names = ["sample's page"] if len(ids) == 1 else [f"page of sample {at}" for at in range(1, len(ids) + 1)]
    return "".join(
        f'<button type="button" data-r-page="{escape(each)}">{name}</button>'
        for each, name in zip(ids, names, strict=True)
    )


def _gold(gold: tuple[str, str]) -> str:
    sides = [f"{name} {label_words(Label(label))}" for name, label in _sides(gold)]
    return ", ".join(sides)


def _sides(labels: tuple[str, str]) -> list[tuple[str, str]]:
    """The sides that there are, each with its label."""
    request, response = labels
    found = [("request", request)]
    if response != Label.ABSENT:
        found.append(("response", response))
    return found


def outcome(line: RolloutLine) -> tuple[str, str]:
    """How a completion stands, as a kind and in words."""
    if line.said is None:
        return "unreadable", "unreadable"
    if is_right(line):
        return "right", "right"
    return ("half", "half right") if line.accuracy > 0 else ("wrong", "wrong")


_SIGNS = {"right": "✓", "half": "½", "wrong": "✕", "unreadable": "?"}


def _completion(line: RolloutLine, terms: Sequence[str]) -> str:
    kind, words = outcome(line)
    if line.said is None:
        parsed = f'<span class="gr-quiet">{escape(line.error or "It could not be read.")}</span>'
    else:
        parsed = ", ".join(
            f"{name} {label_words(Label(label))}"
            for (name, label), (_, gold) in zip(_sides(line.said), _sides(line.gold), strict=False)
            if gold != Label.ABSENT
        )
    cells = [("reward", figure(line.reward, "loss"))]
    cells += [(_term(name), figure(line.terms.get(name), "loss")) for name in terms]
    cells += [("advantage", f"{line.advantage:+.2f}"), ("tokens", f"{line.tokens:,}")]
    shown = "".join(f"<span><i>{escape(name)} </i>{value}</span>" for name, value in cells)
    cut = ' <span class="gr-g-cut">cut off</span>' if line.truncated else ""
    text = letters(line.text) or "It wrote nothing."
    return (
        f'<details class="gr-g-completion"><summary data-outcome="{kind}">'
        f'<b><span aria-hidden="true">{_SIGNS[kind]}</span> {words}</b><span class="gr-g-parsed">{parsed}{cut}</span>'
        f'{shown}</summary><div class="gr-r-text" dir="auto">{text}</div></details>'
    )


# -- one sample through the training ----------------------------------------------------------------------------------


def through(found: Sequence[GroupFigures], step: int, prompts: Mapping[str, Prompt]) -> str:
    """The groups of one sample at every step at which it was rolled out.

    Args:
        step: of the rollout that is open.
    """
    head = '<header><h4>Through the training</h4><button type="button" data-g-do="leave">Close</button></header>'
    if not found:
        shown = '<p class="gr-message">No rollout holds this sample.</p>'
    else:
        alone = next((each for each in found if not each.made_of), found[0])
        names = ("after step", "accuracy", "right", "mean reward", "unreadable", "cut off", "tokens, mean", "")
        columns = "".join(f'<th scope="col">{name}</th>' for name in names)
        rows = "".join(_at(each, step) for each in found)
        shown = (
            f'{prompt(alone, prompts)}<div class="gr-d-table" tabindex="0"><table><thead><tr>{columns}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div>"
        )
    return f'<section class="gr-g-through" aria-label="One sample through the training">{head}{shown}</section>'


def _at(each: GroupFigures, step: int) -> str:
    joined = ' <span class="gr-g-medium">joined</span>' if each.made_of else ""
    current = ' aria-current="true"' if each.step == step else ""
    return (
        f"<tr{current}><td>{each.step:,}{joined}</td>"
        f'<td><span class="gr-g-share"><i style="width:{100 * each.accuracy:.0f}%"></i></span>'
        f"{figure(each.accuracy, 'share')}</td>"
        f"<td>{each.right} of {each.count}</td><td>{figure(each.reward, 'loss')}</td><td>{each.unreadable}</td>"
        f"<td>{each.truncated}</td><td>{figure(each.tokens, 'count')}</td>"
        f'<td><button type="button" data-g-do="step" data-g-to="{each.step}">show</button></td></tr>'
    )


def exported(count: int) -> str:
    """What an export wrote."""
    return f'<p class="gr-message" data-kind="good" role="status">{_count(count, "completion")} written.</p>'


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
