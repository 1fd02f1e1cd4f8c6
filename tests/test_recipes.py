"""Laws of recipes: the published constants, one sentence for what cannot be, and files of one's own."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from core.errors import JobError
from train_jobs.recipes.files import OWN_FOLDER, RECIPES, find_recipe, list_recipes, resolve, usable_recipes
from train_jobs.recipes.sft import check_settings
from train_jobs.runs.specs import JobKind


def own(data: Path, name: str, text: str) -> None:
    (data / OWN_FOLDER).mkdir(exist_ok=True)
    (data / OWN_FOLDER / f"{name}.toml").write_text(text, encoding="utf-8")


def changed(recipe: str, /, **values: str) -> str:
    """A shipped recipe's text with values put in the place of others; keys stand before any section."""
    lines = (RECIPES / f"{recipe}.toml").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.split(" = ")[0] not in values]
    return "\n".join([*(f"{key} = {value}" for key, value in values.items()), *kept])


def test_the_published_constants_are_those_of_the_papers() -> None:
    omni = find_recipe("sft-omni-v1").settings
    assert (omni.tuning, omni.freeze_vision, omni.learning_rate, omni.schedule) == ("full", True, 5e-5, "cosine")
    assert (omni.warm_up, omni.epochs, omni.batch, omni.longest_sequence) == (0.03, 1, 192, 32_768)
    assert omni.precision == "bfloat16"
    assert omni.preprocessing is not None
    assert (omni.preprocessing.fps, omni.preprocessing.max_frames) == (2, 128)
    assert (omni.preprocessing.frame_max_pixels, omni.preprocessing.image_max_pixels) == (65_536, 589_824)
    vl = find_recipe("sft-vl").settings
    assert (vl.tuning, vl.freeze_vision, vl.learning_rate, vl.schedule) == ("full", False, 5e-5, "cosine")
    assert (vl.epochs, vl.batch, vl.longest_sequence, vl.precision) == (3, 192, 2_048, "bfloat16")


def test_every_shipped_recipe_says_what_differs_from_the_paper() -> None:
    names = {kind: [recipe.name for recipe in list_recipes(kind=kind)] for kind in (JobKind.SFT, JobKind.GRPO)}
    assert names[JobKind.SFT] == ["sft-builtin", "sft-omni-v1", "sft-omni-v1-lora", "sft-vl", "sft-vl-lora"]
    scaled = ["grpo-builtin", "grpo-builtin-v2", "grpo-builtin-vl", "grpo-builtin-vl-eco"]
    assert names[JobKind.GRPO][:5] == [*scaled, "grpo-omni-v1"]
    assert [recipe.name for recipe in list_recipes()] == [*names[JobKind.SFT], *names[JobKind.GRPO]], "stage by stage"
    for recipe in list_recipes():
        assert len(recipe.differs) > 200
        assert recipe.differs.endswith(".")
        assert recipe.title
        assert recipe.bases


def test_an_unknown_key_is_named_with_the_accepted_ones() -> None:
    values = resolve(find_recipe("sft-builtin")) | {"learnig_rate": 1e-4}
    with pytest.raises(JobError, match=r"'learnig_rate'; accepted are batch, .*learning_rate") as found:
        check_settings(values)
    assert "\n" not in str(found.value)
    pictures = dict(resolve(find_recipe("sft-omni-v1"))["preprocessing"]) | {"size": 3}
    with pytest.raises(JobError, match=r"'preprocessing.size'; accepted are fps, .*max_frames"):
        resolve(find_recipe("sft-omni-v1"), {"preprocessing": pictures})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("learning_rate", 0, "learning_rate = 0: Input should be greater than 0"),
        ("tuning", "half", "tuning = 'half'"),
        ("batch", 33, "batch=33 must be a multiple of micro_batch=32"),
        ("epochs", 1.5, "epochs = 1.5"),
        ("replay", "much", "replay = 'much'"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_is_accepted(key: str, value: object, words: str) -> None:
    with pytest.raises(JobError) as found:
        resolve(find_recipe("sft-builtin"), {key: value})
    assert words in str(found.value)


def test_resolved_values_are_complete_and_give_the_same_settings_again() -> None:
    recipe = find_recipe("sft-omni-v1-lora")
    values = resolve(recipe, {"epochs": 7})
    assert set(values) == set(type(recipe.settings).model_fields)
    assert check_settings(values) == recipe.settings.model_copy(update={"epochs": 7})


def test_an_own_recipe_takes_the_place_of_the_one_of_its_name(tmp_path: Path) -> None:
    own(tmp_path, "sft-builtin", changed("sft-builtin", epochs="9"))
    own(tmp_path, "mine", changed("sft-builtin", name='"mine"', epochs="2"))
    found = {recipe.name: recipe for recipe in list_recipes(tmp_path)}
    assert (found["sft-builtin"].settings.epochs, found["sft-builtin"].own) == (9, True)
    assert found["mine"].settings.epochs == 2
    assert not found["sft-vl"].own
    assert find_recipe("sft-builtin").settings.epochs != 9


def test_one_bad_file_is_told_and_hides_no_other(tmp_path: Path) -> None:
    own(tmp_path, "broken", "epochs = = 3")
    own(tmp_path, "renamed", changed("sft-vl"))
    own(tmp_path, "silent", changed("sft-vl", name='"silent"', differs='" "'))
    good, problems = usable_recipes(tmp_path)
    assert len(good) == len(list_recipes())
    assert [each.split(" cannot")[0].split(" calls")[0].split(" needs")[0].rsplit("/")[-1] for each in problems] == [
        "broken.toml", "renamed.toml", "silent.toml",
    ]  # fmt: skip
    with pytest.raises(JobError, match="There is no recipe 'other'; there are: broken, "):
        find_recipe("other", tmp_path)


def test_a_file_of_a_kind_that_nobody_knows_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    own(tmp_path, "other-kind", 'kind = "another"\nname = "other-kind"')
    good, problems = usable_recipes(tmp_path)
    assert len(good) == len(list_recipes())
    assert "'another'; there are: sft, grpo" in problems[0]


def test_a_section_is_changed_key_by_key(tmp_path: Path) -> None:
    recipe = find_recipe("grpo-vl")
    values = resolve(recipe, {"reward": {"floor": 0.1}, "mining": {"n": 8}})
    assert values["reward"] == recipe.settings.reward.model_dump(mode="json") | {"floor": 0.1}
    assert values["mining"] == recipe.settings.mining.model_dump(mode="json") | {"n": 8}
    with pytest.raises(JobError, match=r"'reward.slope'; accepted are beta, "):
        resolve(recipe, {"reward": {"slope": 1}})


def test_the_files_hold_nothing_that_the_checks_do_not_see() -> None:
    for recipe in list_recipes():
        told = tomllib.loads((RECIPES / f"{recipe.name}.toml").read_text(encoding="utf-8"))
        for key, value in told.items():
            if key in type(recipe.settings).model_fields and not isinstance(value, dict):
                assert getattr(recipe.settings, key) == value
