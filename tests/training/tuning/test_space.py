"""Search space: the user's table, its errors, membership and rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from charseq.config import defaults
from charseq.errors import DataError, SettingError, UsageError
from charseq.training.tuning import space


def test_choices_and_ranges_as_written() -> None:
    table = {
        "cell": ["gru", "lstm"],
        "hidden": {"low": 128, "high": 512, "step": 64},
        "batch_size": {"low": 16, "high": 256, "log": True},
        "layers": {"low": 1, "high": 3},
        "learning_rate": {"low": 5e-4, "high": 8e-3, "log": True},
        "clip": {"low": 0.5, "high": 4.0},
        "tie_embeddings": [True, False],
        "dropout": True,
    }
    found = space.read(table, "pairs")
    assert list(found) == list(table)
    assert found == {
        "cell": CategoricalDistribution(["gru", "lstm"]),
        "hidden": IntDistribution(128, 512, step=64),
        "batch_size": IntDistribution(16, 256, log=True),
        "layers": IntDistribution(1, 3),
        "learning_rate": FloatDistribution(5e-4, 8e-3, log=True),
        "clip": FloatDistribution(0.5, 4.0),
        "tie_embeddings": CategoricalDistribution([True, False]),
        "dropout": FloatDistribution(0.0, 0.6, step=0.05),
    }
    written = space.to_json(found)
    assert written == table | {
        "layers": {"low": 1, "high": 3, "step": 1},
        "dropout": {"low": 0.0, "high": 0.6, "step": 0.05},
    }
    assert list(written["hidden"]) == ["low", "high", "step"]
    assert space.read(written, "pairs") == found


@pytest.mark.parametrize("task", ["pairs", "next-word"])
def test_the_usual_ranges_hold_the_defaults(task: str) -> None:
    """So that the first trial is what nobody has tuned; and a user can write them as well."""
    config, usual = defaults(task).to_json(), space.usual(task)
    assert len(usual) >= 10
    for name, distribution in usual.items():
        assert space.contains(distribution, config[name]), name
    assert space.read(space.to_json(usual), task) == usual


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
        ("dropout", {"low": 0.1, "high": 0.5, "step": 0.15}, "steps of 0.15 from 0.1 do not meet"),
        ("dropout", {"low": 0.1, "high": 0.5, "step": 1e-30}, "steps of 1e-30 from 0.1 do not"),
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
        ("tie_embeddings", True, r"tie_embeddings is true, expected \[choices\]"),
        ("tie_embeddings", {"low": 0, "high": 1}, "tie_embeddings is no number"),
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
                         ("stateful", [True, False]), ("subword_size", [500, 1000])):  # fmt: skip
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
    assert space.read_data(tmp_path, "pairs") == {"layers": CategoricalDistribution([1, 2])}
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
    assert space.read_file(mine, "pairs") == {"cell": CategoricalDistribution(["gru", "tanh"])}


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "charseq.toml").write_text("tune = 5\n")
    with pytest.raises(SettingError, match=r"charseq\.toml: tune is 5, expected a table"):
        space.read_data(tmp_path, "pairs")


def test_only_values_of_the_distribution_are_contained() -> None:
    steps = FloatDistribution(0.0, 0.6, step=0.05)
    assert [space.contains(steps, value) for value in (0.15, 0.6, 0.16, 0.65)] == [
        True, True, False, False,
    ]  # fmt: skip
    log = FloatDistribution(1e-4, 1e-2, log=True)
    assert [space.contains(log, value) for value in (0.0033, 0.02, 0.0)] == [True, False, False]
    whole = IntDistribution(128, 512, step=64)
    assert [space.contains(whole, value) for value in (128, 192, 200, 576)] == [
        True, True, False, False,
    ]  # fmt: skip
    choices = CategoricalDistribution(["gru", "lstm"])
    assert [space.contains(choices, value) for value in ("lstm", "mlp")] == [True, False]


@given(st.floats(min_value=1.2345e-4, max_value=9.8765e-3))
def test_numbers_are_short_and_stay_in_their_range(value: float) -> None:
    distribution = FloatDistribution(1.2345e-4, 9.8765e-3, log=True)
    short = space.rounded(distribution, value)
    assert space.contains(distribution, short)
    assert abs(short - value) <= 0.005 * value
    assert short in (distribution.low, distribution.high) or short == float(f"{short:.3g}")


def test_steps_are_as_written() -> None:
    assert space.rounded(FloatDistribution(0.0, 0.6, step=0.05), 0.15000000000000002) == 0.15
    hidden = space.rounded(IntDistribution(128, 1234567, step=1), 1234567)
    assert hidden == 1234567
    assert type(hidden) is int
    assert space.rounded(CategoricalDistribution([True, 0.123456]), 0.123456) == 0.123456
