"""The pages of docs/reference are current, and have an entry for all that the program offers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from world import write_capitals

import charseq
from charseq import errors, process
from charseq.config import SETTINGS, configure

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts"))

import reference  # noqa: E402 - a script, found on the path that was added

SMALL = {"hidden": 8, "embedding": 8, "epochs": 4, "evaluations": 2, "keep": 1, "threads": 1}
WORDS = [f"{first}{last}" for first in "abcdefghijkl" for last in ("a", "be", "bid", "do", "ox")]


def text_of(name: str) -> str:
    return (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """A page's text from a heading to the next one of its level."""
    return re.split(r"^## ", page.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[str]:
    """The first cell of every row of the tables in a text."""
    return [
        line.split(" | ")[0].removeprefix("| ") for line in text.split("\n") if line[:2] == "| "
    ]


# --- pages


def test_the_pages_are_current() -> None:
    assert list(reference.stale(reference.PAGES)) == [], "run scripts/reference.py"


def test_the_check_names_what_is_stale_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference.main(["--check"], folder=tmp_path / "pages") == 1
    assert not (tmp_path / "pages").exists()
    assert reference.main([], folder=tmp_path / "pages") == 0
    capsys.readouterr()
    assert reference.main(["--check"], folder=tmp_path / "pages") == 0
    assert capsys.readouterr() == ("", "")
    page = tmp_path / "pages" / "settings.md"
    page.write_text(page.read_text(encoding="utf-8") + "\nmore\n", encoding="utf-8")
    before = page.stat().st_mtime_ns
    assert reference.main(["--check"], folder=tmp_path / "pages") == 1
    assert re.findall(r"\w+\.md|[\w-]+\.py", capsys.readouterr().err) == [
        "settings.md", "reference.py",
    ]  # fmt: skip
    assert page.stat().st_mtime_ns == before
    assert reference.main([], folder=tmp_path / "pages") == 0
    assert page.read_text(encoding="utf-8") == text_of("settings.md")


def test_the_pages_do_not_depend_on_terminal_or_locale() -> None:
    odd = {"COLUMNS": "30", "TERM": "dumb", "LC_ALL": "C", "LANGUAGE": "de", "CHARSEQ_BEAM": "3"}
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "reference.py", "--check"],
        env={**os.environ, **odd, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


# --- settings


def test_every_setting_has_one_row_in_its_group() -> None:
    page = text_of("settings.md")
    assert first_cells(page).count("setting") == len(
        {s.metadata["group"] for s in SETTINGS.values()}
    )
    for name, item in SETTINGS.items():
        rows = first_cells(section(page, item.metadata["group"]))
        assert rows.count(f"`{name}`") == 1
    assert len([cell for cell in first_cells(page) if cell[0] == "`"]) == len(SETTINGS)


def test_a_row_has_default_values_and_meaning() -> None:
    rows = text_of("settings.md").split("\n")
    assert "| `beam` | `5` | 1 to 64 | beam width; 1 is greedy search |" in rows
    (cell,) = (row for row in rows if row.startswith("| `cell` |"))
    assert cell.split(" | ")[1:3] == ["`gru / lstm`", "`tanh`, `residual`, `gru`, `lstm`, `mlp`"]


# --- command line


def commands() -> dict[str, click.Command]:
    return dict(reference.command_group().commands)


def test_every_command_is_listed_with_its_own_section() -> None:
    page = text_of("command-line.md")
    for name in commands():
        assert f"[`{name}`](#charseq-{name})" in page
        assert f"charseq {name} " in section(page, f"charseq {name}").split("```")[1]


@pytest.mark.parametrize("name", list(commands()))
def test_every_option_and_argument_has_an_entry(name: str) -> None:
    page = text_of("command-line.md")
    own = section(page, f"charseq {name}")
    rows = first_cells(section(page, "Options of every command")) + first_cells(own)
    usage = own.split("```")[1].split("[OPTIONS]")[1].split()
    arguments = [one for one in commands()[name].params if isinstance(one, click.Argument)]
    assert len(usage) == len(arguments)
    assert all(own.count(f"\n- `{word}`: ") == 1 for word in usage)
    for param in commands()[name].params:
        if isinstance(param, click.Option):
            (row,) = (row for row in rows if param.opts[-1] in re.split(r"[`, ]+", row))
            assert all(word in row for word in param.opts)


def test_help_names_both_of_its_forms_once() -> None:
    page = text_of("command-line.md")
    assert [cell for cell in first_cells(page) if "--help" in cell] == ["`-h, --help`"]


def test_a_row_of_an_option_has_values_default_and_meaning() -> None:
    rows = section(text_of("command-line.md"), "charseq predict").split("\n")
    (beam,) = (row for row in rows if row.startswith("| `--beam"))
    assert beam.split(" | ")[1] == "1 to 64"
    assert "default" not in beam
    assert "`CHARSEQ_BEAM`" in beam
    (output,) = (
        row for row in section(text_of("command-line.md"), "charseq average").split("\n")
        if "--output" in row
    )  # fmt: skip
    assert output.split(" | ")[1] == "required"


def test_every_exit_code_is_explained() -> None:
    rows = first_cells(section(text_of("command-line.md"), "Exit codes"))[2:]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.CharseqError)}
    stopped = {
        errors.Interrupted("", signal_number=number).exit_code for number in process.STOP_SIGNALS
    }
    assert {int(row) for row in rows} == {0} | codes | stopped


def test_every_variable_of_the_program_is_explained() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "charseq").rglob("*.py")]
    found = {name for text in sources for name in re.findall(r'"(CHARSEQ_[A-Z]+)"', text)}
    assert "CHARSEQ_MODEL" in found
    assert {f"`{name}`" for name in found} <= set(
        first_cells(section(text_of("command-line.md"), "Environment"))
    )


# --- Python


def test_every_public_name_is_explained() -> None:
    page = text_of("python.md")
    for name in set(charseq.__all__) - {"__version__", "Callback", "CharseqError"}:
        assert f"\n{name}(" in section(page, f"charseq.{name}")
    assert "`CharseqError`" in section(page, "Errors")
    assert "### Callback.evaluation" in section(page, "Callback")
    for answer in ("Prediction", "Candidate", "Session", "LineScore", "LanguageModel"):
        assert f"\n## {answer}\n" in page
    assert "### LanguageModel.generate" in page
    assert {"`prediction`", "`candidates`", "`origin`"} <= set(
        first_cells(section(page, "Prediction"))
    )


def test_no_address_role_or_private_name_of_a_type_is_shown() -> None:
    page = text_of("python.md")
    assert not re.search(r"0x[0-9a-f]{6}|:\w+:`|(?<!`)``\w", page)
    assert "report: Callable[[str], None]" in page


def test_every_error_is_explained_with_its_exit_code() -> None:
    rows = section(text_of("python.md"), "Errors").split("\n")
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.CharseqError):
            (row,) = (row for row in rows if row.startswith(f"| `{name}` |"))
            assert f"`{kind.__mro__[1].__name__}`" in row
            if kind is not errors.Interrupted:
                assert row.split(" | ")[2] == str(kind.exit_code)


# --- run folder


def told(part: str, *when: str) -> set[str]:
    """The names that a table of the page has, of those that are present when ``when``."""
    names: dict[str, list[str]] = reference.TEXTS["run-folder"][part]
    return {name for name, (present, _) in names.items() if not when or present in when}


def unknown(found: Iterator[str]) -> list[str]:
    """The files that are not on the page."""
    known = [re.sub("N+", "[0-9]+", re.escape(name.rstrip("/"))) for name in told("names")]
    return [name for name in found if not any(re.fullmatch(one, name) for one in known)]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """A finished run of pairs, and what its folder held on the way."""
    place = tmp_path_factory.mktemp("pairs")
    write_capitals(
        place / "data", train=WORDS, dev=[f"{word}{end}" for word in WORDS for end in "ab"]
    )
    seen: set[str] = set()
    charseq.train(
        place / "data",
        run=place / "run",
        config=configure(SMALL),
        watch=lambda _: seen.update(names_in(place / "run")),
        evaluated=False,
    )
    return place / "run", seen


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that predicts words."""
    place = tmp_path_factory.mktemp("sentences")
    (place / "lines.txt").write_text("it was so\nso it was\nit is\n" * 20, encoding="utf-8")
    config = configure({**SMALL, "task": "next-word", "keep": 0})
    charseq.train(place / "lines.txt", run=place / "run", config=config, evaluated=False)
    return place / "run"


def test_a_finished_run_holds_what_the_page_says(pairs: tuple[Path, set[str]]) -> None:
    run, _ = pairs
    assert names_in(run) == told("names", "always") | {"kept.2.safetensors"}
    assert unknown(iter(names_in(run))) == []


def test_an_unfinished_run_holds_what_the_page_says(pairs: tuple[Path, set[str]]) -> None:
    _, seen = pairs
    assert unknown(iter(seen)) == []
    assert told("names", "always", "during training") <= seen
    assert {"resume.a.json", "resume.a.safetensors", "kept.1.safetensors"} <= seen


def test_a_search_holds_what_the_page_says(pairs: tuple[Path, set[str]], tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    words = ["tune", str(pairs[0].parent / "data"), "-o", str(tmp_path / "run"), "--trials", "1"]
    words += ["--epochs", "1", "--set", "hidden=8", "--set", "embedding=8", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "charseq", *words], capture_output=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    found = {f"tune/{name}" for name in names_in(tmp_path / "run" / "tune")}
    assert found == told("names", "after `charseq tune`")


def about(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "about.json").read_text(encoding="utf-8")))


def test_about_has_the_keys_that_the_page_says(
    pairs: tuple[Path, set[str]], sentences: Path
) -> None:
    assert set(about(pairs[0])) == told("keys", "all", "pairs", "pairs with 100 dev inputs")
    assert set(about(sentences)) == told("keys", "all", "next-word")


@pytest.mark.parametrize("name", ["dates", "sentences"])
def test_shipped_models_have_no_key_that_the_page_does_not_know(name: str) -> None:
    run = ROOT / "checkpoints" / name
    assert set(about(run)) <= told("keys")
    assert unknown(iter(names_in(run))) == []


def test_the_manifest_is_as_the_page_says(pairs: tuple[Path, set[str]]) -> None:
    manifest = json.loads((pairs[0] / "manifest.json").read_text(encoding="utf-8"))
    page = section(text_of("run-folder.md"), "manifest.json")
    assert set(manifest) == {"format", "files", "seal"}
    assert all(f"`{key}`" in page for key in manifest)
    assert set(manifest["files"]) == names_in(pairs[0]) - {"manifest.json"}
    assert all(set(entry) == {"size", "sha256"} for entry in manifest["files"].values())
