"""Every relative link and every path of the project that the documentation names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"(?<![\w./-])(?:tests|charseq|scripts|docs)/[\w./*-]*[\w/*]")
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def links(text: str) -> list[str]:
    """The targets of links outside blocks of code, without those of the web."""
    found = LINK.findall(BLOCK.sub("", text))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), flags=re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in plain}


def broken(page: Path, text: str) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for target in links(text):
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        if name and not place.exists():
            found.append(target)
        elif anchor and place.suffix == ".md":
            there = text if place == page else place.read_text(encoding="utf-8")
            found += [] if anchor in anchors(there) else [target]
    return found


def missing(text: str) -> list[str]:
    """The paths in a text that the project does not have; of a pattern, its folder counts."""
    paths = dict.fromkeys(PATH.findall(text))
    return [path for path in paths if not (ROOT / re.sub(r"[^/]*\*.*", "", path)).exists()]


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page, page.read_text(encoding="utf-8")) == []


@each_page
def test_every_path_exists(page: Path) -> None:
    assert missing(page.read_text(encoding="utf-8")) == []


def test_a_broken_link_is_found() -> None:
    text = "# A b: `c`!\n[x](README.md) [x](docs/none.md) [x](#a-b-c) [x](#d) [x](https://a.b/c)\n"
    text += "```\n[x](nowhere.md)\n```\n"
    assert broken(ROOT / "PAGE.md", text) == ["docs/none.md", "#d"]
    assert broken(ROOT / "PAGE.md", "[x](docs/sheets.md#no-such-heading)") != []


def test_a_missing_path_is_found() -> None:
    text = (
        "`tests/docs/test_links.py`, `tests/test_none.py`, charseq/none/, `scripts/reference.py`."
    )
    assert missing(text) == ["tests/test_none.py", "charseq/none/"]
    assert missing("`charseq/*.py`, `charseq/none/*.c`, a/tests/none, https://a.b/docs/none") == [
        "charseq/none/*.c"
    ]
