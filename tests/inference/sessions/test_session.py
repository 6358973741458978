"""A session that learns: what was written comes up, nothing else changes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from exported_runs import words_run

import charseq
from charseq.data.text.tokenizer import build
from charseq.data.text.vocabulary import EOS
from charseq.errors import DataError, UsageError
from charseq.inference.language_model import LanguageModel
from charseq.inference.sessions import session as module

LINES = ["the cat sat on the mat", "a dog sat", "a cat can see the dog", "the man", "see the cat"]


@pytest.fixture(scope="module", params=["no", "yes"], ids=["lines", "running"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LanguageModel:
    rules = {"limit": 100, "min_count": 1, "subword_size": 300, "seed": 1}
    units = build(LINES, kind="words", **rules)[0]
    found = charseq.load(
        words_run(tmp_path_factory.mktemp("runs") / "run", units, stateful=request.param)
    )
    assert isinstance(found, LanguageModel)
    return found


def words(found: object) -> dict[str, float]:
    return {one.prediction: one.probability for one in found.candidates}  # type: ignore[attr-defined]


def test_a_session_that_has_learnt_nothing_is_the_model(model: LanguageModel) -> None:
    session = model.session()
    session.feed("the cat")
    (wanted,) = model.predict(["the cat"], n=9)
    assert session.predict(9) == wanted
    session.learn("  \n\n")
    session.feed("the cat")
    assert session.predict(9) == wanted


def test_what_was_written_comes_up(model: LanguageModel) -> None:
    session = model.session()
    session.feed("see the")
    before = words(session.predict(50))
    session.reset()
    for _ in range(30):
        session.learn("see the wolf\nsee the wolf and the man")
    session.feed("see the")
    after = words(session.predict(50))
    assert "wolf" not in before, "the model does not know it"
    assert after["wolf"] > after["cat"] * 0.01
    assert after["wolf"] > 0.02
    assert words(session.complete("w"))["wolf"] == pytest.approx(1)
    assert words(session.complete("wol", 3)).keys() == {"wolf"}


def test_probabilities_sum_to_one_with_new_words_and_the_line_end(model: LanguageModel) -> None:
    session = model.session()
    session.learn("the wolf saw a bear")
    session.feed("the")
    found = words(session.predict(64))
    assert {"wolf", "saw", "bear"} <= found.keys()
    logs, _ = model.network.step(*session._state)
    share = session._cache.share
    missing = (1 - share) * np.exp(logs[0, [EOS, 3]]).sum()  # the line end, and unknown words
    missing += (
        share
        * session._cache.probabilities(model.network.trace(*session._state, [[EOS]])[2][0][0], 99)[
            EOS
        ]
    )
    assert sum(found.values()) + missing == pytest.approx(1, abs=1e-5)


def test_the_line_so_far_is_learnt(model: LanguageModel) -> None:
    one, other = model.session(), model.session()
    one.feed("a")
    one.feed("wolf")
    one.learn()
    other.learn("a wolf")
    assert one.text == other.text == ""
    assert one.learnt == other.learnt == ["a wolf"]
    assert one.predict(9) == other.predict(9)


def test_lines_at_once_are_lines_one_by_one(model: LanguageModel) -> None:
    one, other = model.session(), model.session()
    one.learn("\n".join([*LINES, "a wolf"]))
    for line in [*LINES, "a wolf"]:
        other.learn(line)
    np.testing.assert_allclose(one._cache._contexts, other._cache._contexts, atol=1e-5)
    assert one._cache.words.tolist() == other._cache.words.tolist()
    assert words(one.predict(9)) == pytest.approx(words(other.predict(9)), abs=1e-6)


def test_running_text_goes_on_and_lines_begin_anew(model: LanguageModel) -> None:
    session = model.session()
    session.learn("the cat sat\nthe dog")
    start = model.network.start([[]])
    wanted = start
    if model.carries_state:
        ids = [*model.tokenizer.encode("the cat sat"), EOS, *model.tokenizer.encode("the dog"), EOS]
        wanted = model.network.extend(*start, [ids])
    assert session._state[0].tolist() == wanted[0].tolist()
    np.testing.assert_allclose(session._state[1].past, wanted[1].past, atol=1e-6)


def test_a_saved_session_is_a_private_text_file(model: LanguageModel, tmp_path: Path) -> None:
    session, path = model.session(), tmp_path / "mine.txt"
    session.learn("the wolf\r\na bear")
    session.save(path)
    assert path.read_text(encoding="utf-8") == "the wolf\na bear\n"
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
    again = model.session(path)
    assert again.learnt == ["the wolf", "a bear"]
    assert words(again.predict(9)) == pytest.approx(words(session.predict(9)), abs=1e-6)


def test_nothing_is_written_through_a_link(model: LanguageModel, tmp_path: Path) -> None:
    """Neither the file that a link leads to, nor one that a dangling link names."""
    there, link = tmp_path / "there.txt", tmp_path / "mine.txt"
    link.symlink_to(there)
    session = model.session()
    session.learn("ab")
    for content in (None, "theirs"):
        if content is not None:
            there.write_text(content)
        with pytest.raises(UsageError, match="is a link"):
            session.save(link)
        assert (there.read_text() if there.exists() else None) == content
    link.unlink()
    session.save(link)
    session.save(link)
    assert link.read_text() == "ab\n"
    assert link.stat().st_mode & 0o777 == 0o600


def test_old_lines_are_forgotten(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPACITY", 8)
    session = model.session()
    session.learn("\n".join(["one two three"] * 9 + ["four five", "six seven"]))
    assert session.learnt == ["one two three", "four five", "six seven"]
    session.learn("eight nine ten")
    assert session.learnt == ["four five", "six seven", "eight nine ten"]


def test_files_that_cannot_be_read_or_written(model: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt: cannot be read"):
        model.session(tmp_path / "none.txt")
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="byte 4 is not UTF-8"):
        model.session(tmp_path / "latin")
    with pytest.raises(UsageError, match="cannot be written"):
        model.session().save(tmp_path / "nowhere" / "mine.txt")


def test_only_words_are_learnt(tmp_path: Path) -> None:
    units = build(LINES, kind="characters", limit=99, min_count=1, subword_size=300, seed=1)[0]
    pieces = charseq.load(words_run(tmp_path / "run", units))
    assert isinstance(pieces, LanguageModel)
    with pytest.raises(UsageError, match="a session learns words"):
        pieces.session().learn("the wolf")
