"""The facts of a run for a runner, and the runs that no runner knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from exported_runs import (
    SOURCE,
    TARGET,
    measures,
    pairs_run,
    weighed_run,
    with_words,
    words_run,
)

from charseq.data.text import subwords
from charseq.data.text.tokenizer import Tokenizer
from charseq.data.text.vocabulary import EOS, Vocabulary
from charseq.errors import CheckpointError, UsageError
from charseq.export import manifest


def test_a_run_of_pairs_tells_all_that_decides_an_answer(tmp_path: Path) -> None:
    run = pairs_run(tmp_path / "run", attention="hard", beam=3, more=measures())
    found = manifest.read(run)
    assert found.is_pairs
    facts = json.loads(json.dumps(found.facts))
    assert (facts["name"], facts["task"], facts["beam"]) == ("run", "pairs", 3)
    assert (facts["source"], facts["target"]) == (SOURCE.to_json(), TARGET.to_json())
    assert facts["writes"] == len(TARGET)
    assert facts["limits"] == [0, 2, 4, 9]
    assert {name: facts[name] for name in measures()} == measures()
    assert facts["ngrams"] is None
    assert found.notes == []


def test_joint_ngrams_are_told_as_the_run_stores_them(tmp_path: Path) -> None:
    run = weighed_run(tmp_path / "run", direction="backward")
    about = json.loads((run / "about.json").read_text(encoding="utf-8"))
    found = manifest.read(run)
    assert found.facts["ngrams"] == about["ngrams"]
    assert found.facts["ngrams"]["backward"] is not None


def test_a_list_of_words_is_no_part_of_what_is_exported(tmp_path: Path) -> None:
    found = manifest.read(with_words(tmp_path / "run", ["abc", "bead"]))
    assert "words" not in found.facts
    (note,) = found.notes
    assert note.startswith("the list of words is left out: ")
    model: Any = found.model()
    assert model.word_prior is None
    assert model.beam == found.facts["beam"]


def test_members_are_grouped_by_direction(tmp_path: Path) -> None:
    run = pairs_run(tmp_path / "run", attention="hard", ensemble=3, direction="auto")
    found = manifest.read(run)
    told = [(len(group.members), group.backward, group.weight) for group in found.groups]
    assert told == [(1, False, pytest.approx(1 / 3)), (2, True, pytest.approx(2 / 3))]


def test_a_next_word_run_tells_its_first_symbol(tmp_path: Path) -> None:
    found = manifest.read(words_run(tmp_path / "run", stateful=True))
    assert not found.is_pairs
    assert found.facts["begin"] == EOS


PIECES = Vocabulary(
    "subwords", "NFC", "NFC", (*subwords.BYTES, "\u2581", "a"), (), ";", (0.0,) * 258
)


def test_subwords_are_refused_in_one_line(tmp_path: Path) -> None:
    run = pairs_run(tmp_path / "run", source=PIECES)
    with pytest.raises(UsageError, match="source symbols are subwords, expected characters"):
        manifest.read(run)
    letters = Tokenizer(Vocabulary("characters", "NFC", "NFC", tuple("ab ")))
    for units, kind in ((letters, "characters"), (Tokenizer(PIECES), "subwords")):
        with pytest.raises(UsageError, match=f"units are {kind}, expected words"):
            manifest.read(words_run(tmp_path / kind, units))


def test_a_missing_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        manifest.read(tmp_path / "nowhere")
