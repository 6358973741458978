"""The examples of docs/guide/scale.md for other engines, by the heading that they stand under."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "scale.md"


def lines_for(engine: str) -> str:
    """The Python example under the heading of an engine."""
    part = PAGE.read_text(encoding="utf-8").partition(f"\n### {engine}\n")[2]
    return part.partition("```python\n")[2].partition("```")[0]
