"""Options are made from the declaration of settings, and the four places of a setting rank."""

import re
from pathlib import Path
from typing import Any

import click
import pytest
from world import World

from charseq.cli import main, options
from charseq.config import SETTINGS, Config, defaults
from charseq.errors import SettingError, UsageError


@click.command()
@options.settings
def command(**named: Any) -> dict[str, Any]:
    return named


def parsed(*words: str) -> dict[str, Any]:
    return command.main(list(words), standalone_mode=False)


def test_an_option_not_given_is_none() -> None:
    assert parsed() == dict.fromkeys(options.NAMED) | {"no_attention": False}


def test_options_have_the_type_of_their_setting() -> None:
    found = parsed(
        "--task", "next-word", "--cell", "mlp", "--minutes", "0.5", "--epochs", "3",
        "--seed", "7", "--threads", "2", "--device", "cpu", "--columns", "target,source",
        "--ensemble", "4", "--cells", "gru,lstm", "--hidden", "96", "--layers", "2",
        "--dropout", "0.1", "--batch-size", "32", "--lr", "0.01", "--header", "no",
        "--delimiter", "tab", "--encoding", "cp1252", "--bad-rows", "skip", "--no-attention",
    )  # fmt: skip
    assert found == {
        "task": "next-word", "cell": "mlp", "minutes": 0.5, "epochs": 3, "seed": 7, "threads": 2,
        "workers": None, "target_words": None,
        "device": "cpu", "columns": "target,source", "ensemble": 4, "cells": "gru,lstm",
        "hidden": 96, "layers": 2, "dropout": 0.1, "batch_size": 32, "learning_rate": 0.01,
        "attention": None, "no_attention": True, "header": "no", "delimiter": "tab",
        "encoding": "cp1252", "bad_rows": "skip", "empty_targets": None,
    }  # fmt: skip
    assert parsed("--learning-rate", "0.01")["learning_rate"] == 0.01
    assert parsed("--attention", "hard")["attention"] == "hard"


@pytest.mark.parametrize(
    "words",
    [
        ("--cell", "transformer"),
        ("--seed", "-1"),
        ("--epochs", "1.5"),
        ("--minutes", "-3"),
        ("--task", "words"),
        ("--attention", "true"),
    ],
)
def test_limits_and_choices_are_those_of_the_declaration(words: tuple[str, str]) -> None:
    with pytest.raises(click.UsageError) as caught:
        parsed(*words)
    assert words[0] in caught.value.format_message()


def test_help_says_what_the_declaration_says() -> None:
    text = " ".join(command.get_help(click.Context(command)).split())
    for name in options.NAMED:
        assert SETTINGS[name].metadata["help"][1:] in text
    assert "[default: gru; next-word: lstm]" in text
    assert "[default: 5.0]" in text
    assert "[tanh|residual|gru|lstm|mlp]" in text
    assert "[auto|pairs|next-word]" in text


def test_the_table_lists_every_setting_in_lines_that_fit() -> None:
    lines = options.table().split("\n")
    assert lines[0] == "\b"
    assert max(map(len, lines)) <= options.WIDTH
    starts = set()
    for name, item in SETTINGS.items():
        [line] = [line for line in lines if line.startswith(f"    {name} ")]
        assert str(item.default).lower() in line.lower()
        assert str(item.metadata["next-word"]).lower() in line.lower()
        starts.add(line.index(item.metadata["help"].split()[0] + " ", 22))
    assert len(starts) == 1, "one column for what they mean"


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


def test_no_attention_means_attention_none() -> None:
    assert options.given({"attention": None, "no_attention": True}, []) == {"attention": "none"}
    assert options.given({"attention": "none", "no_attention": True}, []) == {"attention": "none"}
    assert options.given({"attention": None, "no_attention": False}, []) == {}
    with pytest.raises(UsageError, match="--no-attention and --attention exclude each other"):
        options.given({"attention": "hard", "no_attention": True}, [])
    with pytest.raises(UsageError, match="attention is given twice"):
        options.given({"attention": None, "no_attention": True}, ["attention=hard"])


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
    nowhere = Config(task="pairs", hidden=20, layers=3)
    assert options.configured(data + "/nowhere", {}) == nowhere


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


def test_an_error_names_its_source(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"^unknown setting 'hiden'; did you mean 'hidden'"):
        options.configured(data, {"hiden": 1})
    monkeypatch.setenv("CHARSEQ_CELL", "cnn")
    with pytest.raises(SettingError, match=r"^environment, CHARSEQ_\.\.\.: cell is 'cnn'"):
        options.configured(data, {})
    monkeypatch.delenv("CHARSEQ_CELL")
    (Path(data) / "charseq.toml").write_text("hidden = 'big'\n", encoding="utf-8")
    with pytest.raises(SettingError, match=r"charseq\.toml: hidden is 'big'"):
        options.configured(data, {})


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("cells = 'gru,grup'", "cells has 'grup', expected some of"),
        ("cells = 'gru,lstm'", "cells is for an ensemble"),
    ],
)
def test_wrong_cells_name_the_file_that_has_them(data: str, line: str, told: str) -> None:
    """Whether they are wrong alone or with the number of members."""
    path = Path(data) / "charseq.toml"
    path.write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(SettingError, match=f"^{re.escape(str(path))}: {told}"):
        options.configured(data, {})
    path.unlink()
    with pytest.raises(SettingError, match=f"^{told}"):
        options.configured(data, {"cells": line.split("'")[1]})


# --- the task and its defaults


@pytest.mark.parametrize(("cell", "rate"), [("tanh", 2e-3), ("residual", 1e-3), ("gru", 5e-3)])
def test_cells_without_gates_have_a_lower_rate_for_words(text: str, cell: str, rate: float) -> None:
    assert options.configured(text, {"cell": cell}).learning_rate == rate
    assert options.configured(text, {"cell": cell, "learning_rate": 0.1}).learning_rate == 0.1
    assert options.configured(text, {"cell": cell, "task": "pairs"}).learning_rate == 2e-3


@pytest.fixture
def text(data: str) -> str:
    """A folder that looks like text, whose charseq.toml says nothing."""
    (Path(data) / "charseq.toml").unlink()
    (Path(data) / "train.txt").write_text("a b\nc d\n", encoding="utf-8")
    return data


@pytest.fixture
def pairs(data: str) -> str:
    (Path(data) / "charseq.toml").unlink()
    (Path(data) / "train.tsv").write_text("a\tb\nc\td\n", encoding="utf-8")
    return data


def test_text_and_pairs_have_their_own_defaults(text: str) -> None:
    config = options.configured(text, {})
    assert config == defaults("next-word")
    assert (config.cell, config.min_count, config.hidden) == ("lstm", 2, 512)
    assert options.configured(text + "/train.txt", {}) == config
    (Path(text) / "train.txt").write_text("a b\tc d\n", encoding="utf-8")
    config = options.configured(text, {})
    assert config == defaults("pairs")
    assert (config.cell, config.min_count, config.hidden) == ("gru", 1, 256)


def test_given_settings_override_the_defaults_of_the_task(text: str) -> None:
    Path(text, "charseq.toml").write_text("cell = 'tanh'\nepochs = 3\n", encoding="utf-8")
    config = options.configured(text, {"hidden": "7"})
    assert (config.cell, config.hidden, config.min_count) == ("tanh", 7, 2)
    assert (config.epochs, config.minutes) == (3, 0)


def test_a_task_that_is_set_overrides_the_format_of_the_data(text: str) -> None:
    assert options.configured(text, {"task": "pairs"}) == defaults("pairs")


def test_the_task_ranks_like_any_setting(pairs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert options.configured(pairs, {}) == defaults("pairs")
    Path(pairs, "charseq.toml").write_text("task = 'next-word'\n", encoding="utf-8")
    assert options.configured(pairs, {}) == defaults("next-word")
    monkeypatch.setenv("CHARSEQ_TASK", "pairs")
    assert options.configured(pairs, {}) == defaults("pairs")
    assert options.configured(pairs, {"task": "next-word"}) == defaults("next-word")
    monkeypatch.setenv("CHARSEQ_TASK", "auto")
    assert options.configured(pairs, {}) == defaults("pairs")
    monkeypatch.setenv("CHARSEQ_TASK", "next-word")
    assert options.configured(pairs, {"task": "auto"}) == defaults("pairs")


def test_a_wrong_task_names_its_source(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"^task is 'words', expected one of auto, pairs"):
        options.configured(text, {"task": "words"})
    monkeypatch.setenv("CHARSEQ_TASK", "words")
    with pytest.raises(SettingError, match=r"^environment, CHARSEQ_\.\.\.: task is 'words'"):
        options.configured(text, {})
    Path(text, "charseq.toml").write_text("task = 'words'\n", encoding="utf-8")
    with pytest.raises(SettingError, match=r"charseq\.toml: task is 'words'"):
        options.configured(text, {})


def test_an_option_on_the_line_is_told_from_one_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @click.command()
    @options.beam
    def typed(beam: int | None) -> tuple[int | None, bool]:
        return beam, options.is_typed("beam")

    assert typed.main([], standalone_mode=False) == (None, False)
    assert typed.main(["--beam", "3"], standalone_mode=False) == (3, True)
    monkeypatch.setenv("CHARSEQ_BEAM", "4")
    assert typed.main([], standalone_mode=False) == (4, False)
    assert typed.main(["--beam", "3"], standalone_mode=False) == (3, True)


# --- wrong command lines


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["train", "data", "--resume"],
            "no option '--resume': the same command continues what was interrupted",
        ),
        (["convert", "--continue", "x.txt"], "--force begins anew"),
        (["train", "data", "--config", "c.toml"], "settings are read from DATA/charseq.toml"),
        (["train", "data", "--ema", "0.9"], "no option '--ema': --set ema=VALUE sets it"),
        (["train", "data", "--label-smoothing", "0"], "--set label_smoothing=VALUE sets it"),
        (["train", "data", "--max-epochs", "3"], "it is --epochs"),
        (["predict", "--nbest", "3", "x"], "no option '--nbest': it is -n"),
        (["predict", "--checkpoint", "c", "x"], "it is -m"),
        (["evaluate", "data", "--gpu"], "it is --device cuda"),
        (["train", "data", "--batchsize", "3"], "Did you mean '--batch-size'?"),
    ],
)
def test_options_of_other_tools(world: World, words: list[str], told: str) -> None:
    code, out, err = world.run(*words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert told in err
    assert f"`charseq {words[0]} --help`" in err


def test_no_advice_names_an_option_that_the_command_does_not_have(world: World) -> None:
    for name in main.COMMANDS:
        command = main.program.commands[name]
        flags = {flag for item in command.params for flag in item.opts}
        settings = {f"--{one.replace('_', '-')}" for one in SETTINGS}
        for option in {*options.ELSEWHERE, *settings} - flags:
            said = options.advice(option, command)
            assert {word for word in said.split() if word.startswith("-")} <= {
                flag + end for flag in flags for end in ("", ",", ";")
            }
    assert options.advice("--resume", main.program.commands["predict"]) == ""
    assert options.advice("--ema", main.program.commands["predict"]) == ""
    assert "interrupted" not in world.run("predict", "--resume", "x")[2]


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--minutes", "5m", "'5m' has a unit, expected a number alone, such as 5"),
        ("--minutes", "1.5 h", "'1.5 h' has a unit, expected a number alone, such as 1.5"),
        ("--epochs", "20epochs", "'20epochs' has a unit, expected a number alone, such as 20"),
        ("--minutes", "soon", "'soon' is not a valid number"),
        ("--epochs", "1e3", "'1e3' is not a valid integer"),
    ],
)
def test_numbers(world: World, option: str, value: str, told: str) -> None:
    code, _, err = world.run("train", "data", option, value)
    assert code == 2
    assert f"Invalid value for '{option}': {told} (see" in err


def test_numbers_in_every_notation_are_taken() -> None:
    number, integer = options.Number(), options.Integer(1)
    assert [number.convert(text, None, None) for text in ("1e3", "2E-3", ".5", "7")] == [
        1000, 0.002, 0.5, 7,
    ]  # fmt: skip
    assert integer.convert(" 12 ", None, None) == 12


def test_an_unknown_variable_of_the_environment_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARSEQ_HIDEN", "512")
    code, _, err = world.run("train", "data", "--dry-run")
    assert code == 2
    told = "the environment has CHARSEQ_HIDEN: unknown setting 'hiden'; did you mean 'hidden'?"
    assert f"charseq: error: {told}, or unset it\n" == err
    monkeypatch.delenv("CHARSEQ_HIDEN")
    monkeypatch.setenv("CHARSEQ_MODEL", "dates")
    monkeypatch.setenv("CHARSEQ_KERNELS", "off")
    assert "environment" not in world.run("train", "nowhere", "--dry-run")[2]


def test_columns_or_a_delimiter_make_pairs_of_a_text(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("a;b\nc;d\n")
    assert options.configured(str(path), {}).task == "next-word"
    assert options.configured(str(path), {"delimiter": ";"}).task == "pairs"
    assert options.configured(str(path), {"columns": "source,target"}).task == "pairs"
    assert options.configured(str(path), {"delimiter": ";", "task": "next-word"}).task == (
        "next-word"
    )
