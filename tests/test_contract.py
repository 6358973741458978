"""Rules of the project that no linter knows, checked on every file of the program."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jaxtyping
import pytest
import torch

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "charseq"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES})

MAX_MODULE_LINES = 480
MIN_MODULE_LINES = 80
MAX_FUNCTION_LINES = 60
MAX_MODULES = 12
"""Modules of one folder, without those of its subfolders."""

SHORT = {
    "training.parallel.gradient": "the loss of a batch, with ranks or without",
    "training.parallel.worker": "the main function of a process, started by its name",
    "data.roles": "the step between the rows of a table and pairs",
    "kernels.cell_table": "the one place that knows every cell",
    "kernels.layout": "the layout of weights that the networks and the C library agree on",
    "lru": "a data structure with no ties to anything else",
    "version": "the build reads it without loading the package",
}
"""Modules of less than MIN_MODULE_LINES, with the reason why each is a module of its own.

A module of ``cli`` may be short, since each command is one module.
"""

TORCH_FREE = {
    "", "cli", "confidence", "data", "distributed", "evaluation", "inference", "runs", "serving",
}  # fmt: skip
"""Folders whose modules load torch only inside functions; of ``decoding``, all but the GPU's."""

TABLES = {"data.formats.parquet", "data.formats.tables", "data.frames"}
"""The modules that read tables with pandas or pyarrow, or take those of a caller."""

SUBJECTLESS = re.compile(
    r"(what|who|one|it)\s+"
    r"(is|are|was|were|has|have|had|does|do|did|goes|go|stands|stand|comes|come)\b",
    re.IGNORECASE,
)


def dotted(path: Path) -> str:
    """The name of a module or script: data.text.vocabulary, scripts.bench."""
    place = path.relative_to(ROOT).with_suffix("")
    parts = place.parts[1:] if place.parts[0] == "charseq" else place.parts
    return ".".join(part for part in parts if part != "__init__") or "charseq"


def is_module(path: Path) -> bool:
    """Whether a file has code of its own: neither __init__ nor __main__."""
    return path.stem not in ("__init__", "__main__")


each_module = pytest.mark.parametrize("path", MODULES, ids=dotted)
each_program = pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=dotted)


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(node: ast.AST) -> list[str]:
    """The dotted names that an import statement brings in; none for another node."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def loaded(node: ast.AST) -> Iterator[str]:
    """The names that importing a module imports: not in function bodies, not for types only."""
    if is_type_checking(node) or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    yield from imported(node)
    for child in ast.iter_child_nodes(node):
        yield from loaded(child)


def packages(names: Iterator[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@cache
def reached(path: Path) -> frozenset[str]:
    """The other packages that importing a module loads, by way of charseq's own modules as well."""
    seen, waiting, found = {path}, [path], set[str]()
    while waiting:
        for name in loaded(parse(waiting.pop())):
            if name.partition(".")[0] != "charseq":
                found.add(name.partition(".")[0])
                continue
            at = PACKAGE
            for part in [*name.split(".")[1:], ""]:
                files = {at / "__init__.py", at.with_suffix(".py")} - seen
                new = [file for file in files if file.is_file()]
                seen.update(new)
                waiting += new
                at /= part or "-"
    return frozenset(found)


# --- size and names


@each_module
def test_a_module_is_neither_long_nor_a_shard(path: Path) -> None:
    lines, name = path.read_text(encoding="utf-8").count("\n"), dotted(path)
    assert lines <= MAX_MODULE_LINES
    if is_module(path) and not name.startswith("cli."):
        assert (lines < MIN_MODULE_LINES) == (name in SHORT), f"{name} has {lines} lines"


def test_the_short_modules_exist() -> None:
    assert SHORT.keys() <= {dotted(path) for path in MODULES}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_has_at_most_twelve_modules(folder: Path) -> None:
    assert len(list(filter(is_module, folder.glob("*.py")))) <= MAX_MODULES


@each_program
def test_a_function_fits_on_a_page(path: Path) -> None:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
            length = (node.end_lineno or 0) - (first or 0)
            assert length <= MAX_FUNCTION_LINES, f"{path.name}:{node.lineno}: {node.name}"


@each_program
def test_the_first_line_of_a_module_is_a_summary(path: Path) -> None:
    lines = (ast.get_docstring(parse(path)) or "").split("\n")
    assert lines[0], f"{path.name} has no docstring"
    assert lines[1:2] in ([], [""]), f"{path.name}: the first sentence takes more than one line"


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, those below constants and fields included."""
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.lineno, value.value


@each_program
def test_docstrings_begin_with_a_subject(path: Path) -> None:
    """A thing with a name is the subject: not "what is kept", "who was asked", "one has"."""
    lines = [line for line, text in docstrings(parse(path)) if SUBJECTLESS.match(text)]
    assert not lines, f"{path.relative_to(ROOT)}, lines {lines}"


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("What is kept of a run.", True),
        ("It does nothing.", True),
        ("One has a name.", True),
        ("One thread for products.", False),
        ("The state of a run.", False),
        ("Whether a run is finished.", False),
    ],
)
def test_the_rule_for_docstrings_works(text: str, refused: bool) -> None:
    (found,) = docstrings(ast.parse(f"def f():\n    {text!r}"))
    assert bool(SUBJECTLESS.match(found[1])) == refused


def test_modules_have_telling_names() -> None:
    nameless = {"util", "utils", "common", "helper", "helpers", "misc", "core", "base", "shared"}
    assert not nameless & {path.stem.removeprefix("test_") for path in MODULES + SCRIPTS + TESTS}


# --- tests mirror the tree


@each_module
def test_a_module_has_its_tests(path: Path) -> None:
    if is_module(path):
        place = path.relative_to(PACKAGE)
        assert (ROOT / "tests" / place.with_name(f"test_{place.name}")).is_file()


def test_a_test_file_has_its_module() -> None:
    mirrored = {path.relative_to(PACKAGE).parts[0] for path in MODULES if path.parent != PACKAGE}
    strays = [
        str(test.relative_to(ROOT))
        for test in sorted((ROOT / "tests").rglob("test_*.py"))
        if (place := test.relative_to(ROOT / "tests")).parts[0] in mirrored
        and not (PACKAGE / place.with_name(place.name.removeprefix("test_"))).is_file()
    ]
    assert strays == []


# --- imports


@each_module
def test_torch_is_loaded_only_where_tensors_are(path: Path) -> None:
    """Neither help nor predicting on a CPU loads torch, by whatever way."""
    name = dotted(path)
    folder = name.partition(".")[0] if path.parent != PACKAGE else ""
    if folder in TORCH_FREE or (folder == "decoding" and "gpu" not in name):
        assert "torch" not in reached(path)


def heavy(tree: ast.AST) -> list[str]:
    """The places that load pandas or pyarrow, or a module whose name is not written there."""
    found = []
    for node in ast.walk(tree):
        if {"pandas", "pyarrow"} & packages(iter(imported(node))):
            found.append(ast.unparse(node))
        if isinstance(node, ast.Call) and re.search(
            r"\b(import_module|__import__)$", ast.unparse(node.func)
        ):
            name = ast.unparse(node.args[0]) if node.args else ""
            if not re.match("f?['\"]charseq\\.", name):
                found.append(ast.unparse(node))
    return found


@each_module
def test_pandas_and_pyarrow_stay_in_three_modules_and_wait_there(path: Path) -> None:
    assert not {"pandas", "pyarrow"} & reached(path)
    if dotted(path) not in TABLES | {"process"}:  # a child process is given its module's name
        assert heavy(parse(path)) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pandas as pd",
        "from pyarrow import parquet",
        "def f(): import pyarrow.parquet",
        "importlib.import_module('pyarrow')",
        "import_module(name)",
        "__import__('pandas')",
    ],
)
def test_the_rule_for_tables_sees(line: str) -> None:
    assert heavy(ast.parse(line))


@pytest.mark.parametrize("line", ["import numpy", "import_module(f'charseq.cli.{name}')"])
def test_the_rule_for_tables_lets_pass(line: str) -> None:
    assert not heavy(ast.parse(line))


def test_imports_are_followed_through_the_package() -> None:
    assert "torch" in reached(PACKAGE / "gradients" / "flow.py")
    assert "numpy" in reached(PACKAGE / "inference" / "predictor.py"), "by way of decoding"


@each_module
def test_jaxtyping_is_for_type_checkers_only(path: Path) -> None:
    tree = parse(path)
    hidden = {id(inner) for node in tree.body if is_type_checking(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if {"jaxtyping", "beartype"} & packages(iter(imported(node))):
            assert id(node) in hidden, f"{path.name}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    ("door", "unwanted"),
    [
        ("charseq", ["torch", "pandas", "numpy", "pyarrow", "jaxtyping"]),
        ("charseq.api", ["torch", "pandas", "numpy", "pyarrow", "jaxtyping"]),
        ("charseq.cli.main", ["torch", "pandas", "numpy", "pyarrow", "jaxtyping"]),
        ("charseq.inference.predictor", ["torch", "pandas", "pyarrow", "jaxtyping"]),
        ("charseq.inference.convert", ["torch", "pandas", "pyarrow", "jaxtyping"]),
        ("charseq.distributed", ["torch", "pandas", "numpy", "pyarrow", "jaxtyping"]),
        ("charseq.distributed.converter", ["torch", "pandas", "pyarrow", "ray", "jaxtyping"]),
        ("charseq.distributed.ray_tasks", ["torch", "pandas", "pyarrow", "ray", "jaxtyping"]),
        ("charseq.serving.server", ["torch", "pandas", "pyarrow", "jaxtyping"]),
        ("charseq.serving.worker", ["torch", "pandas", "pyarrow", "jaxtyping", "fastapi"]),
        ("charseq.training.train", ["torch", "pandas", "pyarrow", "jaxtyping"]),
        ("charseq.gradients.study", ["torch", "pandas", "matplotlib", "jaxtyping"]),
        ("charseq.training.tuning.tune", ["torch", "pandas", "optuna", "sqlalchemy", "jaxtyping"]),
    ],
)
def test_importing_a_module_loads_nothing_heavy(door: str, unwanted: list[str]) -> None:
    program = f"import sys, {door}; print(*(set({unwanted}) & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.split() == []


# --- no code out of files, no output


@each_module
def test_the_library_never_prints(path: Path) -> None:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("print", "pprint"), f"{path.name}:{node.lineno}"


UNSAFE_IMPORTS = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "runpy",
}  # fmt: skip
UNSAFE_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen",
    "torch.load", "torch.save", "torch.jit.load", "torch.jit.script",
    "numpy.load", "np.load", "shutil.unpack_archive",
}  # fmt: skip
UNSAFE_NAMES = {"torch.load", "torch.save", "numpy.load", "os.system", "os.popen"}
UNSAFE_METHODS = {"extractall", "read_pickle", "to_pickle"}
UNSAFE_KEYWORDS = {"shell", "allow_pickle"}


def dangers(tree: ast.AST) -> list[str]:
    """The places that could run code out of a file, or pass words of a file to a shell."""
    found = []
    for node in ast.walk(tree):
        names = imported(node)
        if packages(iter(names)) & UNSAFE_IMPORTS or set(names) & UNSAFE_NAMES:
            found.append(ast.unparse(node))
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            given = {word.arg for word in node.keywords if ast.unparse(word.value) != "False"}
            if called in UNSAFE_CALLS or method in UNSAFE_METHODS or given & UNSAFE_KEYWORDS:
                found.append(ast.unparse(node))
    return found


@each_program
def test_no_file_can_run_code(path: Path) -> None:
    assert dangers(parse(path)) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import yaml.loader",
        "from pickle import loads",
        "from torch import load",
        "def f(): import marshal",
        "torch.load(path, weights_only=True)",
        "numpy.load(path)",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "archive.extractall(folder)",
        "subprocess.run(line, shell=True)",
        "subprocess.run(line, shell=flag)",
        "read(path, allow_pickle=True)",
        "os.system(line)",
    ],
)
def test_the_rule_for_code_sees(line: str) -> None:
    assert dangers(ast.parse(line))


@pytest.mark.parametrize(
    "line", ["model.eval()", "re.compile(rule)", "json.load(file)", "run(words, shell=False)"]
)
def test_the_rule_for_code_lets_pass(line: str) -> None:
    assert not dangers(ast.parse(line))


# --- shapes are types, and the test run checks them


def test_a_wrong_shape_is_an_error_in_the_test_run() -> None:
    from charseq.models.layers import Attention

    attention = Attention(query=4, memory=6, value=5)
    queries, memory = torch.zeros(3, 2, 4), torch.zeros(7, 2, 6)
    contexts, weights = attention(queries, memory, torch.ones(2, 7, dtype=torch.bool))
    assert contexts.shape == (3, 2, 5)
    assert weights.shape == (2, 3, 7)
    with pytest.raises(jaxtyping.TypeCheckError, match="mask"):
        attention(queries, memory, torch.ones(7, 2, dtype=torch.bool))  # turned round
    with pytest.raises(jaxtyping.TypeCheckError, match="mask"):
        attention(queries, memory, torch.ones(2, 7))  # not a mask
