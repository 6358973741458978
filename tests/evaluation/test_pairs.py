"""Evaluation of runs of pairs: the report of one model, and two models on the same rows."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from toy_pairs import short_config as config_of
from toy_pairs import short_words

import charseq
from charseq.data import pairs as examples
from charseq.errors import DataError, SettingError, UsageError
from charseq.evaluation.pairs import compare, evaluate, read_strangers, unknown_lines
from charseq.inference.predictor import PairsModel, load


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_words(tmp_path_factory.mktemp("pairs") / "upper")


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> PairsModel:
    run = tmp_path_factory.mktemp("runs") / "upper"
    charseq.train(data, run=run, config=config_of())
    return loaded(run)


@pytest.fixture(scope="module")
def other(data: Path, tmp_path_factory: pytest.TempPathFactory) -> PairsModel:
    """Another run on the same pairs, trained for two epochs only."""
    run = tmp_path_factory.mktemp("runs") / "brief"
    charseq.train(data, run=run, config=config_of(epochs=2))
    return loaded(run)


def loaded(run: Path) -> PairsModel:
    found = load(run)
    assert isinstance(found, PairsModel)
    return found


def test_the_signature_names_split_beam_and_length_penalty(model: PairsModel, data: Path) -> None:
    signature = evaluate(model, data, split="dev", version="9")["signature"]
    assert signature.startswith("charseq:9|split:dev|n:8|")
    assert signature.endswith("|beam:2")
    penalised = load(model.path, length_penalty=0.5)
    assert isinstance(penalised, PairsModel)
    signature = evaluate(penalised, data, version="9")["signature"]
    assert signature.endswith("|beam:2|length_penalty:0.5")


def test_a_beam_has_a_width(model: PairsModel, data: Path) -> None:
    with pytest.raises(SettingError, match="beam is 0, expected 1 or more"):
        evaluate(model, data, beam=0, version="9")


def test_an_evaluation_reports_intervals_top_k_lengths_and_confusions(
    model: PairsModel, data: Path
) -> None:
    facts = evaluate(model, data, split="train", version="9")
    words = [row.source for row in examples.load(data).train]
    answers = model.predict(words, n=2)
    first, second = facts["top_k"]
    assert (first["k"], second["k"]) == (1, 2)
    assert first["exact_match"] == facts["exact_match"]
    among = [word.upper() in {one.prediction for one in found.candidates} for word, found in zip(
        words, answers, strict=True)]  # fmt: skip
    assert second["exact_match"] == pytest.approx(100 * sum(among) / len(words))
    assert facts["exact_match"] < second["exact_match"], "a model whose second answer helps"
    low, high = facts["intervals"]["exact_match"]
    assert low < facts["exact_match"] < high
    assert facts["intervals"]["sources"] == len(words)
    assert facts["by_length"] == [
        {"shortest": 4, "longest": 4, "examples": len(words), "exact_match": facts["exact_match"]}
    ]
    told = facts["confusions"]
    assert 100 * told["edits"] / (4 * len(words)) == pytest.approx(facts["ser"])
    assert {one["reference"] for one in told["substitutions"]["most"]} <= set("ABC")
    sure = np.mean([one.probability for one in answers])
    assert abs(100 * sure - facts["exact_match"]) <= facts["ece"] + 1e-9
    assert evaluate(model, data, split="train", beam=1, version="9")["top_k"] == [
        {"k": 1, "exact_match": pytest.approx(facts["exact_match"], abs=5)}
    ]


def test_the_order_by_probability_is_scored(model: PairsModel, data: Path) -> None:
    facts = evaluate(model, data, split="train", version="9")
    rows = examples.load(data).train
    given = model.predict([row.source for row in rows])
    judged = sorted(
        (-one.probability, one.prediction != row.target)
        for one, row in zip(given, rows, strict=True)
    )
    wrong = list(itertools.accumulate(wrong for _, wrong in judged))
    assert len({sure for sure, _ in judged}) == len(rows), "no ties"
    risks = [100 * count / place for place, count in enumerate(wrong, 1)]
    assert facts["aurc"] == pytest.approx(sum(risks) / len(risks))
    assert 0 < facts["excess_aurc"] < facts["aurc"]
    low, high = facts["intervals"]["auroc"]
    assert low < facts["auroc"] < high
    five = facts["coverage"][1]
    few = [k for k, share in enumerate(risks, 1) if share <= five["error"]]
    assert five["rows"] == max(few, default=0)
    assert facts["risk_coverage"][-1]["risk"] == pytest.approx(facts["wer"])


# --- strangers and the picture


def test_strangers_are_answered_as_rows_are(model: PairsModel, data: Path, tmp_path: Path) -> None:
    texts = ["ba", "zz", "aaaaaa", "ba"]
    file = tmp_path / "other.txt"
    file.write_text("ba\n\nzz\n  \naaaaaa\r\nba\n")
    found = evaluate(model, data, strangers=file, version="9")["strangers"]
    assert (found["data"], found["texts"]) == (str(file), 4)
    sures = [one.probability if one.prediction else -1 for one in model.predict(texts)]
    for one in found["thresholds"]:
        assert one["answered"] == sum(sure >= one["threshold"] for sure in sures)
    assert {0.5, 0.9, 0.99} <= {one["threshold"] for one in found["thresholds"]}


@pytest.mark.parametrize(
    ("name", "content", "column", "told"),
    [
        ("a.csv", "id,text\n1,ba\n2,zz\n", "text", ["strangers = column 2 (text)"]),
        ("a.csv", "id,source\n1,ba\n2,zz\n", None, ["strangers = column 2 (source)"]),
        ("a.tsv", "ba\t1\nzz\t2\n", 1, ["strangers = column 1"]),
        ("a.jsonl", '{"t": "ba"}\n{"t": "zz"}\n', "t", ["strangers = key 't'"]),
    ],
)
def test_strangers_may_stand_in_a_column(
    name: str, content: str, column: str | None, told: list[str], model: PairsModel, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    lines: list[str] = []
    assert read_strangers(model, tmp_path / name, column, lines.append) == ["ba", "zz"]
    assert lines == [f"{tmp_path / name}: {line}" for line in told]


@pytest.mark.parametrize(
    ("name", "content", "column"),
    [
        ("a.txt", "ba\tV;PST\nzz\tN\n", None),
        ("a.csv", 'tag,lemma\n"V;PST",ba\nN,zz\n', "lemma,tag"),
    ],
)
def test_strangers_of_a_model_with_features_have_them(
    name: str, content: str, column: str | None, tmp_path: Path
) -> None:
    model: Any = SimpleNamespace(has_features=True, feature_separator=";")
    (tmp_path / name).write_text(content)
    assert read_strangers(model, tmp_path / name, column) == ["ba\tV;PST", "zz\tN"]
    (tmp_path / "b.txt").write_text("ba\tV\nzz\n")
    with pytest.raises(DataError, match=r"b\.txt:2: "):
        read_strangers(model, tmp_path / "b.txt", None)


def test_strangers_that_cannot_be_read_are_named(
    model: PairsModel, data: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    with pytest.raises(DataError, match=r"empty\.txt: there is no text in it, expected strangers"):
        evaluate(model, data, strangers=empty, version="9")
    keys = tmp_path / "a.jsonl"
    keys.write_text('{"t": "ba"}\n{"u": "zz"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: .*'t'"):
        read_strangers(model, keys, "t")


def test_strangers_among_the_rows_are_told(model: PairsModel, data: Path, tmp_path: Path) -> None:
    row = examples.load(data).test[0].source
    file = tmp_path / "other.txt"
    file.write_text(f"{row}\n{row}\nqqq\n")
    lines: list[str] = []
    evaluate(model, data, strangers=file, report=lines.append, version="9")
    assert lines[-1] == f"{file}: 1 text of it has a target in {data}"


def test_a_picture_is_drawn_and_replaces_nothing(
    model: PairsModel, data: Path, tmp_path: Path
) -> None:
    picture, strangers = tmp_path / "trust.svg", tmp_path / "other.png"
    strangers.write_text("ba\n")
    evaluate(model, data, plot=picture, version="9")
    assert "Reliability" in picture.read_text()
    with pytest.raises(UsageError, match=r"trust\.svg exists"):
        evaluate(model, data, plot=picture, version="9")
    with pytest.raises(UsageError, match=r"other\.png is an input"):
        evaluate(model, data, plot=strangers, strangers=strangers, force=True, version="9")
    with pytest.raises(UsageError, match=r"trust\.pdf: a picture's name ends in \.png or \.svg"):
        evaluate(model, data, plot=tmp_path / "trust.pdf", version="9")
    both = tmp_path / "both.svg"
    with pytest.raises(UsageError, match=r"both\.svg is the file of errors and of plot"):
        evaluate(model, data, plot=both, errors=both, force=True, version="9")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.png", "trust.svg"]


def test_a_picture_of_where_two_runs_differ(
    model: PairsModel, other: PairsModel, data: Path, tmp_path: Path, drawn: list[Figure]
) -> None:
    picture, told = tmp_path / "differ.svg", list[tuple[int, float]]()
    found = compare(
        other, model, data, plot=picture, watch=lambda *facts: told.append(facts), version="9"
    )
    assert found == compare(other, model, data, version="9")
    rows, lengths, _ = drawn[0].axes
    widths = [one.get_width() for one in rows.patches]
    names = ("both_right", "only_first", "only_second", "both_wrong")
    assert widths == [found["comparison"][name] for name in names]
    shown = [one.get_height() for one in lengths.patches]
    expected = [100 - one["exact_match"] for of in found["models"] for one in of["by_length"]]
    assert shown == pytest.approx(expected)
    assert told == [(found["examples"], 1.0)] * 2
    with pytest.raises(UsageError, match=r"differ\.svg exists"):
        compare(other, model, data, plot=picture, version="9")
    with pytest.raises(UsageError, match=r"a picture's name ends in"):
        compare(other, model, data, plot=tmp_path / "x.pdf", version="9")


def test_two_runs_are_compared_on_the_same_rows(
    model: PairsModel, other: PairsModel, data: Path
) -> None:
    facts = compare(other, model, data, split="train", version="9")
    one, two = facts["models"]
    assert one == evaluate(other, data, split="train", version="9")
    assert two == evaluate(model, data, split="train", version="9")
    found = facts["comparison"]
    assert found["exact_match"]["difference"] == pytest.approx(
        two["exact_match"] - one["exact_match"]
    )
    assert found["ser"]["difference"] == pytest.approx(two["ser"] - one["ser"])
    assert found["exact_match"]["difference"] > 0
    assert found["better"] == ("second" if found["exact_match"]["p"] < 0.05 else None)
    assert (facts["split"], facts["examples"]) == ("train", one["examples"])
    right = found["both_right"] + found["only_second"]
    assert 100 * right / facts["examples"] == pytest.approx(two["exact_match"])
    short = compare(other, model, data, beam=1, version="9")
    assert [one["beam"] for one in short["models"]] == [1, 1]
    assert (short["split"], short["examples"]) == ("test", 6)


def test_a_file_that_either_was_trained_on_is_compared_on_test(
    model: PairsModel, tmp_path: Path
) -> None:
    words = list(dict.fromkeys("".join(random.Random(2).choices("abc", k=900))[k : k + 5] for k in
        range(890)))  # fmt: skip
    file = tmp_path / "words.tsv"
    file.write_text("".join(f"{word}\t{word.upper()}\n" for word in words))
    charseq.train(file, run=tmp_path / "run", config=config_of(epochs=1))
    its = load(tmp_path / "run")
    assert isinstance(its, PairsModel)
    alone = evaluate(model, file, version="9")
    assert (alone["split"], alone["examples"]) == ("all", len(words))
    for pair in ((its, model), (model, its)):
        facts = compare(*pair, file, version="9")
        assert facts["split"] == "test"
        assert 0 < facts["examples"] < len(words) / 5
        assert [one["examples"] for one in facts["models"]] == [facts["examples"]] * 2


def test_models_that_read_other_columns_are_not_compared(
    model: PairsModel, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    for name in ("train", "dev", "test"):
        text = (data / f"{name}.tsv").read_text(encoding="utf-8")
        rows = [line.split("\t") for line in text.splitlines()]
        (folder / f"{name}.tsv").write_text("".join(f"{a}\tV\t{b}\n" for a, b in rows))
    turned = config_of(epochs=1, columns="target,source")
    charseq.train(data, run=tmp_path / "turned", config=turned)
    with pytest.raises(DataError, match=r"turned reads other columns of it than .*upper; "):
        compare(loaded(tmp_path / "turned"), model, data, version="9")
    config = config_of(epochs=1, columns="source,features,target")
    charseq.train(folder, run=tmp_path / "featured", config=config)
    featured = loaded(tmp_path / "featured")
    for pair in ((featured, model), (model, featured)):
        with pytest.raises(UsageError, match=r"upper takes no features, the other model does"):
            compare(*pair, folder, version="9")


def test_symbol_errors_are_compared_where_symbols_are_cut_alike(
    model: PairsModel, data: Path, tmp_path: Path
) -> None:
    for kind in ("spaced", "decomposed"):
        config = config_of(epochs=1, target_symbols=kind)
        charseq.train(data, run=tmp_path / kind, config=config)
    spaced, parts = (loaded(tmp_path / kind) for kind in ("spaced", "decomposed"))
    found = compare(model, spaced, data, version="9")
    assert found["comparison"]["ser"] is None
    assert found["comparison"]["exact_match"]["difference"] <= 0
    # marks are symbols of their own, but errors are counted in phones; one has NFC, one NFD
    assert compare(spaced, parts, data, version="9")["comparison"]["ser"] is not None


def test_a_file_of_another_form_is_read_by_its_own_settings(
    model: PairsModel, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text("x;AB;ab\nx;CD;cd\nx;;e\n", encoding="utf-8")
    reading = {"columns": "skip,target,source", "bad_rows": "skip"}
    told: list[str] = []
    found = evaluate(model, tmp_path / "new.csv", reading=reading, report=told.append, version="9")
    assert found["examples"] == 2
    path = tmp_path / "new.csv"
    row = "line 1 is read as a row (x, AB, ab): header=yes makes it the header"
    assert told[:3] == [
        f"{path}: target = column 2, source = column 3",
        f"{path}: the delimiter is the semicolon (delimiter names another); {row}",
        f"{path}: 1 of 3 rows skipped, the first in line 3: the target is empty",
    ]  # fmt: skip
    with pytest.raises(DataError, match="3 columns, expected source and target"):
        evaluate(model, tmp_path / "new.csv", version="9")


def test_symbols_that_the_model_does_not_know_are_told(model: PairsModel, tmp_path: Path) -> None:
    """Digits and Greek for a model of letters: the usual sign of a wrong model."""
    rows = tmp_path / "odd.tsv"
    rows.write_text("".join(f"{text}\tX\n" for text in ("1", "12", "1Ω", "ab")), encoding="utf-8")
    told: list[str] = []
    evaluate(model, rows, split="all", report=told.append, version="1")
    (line,) = [line for line in told if "does not know" in line]
    assert line.startswith(f"{rows}: 3 of 4 rows have symbols that the model does not know: U+0031")
    assert "U+0032" in line
    assert "GREEK CAPITAL LETTER OMEGA" in line or "OHM" in line


def test_of_many_unknown_symbols_the_most_frequent_are_named() -> None:
    answers = [SimpleNamespace(unknown=[*"abcdefghijkl"]), SimpleNamespace(unknown=["l"])]
    known = SimpleNamespace(unknown=[])
    outcome: Any = SimpleNamespace(rows=[1, 2, 3], predictions=[*answers, known])
    (line,) = unknown_lines(outcome)
    assert line.startswith("2 of 3 rows have symbols that the model does not know: U+006C")
    assert line.endswith(" and 9 more")
    outcome.predictions = outcome.predictions[2:]
    assert unknown_lines(outcome) == []
