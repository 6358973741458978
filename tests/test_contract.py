"""The rules of the house that no linter knows, held against every file of the program."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "charseq").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MODULE_LINES = 400
FUNCTION_LINES = 60

# Where torch may be imported as a module is loaded; elsewhere only inside the functions that need
# it, so that predicting on a CPU and asking for help never load it.
WITH_TORCH = {
    "models", "kernels.adamw", "kernels.bptt", "kernels.cuda_graphs", "kernels.matmul",
    "kernels.rnn_cudnn", "kernels.rnn_fused", "kernels.rnn_native", "decoding.gpu_search",
    "decoding.seq2seq_gpu", "gradients.autograd", "gradients.compare", "gradients.flow",
    "training.gpu_step", "training.resident", "training.trainer",
}  # fmt: skip


def dotted(path: Path) -> str:
    """The name of a module or script: data.text.vocabulary, scripts.bench."""
    place = path.relative_to(ROOT).with_suffix("")
    parts = place.parts[1:] if place.parts[0] == "charseq" else place.parts
    return ".".join(part for part in parts if part != "__init__") or "charseq"


each_module = pytest.mark.parametrize("path", MODULES, ids=dotted)
each_program = pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=dotted)


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
    """What importing a module imports: everything but function bodies and types' imports."""
    if is_type_checking(node) or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    yield from imported(node)
    for child in ast.iter_child_nodes(node):
        yield from loaded(child)


def packages(names: Iterator[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


# --- size and names


@each_module
def test_a_module_fits_in_the_head(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= MODULE_LINES


@each_program
def test_a_function_fits_on_a_page(path: Path) -> None:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
            length = (node.end_lineno or 0) - (first or 0)
            assert length <= FUNCTION_LINES, f"{path.name}:{node.lineno}: {node.name}"


@each_program
def test_the_first_line_says_it_all(path: Path) -> None:
    lines = (ast.get_docstring(parse(path)) or "").split("\n")
    assert lines[0], f"{path.name} has no docstring"
    assert lines[1:2] in ([], [""]), f"{path.name}: the first sentence takes more than one line"


@each_module
def test_a_module_has_its_tests(path: Path) -> None:
    if path.stem not in ("__init__", "__main__"):
        place = path.relative_to(ROOT / "charseq")
        assert (ROOT / "tests" / place.with_name(f"test_{place.name}")).is_file()


def test_no_room_without_a_name() -> None:
    nameless = {"util", "utils", "common", "helper", "helpers", "misc", "core", "base", "shared"}
    assert not nameless & {path.stem.removeprefix("test_") for path in MODULES + SCRIPTS + TESTS}


# --- imports


@each_module
def test_torch_is_loaded_only_where_tensors_are(path: Path) -> None:
    name = dotted(path)
    if not {name, name.partition(".")[0]} & WITH_TORCH:
        assert "torch" not in packages(loaded(parse(path)))


@each_module
def test_pandas_and_pyarrow_stay_in_formats_and_wait_there(path: Path) -> None:
    tables = {"pandas", "pyarrow"}
    assert not tables & packages(loaded(parse(path)))
    everywhere = {name for node in ast.walk(parse(path)) for name in imported(node)}
    if dotted(path) != "data.formats.reader":
        assert not tables & packages(iter(everywhere))


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
        ("charseq.cli.main", ["torch", "pandas", "numpy", "pyarrow", "jaxtyping"]),
        ("charseq.inference.predictor", ["torch", "pandas", "pyarrow", "jaxtyping"]),
        ("charseq.inference.convert", ["torch", "pandas", "pyarrow", "jaxtyping"]),
        ("charseq.training.train", ["torch", "pandas", "pyarrow", "jaxtyping"]),
        ("charseq.gradients.study", ["torch", "pandas", "matplotlib", "jaxtyping"]),
        ("charseq.training.tuning.tune", ["torch", "pandas", "optuna", "sqlalchemy", "jaxtyping"]),
    ],
)
def test_a_door_opens_at_once(door: str, unwanted: list[str]) -> None:
    program = f"import sys, {door}; print(*(set({unwanted}) & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.split() == []


# --- what the program never does


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
    """The places that could run code out of a file, or hand a file's words to a shell."""
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
def test_the_gate_sees(line: str) -> None:
    assert dangers(ast.parse(line))


@pytest.mark.parametrize(
    "line", ["model.eval()", "re.compile(rule)", "json.load(file)", "run(words, shell=False)"]
)
def test_the_gate_lets_pass(line: str) -> None:
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
