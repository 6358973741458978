"""The site of the documentation is built without a warning, and has what the pages have."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
    done = subprocess.run(
        [*command, "--doctree-dir", out / "doctrees", ROOT / "docs", out / "html"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return out / "html"


def test_every_page_is_there_and_can_be_found(site: Path) -> None:
    listed = (site / "index.html").read_text(encoding="utf-8")
    found = (site / "searchindex.js").read_text(encoding="utf-8")
    for page in PAGES:
        name = page.relative_to(ROOT / "docs").with_suffix("")
        assert (site / name).with_suffix(".html").exists()
        assert f'"{name.as_posix()}"' in found, f"{name} is not in the search"
        assert f'href="{name.as_posix()}.html"' in listed or name.name == "index", (
            f"docs/index.md does not list {name}"
        )


def test_formulas_are_drawn_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    sheets = (site / "sheets.html").read_text(encoding="utf-8")
    formulas = (ROOT / "docs" / "sheets.md").read_text(encoding="utf-8")
    inline = len(re.findall(r"(?<![\\$])\$[^$\n]+\$", formulas))
    assert sheets.count("<math") > 100
    assert inline > 50
    assert not re.search(r"\\\(|\\\[", sheets), "a formula is shown as its source"
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"',
                            page.read_text(encoding="utf-8"))  # fmt: skip
        assert not loaded, page
