"""The site of the documentation: these pages, with a search and a dark mode (see scripts/site)."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

project = "charseq"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "charseq"
html_copy_source = False
html_math_renderer = "mathml"
exclude_patterns = ["conf.py"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
# a page outside of docs/, such as the README, is no part of the site; tests/docs check these links
suppress_warnings = ["myst.xref_missing"]


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    formula = convert(node.astext(), display="block")
    translator.body.append(f'<div style="margin: 0.7em 0">{formula}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Formulas as MathML, which browsers draw themselves: the site loads nothing from elsewhere."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
