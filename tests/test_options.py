"""Options are made from the declaration of settings, and the four places of a setting rank."""

from pathlib import Path
from typing import Any

import click
import pytest

from charseq import options
from charseq.config import SETTINGS, Config
from charseq.errors import SettingError, UsageError


@click.command()
@options.settings
def command(**named: Any) -> dict[str, Any]:
    return named


def parsed(*words: str) -> dict[str, Any]:
    return command.main(list(words), standalone_mode=False)


def test_an_option_not_given_is_none() -> None:
    assert parsed() == dict.fromkeys(options.NAMED)


def test_options_have_the_type_of_their_setting() -> None:
    found = parsed(
        "--cell", "lstm", "--minutes", "0.5", "--epochs", "3", "--seed", "7", "--threads", "2",
        "--device", "cpu", "--columns", "target,source", "--no-attention",
    )  # fmt: skip
    assert found == {
        "cell": "lstm", "minutes": 0.5, "epochs": 3, "seed": 7, "threads": 2, "device": "cpu",
        "columns": "target,source", "attention": False,
    }  # fmt: skip
    assert parsed("--attention")["attention"] is True


@pytest.mark.parametrize(
    "words",
    [("--cell", "transformer"), ("--seed", "-1"), ("--epochs", "1.5"), ("--minutes", "-3")],
)
def test_limits_and_choices_are_those_of_the_declaration(words: tuple[str, str]) -> None:
    with pytest.raises(click.UsageError) as caught:
        parsed(*words)
    assert words[0] in caught.value.format_message()


def test_help_says_what_the_declaration_says() -> None:
    text = " ".join(command.get_help(click.Context(command)).split())
    for name in options.NAMED:
        assert SETTINGS[name].metadata["help"][1:] in text
    assert "[default: gru]" in text
    assert "[tanh|residual|gru|lstm]" in text


def test_the_table_lists_every_setting_in_lines_that_fit() -> None:
    lines = options.table().split("\n")
    assert lines[0] == "\b"
    assert max(map(len, lines)) <= options.WIDTH
    for name, item in SETTINGS.items():
        [line] = [line for line in lines if line.split()[:1] == [name] and line.startswith("    ")]
        assert str(item.default).lower() in line.lower()


def test_assignments_join_the_options() -> None:
    named = {"cell": "gru", "seed": None}
    assert options.given(named, ["hidden=12", "learning-rate=0.1", "feature_separator=="]) == {
        "cell": "gru", "hidden": "12", "learning_rate": "0.1", "feature_separator": "=",
    }  # fmt: skip
    with pytest.raises(UsageError, match="'hidden', expected NAME=VALUE"):
        options.given({}, ["hidden"])
    with pytest.raises(UsageError, match="cell is given twice"):
        options.given(named, ["cell=lstm"])
    with pytest.raises(UsageError, match="hidden is given twice"):
        options.given({}, ["hidden=1", "hidden=2"])


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in SETTINGS:
        monkeypatch.delenv(f"CHARSEQ_{name.upper()}", raising=False)
    (tmp_path / "charseq.toml").write_text(
        'cell = "tanh"\nhidden = 10\nlayers = 2\nminutes = 3\n', encoding="utf-8"
    )
    return str(tmp_path)


def test_flags_before_environment_before_file_before_defaults(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARSEQ_HIDDEN", "20")
    monkeypatch.setenv("CHARSEQ_LAYERS", "3")
    monkeypatch.setenv("CHARSEQ_MODEL", "not a setting")
    config = options.configured(data, {"layers": "4"})
    assert (config.cell, config.hidden, config.layers) == ("tanh", 20, 4)
    assert config.dropout == Config().dropout
    assert options.configured(data + "/nowhere", {}) == Config(hidden=20, layers=3)


def test_a_higher_place_chooses_between_minutes_and_epochs(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert options.configured(data, {}).minutes == 3
    monkeypatch.setenv("CHARSEQ_EPOCHS", "5")
    config = options.configured(data, {})
    assert (config.epochs, config.minutes) == (5, 0)
    config = options.configured(data, {"minutes": 2})
    assert (config.epochs, config.minutes) == (0, 2)
    with pytest.raises(SettingError, match="exclude each other"):
        options.configured(data, {"minutes": 2, "epochs": 3})


def test_a_fault_names_its_place(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"^unknown setting 'hiden'; did you mean 'hidden'"):
        options.configured(data, {"hiden": 1})
    monkeypatch.setenv("CHARSEQ_CELL", "cnn")
    with pytest.raises(SettingError, match=r"^environment, CHARSEQ_\.\.\.: cell is 'cnn'"):
        options.configured(data, {})
    (Path(data) / "charseq.toml").write_text("hidden = 'big'\n", encoding="utf-8")
    with pytest.raises(SettingError, match=r"charseq\.toml: hidden is 'big'"):
        options.configured(data, {})
