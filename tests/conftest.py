"""Shape checks of all tensors during the tests.

Modules that work on tensors write shapes as types (``Float[Tensor, "B T H"]``) and import those
names under ``TYPE_CHECKING``, so that users need no jaxtyping and lose no time. Here such a module
is compiled as a type checker reads it: its ``TYPE_CHECKING`` block runs, and jaxtyping (one size
for each letter) and beartype check every function and dataclass. Processes that a test starts run
unchecked, as they do for users.
"""

from __future__ import annotations

import ast
import atexit
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Tiny matrices run fastest on one thread, and neighbours on the machine disturb them least.
# Set before NumPy and torch are loaded; a test that wants two threads asks for them.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

# No key of the user is made or used by the tests and the processes that they start.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="charseq-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

# Behind ``nohup`` or ``&`` these signals are ignored, and the commands that a test starts would
# inherit that. A handler is not inherited: they start as they do in a terminal.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# The same examples in every run, so that a failure can be repeated; a slow machine is no failure.
settings.register_profile("charseq", deadline=None, derandomize=True)
settings.load_profile("charseq")

CHECK = "jaxtyping.jaxtyped(typechecker=beartype.beartype)"


class Checks(ast.NodeTransformer):
    """The tree of a module -> the same tree with its shapes checked, line numbers kept."""

    def visit_If(self, node: ast.If) -> ast.If:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            node.test = ast.Constant(value=True)
            node.body = ast.parse("import beartype, jaxtyping").body + node.body
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.decorator_list.append(ast.parse(CHECK, mode="eval").body)  # beneath @staticmethod
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        node.decorator_list.insert(0, ast.parse(CHECK, mode="eval").body)  # above @dataclass
        return node


class CheckedLoader(SourceFileLoader):
    """Compiles from the source every time: a bytecode file would hold the unchecked module."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = Checks().visit(ast.parse(self.get_data(path), path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class CheckedFinder(MetaPathFinder):
    """Gives the checked loader to those modules of charseq that name shapes."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("charseq."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return None
        if "from jaxtyping import" not in Path(spec.origin).read_text(encoding="utf-8"):
            return None
        spec.loader = CheckedLoader(fullname, spec.origin)
        return spec


sys.meta_path.insert(0, CheckedFinder())

from world import world  # noqa: E402, F401 - a fixture of several files; it loads charseq


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that matplotlib writes, to be looked into."""
    from matplotlib.figure import Figure

    kept: list[Figure] = []
    write = Figure.savefig

    def record(self: Figure, *given: Any, **options: Any) -> None:
        write(self, *given, **options)
        kept.append(self)

    monkeypatch.setattr(Figure, "savefig", record)
    return kept
