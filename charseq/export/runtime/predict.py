"""An exported model and the program that asks it: ONNX graphs, texts -> answers.

::

    python predict.py -n 3 "3. März 2021"        # or texts on stdin, one a line

    import predict
    model = predict.load()                       # the folder of this file
    model.predict(["3. März 2021"], n=3)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charseq.export.runtime.joint_ngrams import Rescoring
from charseq.export.runtime.probabilities import (
    Answer,
    Calibration,
    Confidence,
    Memory,
    ScoredText,
    merge,
    rank,
    texts_of,
)
from charseq.export.runtime.search import beam
from charseq.export.runtime.text import EOS, PAD, SPECIALS, UNK, Tokenizer, Vocabulary, normalise

MODEL = "model.json"
FORMAT = 1
LENGTH_MARGIN = 1.25
MAX_ATTENDED = 2**28
FORBIDDEN = -math.inf


class Prediction(NamedTuple):
    """The answer to one text, with the next best."""

    source: str
    prediction: str
    probability: float
    candidates: list[Answer]
    """The best answers, best first."""
    unknown: list[str]
    """Symbols of the text that the model has never seen."""
    truncated: bool = False
    """Whether the answer was cut at the length limit."""
    familiarity: float | None = None
    """How much the text is like those of the training, 0 to 1."""

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        candidates = [one._asdict() for one in self.candidates]
        return {**self._asdict(), "candidates": candidates}


def session(content: bytes) -> Any:
    """An ONNX graph, ready to be run on one thread of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # weights of eight bits are unpacked once, when the graph is loaded
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class Graph:
    """A graph that is called with arrays by name, and returns arrays by name."""

    def __init__(self, content: bytes) -> None:
        self._session = session(content)
        self.inputs = [one.name for one in self._session.get_inputs()]
        self.outputs = [one.name for one in self._session.get_outputs()]

    def __call__(self, **arrays: Any) -> dict[str, Any]:
        """The outputs; arrays that the graph does not take are left out."""
        given = {name: arrays[name] for name in self.inputs}
        return dict(zip(self.outputs, self._session.run(None, given), strict=True))


class State(NamedTuple):
    """Rows of a search: states of the decoder, L K N H, and arrays of whole texts."""

    hidden: Any
    positions: Any
    texts: dict[str, Any]
    rows: int


class Network:
    """One encoder-decoder: the two graphs of a member."""

    def __init__(self, encoder: Graph, decoder: Graph) -> None:
        self.encoder = encoder
        self.decoder = decoder

    def start(self, sources: Sequence[Sequence[int]]) -> State:
        """The state of some texts, one row each."""
        lengths = np.array([len(ids) for ids in sources], dtype=np.int64)
        padded = np.full((len(sources), int(lengths.max())), PAD, dtype=np.int64)
        for row, ids in zip(padded, sources, strict=True):
            row[: len(ids)] = ids
        texts = self.encoder(source=padded, lengths=lengths)
        hidden = texts.pop("state")
        texts |= {"source": padded, "lengths": lengths}
        return State(hidden, np.zeros(len(sources), dtype=np.int64), texts, len(sources))

    def step(self, symbols: Any, state: State) -> tuple[Any, State]:
        """Log-probabilities of the symbol after ``symbols``, and the state after it."""
        found = self.decoder(
            symbols=symbols, state=state.hidden, positions=state.positions, **state.texts
        )
        positions = found.get("positions_after", state.positions)
        return found["log_probs"], state._replace(hidden=found["state_after"], positions=positions)

    def select(self, state: State, rows: Any, width: int) -> State:
        """The state of other rows, ``width`` for each text that stays."""
        count = len(state.texts["lengths"])
        kept = rows[::width] // (state.rows // count)
        texts = state.texts
        if len(kept) != count:
            texts = {name: array[kept] for name, array in texts.items()}
        return State(state.hidden[:, :, rows], state.positions[rows], texts, len(rows))


class Mean:
    """Several networks as one: the mean of their probabilities at each step."""

    def __init__(self, members: Sequence[Network]) -> None:
        self.members = members

    def start(self, sources: Sequence[Sequence[int]]) -> Any:
        """The states of all members."""
        return [member.start(sources) for member in self.members]

    def step(self, symbols: Any, state: Any) -> tuple[Any, Any]:
        """The logarithm of the mean, and the states of all members."""
        pairs = zip(self.members, state, strict=True)
        logs, states = zip(*(one.step(symbols, own) for one, own in pairs), strict=True)
        if len(logs) == 1:
            return logs[0], states
        total = np.logaddexp.reduce(np.stack(logs), axis=0) - np.float32(math.log(len(logs)))
        return np.minimum(total, 0.0), states

    def select(self, state: Any, rows: Any, width: int) -> Any:
        """The states of other rows."""
        pairs = zip(self.members, state, strict=True)
        return [member.select(own, rows, width) for member, own in pairs]


class PairsModel:
    """A model that rewrites texts."""

    def __init__(self, facts: Mapping[str, Any], graphs: Mapping[str, Graph]) -> None:
        self.facts = facts
        self.source, self.target = Vocabulary(facts["source"]), Vocabulary(facts["target"])
        self.groups = [
            (
                Mean([Network(graphs[encoder], graphs[decoder]) for encoder, decoder in members]),
                group["backward"],
                group["weight"],
            )
            for group in facts["groups"]
            for members in [group["members"]]
        ]
        self.writes = facts["writes"]
        """Symbols that actions write, with hard attention; else None."""
        given = facts["calibration"]
        self.calibration = Calibration(given) if given else None
        given = facts["confidence"]
        self.confidence = (
            Confidence(given, self.calibration) if given and self.calibration else None
        )
        self.memory = Memory(facts["memory"]) if facts["memory"] else None
        given = facts.get("ngrams")
        self.rescoring = Rescoring(given, self.writes) if given else None

    def predict(
        self, texts: Sequence[str], *, n: int = 1, width: int | None = None
    ) -> list[Prediction]:
        """One prediction for each text, in order, with up to ``n`` candidates each."""
        beams = max(self.facts["beam"] if width is None else width, n)
        return [self._predict(text, n, beams) for text in texts]

    def _predict(self, text: str, n: int, width: int) -> Prediction:
        parts = self._parts(text)
        outputs: list[ScoredText] = []
        for network, backward, weight in self.groups:
            found = self._search(network, parts, width, backward=backward)
            outputs += [one if weight == 1 else one.shared(weight) for one in found]
        familiarity, penalised, calibrated = None, 0.0, None
        if self.confidence is not None:
            familiarity, penalised = self.confidence.measures(parts[0])
        if self._encode(parts):
            calibrated = self.calibration and self.calibration.probabilities
            if self.confidence is not None:
                confidence = self.confidence
                calibrated = lambda scores: confidence.probabilities(penalised, scores)  # noqa: E731
        answers, truncated = rank(merge(outputs), calibrated)
        unknown = self.source.unknown(*parts)
        counts = self.memory.find(self.source.key(*parts)) if self.memory else {}
        if self.memory and counts:
            answers = self.memory.mixed(counts, answers[truncated:])
            truncated = False
            unknown = [] if answers[0].text in counts else unknown
        best = answers[0] if answers else Answer("", 0.0)
        return Prediction(
            text, best.text, best.probability, answers[:n], unknown, truncated, familiarity
        )

    def _parts(self, text: str) -> tuple[str, str]:
        """Source and features of one text, which has a tab between them."""
        if not self.source.features:
            return text, ""
        if text.count("\t") != 1:
            raise ValueError(f"'{text}': expected one tab, between source and features")
        source, _, features = text.partition("\t")
        return source, features

    def _encode(self, parts: tuple[str, str], *, backward: bool = False) -> list[int]:
        ids = self.source.encode(*parts, ended=self.writes is not None, backward=backward)
        return [] if ids == [EOS] else ids

    def _search(
        self, network: Mean, parts: tuple[str, str], width: int, *, backward: bool
    ) -> list[ScoredText]:
        """The outputs of one group for one text."""
        ids = self._encode(parts, backward=backward)
        if not ids:
            return [ScoredText("", 0.0)]

        def write(written: Sequence[int]) -> str:
            if self.writes is not None:
                symbols = [one % self.writes for one in written if one != 2 * self.writes]
                return self.target.decode(reversed(symbols) if backward else symbols)
            return self.target.decode(reversed(written) if backward else written)

        strength = self.facts["length_penalty"]
        (found,) = beam(
            network,
            network.start([ids]),
            [self._limit(ids)],
            width=width,
            length_penalty=strength,
            silent=None if self.writes is None else 2 * self.writes,
            empty=self.facts["empty"],
        )
        if self.rescoring is not None:
            found = self.rescoring.weighed(ids, found, backward=backward)
        return texts_of(found, write, strength)

    def _limit(self, ids: Sequence[int]) -> int:
        """The longest output of a source; with hard attention long enough to reach its end."""
        size = ids.index(EOS) if EOS in ids else len(ids)
        table = self.facts["limits"]
        seen = table[min(size, len(table) - 1)] or next(filter(None, table), 0)
        beyond = max(1.0, size / max(len(table) - 1, 1))
        limit = math.ceil(seen * beyond * LENGTH_MARGIN) + 4
        if self.writes is None:
            return min(limit, MAX_ATTENDED // max(size, 1))
        return max(limit, math.ceil(LENGTH_MARGIN * size))


class LanguageModel:
    """A model that predicts the next word; a symbol is a word."""

    def __init__(self, facts: Mapping[str, Any], graphs: Mapping[str, Graph]) -> None:
        self.facts = facts
        self.tokenizer = Tokenizer(facts["units"])
        self.reader, self.writer = (graphs[name] for name in facts["graphs"])
        vocabulary = self.tokenizer.vocabulary
        size = SPECIALS + len(vocabulary.symbols)
        self.words = [vocabulary.decode([number]) for number in range(size)]
        self._read = [normalise(word, vocabulary.form) for word in self.words]

    def predict(
        self, texts: Sequence[str], *, n: int = 1, complete: bool = False
    ) -> list[Prediction]:
        """The ``n`` likeliest words after each text, or those that its last word begins."""
        return [self._predict(text, n, complete=complete) for text in texts]

    def log_probs(self, ids: Sequence[int]) -> Any:
        """Log-probabilities of all symbols after some ids."""
        state, hidden = np.zeros(self.facts["state"], dtype=np.float32), None
        for symbol in [self.facts["begin"], *ids]:
            found = self.reader(symbols=np.array([symbol], dtype=np.int64), state=state)
            state, hidden = found["state_after"], found["hidden"]
        return self.writer(hidden=hidden)["log_probs"][0]

    def _predict(self, text: str, n: int, *, complete: bool) -> Prediction:
        prefix, words = "", self.tokenizer.words(text)
        ids = self.tokenizer.encode(text)
        if complete and text.strip() and not text[-1].isspace():
            prefix, words, ids = words[-1], words[:-1], ids[:-1]
        unknown = [word for word, number in zip(words, ids, strict=True) if number == UNK]
        logs = self.log_probs(ids)
        named = [one for one, word in enumerate(self._read) if word and word.startswith(prefix)]
        scores = logs[named].astype(np.float64)
        # given that the word begins so; without a prefix the end of the line is possible, too
        base = float(np.logaddexp.reduce(scores)) if complete and len(scores) else 0.0
        best = np.argsort(-scores, kind="stable")[:n].tolist()
        answers = [
            Answer(self.words[named[one]], math.exp(min(float(scores[one]) - base, 0.0)))
            for one in best
        ]
        first = answers[0] if answers else Answer("", 0.0)
        return Prediction(text, *first, answers, list(dict.fromkeys(unknown)))


def load(folder: str | Path | None = None) -> Any:
    """The model of a folder, by default the one of this file.

    Raises:
        ValueError: the folder holds other graphs than its ``model.json`` names.
    """
    path = Path(__file__).parent if folder is None else Path(folder)
    facts = json.loads((path / MODEL).read_text(encoding="utf-8"))
    if facts.get("format") != FORMAT:
        raise ValueError(f"{path / MODEL}: format {facts.get('format')}, expected {FORMAT}")
    contents = {name: (path / name).read_bytes() for name in facts["sha256"]}
    return build(facts, contents)


def build(facts: Mapping[str, Any], contents: Mapping[str, bytes]) -> Any:
    """The model of some graphs. Raises ValueError where one is not that of ``facts``."""
    for name, digest in facts["sha256"].items():
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise ValueError(f"{name} is not the graph that {MODEL} names: export the model again")
    graphs = {name: Graph(content) for name, content in contents.items()}
    return (PairsModel if facts["task"] == "pairs" else LanguageModel)(facts, graphs)


def main(words: Sequence[str] | None = None) -> int:
    """Answer the texts of a command line, or those on stdin, one a line."""
    parser = argparse.ArgumentParser(description="Answers of a model that charseq has exported.")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="by default, lines of stdin")
    parser.add_argument("-n", type=int, default=1, metavar="N", help="the N best answers")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--complete", action="store_true", help="finish the last word of a text")
    given = parser.parse_args(words)
    if given.n < 1:
        parser.error(f"-n is {given.n}, expected 1 or more")
    model = load()
    more: dict[str, Any] = {}
    if given.complete:
        if not isinstance(model, LanguageModel):
            parser.error("--complete is for models that predict words")
        more = {"complete": True}
    texts = given.texts or [line.decode().rstrip("\r\n") for line in sys.stdin.buffer]
    out = sys.stdout.buffer
    for line in _lines(model.predict(texts, n=given.n, **more), given.n, as_json=given.json):
        out.write(f"{line}\n".encode("utf-8", "backslashreplace"))
    return 0


def _lines(found: Iterable[Prediction], n: int, *, as_json: bool) -> Iterable[str]:
    """Answers as text: alone, or with source, rank and probability."""
    for one in found:
        if as_json:
            yield json.dumps(one.to_json(), ensure_ascii=False)
        elif n == 1:
            yield one.prediction
        else:
            for number, each in enumerate(one.candidates, 1):
                yield f"{one.source}\t{number}\t{each.text}\t{each.probability:.6f}"


if __name__ == "__main__":
    sys.exit(main())
