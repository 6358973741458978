"""Wheels and sdists are built from the tree, with a compiler and without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from builds import build

pytest.importorskip("setuptools", minversion="77")

ROOT = Path(__file__).parents[2]
PARTS = ("charseq", "checkpoints/dates", "checkpoints/sentences", "pyproject.toml", "README.md")
PARTS += ("LICENSE", "scripts/wheel_commands.py")
LIBRARY = "charseq/kernels/native/kernels.so"
PLATFORM = sysconfig.get_platform().replace("-", "_").replace(".", "_")
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the package is built from, without a library that was built before."""
    folder = tmp_path_factory.mktemp("tree")
    ignore = shutil.ignore_patterns("*.so", "__pycache__")
    for part in PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, symlinks=True, ignore=ignore)
        else:
            shutil.copy2(ROOT / part, folder / part)
    return folder


@pytest.fixture(scope="module")
def quick_compiler(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The compiler without optimisation, which takes a quarter of the time."""
    path = tmp_path_factory.mktemp("cc") / "cc"
    path.write_text('#!/bin/bash\nexec cc "${@/#-O3/-O0}"\n')
    path.chmod(0o755)
    return str(path)


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def facts(wheel: Path) -> list[str]:
    """The lines of the file WHEEL."""
    with zipfile.ZipFile(wheel) as archive:
        (file,) = (one for one in archive.namelist() if one.endswith(".dist-info/WHEEL"))
        return archive.read(file).decode().splitlines()


def test_without_a_compiler_the_wheel_is_pure(tree: Path, tmp_path: Path) -> None:
    wheel = build("wheel", tree, tmp_path / "out")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert {"Root-Is-Purelib: true", "Tag: py3-none-any"} <= set(facts(wheel))
    found = names(wheel)
    assert not any(one.endswith(".so") for one in found)
    for name in ("dates", "sentences"):
        assert f"charseq/checkpoints/{name}/model.safetensors" in found
    assert not any(one.startswith(("tests/", "scripts/")) for one in found)


@needs_compiler
def test_with_a_compiler_the_wheel_is_of_the_platform_and_of_any_python(
    tree: Path, tmp_path: Path, quick_compiler: str
) -> None:
    wheel = build("wheel", tree, tmp_path / "one", quick_compiler)
    assert wheel.name.endswith(f"-py3-none-{PLATFORM}.whl")
    assert {"Root-Is-Purelib: false", f"Tag: py3-none-{PLATFORM}"} <= set(facts(wheel))
    assert [one for one in names(wheel) if one.endswith(".so")] == [LIBRARY]
    with zipfile.ZipFile(wheel) as archive:
        archive.extract(LIBRARY, tmp_path)
    program = "import sys, pathlib; from charseq.kernels import library; "
    program += "print(library.load(pathlib.Path(sys.argv[1])) is not None)"
    place = str((tmp_path / LIBRARY).parent)
    told = subprocess.run(
        [sys.executable, "-c", program, place], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout == "True\n"
    (tree / "charseq" / "removed.py").write_text("")
    build("wheel", tree, tmp_path / "two")
    (tree / "charseq" / "removed.py").unlink()
    pure = build("wheel", tree, tmp_path / "three")
    assert pure.name.endswith("-none-any.whl")
    assert not {LIBRARY, "charseq/removed.py"} & names(pure), "nothing of an earlier build"


@needs_compiler
def test_an_editable_install_replaces_libraries_with_other_names(
    tree: Path, quick_compiler: str
) -> None:
    native = tree / "charseq" / "kernels" / "native"
    old = native / "kernels.cpython-311-x86_64-linux-gnu.so"
    old.write_bytes(b"old")
    command = "from setuptools import setup; setup(script_args=['build_ext', '--inplace'])"
    subprocess.run(
        [sys.executable, "-c", command], cwd=tree, capture_output=True, check=True,
        env={**os.environ, "CC": quick_compiler, "PYTHONPATH": ""},
    )  # fmt: skip
    assert [path.name for path in native.glob("*.so")] == ["kernels.so"]
    (native / "kernels.so").unlink()


def test_a_wheel_can_be_built_from_the_sdist(tree: Path, tmp_path: Path) -> None:
    archive = build("sdist", tree, tmp_path / "sdist")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert (unpacked / "scripts" / "wheel_commands.py").is_file()
    assert not (unpacked / "tests").exists()
    sources = {path.name for path in (ROOT / "charseq" / "kernels" / "native").glob("*.[ch]")}
    there = {path.name for path in (unpacked / "charseq" / "kernels" / "native").iterdir()}
    assert sources <= there
    assert names(build("wheel", unpacked, tmp_path / "a")) == names(
        build("wheel", tree, tmp_path / "b")
    )
