"""The picture of an evaluation: its numbers, its file, and what is refused before the work."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from charseq.data.pairs import Example
from charseq.errors import DataError, MissingExtraError, UsageError
from charseq.evaluation import analysis, metrics, risk
from charseq.evaluation.pictures import risk_plots
from charseq.evaluation.scoring import Outcome
from charseq.inference.prediction import Prediction

ROWS = [(0.95, True), (0.9, True), (0.9, False), (0.4, True), (0.1, False)]
STRANGERS = [Prediction("x", "a", 0.3, [], False, []), Prediction("y", "", 0.8, [], False, [])]


def outcome_of(rows: Sequence[tuple[float, bool]]) -> Outcome:
    names = [f"s{place}" for place in range(len(rows))]
    predictions = [
        Prediction(name, "a" if right else "b", sure, [], False, [])
        for name, (sure, right) in zip(names, rows, strict=True)
    ]
    judgements = [metrics.Judgement(right, int(not right), 1) for _, right in rows]
    examples = [Example(name, "a") for name in names]
    scores = metrics.summarise(judgements)
    return Outcome(examples, predictions, [["a"]] * len(rows), judgements, scores)


def draw(path: Path, rows: Sequence[tuple[float, bool]], *strangers: Prediction) -> None:
    outcome = outcome_of(rows)
    coverage = risk.assess(outcome)["coverage"]
    lengths = analysis.by_length(outcome, list)
    edits = analysis.edit_counts(outcome, list)
    risk_plots.draw(
        path, outcome, strangers, coverage=coverage, lengths=lengths, edits=edits, title="a title"
    )


def points(line: Any) -> list[tuple[float, float]]:
    return [(round(float(x), 4), round(float(y), 4)) for x, y in zip(*line.get_data(), strict=True)]


def test_the_curve_shows_risk_coverage_and_the_best_order(
    drawn: list[Figure], tmp_path: Path
) -> None:
    draw(tmp_path / "x.png", ROWS)
    lines = {line.get_label(): points(line) for line in drawn[0].axes[0].get_lines()}
    assert lines["by probability"] == [(20, 0), (60, 33.3333), (80, 25), (100, 40)]
    assert lines["best possible order"] == [(20, 0), (40, 0), (60, 0), (80, 25), (100, 40)]
    assert lines["20.0 % at 1 % error"] == [(20, 0)]
    assert lines["20.0 % at 5 % error"] == [(20, 0)]


def test_the_reliability_diagram_has_the_bins_of_the_calibration_error(
    drawn: list[Figure], tmp_path: Path
) -> None:
    draw(tmp_path / "x.png", ROWS)
    diagonal, found = map(points, drawn[0].axes[1].get_lines())
    assert diagonal == [(0, 0), (1, 1)]
    assert found == [(0.1, 0), (0.4, 1), (0.9, 0.5), (0.9, 0.5), (0.95, 1)]


def test_the_histogram_counts_right_wrong_and_strangers(
    drawn: list[Figure], tmp_path: Path
) -> None:
    draw(tmp_path / "x.png", ROWS, *STRANGERS)
    axes = drawn[0].axes[2]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "right (3)", "wrong (2)", "strangers (1)",
    ]  # fmt: skip
    assert axes.get_title().endswith("; 1 stranger refused")


def test_errors_by_length_and_by_symbol_stand_below(drawn: list[Figure], tmp_path: Path) -> None:
    draw(tmp_path / "x.png", ROWS)
    assert [axes.get_title() for axes in drawn[0].axes[3:]] == [
        "Error by length", "Wrong symbols: 2 edits",
    ]  # fmt: skip
    (bar,) = drawn[0].axes[3].patches
    assert bar.get_height() == pytest.approx(40)
    (bar,) = drawn[0].axes[4].patches
    assert bar.get_height() == 100


@pytest.mark.parametrize("rows", [[(0.5, True)], [(0.5, False)], [(0.0, True), (1.0, True)]])
def test_a_picture_of_all_right_or_all_wrong_rows_is_drawn(
    rows: Sequence[tuple[float, bool]], tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    draw(tmp_path / "x.svg", rows)
    assert (tmp_path / "x.svg").read_bytes().startswith(b"<?xml")
    assert list(tmp_path.iterdir()) == [tmp_path / "x.svg"]
    assert not recwarn.list


def test_what_cannot_be_drawn_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there.png"
    there.write_bytes(b"old")
    with pytest.raises(UsageError, match=r"a picture's name ends in \.png or \.svg"):
        risk_plots.check(tmp_path / "x.jpg", force=False)
    with pytest.raises(UsageError, match=r"there\.png exists"):
        risk_plots.check(there, force=False)
    risk_plots.check(there, force=True)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match="pip install matplotlib"):
        risk_plots.check(tmp_path / "x.png", force=False)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.png: cannot be written: No such file"):
        draw(tmp_path / "no" / "x.png", ROWS)
