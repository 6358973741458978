"""Wheels and sdists of a tree, built as ``pip`` and ``build`` do, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = "import sys; from setuptools import build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])"


def build(what: str, tree: Path, folder: Path, compiler: str = "/bin/false") -> Path:
    """A wheel or an sdist of a tree, as ``pip`` and ``build`` make them."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"build_{what}", str(folder)], cwd=tree, text=True,
        env={**os.environ, "CC": compiler, "PYTHONPATH": ""}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (found,) = folder.iterdir()
    return found
