"""docs/architecture.md names the folders, modules and floors that the program has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "charseq"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

FOLDERS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
SINGLE = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}


def floors() -> list[list[str]]:
    """The diagram's floors, from the top, each with its folders and modules."""
    diagram = PAGE.split("\n## Floors\n")[1].split("```")[1]
    return [line.split(" | ") for line in diagram.strip().split("\n")]


def imported(path: Path) -> Iterator[str]:
    """The folders and single modules of the package that a module imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "charseq" and rest.split(".")[0] in FOLDERS | SINGLE:
                yield rest.split(".")[0]


def test_every_folder_has_one_line() -> None:
    assert sorted(re.findall(r"^\| `charseq/(\w+)/` \|", PAGE, flags=re.MULTILINE)) == sorted(
        FOLDERS
    )


def test_every_module_that_is_named_exists() -> None:
    names = re.findall(r"`((?:\w+/)*\w+\.py)`", PAGE)
    assert len(names) > 30
    assert [name for name in names if not any((at / name).exists() for at in (ROOT, PACKAGE))] == []


def test_the_floors_hold_every_folder_and_module_once() -> None:
    named = [name for floor in floors() for name in floor]
    assert sorted(named) == sorted(FOLDERS | SINGLE)


def test_no_import_leads_up_or_to_a_neighbour() -> None:
    height = {name: number for number, floor in enumerate(floors()) for name in floor}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for here in [path.relative_to(PACKAGE).with_suffix("").parts[0]]
        if here in height
        for name in imported(path)
        if name != here and height.get(name, -1) <= height[here]
    ]
    assert wrong == []
