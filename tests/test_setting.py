"""charseq.setting: the declaration of one setting, and values in its type and limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from charseq.config import SETTINGS, Config, configure, in_use, parse
from charseq.errors import SettingError
from charseq.setting import (
    RENAMED,
    RENAMED_VALUES,
    checked,
    interval,
    renamed,
    setting,
    with_present_kinds,
)


@dataclass(frozen=True)
class Toy:
    """Settings of every kind."""

    cell: str = setting("gru", "model", "the cell", choices=("gru", "mlp"))
    size: int = setting(8, "model", "the size", least=1, most=64, next_word=16)
    rate: float = setting(0.5, "training", "the rate", least=0.0)
    tied: bool = setting(True, "model", "whether it is tied", task="pairs")
    context: int = setting(3, "model", "words read", task="next-word", cell="mlp")
    segment: int = setting(35, "training", "steps", running=True)


FACTS = {name: item.metadata for name, item in Toy.__dataclass_fields__.items()}


def value_of(name: str, value: Any) -> Any:
    return checked(name, value, getattr(Toy(), name), FACTS[name])


def test_help_begins_with_what_the_setting_needs() -> None:
    assert {name: facts["help"] for name, facts in FACTS.items()} == {
        "cell": "the cell",
        "size": "the size",
        "rate": "the rate",
        "tied": "pairs: whether it is tied",
        "context": "next-word with cell mlp: words read",
        "segment": "with running: steps",
    }


def test_the_default_for_next_words_is_the_default_unless_it_is_given() -> None:
    assert [FACTS[name]["next-word"] for name in ("size", "rate")] == [16, 0.5]


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("size", "12", 12), ("size", 12.0, 12), ("rate", "1e-3", 0.001), ("rate", 2, 2.0),
        ("tied", "No", False), ("tied", "1", True), ("tied", False, False), ("cell", "mlp", "mlp"),
    ],
)  # fmt: skip
def test_values_take_the_type_of_the_setting(name: str, value: Any, wanted: Any) -> None:
    found = value_of(name, value)
    assert (type(found), found) == (type(wanted), wanted)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("size", 0, "size is 0, expected 1 to 64"),
        ("size", 1.5, "size is '1.5', expected a whole number"),
        ("size", True, "size is 'True', expected a number"),
        ("size", 2**53 + 2, "size is '9007199254740994', expected a whole number of at most 9,007"),
        ("size", 2**53, "size is 9007199254740992, expected 1 to 64"),
        ("size", 10**400, "size is 'a number of more than 64 bits', expected a whole number"),
        ("rate", math.nan, "rate is nan, expected 0.0 or more"),
        ("rate", "soon", "rate is 'soon', expected a number"),
        ("tied", "perhaps", "tied is 'perhaps', expected true or false"),
        ("cell", "lstm", "cell is 'lstm', expected one of gru, mlp"),
        ("cell", "x" * 99, f"cell is '{'x' * 60}…', expected one of gru, mlp"),
        ("cell", 3, "cell is '3', expected text"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_expected(name: str, value: Any, told: str) -> None:
    with pytest.raises(SettingError) as caught:
        value_of(name, value)
    assert str(caught.value).startswith(told)


def test_limits_in_words() -> None:
    assert [interval(*limits) for limits in ((None, None), (1, None), (0.0, 0.9))] == [
        "", "1 or more", "0.0 to 0.9",
    ]  # fmt: skip


def test_settings_in_use_have_all_that_they_need() -> None:
    settings = Config(task="next-word", cell="mlp").to_json()
    assert set(settings) - set(in_use(settings)) == {
        name
        for name, item in SETTINGS.items()
        if item.metadata["needs"].get("task") == "pairs" or "stateful" in item.metadata["needs"]
    }
    assert "context" in in_use(settings)
    assert "context" not in in_use(settings | {"cell": "lstm"})
    assert in_use({"stateful": "yes", "task": "next-word", "segment": 9})[-1] == "segment"


def test_earlier_names_of_settings_are_read() -> None:
    assert set(RENAMED.values()) <= set(SETTINGS)
    assert set(RENAMED).isdisjoint(SETTINGS)
    assert renamed({"tied": False, "hidden": 8}) == {"tie_embeddings": False, "hidden": 8}
    old = {"running": True, "traits": False, "keep": 3, "samples": 9, "prior": False, "tied": False}
    found = configure({"task": "next-word", **old}).to_json()
    assert {name: found[RENAMED[name]] for name in old} == {**old, "running": "yes"}


@pytest.mark.parametrize(("value", "wanted"), [(True, "yes"), ("False", "no"), ("auto", "auto")])
def test_what_was_true_or_false_is_still_read(value: Any, wanted: str) -> None:
    assert configure({"stateful": value}).stateful == wanted
    assert parse("attention", "true") == "soft"
    with pytest.raises(SettingError, match="stateful is 'perhaps', expected one of auto, yes, no"):
        parse("stateful", "perhaps")


def test_earlier_names_of_values_are_read() -> None:
    assert renamed({"source_symbols": "parts", "cell": "gru"})["source_symbols"] == "decomposed"
    assert configure({"target_symbols": "parts"}).target_symbols == "decomposed"
    assert parse("source_symbols", "parts") == "decomposed"
    for name, values in RENAMED_VALUES.items():
        assert set(values.values()) <= set(SETTINGS[name].metadata["choices"])
        assert set(values).isdisjoint(SETTINGS[name].metadata["choices"])


@pytest.mark.parametrize("side", [None, [], {}, {"kind": 3}, {"kind": "none"}])
def test_metadata_without_sound_symbols_stay(side: object) -> None:
    assert with_present_kinds({"source": side, "a": 1}) == {"source": side, "a": 1}
    known = {"source": {"kind": "parts", "b": 2}, "target": side}
    assert with_present_kinds(known) == {"source": {"kind": "decomposed", "b": 2}, "target": side}
