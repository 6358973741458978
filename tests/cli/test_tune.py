"""charseq tune: what it asks of the search, and what it prints."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from world import World, process

from charseq.config import configure, defaults


@pytest.fixture
def asked(world: World) -> list[tuple[str, dict[str, Any]]]:
    calls: list[tuple[str, dict[str, Any]]] = []

    def tune(data: str, *, report: Any, **given: Any) -> dict[str, Any]:
        calls.append((data, given))
        report("trial 1")
        return {"run": "R", "best": 1}

    world.replace("training.tuning.tune", tune=tune)
    return calls


def test_options_are_passed_on(world: World, asked: list[Any], tmp_path: Path) -> None:
    data = str(tmp_path)
    assert world.run("tune", data) == (0, "", "trial 1\n")
    ((where, given),) = asked
    assert where == data
    assert given == {
        "run": None, "config": defaults("pairs"), "ranges": None, "fixed": set(), "trials": None,
        "hours": None, "force": False, "dry_run": False, "progress": False,
    }  # fmt: skip
    words = "-o R --trials 7 --hours 1.5 --ranges mine.toml --minutes 2 --set hidden=64 --force"
    code, out, err = world.run("tune", data, *words.split(), "--dry-run", "--json", "-q")
    assert (code, out, err) == (0, '{"run": "R", "best": 1}\n', "")
    config = configure({"minutes": 2, "hidden": 64}, base=defaults("pairs"))
    assert asked[1][1] == {
        "run": Path("R"), "config": config, "ranges": Path("mine.toml"),
        "fixed": {"minutes", "hidden"}, "trials": 7, "hours": 1.5, "force": True, "dry_run": True,
        "progress": False,
    }  # fmt: skip


def test_settings_of_the_environment_are_fixed_those_of_the_data_are_not(
    world: World, asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "charseq.toml").write_text("dropout = 0.15\n[tune]\ndropout = true\n")
    monkeypatch.setenv("CHARSEQ_LAYERS", "2")
    assert world.run("tune", str(tmp_path), "--cell", "lstm")[0] == 0
    given = asked[0][1]
    assert given["fixed"] == {"cell", "layers"}
    assert (given["config"].layers, given["config"].dropout) == (2, 0.15)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--trials 0", "0 is not in the range"),
        ("--hours 0", "0.0 is not in the range"),
        ("--set hidden", "expected NAME=VALUE"),
        ("--set hiden=5", "did you mean 'hidden'"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    words: str, said: str, world: World, asked: list[Any], tmp_path: Path
) -> None:
    code, out, err = world.run("tune", str(tmp_path), *words.split())
    assert (code, out, asked) == (2, "", [])
    assert err.count("\n") == 1
    assert said in err


def test_without_optuna_it_says_what_to_install(tmp_path: Path) -> None:
    """Before the data are read."""
    missing = "import sys\nsys.modules['optuna'] = None"
    done = process("tune", str(tmp_path / "none.tsv"), code=missing)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == (
        b"charseq: error: searching for settings needs optuna: pip install optuna\n"
    )


def test_its_help_loads_nothing_and_shows_ranges() -> None:
    code = (
        "import sys\nfrom charseq.cli import main as cli\ncli.run(['tune', '--help'])\n"
        "print({*sys.modules} & {'torch', 'numpy', 'optuna', 'sqlalchemy'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    shown = done.stdout.decode()
    assert shown.endswith("set()\n")
    assert "learning_rate = {low = 0.0005, high = 0.008, log = true}" in shown
