"""What is searched: as a user writes it, what is refused, and what the numbers look like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.config import defaults, parse
from charseq.errors import DataError, SettingError, UsageError
from charseq.training.tuning import space
from charseq.training.tuning.space import Choice, Range


def test_choices_and_ranges_as_written() -> None:
    table = {
        "cell": ["gru", "lstm"],
        "hidden": {"low": 128, "high": 512, "step": 64},
        "batch_size": {"low": 16, "high": 256, "log": True},
        "layers": {"low": 1, "high": 3},
        "learning_rate": {"low": 5e-4, "high": 8e-3, "log": True},
        "tied": [True, False],
        "dropout": True,
    }
    found = space.read(table, "pairs")
    assert list(found) == list(table)
    assert found["cell"] == Choice(("gru", "lstm"))
    assert found["hidden"] == Range(128, 512, 64)
    assert found["batch_size"] == Range(16, 256, None, log=True)
    assert found["layers"] == Range(1, 3, 1), "whole numbers go by one"
    assert found["learning_rate"] == Range(5e-4, 8e-3, None, log=True)
    assert found["tied"] == Choice((True, False))
    assert found["dropout"] == space.usual("pairs")["dropout"]
    again = {name: axis.to_json() for name, axis in found.items()}
    assert space.read(again, "pairs") == found
    assert [str(found[name]) for name in ("hidden", "learning_rate", "tied")] == [
        "128…512 by 64", "0.0005…0.008 (log)", "true | false",
    ]  # fmt: skip


@pytest.mark.parametrize("task", ["pairs", "next-word"])
def test_the_usual_ranges_hold_the_defaults(task: str) -> None:
    """So that the first trial is what nobody has tuned; and a user can write them as well."""
    config, axes = defaults(task).to_json(), space.usual(task)
    assert len(axes) >= 10
    for name, axis in axes.items():
        assert axis.holds(config[name]), name
    table = {name: axis.to_json() for name, axis in axes.items()}
    assert space.read(table, task) == axes


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("hiden", [1, 2], "unknown setting 'hiden'; did you mean 'hidden'?"),
        ("minutes", [1, 2], "minutes can be set, but not searched"),
        ("seed", {"low": 1, "high": 5}, "seed can be set, but not searched"),
        ("ensemble", [1, 2], "ensemble can be set, but not searched"),
        ("beam", [1, 5], "beam can be set, but not searched"),
        ("columns", ["source,target", "target,source"], "can be set, but not searched"),
        ("word_limit", [10, 20], "can be set, but not searched"),
        ("hidden", 5, r"hidden is 5, expected \[choices\]"),
        ("hidden", {"low": 5}, r"expected \[choices\] or \{low"),
        ("hidden", [5], "two choices or more"),
        ("hidden", [5, 5], "two choices or more"),
        ("hidden", [5, "many"], "hidden is 'many', expected a whole number"),
        ("hidden", [5, 10_000], "hidden is 10000, expected 1 to 4096"),
        ("hidden", {"low": 5, "high": 10_000}, "hidden is 10000, expected 1 to 4096"),
        ("hidden", {"low": 5, "high": 5}, "low is 5, expected less than high, which is 5"),
        ("hidden", {"low": 5, "high": 10, "size": 1}, "'size' is unknown"),
        ("hidden", {"low": 5, "high": 10, "step": 2}, "steps of 2 from 5 do not meet 10"),
        ("hidden", {"low": 5, "high": 10, "step": 2.5}, "expected a whole number"),
        ("hidden", {"low": 5, "high": 10, "step": 0}, "step is 0, expected a part of 5"),
        ("hidden", {"low": 5, "high": 10, "step": True}, "step is true, expected a part of 5"),
        ("hidden", {"low": 5, "high": 10, "step": 1, "log": True}, "there is no step"),
        ("dropout", {"low": 0, "high": 0.5, "log": True}, "with log, low is above 0"),
        ("dropout", {"low": 0.1, "high": 0.5, "log": 1}, "log is 1, expected true or false"),
        ("dropout", {"low": 0.1, "high": float("nan")}, "dropout is nan"),
        ("cell", {"low": 1, "high": 2}, r"cell is no number: expected \[choices\]"),
        ("cell", ["gru", "mlp"], "the cell mlp predicts words"),
        ("cell", ["gru", "xyz"], "cell is 'xyz', expected one of"),
        ("tied", True, r"tied is true, expected \[choices\]"),
        ("tied", {"low": 0, "high": 1}, "tied is no number"),
        ("clip", True, "clip has no usual range"),
    ],
)
def test_what_is_no_range_is_refused(name: str, value: Any, said: str) -> None:
    with pytest.raises(SettingError, match=rf"^a file: .*{said}") as caught:
        space.read({name: value}, "pairs", origin="a file: ")
    assert "\n" not in str(caught.value)


def test_what_words_are_is_not_searched() -> None:
    """Perplexities of other words, or of other lines, do not compare."""
    assert "subword_size" in space.read({"subword_size": [500, 1000]}, "pairs")
    for name, values in (("min_count", [1, 2]), ("units", ["words", "bpe"]),
                         ("running", [True, False]), ("subword_size", [500, 1000])):  # fmt: skip
        with pytest.raises(SettingError, match="can be set, but not searched"):
            space.read({name: values}, "next-word")
    assert space.read({"cell": ["gru", "mlp"]}, "next-word")


def test_a_file_or_the_table_beside_the_data(tmp_path: Path) -> None:
    assert space.read_data(tmp_path, "pairs") is None
    assert space.read_data(tmp_path / "words.tsv", "pairs") is None
    settings = tmp_path / "charseq.toml"
    settings.write_text("hidden = 12\n")
    assert space.read_data(tmp_path, "pairs") is None
    settings.write_text("hidden = 12\n[tune]\nlayers = [1, 2]\n")
    assert space.read_data(tmp_path, "pairs") == {"layers": Choice((1, 2))}
    settings.write_text("[tune]\nlayer = [1, 2]\n")
    with pytest.raises(SettingError, match=r"charseq\.toml: unknown setting 'layer'"):
        space.read_data(tmp_path, "pairs")
    mine = tmp_path / "mine.toml"
    with pytest.raises(UsageError, match=r"mine\.toml: there is no such file"):
        space.read_file(mine, "pairs")
    mine.write_text("")
    with pytest.raises(UsageError, match=r"mine\.toml: says of no setting"):
        space.read_file(mine, "pairs")
    mine.write_text("layers = [1, 2]\n2\n")
    with pytest.raises(DataError, match=r"mine\.toml:\d+: not valid TOML"):
        space.read_file(mine, "pairs")
    mine.write_text('cell = ["gru", "tanh"]\n')
    assert space.read_file(mine, "pairs") == {"cell": Choice(("gru", "tanh"))}


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "charseq.toml").write_text("tune = 5\n")
    with pytest.raises(SettingError, match=r"charseq\.toml: tune is 5, expected a table"):
        space.read_data(tmp_path, "pairs")


def test_holds_only_its_own_numbers() -> None:
    axis = Range(0.0, 0.6, 0.05)
    assert axis.holds(0.15)
    assert not axis.holds(0.16)
    assert not axis.holds(0.65)
    assert Range(1e-4, 1e-2, log=True).holds(0.0033)
    assert not Range(1e-4, 1e-2, log=True).holds(0.02)


@given(st.floats(min_value=1.2345e-4, max_value=9.8765e-3))
def test_numbers_are_short_and_stay_in_their_range(value: float) -> None:
    axis = Range(1.2345e-4, 9.8765e-3, log=True)
    plain = axis.plain(value)
    assert axis.holds(plain)
    assert abs(plain - value) <= 0.005 * value
    assert plain in (axis.low, axis.high) or plain == float(f"{plain:.3g}")


def test_steps_are_as_written() -> None:
    assert Range(0.0, 0.6, 0.05).plain(0.15000000000000002) == 0.15
    assert Range(128, 512, 64).plain(320) == 320
    assert parse("hidden", Range(128, 512, 64).plain(320)) == 320
