"""One picklable callable for every engine: the answers of ``charseq convert``, row for row."""

from __future__ import annotations

import csv
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from guide_lines import lines_for
from pyarrow import parquet

import charseq
from charseq.distributed import Converter, converter
from charseq.errors import ArgumentError, CheckpointError, DataError, UsageError
from charseq.inference.answer_cache import TextMemoryError
from charseq.inference.conversion.batches import BatchAnswers
from charseq.inference.convert import convert as convert_file

DATES = Path(__file__).parents[2] / "checkpoints" / "dates"
TEXTS = ["3. März 2021", "", "March 5, 2021", "3. März 2021", "Q3 ßß", "le 14 juillet 2020"]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"to": "iso", "n": 3, "scores": True, "threshold": 0.9},
    {"n": 2, "mass": 0.9, "beam": 2, "scores": True},
]


@pytest.fixture(autouse=True)
def fresh() -> None:
    """A process that has loaded nothing."""
    converter._loaded.cache_clear()
    converter._answers.cache_clear()


def table() -> pa.Table:
    """Rows with numbers of their own."""
    return pa.table({"id": range(10, 10 + len(TEXTS)), "text": TEXTS})


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_rows_are_those_of_a_converted_file(tmp_path: Path, options: dict[str, Any]) -> None:
    parquet.write_table(table(), tmp_path / "in.parquet")
    model = charseq.load(DATES)
    convert_file(model, tmp_path / "in.parquet", tmp_path / "out.parquet", column="text", **options)
    expected = parquet.read_table(tmp_path / "out.parquet")
    call = pickle.loads(pickle.dumps(Converter(model, column="text", **options)))
    assert call(table()).equals(expected)
    assert [*table().column_names, *call.names] == expected.column_names
    parts = [batch.slice(k, 2) for batch in table().to_batches() for k in (0, 2, 4)]
    assert pa.Table.from_batches(call.batches(parts)).equals(expected), "in any batch"
    frame = call(table().to_pandas())
    assert frame.to_dict("list") == expected.to_pydict()


def test_the_lexicon_and_the_rule_of_a_model_come_along(tmp_path: Path) -> None:
    own = tmp_path / "own.tsv"
    own.write_text("source\ttarget\nQ3 ßß\t2020-07-01\n", encoding="utf-8")
    model = charseq.load(DATES, lexicon=own, pattern=r"20[0-9-]+")
    call = pickle.loads(pickle.dumps(Converter(model, column="text")))
    found = call(table()).to_pydict()
    assert found["prediction"][4] == "2020-07-01"
    assert found["prediction_note"][4] == "lexicon"
    own.write_text("source\ttarget\nQ3 ßß\t2021-07-01\n", encoding="utf-8")
    converter._loaded.cache_clear()
    converter._answers.cache_clear()
    with pytest.raises(CheckpointError, match="has changed"):
        call(table())


def test_a_process_loads_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [Converter(DATES, column="text"), Converter(DATES, column=2, n=2)]
    loads = []
    load = converter.loaded_again
    monkeypatch.setattr(converter, "loaded_again", lambda *given: loads.append(1) or load(*given))
    sent = [pickle.dumps(call) for call in calls]
    assert max(map(len, sent)) < 2_000, "the weights stay where they are"
    assert not loads
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda one: pickle.loads(one)(table()), sent * 4))
    assert len(loads) == 1
    assert all(one.equals(found[k % 2]) for k, one in enumerate(found))


def test_no_row_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = pa.array([b"3. M\xe4rz", b"March 5, 2021"]).view(pa.string())
    found = Converter(DATES)(pa.table({"text": broken})).select([1, 2]).to_pydict()
    assert found == {"prediction": ["", "2021-03-05"], "prediction_note": ["rejected", ""]}
    lists = pa.table({"text": [["a"], ["b"]]})
    assert Converter(DATES)(lists)["prediction_note"].to_pylist() == ["rejected"] * 2
    frame = pd.DataFrame({"text": [object(), "March 5, 2021", None, 20210305]}, dtype=object)
    notes = Converter(DATES)(frame)["prediction_note"].fillna("null").to_list()
    assert notes[:3] == ["rejected", "", "null"]

    answer = BatchAnswers.answer

    def short(self: BatchAnswers, texts: list[Any]) -> Any:
        if "Q3 ßß" in texts:
            raise TextMemoryError("Q3 ßß")
        return answer(self, texts)

    monkeypatch.setattr(BatchAnswers, "answer", short)
    found = Converter(DATES, column="text")(table()).to_pydict()
    assert found["prediction_note"][3:] == ["", "rejected", ""]
    assert found["prediction"][5] == "2020-07-14"


def test_wrong_arguments_are_told_at_once() -> None:
    for wrong in ({"n": 0}, {"threshold": 2}, {"to": "a\tb"}, {"mass": 3}, {"batch_size": 0}):
        with pytest.raises(UsageError):
            Converter(DATES, **wrong)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError):
        Converter("no/such/run")
    with pytest.raises(ArgumentError, match="model is"):
        Converter(3)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no column 'nothing'"):
        Converter(DATES, column="nothing")(table())
    with pytest.raises(DataError, match="no columns"):
        Converter(DATES)(pa.table({}))
    with pytest.raises(DataError, match="there is a column 'id'"):
        Converter(DATES, column="text", to="id")(table())
    assert Converter(DATES, column="text", to="id", force=True)(table()).num_columns == 3


def test_a_copy_of_the_run_that_differs_is_refused(tmp_path: Path) -> None:
    run = shutil.copytree(DATES, tmp_path / "run")
    call = Converter(run)
    about = (run / "about.json").read_text(encoding="utf-8")
    (run / "about.json").write_text(about.replace('"limits": [', '"limits": [1, '), "utf-8")
    with pytest.raises(CheckpointError):
        call(table())


def test_a_language_model_adds_the_next_word() -> None:
    call = Converter(DATES.with_name("sentences"))
    found = call(pa.table({"text": ["I love machine"]})).to_pydict()
    assert found["prediction"] == ["learning"]


def test_the_package_has_one_name() -> None:
    assert charseq.distributed.Converter is converter.Converter
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        charseq.distributed.nothing  # noqa: B018


# --- the lines of the guide for other engines

ORDERS = 'order,ordered on\n1001,3. März 2021\n1002,\n1003,"March 5, 2021"\n'
ANSWERS = [["1001", "2021-03-03"], ["1002", ""], ["1003", "2021-03-05"]]


@pytest.mark.parametrize(
    ("engine", "package"),
    [("Spark", "pyspark"), ("Dask", "dask.dataframe"), ("Polars", "polars"), ("DuckDB", "duckdb")],
)
def test_the_lines_of_the_guide_work(tmp_path: Path, engine: str, package: str) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    if engine == "Spark" and not shutil.which("java"):
        pytest.skip("Spark needs a Java, and there is none")
    (tmp_path / "orders.csv").write_text(ORDERS, encoding="utf-8")
    program = tmp_path / "program.py"
    program.write_text(lines_for(engine), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, program.name],
        cwd=tmp_path, env=os.environ | {"PYSPARK_PYTHON": sys.executable},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = tmp_path / "orders.iso"
    written = sorted(out.glob("*.csv")) if out.is_dir() else [out.with_suffix(".iso.csv")]
    rows = [
        [row["order"], row["date"] or ""]
        for path in written
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    ]
    assert sorted(rows) == ANSWERS
