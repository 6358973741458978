"""``charseq gradients``: sheets against autograd, and the flow of gradients."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from world import World, process

from charseq.cli import main


def difference_of(value: float) -> SimpleNamespace:
    """A room of comparisons whose worst difference is ``value``."""
    return SimpleNamespace(
        compare=lambda sheet, *, seed: [SimpleNamespace(to_json=lambda: {"sheet": sheet})],
        compare_numbers=lambda numbers, *, activation: [
            SimpleNamespace(to_json=lambda: {"sheet": "D", **numbers, "activation": activation})
        ],
        largest=lambda found: 100.0,
        worst=lambda found: value,
        LIMIT=1e-10,
    )


def shown(found: list[Any], *, full: bool) -> list[str]:
    return [f"full {full}", f"{len(found)} row"]


def test_gradients_compares_all_sheets_or_one(world: World) -> None:
    world.replace("gradients.compare", **vars(difference_of(1e-11)))
    world.replace("gradients.report", lines=shown)
    assert world.run("gradients") == (0, "full False\n1 row\n", "")
    assert world.run("gradients", "--sheet", "b1") == (0, "full True\n1 row\n", "")
    out = '[{"sheet": "D", "activation": "identity"}]\n'
    assert world.run("gradients", "--sheet", "D", "--json") == (0, out, "")


def test_own_numbers_are_handed_on(world: World) -> None:
    world.replace("gradients.compare", **vars(difference_of(2e-9)))  # 1e-10 of numbers up to 100
    world.replace("gradients.report", lines=shown)
    words = "--sheet D --x 10,10.5 --w-h -1 --h-0 0 --activation tanh --json"
    wanted = {"sheet": "D", "x": [10, 10.5], "w_h": -1, "h_0": 0, "activation": "tanh"}
    code, out, err = world.run("gradients", *words.split())
    assert (code, err) == (0, "")
    assert json.loads(out) == [wanted]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--sheet A --x 1", "are for --sheet D"),
        ("--activation tanh", "are for --sheet D"),
        ("--sheet D --x 1,,2", "expected 1 to 20 numbers with commas between, such as 10,10"),
        ("--sheet D --x 1,nan", "expected 1 to 20 numbers"),
        ("--sheet D --x 1e7", "expected 1 to 20 numbers"),
        ("--sheet D --x 1,2,3 --y 1,2", "--y has 2 numbers, expected one for each of --x: 3"),
        ("--sheet D --y 1", "--y has 1 numbers, expected one for each of --x: 2"),
        ("--sheet D --w-h nan", "--w-h"),
    ],
)
def test_numbers_that_cannot_be_are_refused(world: World, words: str, said: str) -> None:
    code, out, err = world.run("gradients", *words.split())
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_worked_example_of_ones_own() -> None:
    done = process("gradients", "--sheet", "D", "--x", "10,10,10,10", "--w-h", "0.5")
    assert done.returncode == 0, done.stderr
    assert "0.5^4" in done.stdout.decode()
    assert "on the sheet" not in done.stdout.decode()


@pytest.mark.parametrize("difference", [2e-10, float("inf"), float("nan")])
def test_a_difference_ends_in_exit_code_1(world: World, difference: float) -> None:
    world.replace("gradients.compare", **vars(difference_of(difference)))
    world.replace("gradients.report", lines=shown)
    code, out, err = world.run("gradients")
    assert (code, out) == (1, "full False\n1 row\n")
    assert err == f"charseq: error: by hand and by autograd differ by {difference:g}\n"


def test_the_sheets_themselves_pass() -> None:
    """The whole command as a process: the table, the count, the exit code."""
    done = process("gradients")
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode()
    for sheet in ("A", "B1", "B2", "B3", "C", "D", "E", "F"):
        assert f"\n{sheet}. " in out
    assert "numbers compared" in out


def test_flow_passes_its_options_on(world: World, tmp_path: Path) -> None:
    asked: list[Any] = []

    class Found:
        facts: ClassVar = {"steps": 3}
        lines: ClassVar = ["a line"]

        def draw(self, folder: Path, *, force: bool) -> list[Path]:
            assert not force
            return [folder / "flow.png"]

    def study_cells(cells: Any, **options: Any) -> Found:
        asked.append((tuple(cells), options))
        return Found()

    def study_run(run: str | None, text: str) -> Found:
        asked.append((run, text))
        return Found()

    plots = {"require_plots": lambda: None}
    world.replace("gradients.study", study_cells=study_cells, study_run=study_run, **plots)
    words = [
        "--flow",
        "--cell",
        "gru",
        "--cell",
        "tanh",
        "--scale",
        "2",
        "--steps",
        "9",
        "--hidden",
        "7",
        "--seed",
        "4",
    ]
    assert world.run("gradients", *words) == (0, "a line\n", "")
    options = {"scales": (2.0,), "steps": 9, "hidden": 7, "seed": 4}
    assert asked.pop() == (("gru", "tanh"), options)
    assert world.run("gradients", "--flow", "--json") == (0, '{"steps": 3}\n', "")
    assert asked.pop()[0] == ()
    code, out, err = world.run("gradients", "-m", "R", "a text", "--plot", str(tmp_path))
    assert (code, out) == (0, "a line\n")
    assert err == f"drawn {tmp_path / 'flow.png'}\n"
    assert asked == [("R", "a text")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--plot here", "are for --flow"),
        ("--cell gru", "are for --flow"),
        ("-m R", "are for --flow"),
        ("--flow --sheet A", "exclude each other"),
        ("--flow -m R", "needs a text"),
        ("--sheet G", "'G' is not one of"),
        ("--flow --steps 1", "--steps"),
    ],
)
def test_options_that_exclude_each_other(world: World, words: str, said: str) -> None:
    code, out, err = world.run("gradients", *words.split())
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_missing_extra_is_named_before_the_work(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main.run(["gradients", "--flow", "--plot", "x"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "pip install matplotlib" in err
