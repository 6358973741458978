"""The program beside the graphs: its options, its input, and its errors."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from exported_runs import LINES, TEXTS, lines_of, pairs_run, words_run

from charseq.export.onnx import to_onnx
from charseq.export.runtime import predict

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


class Program:
    """``main`` with the model of a folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        model = predict.load(folder)
        patch.setattr(predict, "load", lambda: model)
        self.patch, self.model = patch, model

    def __call__(self, *words: str, given: str = "") -> str:
        out = io.BytesIO()
        self.patch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(given.encode())))
        self.patch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
        assert predict.main(list(words)) == 0
        return out.getvalue().decode()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("exported")
    for make, name, texts in ((pairs_run, "pairs", TEXTS), (words_run, "words", LINES)):
        to_onnx(make(home / "run" / name), home / name, texts=lines_of(home / "texts", texts))
    return home


def test_texts_and_lines_are_answered(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Program(folders / "pairs", monkeypatch)
    first, second = (one.prediction for one in ask.model.predict(["abc", "dead"]))
    assert ask("abc", "dead") == ask(given="abc\r\ndead") == f"{first}\n{second}\n"
    assert ask(given="") == ""
    rows = [line.split("\t") for line in ask("-n", "3", "abc").splitlines()]
    assert [row[:2] for row in rows] == [["abc", "1"], ["abc", "2"], ["abc", "3"]]
    assert rows[0][2] == first
    told = json.loads(ask("--json", "abc"))
    assert (told["source"], told["prediction"], told["unknown"]) == ("abc", first, [])
    assert told["candidates"][0]["text"] == first


def test_words_are_completed(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Program(folders / "words", monkeypatch)
    assert ask("--complete", "the c").strip() in ("cat", "can't")
    assert len(ask("-n", "4", "the").splitlines()) == 4


@pytest.mark.parametrize("words", [["-n", "0", "a"], ["--complete", "a"], ["--unknown"]])
def test_a_wrong_call_is_refused(
    words: list[str], folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Program(folders / "pairs", monkeypatch)
    with pytest.raises(SystemExit) as fault:
        ask(*words)
    assert fault.value.code == 2


def test_another_format_is_refused(folders: Path, tmp_path: Path) -> None:
    facts = json.loads((folders / "pairs" / "model.json").read_text(encoding="utf-8"))
    (tmp_path / "model.json").write_text(json.dumps({**facts, "format": 9}))
    with pytest.raises(ValueError, match="format 9, expected 1"):
        predict.load(tmp_path)
