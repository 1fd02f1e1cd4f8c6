"""Laws of the settings: read from the environment, wrong ones named, secrets never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InputError
from core.settings import Settings, default_data_root, load_settings
from core.types import Thresholds


@pytest.fixture(autouse=True)
def _no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_variables_are_read_from_the_environment_and_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data_root: Path
) -> None:
    monkeypatch.setenv("GUARDROOM_PORT", "7999")
    (tmp_path / ".env").write_text("GUARDROOM_PORT=1\nGUARDROOM_DEVICE=cpu\nUNRELATED=1\nGUARDROOM_UNKNOWN=1\n")
    settings = load_settings()
    assert (settings.port, settings.device, settings.data) == (7999, "cpu", data_root)


def test_the_data_root_is_outside_the_repository_by_default_and_knows_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GUARDROOM_DATA")
    assert load_settings().data == default_data_root()
    assert not default_data_root().is_relative_to(Path(__file__).parent.parent)
    monkeypatch.setenv("GUARDROOM_DATA", "~/mine")
    assert load_settings().data == Path.home() / "mine"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "99999"), ("PORT", "seven"), ("DEVICE", "tpu"), ("DTYPE", "int8"), ("THREADS", "0"),
        ("REVIEW_THRESHOLD", "1.5"), ("MAX_TEXT_CHARS", "0"), ("MAX_VIDEO_SECONDS", "-1"), ("MAX_FILE_BYTES", "1 MB"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"GUARDROOM_{name}", value)
    with pytest.raises(InputError, match=f"GUARDROOM_{name}='{value}': ") as caught:
        load_settings()
    assert "\n" not in str(caught.value)


def test_every_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARDROOM_PORT", "x")
    monkeypatch.setenv("GUARDROOM_DEVICE", "y")
    with pytest.raises(InputError, match=r"GUARDROOM_DEVICE='y'.*GUARDROOM_PORT='x'|GUARDROOM_PORT.*GUARDROOM_DEVICE"):
        load_settings()


def test_secrets_are_in_no_message_and_no_print(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARDROOM_OWNER_TOKEN", "open-sesame")
    monkeypatch.setenv("GUARDROOM_ENGINE_KEY", "sk-sesame")
    assert "sesame" not in repr(load_settings())
    monkeypatch.setenv("GUARDROOM_REVIEW_THRESHOLD", "0.9")
    monkeypatch.setenv("GUARDROOM_BLOCK_THRESHOLD", "0.1")
    with pytest.raises(InputError, match=r"review=0\.9 and block=0\.1 must satisfy") as caught:
        load_settings()
    assert "sesame" not in str(caught.value)


def test_settings_do_not_change_while_the_app_runs() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("review", "block", "expected"),
    [
        (None, None, (0.3, 0.6)),
        (0.1, None, (0.1, 0.6)),
        (0.8, None, (0.8, 0.8)),
        (None, 0.9, (0.3, 0.9)),
        (None, 0.2, (0.2, 0.2)),
        (0.4, 0.5, (0.4, 0.5)),
    ],
)
def test_thresholds_set_from_outside_go_before_the_checkpoints_own(
    review: float | None, block: float | None, expected: tuple[float, float]
) -> None:
    settings = Settings(review_threshold=review, block_threshold=block)
    assert settings.thresholds(Thresholds(0.3, 0.6)) == Thresholds(*expected)
