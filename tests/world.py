"""What several test files share: data, haste, and a command line whose rooms below are played.

Of the latter: what a command printed, and what it asked of the rooms.
"""

import importlib
import io
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charseq.cli import main
from charseq.inference import prediction
from charseq.inference.language_model import LanguageModel, LineScore

ROOT = Path(__file__).parent.parent


def write_capitals(folder: Path, **splits: Sequence[str]) -> Path:
    """A new folder of pairs, words and the same in capitals, with a file for each split."""
    folder.mkdir()
    for name, words in splits.items():
        text = "".join(f"{word}\t{word.upper()}\n" for word in words)
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")
    return folder


def hurry_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Databases do not wait for the disk."""
    connect = sqlite3.connect

    def open_hastily(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("PRAGMA synchronous=OFF")
        return connection

    monkeypatch.setattr(sqlite3, "connect", open_hastily)


@dataclass(frozen=True)
class Candidate:
    prediction: str
    probability: float


@dataclass(frozen=True)
class Answer:
    candidates: list[Candidate]
    unknown: list[str]
    truncated: bool
    origin: str = "model"

    @property
    def prediction(self) -> str:
        return self.candidates[0].prediction

    @property
    def probability(self) -> float:
        return self.candidates[0].probability


@dataclass
class Upper:
    """A model that writes capitals, knows no ß, and cuts what is longer than ten letters."""

    has_features: bool = False
    calls: list[tuple[list[str], int, int | None]] = field(default_factory=list)

    def predict(
        self, texts: Sequence[str], *, n: int = 1, beam: int | None = None, batch_size: int = 64
    ) -> list[Answer]:
        self.calls.append((list(texts), n, beam))
        assert "" not in texts
        return [
            Answer(
                [Candidate(text.upper()[:10] + "!" * rank, 0.5**rank) for rank in range(n)],
                ["ß"] if "ß" in text else [],
                truncated=len(text) > 10,
            )
            for text in texts
        ]


class Storyteller(LanguageModel):
    """A model of sentences with three words, whose lines are numbered; it knows no "xyzzy"."""

    words = ("tomorrow", "today", "the")

    def __init__(self) -> None:
        self.path = Path("runs/story")
        self.calls: list[tuple[str, list[str], dict[str, Any]]] = []
        self.units: Any = SimpleNamespace(unknown=self.unknown)

    @staticmethod
    def unknown(text: str) -> list[str]:
        return [word for word in dict.fromkeys(text.split()) if word.startswith("xyzzy")]

    def predict(self, texts: Sequence[str], **options: Any) -> list[Any]:
        self.calls.append(("predict", list(texts), options))
        return [self.answer_of(text, list(self.words), options["n"]) for text in texts]

    def complete(self, texts: Sequence[str], **options: Any) -> list[Any]:
        self.calls.append(("complete", list(texts), options))
        answers = []
        for text in texts:
            words = [word for word in self.words if word.startswith(text.split(" ")[-1])]
            answers.append(self.answer_of(text, words, options["n"]))
        return answers

    def generate(self, texts: Sequence[str], **options: Any) -> list[list[str]]:
        self.calls.append(("generate", list(texts), options))
        return [[f" and {row}." for row in range(options["count"])] for _ in texts]

    def score(self, texts: Sequence[str], **options: Any) -> list[LineScore]:
        self.calls.append(("score", list(texts), options))
        return [
            LineScore(-1.5 * len(text), len(text.split()) + 1, self.unknown(text)) for text in texts
        ]

    def answer_of(self, text: str, words: list[str], n: int) -> Any:
        best = [
            prediction.Candidate(word, 0.5 ** (rank + 1), -0.7 * (rank + 1))
            for rank, word in enumerate(words[:n])
        ]
        first = (best[0].prediction, best[0].probability) if best else ("", 0.0)
        unknown = self.unknown(text)
        return prediction.Prediction(text, *first, unknown, truncated=False, candidates=best)


@dataclass
class World:
    """What a command printed, and what it asked of the rooms below."""

    capture: pytest.CaptureFixture[bytes]
    patch: pytest.MonkeyPatch
    model: Any = field(default_factory=Upper)
    loaded: list[str | None] = field(default_factory=list)
    chosen: dict[str, Any] = field(default_factory=dict)
    """What the last model was loaded with."""

    def replace(self, name: str, **functions: Callable[..., Any]) -> None:
        module = SimpleNamespace(**functions)
        folder, _, room = f"charseq.{name}".rpartition(".")
        self.patch.setitem(sys.modules, f"charseq.{name}", module)
        self.patch.setattr(importlib.import_module(folder), room, module, raising=False)

    def load(self, run: str | None = None, **options: Any) -> Any:
        self.loaded.append(run)
        self.chosen = options
        return self.model

    def stdin(self, content: bytes, *, terminal: bool = False) -> None:
        raw = io.BytesIO(content)
        raw.isatty = lambda: terminal  # type: ignore[method-assign]
        self.patch.setattr(sys, "stdin", io.TextIOWrapper(raw))

    def run(self, *words: str) -> tuple[int, str, str]:
        code = main.run(words)
        out, err = self.capture.readouterr()
        return code, out.decode(), err.decode()


@pytest.fixture
def world(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> World:
    for name in list(os.environ):
        if name.startswith("CHARSEQ_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("charseq.inference.pool.cores", lambda: 1)
    result = World(capfdbinary, monkeypatch)
    result.replace("inference.predictor", load=result.load, fingerprint=repr)
    return result


def process(*words: str, code: str = "", **options: Any) -> subprocess.CompletedProcess[bytes]:
    """``charseq WORDS`` as a process of its own, after ``code``."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    program = f"import sys\n{code}\nfrom charseq.cli.main import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output="stdout" not in options, env=environment, check=False, **options,
    )  # fmt: skip


ECHO = """
import pathlib, types, charseq.inference
class Answer:
    def __init__(self, text):
        self.prediction, self.probability, self.unknown, self.truncated = text, 1.0, [], False
        self.origin = "model"
        self.candidates = [self]
class Model:
    has_features = False
    path = pathlib.Path("runs/echo")
    def predict(self, texts, **options):
        return [Answer(text) for text in texts]
room = types.SimpleNamespace(load=lambda run: Model(), fingerprint=lambda model: "echo")
charseq.inference.predictor = sys.modules["charseq.inference.predictor"] = room
"""
