"""The rules of `auto`: texts that look like phones, Unicode forms, Hangul."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from charseq.data.text.normalise import FEW_TEXTS, choose_form, choose_kind
from charseq.data.text.vocabulary import build

DATA = Path(os.environ.get("PUBLIC_DATA", Path(__file__).parents[4] / "shared" / "data"))
MONTHS = ["Jan", "Feb", "März", "Apr", "Mai", "Juni", "Juli", "Aug", "Sept", "Okt", "Nov", "Dez"]
DAYS = range(1, 29)
ARPABET = ["AH0 B AW1 T", "K AE1 T", "HH AH0 L OW1", "W ER1 L D", "S T R IY1 T"]


@pytest.mark.parametrize(
    "texts",
    [
        ["a b c", "x", "b a"],
        ARPABET * 4,
        ["t͡ʃ a ɲ", "d͡ʒʰ iː n", "ɔ̀ː k o"],
        ["k a ˥˥ t o ˧˥", "m i ˥˥ n u ˧˥"],
        ["1 2 3", "4 5"],
    ],
    ids=lambda texts: texts[0],
)
def test_pieces_that_are_phones_are_spaced(texts: list[str]) -> None:
    assert choose_kind(texts)[0] == "spaced"


STRESSED = ["HH AH0 L OW1", "OW0 K AE1 T", "AE0 L AH1 AO0 AO1", "L OW1 AE2"]


def test_phones_whose_marks_stand_on_many_letters_are_cut_into_parts() -> None:
    assert choose_kind(STRESSED * 2)[0] == "decomposed"
    assert (
        choose_kind(["aː ã", "a ã aː", "iː ĩ i", "i iː ĩ", "u uː ũ", "u uː ũ"])[0] == "decomposed"
    )
    rare = ["b c d f g"] * 40
    assert choose_kind([*rare, *STRESSED])[0] == "spaced"
    many = STRESSED * (FEW_TEXTS // len(STRESSED))
    assert [choose_kind(many[left_out:])[0] for left_out in (0, 1)] == ["spaced", "decomposed"]
    assert "have some of 2 marks that stand on many letters" in choose_kind(STRESSED * 2)[1]


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["cat", "dog"],
        [f"{d}. {m} 2021" for m in MONTHS for d in DAYS],
        [f"{d:02} {m:02} 2021" for m in range(1, 13) for d in DAYS],
        [f"{d} {m} 21" for m in range(1, 13) for d in DAYS],
        [f"Mo {d} {m} 21" for m in MONTHS for d in DAYS],
        ["ti abbioccheresti", "abbioccato", "mi ero abbioccato"],
        ["zisingekuwa zimeuahidi"] * 9,
        ["to be or not to be", "that is the question"],
        ["a  b  c", " a b", "b c "],
        ["10 am", "5 pm", "11 am"],
        ["cat dog cow", "dog cow cat"] * 9,
        ["ab cd", "cd ab", "ab ef"] * 9,
        ["a b c d " * 40 + "e"] * 6 + ["abcdefgh"] * 4,
        ["SW1A 1AA", "EC1 2BB"],
    ],
    ids=lambda texts: str(texts[:1]),
)
def test_words_numbers_and_dates_are_characters(texts: list[str]) -> None:
    assert choose_kind(texts)[0] == "characters"


def test_many_different_short_words_are_no_phones() -> None:
    words = [
        f"{a}{b} {b}{c} {c}{a}" for a in "abcdefghij" for b in "klmnopqrst" for c in "uvwxyzßäöü"
    ]
    assert choose_kind(words)[0] == "decomposed"  # 300 different pieces could be phones
    pairs = [f"{chr(97 + i % 26)}{chr(300 + i)} aa bb" for i in range(500)]
    assert choose_kind(pairs)[0] == "characters"


def test_hangul_is_decomposed_and_nothing_else_is() -> None:
    assert choose_form(["한국어", "a"], "auto")[:2] == ("NFD", "NFC")
    assert choose_form(["\u1112\u1161\u11ab"], "auto")[:2] == ("NFD", "NFD")
    assert choose_form(["한", "english text"], "auto")[:2] == ("NFC", "NFC")
    assert choose_form(["日本語", "é"], "auto")[:2] == ("NFC", "NFC")


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_outputs_have_the_form_of_most_texts(form: str) -> None:
    assert choose_form(["é", "ü", "e\u0301", "abc"], form)[:2] == (form, "NFC")
    assert choose_form(["é", "u\u0308", "e\u0301", "abc"], form)[:2] == (form, "NFD")
    assert choose_form(["abc"], form)[:2] == (form, "NFC")


NUKTA = ["\u0958\u0932\u092e", "\u0959\u092c\u0930", "\u095b\u092e\u0940\u0928"]
"""Letters that Unicode composes and no form does: NFC and NFD take them apart."""
HEBREW = "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd"
"""The dot of shin before its vowel, as it is typed; both forms turn them round."""


@pytest.mark.parametrize("texts", [NUKTA, [HEBREW], [*NUKTA, "\u0915\u0932", "abc"]])
def test_outputs_in_neither_form_stay_as_they_are(texts: list[str]) -> None:
    form, written, why = choose_form(texts, "auto", outputs=True)
    assert (form, written) == ("none", "none")
    odd = sum(text in (*NUKTA, HEBREW) for text in texts)
    assert why == f"as they are: {odd} texts are neither NFC nor NFD"
    made, _ = build(texts * 5, outputs=True)
    assert [made.decode(made.encode(text)) for text in texts] == texts
    # sources are read in any form
    assert choose_form(texts, "auto")[:2] == ("NFC", "NFC")


@pytest.mark.parametrize("form", ["auto", "NFC", "NFD", "NFKC"])
def test_outputs_that_come_out_in_another_form_are_counted(form: str) -> None:
    texts = ["\u00e9", "\u00fc", "e\u0301", NUKTA[0], "abc", "\u0915"] + ["\u00e4"] * 3
    *_, why = choose_form(texts, form, outputs=True)
    assert why.endswith(", 2 texts are in another form and come out as NFC")
    assert "another form" not in choose_form(texts[:2] + texts[4:], form, outputs=True)[2]
    assert "another form" not in choose_form(texts, form)[2]
    *_, why = choose_form(NUKTA, form if form != "auto" else "NFC", outputs=True)
    assert why.endswith(", 3 texts are in another form and come out as NFC")


def test_form_none_changes_no_output() -> None:
    assert choose_form(["e\u0301"], "none")[:2] == ("none", "none")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no public data at {DATA}")
@pytest.mark.parametrize(
    ("folder", "column", "kind"),
    [
        *((f"g2p/{name}", 1, "spaced") for name in ("eng_us", "hbs_latn", "ita", "wel_sw")),
        *((f"g2p/{name}", 1, "decomposed") for name in ("lav", "slv")),
        ("g2p/wel_sw", 0, "characters"),
        *((f"inflection/{name}", 2, "characters") for name in ("eng", "hye", "ita", "swa")),
        *((f"transliteration/{name}", c, "characters") for name in ("hi", "ta") for c in (0, 1)),
        ("normalisation/sl_bohoric", 0, "characters"),
        ("sentences/war_and_peace", 0, "characters"),
    ],
)
def test_kinds_of_symbols_of_public_sets(folder: str, column: int, kind: str) -> None:
    path = next((DATA / folder).glob("train.*"))
    rows = path.read_bytes().decode("utf-8").split("\n")
    texts = [row.split("\t")[column] for row in rows if row]
    assert choose_kind(texts)[0] == kind
    few = "decomposed" if folder == "g2p/hbs_latn" else kind  # it has marks, but 8,000 pairs
    assert choose_kind(texts[:100])[0] == few
    assert choose_form(texts, "auto")[0] == "NFC"
