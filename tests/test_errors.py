"""charseq.errors: the tree is as drawn, and each fault is one sentence with its place."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import charseq
from charseq import errors
from charseq.data.formats.writer import Rejected
from charseq.errors import (
    AccessError,
    ArgumentError,
    CharseqError,
    CheckpointError,
    DataError,
    Interrupted,
    MissingExtraError,
    NewerVersionError,
    SettingError,
    Terminated,
    TrainingError,
    UsageError,
    argument,
    requirement,
)
from charseq.files import BusyError, HardLinkError, LinkError
from charseq.inference.answer_cache import TextMemoryError
from charseq.process import SignalReceived, TimeLimitReached

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
        (ArgumentError("x"), 2),
        (MissingExtraError("regex", "cutting"), 1),
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


@pytest.mark.parametrize("package", ["torch", "regex", "pyarrow", "odfpy", "optuna"])
def test_a_missing_package_says_how_to_get_it_anywhere(package: str) -> None:
    text = str(MissingExtraError(package, "reading Parquet"))
    assert text == f"reading Parquet needs {package}: pip install {package}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    assert package in {*project["dependencies"], *(name for extra in extras for name in extra)}


def test_the_versions_of_a_missing_package_are_those_that_charseq_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = ["numpy", "torch>=2.4", "Foo_Bar[x] >=1,<2 ; extra == 'tune'", "regex; extra == 'u'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda _name: asked)
    assert requirement("torch") == "'torch>=2.4'"
    assert requirement("foo-bar") == "'Foo_Bar[x]>=1,<2'"
    assert requirement("regex") == "regex"
    assert requirement("unknown") == "unknown"

    def absent(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.requires", absent)
    assert requirement("torch") == "torch"


def samples(folder: Path) -> list[BaseException]:
    """An error of each class of charseq, with all its attributes."""
    link = folder / "link"
    link.symlink_to("elsewhere")
    return [
        CharseqError("a fault"),
        UsageError("a fault"),
        SettingError("a fault"),
        DataError("found 3", path=Path("a.tsv"), line=7),
        Rejected("found 3", path="a.tsv", line=7),
        AccessError("no space", path="a.tsv"),
        CheckpointError("is damaged", path=Path("runs/x")),
        NewerVersionError("is newer", path=Path("runs/x")),
        ArgumentError("a fault"),
        MissingExtraError("regex", "cutting"),
        TrainingError("a fault"),
        Interrupted("stopped", signal_number=15),
        Terminated(15),
        SignalReceived(),
        TimeLimitReached(),
        LinkError(link),
        HardLinkError(link),
        BusyError("17"),
        TextMemoryError("a long text"),
    ]


def facts(fault: BaseException) -> tuple[object, ...]:
    code = getattr(fault, "errno", None)
    return type(fault), fault.args, str(fault), vars(fault), code


def test_every_error_is_pickled_and_copied_with_its_attributes(tmp_path: Path) -> None:
    for fault in samples(tmp_path):
        for again in (pickle.loads(pickle.dumps(fault)), copy.deepcopy(fault), copy.copy(fault)):
            assert facts(again) == facts(fault)
    stopped = pickle.loads(pickle.dumps(Interrupted("stopped", signal_number=15)))
    assert stopped.exit_code == 143


def test_the_samples_are_of_every_error_that_there_is(tmp_path: Path) -> None:
    found = set()
    for module in pkgutil.walk_packages(charseq.__path__, "charseq."):
        if not module.name.endswith(("__main__", "rnn_triton")):
            for kind in vars(importlib.import_module(module.name)).values():
                if inspect.isclass(kind) and issubclass(kind, BaseException):
                    found |= {kind} if kind.__module__.startswith("charseq.") else set()
    assert found == {type(fault) for fault in samples(tmp_path)}


MARKED = (
    f"give {argument('force', True)}, {argument('learning_rate', 0.001)}, "
    f"{argument('min_count', 2)}, "
    f"{argument('columns', 'source=a b')} or another {argument('run')}"
)


def test_a_message_shows_its_arguments_as_its_reader_writes_them() -> None:
    fault = DataError(MARKED, path="--force.tsv", line=2)
    told = "give force=True, learning_rate=0.001, min_count=2, columns='source=a b' or another run"
    assert str(fault) == f"--force.tsv:2: {told}"
    assert fault.message == told
    assert repr(fault) == f"DataError({str(fault)!r})"
    assert fault.told(lambda name, value: f"<{name} {value}>").endswith("or another <run None>")
    outer = CheckpointError(fault.marked, path="run")
    assert str(outer) == f"run: {fault}"
    assert outer.told(lambda *_: "x") == "run: --force.tsv:2: give x, x, x, x or another x"


@pytest.mark.parametrize("inner", ["", "x", "[1]", '{"a":1}', "\ufdd0"])
def test_a_text_that_looks_like_a_mark_stays(inner: str) -> None:
    text = f"\ufdd0{inner}\ufdd1"
    assert str(UsageError(f"a {text} b")) == f"a {text} b"


def test_an_argument_error_is_what_python_raises_for_arguments(tmp_path: Path) -> None:
    assert issubclass(ArgumentError, UsageError)
    assert issubclass(ArgumentError, TypeError)
    assert ArgumentError in {type(fault) for fault in samples(tmp_path)}
