"""Symbols by code point, long texts by their beginning, and tables in aligned columns."""

from __future__ import annotations

import pytest

from charseq.display import (
    LISTED_SYMBOLS,
    LONG,
    character_name,
    code_points,
    count,
    describe,
    is_odd,
    list_symbols,
    printable,
    shorten,
    table,
)


@pytest.mark.parametrize(
    ("symbol", "points", "shown"),
    [
        ("ß", "U+00DF", "U+00DF 'ß' LATIN SMALL LETTER SHARP S"),
        ("😀", "U+1F600", "U+1F600 '😀' GRINNING FACE"),
        ("\u200b", "U+200B", "U+200B ZERO WIDTH SPACE"),
        (" ", "U+0020", "U+0020 SPACE"),
        ("\x00", "U+0000", "U+0000"),
        ("\n", "U+000A", "U+000A"),
        ("e\u0301", "U+0065+U+0301", "U+0065+U+0301 'e\u0301'"),
        ("SG", "'SG'", "'SG'"),
        ("t\u0283", "U+0074+U+0283", "U+0074+U+0283 't\u0283'"),
        ("caf\u00e9", "'caf\u00e9'", "'caf\u00e9'"),
        ("\u043a\u043e\u0442", "'\u043a\u043e\u0442'", "'\u043a\u043e\u0442'"),
        ("e\u0301\u0302\u0303", "U+0065+U+0301+U+0302+U+0303",
         "U+0065+U+0301+U+0302+U+0303 'e\u0301\u0302\u0303'"),
        ("a\u200bbc", "U+0061+U+200B+U+0062+U+0063", "U+0061+U+200B+U+0062+U+0063"),
        ("x" * 61, f"'{'x' * 60}\u2026'", f"'{'x' * 60}\u2026'"),
        ("\x00" * 61, "U+0000+" * 60 + "\u2026", "U+0000+" * 60 + "\u2026"),
    ],
)  # fmt: skip
def test_symbols_are_named_by_code_point(symbol: str, points: str, shown: str) -> None:
    assert code_points(symbol) == points
    assert describe(symbol) == shown


def test_a_long_text_is_shown_by_its_beginning() -> None:
    assert shorten("x" * LONG) == "x" * LONG
    assert shorten("x" * (LONG + 1)) == "x" * LONG + "\u2026"


@pytest.mark.parametrize(
    ("character", "name", "odd"),
    [
        ("a", "LATIN SMALL LETTER A", False),
        (" ", "SPACE", False),
        ("\u0301", "COMBINING ACUTE ACCENT", False),
        ("\u00a0", "NO-BREAK SPACE", True),
        ("\u200b", "ZERO WIDTH SPACE", True),
        ("\t", "TAB", True),
        ("\x01", "CONTROL CHARACTER", True),
        ("\ue000", "PRIVATE USE", True),
        ("\u0378", "UNASSIGNED", True),
        ("\ufffd", "REPLACEMENT CHARACTER", True),
        ("\u2028", "LINE SEPARATOR", True),
    ],
)
def test_odd_characters_are_known_and_named(character: str, name: str, odd: bool) -> None:
    assert character_name(character) == name
    assert is_odd(character) is odd


def test_a_list_of_symbols_shows_all_of_them_and_has_an_end() -> None:
    assert (
        list_symbols(["b", " ", "\u0301", "\u200b", "V;PST"])
        == "b U+0020 \u25cc\u0301 U+200B V;PST"
    )
    assert list_symbols("a" * LISTED_SYMBOLS).endswith(" a")
    assert list_symbols("a" * (LISTED_SYMBOLS + 1000)).endswith(" a and 1,000 more")


def test_a_count_has_its_noun_in_the_right_number() -> None:
    assert [count(n, "text") for n in (0, 1, 2000)] == ["0 texts", "1 text", "2,000 texts"]


ROWS = [["", "rows", "longest"], ["train", "1,200", "7"], ["dev", "60", ""]]


def test_a_table_has_its_first_column_left_and_the_others_right() -> None:
    assert table(ROWS) == [
        "        rows  longest",
        "train  1,200        7",
        "dev       60",
    ]


@pytest.mark.parametrize(
    ("align", "line"),
    [(">", "  dev     60"), ("<", "dev    60"), (">><", "  dev     60"), ("<<>", "dev    60")],
)
def test_the_last_alignment_holds_for_all_further_columns(align: str, line: str) -> None:
    assert table(ROWS, align)[2] == line


def test_a_table_has_its_columns_in_line_where_letters_are_wide_or_of_no_width() -> None:
    assert table([["\u65e5\u672c", "1"], ["e\u0301", "2"], ["abcd", "3"]]) == [
        "\u65e5\u672c  1",
        "e\u0301     2",
        "abcd  3",
    ]


def test_a_table_of_no_rows_has_no_lines_and_ragged_rows_are_refused() -> None:
    assert table([]) == []
    with pytest.raises(ValueError, match="shorter"):
        table([["a", "b"], ["c"]])


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("a\x1b[31mb\nc\x07\u202e") == "a\\x1b[31mb c\\x07\\u202e"
    assert printable("\x9b\u2028\u2029\u200b\ud800\r\t") == (
        "\\x9b\\u2028\\u2029\\u200b\\ud800\\r\\t"
    )
    assert printable("Ünïcode 日本 א") == "Ünïcode 日本 א"
    assert printable("\u200eא\u200e", kept="\u200e") == "\u200eא\u200e"


def test_a_long_line_is_cut() -> None:
    assert printable("x" * 10, most=10) == "x" * 10
    assert printable("x" * 1234, most=10) == "x" * 10 + "… (1,224 more characters)"
