"""Every command and every Python example of the documentation runs and prints what the page shows.

How a page is written (README.md and docs/, without the pages that the program generates):

- Commands are in blocks ```` ```console ````, each on one line after ``$ ``. The other lines are
  what the command prints, on stdout or stderr. A line ``...`` stands for any number of lines.
- ``<!-- output not compared: REASON -->`` before a block: its commands are run, their output is
  not compared. ``<!-- not run: REASON -->``: its commands are not run.
  ``<!-- run by tests/FILE.py: REASON -->``: that test runs them, where it finds what they need.
- Python examples are in blocks ```` ```python ````. Those of a page are one program, which is run
  after the commands of the page. A block ```` ```text ```` after one of them shows what it prints.

How a page is run: by one bash, in a folder with copies of ``data`` and ``checkpoints`` that all
pages share, in the order in which the README lists them. So a reader may paste them one after the
other: no page needs what an earlier one made, and none is in the way of a later one.
To be quick, the training split of the dates is cut to :data:`TRAIN` rows and their dev split to
:data:`DEV`, the environment makes models small (:data:`SMALL`), and budgets are replaced
(:data:`SHORTER`). Everything else is run as it is written.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
GENERATED = "<!-- Written by "
README = ROOT / "README.md"
LISTED = re.findall(r"\((docs/[\w/-]+\.md)\)", README.read_text(encoding="utf-8"))
PAGES = [
    page
    for page in dict.fromkeys(
        (README, *(ROOT / name for name in LISTED), *sorted((ROOT / "docs").rglob("*.md")))
    )
    if GENERATED not in page.read_text(encoding="utf-8")
]
"""In the order of the README's links."""

TRAIN, DEV = 300, 60
SMALL = {
    "CHARSEQ_DEVICE": "cpu",
    "CHARSEQ_EMBEDDING": "8",
    "CHARSEQ_EPOCHS": "1",
    "CHARSEQ_EVALUATIONS": "2",
    "CHARSEQ_HIDDEN": "8",
    "OMP_NUM_THREADS": "1",
}
SHORTER = (
    (r"--(minutes|epochs) [0-9.]+", "--epochs 1"),
    (r"--(hours|trials) [0-9.]+", "--trials 2"),
    (r"--ensemble [0-9]+", "--ensemble 2"),
    (r'"minutes": [0-9.]+', '"epochs": 1'),
)
MOST_NOT_RUN = 20
TOLERANCE = 0.002
"""Scores differ in their last digits from processor to processor."""
SECONDS = 300

NOT_RUN, NOT_COMPARED = "not run", "output not compared"
ELSEWHERE = "run by "
MARK = re.compile(r"<!-- (not run|output not compared|run by tests/[\w/]+\.py): (.*) -->")
NUMBER = re.compile(r"(\d+\.\d+)")
ANY_LINES = "..."

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@dataclass(frozen=True)
class Block:
    """A block of code: its language, the line of its fence, and the mark before it."""

    language: str
    line: int
    lines: tuple[str, ...]
    mark: str = ""
    reason: str = ""

    @property
    def is_run(self) -> bool:
        """Whether the block is run with its page."""
        return self.mark != NOT_RUN and not self.mark.startswith(ELSEWHERE)


@dataclass(frozen=True)
class Command:
    """A command, its line, and the lines that the page shows below it."""

    text: str
    line: int
    shown: tuple[str, ...]
    compared: bool


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page; indented blocks have the language ``indented``."""
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        fence = lines[number]
        if fence.startswith("```"):
            mark = MARK.fullmatch(lines[number - 1]) if number else None
            end = lines.index("```", number + 1)
            inside = tuple(lines[number + 1 : end])
            yield Block(fence[3:], number + 1, inside, *(mark.groups() if mark else ()))
            number = end
        elif fence.startswith("    "):
            yield Block("indented", number, (fence.strip(),))
        number += 1


def commands(text: str) -> list[Command]:
    """The commands of a page that are to be run, in order."""
    found: list[Command] = []
    for block in blocks(text):
        if block.language != "console" or not block.is_run:
            continue
        for number, line in enumerate(block.lines, block.line + 1):
            if line.startswith("$ "):
                found.append(Command(line[2:], number, (), block.mark != NOT_COMPARED))
            else:
                last = found.pop()
                found.append(Command(last.text, last.line, (*last.shown, line), last.compared))
    return found


def program(text: str) -> str:
    """The Python examples of a page as one program."""
    wanted = [one for one in blocks(text) if one.language == "python" and one.is_run]
    return "\n".join(line for block in wanted for line in block.lines)


def printed(text: str) -> list[str]:
    """The lines that the Python examples of a page print, as far as they are shown."""
    every = list(blocks(text))
    found = [ANY_LINES]
    for example, output in pairwise(every):
        if (example.language, output.language) == ("python", "text"):
            found += [*output.lines, ANY_LINES]
    return found


def strays(text: str) -> list[int]:
    """The lines with a command of charseq in a block that is not run."""
    return [
        number
        for block in blocks(text)
        for number, line in enumerate(block.lines, block.line + 1)
        if block.language != "console" and not block.mark and re.match(r"(\$ )?charseq ", line)
    ]


def shorter(text: str) -> str:
    """A command or a program with the smallest budgets."""
    for pattern, replacement in SHORTER:
        text = re.sub(pattern, replacement, text)
    return text


def agrees(shown: Sequence[str], found: Sequence[str]) -> bool:
    """Whether the lines found are those that a page shows."""
    if not shown:
        return not found
    if shown[0] == ANY_LINES:
        return any(agrees(shown[1:], found[first:]) for first in range(len(found) + 1))
    return bool(found) and _same(shown[0], found[0]) and agrees(shown[1:], found[1:])


def _same(shown: str, found: str) -> bool:
    """Whether two lines are equal but for the last digits of numbers with a decimal point."""
    one, other = NUMBER.split(shown.rstrip()), NUMBER.split(found.rstrip())
    return one[::2] == other[::2] and all(
        abs(float(a) - float(b)) <= TOLERANCE for a, b in zip(one[1::2], other[1::2], strict=True)
    )


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all pages."""
    return workspace_in(tmp_path_factory.mktemp("pages"))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder for one test."""
    return workspace_in(tmp_path)


def workspace_in(parent: Path) -> Path:
    """A folder with data, checkpoints, and a ``charseq`` that runs this tree."""
    folder = parent / "workspace"
    for name in ("data", "checkpoints/dates", "checkpoints/sentences"):
        shutil.copytree(ROOT / name, folder / name)
    for name, rows in (("train", TRAIN), ("dev", DEV)):
        path = folder / "data" / f"{name}.tsv"
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:rows]))
    tools = parent / "bin"
    tools.mkdir()
    for name, call in (("charseq", f'"{sys.executable}" -m charseq'), ("python", sys.executable)):
        (tools / name).write_text(f'#!/bin/sh\nexec {call} "$@"\n')
        (tools / name).chmod(0o755)
    return folder


def differences(text: str, workspace: Path) -> list[str]:
    """Run the commands and the Python examples of a page: the first that does not do as shown.

    A command that fails ends the run; so does an output that is not the one of the page.
    """
    listed = commands(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHARSEQ_")}
    if "CHARSEQ_KERNELS" in os.environ:
        kept["CHARSEQ_KERNELS"] = os.environ["CHARSEQ_KERNELS"]
    known = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    path = os.pathsep.join((str(workspace.parent / "bin"), os.environ["PATH"]))
    environment = {**kept, **SMALL, "PATH": path, "PYTHONPATH": known}
    out = Path(tempfile.mkdtemp(prefix="out-", dir=workspace.parent))
    script = ["set -o pipefail"]
    for place, command in enumerate(listed):
        script.append(f"{{ {shorter(command.text)}\n}} >{out}/{place} 2>&1 </dev/null")
        script.append(f"code=$?; [ $code = 0 ] || {{ echo $code >{out}/code; exit 1; }}")
    subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=workspace, env=environment, timeout=SECONDS, check=False,
    )  # fmt: skip
    for place, command in enumerate(listed):
        found = (out / str(place)).read_text(encoding="utf-8")
        if (out / "code").exists() and not (out / str(place + 1)).exists():
            code = (out / "code").read_text().strip()
            return [f"line {command.line}: exit code {code}: {command.text}\n{found}"]
        lines = found.rstrip("\n").split("\n") if found else []
        if command.compared and command.shown and not agrees(command.shown, lines):
            shown = "\n".join(command.shown)
            return [f"line {command.line}: {command.text}\nshown:\n{shown}\nfound:\n{found}"]
    if example := program(text):
        done = subprocess.run(
            [sys.executable, "-c", shorter(example)],
            cwd=workspace, env=environment, timeout=SECONDS, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode:
            return [f"the Python examples:\n{done.stdout}"]
        if not agrees(printed(text), done.stdout.split("\n")):
            return [f"they print:\n{done.stdout}"]
    return []


@each_page
def test_a_page_does_what_it_shows(page: Path, clone: Path) -> None:
    assert differences(page.read_text(encoding="utf-8"), clone) == []


@each_page
def test_no_command_is_outside_of_what_is_run(page: Path) -> None:
    assert strays(page.read_text(encoding="utf-8")) == []


MARKED = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}:{block.line}: {block.mark}: {block.reason}")
    for page in PAGES
    for block in blocks(page.read_text(encoding="utf-8"))
    if block.mark
]


@pytest.mark.parametrize("block", MARKED)
def test_a_mark_gives_its_reason(block: Block) -> None:
    assert len(block.reason.split()) >= 3


def test_few_blocks_are_not_run() -> None:
    here = [one.values[0] for one in MARKED if not one.values[0].mark.startswith(ELSEWHERE)]
    assert len(here) <= MOST_NOT_RUN


def test_a_test_that_is_named_exists() -> None:
    marks = {block.mark for page in PAGES for block in blocks(page.read_text(encoding="utf-8"))}
    named = [mark.removeprefix(ELSEWHERE) for mark in marks if mark.startswith(ELSEWHERE)]
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []


def page_of(*lines: str, mark: str = "") -> str:
    """A page with one block of commands."""
    return "\n".join(["text", mark, "```console", *lines, "```", "text", ""])


def test_a_failing_command_is_noticed(workspace: Path) -> None:
    page = page_of("$ echo a", "$ charseq info nowhere", "$ echo b")
    (told,) = differences(page, workspace)
    assert told.startswith("line 5: exit code 1: charseq info nowhere")


def test_another_output_is_noticed(workspace: Path) -> None:
    (told,) = differences(page_of("$ echo a", "a", "$ echo b", "c"), workspace)
    assert told == "line 6: echo b\nshown:\nc\nfound:\nb\n"


def test_an_output_that_is_marked_is_not_compared(workspace: Path) -> None:
    mark = "<!-- output not compared: for a reason -->"
    assert differences(page_of("$ touch made; echo a", "b", mark=mark), workspace) == []
    assert (workspace / "made").exists()


def test_a_block_that_is_marked_is_not_run(workspace: Path) -> None:
    page = page_of("$ touch made; false", mark="<!-- not run: for a reason -->")
    assert differences(page, workspace) == []
    assert not (workspace / "made").exists()


def test_a_block_that_another_test_runs_is_not_run_here(workspace: Path) -> None:
    mark = "<!-- run by tests/conftest.py: for a reason -->"
    page = f"{page_of('$ false', mark=mark)}\n{mark}\n```python\nraise OSError\n```\n"
    assert differences(page, workspace) == []


def test_a_failing_python_example_is_noticed(workspace: Path) -> None:
    page = "```python\nvalue = 1\n```\n```python\nprint(value, none)\n```\n"
    (told,) = differences(page, workspace)
    assert "NameError" in told


def test_another_output_of_a_python_example_is_noticed(workspace: Path) -> None:
    example = "```python\nprint('a')\nprint('b')\n```\n\n```text\n{}\n```\n"
    assert differences(example.format("b"), workspace) == []
    assert differences(example.format("c"), workspace) == ["they print:\na\nb\n"]


def test_a_command_in_another_block_is_noticed() -> None:
    fenced = "```\ncharseq info x\n```\n```sh\n$ charseq info x\n```\n"
    assert strays(fenced) == [2, 5]
    assert strays(f"{fenced}\n    charseq info x\n") == [2, 5, 8]
    assert strays("```\ncharseq/\n    cli/\n```\n`charseq info` is a command\n") == []


@pytest.mark.parametrize(
    ("shown", "found", "same"),
    [
        (["a", "b"], ["a", "b"], True),
        (["a"], ["a", "b"], False),
        (["a", "b"], ["a"], False),
        (["a", "..."], ["a", "b", "c"], True),
        (["...", "c"], ["a", "b", "c"], True),
        (["...", "b", "..."], ["a", "c"], False),
        (["p 0.8630"], ["p 0.8641"], True),
        (["p 0.8630"], ["p 0.8730"], False),
        (["2021-03-03"], ["2021-03-04"], False),
    ],
)
def test_lines_agree(shown: list[str], found: list[str], same: bool) -> None:
    assert agrees(shown, found) is same


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("charseq train x --minutes 0.5 -q", "charseq train x --epochs 1 -q"),
        ("charseq tune x --hours 3 --minutes 2", "charseq tune x --trials 2 --epochs 1"),
        ("charseq train x --ensemble 12", "charseq train x --ensemble 2"),
        ('configure({"minutes": 5})', 'configure({"epochs": 1})'),
        ("charseq predict -n 3 --top-p 0.9 x", "charseq predict -n 3 --top-p 0.9 x"),
    ],
)
def test_only_budgets_are_replaced(text: str, short: str) -> None:
    assert shorter(text) == short
