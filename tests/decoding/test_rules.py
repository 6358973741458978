"""Rules against enumeration for every kind of symbols; files of answers; faulty ones."""

from __future__ import annotations

import itertools
import random
import re
import time
from pathlib import Path

import pytest
from automata import accepted

from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import BYTES, SPECIALS, Vocabulary
from charseq.decoding import rules
from charseq.decoding.rules import TargetRule, read
from charseq.errors import CharseqError, DataError, UsageError

VOCABULARIES = {
    "characters": Vocabulary("characters", "NFC", "NFC", tuple("ab1é ")),
    "as they are": Vocabulary("characters", "none", "none", ("e", "\u0301", "é", "b")),
    "decomposed": Vocabulary("characters", "NFD", "NFD", ("e", "\u0301", "b", "2")),
    "composed": Vocabulary("characters", "NFD", "NFC", ("e", "\u0301", "b", "2")),
    "written apart": Vocabulary("characters", "NFC", "NFD", ("e", "é", "b", "2")),
    "jamo": Vocabulary("characters", "NFD", "NFC", ("\u1100", "\u1161", "\u11a8", "a")),
    "graphemes": Vocabulary("graphemes", "NFC", "NFC", ("a", "e\u0323", "ab", "é")),
    "spaced": Vocabulary("spaced", "NFC", "NFC", ("AH0", "B", "K", "AH")),
    "decomposed phones": Vocabulary(
        "decomposed", "NFD", "NFC", ("a", "b", "\u25cc\u02d0", "\u02c8\u25cc")
    ),
}
PATTERNS = {
    "characters": ["[ab]*1", r"\w+", r"[^\d]{2,3}", "é|a.", r"\S+ \S*", ".*"],
    "as they are": ["é", "e\u0301b*", ".", "..", r"\w+", ".*"],
    "decomposed": ["e\u0301", "..", "[a-f\u0301]+", ".*"],
    "composed": ["é", ".", "..", "[é-ÿb]+", r"\w\d", r"(?i)É2", ".*"],
    "written apart": ["e\u0301b", "...", ".*"],
    "jamo": ["각", "가?", "..", "[가-힣]a", ".*"],
    "graphemes": ["a+", "aba", "..", ".*", "(?:é|ab)*"],
    "spaced": ["AH0 B", r"AH\d?( K)*", ".{3}", r"\S+", r"(?:\w+ )?K", ".*"],
    "decomposed phones": [
        "a b",
        "a\u02d0( b)?",
        "\u02c8a.*",
        r"\S+",
        "a.{2}",
        r"a( a\u02d0)+",
        ".*",
    ],
}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(
    ("kind", "source"), [(kind, one) for kind, some in PATTERNS.items() for one in some]
)
def test_outputs_that_match_are_found_and_others_are_not_given(
    kind: str, source: str, backward: bool
) -> None:
    target = VOCABULARIES[kind]
    rule = TargetRule(read(source), target, None, backward=[backward])
    order = -1 if backward else 1
    every = [
        ids
        for size in range(1, 5)
        for ids in itertools.product(range(SPECIALS, len(target)), repeat=size)
    ]
    texts = {ids: target.decode(ids[::order]) for ids in every}
    matched = {ids for ids in every if re.fullmatch(source, texts[ids])}
    assert {ids for ids in every if rule.answer(texts[ids]) is not None} == matched
    found = accepted(rule.automaton(backward=backward), 4) - {()}
    wanted, spelled = ({texts[ids] for ids in some} for some in (matched, found))
    if target.form == "NFD" and target.written == "NFC":
        assert wanted <= spelled  # characters that Unicode joins are compared afterwards
    else:
        assert wanted == spelled


def test_a_text_of_two_outputs_that_unicode_joins_is_compared_again() -> None:
    """Two characters of the internal form that are written as one do not match two."""
    rule = TargetRule(read("e."), VOCABULARIES["composed"], None)
    found = {VOCABULARIES["composed"].decode(ids) for ids in accepted(rule.automaton(), 3)}
    assert "eb" in found
    assert rule.answer("é") is None


def subwords() -> Vocabulary:
    pieces = ("\u2581", "a", "b", "ab", "é", "\u2581a")
    scores = (0.0,) * len(BYTES) + tuple(-1.0 - place for place in range(len(pieces)))
    return Vocabulary("subwords", "NFC", "NFC", (*BYTES, *pieces), scores=scores)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("source", ["ab", "é", "[aé]{1,2}", " a| b", "ü"])
def test_subwords_write_the_text_in_every_way(source: str, backward: bool) -> None:
    """Pieces, and bytes one by one, but no bytes that are no character."""
    target = subwords()
    rule = TargetRule(read(source), target, None, backward=[backward])
    order = -1 if backward else 1
    raw = [set(one) for one in target.subword_bytes[SPECIALS:]]
    used = set("ab éü".encode())
    numbers = [SPECIALS + place for place, one in enumerate(target.symbols) if raw[place] <= used]
    expected = set()
    for size in range(1, 5):
        for ids in itertools.product(numbers, repeat=size):
            written = b"".join(target.subword_bytes[one] for one in ids[::order])
            if re.fullmatch(source, written.decode("utf-8", "replace")):
                expected.add(ids)
    assert accepted(rule.automaton(backward=backward), 4) == expected
    assert expected


@pytest.mark.parametrize("backward", [False, True])
def test_lines_of_subwords_are_written_in_every_way(tmp_path: Path, backward: bool) -> None:
    """As those of a pattern that matches these lines; what a model gives any way of it counts."""
    pytest.importorskip("sentencepiece")
    target = subwords()
    lines = [" ab", "abab", "é", "ü a"]
    path = written(tmp_path, "\n".join(lines).encode())
    rule = TargetRule(read(within=path), target, None, backward=[backward])
    found = accepted(rule.automaton(backward=backward), 9)
    same = TargetRule(read("|".join(lines)), target, None, backward=[backward])
    assert found == accepted(same.automaton(backward=backward), 9)
    assert len(found) > 2 * len(lines)
    order = -1 if backward else 1
    assert {rule.answer(target.decode(ids[::order])) for ids in found} == set(lines)
    assert rule.automaton(backward=backward).least == max(len(target.encode(one)) for one in lines)


def test_hard_attention_writes_actions() -> None:
    target = VOCABULARIES["characters"]
    actions = Actions(len(target))
    rule = TargetRule(read("ab?"), target, actions)
    found = {tuple(actions.target_ids(ids)) for ids in accepted(rule.automaton(), 3)}
    assert {target.decode(ids) for ids in found} == {"a", "ab"}
    assert rule.limit(1, 9) == 1 + 9
    assert rule.limit(50, 9) == 50


# --- files of answers


def written(folder: Path, content: bytes) -> Path:
    path = folder / "answers.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"ab\nb1\n", {"ab", "b1"}),
        (b"\xef\xbb\xbfab\r\nb1", {"ab", "b1"}),
        (b"ab\nab\n\n \nab\r\n", {"ab"}),
        ("ab\ré\n1 a\n".encode(), {"1 a"}),
        ("é\nzz\n".encode("utf-16"), {"é"}),
        ("e\u0301\n".encode(), {"e\u0301"}),
    ],
)
def test_answers_are_the_lines_as_they_stand(
    tmp_path: Path, content: bytes, texts: set[str]
) -> None:
    target = VOCABULARIES["characters"]
    rule = TargetRule(read(within=written(tmp_path, content)), target, None)
    found = {rule.answer(target.decode(ids)) for ids in accepted(rule.automaton(), 9)}
    assert found == texts
    assert rule.answer("bb") is None


def test_phones_between_several_spaces_are_written_as_the_line_is(tmp_path: Path) -> None:
    target = VOCABULARIES["spaced"]
    rule = TargetRule(read(within=written(tmp_path, b"AH0  B\n")), target, None)
    ((ids),) = accepted(rule.automaton(), 9)
    assert rule.answer(target.decode(ids)) == "AH0  B"


@pytest.mark.parametrize("backward", [False, True])
def test_lines_are_read_from_the_end_for_networks_that_write_so(
    tmp_path: Path, backward: bool
) -> None:
    target = VOCABULARIES["characters"]
    path = written(tmp_path, b"ab1\nb\n")
    rule = TargetRule(read(within=path), target, None, backward=[False, True])
    order = -1 if backward else 1
    found = accepted(rule.automaton(backward=backward), 9)
    assert {target.decode(ids[::order]) for ids in found} == {"ab1", "b"}
    assert rule.limit(2, 100) == 3


def test_lines_that_cannot_be_written_are_left_out_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path, "ab\nbé\nxyz\n1234\nb1\n".encode())
    rule = TargetRule(read(pattern="[^1]*|x.*|.*4", within=path), VOCABULARIES["characters"], None)
    assert rule.notes == [
        f"{path}: answers come from 2 lines",
        f"{path}: 1 line left out that the rest of the rule excludes",
        (
            f"{path}: 2 lines left out with symbols that the model cannot write: "
            "U+0078 'x' LATIN SMALL LETTER X in 'xyz'"
        ),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no lines, expected an answer in each"),
        (b"\n \n\r\n", "has no lines, expected an answer in each"),
        (b"xyz\n", "none of its 1 line has only symbols of the model: U+0078 'x' LATIN"),
        (b"ab\t\n", "none of its 1 line has only symbols of the model: U+0009 in 'ab"),
        ("ab\né\n".encode() + b"\xff\n", "is not UTF-8"),
        (bytes(range(256)) * 4, "is a binary file"),
        (b"\x89PNG\r\n", "is a picture"),
        (b"a" * 10_001, "has 10,001 symbols, expected at most 10,000"),
    ],
)
def test_faulty_files_are_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError) as caught:
        TargetRule(read(within=path), VOCABULARIES["characters"], None)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_folder_stdin_and_nothing_are_no_files_of_answers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder, expected a file"):
        read(within=tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read(within=tmp_path / "none")
    with pytest.raises(UsageError, match="not from stdin"):
        read(within="-")
    assert read() is None


def test_a_file_beyond_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MAX_EDGES", 7)
    assert read(within=written(tmp_path, b"abcd\nefg\nefg\n"))
    with pytest.raises(DataError, match="more than 7 characters in its lines") as caught:
        read(within=written(tmp_path, b"abcd\nefg\ne\n"))
    assert caught.value.line == 3


def test_a_hundred_thousand_words_are_an_automaton_within_seconds(tmp_path: Path) -> None:
    draw = random.Random(1)
    lines = {"".join(draw.choices("ab1é ", k=draw.randint(3, 14))).strip() for _ in range(120_000)}
    path = written(tmp_path, "\n".join(sorted(lines)).encode())
    begun = time.perf_counter()
    rule = TargetRule(read(within=path), VOCABULARIES["characters"], None)
    assert time.perf_counter() - begun < 30
    assert len(lines - {""}) > 60_000
    assert rule.notes == [f"{path}: answers come from {len(lines - {''}):,} lines"]


# --- rules of several parts


def test_all_parts_of_a_rule_hold(tmp_path: Path) -> None:
    path = written(tmp_path, b"18\n26\n34\n1\nab\n")
    rule = read("[12].*", path, "luhn")
    assert rule is not None
    assert [text for text in ("18", "26", "34", "1", "ab", "42") if rule.allows(text)] == [
        "18",
        "26",
    ]


def test_the_search_follows_the_shape_of_the_first_check() -> None:
    target = Vocabulary("characters", "NFC", "NFC", tuple("0123-"))
    rule = TargetRule(read(check=["date", "luhn"]), target, None)
    found = accepted(rule.automaton(), 10)
    assert (10, len("2021-03-03")) == (rule.limit(2, 5), rule.automaton().least)
    texts = {target.decode(ids) for ids in found}
    assert {"2020-02-22", "1303-12-31"} <= texts
    assert rule.answer("2020-02-22") is None  # its sum of digits
    assert rule.answer("2021-03-03") is None
    assert sum(rule.answer(text) is not None for text in texts) > 100


@pytest.mark.parametrize("arguments", [("a", None, ()), ("b", None, ()), (None, None, ["luhn"])])
def test_every_part_changes_the_fingerprint(
    tmp_path: Path, arguments: tuple[str | None, None, list[str]]
) -> None:
    path = written(tmp_path, b"a\n")
    known = {read("ab", path, "date"), read(within=path), read("ab"), read(check="date")}
    prints = {one.fingerprint for one in known if one is not None}
    assert len(prints) == 4
    found = read(*arguments)
    assert found is not None
    assert found.fingerprint not in prints
    path.write_bytes(b"b\n")
    other = read(within=path)
    assert other is not None
    assert other.fingerprint not in prints


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_as_rules_are_one_line(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    signs = "abab11ab.*+?.*+?{}[]()|\\dws,0-9é^$xu<>=!:#P\n\x00\u0661𝒳"
    refused = allowed = 0
    for _ in range(300):
        source = "".join(draw.choice(signs) for _ in range(draw.randint(1, 7)))
        try:
            TargetRule(read(source), VOCABULARIES["characters"], None)
        except CharseqError as fault:
            refused += str(fault).replace(source, "").count("\n") == 0
        else:
            allowed += 1
    assert allowed > 10
    assert allowed + refused == 300


def test_a_check_that_the_model_cannot_pass_is_named() -> None:
    with pytest.raises(UsageError, match=r"^the check iban wants an IBAN, which the"):
        TargetRule(read(check="iban"), VOCABULARIES["characters"], None)
