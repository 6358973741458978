"""The picture of a training: its numbers, its members, and what cannot be drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from charseq.errors import CheckpointError, UsageError
from charseq.evaluation.pictures import learning_curve

ROOT = Path(__file__).parents[3]
DATES = ROOT / "checkpoints" / "dates"
WORDS = ROOT / "checkpoints" / "sentences"
LINE = {"seconds": 60.0, "loss": 1.0, "wer": 50.0, "ser": 20.0}


def told(monkeypatch: pytest.MonkeyPatch, *lines: dict[str, Any]) -> None:
    """Every run has these evaluations."""
    text = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    monkeypatch.setattr(learning_curve, "read", lambda _run, _name: text)


def test_the_curve_of_a_run_has_its_evaluations() -> None:
    (curve,) = learning_curve.curves_of(DATES)
    path = DATES / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert curve.name == "dates"
    assert curve.minutes == [line["seconds"] / 60 for line in lines]
    assert curve.scores == {name: [line[name] for line in lines] for name in ("wer", "ser", "loss")}


def test_a_panel_for_each_score_with_its_best_marked(tmp_path: Path, drawn: list[Figure]) -> None:
    learning_curve.draw(tmp_path / "x.svg", [DATES])
    (curve,) = learning_curve.curves_of(DATES)
    wer, ser, loss = drawn[0].axes
    assert [axes.get_ylabel() for axes in (wer, ser)] == ["wrong outputs (%)", "wrong symbols (%)"]
    assert all(axes.get_xlabel() == "minutes of training" for axes in drawn[0].axes)
    line, best = wer.get_lines()
    assert list(line.get_ydata()) == curve.scores["wer"]
    assert list(line.get_xdata()) == curve.minutes
    assert list(best.get_ydata()) == [min(curve.scores["wer"])]
    assert [text.get_text() for text in wer.texts] == [f"{min(curve.scores['wer']):.3g}"]
    assert wer.get_ylim()[0] == ser.get_ylim()[0] == 0
    assert list(loss.get_lines()[0].get_ydata()) == curve.scores["loss"]
    assert drawn[0].get_suptitle() == "dates: a point is an evaluation, a large one the best"


def test_learning_rates_have_a_panel_where_all_evaluations_have_them(
    tmp_path: Path, drawn: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {**LINE, "learning_rate": 0.002}
    told(monkeypatch, first, {**LINE, "seconds": 120, "learning_rate": 0.001})
    learning_curve.draw(tmp_path / "x.png", ["runs/a"])
    *_, rate = drawn[0].axes
    assert rate.get_title() == "Learning rate"
    assert list(rate.get_lines()[0].get_ydata()) == [0.002, 0.001]
    assert rate.get_ylim()[0] == 0
    assert not rate.texts, "the least rate is not the best"
    told(monkeypatch, first, {**LINE, "seconds": 120})  # begun before rates were recorded
    learning_curve.draw(tmp_path / "y.png", ["runs/a"])
    assert [axes.get_title() for axes in drawn[1].axes][-1] == "Training data"


def test_members_and_runs_are_lines_of_one_picture(
    tmp_path: Path, drawn: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    second = {"seconds": 120, "wer": 30.0}
    lines = [
        {**LINE, "member": 1},
        {**LINE, "member": 2, "wer": 40.0},
        {**LINE, "member": 1} | second,
    ]
    told(monkeypatch, *lines, {"members": 2, "seconds": 120, "wer": 25.0})
    first, other = learning_curve.curves_of("runs/a")
    assert (first.name, first.minutes, first.scores["wer"]) == ("a 1", [1, 2], [50, 30])
    assert (other.name, other.minutes, other.scores["wer"]) == ("a 2", [1], [40])
    learning_curve.draw(tmp_path / "x.png", ["runs/a", "runs/b"])
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["a 1", "a 2", "b 1", "b 2"]
    with pytest.raises(UsageError, match="8 trainings to draw, expected 7 at most"):
        learning_curve.draw(tmp_path / "y.png", ["runs/a"] * 4)


def test_runs_without_a_common_score_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no score in common"):
        learning_curve.draw(tmp_path / "x.png", [DATES, WORDS])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ([], "no evaluations"),
        ([{"members": 2, "wer": 1.0}], "no evaluations"),
        ([LINE | {"wer": "1"}], "has no numbers"),
        ([LINE | {"wer": None}], "has no numbers"),
        ([LINE | {"seconds": True}], "has no numbers"),
        ([LINE, {"seconds": 120, "loss": 1.0}], "different scores"),
    ],
)
def test_evaluations_that_cannot_be_drawn(
    lines: list[dict[str, Any]], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(monkeypatch, *lines)
    with pytest.raises(CheckpointError, match=what):
        learning_curve.curves_of("runs/a")


def test_a_file_that_exists_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists"):
        learning_curve.draw(path, [DATES])
    assert path.read_bytes() == b"mine"
    learning_curve.draw(path, [DATES], force=True)
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match=r"ends in \.png or \.svg"):
        learning_curve.draw(tmp_path / "x.pdf", [DATES])
