"""The Dockerfile agrees with the tree. No test builds the image, which needs Docker and PyPI."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from builds import build

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "scripts" / "docker"
TEXT = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
KNOWN = {
    "FROM", "ARG", "RUN", "WORKDIR", "COPY", "ENV", "USER", "EXPOSE", "ENTRYPOINT", "CMD",
}  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    """Keyword and arguments of each instruction, continued lines joined."""
    lines = "\n".join(line for line in TEXT.split("\n") if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines)
    found = (line.partition(" ") for line in joined.split("\n") if line)
    return [(keyword, rest.strip()) for keyword, _, rest in found]


def stage(number: int) -> list[tuple[str, str]]:
    """The instructions of one stage, from 0."""
    starts = [at for at, (keyword, _) in enumerate(instructions()) if keyword == "FROM"]
    return instructions()[starts[number] : [*starts[1:], None][number]]


def allowed() -> list[str]:
    """The places of the tree in the context."""
    lines = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    return [line[1:] for line in lines if line.startswith("!")]


def context(folder: Path) -> Path:
    """A copy of the context that Docker gets."""
    for name in allowed():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("*.so", "__pycache__")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy2(ROOT / name, folder / name)
    return folder


def test_every_instruction_is_one_of_docker() -> None:
    assert {keyword for keyword, _ in instructions()} <= KNOWN
    assert [keyword for keyword, _ in instructions()].count("FROM") == 2


@pytest.mark.parametrize("command", [rest for keyword, rest in instructions() if keyword == "RUN"])
def test_commands_are_sound_shell(command: str) -> None:
    done = subprocess.run(["sh", "-n", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_context_holds_what_is_copied() -> None:
    assert all((ROOT / name).exists() for name in allowed())
    for keyword, rest in instructions():
        if keyword == "COPY" and not rest.startswith("--from"):
            *sources, _ = rest.split()
            assert all(source == "." or source in allowed() for source in sources)


def test_a_wheel_can_be_built_from_the_context(tmp_path: Path) -> None:
    wheel = build("wheel", context(tmp_path / "context"), tmp_path / "out")
    assert wheel.name.endswith("-none-any.whl")


def test_the_image_holds_the_extras_that_it_names() -> None:
    lines = (FOLDER / "requirements.txt").read_text(encoding="utf-8").split("\n")
    listed = {line for line in lines if line and not line.startswith("#")}
    wanted = {"click", "numpy", "safetensors", "pandas", "rapidfuzz"}
    for extra in ("serve", "parquet", "excel", "unicode", "hub"):
        wanted |= {
            re.match(r"[\w-]+", one)[0]  # type: ignore[index]
            for one in PROJECT["optional-dependencies"][extra]
        }
    assert listed == wanted


def test_the_image_runs_charseq_as_a_user_without_rights() -> None:
    last = dict(stage(1))
    assert json.loads(last["ENTRYPOINT"]) == ["charseq"]
    assert "charseq" in PROJECT["scripts"]
    assert json.loads(last["CMD"]) == ["--help"]
    assert int(last["USER"].partition(":")[0]) > 0
    assert [keyword for keyword, _ in stage(1)].index("USER") > max(
        at for at, (keyword, _) in enumerate(stage(1)) if keyword == "RUN"
    )
    assert not any("gcc" in rest for _, rest in stage(1)), "no compiler in the image"


def test_kept_files_have_a_place() -> None:
    environment = dict(one.split("=", 1) for one in shlex.split(dict(stage(1))["ENV"]))
    assert environment["XDG_STATE_HOME"] == "/state"
    made = [rest for keyword, rest in stage(1) if keyword == "RUN" and "/state" in rest]
    assert made == ["mkdir -m 1777 /state /work"]
    assert dict(stage(1))["WORKDIR"] == "/work"
