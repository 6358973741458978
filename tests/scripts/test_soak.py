"""The soak runs, in small: every part holds here, and says so where something does not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOAK = Path(__file__).parents[2] / "scripts" / "soak.py"


def soak(part: str, scale: float, *words: str) -> dict[str, Any]:
    """What one part has found."""
    done = subprocess.run(
        [sys.executable, SOAK, "--only", part, "--scale", str(scale), "--json", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    facts = json.loads(done.stdout)
    assert (facts["held"], done.returncode) == (True, 0), facts
    return facts


@pytest.mark.parametrize("kernels", [(), ("--kernels", "off")])
def test_same_text_same_answer(kernels: tuple[str, ...]) -> None:
    facts = soak("same", 0.001, *kernels)
    assert facts["texts"] == 100
    assert {"hard, 1", "hard, 5", "soft, 1", "soft, 5", "words, 5"} <= facts.keys()


def test_kills_while_saving() -> None:
    facts = soak("saves", 0.02)
    assert (facts["kills"], facts["lost"]) == (10, 0)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_faults_at_every_tenth_call_of_a_save() -> None:
    facts = soak("faults", 0.1)
    assert facts["calls of a save"] > 50
    assert facts["error=EIO"]["old"] + facts["error=EIO"]["new"] >= 1
    assert facts["error=ENOSPC"]["old"] >= 1
    assert facts["signal=KILL"]["old"] >= 2
    assert facts["signal=KILL"]["new"] >= 2


def test_a_killed_conversion_ends_with_the_same_bytes() -> None:
    facts = soak("convert", 0.03)
    assert facts["kills"] >= 1
    assert facts["answers kept at each start"][-1] > 0


def test_memory_does_not_grow_with_the_rows() -> None:
    assert len(soak("rows", 0.01)) == 5


IN_PLACE = """
import os, time
def publish(run, files, drop):
    os.makedirs(run, exist_ok=True)
    listed = {}
    for name, content in files.items():
        open(f"{run}/{name}", "wb").write(content)
        time.sleep(0.01)
        listed[name] = store.Entry(len(content), store.hashlib.sha256(content).hexdigest())
    open(f"{run}/manifest.json", "wb").write(store._encode_manifest(listed))
store.publish = publish
print("ready", flush=True)
"""


def test_what_does_not_hold_is_told(tmp_path: Path) -> None:
    """A store that writes in place is found out by the kills."""
    text = SOAK.read_text(encoding="utf-8")
    assert text.count('\nprint("ready", flush=True)\n') == 1
    text = text.replace('\nprint("ready", flush=True)\n', IN_PLACE)
    text = text.replace("Path(__file__).resolve().parent.parent", f"Path({str(SOAK.parents[1])!r})")
    (tmp_path / "soak.py").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, tmp_path / "soak.py", "--only", "saves", "--scale", "0.1", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    facts = json.loads(done.stdout)
    assert (done.returncode, facts["held"]) == (1, False)
    assert "is damaged" in facts["why"] or "half of one state" in facts["why"]
