"""Features of a cell: cut at the separator of the column, which is not found by accident."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charseq.data.text.features import describe_separator, find_separator, split_features


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("V;PST", ["V", "PST"]),
        ("V; PST ;;", ["V", "PST"]),
        ("V;NOM(3,SG,BANTU1)", ["V", "NOM(3)", "NOM(SG)", "NOM(BANTU1)"]),
        ("N;ABL(SG;PSS(1,SG))", ["N", "ABL(SG)", "ABL(PSS(1))", "ABL(PSS(SG))"]),
        ("A(B(C),D);E", ["A(B(C))", "A(D)", "E"]),
        ("a,b;c", ["a,b", "c"]),
        ("N;ABL(SG", ["N", "ABL(SG"]),
        ("N;ABL(PL;SG", ["N", "ABL(PL", "SG"]),
        ("N)a;b", ["N)a", "b"]),
        ("A(B)C;d", ["A(B)C", "d"]),
        ("A(B)(C)", ["A(B)(C)"]),
        ("X();Y", ["X()", "Y"]),
        ("(" * 99 + "a" + ")" * 99, ["(" * 99 + "a" + ")" * 99]),
    ],
)
def test_features_are_cut_at_separators_outside_brackets(text: str, parts: list[str]) -> None:
    assert split_features(text) == parts


def test_other_separators_of_features() -> None:
    assert split_features("Case=Nom|Number=Sing", "|") == ["Case=Nom", "Number=Sing"]
    assert split_features("V  PST (a b)", " ") == ["V", "PST", "(a)", "(b)"]
    assert split_features("V::NOM(3::SG)", "::") == ["V", "NOM(3)", "NOM(SG)"]


@settings(deadline=None, max_examples=200)
@given(st.text("ab();, ", max_size=15))
def test_no_letter_of_a_feature_is_lost(text: str) -> None:
    kept = set("".join(split_features(text)))
    assert set(text) & {"a", "b"} <= kept


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["pos=V,num=SG", "pos=V,num=PL"], ","),
        (["pos=V, num=SG", "pos=N"], ","),
        (["Case=Nom|PronType=Int,Rel", "Case=Acc|PronType=Rel", "_"], "|"),
        (["Case=Nom;Number=Sing"], ";"),
        (["V;PST", "V;IND+SBJV;PST", "V.PTCP;PST", "N;PL", "N"], ";"),
        (["V,PST", "V,PRS,3,SG"], ","),
        (["N+PL", "N+SG", "V+PST"], "+"),
        (["+N+PL", "+N+SG"], "+"),
        (["V|PST", "V|1,2", "V|1"], "|"),
        (["V PST", "V PRS 3 SG", "N PL"], " "),
        (["V; PST", "V; PRS"], ";"),
        (["V + PST", "V + PRS"], "+"),
        ([f"{a} {b}" for a in ("past", "present") for b in ("active", "passive")] * 2, ";"),
        ([f"{a} {b}" for a in "abcdef" for b in "uvwxyz"], " "),
    ],
    ids=str,
)
def test_the_separator_of_a_column_is_found(cells: list[str], separator: str) -> None:
    assert find_separator(cells) == separator


@pytest.mark.parametrize(
    "cells",
    [
        [],
        ["", ""],
        ["V", "N", "ADJ"],
        ["V.PTCP", "V.CVB", "N"],
        ["N+PL"],
        ["V", "N", "ADP+DET", "ADJ"],
        ["C++", "C", "Java"],
        ["NOM(3,SG)", "NOM(3,PL)", "NOM(1,SG)"],
        ["past participle", "present participle", "past tense"],
        ["Brazilian Portuguese", "European Portuguese", "French"],
        ["1,5", "2,5", "1,0", "2,0"],
        ["V;PST", "N+PL", "V;PRS", "N+SG"],
    ],
    ids=str,
)
def test_nothing_is_cut_by_accident(cells: list[str]) -> None:
    assert find_separator(cells) == ";"


def test_repeated_cells_count_once() -> None:
    assert find_separator(["N+PL", "N+SG"] + ["V"] * 99) == "+"
    assert find_separator(iter(["V"] * 99 + ["ADP+DET"])) == ";"


def test_a_space_is_told_in_words() -> None:
    assert describe_separator(",") == "separated by ','"
    assert describe_separator(" ") == "separated by a space"
