"""What a wrong conversion would do: lose or shift a row, hide a flaw, or leave half a file."""

from __future__ import annotations

import base64
import csv
import datetime as dt
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charseq.data.formats.reader import read_table
from charseq.data.text.tokenizer import Tokenizer
from charseq.data.text.vocabulary import Vocabulary
from charseq.errors import CharseqError, DataError, UsageError
from charseq.inference.convert import convert
from charseq.inference.language_model import LanguageModel
from charseq.inference.prediction import Candidate, Prediction


@dataclass
class Fake:
    """A model that doubles each text between brackets; it knows all letters but ß and +, cuts
    what is longer than 20 and has as many candidates as the text has letters."""

    has_features: bool = False
    calls: list[list[str]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    answer: Callable[[str], str] = "<{0}{0}>".format

    def predict(self, texts: Sequence[str], **options: Any) -> list[Any]:
        self.calls.append(list(texts))
        self.options = options
        return [self.outcome(text, options["n"]) for text in texts]

    def outcome(self, text: str, n: int) -> Prediction:
        best = self.answer(text)
        texts = [best, *(f"{best}{rank}" for rank in range(2, n + 1))]
        unknown = [letter for letter in dict.fromkeys(text) if letter in "ß+"]
        candidates = [Candidate(output, 0.1, -1.0) for output in texts[: len(text)]]
        return Prediction(text, best, 0.1, unknown, truncated=len(text) > 20, candidates=candidates)


ODD = st.sampled_from("\u2028\u0085\x0b\x0c\x1c\u00a0\u3000\ufeff\x00\"',ß+")
CELL = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\t") | ODD, max_size=5
)
WORDS = ["null", "NA", "nan", '"quoted', "\u00a0x\u3000", "a\u2028b\x0bc\x0cd", "ß", "x" * 21]


def run(folder: Path, name: str, content: str | bytes, *, model: Any = None, **options: Any) -> str:
    """The converted file's text."""
    source = folder / name
    data = content.encode() if isinstance(content, str) else content
    source.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    target = folder / f"out.{name}"
    target.unlink(missing_ok=True)
    convert(model or Fake(), source, target, **options)
    result = target.read_bytes()
    return (gzip.decompress(result) if name.endswith(".gz") else result).decode()


def fault(folder: Path, name: str, content: str | bytes, **options: Any) -> str:
    """What is told when the conversion fails; checks that it leaves nothing."""
    with pytest.raises(CharseqError) as caught:
        run(folder, name, content, **options)
    assert sorted(path.name for path in folder.iterdir()) == [name]
    told = str(caught.value)
    assert "\n" not in told
    return told.replace(f"{folder}{os.sep}", "")


# --- plain text


def test_each_line_is_replaced(tmp_path: Path) -> None:
    assert run(tmp_path, "a.txt", "ab\n\nc\r\n\r\nd") == "<abab>\n\n<cc>\r\n\r\n<dd>"


def test_the_n_best_are_separated_by_tabs(tmp_path: Path) -> None:
    assert run(tmp_path, "a.txt", "ab\n\na\n", n=3) == "<abab>\t<abab>2\t\n\n<aa>\t\t\n"


def test_line_ends_in_a_prediction_never_shift_lines(tmp_path: Path) -> None:
    told: list[str] = []
    model = Fake(answer="{0}\n\t\r".format)
    assert run(tmp_path, "a.txt", "a\nb\n", model=model, report=told.append) == "a   \nb   \n"
    assert told[0] == f"{tmp_path / 'a.txt'}:1: flattened"


def test_flaws_of_lines_are_told_with_their_place(tmp_path: Path) -> None:
    told: list[str] = []
    content = "ok\naß+\n" + "\n" + "x" * 21 + "\n" + "ß\n" * 30
    run(tmp_path, "a.txt", content, report=told.append)
    path = tmp_path / "a.txt"
    assert told[0] == (
        f"{path}:2: unknown U+00DF 'ß' LATIN SMALL LETTER SHARP S U+002B '+' PLUS SIGN"
    )
    assert told[1] == f"{path}:4: truncated"
    assert told[2] == f"{path}:5: unknown U+00DF 'ß' LATIN SMALL LETTER SHARP S"
    assert told[20] == f"{path}: 34 rows, 4 strings computed -> {tmp_path / 'out.a.txt'}"
    named = "U+00DF 'ß' LATIN SMALL LETTER SHARP S (31), U+002B '+' PLUS SIGN (1)"
    assert told[21:] == [
        f"{path}: 12 more lines with notes, not listed",
        f"{path}: unseen symbols in 31 rows: {named}",
        f"{path}: 1 predictions cut at the longest length",
    ]


@given(st.lists(CELL, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_as_many_lines_come_out_as_went_in(
    tmp_path_factory: Any, lines: list[str], end: str, last: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    content = end.join(lines) + (end if last else "")
    if not content.removeprefix("\ufeff"):
        return
    expected = (
        f"<{line}{line}>" if line else "" for line in content.removeprefix("\ufeff").split(end)
    )
    mark = "\ufeff" if content.startswith("\ufeff") else ""
    assert run(folder, "a.txt", content) == mark + end.join(expected)


# --- tables keep everything else


def test_csv_gains_a_named_column_and_its_note(tmp_path: Path) -> None:
    content = '\ufeffid,word\r\n01,"a,b"\r\n\r\n02,\r\n03,"ß\n"\r\n'
    assert run(tmp_path, "a.csv", content, column="word") == (
        '\ufeffid,word,prediction,prediction_note\r\n01,"a,b","<a,ba,b>",\r\n\r\n'
        '02,,,empty\r\n03,"ß\n","<ß\nß\n>",unknown U+00DF\r\n'
    )


def test_tsv_by_name_and_by_number(tmp_path: Path) -> None:
    content = 'id\t"word\n1\tnull\n2\t"NA\n'
    assert run(tmp_path, "a.tsv", content, column='"word', to="ipa") == (
        'id\t"word\tipa\tipa_note\n1\tnull\t<nullnull>\t\n2\t"NA\t<"NA"NA>\t\n'
    )
    assert run(tmp_path, "a.tsv", content, column=2) == (
        'id\t"word\tprediction\tprediction_note\n1\tnull\t<nullnull>\t\n2\t"NA\t<"NA"NA>\t\n'
    )
    assert run(tmp_path, "a.tsv", content, column="2", header="no").startswith(
        'id\t"word\t<"word"word>\t\n1\tnull\t<nullnull>\t\n'
    )


def test_jsonl_gains_keys(tmp_path: Path) -> None:
    content = '{"n": 1.50, "w": "a"}\n\n{"w":null,"n":[]}\r\n{"w": 7, "x": "\\u00df"}'
    assert run(tmp_path, "a.jsonl", content, column="w", to="p") == (
        '{"n": 1.50, "w": "a", "p": "<aa>", "p_note": ""}\n\n'
        '{"w":null,"n":[], "p": "", "p_note": "empty"}\r\n'
        '{"w": 7, "x": "\\u00df", "p": "<77>", "p_note": ""}'
    )


def test_parquet_gains_columns(tmp_path: Path) -> None:
    path, out = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pq.write_table(pa.table({"k": [1, 2, 3], "w": ["null", None, "ß"]}), path)
    convert(Fake(), path, out, column="w", to="p", n=2)
    assert pq.read_table(out).to_pydict() == {
        "k": [1, 2, 3],
        "w": ["null", None, "ß"],
        "p": ["<nullnull>", "", "<ßß>"],
        "p_2": ["<nullnull>2", "", ""],
        "p_note": ["", "empty", "unknown U+00DF"],
    }


def write_workbook(path: Path, cells: Sequence[Sequence[Any]]) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.title = "Orders"
    for row in cells:
        sheet.append(row)
    book.save(path)


def test_a_workbook_gains_columns_and_other_cells_keep_their_types(tmp_path: Path) -> None:
    path, out = tmp_path / "orders.xlsx", tmp_path / "out.xlsx"
    day = dt.date(2021, 3, 3)
    write_workbook(
        path, [["order", "ordered on"], [1001, day], [1002, "NA"], [], [1.5, None], [4, "ß"]]
    )
    told: list[str] = []
    model = Fake()
    convert(model, path, out, column="ordered on", to="iso", n=2, report=told.append)
    assert model.calls == [["2021-03-03", "NA", "ß"]]
    found = [list(row) for row in openpyxl.load_workbook(out).worksheets[0].values]
    midnight = dt.datetime.combine(day, dt.time())
    assert found == [
        ["order", "ordered on", "iso", "iso_2", "iso_note"],
        [1001, midnight, "<2021-03-032021-03-03>", "<2021-03-032021-03-03>2", None],
        [1002, "NA", "<NANA>", "<NANA>2", None],
        [None] * 5,
        [1.5, None, None, None, "empty"],
        [4, "ß", "<ßß>", None, "unknown U+00DF"],
    ]
    assert told[0] == f"{path}: sheet 'Orders' is read"
    assert told[1:3] == [
        f"{path}: new columns iso, iso_2, iso_note", f"{path}: column 2 (ordered on)",
    ]  # fmt: skip
    assert told[3].startswith(f"{path}: 4 rows, 3 strings computed")
    with pytest.raises(UsageError, match=r"Excel is packed inside, name it without \.gz"):
        convert(Fake(), path, tmp_path / "out.xlsx.gz")
    with pytest.raises(UsageError, match=r"out\.ods is named as OpenDocument, but Excel"):
        convert(Fake(), path, tmp_path / "out.ods")


def test_several_candidates_have_columns_of_their_own(tmp_path: Path) -> None:
    assert run(tmp_path, "a.csv", "w\nabc\na\n", n=3, to="p", header="yes") == (
        "w,p,p_2,p_3,p_note\nabc,<abcabc>,<abcabc>2,<abcabc>3,\na,<aa>,,,\n"
    )


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl", "a.tsv.gz", "a.csv.gz"])
def test_words_that_trap_readers_come_through(tmp_path: Path, name: str) -> None:
    def line(word: str) -> str:
        if "csv" in name:
            return '"' + word.replace('"', '""') + '",x\n'
        return json.dumps({"w": word}) + "\n" if "jsonl" in name else f"{word}\n"

    model = Fake()
    content = ("source,k\n" if "csv" in name else "") + "".join(map(line, WORDS))
    header = "yes" if "csv" in name else "no"
    out = run(tmp_path, name, content, model=model, header=header)
    assert [text for call in model.calls for text in call] == WORDS
    for word in WORDS:
        shown = f"<{word}{word}>"
        assert (
            json.dumps(shown, ensure_ascii=False)[1:-1]
            if "json" in name
            else shown.replace('"', '""')
            if "csv" in name
            else shown
        ) in out


@given(
    st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6),
    st.sampled_from(["tsv", "csv", "jsonl"]), st.sampled_from([1, 2]), st.sampled_from([1, 2]),
)  # fmt: skip
def test_rows_order_and_other_columns_are_kept(
    tmp_path_factory: Any, rows: list[tuple[str, str]], kind: str, column: int, n: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    text = io.StringIO(newline="")
    if kind == "csv":
        csv.writer(text).writerows(rows)
    elif kind == "tsv":
        text.write("".join(f"{a}\t{b}\r\n" for a, b in rows))
    else:
        text.write("".join(json.dumps({"a": a, "b": b}) + "\n" for a, b in rows))
    out = run(folder, f"a.{kind}", "\ufeff" + text.getvalue(), column=column, n=n, header="no")
    after = list(read_table(folder / f"out.a.{kind}", header="no").rows)
    assert out.startswith("\ufeff")
    assert [row.cells[:2] for row in after] == rows
    for row in after:
        word = row.cells[column - 1]
        best = f"<{word}{word}>" if word else ""
        more = [f"{best}2" if len(word) > 1 else ""] * (n - 1)
        assert row.cells[2:-1] == (best, *more)
        assert (row.cells[-1] == "") == (bool(word) and not set(word) & set("ß+"))


@given(st.lists(st.tuples(st.none() | CELL, st.integers(-9, 9)), min_size=1, max_size=6))
@settings(max_examples=15)
def test_parquet_rows_are_kept(tmp_path_factory: Any, rows: list[tuple[str | None, int]]) -> None:
    path = tmp_path_factory.getbasetemp() / "a.parquet"
    before = pa.table({"w": pa.array([w for w, _ in rows], pa.string()), "k": [k for _, k in rows]})
    pq.write_table(before, path)
    out = path.with_name("b.parquet")
    convert(Fake(), path, out, force=True)
    after = pq.read_table(out)
    assert after.select(["w", "k"]).equals(before)
    assert after["prediction"].to_pylist() == [f"<{w}{w}>" if w else "" for w, _ in rows]


# --- which column, which header


def test_a_row_without_evidence_for_a_header_is_converted_and_told(tmp_path: Path) -> None:
    told: list[str] = []
    assert run(tmp_path, "a.csv", "a,b\nc,d\n", report=told.append) == "a,b,<aa>,\nc,d,<cc>,\n"
    assert told[0].endswith("a.csv: line 1 is read as a row (a, b): header=yes makes it the header")
    assert run(tmp_path, "a.csv", "a,b\nc,d\n", header="yes") == (
        "a,b,prediction,prediction_note\nc,d,<cc>,\n"
    )
    assert run(tmp_path, "a.csv", "n,b\n1,d\n", column=2) == (
        "n,b,prediction,prediction_note\n1,d,<dd>,\n"
    )
    assert run(tmp_path, "a.tsv", "a\tb\nc\td\n") == "a\tb\t<aa>\t\nc\td\t<cc>\t\n"
    assert run(tmp_path, "a.tsv", "target\tsource\nc\td\n") == (
        "target\tsource\tprediction\tprediction_note\nc\td\t<dd>\t\n"
    )


def test_keys_may_change_their_order(tmp_path: Path) -> None:
    out = run(tmp_path, "a.jsonl", '{"w": "a", "k": "x"}\n{"k": "x", "w": "b"}\n')
    assert [json.loads(line)["prediction"] for line in out.split("\n")[:-1]] == ["<aa>", "<bb>"]
    out = run(tmp_path, "a.jsonl", '{"k": "x", "source": "a"}\n')
    assert json.loads(out)["prediction"] == "<aa>"


def test_a_model_with_features_reads_two_columns(tmp_path: Path) -> None:
    model = Fake(has_features=True)
    content = "form,lemma,tags\nx,go,V;PST\ny,,V\nz,go,\n"
    run(tmp_path, "a.csv", content, model=model, column="lemma,tags")
    assert model.calls == [["go\tV;PST", "go\t"]]
    model.calls.clear()
    out = run(tmp_path, "a.tsv", "go\tV;PST\n\tV\n", model=model)
    assert model.calls == [["go\tV;PST"]]
    assert out.endswith("\n\tV\t\tempty\n")
    model.calls.clear()
    run(tmp_path, "a.tsv", "x\tV\tgo\n", model=model, column="3,2")
    run(tmp_path, "a.jsonl", '{"features": "V", "x": "y", "source": "go"}\n', model=model)
    run(tmp_path, "a.txt", "go\tV\n", model=model)
    assert model.calls == [["go\tV"]] * 3


FEATURES = Fake(has_features=True)


@pytest.mark.parametrize(
    ("name", "content", "options", "told"),
    [
        ("a.csv", "a,b\nc,d\n", {"column": "x"}, "a.csv:1: no column 'x': expected one of 'a'"),
        ("a.csv", "a,a\nc,d\n", {"column": "a"}, "a.csv:1: 2 columns are named 'a'"),
        ("a.tsv", "a\tb\n", {"column": 3}, "a.tsv:1: no column '3': only 2 columns and no header"),
        ("a.txt", "a\n", {"column": "1"}, "plain text has no columns"),
        ("a.txt", "a\n", {"to": "p"}, "plain text has no columns"),
        ("a.tsv", "a\n", {"to": "p"}, "a.tsv has no header, so the new column cannot be named 'p'"),
        ("a.csv", "a\n", {"to": "x\ty"}, "the new column's name is empty or has a tab"),
        ("a.csv", "a\n", {"to": ""}, "the new column's name is empty or has a tab"),
        ("a.csv", "a\n", {"n": 0}, "n is 0, expected 1 or more"),
        ("a.csv", "a\n", {"beam": 0}, "beam is 0, expected 1 or more"),
        ("a.csv", "a\n", {"batch_size": -1}, "batch size is -1, expected 1 or more"),
        ("a.csv", "a\n", {"format": "docx"}, "unknown format 'docx'"),
        ("a.csv", "a\n", {"header": "x"}, "header is 'x', expected auto, yes or no"),
        ("a.csv", "a,b\n", {"model": FEATURES, "column": "a"},
         "column is 'a', expected SOURCE,FEATURES for this model"),
        ("a.csv", "a\n", {"model": FEATURES}, "a.csv:1: no column '2': only 1 column"),
        ("a.txt", "", {}, "a.txt: the file is empty, expected rows"),
        ("a.tsv", "", {}, "a.tsv: the file is empty, expected rows"),
        ("a.csv", "", {}, "a.csv: the file is empty, expected rows"),
        ("a.csv", "", {"column": "x"}, "a.csv:1: nothing here, expected a header row"),
        ("a.csv", "a\nb\n", {"to": "p"}, "a.csv has no header, so the new column cannot be named"),
        ("a.jsonl", "\n", {}, "a.jsonl: the file is empty, expected rows"),
        ("a.csv", 'a,b\nc,"d\ne,f\n', {}, "a.csv:2: a quote is opened here and not closed"),
        ("a.csv", "a,prediction\nc,d\n", {}, "a.csv:1: there is a column 'prediction'"),
        ("a.csv", "a,p_note\nc,d\n", {"to": "p"}, "a.csv:1: there is a column 'p_note'"),
        ("a.jsonl", '{"a": "x"}\n{"a": "x", "prediction": 1}\n', {},
         "a.jsonl:2: there is a column 'prediction'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line_and_leaves_nothing(
    tmp_path: Path, name: str, content: str | bytes, options: dict[str, Any], told: str
) -> None:
    assert fault(tmp_path, name, content, **options).startswith(told)


def test_a_fault_far_down_leaves_nothing(tmp_path: Path) -> None:
    lines = "".join(f"word {i}\n" for i in range(20_000))
    told = fault(tmp_path, "a.csv", f'{lines}"open\n')
    assert told == "a.csv:20001: a quote is opened here and not closed"
    half = tmp_path / "half"
    half.mkdir()
    (half / "a.txt.gz").write_bytes(gzip.compress(os.urandom(50_000).hex().encode())[:-10])
    with pytest.raises(DataError, match="damaged or incomplete"):
        convert(Fake(), half / "a.txt.gz", half / "b.txt.gz")
    assert [path.name for path in half.iterdir()] == ["a.txt.gz"]


def test_with_force_a_column_is_replaced(tmp_path: Path) -> None:
    content = "w,prediction,k\na,old,1\n"
    assert run(tmp_path, "a.csv", content, force=True) == (
        "w,prediction,k,prediction_note\na,<aa>,1,\n"
    )
    assert run(tmp_path, "a.csv", content, force=True, to="w") == (
        "w,prediction,k,w_note\n<aa>,old,1,\n"
    )


# --- rows that cannot be read


def rejects_of(path: Path) -> list[tuple[int, int, str, bytes]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(x["line"], x["offset"], x["reason"], base64.b64decode(x["raw"])) for x in lines]


@pytest.mark.parametrize(
    ("name", "content", "model", "expected", "rejected"),
    [
        ("a.txt", b"a\n\x8ft\r\nb", Fake(), b"<aa>\n\r\n<bb>",
         [(2, 2, "byte 0x8f at column 1 is not UTF-8", b"\x8ft\r\n")]),
        ("a.tsv", b"a\tb\nc\n\xff\td\n\n", Fake(),
         b"a\tb\t<aa>\t\nc\t\trejected\n\xff\td\t\trejected\n\n",
         [(2, 4, "1 column, expected 2", b"c\n"),
          (3, 6, "byte 0xff at column 1 is not UTF-8", b"\xff\td\n")]),
        ("a.csv", b'id,b\nc,d,e\n"x\n\xff",y\n"q"r,s\n6,g\n', Fake(),
         (b'id,b,prediction,prediction_note\nc,d,e,,rejected\n"x\n\xff",y,,rejected\n'
          b'"q"r,s,,rejected\n6,g,<66>,\n'),
         [(2, 5, "3 columns, expected 2", b"c,d,e\n"),
          (3, 11, "byte 0xff at column 1 is not UTF-8", b'"x\n\xff",y\n'),
          (5, 19, "not valid CSV: ',' expected after '\"'", b'"q"r,s\n')]),
        ("a.csv", b'word,tag\n"x\ty",V\nz,"V\tW"\nz,V\n', Fake(has_features=True),
         (b'word,tag,prediction,prediction_note\n"x\ty",V,,rejected\nz,"V\tW",,rejected\n'
          b"z,V,<z\tVz\tV>,\n"),
         [(2, 9, "a tab in the source, which a model with features cannot tell apart",
           b'"x\ty",V\n'),
          (3, 17, "a tab in the features, which a model with features cannot tell apart",
           b'z,"V\tW"\n')]),
        ("a.jsonl", b'{"a": "x"}\n{"b": "x"}\n{"a": 1.5}\n[1]\n{"a\n', Fake(),
         (b'{"a": "x", "prediction": "<xx>", "prediction_note": ""}\n'
         b'{"b": "x", "prediction": "", "prediction_note": "rejected"}\n'
         b'{"a": 1.5, "prediction": "", "prediction_note": "rejected"}\n'
         b'{"prediction": "", "prediction_note": "rejected"}\n'
         b'{"prediction": "", "prediction_note": "rejected"}\n'),
         [(2, 11, "no column 'a': expected one of 'b'", b'{"b": "x"}\n'),
          (3, 22, "a value of type float, expected text", b'{"a": 1.5}\n'),
          (4, 33, "a JSON list, expected one object a line", b"[1]\n"),
          (5, 37, "not valid JSON: Unterminated string starting at at column 2", b'{"a\n')]),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_read_keeps_its_place_and_is_told(
    tmp_path: Path, name: str, content: bytes, model: Fake, expected: bytes, rejected: list[Any]
) -> None:
    (tmp_path / name).write_bytes(content)
    told: list[str] = []
    out = tmp_path / f"out.{name}"
    found = convert(model, tmp_path / name, out, report=told.append)
    assert out.read_bytes() == expected
    assert rejects_of(tmp_path / f"out.{name}.rejects.jsonl") == rejected
    assert (found.rejected, found.ok) == (len(rejected), found.rows - len(rejected))
    first = next(line for line in told if ": rejected: " in line)
    assert first.startswith(f"{tmp_path / name}:{rejected[0][0]}: rejected: ")
    assert any(line.endswith(f" ok -> {out}.rejects.jsonl") for line in told)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "cp1252"])
def test_a_file_keeps_its_encoding_and_the_bytes_of_its_other_cells(
    tmp_path: Path, encoding: str
) -> None:
    content = 'id,word\r\n1,früh\r\n2,\r\n\r\n3,"a,é"\r\n'.encode(encoding)
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    (tmp_path / "a.csv").write_bytes(mark + content)
    convert(Fake(), tmp_path / "a.csv", tmp_path / "b.csv", column="word", to="p")
    expected = 'id,word,p,p_note\r\n1,früh,<frühfrüh>,\r\n2,,,empty\r\n\r\n3,"a,é","<a,éa,é>",\r\n'
    assert (tmp_path / "b.csv").read_bytes() == mark + expected.encode(encoding)


def test_an_answer_that_the_encoding_does_not_have_is_one_rejected_row(tmp_path: Path) -> None:
    content = "id,word\n1,früh\n2,spät\n3,x\n".encode("cp1252")
    (tmp_path / "a.csv").write_bytes(content)
    model = Fake(answer=lambda text: {"spät": "поздно"}.get(text, text))
    found = convert(model, tmp_path / "a.csv", tmp_path / "b.csv", column="word")
    assert (tmp_path / "b.csv").read_bytes() == (
        "id,word,prediction,prediction_note\n1,früh,früh,\n2,spät,,rejected\n3,x,x,\n"
    ).encode("cp1252")
    (one,) = (tmp_path / "b.csv.rejects.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(one) == {
        "line": 3,
        "offset": None,
        "reason": "an answer with U+043F 'п' CYRILLIC SMALL LETTER PE, not in cp1252",
        "raw": base64.b64encode("2,spät\n".encode("cp1252")).decode(),
    }
    assert (found.rows, found.rejected) == (3, 1)


@pytest.mark.parametrize(
    ("name", "content", "options", "told"),
    [
        ("a.jsonl", '{"a": 1}\n', {"delimiter": ";"}, "JSON Lines has no delimiter"),
        ("a.txt", "a\n", {"delimiter": "x"}, "delimiter is 'x', expected auto, tab, comma"),
        ("a.txt", "a\n", {"encoding": "x"}, "unknown encoding 'x', expected auto, utf-8"),
    ],
)
def test_a_delimiter_or_encoding_that_does_not_fit_is_told(
    tmp_path: Path, name: str, content: str, options: dict[str, Any], told: str
) -> None:
    assert fault(tmp_path, name, content, **options).startswith(told)


def test_rejects_of_an_earlier_attempt_go_by_force_only(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\n")
    convert(Fake(), tmp_path / "a.txt", tmp_path / "b.txt")
    (tmp_path / "b.txt").unlink()
    (tmp_path / "a.txt").write_bytes(b"x\n")
    with pytest.raises(UsageError, match=r"b\.txt\.rejects\.jsonl exists"):
        convert(Fake(), tmp_path / "a.txt", tmp_path / "b.txt")
    convert(Fake(), tmp_path / "a.txt", tmp_path / "b.txt", force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def test_with_force_a_rejected_row_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"w,prediction\na,old\nb\n")
    convert(Fake(), tmp_path / "a.csv", tmp_path / "b.csv", force=True)
    lines = (tmp_path / "b.csv").read_bytes().split(b"\n")
    assert lines[1:] == [b"a,<aa>,", b"b", b""]


def test_a_text_without_its_features_is_rejected_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"go\tV\ngo\n")
    found = convert(Fake(has_features=True), tmp_path / "a.txt", tmp_path / "b.txt", format="text")
    assert (tmp_path / "b.txt").read_bytes() == b"<go Vgo V>\n\n"
    assert rejects_of(tmp_path / "b.txt.rejects.jsonl") == [
        (2, 5, "0 tabs, expected one, between source and features", b"go\n")
    ]
    assert found.rejected == 1


@settings(max_examples=400)
@given(
    st.lists(st.one_of(st.binary(max_size=6), CELL.map(str.encode)), max_size=8).map(b"\n".join),
    st.sampled_from(["a.txt", "a.tsv", "a.jsonl"]),
)
def test_any_bytes_give_as_many_lines_and_each_is_ok_or_rejected(
    tmp_path_factory: Any, content: bytes, name: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "bytes"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    out, rejects = folder / f"out.{name}", folder / f"out.{name}.rejects.jsonl"
    try:
        found = convert(Fake(), folder / name, out, force=True, encoding="utf-8", header="no")
    except DataError as fault:  # no row at all, or none to tell the column by
        told = str(fault)
    else:
        told = ""
    if told:
        assert re.search("the file is empty|no column|in CR alone", told)
        return
    assert out.read_bytes().count(b"\n") == content.count(b"\n")
    lines = content.split(b"\n")
    told = rejects_of(rejects) if rejects.exists() else []
    assert (found.rejected, found.ok + found.rejected) == (len(told), found.rows)
    for line, offset, _, raw in told:
        assert raw.rstrip(b"\n") == lines[line - 1]
        assert content[offset : offset + len(raw)] == raw


# --- interrupted and gone on with


class Killed(BaseException): ...


def halting(after: int) -> Fake:
    """A model that is killed after so many texts."""
    model = Fake()

    def answer(text: str) -> str:
        if sum(map(len, model.calls[:-1])) >= after:
            raise Killed
        return f"<{text[::-1]}>"

    model.answer = answer
    return model


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl.gz", "a.parquet", "a.xlsx"])
def test_an_interrupted_conversion_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("charseq.data.formats.rows.WINDOW", 300)
    monkeypatch.setattr("charseq.inference.answer_cache.CHUNK_SECONDS", 0.0)
    words = [f"w{i * 7919 % 5000:x}" for i in range(2000)]
    form = {"a.csv": "{}\n", "a.txt": "{}\n"}.get(name, '{{"w": "{}"}}\n')
    source, whole, out = tmp_path / name, tmp_path / f"whole.{name}", tmp_path / f"out.{name}"
    if name.endswith("parquet"):
        pq.write_table(pa.table({"w": words}), source)
    elif name.endswith("xlsx"):
        write_workbook(source, [["w"], *([word] for word in words)])
    else:
        content = "".join(map(form.format, words)).encode()
        source.write_bytes(gzip.compress(content, mtime=0) if name.endswith("gz") else content)
    reverse = Fake(answer=lambda text: f"<{text[::-1]}>")
    go = partial(convert, kept_for="m", batch_size=20)
    convert(reverse, source, whole)
    calls = []
    for after in (500, 1000, 0, 1300):
        model = halting(after - sum(calls) if after else 0)
        with pytest.raises(Killed):
            go(model, source, out)
        calls.append(sum(map(len, model.calls)) - len(model.calls[-1]))
        assert not out.exists()
    reverse.calls.clear()
    found = go(reverse, source, out)
    assert out.read_bytes() == whole.read_bytes()
    again = sum(map(len, reverse.calls))
    assert found.kept == sum(calls) == found.distinct - again
    assert found.kept >= 1300
    assert not list(tmp_path.glob(".charseq-*"))


def test_what_has_changed_is_named_and_not_gone_on_with(tmp_path: Path) -> None:
    source, out = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_text("a\nb\n")

    def attempt(**options: Any) -> Any:
        return convert(Fake(), source, out, **{"kept_for": "m", **options})

    def interrupt(**options: Any) -> None:
        with pytest.raises(Killed):
            convert(halting(0), source, out, kept_for="m", **options)

    interrupt()
    model = "the model, its lexicon or its rule"
    for changed, options in ((model, {"kept_for": "o"}), ("the options", {"n": 2})):
        with pytest.raises(UsageError, match=f"since then {changed} changed: force=True"):
            attempt(**options)
    source.write_text("a\nc\n")
    with pytest.raises(UsageError, match="since then the input changed"):
        attempt()
    assert attempt(force=True).kept == 0
    assert out.read_text() == "<aa>\n<cc>\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


# --- the output's name


def test_the_output_is_not_overwritten_nor_the_input(tmp_path: Path) -> None:
    source, target = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_text("a\n")
    target.write_text("old\n")
    model = Fake()
    with pytest.raises(UsageError, match=r"b\.txt exists"):
        convert(model, source, target)
    (tmp_path / "link.txt").symlink_to(source)
    (tmp_path / "hard.txt").hardlink_to(source)
    for same in (source, tmp_path / "." / "a.txt", tmp_path / "hard.txt"):
        with pytest.raises(UsageError, match="is an input and would be overwritten"):
            convert(model, source, same, force=True)
    with pytest.raises(UsageError, match=r"link\.txt' is a link to '.*a\.txt'"):
        convert(model, source, tmp_path / "link.txt", force=True)
    assert model.calls == []
    convert(model, source, target, force=True)
    assert (source.read_text(), target.read_text()) == ("a\n", "<aa>\n")


def test_the_output_is_not_named_as_another_format(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("w\na\n")
    with pytest.raises(UsageError, match=r"b\.tsv is named as TSV, but CSV is written"):
        convert(Fake(), source, tmp_path / "b.tsv")
    convert(Fake(), source, tmp_path / "b.out")
    convert(Fake(), source, tmp_path / "b.csv.gz")
    packed, plain = (tmp_path / "b.csv.gz").read_bytes(), (tmp_path / "b.out").read_bytes()
    assert gzip.decompress(packed) == plain
    with pytest.raises(UsageError, match=r"without \.gz"):
        convert(Fake(), tmp_path / "a.parquet", tmp_path / "b.parquet.gz")


def test_equal_rows_give_equal_bytes_packed_or_not(tmp_path: Path) -> None:
    source = tmp_path / "a.txt.gz"
    source.write_bytes(gzip.compress(b"a\nb\n"))
    outs = [tmp_path / "b.txt.gz", tmp_path / "c.txt.gz"]
    for out in outs:
        convert(Fake(), source, out)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert gzip.decompress(outs[0].read_bytes()) == b"<aa>\n<bb>\n"


def test_stdin_to_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    def through(content: bytes, **options: Any) -> bytes:
        out = io.BytesIO()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
        convert(Fake(), "-", "-", **options)
        return out.getvalue()

    assert through(b"a\n\nb") == b"<aa>\n\n<bb>"
    assert through(b"") == b""
    assert (
        through(b"w\na\n", format="CSV", header="yes") == b"w,prediction,prediction_note\na,<aa>,\n"
    )


# --- windows, options and counts


def test_each_string_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charseq.data.formats.rows.WINDOW", 4)
    monkeypatch.setattr("charseq.inference.answer_cache.FULL_BATCHES", 1)
    model = Fake()
    out = run(tmp_path, "a.txt", "a\nb\na\n\na\nb\nc\n", model=model)
    assert model.calls == [["a", "b"], ["c"]]
    assert out == "<aa>\n<bb>\n<aa>\n\n<aa>\n<bb>\n<cc>\n"


def test_what_was_forgotten_is_computed_again_and_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charseq.data.formats.rows.WINDOW", 3)
    monkeypatch.setattr("charseq.inference.answer_cache.FULL_BATCHES", 1)
    content = "".join(f"w{number % 7}\t{number}\n" for number in range(40))
    whole, forgetful = Fake(), Fake()
    expected = run(tmp_path, "a.tsv", content, model=whole)
    for limit in (
        "charseq.inference.answer_cache.MAX_BYTES",
        "charseq.data.formats.lines.ENCODED_BYTES",
    ):
        monkeypatch.setattr(limit, 1500)
    (tmp_path / "again").mkdir()
    assert run(tmp_path / "again", "a.tsv", content, model=forgetful) == expected
    assert sum(map(len, whole.calls)) == 7 < sum(map(len, forgetful.calls))


def test_options_reach_the_model(tmp_path: Path) -> None:
    model = Fake()
    run(tmp_path, "a.txt", "a\n", model=model, n=2, beam=7, batch_size=13)
    assert model.options == {"n": 2, "beam": 7, "batch_size": 13}


def test_the_report_counts(tmp_path: Path) -> None:
    source = tmp_path / "a.tsv"
    source.write_text("ß\tx\naß\tx\n\n\tx\nß\tx\n" + "x" * 21 + "+\ty\n")
    report = convert(Fake(), source, tmp_path / "b.tsv")
    assert (report.rows, report.distinct, report.empty) == (5, 3, 1)
    assert (report.flagged, report.truncated) == (4, 1)
    assert report.unknown == Counter({"ß": 3, "+": 1})
    assert (tmp_path / "b.tsv").read_text().split("\n")[-2].endswith("\tunknown U+002B; truncated")
    assert report.summary()[0] == f"{source}: 5 rows, 3 strings computed -> {tmp_path / 'b.tsv'}"


def test_a_model_that_forgets_a_text_is_found_out(tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("a\nb\n")
    model = SimpleNamespace(has_features=False, predict=lambda texts, **_: Fake().predict("a", n=1))
    with pytest.raises(ValueError, match="zip"):
        convert(model, source, tmp_path / "b.txt")
    assert not (tmp_path / "b.txt").exists()


@dataclass
class Sure(Fake):
    """Its first candidate has 0.6, each next one half of what is left; "ab" is in its lexicon."""

    def outcome(self, text: str, n: int) -> Any:
        best = Candidate(f"{text}!", 0.6, -1.0, "lexicon" if text == "ab" else "model")
        others = [Candidate(f"{text}{rank}", 0.4 * 0.5**rank, -2.0) for rank in range(1, n)]
        candidates = [best, *others]
        return Prediction(text, best.prediction, 0.6, [], truncated=False, candidates=candidates)


def test_scores_are_columns_of_their_own(tmp_path: Path) -> None:
    told: list[str] = []
    how: Any = {"model": Sure(), "n": 3, "to": "iso", "scores": True, "report": told.append}
    rows = run(tmp_path, "a.csv", "word\nab\n\n,\n", **how).splitlines()
    names = "iso,iso_2,iso_3,iso_probability,iso_2_probability,iso_3_probability,iso_note"
    assert told[1] == f"{tmp_path / 'a.csv'}: new columns {names.replace(',', ', ')}"
    assert rows[0] == f"word,{names}"
    whole = Sure().predict(["ab"], n=3)[0].candidates
    cells = [one.prediction for one in whole] + [f"{one.probability:.6f}" for one in whole]
    assert rows[1] == ",".join(["ab", *cells, "lexicon"])
    assert rows[3].endswith("rejected")
    some = run(tmp_path, "b.csv", "word\nab\n", **(how | {"mass": 0.5})).splitlines()[1].split(",")
    assert (some[1:], len(some)) == ([*cells[:1], "", "", *cells[3:4], "", "", "lexicon"], 8)
    with pytest.raises(UsageError, match="plain text has no columns"):
        run(tmp_path, "a.txt", "ab\n", scores=True)


def test_scores_are_kept_for_an_attempt_that_resumes(tmp_path: Path) -> None:
    """As are the answers: the second attempt computes nothing that the first did."""
    (tmp_path / "a.csv").write_text("w\n" + "".join(f"{k:04}\n" for k in range(3000)))
    how: Any = {"n": 2, "scores": True, "kept_for": "x"}

    class Killed(Sure):
        def predict(self, texts: Sequence[str], **options: Any) -> list[Any]:
            if len(self.calls) > 2:
                raise KeyboardInterrupt
            return super().predict(texts, **options)

    with pytest.raises(KeyboardInterrupt):
        convert(Killed(), tmp_path / "a.csv", tmp_path / "out.csv", **how)
    found = convert(Sure(), tmp_path / "a.csv", tmp_path / "out.csv", **how)
    assert found.kept
    convert(Sure(), tmp_path / "a.csv", tmp_path / "whole.csv", n=2, scores=True)
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_rows_that_miss_the_mass_are_counted(tmp_path: Path) -> None:
    told: list[str] = []
    run(tmp_path, "a.txt", "c\nd\n\n", model=Sure(), n=1, mass=0.95, report=told.append)
    assert f"{tmp_path / 'a.txt'}: 2 rows have less than the mass asked for" in told
    told.clear()
    run(tmp_path, "a.txt", "c\n", model=Sure(), n=1, mass=0.1, report=told.append)
    assert not any(line.endswith("the mass asked for") for line in told)


def test_progress_is_told_by_rows_and_bytes(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    text = "".join(f"{k}\n" for k in range(20_000))
    run(tmp_path, "a.txt", text, progress=lambda *now: seen.append(now))
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert seen[-1] == (20_000, len(text))


def test_as_many_columns_are_filled_as_have_the_mass(tmp_path: Path) -> None:
    rows = run(tmp_path, "a.csv", "word\nab\n\nc\n", model=Sure(), n=4, mass=0.8)
    head, *rest = rows.splitlines()
    assert head == "word,prediction,prediction_2,prediction_3,prediction_4,prediction_note"
    assert rest == ["ab,ab!,ab1,,,lexicon", "", "c,c!,c1,,,"]
    assert run(tmp_path, "a.txt", "c\n", model=Sure(), n=3, mass=0.95) == "c!\tc1\tc2\n"
    assert run(tmp_path, "a.txt", "c\n", model=Sure(), n=3, mass=0.5) == "c!\t\t\n"


def test_what_comes_from_the_lexicon_is_noted_in_columns_and_counted(tmp_path: Path) -> None:
    told: list[str] = []
    assert run(tmp_path, "a.tsv", "ab\nc\n", model=Sure()) == "ab\tab!\tlexicon\nc\tc!\t\n"
    assert run(tmp_path, "a.txt", "ab\nc\nab\n", model=Sure(), report=told.append) == (
        "ab!\nc!\nab!\n"
    )
    assert [line.rpartition(": ")[2] for line in told[1:]] == ["2 predictions from the lexicon"]
    assert told[0].rpartition(": ")[2].startswith("3 rows, 2 strings computed -> ")


@dataclass
class Seen(Fake):
    """It has seen "ab"."""

    def outcome(self, text: str, n: int) -> Any:
        best = Candidate(f"{text}!", 0.6, -1.0, "memory" if text == "ab" else "model")
        return Prediction(text, best.prediction, 0.6, [], truncated=False, candidates=[best])


def test_what_is_remembered_is_counted_and_needs_no_note(tmp_path: Path) -> None:
    told: list[str] = []
    content = "ab\nc\nab\n"
    assert run(tmp_path, "a.tsv", content, model=Seen(), report=told.append) == (
        "ab\tab!\t\nc\tc!\t\nab\tab!\t\n"
    )
    assert told[-1].rpartition(": ")[2] == "2 predictions from the memory of the run"
    told.clear()
    run(tmp_path, "a.txt", content, model=Seen(), report=told.append)
    assert told[-1].rpartition(": ")[2] == "2 predictions from the memory of the run"


@dataclass
class GoesOn(Fake):
    """A model whose answer goes on from the text."""

    answer: Callable[[str], str] = "tomorrow".format

    @staticmethod
    def append(text: str, word: str) -> str:
        return f"{text.rstrip()} {word}" if text.strip() else word


def test_plain_text_goes_on_with_the_next_word(tmp_path: Path) -> None:
    content = "see you\n\nsee you  \r\n  \n see\tyou\n"
    assert run(tmp_path, "a.txt", content, model=GoesOn()) == (
        "see you tomorrow\n\nsee you tomorrow\r\ntomorrow\n see you tomorrow\n"
    )
    notes: list[str] = []
    run(tmp_path, "a.txt", content, model=GoesOn(), report=notes.append)
    assert [note.rpartition("a.txt:")[2] for note in notes[:-1]] == ["5: flattened"]


def test_each_of_the_best_goes_on_by_itself_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    assert run(tmp_path, "a.txt", "ab\n", model=GoesOn(), n=3) == "ab tomorrow\tab tomorrow2\t\n"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "source\nab\n", "source,prediction,prediction_note\nab,tomorrow,\n"),
        ("a.tsv", "ab\n", "ab\ttomorrow\t\n"),
        ("a.jsonl", '{"source": "ab"}\n',
         '{"source": "ab", "prediction": "tomorrow", "prediction_note": ""}\n'),
    ],
)  # fmt: skip
def test_a_column_holds_the_next_word_alone(
    tmp_path: Path, name: str, content: str, expected: str
) -> None:
    assert run(tmp_path, name, content, model=GoesOn()) == expected


def test_sentences_end_as_the_real_model_appends(tmp_path: Path) -> None:
    """What LanguageModel.append makes of words and signs."""
    model = GoesOn(answer="tomorrow.".format)
    assert run(tmp_path, "a.txt", "see you\n", model=model) == "see you tomorrow.\n"
    units = Tokenizer(Vocabulary("spaced", "NFC", "NFC", ("see", "you", ".")), punctuation="split")
    real = SimpleNamespace(tokenizer=units, has_word_symbols=True)
    signs = GoesOn(answer=".".format)
    signs.append = partial(LanguageModel.append, real)  # type: ignore[method-assign, arg-type]
    assert run(tmp_path, "a.txt", "see you\n  see you \n", model=signs) == "see you.\n  see you.\n"


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl.gz"])
def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("charseq.data.formats.rows.WINDOW", 256)
    monkeypatch.setattr("charseq.inference.answer_cache.SHARD_ROWS", 1024)
    for limit in (
        "charseq.inference.answer_cache.MAX_BYTES",
        "charseq.data.formats.lines.ENCODED_BYTES",
    ):
        monkeypatch.setattr(limit, 100_000)
    line = '{{"w": "w{}"}}\n' if "json" in name else "w{}\n"

    def peak(count: int) -> int:
        content = "".join(map(line.format, range(count))).encode()
        source, target = tmp_path / name, tmp_path / f"out.{name}"
        source.write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
        tracemalloc.start()
        try:
            model = SimpleNamespace(
                has_features=False,
                predict=lambda texts, **options: [Fake().outcome(text, 1) for text in texts],
            )
            assert convert(model, source, target, force=True).rows in (count, count - 1)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(12_000) < peak(4_000) + 600_000


def test_conversion_of_text_loads_neither_torch_nor_pandas(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    program = (
        "import sys; from types import SimpleNamespace as S\n"
        "from charseq.inference.convert import convert\n"
        "model = S(has_features=False, predict=lambda texts, **_: [S(prediction='x', unknown=[],\n"
        "    truncated=False, origin='model', candidates=[S(prediction='x')]) for text in texts])\n"
        f"convert(model, {str(tmp_path / 'a.txt')!r}, '-')\n"
        "print(*({'torch', 'pandas', 'pyarrow', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (result.stdout, result.stderr) == (b"x\n", b"\n")


def test_a_reader_that_leaves_is_no_fault_of_ours() -> None:
    class Gone(io.BytesIO):
        def write(self, data: Any) -> int:
            raise BrokenPipeError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"a\n")))
        patch.setattr(sys, "stdout", SimpleNamespace(buffer=Gone()))
        with pytest.raises(BrokenPipeError):
            convert(Fake(), "-", "-")


FIXTURES = Path(__file__).parents[1] / "fixtures"


def test_alignments_are_a_column(tmp_path: Path) -> None:
    from charseq.inference.predictor import load  # above, it would move the measures of memory

    path = tmp_path / "a.csv"
    path.write_text("word,n\nbanana,1\n,2\nbanana,3\n", encoding="utf-8")
    convert(load(FIXTURES / "hard"), path, tmp_path / "b.csv", align=True)
    rows = list(csv.DictReader((tmp_path / "b.csv").read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == [
        "word", "n", "prediction", "prediction_alignment", "prediction_note",
    ]  # fmt: skip
    pairs = [pair.split("→") for pair in rows[0]["prediction_alignment"].split(" ")]
    assert "".join(source for source, _ in pairs if source != "∅") == "banana"
    assert "".join(target for _, target in pairs) == rows[0]["prediction"]
    assert [row["prediction_alignment"] for row in rows[1:]] == [
        "", rows[0]["prediction_alignment"],
    ]  # fmt: skip


def test_alignments_need_attention_and_columns(tmp_path: Path) -> None:
    from charseq.inference.predictor import load

    text, out = tmp_path / "a.txt", tmp_path / "b.txt"
    text.write_text("a\n", encoding="utf-8")
    with pytest.raises(UsageError, match="align=True needs a model with attention"):
        convert(load(FIXTURES / "words"), text, out, align=True)
    model = load(FIXTURES / "hard")
    with pytest.raises(UsageError, match="plain text has no columns"):
        convert(model, text, out, align=True)
    with pytest.raises(UsageError, match="adds a column, and a lexicon has none"):
        convert(model, text, out, align=True, to_format="kaldi")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt"]
