"""The notebook of the sheets runs from top to bottom and prints what it shows."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from charseq.gradients.questions import QUESTIONS

PATH = Path(__file__).parents[2] / "docs" / "sheets.ipynb"
MAX_BYTES = 150_000
NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e[-+]\d+)?")


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """The text that each cell of code prints."""
    return [
        "".join(output.text for output in cell.outputs if output.output_type == "stream")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def differs(one: str, other: str) -> bool:
    """Whether two texts differ by more than the rounding of their numbers."""
    if NUMBER.sub("#", one).split() != NUMBER.sub("#", other).split():
        return True
    pairs = zip(NUMBER.findall(one), NUMBER.findall(other), strict=True)
    return any(float(a) != pytest.approx(float(b), rel=2e-2, abs=2e-4) for a, b in pairs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_the_notebook_runs_and_prints_what_it_shows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(PATH, as_version=4)
    shown = printed(notebook)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3")
    client.create_kernel_manager().kernel_spec.argv[0] = sys.executable
    client.execute(cwd=str(tmp_path))
    assert sum(map(bool, shown)) > 10
    for number, (one, other) in enumerate(zip(shown, printed(notebook), strict=True)):
        assert not differs(one, other), f"cell of code {number} prints:\n{other}"


def test_the_notebook_is_small_and_names_the_sheets() -> None:
    assert PATH.stat().st_size < MAX_BYTES
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    text = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert {one.sheet[0] for one in QUESTIONS} - {"E"} <= set(re.findall(r"Sheet (\w)", text))
    images = [
        output for cell in notebook.cells if cell.cell_type == "code"
        for output in cell.outputs if "image/png" in output.get("data", {})
    ]  # fmt: skip
    assert len(images) == 1


def test_another_number_is_noticed() -> None:
    assert not differs("a 0.1234 b", "a 0.1235 b")
    assert differs("a 0.1234 b", "a 0.1334 b")
    assert differs("a 1 b", "a 1 c")
