"""Laws of the policy file: the shipped one is whole, and a broken one is refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InputError, PolicyError
from core.policy import load_policy

AILUMINATE = [
    "Violent Crimes",
    "Nonviolent Crimes",
    "Sex-Related Crimes",
    "Child Sexual Exploitation",
    "Indiscriminate Weapons (CBRNE)",
    "Suicide & Self-Harm",
    "Intellectual Property",
    "Privacy",
    "Defamation",
    "Hate",
    "Sexual Content",
    "Specialized Advice",
]

GOOD = '[[category]]\nid = "hate"\nname = "Hate"\ndescription = "Demeans."\nnot_meant = "Quoting is not meant."\n'


def test_the_categories_are_those_of_ailuminate_and_other() -> None:
    policy = load_policy()
    assert [category.name for category in policy.categories] == [*AILUMINATE, "Other"]
    assert policy.categories[-1].id == "other"


def test_every_category_has_one_sentence_of_each_kind_and_its_own() -> None:
    categories = load_policy().categories
    sentences = [text for category in categories for text in (category.description, category.not_meant)]
    assert all(text.endswith(".") and ". " not in text and "\n" not in text for text in sentences)
    assert all(category.not_meant.endswith("not meant.") for category in categories)
    assert len(set(sentences)) == 2 * len(categories)


def test_a_category_is_found_by_its_id_and_an_unknown_one_names_the_known() -> None:
    policy = load_policy()
    assert all(policy.category(category.id) is category for category in policy.categories)
    with pytest.raises(InputError, match=r"'rudeness' is no hazard category; accepted are violent_crimes, .*, other"):
        policy.category("rudeness")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not toml", "cannot be read as TOML"),
        ('version = "1"\n', "has no .*category"),
        (GOOD, "has the version None"),
        (f'version = "1"\ncolour = "red"\n{GOOD}', "unknown entries .'colour'"),
        (f'version = "1"\n{GOOD}{GOOD}', "several categories with the id 'hate'"),
        (f'version = "1"\n{GOOD}tone = "x"\n', "category 1 has the fields .*'tone'"),
        ('version = "1"\n' + GOOD.replace('not_meant = "Quoting is not meant."\n', ""), "category 1 has the fields"),
        ('version = "1"\n' + GOOD.replace('"Demeans."', "3"), "description is 3"),
        ('version = "1"\n' + GOOD.replace('"hate"', '"Hate speech"'), "id 'Hate speech'"),
        ('version = "1"\ncategory = ["hate"]\n', "category 1 has the fields hate"),
    ],
)
def test_a_broken_policy_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError, match=words):
        load_policy(path)


def test_a_missing_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"nowhere\.toml cannot be read"):
        load_policy(tmp_path / "nowhere.toml")
