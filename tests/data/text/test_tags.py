"""The cell of a row's features: what a wrong cut would lose, or take together."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charseq.data.text.vocabulary import split_features


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
