"""The library is found where it was built, and refused where it is not what is expected."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from charseq import kernels
from charseq.errors import SettingError
from charseq.kernels import LEVELS, VARIABLE

FOLDER = Path(kernels.__file__).parent / "native"
BUILT = kernels.load(FOLDER) is not None
needs_library = pytest.mark.skipif(not BUILT, reason="the library is not built here")
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no compiler here")


def find(monkeypatch: pytest.MonkeyPatch, wanted: str) -> kernels.Kernels | None:
    monkeypatch.setenv(VARIABLE, wanted)
    return kernels.find.__wrapped__()


def compile_version(folder: Path, code: str) -> None:
    source = folder / "kernels.c"
    source.write_text(code, encoding="utf-8")
    target = folder / f"kernels{EXTENSION_SUFFIXES[0]}"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", target, source], check=True)


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no compiler here")
def test_where_a_compiler_is_the_library_was_built() -> None:
    assert BUILT


@needs_library
def test_the_level_is_the_processors_best(monkeypatch: pytest.MonkeyPatch) -> None:
    library = kernels.load(FOLDER)
    assert library is not None
    found = find(monkeypatch, "auto")
    assert found is not None
    assert found.level == LEVELS[library.charseq_level()]
    assert find(monkeypatch, "") is not None


@needs_library
def test_a_level_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    best = find(monkeypatch, "auto")
    assert best is not None
    able = LEVELS[: LEVELS.index(best.level) + 1]
    for name in LEVELS:
        if name in able:
            found = find(monkeypatch, name)
            assert found is not None
            assert found.level == name
        else:
            with pytest.raises(SettingError, match=f"but this processor runs {', '.join(able)}"):
                find(monkeypatch, name)


def test_they_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(monkeypatch, "off") is None


def test_a_name_that_is_no_level_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match="CHARSEQ_KERNELS is 'avx', expected auto, off, plain"):
        find(monkeypatch, "avx")


def test_without_a_library_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels.load(tmp_path) is None
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "kernels.py"))
    assert find(monkeypatch, "auto") is None


def test_what_is_no_library_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / f"kernels{EXTENSION_SUFFIXES[0]}").write_bytes(b"no library")
    assert kernels.load(tmp_path) is None


@needs_compiler
@pytest.mark.parametrize(
    "code", [f"int charseq_version(void) {{ return {kernels.VERSION + 1}; }}", "int other;"]
)
def test_a_library_of_another_version_is_left_alone(tmp_path: Path, code: str) -> None:
    compile_version(tmp_path, code)
    assert kernels.load(tmp_path) is None


def test_it_is_asked_for_once_in_a_process() -> None:
    code = "from charseq import kernels; assert kernels.find() is kernels.find(); print('once')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == "once\n"
