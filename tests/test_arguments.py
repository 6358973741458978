"""The arguments of public functions: every wrong name and kind is one line, before any work."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import charseq
from charseq.api import KINDS
from charseq.arguments import WHOLE, checking
from charseq.errors import ArgumentError, CharseqError, SettingError

FUNCTIONS = ("load", "train", "evaluate", "compare", "convert", "configure")
DATES = Path(__file__).parent.parent / "checkpoints" / "dates"


@pytest.fixture(scope="module")
def model() -> Any:
    return charseq.load(DATES)


def join(first: str, second: str = "b", *, count: int = 1, sign: str | None = None) -> str:
    return f"{first}{sign or ''}{second}" * count


checked: Callable[..., str] = checking(join, {"count": WHOLE, "sign": WHOLE})


def test_a_call_that_fits_is_passed_on() -> None:
    assert checked("a") == "ab"
    assert checked("a", second="c", count=2) == "acac"
    assert checked("a", sign=None) == "ab"


@pytest.mark.parametrize(
    ("args", "options", "told"),
    [
        ("a", {"cuont": 2}, "charseq.join has no argument 'cuont'; did you mean 'count'?"),
        ("a", {"xyz": 2}, "charseq.join has no argument 'xyz'; it has first, second, count, sign"),
        ("abc", {}, "charseq.join is given 3 arguments by position, expected at most first, "),
        ("a", {"first": "b"}, "charseq.join is given 'first' twice, by position and by name"),
        ("", {}, "charseq.join needs the argument 'first'"),
        ("a", {"count": "2"}, "count is '2' (str), expected a whole number"),
        ("a", {"count": None}, "count is None, expected a whole number"),
        ("a", {"count": True}, "count is True (bool), expected a whole number"),
        ("a", {"sign": "-"}, "sign is '-' (str), expected a whole number"),
    ],
)
def test_a_call_that_does_not_fit_is_one_line(
    args: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ArgumentError, match=f"^{re.escape(told)}"):
        checked(*args, **options)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_unknown_argument_of_a_public_function_is_named(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"^charseq.{name} has no argument 'xyzzy'; it has "):
        getattr(charseq, name)(xyzzy=1)
    with pytest.raises(TypeError, match=r"'hiden'.*charseq\.configure\(\{'hidden': \.\.\.\}\)"):
        getattr(charseq, name)(hiden=1)


def test_the_nearest_argument_is_offered(model: Any) -> None:
    for call, told in (
        (lambda: charseq.train("x", callback=[]), "did you mean 'callbacks'"),
        (lambda: charseq.evaluate("x", spilt="test"), "did you mean 'split'"),
        (lambda: charseq.convert("x", model, colum="a"), "did you mean 'column'"),
        (lambda: charseq.convert("x", model, encodign="a"), "did you mean 'encoding'"),
        (
            lambda: model.predict("x", beem=3),
            r"^predict has no argument 'beem'; did you mean 'beam'",
        ),
    ):
        with pytest.raises(ArgumentError, match=told):
            call()


WRONG = (None, 5, 2.5, "x", b"x", ["x"], [5], {"x": 5}, {5: "x"}, object(), True)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_kind_of_value_ends_in_an_error_of_the_inside(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each argument gets a value of every kind: that is taken, or it is one line."""
    monkeypatch.chdir(tmp_path)
    Path("pairs.tsv").write_text("a\tb\n")
    function, required = getattr(charseq, name), {"data": "pairs.tsv", "values": {}}
    parameters = inspect.signature(function).parameters
    base = {one: value for one, value in required.items() if one in parameters}
    if name == "compare":
        base["models"] = (DATES, DATES)
    for parameter, facts in parameters.items():
        for value in WRONG if facts.kind is not facts.VAR_KEYWORD else ():
            said = fault_of(functools.partial(function, **{**base, parameter: value}))
            assert said.count("\n") == 0, (parameter, value)


def fault_of(call: Callable[[], object]) -> str:
    """The message of the error that a call ends in, by design; "" for a call that ends well."""
    try:
        call()
    except (CharseqError, FileNotFoundError) as fault:
        return str(fault)
    return ""


def test_every_argument_of_a_public_function_has_a_kind() -> None:
    elsewhere = {"data", "model", "options"}  # checked where they are read
    for name in FUNCTIONS:
        named = set(inspect.signature(getattr(charseq, name)).parameters)
        assert named - elsewhere <= set(KINDS), name


@pytest.mark.parametrize(
    ("name", "args", "options", "told"),
    [
        ("configure", [None], {}, "values is None, expected a dict of settings by name"),
        ("configure", [{}], {"base": {}}, "base is {} (dict), expected what charseq.configure"),
        ("train", ["x"], {"callbacks": 5}, "callbacks is 5 (int), expected a list of objects"),
        ("train", ["x"], {"callbacks": [charseq.Callback]}, "callbacks is [<class 'charseq"),
        ("train", ["x"], {"run": 5}, "run is 5 (int), expected a path"),
        ("train", ["x"], {"force": "no"}, "force is 'no' (str), expected True or False"),
        ("evaluate", ["x"], {"reading": "tab"}, "reading is 'tab' (str), expected a dict"),
        ("compare", ["x"], {"models": 5}, "models is 5 (int), expected two models"),
    ],
)
def test_frequent_slips_are_told(
    name: str, args: list[Any], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ArgumentError, match=f"^{re.escape(told)}"):
        getattr(charseq, name)(*args, **options)


@pytest.mark.parametrize(
    ("reading", "told"),
    [
        ({"colums": "a"}, "reading has 'colums' (str), expected some of columns, header, del"),
        ({5: "a"}, "reading has 5 (int), expected some of columns"),
        ({"header": "perhaps"}, "header is 'perhaps', expected one of auto, yes, no"),
    ],
)
def test_data_are_not_read_by_unknown_settings(reading: dict[Any, str], told: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(told)}"):
        charseq.evaluate("x", reading=reading)


def test_a_setting_that_is_no_text_is_unknown() -> None:
    with pytest.raises(CharseqError, match=r"^unknown setting '5'"):
        charseq.configure({5: 1})  # type: ignore[dict-item]
