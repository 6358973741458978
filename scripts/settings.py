"""charseq.config -> the table of settings in README.md, between its two markers.

Run it after a change to a setting; a test compares the two.
"""

from __future__ import annotations

import sys
from pathlib import Path

from charseq.config import describe

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- settings:begin -->", "<!-- settings:end -->"


def table() -> str:
    """The settings as a Markdown table, one row each in the order of their declaration."""
    rows = [("group", "setting", "default", "values", "meaning"), ("---",) * 5]
    rows += [
        (group, f"`{name}`", f"`{default}`" if default else "", limits, text)
        for group, name, default, limits, text in describe()
    ]
    cells = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def insert(text: str) -> str:
    """``text`` with the current table between the markers.

    Raises:
        ValueError: the markers are missing, or not one of each in this order.
    """
    before, begin, rest = text.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no lines {BEGIN} and {END}")
    return f"{before}{begin}{table()}{end}{after}"


def main() -> None:
    """Write README.md anew, if that changes it."""
    old = README.read_text(encoding="utf-8")
    new = insert(old)
    if new != old:
        README.write_text(new, encoding="utf-8", newline="\n")
        sys.stderr.write("README.md: the table of settings is written anew\n")


if __name__ == "__main__":
    main()
