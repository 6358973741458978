"""Subwords: the pieces that sentencepiece learns, and its model rebuilt from plain lists."""

from __future__ import annotations

import pytest

from charseq.subwords import BYTES, SPACE_MARK, processor, train

TEXTS = ["banana band", "bandana", "the band", "a banana"] * 10


def test_bytes_come_first_and_frequent_parts_become_pieces() -> None:
    pieces, scores = train(TEXTS, size=300, seed=1)
    assert tuple(pieces[:256]) == BYTES
    assert len(pieces) == len(set(pieces)) == len(scores)
    assert any(len(piece) > 1 for piece in pieces[256:])


def test_the_rebuilt_model_cuts_into_the_same_pieces_as_its_scores_say() -> None:
    pieces, scores = train(TEXTS, size=300, seed=1)
    rebuilt = processor(pieces, scores)
    assert rebuilt.get_piece_size() == len(pieces) + 1
    assert [rebuilt.id_to_piece(i + 1) for i in range(len(pieces))] == pieces
    assert [rebuilt.get_score(i + 1) for i in range(len(pieces))] == scores
    assert rebuilt.encode("banana") != []
    # The best cut is the one with the largest sum of scores: raise one piece and it wins.
    raised = processor([*BYTES, "a", "b", "ab"], [0.0] * 256 + [-1.0, -1.0, -1.5])
    lowered = processor([*BYTES, "a", "b", "ab"], [0.0] * 256 + [-1.0, -1.0, -2.5])
    assert raised.encode("ab") == [259]
    assert lowered.encode("ab") == [257, 258]


def test_spaces_are_pieces_where_the_texts_have_them_and_only_there() -> None:
    assert not any(SPACE_MARK in piece for piece in train(["abcab"] * 20, size=300, seed=1)[0])
    spaced, scores = train(["the cat", "the hat"] * 20, size=300, seed=1)
    assert any(piece.startswith(SPACE_MARK) and len(piece) > 1 for piece in spaced)
    assert SPACE_MARK in "".join(processor(spaced, scores).encode("a  t", out_type=str))


def test_the_size_is_kept_where_the_texts_allow() -> None:
    texts = [f"{a}{b}{c}" for a in "abcdefgh" for b in "ijklmnop" for c in "qrstuvwx"]
    assert len(train(texts, size=310, seed=1)[0]) == 309  # sentencepiece counts its unknown


def test_more_characters_than_room_make_it_larger_instead_of_failing() -> None:
    texts = [chr(0x4E00 + i) * (1 + i % 3) for i in range(1000)]
    pieces, _ = train(texts, size=300, seed=1)
    assert len(pieces) > 1000


@pytest.mark.parametrize("texts", [[], [""], ["\t"], ["<0x41>"] * 9], ids=str)
def test_texts_that_teach_nothing_give_bytes_and_characters(texts: list[str]) -> None:
    pieces, scores = train(texts, size=300, seed=1)
    assert tuple(pieces[:256]) == BYTES
    assert processor(pieces, scores).encode("é") == [0xC3 + 1, 0xA9 + 1]


def test_training_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    train(TEXTS, size=300, seed=1)
    assert capfd.readouterr() == ("", "")


def test_pieces_that_make_no_model_are_refused() -> None:
    with pytest.raises(ValueError, match="no pieces"):
        processor(BYTES, [0.0] * 256)
