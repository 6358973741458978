"""Odd values in about.json: a run that ``verify`` calls sound works, any other is one line."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from frozen import FIXTURES
from hostile.models.corpus import ABOUT, seal

from charseq.cli.main import run

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 10**30, 1.5, 1e308, "", "x", "1", "nan", "\0",
    "\x1b[31m\n\u202e", "x" * 5000, [], [1], ["a"], {}, {"a": 1}, [[]], "soft", "none", "auto",
)  # fmt: skip
CASES = 60
"""For each run, of some thousands."""
MORE = ("averaged", "distilled", "calibration", "tuned", "members", "start", "x", "units", "limits")
GONE = object()


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all values in JSON; of a list only to the first two."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*at, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value[:2]):
            yield from places(inner, (*at, number))
    yield at


def changed(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    """A copy with another value, or with none, at a path."""
    value = copy.deepcopy(value)
    inner = value
    for key in at[:-1]:
        inner = inner[key]
    if new is GONE:
        del inner[at[-1]]
    else:
        inner[at[-1]] = new
    return value


@pytest.mark.parametrize("base", ["hard", "soft", "words"])
def test_sound_runs_work_and_others_are_one_line(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(FIXTURES / base, folder)
    about: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
    paths = [at for at in places(about) if at] + [(key,) for key in MORE]
    cases = [(at, new) for at in paths for new in (*ODD, GONE) if new is not GONE or at[0] in about]
    sound = 0
    for at, new in random.Random(base).sample(cases, CASES):
        (folder / ABOUT).write_text(json.dumps(changed(about, at, new)), encoding="utf-8")
        seal(folder)
        codes = []
        for words in (["verify", "RUN"], ["info", "RUN"], ["predict", "-q", "-m", "RUN", "a"]):
            codes.append(run([str(folder) if word == "RUN" else word for word in words]))
            err = capsys.readouterr().err
            assert "internal error" not in err, (at, new, words)
            assert len(err.splitlines()) == (codes[-1] != 0), (at, new, words, err)
        assert codes in ([0, 0, 0], [1, 1, 1]), (at, new, codes)
        sound += not codes[0]
    assert 0 < sound < CASES
