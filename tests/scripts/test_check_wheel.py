"""The check of a wheel notices what is wrong. It is run by hand, since it installs packages."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import check_wheel
import pytest

ROOT = Path(__file__).parents[2]


def wheel(folder: Path, name: str, *, library: bool) -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("charseq/__init__.py", "")
        if library:
            archive.writestr("charseq/kernels/native/kernels.so", b"x")
    return path


@pytest.mark.parametrize("library", [True, False])
def test_the_name_of_a_wheel_tells_whether_it_holds_the_library(
    tmp_path: Path, library: bool
) -> None:
    right, wrong = "charseq-1-py3-none-any.whl", "charseq-1-py3-none-linux_x86_64.whl"
    if library:
        right, wrong = wrong, right
    assert check_wheel.has_kernels(wheel(tmp_path, right, library=library)) == library
    with pytest.raises(SystemExit, match="the C library is"):
        check_wheel.has_kernels(wheel(tmp_path, wrong, library=library))


def test_programs_see_nothing_of_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("CHARSEQ_KERNELS", "off")
    program = "import os; print(sorted(k for k in os.environ if k[:6] in ('PYTHON', 'CHARSE')))"
    assert check_wheel.run(Path(sys.executable), "-c", program) == "[]\n"
    with pytest.raises(SystemExit, match=r"failed: python.* -c raise SystemExit\(3\): exit code 3"):
        check_wheel.run(Path(sys.executable), "-c", "raise SystemExit(3)")


def test_another_answer_is_noticed() -> None:
    check_wheel.expect("answer", "2020-05-03\n", "2020-05-03\n")
    with pytest.raises(SystemExit, match=r"^failed: answer: 'x', expected 'y'$"):
        check_wheel.expect("answer", "x", "y")


def test_the_tree_itself_is_no_installed_package(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.raises(SystemExit, match="is of the tree, expected the installed package"):
        check_wheel.check(python, tmp_path)


def test_the_parts_of_the_tree_exist() -> None:
    assert all((ROOT / name).exists() for name in check_wheel.COPIED)
    file, _, test = check_wheel.NEEDS_SOURCES.partition("::")
    assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")
    assert check_wheel.TORCH.search((ROOT / "constraints.txt").read_text(encoding="utf-8"))
