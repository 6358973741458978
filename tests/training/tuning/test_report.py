"""Report of a search: the objective, lines for people, settings as TOML."""

from __future__ import annotations

import math
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.cli import options
from charseq.config import Config, configure, defaults
from charseq.data import settings_file
from charseq.training.next_word import NextWordTask
from charseq.training.pairs import PairsTask
from charseq.training.tuning import report
from charseq.training.tuning.report import Plan
from charseq.training.tuning.storage import DONE, FAILED, GIVEN_UP
from charseq.training.tuning.trials import FinishedTrial

SPACE = {
    "hidden": [8, 16],
    "tie_embeddings": [True, False],
    "dropout": {"low": 0.0, "high": 0.6, "step": 0.05},
}


def plan_of(config: Config, folder: Path = Path("R"), **budget: Any) -> Plan:
    return Plan("my data", config, SPACE, folder, "f00", **budget)


def scores_of(exact: float, ser: float, rows: int = 20) -> dict[str, Any]:
    return {"examples": rows, "exact_match": exact, "wer": 100 - exact, "ser": ser}


# --- the objective


rows_right = st.integers(min_value=0, max_value=20)
rates = st.floats(min_value=0, max_value=1e6)


@given(st.lists(st.tuples(rows_right, rates), min_size=2, max_size=2, unique=True))
def test_the_objective_ranks_as_training_does(two: list[tuple[int, float]]) -> None:
    """More exact matches, then fewer symbol errors, as far as a number can tell."""
    one, other = (scores_of(100 * right / 20, ser) for right, ser in two)
    first, second = PairsTask.objective(one), PairsTask.objective(other)
    if first > second:
        assert PairsTask.rank(one) > PairsTask.rank(other)
    elif first < second:
        assert PairsTask.rank(one) < PairsTask.rank(other)
    else:
        assert one["exact_match"] == other["exact_match"]
        assert math.isclose(one["ser"], other["ser"], rel_tol=1e-6, abs_tol=1e-6)


def test_one_example_outweighs_all_symbol_errors() -> None:
    ladder = [scores_of(exact, ser) for exact in (0, 5, 10) for ser in (900.0, 60.0, 0.0)]
    values = [PairsTask.objective(scores) for scores in ladder]
    assert values == sorted(set(values))
    assert PairsTask.objective(scores_of(100, 0)) == 100


def test_the_objective_of_text_is_its_perplexity() -> None:
    assert NextWordTask.objective({"perplexity": 117.5, "loss": 1}) == 117.5
    assert math.isnan(NextWordTask.objective({"perplexity": None}))
    assert NextWordTask.minimize
    assert not PairsTask.minimize
    assert plan_of(configure({"task": "next-word"})).task is NextWordTask
    assert plan_of(configure({"task": "pairs"})).task is PairsTask


# --- lines


def test_what_is_searched_and_how_long_that_takes() -> None:
    config = configure({"minutes": 3, "task": "pairs"})
    lines = report.describe(plan_of(config, most=20))
    assert lines == [
        "search     hidden            8 | 16",
        "           tie_embeddings    true | false",
        "           dropout           0…0.6 by 0.05",
        "budget     20 trials of 3 minutes each; 1.0 h at most",
    ]
    assert report.describe(plan_of(config, hours=2.5))[-1] == (
        "budget     trials of 3 minutes; none begun after 2.5 h"
    )
    by_epochs = configure({"epochs": 30, "task": "pairs"})
    assert report.describe(plan_of(by_epochs, most=5, hours=1))[-1] == (
        "budget     5 trials of 30 epochs each; none begun after 1 h"
    )


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        ({"low": 128, "high": 512, "step": 64}, "128…512 by 64"),
        ({"low": 0.0005, "high": 0.008, "log": True}, "0.0005…0.008 (log)"),
        ({"low": 0.5, "high": 4.0}, "0.5…4"),
        ([True, False], "true | false"),
        (["gru", "lstm"], "gru | lstm"),
    ],
)
def test_choices_and_ranges_in_a_few_words(entry: Any, shown: str) -> None:
    assert report.range_text(entry) == shown


def test_how_a_trial_ended() -> None:
    done = {"state": DONE, "scores": scores_of(71.25, 5), "seconds": 9}
    pairs, words = (plan_of(configure({"task": task})) for task in ("pairs", "next-word"))
    assert report.outcome(pairs, done) == "dev exact  71.2 %  ser   5.0 %"
    assert report.outcome(pairs, done | {"state": GIVEN_UP}).endswith("ser   5.0 %  given up")
    assert report.outcome(pairs, {"state": FAILED, "scores": {}}) == "failed"
    text = {"state": DONE, "scores": {"perplexity": 117.04}}
    assert report.outcome(words, text) == "dev perplexity   117.0"
    assert report.outcome(words, {"state": GIVEN_UP, "scores": {"perplexity": None}}) == "given up"


def test_the_table_is_aligned_and_in_order() -> None:
    config = configure({"task": "pairs"})
    finished = [
        FinishedTrial(
            number,
            {"hidden": 8 * number, "tie_embeddings": number > 1, "dropout": 0.05},
            value,
            {
                "state": DONE if value else FAILED,
                "scores": scores_of(value, 50) if value else {}, "seconds": 1.6 * number,
            },
        )
        for number, value in ((2, 50.0), (10, 25.0), (1, None))
    ]  # fmt: skip
    head, *rows = report.table(plan_of(config), finished)
    assert head.split() == ["trial", "seconds", "hidden", "tie_embeddings", "dropout", "scores"]
    assert rows[0].split()[:5] == ["2", "3", "16", "true", "0.05"]
    assert rows[2].split() == ["1", "2", "8", "false", "0.05", "failed"]
    for name in ("trial", "seconds", "hidden", "tie_embeddings", "dropout"):
        end = head.index(name) + len(name)
        assert all(row[end - 1] != " " and row[end] == " " for row in rows), name
    assert len({row.index("dev") for row in rows[:2]} | {head.index("scores")}) == 1


# --- settings


@pytest.mark.parametrize(
    "given_",
    [
        {"task": "pairs", "epochs": 3, "hidden": 16, "dropout": 0.3, "tie_embeddings": False},
        {"task": "pairs", "minutes": 0.25, "columns": "target,source", "learning_rate": 1e-05},
        {"task": "pairs", "feature_separator": '\x7f"\\\n\té𐏿', "hidden": 8},
        {"task": "next-word", "cell": "tanh", "minutes": 2, "stateful": True, "dropout": 0.0},
        {"task": "next-word", "epochs": 1, "learning_rate": 0.0071},
    ],
)
def test_the_settings_come_back_from_the_file_and_from_the_command(
    given_: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in options.environment():
        monkeypatch.delenv(f"CHARSEQ_{name.upper()}")
    config = configure(given_, base=defaults(given_["task"], given_.get("cell", "")))
    written = report.toml(plan_of(config), config.to_json())
    (tmp_path / "charseq.toml").write_text(written, encoding="utf-8", newline="")
    assert set(tomllib.loads(written)) == {*given_, *SPACE}, "no more than is needed"
    assert options.configured(str(tmp_path), {}) == config
    assert settings_file.settings_of(tmp_path)["task"] == given_["task"]
    longer = options.configured(str(tmp_path), {"minutes": 30})
    assert (longer.minutes, longer.epochs) == (30, 0)
    program, verb, data, *words = shlex.split(report.command(plan_of(config), config.to_json()))
    assert (program, verb, data) == ("charseq", "train", "my data")
    assert all(word.startswith("--set=") for word in words)
    assigned = options.given({}, [word.removeprefix("--set=") for word in words])
    assert options.configured("nowhere", assigned) == config


def test_a_plan_knows_its_places_and_what_must_not_change(tmp_path: Path) -> None:
    one = plan_of(configure({"epochs": 3, "task": "pairs"}), tmp_path)
    assert one.trial_folder(7) == tmp_path / "tune" / "trial-007"
    assert one.trials == tmp_path / "tune" / "trials.jsonl"
    assert one.settings == tmp_path / "tune" / "charseq.toml"
    assert one.conditions["data"] == "f00"
    assert one.conditions["settings"]["epochs"] == 3
    assert one.conditions["space"] == SPACE
