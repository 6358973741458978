"""charseq.errors: the tree is as drawn, and each fault is one sentence with its place."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path

import pytest

from charseq import errors
from charseq.errors import (
    CharseqError,
    CheckpointError,
    DataError,
    Interrupted,
    MissingExtraError,
    SettingError,
    TrainingError,
    UsageError,
)

ROOT = Path(__file__).parent.parent


def drawn() -> dict[str, str]:
    """The tree of the docstring: name -> name of what it stands under."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").split("\n"):
        bare = line.lstrip(" │├└─")
        name = bare.split(" ")[0]
        if not name.isidentifier() or not hasattr(errors, name) or not line.startswith("    "):
            continue
        depth = len(line) - len(bare)
        above = [pair for pair in above if pair[0] < depth]
        parents[name] = above[-1][1] if above else "Exception"
        above.append((depth, name))
    return parents


def test_the_tree_is_as_drawn() -> None:
    defined = {
        name: thing.__bases__[0].__name__
        for name, thing in inspect.getmembers(errors, inspect.isclass)
        if issubclass(thing, Exception)
    }
    assert drawn() == defined


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (CharseqError("x"), 1),
        (UsageError("x"), 2),
        (SettingError("x"), 2),
        (DataError("x"), 1),
        (CheckpointError("x"), 1),
        (MissingExtraError("regex", "unicode", "cutting"), 1),
        (TrainingError("x"), 1),
        (Interrupted("x", signal_number=2), 130),
        (Interrupted("x", signal_number=15), 143),
    ],
)
def test_exit_codes(fault: CharseqError, code: int) -> None:
    assert isinstance(fault, CharseqError)
    assert fault.exit_code == code
    assert "\n" not in str(fault)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (DataError("found 3"), "found 3"),
        (DataError("found 3", path="a.tsv"), "a.tsv: found 3"),
        (DataError("found 3", path=Path("a.tsv"), line=7), "a.tsv:7: found 3"),
        (DataError("found 3").at("a.tsv"), "a.tsv: found 3"),
        (DataError("found 3").at("a.tsv", 7), "a.tsv:7: found 3"),
        (CheckpointError("no such run"), "no such run"),
        (CheckpointError("no such run", path=Path("runs/x")), "runs/x: no such run"),
    ],
)
def test_the_place_stands_before_the_fault(fault: CharseqError, text: str) -> None:
    assert str(fault) == text


def test_the_place_known_first_stays() -> None:
    inner = DataError("found 3", path="inner.tsv", line=3)
    assert str(inner.at("outer.tsv", 9)) == "inner.tsv:3: found 3"
    assert str(DataError("found 3", line=3).at("outer.tsv", 9)) == "outer.tsv:3: found 3"
    assert inner.at("outer.tsv").message == "found 3"


def test_line_zero_is_a_place() -> None:
    assert str(DataError("found 3", path="a.tsv", line=0)) == "a.tsv:0: found 3"


@pytest.mark.parametrize(("package", "extra"), [("regex", "unicode"), ("pyarrow", "parquet")])
def test_a_missing_extra_says_how_to_get_it(package: str, extra: str) -> None:
    text = str(MissingExtraError(package, extra, "reading Parquet"))
    assert text == f"reading Parquet needs {package}: pip install '.[{extra}]'"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"][extra] == [package]
