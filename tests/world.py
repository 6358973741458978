"""Helpers of several test files: data, and a command line with fake models.

The fixture ``world`` runs a command line in this process, with the library below it replaced. It
keeps the output of the command and the arguments that the command passed down.
"""

import importlib
import io
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from charseq.cli import main
from charseq.inference.language_model import LanguageModel, LineScore
from charseq.inference.prediction import Candidate, Prediction

ROOT = Path(__file__).parent.parent


def write_capitals(folder: Path, **splits: Sequence[str]) -> Path:
    """A new folder of pairs, words and the same in capitals, with a file for each split."""
    folder.mkdir()
    for name, words in splits.items():
        text = "".join(f"{word}\t{word.upper()}\n" for word in words)
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")
    return folder


def prediction_of(
    source: str,
    *candidates: Candidate,
    unknown: Sequence[str] = (),
    truncated: bool = False,
) -> Prediction:
    """The prediction with these candidates, best first; with none, as language models answer."""
    best = candidates[0] if candidates else Candidate("", 0.0, -math.inf)
    return Prediction(
        source, best.prediction, best.probability, list(unknown), truncated, list(candidates)
    )


@dataclass
class Upper:
    """A model that writes capitals, knows no ß, and cuts what is longer than ten letters."""

    has_features: bool = False
    calls: list[tuple[list[str], int, int | None]] = field(default_factory=list)
    config: ClassVar[Any] = SimpleNamespace(beam=5)
    beam: ClassVar[int] = 5

    def predict(
        self, texts: Sequence[str], *, n: int = 1, beam: int | None = None, batch_size: int = 64
    ) -> list[Prediction]:
        self.calls.append((list(texts), n, beam))
        assert "" not in texts
        return [self.answer(text, n) for text in texts]

    @staticmethod
    def answer(text: str, n: int) -> Prediction:
        best = [
            Candidate(text.upper()[:10] + "!" * rank, 0.5**rank, -0.7 * rank) for rank in range(n)
        ]
        unknown = ["ß"] if "ß" in text else []
        return prediction_of(text, *best, unknown=unknown, truncated=len(text) > 10)


class LexiconModel:
    """A model with probabilities 0.6, 0.3 and 0.05; its lexicon has what begins with "o"."""

    has_features = False
    config = SimpleNamespace(beam=3)
    beam = 3

    def __init__(self) -> None:
        self.calls: list[tuple[int, int | None]] = []

    def predict(
        self, texts: list[str], *, n: int, beam: int | None, batch_size: int = 64
    ) -> list[Prediction]:
        self.calls.append((n, beam))
        return [self.answer(text, n) for text in texts]

    @staticmethod
    def answer(text: str, n: int) -> Prediction:
        first = Candidate(text.upper(), 0.6, -0.5, "lexicon" if text[0] == "o" else "model")
        others = [Candidate("b", 0.3, -1.0), Candidate("c", 0.05, -3.0)]
        return prediction_of(text, first, *others[: n - 1])


class Storyteller(LanguageModel):
    """A language model of three words, whose lines are numbered; it does not know "xyzzy"."""

    words = ("tomorrow", "today", "the")
    config: Any = SimpleNamespace(beam=2)
    beam = 2
    has_word_symbols = True

    def __init__(self) -> None:
        self.path = Path("runs/story")
        self.calls: list[tuple[str, list[str], dict[str, Any]]] = []
        self.tokenizer: Any = SimpleNamespace(unknown=self.unknown)

    @staticmethod
    def unknown(text: str) -> list[str]:
        return [word for word in dict.fromkeys(text.split()) if word.startswith("xyzzy")]

    def predict(self, texts: Sequence[str], **options: Any) -> list[Prediction]:
        self.calls.append(("predict", list(texts), options))
        return [self.answer_of(text, list(self.words), options["n"]) for text in texts]

    def complete(self, texts: Sequence[str], **options: Any) -> list[Prediction]:
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

    def answer_of(self, text: str, words: list[str], n: int) -> Prediction:
        best = [
            Candidate(word, 0.5 ** (rank + 1), -0.7 * (rank + 1))
            for rank, word in enumerate(words[:n])
        ]
        return prediction_of(text, *best, unknown=self.unknown(text))


@dataclass
class World:
    """The output of a command, and the arguments that it passed to the library."""

    capture: pytest.CaptureFixture[bytes]
    patch: pytest.MonkeyPatch
    model: Any = field(default_factory=Upper)
    loaded: list[str | None] = field(default_factory=list)
    chosen: dict[str, Any] = field(default_factory=dict)
    """The options that the last model was loaded with."""

    def replace(self, name: str, **functions: Callable[..., Any]) -> None:
        """Put a module with these functions in the place of ``charseq.NAME``."""
        module = SimpleNamespace(**functions)
        folder, _, last = f"charseq.{name}".rpartition(".")
        self.patch.setitem(sys.modules, f"charseq.{name}", module)
        self.patch.setattr(importlib.import_module(folder), last, module, raising=False)

    reason: str = ""
    """Why the model was chosen where none is named."""
    tasks: list[str | None] = field(default_factory=list)
    """The tasks that models were chosen for."""

    def choose(self, model: str | None = None, *, task: str | None = None) -> SimpleNamespace:
        self.tasks.append(task)
        return SimpleNamespace(path=model, reason="" if model else self.reason)

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
    monkeypatch.setattr("charseq.inference.hub.download.choose", result.choose)
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
import pathlib, types, charseq.inference.hub
from charseq.inference.prediction import Candidate, Prediction
class Model:
    has_features = False
    path = pathlib.Path("runs/echo")
    def predict(self, texts, **options):
        best = [Candidate(text, 1.0, 0.0) for text in texts]
        return [Prediction(one.prediction, one.prediction, 1.0, [], False, [one]) for one in best]
room = types.SimpleNamespace(load=lambda run: Model(), fingerprint=lambda model: "echo")
charseq.inference.predictor = sys.modules["charseq.inference.predictor"] = room
choice = types.SimpleNamespace(path=pathlib.Path("runs/echo"), reason="")
room = types.SimpleNamespace(choose=lambda model, task=None: choice)
charseq.inference.hub.download = sys.modules["charseq.inference.hub.download"] = room
"""
