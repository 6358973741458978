"""The fingerprint of a training is the same twice, and finds what has changed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fingerprint.py"
CASE = "words-mlp"
spec = importlib.util.spec_from_file_location("fingerprint", SCRIPT)
assert spec is not None
assert spec.loader is not None
fingerprint: Any = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = fingerprint  # a dataclass looks for its module
spec.loader.exec_module(fingerprint)


def run(*words: str | Path, code: int = 0) -> list[str]:
    command = [sys.executable, SCRIPT, *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout.splitlines()


def test_a_case_twice_and_with_another_seed(tmp_path: Path) -> None:
    first = run("--only", CASE)
    hashed = [f"{CASE} {what}" for what in ("weights", "metrics.jsonl", "about.json", "answers")]
    assert [line.rpartition(" ")[0] for line in first] == ["environment", *hashed]
    assert all(re.fullmatch("[0-9a-f]{64}", line.rpartition(" ")[2]) for line in first[1:])
    before = tmp_path / "before.txt"
    before.write_text("".join(f"{line}\n" for line in first))
    assert run("--only", CASE, "--against", before) == []
    other = run("--only", CASE, "--against", before, "--seed", "2", code=1)
    assert [line.partition(":")[0] for line in other] == hashed
    assert other[0].startswith(f"{hashed[0]}: {first[1].rpartition(' ')[2]} -> ")


def test_json_is_hashed_without_times_and_order() -> None:
    first = fingerprint.sha256_of_json('{"a": 1, "seconds": 2.5, "b": {"seconds": 1}}\n{"c": []}\n')
    assert fingerprint.sha256_of_json('{"b": {},\n "a": 1}\n\n{"c": []}') == first
    assert fingerprint.sha256_of_json('{"a": 1, "b": {}}') != first
    assert fingerprint.sha256_of_json('{"a": 1.0000000000000002, "b": {}}{"c": []}') != first
    teacher, data = '{"teacher": "x", "fingerprint": "%d"}', '{"name": "x", "fingerprint": "%d"}'
    assert fingerprint.sha256_of_json(teacher % 1) == fingerprint.sha256_of_json(teacher % 2)
    assert fingerprint.sha256_of_json(data % 1) != fingerprint.sha256_of_json(data % 2)


def test_cases_come_after_those_that_they_start_from() -> None:
    names = [case.name for case in fingerprint.choose(())]
    assert len(set(names)) == len(names) > 30
    for case in fingerprint.choose(()):
        assert not case.start or names.index(case.start) < names.index(case.name)
    chosen = [case.name for case in fingerprint.choose(("fine-tuned",))]
    assert chosen == ["gru-hard", "fine-tuned"]
    with pytest.raises(click.UsageError, match="no case gru, expected one of tanh-hard, "):
        fingerprint.choose(("gru",))


def test_a_setting_of_a_case_replaces_the_usual_one() -> None:
    for case in fingerprint.cases():
        words = fingerprint.training(case, 7)
        settings = [word.split("=")[1] for word in words if word.startswith("--set=")]
        assert len(set(settings)) == len(settings)
        assert set(case.words) < set(words)
        assert {"--seed=7", "--set=epochs=3", "--set=threads=1"} < set(words)
    (odd,) = fingerprint.choose(("odd-sizes",))
    assert "--set=hidden=32" not in fingerprint.training(odd, 1)


def test_differences_are_told_by_name() -> None:
    wanted, found = {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "4", "d": "5"}
    told = ["b: 2 -> 4", "d: new"]
    assert fingerprint.differences(wanted, found, complete=False) == told
    assert fingerprint.differences(wanted, found, complete=True) == [*told, "c: missing"]


def test_another_file_is_no_earlier_output(tmp_path: Path) -> None:
    for text in ("", "something else\n"):
        (tmp_path / "other").write_text(text)
        with pytest.raises(click.ClickException, match="other: no output of this script"):
            fingerprint.read(tmp_path / "other")
