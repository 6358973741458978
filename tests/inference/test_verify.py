"""A sound run has no faults; a spoilt one has a line for each file that is spoilt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from arrays import save_arrays
from frozen import FIXTURES
from safetensors.numpy import save

from charseq.inference.verify import verify
from charseq.runs import folder, store


@pytest.fixture
def run(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURES / "hard", tmp_path / "run")
    return tmp_path / "run"


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_a_sound_run_has_no_faults(run: Path) -> None:
    found = verify(run)
    assert (found.faults, found.notes, found.files) == ([], [], 4)
    assert found.weights == json.loads((run / "about.json").read_bytes())["parameters"]
    assert found.lines() == [f"{run}: sound: 4 files, {found.weights:,} weights"]


def test_each_damaged_file_has_its_line(run: Path) -> None:
    for name in ("README.md", "about.json", "metrics.jsonl"):
        spoil(run / name)
    (run / "model.safetensors").unlink()
    found = verify(run)
    told = {line.removeprefix(f"{run}/").partition(": ")[0] for line in found.faults}
    assert told == {"README.md", "about.json", "metrics.jsonl", "model.safetensors"}
    assert len(found.faults) == 4
    assert found.lines() == found.faults


def test_unlisted_files_are_noted(run: Path) -> None:
    (run / "evil\n.pkl").write_bytes(b"x")
    (run / ".lock").write_bytes(b"1")
    found = verify(run)
    assert found.faults == []
    assert found.notes == [f"{run}/'evil\\n.pkl': is not listed, and never read"]


def test_other_files_of_a_run_are_read_as_well(run: Path) -> None:
    weights = folder.load_model(run)[1]
    fewer = {name: value for name, value in weights.items() if "bias" not in name}
    store.publish(
        run,
        {
            "kept.1.safetensors": save_arrays(weights),
            "kept.2.safetensors": save_arrays(fewer),
            "resume.a.json": b"[]",
            "resume.labels.00000000.jsonl": b'{"key": "x"}\n[["a", 0.5]]\n',
            "resume.a.safetensors": save({"x": np.array([np.inf])}),
            "metrics.jsonl": b'{"a": 1}\nb\n',
        },
    )
    told = [line.removeprefix(f"{run}/") for line in verify(run).faults]
    assert told == [
        "kept.2.safetensors: has other weights than the settings call for",
        "metrics.jsonl: is damaged: no JSON: Expecting value: line 1 column 1 (char 0)",
        "resume.a.json: is damaged: expected a JSON object",
        "resume.a.safetensors: 'x' holds NaN or infinity",
    ]


def test_runs_inside_are_checked_and_links_are_not_followed(run: Path, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "soft", run / "members" / "1")
    spoil(run / "members" / "1" / "model.safetensors")
    (tmp_path / "elsewhere").mkdir()
    (run / "tune").symlink_to(tmp_path / "elsewhere")
    found = verify(run)
    assert [line.partition(": ")[0] for line in found.faults] == [
        str(run / "members" / "1" / "model.safetensors")
    ]
    assert found.notes == [f"{run}/'tune': is not listed, and never read"]


def test_folders_that_are_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place, told in (
        (tmp_path / "none", "there is no such run"),
        (tmp_path, "holds no trained model (manifest.json is missing)"),
        (tmp_path / "file", "is a file, expected the folder of a run"),
    ):
        assert verify(place).faults == [f"{place}: {told}"]


def test_a_run_without_a_model_says_so(tmp_path: Path) -> None:
    store.publish(tmp_path / "run", {"resume.a.json": b"{}"})
    found = verify(tmp_path / "run")
    assert (found.faults, found.notes) == ([], [f"{tmp_path}/run: no model yet"])
