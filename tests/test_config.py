"""charseq.config: every setting once, and no value gets past its type and limits."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.config import CELLS, SETTINGS, Config, cells_of, configure, defaults, describe, parse
from charseq.errors import SettingError

NUMBERS = [name for name, item in SETTINGS.items() if type(item.default) in (int, float)]
CHOICES = [name for name, item in SETTINGS.items() if item.metadata["choices"]]
BOOLEANS = [name for name, item in SETTINGS.items() if isinstance(item.default, bool)]

each_number = pytest.mark.parametrize("name", NUMBERS)


def values(name: str) -> st.SearchStrategy[Any]:
    """Values that setting ``name`` must take."""
    item, facts = SETTINGS[name], SETTINGS[name].metadata
    if facts["choices"]:
        return st.sampled_from(facts["choices"])
    if isinstance(item.default, bool):
        return st.booleans()
    if isinstance(item.default, int):
        return st.integers(int(facts["least"] or 0), int(facts["most"] or 10**6))
    if isinstance(item.default, float):
        return st.floats(facts["least"] or 0.0, facts["most"] or 1e6)
    if name == "cells":
        return st.lists(st.sampled_from(CELLS), max_size=3).map(",".join)
    return st.text()


@st.composite
def a_setting(draw: st.DrawFn) -> tuple[str, Any]:
    name = draw(st.sampled_from(sorted(SETTINGS)))
    return name, draw(values(name))


# --- the declaration


def test_the_defaults_keep_their_own_rules() -> None:
    assert Config() == configure({})
    for name, item in SETTINGS.items():
        assert parse(name, item.default) == item.default


def test_every_setting_says_what_it_is() -> None:
    for name, item in SETTINGS.items():
        assert item.metadata["help"], name
        assert item.metadata["group"] in {"data", "model", "training", "decoding"}, name
        if item.metadata["choices"]:
            assert item.default in item.metadata["choices"], name


def test_predicting_words_has_some_defaults_of_its_own() -> None:
    pairs, words = defaults("pairs"), defaults("next-word")
    assert pairs == Config(task="pairs")
    assert words == Config(
        task="next-word", min_count=2, cell="lstm", embedding=256, hidden=512, learning_rate=5e-3,
        layers=1, dropout_growth=0.3, label_smoothing=0.0, ema=0.0,
    )  # fmt: skip
    assert defaults("auto") == Config()


@pytest.mark.parametrize("task", ["pairs", "next-word"])
def test_the_defaults_of_a_task_keep_the_rules_too(task: str) -> None:
    config = defaults(task)
    assert configure(config.to_json()) == config
    for name, value in config.to_json().items():
        assert type(value) is type(SETTINGS[name].default), name


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().hidden = 3  # type: ignore[misc]


def test_describe_names_every_setting_in_order() -> None:
    rows = describe()
    assert [row[1] for row in rows] == list(SETTINGS)
    facts = {row[1]: row for row in rows}
    assert facts["attention"][2:4] == ("auto", "auto, hard, soft, none")
    cells = "tanh, residual, gru, lstm, mlp"
    assert facts["cell"] == ("model", "cell", "gru / lstm", cells, facts["cell"][4])
    assert facts["hidden"][2:4] == ("256 / 512", "1 to 4096")
    assert facts["ema"][2] == "0.998 / 0.0"
    assert facts["min_count"][2] == "1 / 2"
    assert facts["dropout"][2] == "0.3"
    assert facts["stateful"][2:4] == ("auto", "auto, yes, no")
    assert facts["word_features"][2:4] == ("true", "true, false")
    assert facts["epochs"][2:4] == ("0", "0 or more")
    assert facts["columns"][2:4] == ("", "")


# --- values


@given(a_setting())
def test_a_good_value_is_taken_as_it_is_and_as_text(pair: tuple[str, Any]) -> None:
    name, value = pair
    assert parse(name, value) == value
    assert type(parse(name, value)) is type(SETTINGS[name].default)
    written = str(value).lower() if isinstance(value, bool) else str(value)
    assert parse(name, written) == value


@given(st.lists(a_setting().filter(lambda pair: pair[0] not in ("minutes", "epochs"))))
def test_json_brings_back_the_same_config(chosen: list[tuple[str, Any]]) -> None:
    config = configure(dict(chosen))
    assert set(config.to_json()) == set(SETTINGS)
    assert configure(json.loads(json.dumps(config.to_json()))) == config


def test_json_brings_back_epochs() -> None:
    config = configure({"epochs": 7})
    assert configure(json.loads(json.dumps(config.to_json()))) == config


@each_number
def test_limits_hold_and_are_inclusive(name: str) -> None:
    kind, facts = type(SETTINGS[name].default), SETTINGS[name].metadata
    step = 1 if kind is int else 1e-7
    for limit, outwards in ((facts["least"], -step), (facts["most"], step)):
        if limit is None:
            continue
        assert parse(name, limit) == limit
        with pytest.raises(SettingError, match=f"^{name} is .*expected"):
            parse(name, limit + outwards)


@each_number
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", float("nan"), float("inf"), "1e999"])
def test_a_number_is_finite(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"^{name} is"):
        parse(name, value)


@each_number
@pytest.mark.parametrize("value", ["many", "", "1,5", "0x10", None, True, False, [1], {"a": 1}])
def test_a_number_is_a_number(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"^{name} is .*expected a (whole )?number"):
        parse(name, value)


@pytest.mark.parametrize("value", [2.5, "2.5", "-0.1"])
def test_a_whole_number_is_whole(value: Any) -> None:
    with pytest.raises(SettingError, match=r"^hidden is .*, expected a whole number"):
        parse("hidden", value)


@pytest.mark.parametrize("value", [2**53 + 2, 2**63 - 1, -(2**63), 10**400, str(2**63), "9" * 25])
def test_a_whole_number_that_no_float_holds_is_called_too_large(value: Any) -> None:
    most = r"expected a whole number of at most 9,007,199,254,740,992$"
    with pytest.raises(SettingError, match=f"^epochs is .*, {most}"):
        parse("epochs", value)
    assert parse("epochs", 2**53) == parse("epochs", str(2**53)) == 2**53


def test_whole_numbers_may_be_written_as_others() -> None:
    assert parse("hidden", "128.0") == parse("hidden", 128.0) == parse("hidden", "1.28e2") == 128


@pytest.mark.parametrize("name", BOOLEANS)
def test_yes_and_no(name: str) -> None:
    assert all(parse(name, word) is True for word in ("true", "TRUE", "yes", "1", True, 1))
    assert all(parse(name, word) is False for word in ("false", "False", "no", "0", False, 0))


@pytest.mark.parametrize("name", BOOLEANS)
@pytest.mark.parametrize("value", ["", "maybe", "2", 2, None, "tru", []])
def test_neither_yes_nor_no(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"^{name} is .*, expected true or false"):
        parse(name, value)


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_is_one_of_them(name: str) -> None:
    for value in ("", "nonsense", f"{SETTINGS[name].default} "):
        with pytest.raises(SettingError, match=f"^{name} is .*, expected one of"):
            parse(name, value)


@pytest.mark.parametrize("value", [3, None, True, ["source"]])
def test_text_is_text(value: Any) -> None:
    with pytest.raises(SettingError, match=r"^columns is .*, expected text"):
        parse("columns", value)


def test_attention_is_read_as_the_first_runs_wrote_it() -> None:
    assert all(parse("attention", value) == "soft" for value in (True, "true", "True"))
    assert all(parse("attention", value) == "none" for value in (False, "false", "False"))
    assert parse("attention", "hard") == "hard"
    for value in (1, 0, None, "yes", "Soft"):
        with pytest.raises(SettingError, match=f"^attention is '{value}', expected"):
            parse("attention", value)


def test_an_unknown_name_gets_a_hint() -> None:
    with pytest.raises(SettingError, match=r"unknown setting 'hiden'; did you mean 'hidden'\?"):
        configure({"hiden": 3})
    with pytest.raises(SettingError, match="unknown setting 'xyzzy'; `charseq train --help`"):
        configure({"xyzzy": 3})


# --- minutes or epochs


def test_epochs_switch_minutes_off_and_the_other_way_round() -> None:
    by_epochs = configure({"epochs": "3"})
    assert (by_epochs.epochs, by_epochs.minutes) == (3, 0.0)
    by_minutes = configure({"minutes": "0.5"}, base=by_epochs)
    assert (by_minutes.epochs, by_minutes.minutes) == (0, 0.5)
    assert configure({"hidden": 8}, base=by_epochs).epochs == 3


def test_minutes_and_epochs_exclude_each_other() -> None:
    with pytest.raises(SettingError, match="exclude each other"):
        configure({"epochs": 3, "minutes": 1})


@pytest.mark.parametrize("chosen", [{"minutes": 0}, {"minutes": 0, "epochs": 0}])
def test_one_of_them_is_needed(chosen: dict[str, int]) -> None:
    with pytest.raises(SettingError, match="both 0"):
        configure(chosen)


def test_what_is_laid_over_wins_and_the_rest_stays() -> None:
    words = configure({"epochs": 2, "hidden": 9}, base=defaults("next-word"))
    assert (words.cell, words.hidden, words.epochs, words.minutes) == ("lstm", 9, 2, 0.0)
    base = configure({"hidden": 32, "cell": "lstm"})
    config = configure({"hidden": 64}, base=base)
    assert (config.hidden, config.cell) == (64, "lstm")
    assert base.hidden == 32


# --- the cells of an ensemble


def test_cells_are_given_to_the_members_in_turn() -> None:
    assert cells_of(configure({"ensemble": 3, "cell": "lstm"})) == ("lstm",) * 3
    assert cells_of(configure({"ensemble": 3, "cells": "gru, lstm"})) == ("gru", "lstm", "gru")
    assert cells_of(configure({})) == ("gru",)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ensemble": 2, "cells": "gru,mlp"}, "cells has 'mlp', expected some of tanh, residual"),
        ({"ensemble": 2, "cells": "gru,,lstm"}, "cells has '', expected some of"),
        ({"ensemble": 2, "cells": "gru,lstm,tanh"}, "cells has 3 cells for 2 members"),
        ({"cells": "gru"}, "cells is for an ensemble: give ensemble=2 or more, or cell"),
    ],
)
def test_cells_that_fit_no_ensemble_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError) as caught:
        cells_of(configure(settings))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_cell_is_refused_where_it_is_read() -> None:
    with pytest.raises(SettingError, match=r"^cells has 'grup', expected some of tanh, residual"):
        parse("cells", "gru,grup")
