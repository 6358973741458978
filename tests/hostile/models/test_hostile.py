"""Commands on hostile run folders: one line that names the file, and no side effect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile.models.corpus import CASES, MARK, build

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
COMMANDS = [
    ["verify", "RUN"],
    ["predict", "-m", "RUN", "3.4.77"],
    ["info", "RUN"],
    ["average", "RUN", "RUN", "-o", "averaged"],
]
SECONDS = 5.0


def watched(folders: list[Path], commands: list[list[str]], place: Path) -> list[dict[str, Any]]:
    """The record of every command on every folder."""
    asked = json.dumps({"folders": list(map(str, folders)), "commands": commands})
    done = subprocess.run(
        [sys.executable, str(HERE / "watcher.py")],
        input=asked, cwd=place,
        env={**os.environ, "CHARSEQ_KERNELS": "off", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def snapshot(place: Path) -> dict[str, tuple[int, int]]:
    """Every file below ``place``, links not followed."""
    found = {}
    for folder, _, names in os.walk(place):
        for name in names:
            facts = (Path(folder) / name).lstat()
            found[str(Path(folder) / name)] = (facts.st_size, facts.st_mtime_ns)
    return found


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_watcher_sees_what_it_watches_for(tmp_path: Path) -> None:
    """Sound runs work without a message, and the watcher notices a command that writes."""
    (tmp_path / "words.txt").write_text("3.4.77\n", encoding="utf-8")
    commands = [
        ["verify", "RUN"],
        ["predict", "-m", "RUN", "3.4.77"],
        ["convert", "words.txt", "-m", "RUN"],
    ]
    verify, predict, convert = watched([FIXTURES / "soft"], commands, tmp_path)
    assert (verify["code"], verify["events"], verify["err"]) == (0, [], "")
    assert (predict["code"], predict["events"], predict["out"]) == (0, [], "77-04-03\n")
    assert convert["code"] == 0
    assert any("for writing" in event for event in convert["events"])


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The records of all cases, by folder."""
    place = tmp_path_factory.mktemp("strangers")
    cases = list(build(FIXTURES, place))
    before = snapshot(place)
    found = watched([folder for _, folder in cases], COMMANDS, place)
    return {"cases": cases, "found": found, "before": before, "after": snapshot(place)}


def test_every_hostile_folder_is_one_line_that_names_the_file(outcome: dict[str, Any]) -> None:
    blamed = {str(folder): f"{folder / case.blamed}: " for case, folder in outcome["cases"]}
    names = {str(folder): case.name for case, folder in outcome["cases"]}
    wrong = []
    for one in outcome["found"]:
        file = blamed[one["folder"]]
        said = one.get("out" if one["words"][0] == "verify" else "err", "")
        lines = [line for line in said.split("\n") if line and not line.startswith("note: ")]
        told = [line.removeprefix("charseq: error: ") for line in lines]
        sound = (
            one["status"] == 0
            and one.get("code") == 1
            and len(one["err"].strip().split("\n")) == 1
            and told
            and all(line.isprintable() and len(line) < 600 for line in told)
            and any(line.startswith(file) for line in told)
            and "internal error" not in one["err"]
        )
        if not sound:
            wrong.append((names[one["folder"]], one))
    assert wrong == []


def test_it_is_quick(outcome: dict[str, Any]) -> None:
    slow = {one["folder"]: one["seconds"] for one in outcome["found"] if one["seconds"] > SECONDS}
    assert slow == {}


def test_nothing_is_run_written_or_connected(outcome: dict[str, Any]) -> None:
    loud = [(one["words"], one["events"]) for one in outcome["found"] if one.get("events") != []]
    assert loud == []


def test_nothing_outside_or_inside_has_changed(outcome: dict[str, Any]) -> None:
    assert outcome["after"] == outcome["before"]
    assert not list(Path.cwd().glob(f"**/{MARK}"))
    assert not Path("/tmp", MARK).exists()
