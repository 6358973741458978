"""Runs of this format, trained once, are read and answer as on the day when they were made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from frozen import FIXTURES, TEXTS, answers, flat, plain_answers

from charseq.errors import CheckpointError
from charseq.inference.verify import verify
from charseq.runs import folder, store

KNOWN = json.loads((FIXTURES / "answers.json").read_text(encoding="utf-8"))
CLOSE = 2e-5
"""What other products of float32 may differ by, in a score of a few tens."""


def test_the_format_is_the_one_that_was_frozen() -> None:
    """With a new format: new runs beside these, which stay readable."""
    assert folder.FORMAT == 1
    for name in TEXTS:
        assert folder.read_json(FIXTURES / name, "about.json")["format"] == 1
        assert verify(FIXTURES / name).faults == []


def test_the_texts_are_the_same_and_the_scores_as_near_as_float32() -> None:
    found = answers()
    assert flat(found)[0] == flat(KNOWN)[0]
    assert found["drawn"] == KNOWN["drawn"]
    np.testing.assert_allclose(flat(found)[1], flat(KNOWN)[1], rtol=CLOSE, atol=CLOSE)


def test_in_plain_numpy_every_bit_of_the_scores_is_the_same() -> None:
    found = plain_answers()
    if found["probe"] != KNOWN["probe"]:
        pytest.skip("this processor gives other bits to products or exp")
    assert json.dumps(found) == json.dumps(KNOWN)


def test_a_run_is_written_as_it_was(tmp_path: Path) -> None:
    """The same files give the same manifest, to the byte."""
    for name in TEXTS:
        files = store.read_all(FIXTURES / name, store.names(FIXTURES / name))
        store.publish(tmp_path / name, files)
        manifest = (FIXTURES / name / "manifest.json").read_bytes()
        assert (tmp_path / name / "manifest.json").read_bytes() == manifest


def test_a_thousand_flipped_bits_are_a_thousand_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.time, "sleep", lambda _: None)  # no writer is at work
    draw, seen = np.random.default_rng(1), 0
    for turn in range(1000):
        run = tmp_path / list(TEXTS)[turn % len(TEXTS)]
        if not run.exists():
            shutil.copytree(FIXTURES / run.name, run)
        paths = sorted(run.iterdir())
        sizes = np.array([path.stat().st_size for path in paths])
        path = paths[draw.choice(len(paths), p=sizes / sizes.sum())]
        whole = path.read_bytes()
        place, bit = int(draw.integers(len(whole))), int(draw.integers(8))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match=str(path)):
            store.read_all(run, store.names(run))
        if turn < 60:
            assert [fault for fault in verify(run).faults if fault.startswith(f"{path}: ")]
        path.write_bytes(whole)
        seen += 1
    assert seen == 1000
