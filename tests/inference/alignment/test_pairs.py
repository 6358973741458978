"""Alignments as people read them: symbols, pairs, both directions."""

from __future__ import annotations

import numpy as np
import pytest
from served import ROOT

from charseq.errors import SettingError
from charseq.inference.alignment.pairs import Alignment
from charseq.inference.predictor import PairsModel, load


def aligned(source: str, target: str, places: list[int]) -> Alignment:
    weights = np.zeros((len(target), len(source) + 1))
    weights[np.arange(len(target)), places] = 1.0
    return Alignment(list(source), list(target), weights[:, :-1].tolist(), len(source))


@pytest.mark.parametrize(
    ("source", "target", "places", "pairs"),
    [
        ("kaet", "kæt", [0, 2, 3], "k→k ae→æ t→t"),
        ("six", "siks", [0, 1, 2, 2], "s→s i→i x→ks"),
        ("cake", "kek", [0, 1, 2], "c→k a→e ke→k"),
        ("go", "going", [0, 1, 2, 2, 2], "g→g o→o →ing"),
        ("got", "gg", [0, 3], "got→g →g"),
        ("abc", "cab", [2, 0, 1], "c→c a→a b→b"),
        ("abcd", "ca", [2, 0], "c→c a→a"),
        ("ab", "", [], ""),
    ],
)
def test_pairs(source: str, target: str, places: list[int], pairs: str) -> None:
    found = aligned(source, target, places).pairs
    assert " ".join("→".join(pair) for pair in found) == pairs
    assert "".join(part for _, part in found) == target


def test_symbols_between_spaces_stay_apart() -> None:
    one = Alignment(list("ab"), ["HH", "AH0"], [[1.0, 0.0], [1.0, 0.0]], 2, ("", " "))
    assert one.pairs == [("ab", "HH AH0")]


def test_the_dates_look_at_the_year_in_the_year() -> None:
    model = load(ROOT / "checkpoints" / "dates")
    assert isinstance(model, PairsModel)
    (found,) = model.align(["3. März 1987"], ["1987-03-03"])
    assert found is not None
    assert found.source == list("3. März 1987")
    for place, letter in enumerate("1987"):
        row = found.weights[place]
        looked = row.index(max(row))
        assert looked >= 8, "in the year"
        assert found.source[looked] == letter


def test_a_text_without_symbols_has_no_alignment() -> None:
    model = load(ROOT / "tests" / "fixtures" / "hard")
    assert isinstance(model, PairsModel)
    assert model.align(["", "banana"], ["x", ""]) == [None, None]
    assert model.align(["banana"], ["☃"]) == [None], "hard attention cannot write it"


def test_networks_that_write_backward_are_turned_round() -> None:
    model = load(ROOT / "tests" / "fixtures" / "soft")
    assert isinstance(model, PairsModel)
    (plain,) = model.align(["3.4.77"], ["1977-04-03"])
    translator = model.translator
    (group,) = translator.direction_groups
    translator.direction_groups = (group._replace(backward=True),)
    (turned,) = model.align(["77.4.3"], ["30-40-7791"])
    assert plain is not None
    assert turned is not None
    assert np.array(turned.weights) == pytest.approx(np.array(plain.weights)[::-1, ::-1], abs=1e-6)


def test_features_must_be_there() -> None:
    model = load(ROOT / "tests" / "fixtures" / "hard")
    assert isinstance(model, PairsModel)
    source = model.translator.source
    model.translator.source = type(source)(**{**vars_of(source), "features": ("V",)})
    with pytest.raises(SettingError, match="tabs"):
        model.align(["banana"], ["x"])


def vars_of(one: object) -> dict[str, object]:
    fields = ("kind", "form", "written", "symbols", "features", "feature_separator", "scores")
    return {name: getattr(one, name) for name in fields}
