"""Subwords: the pieces that sentencepiece learns, and its model rebuilt from plain lists."""

from __future__ import annotations

import pytest

from charseq.data.text.subwords import (
    BYTES,
    MAX_CHARACTERS,
    MODEL_TYPES,
    SPACE_MARK,
    build_processor,
    chunks,
    train,
)

TEXTS = ["banana band", "bandana", "the band", "a banana"] * 10


each_model = pytest.mark.parametrize("model", MODEL_TYPES)


@each_model
def test_bytes_come_first_and_frequent_parts_become_pieces(model: str) -> None:
    pieces, scores = train(TEXTS, size=300, seed=1, model=model)
    assert tuple(pieces[:256]) == BYTES
    assert len(pieces) == len(set(pieces)) == len(scores)
    assert any(len(piece) > 1 for piece in pieces[256:])


@each_model
def test_the_rebuilt_model_has_the_same_pieces_and_scores(model: str) -> None:
    pieces, scores = train(TEXTS, size=300, seed=1, model=model)
    rebuilt = build_processor(pieces, scores, model=model)
    assert rebuilt.get_piece_size() == len(pieces) + 1
    assert [rebuilt.id_to_piece(i + 1) for i in range(len(pieces))] == pieces
    assert [rebuilt.get_score(i + 1) for i in range(len(pieces))] == scores
    assert rebuilt.encode("banana") != []


def test_a_unigram_model_cuts_where_the_sum_of_scores_is_largest() -> None:
    # Raise one piece and it wins.
    raised = build_processor([*BYTES, "a", "b", "ab"], [0.0] * 256 + [-1.0, -1.0, -1.5])
    lowered = build_processor([*BYTES, "a", "b", "ab"], [0.0] * 256 + [-1.0, -1.0, -2.5])
    assert raised.encode("ab") == [259]
    assert lowered.encode("ab") == [257, 258]


def test_a_bpe_model_merges_the_pair_of_the_best_score_first() -> None:
    letters = ["a", "b", "c", "ab", "bc"]
    left = build_processor(
        [*BYTES, *letters], [0.0] * 256 + [-9.0, -9.0, -9.0, -1.0, -2.0], model="bpe"
    )
    right = build_processor(
        [*BYTES, *letters], [0.0] * 256 + [-9.0, -9.0, -9.0, -2.0, -1.0], model="bpe"
    )
    assert left.encode("abc", out_type=str) == ["ab", "c"]
    assert right.encode("abc", out_type=str) == ["a", "bc"]
    # By sums a and bc, -10, would win over ab and c, -11: what decides is the best pair alone.
    scores = [0.0] * 256 + [-1.0, -9.0, -9.0, -2.0, -9.0]
    assert (
        build_processor([*BYTES, *letters], scores, model="bpe").encode("abc", out_type=str)[0]
        == "ab"
    )


def test_bpe_learns_the_most_frequent_pair_first() -> None:
    pieces, scores = train(["xyxy", "xyz", "zz"] * 5, size=300, seed=1, model="bpe")
    assert pieces[256] == "xy"
    assert scores[256:] == sorted(scores[256:], reverse=True)


def test_spaces_are_pieces_where_the_texts_have_them_and_only_there() -> None:
    assert not any(SPACE_MARK in piece for piece in train(["abcab"] * 20, size=300, seed=1)[0])
    spaced, scores = train(["the cat", "the hat"] * 20, size=300, seed=1)
    assert any(piece.startswith(SPACE_MARK) and len(piece) > 1 for piece in spaced)
    assert SPACE_MARK in "".join(build_processor(spaced, scores).encode("a  t", out_type=str))


def test_the_size_is_kept_where_the_texts_allow() -> None:
    texts = [f"{a}{b}{c}" for a in "abcdefgh" for b in "ijklmnop" for c in "qrstuvwx"]
    assert len(train(texts, size=310, seed=1)[0]) == 309  # sentencepiece counts its unknown


@each_model
def test_too_many_characters_give_more_pieces_than_asked(model: str) -> None:
    texts = [chr(0x4E00 + i) * (1 + i % 3) for i in range(1000)]
    pieces, _ = train(texts, size=300, seed=1, model=model)
    assert len(pieces) > 1000


@each_model
@pytest.mark.parametrize("texts", [[], [""], ["\t"], ["<0x41>"] * 9], ids=str)
def test_texts_without_pieces_give_bytes_and_characters(texts: list[str], model: str) -> None:
    pieces, scores = train(texts, size=300, seed=1, model=model)
    assert tuple(pieces[:256]) == BYTES
    assert len(pieces) > 256
    assert build_processor(pieces, scores, model=model).encode("é") == [0xC3 + 1, 0xA9 + 1]


@pytest.mark.parametrize(
    "text", ["", "a b", "ab " * 1000, "x" * 5000, " " * 3000, "y" * MAX_CHARACTERS + " z"]
)
def test_a_long_text_is_cut_before_spaces_if_it_can_be(text: str) -> None:
    cut = list(chunks(text))
    assert "".join(cut) == text
    assert max(map(len, cut)) <= MAX_CHARACTERS
    assert all(part for part in cut[1:])
    if "b " in text:
        assert all(part.startswith(" ") for part in cut[1:])
        assert len(cut) == -(-len(text) // (MAX_CHARACTERS - 1))


@each_model
def test_a_long_text_is_learnt_from(model: str) -> None:
    forms = "learner learns learning machine machines machinery "
    pieces, _ = train([forms * 200, "x" * 80_000], size=300, seed=1, model=model)
    assert any("learn" in piece for piece in pieces)


@each_model
def test_training_is_silent(capfd: pytest.CaptureFixture[str], model: str) -> None:
    train(TEXTS, size=300, seed=1, model=model)
    assert capfd.readouterr() == ("", "")


def test_pieces_that_make_no_model_are_refused() -> None:
    with pytest.raises(ValueError, match="no pieces"):
        build_processor(BYTES, [0.0] * 256)
    for model in MODEL_TYPES:
        with pytest.raises(ValueError, match="already defined"):
            build_processor([*BYTES, "a", "a"], [0.0] * 258, model=model)
