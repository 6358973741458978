"""Version: the same for the package, the command line and the build."""

from __future__ import annotations

import ast
import re
import tomllib

from world import ROOT, World

import charseq
from charseq import version


def test_package_and_command_line_tell_the_version(world: World) -> None:
    assert charseq.__version__ == version.__version__
    code, out, err = world.run("--version")
    assert (code, err) == (0, "")
    assert out.split()[-1] == version.__version__


def test_the_build_reads_the_version_without_loading_the_package() -> None:
    """setuptools evaluates a plain assignment; anything else would import torch to build."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    attribute = settings["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert attribute == "charseq.version.__version__"
    tree = ast.parse((ROOT / "charseq" / "version.py").read_text(encoding="utf-8"))
    (assignment,) = (node for node in tree.body if isinstance(node, ast.Assign))
    assert ast.literal_eval(assignment.value) == version.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", version.__version__)
