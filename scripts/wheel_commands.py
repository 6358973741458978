"""The tree -> a wheel and an sdist: the commands of setuptools, as pyproject.toml names them.

The C library is loaded by ctypes and knows no Python.h, so one wheel fits every Python 3 of a
platform: ``py3-none-linux_x86_64``. Where the library cannot be built, for want of a compiler, the
wheel holds none and fits every platform: ``py3-none-any``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

HERE = "scripts/wheel_commands.py"
SUFFIX = ".so"
"""Of the library: of the suffixes that Python loads the one without a version of Python."""


class BuildKernels(build_ext):
    """The compiler's command, for a library whose name tells no version of Python."""

    def get_ext_filename(self, fullname: str) -> str:
        """``charseq/kernels/native/kernels.so``."""
        return str(Path(*fullname.split(".")).with_suffix(SUFFIX))

    def copy_extensions_to_source(self) -> None:
        """Copy the library beside its sources, in place of libraries with other suffixes."""
        for extension in self.extensions:
            place = Path(*extension.name.split("."))
            for old in place.parent.glob(f"{place.name}.*{SUFFIX}"):
                old.unlink()
        super().copy_extensions_to_source()


class BuildWheel(bdist_wheel):
    """The wheel's command: a platform in the name where the library was built, else any."""

    def run(self) -> None:
        """Build into an empty folder, so that the wheel holds nothing of an earlier build."""
        if not self.skip_build:
            shutil.rmtree(Path(self.get_finalized_command("build").build_lib, "charseq"), True)
            self.run_command("build")
        built = self.get_finalized_command("build_ext").get_outputs()
        self.root_is_pure = not any(Path(output).is_file() for output in built)
        if self.root_is_pure:
            self.distribution.ext_modules = []
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        """Python, interface and platform: any Python 3, and none of its interfaces."""
        return "py3", "none", super().get_tag()[2]


class BuildSource(sdist):
    """The sdist's command: what a wheel is built from, and nothing else."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Add this file to those of the package, and leave out the few tests that setuptools adds.

        A test needs the tree: its neighbours, the data and the scripts.
        """
        kept = [name for name in files if Path(name).parts[0] != "tests"]
        super().make_release_tree(base_dir, [*kept, HERE])
