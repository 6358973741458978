"""A new format is one class and one entry in the registry; no other module is touched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from world import World

from charseq.data import pairs
from charseq.data.formats import reader
from charseq.data.formats.lines import TextFormat, decode_line
from charseq.data.formats.opening import Lines
from charseq.data.formats.rows import Row
from charseq.data.formats.writer import targets
from charseq.errors import DataError, UsageError
from charseq.inference.convert import convert
from charseq.inference.prediction import Candidate, Prediction


class Ini(TextFormat):
    """A row is a section: [number], then lines of the form key = value."""

    name = "ini"
    title = "INI"
    endings = (".ini", ".cfg")
    has_keys = True
    one_line_cells = True

    def rows(self, path: str, lines: Lines, *, faulty: bool) -> Iterator[Row]:
        section: list[bytes] = []
        start = 1
        for number, raw in lines:
            if raw.startswith(b"[") and section:
                yield self._row(path, start, section, faulty=faulty)
                section, start = [], number
            section.append(raw)
        if section:
            yield self._row(path, start, section, faulty=faulty)

    def _row(self, path: str, start: int, section: list[bytes], *, faulty: bool) -> Row:
        raw = b"".join(section)
        cells = {}
        for number, line in enumerate(section[1:], start + 1):
            found = re.fullmatch("(.*?) = (.*)", decode_line(line, path, number))
            if found is None:
                message = "expected key = value"
                if not faulty:
                    raise DataError(message, path=path, line=number)
                return Row(start, (), raw=raw, fault=message)
            cells[found[1]] = found[2]
        return Row(start, tuple(cells.values()), tuple(cells), raw)

    def encode(self, names: Sequence[str], values: Sequence[str]) -> bytes:
        lines = [f"{name} = {value}\n" for name, value in zip(names, values, strict=True)]
        return "".join(lines).encode()

    def extend(self, row: Row, cells: bytes) -> bytes:
        return row.raw + cells


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reader.FORMATS, "ini", Ini())


class Model:
    has_features = False

    def __init__(self, *, stop_after: int = 10**9) -> None:
        self.stop_after = stop_after
        self.count = 0

    def predict(self, texts: Sequence[str], **_: Any) -> list[Prediction]:
        if self.count >= self.stop_after:
            raise KeyboardInterrupt
        self.count += len(texts)
        outputs = [f"<{text}>" for text in texts]
        return [
            Prediction(text, out, 0.5, [], truncated=False, candidates=[Candidate(out, 0.5, -1.0)])
            for text, out in zip(texts, outputs, strict=True)
        ]


def write_ini(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
    sections = (f"[{i}]\nsource = {a}\ntarget = {b}\n" for i, (a, b) in enumerate(rows))
    path.write_text("".join(sections), encoding="utf-8")
    return path


def test_pairs_are_loaded_from_it(tmp_path: Path) -> None:
    write_ini(tmp_path / "train.ini", [("a", "A"), ("b", "B")])
    write_ini(tmp_path / "dev.cfg", [("c", "C")])
    found = pairs.load(tmp_path)
    assert [(one.source, one.target) for one in found.train] == [("a", "A"), ("b", "B")]
    assert [(one.source, one.target) for one in found.dev] == [("c", "C")]
    assert list(found.lines["train"]) == [1, 4]
    (tmp_path / "train.ini").write_text("[0]\nsource: a\n")
    with pytest.raises(DataError, match=r"train\.ini:1: expected key = value"):
        pairs.load(tmp_path)


def test_the_command_check_reads_it(tmp_path: Path, world: World) -> None:
    path = write_ini(tmp_path / "words.ini", [(f"w{i}", f"W{i}") for i in range(40)])
    code, out, _ = world.run("check", str(path))
    assert code == 0
    assert "source = source" in out
    assert "40" in out or "train" in out


def test_a_conversion_reads_and_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.ini"
    path.write_text("[0]\nsource = a\nk = 1\n[1]\nbroken\n[2]\nsource = b\n")
    told: list[str] = []
    found = convert(Model(), path, tmp_path / "b.ini", report=told.append)
    assert (tmp_path / "b.ini").read_text() == (
        "[0]\nsource = a\nk = 1\nprediction = <a>\nprediction_note = \n"
        "[1]\nbroken\nprediction = \nprediction_note = rejected\n"
        "[2]\nsource = b\nprediction = <b>\nprediction_note = \n"
    )
    assert (found.rows, found.rejected) == (3, 1)
    assert told[1:3] == [f"{path}: key 'source'", f"{path}:4: rejected: expected key = value"]
    assert targets(["a.ini"], None) == ["a.converted.ini"]
    with pytest.raises(UsageError, match=r"c\.csv is named as CSV, but INI is written"):
        convert(Model(), path, tmp_path / "c.csv")
    with pytest.raises(DataError, match=r"b\.ini:1: there is a column 'prediction'"):
        convert(Model(), tmp_path / "b.ini", tmp_path / "c.ini")


def test_an_interrupted_conversion_of_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charseq.inference.answer_cache.CHUNK_SECONDS", 0.0)
    path = write_ini(tmp_path / "a.ini", [(f"w{i}", "x") for i in range(500)])
    whole, out = tmp_path / "whole.ini", tmp_path / "out.ini"
    convert(Model(), path, whole)
    with pytest.raises(KeyboardInterrupt):
        convert(Model(stop_after=200), path, out, kept_for="m", batch_size=20)
    assert not out.exists()
    model = Model()
    found = convert(model, path, out, kept_for="m", batch_size=20)
    assert (found.kept, model.count) == (200, 300)
    assert out.read_bytes() == whole.read_bytes()


def test_by_name_it_is_read_from_any_file(tmp_path: Path) -> None:
    path = write_ini(tmp_path / "words.txt", [("a", "A")])
    assert [row.cells for row in reader.read_table(path, format="ini").rows] == [("a", "A")]
    with pytest.raises(UsageError, match=r"unknown format 'xml', expected one of .*unimorph, ini"):
        reader.read_table(path, format="xml")
