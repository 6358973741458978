"""The tree -> a wheel -> empty environments -> passed or failed: what an installed charseq does.

    scripts/check_wheel.py              a wheel, and what inference needs: two minutes
    scripts/check_wheel.py --full       and torch, the extras and the end-to-end tests: an hour
    scripts/check_wheel.py --installed  the charseq of this Python, which cibuildwheel has installed

These checks install packages and take long, so they are no part of scripts/test. Every environment
is new and lies in a temporary folder. Nothing of the tree can be imported there.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIGHT = ("click", "numpy", "safetensors")
"""The packages that inference needs."""
COPIED = ("tests", "scripts", "data", "checkpoints", "pyproject.toml", "README.md")
"""Parts of the tree that the end-to-end tests read; the package is not among them."""
NEEDS_SOURCES = "tests/end_to_end/test_shipped.py::test_the_models_are_in_an_installed_package"
"""The test that builds the package from its sources, which are not there."""
TORCH = re.compile(r"^torch==.*", re.MULTILINE)
ORDERS = "order,date\n7,3. März 2021\n"
CONVERTED = "order,date,iso,iso_note\n7,3. März 2021,2021-03-03,\n"
PROGRAM = """
import sys, charseq, charseq.kernels.library as library
model = charseq.load("dates")
print(model.predict(["3. März 2021"])[0].prediction, "torch" in sys.modules)
print(library.find() is not None)
print(charseq.__file__)
"""


def main() -> None:
    """Run the checks that the command line asks for; the first fault ends them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--full", action="store_true", help="run the end-to-end tests as well")
    parser.add_argument(
        "--installed", action="store_true", help="check the charseq of this Python, build nothing"
    )
    parser.add_argument("--wheel", type=Path, help="check this wheel, build none")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="charseq-wheel-") as work:
        if given.installed:
            told = check(Path(sys.executable), Path(work))
            print(f"passed: {told}")
            return
        wheel = given.wheel or build(Path(work, "wheels"))
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
        python = environment(Path(work, "light"))
        run(python, "-m", "pip", "install", "-q", "--no-deps", str(wheel.resolve()))
        run(python, "-m", "pip", "install", "-q", *LIGHT)
        told = check(python, Path(work, "light"), has_kernels=has_kernels(wheel))
        print(f"passed: {told}")
        if given.full:
            end_to_end(wheel, Path(work))
            print("passed: the end-to-end tests")


def build(folder: Path, *, env: Mapping[str, str] | None = None) -> Path:
    """The wheel of the tree, in a folder. Raises SystemExit for another number of wheels."""
    run(
        Path(sys.executable), "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT),
        env=env,
    )  # fmt: skip
    found = sorted(folder.glob("*.whl"))
    if len(found) != 1:
        raise SystemExit(f"{folder}: {len(found)} wheels, expected one")
    return found[0]


def has_kernels(wheel: Path) -> bool:
    """Whether a wheel holds the C library. Raises SystemExit where its name says otherwise."""
    with zipfile.ZipFile(wheel) as archive:
        found = "charseq/kernels/native/kernels.so" in archive.namelist()
    if found == wheel.name.endswith("-any.whl"):
        raise SystemExit(f"{wheel.name}: the C library is {'there' if found else 'missing'}")
    return found


def environment(folder: Path) -> Path:
    """The Python of a new, empty virtual environment."""
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    return folder / "venv" / "bin" / "python"


def check(python: Path, folder: Path, *, has_kernels: bool | None = None) -> str:
    """Check that an installed charseq answers, converts and verifies, in an empty folder.

    ``has_kernels``: whether the C library must be found; None: it may be there or not. Raises
    SystemExit for anything else than is expected.
    """
    place = folder / "empty"
    place.mkdir()
    answer, kernels, file = run(python, "-c", PROGRAM, cwd=place).splitlines()
    expect("answer, torch", answer, "2021-03-03 False")
    if has_kernels is not None:
        expect("C library", kernels, str(has_kernels))
    if Path(file).is_relative_to(ROOT / "charseq"):
        raise SystemExit(f"{file} is of the tree, expected the installed package")
    charseq = python.with_name("charseq")
    expect(
        "answer", run(charseq, "predict", "-m", "dates", "3 May 2020", cwd=place), "2020-05-03\n"
    )
    next_word = run(charseq, "predict", "-m", "sentences", "I love machine", cwd=place)
    expect("next word", next_word, "learning\n")
    (place / "orders.csv").write_text(ORDERS, encoding="utf-8")
    words = ("convert", "-q", "orders.csv", "-m", "dates", "--column", "date", "--to", "iso")
    run(charseq, *words, "-o", "out.csv", cwd=place)
    expect("converted", (place / "out.csv").read_text(encoding="utf-8"), CONVERTED)
    for name in ("dates", "sentences"):
        expect("sound", str(": sound: " in run(charseq, "verify", name, cwd=place)), "True")
    library = "with" if kernels == "True" else "without"
    return f"{file.removesuffix('/__init__.py')} answers, {library} the C library"


def end_to_end(wheel: Path, work: Path) -> None:
    """Run the end-to-end tests on a wheel with torch and the extras of the developers."""
    python = environment(work / "full")
    constraints = ROOT / "constraints.txt"
    found = TORCH.search(constraints.read_text(encoding="utf-8"))
    if found is None:
        raise SystemExit(f"{constraints}: no version of torch")
    pip = (python, "-m", "pip", "install", "-q")
    run(*pip, "--no-deps", found[0])  # of find-links or an index that the environment names
    run(*pip, "-c", str(constraints), f"{wheel.resolve()}[dev]")
    tree = work / "tree"
    tree.mkdir()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, tree / name)
    run(
        python.with_name("pytest"), "-q", "-n0", "tests/end_to_end", "--deselect", NEEDS_SOURCES,
        cwd=tree, told=True,
    )  # fmt: skip


def expect(what: str, found: str, wanted: str) -> None:
    """Raise SystemExit where a check found something else than it should."""
    if found != wanted:
        raise SystemExit(f"failed: {what}: {found!r}, expected {wanted!r}")


def run(
    program: Path, *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None,
    told: bool = False,
) -> str:  # fmt: skip
    """The stdout of a program, which sees nothing of this environment's Python.

    ``told``: its output goes to the terminal instead. Raises SystemExit where it fails.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CHARSEQ_"))}
    done = subprocess.run(
        [str(program), *words], cwd=cwd, env={**kept, **(env or {})}, check=False, text=True,
        stdout=None if told else subprocess.PIPE,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"failed: {program.name} {' '.join(words)}: exit code {done.returncode}")
    return done.stdout or ""


if __name__ == "__main__":
    main()
