"""A new network of pairs through the two registries, from training to prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from charseq.config import Config, configure
from charseq.data.batches import pad
from charseq.data.text.vocabulary import BOS, PAD, UNK
from charseq.decoding.ensemble import direction_groups_on
from charseq.decoding.networks import NETWORKS, Network, build
from charseq.decoding.next_word_numpy import NumpyNextWord
from charseq.decoding.seq2seq_native import NativeSeq2Seq
from charseq.decoding.seq2seq_numpy import NumpySeq2Seq, shapes_of
from charseq.errors import CheckpointError
from charseq.inference.loading import read_run
from charseq.inference.predictor import load
from charseq.kernels import library
from charseq.models import device
from charseq.models.factory import BUILDERS
from charseq.models.loss import Loss, TensorBatch, TrainableModel, cross_entropy
from charseq.training.train import train

WORDS = [first + second for first in "abcdef" for second in "abcdef" if first < second]


class Bigrams(TrainableModel):
    """Logits of the next symbol: a row for the symbol before plus a row for each source symbol."""

    def __init__(self, config: Config, *, sources: int, targets: int, prior: object) -> None:
        super().__init__()
        self.before = nn.Parameter(torch.zeros(targets, targets))
        self.source = nn.Parameter(torch.zeros(sources, targets))

    def loss(self, given: TensorBatch, *, smoothing: float) -> Loss:
        inside = (given.source != PAD)[..., None]
        sums = (self.source[given.source] * inside).sum(1, keepdim=True)
        logits = self.before[given.inputs] + sums
        weights = given.weights
        return Loss(*cross_entropy(logits, given.labels, weights=weights, smoothing=smoothing))


class State(NamedTuple):
    sums: np.ndarray


class NumpyBigrams:
    """The same, forward only."""

    actions = None

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.before, self.source = (weights[name].copy() for name in ("before", "source"))
        self.before[:, [PAD, BOS, UNK]] = -np.inf
        self.source[PAD] = 0

    def start(self, sources: list[list[int]]) -> State:
        ids = pad([np.asarray(one) for one in sources])
        return State(np.where((ids != PAD)[..., None], self.source[ids], 0).sum(axis=1))

    def step(self, symbols: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        logits = self.before[symbols] + state.sums
        most = logits.max(axis=1, keepdims=True)
        logs = logits - most - np.log(np.exp(logits - most).sum(axis=1, keepdims=True))
        return logs.astype(np.float32), state

    def select(self, state: State, rows: np.ndarray, width: int) -> State:
        return State(state.sums[rows])


@pytest.fixture
def bigrams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILDERS, "pairs", Bigrams)
    entry = Network(
        lambda settings, cell, symbols: {
            "before": (symbols["target"], symbols["target"]),
            "source": (symbols["source"], symbols["target"]),
        },
        lambda config, weights: NumpyBigrams(dict(weights)),
    )
    monkeypatch.setitem(NETWORKS, "pairs", entry)


def config_of(**changes: Any) -> Config:
    small = {
        "epochs": 60, "threads": 1, "device": "cpu", "precision": "float32", "batch_size": 4,
        "evaluations": 2, "learning_rate": 0.1, "weight_decay": 0.0, "task": "pairs",
        "attention": "none", "direction": "forward", "beam": 3, "ema": 0.9,
        "label_smoothing": 0.0,
    }  # fmt: skip
    return configure(small | changes)


def data_in(folder: Path) -> Path:
    folder.mkdir()
    for name in ("train", "dev"):
        rows = "".join(f"{word}\t{word.upper()}\n" for word in WORDS)
        (folder / f"{name}.tsv").write_text(rows, encoding="utf-8")
    return folder


def test_a_new_network_trains_saves_loads_and_predicts(bigrams: None, tmp_path: Path) -> None:
    """It has no compiled class, so NumPy predicts, whether the library is there or not."""
    train(data_in(tmp_path / "data"), run=tmp_path / "run", config=config_of())
    model: Any = load(tmp_path / "run")
    assert isinstance(model.translator.direction_groups[0].network, NumpyBigrams)
    found = [one.prediction for one in model.predict(WORDS)]
    assert sum(one == word.upper() for one, word in zip(found, WORDS, strict=True)) > 12


def test_weights_of_a_new_network_are_checked_by_its_shapes(
    bigrams: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(data_in(tmp_path / "data"), run=tmp_path / "run", config=config_of(epochs=1))
    assert set(read_run(tmp_path / "run").weights) == {"before", "source"}
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"'before' as .* expected nothing"):
        read_run(tmp_path / "run")


def test_a_network_without_a_gpu_class_stays_on_the_cpu(
    bigrams: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "choose_device", lambda name: torch.device("cpu"))
    weights = {"before": np.zeros((6, 6), np.float32), "source": np.zeros((5, 6), np.float32)}
    (group,) = direction_groups_on("cuda", config_of(), weights)
    assert isinstance(group.network, NumpyBigrams)


@pytest.mark.parametrize("found", [True, False])
def test_the_network_of_pairs_is_compiled_where_the_library_is(
    found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not found:
        monkeypatch.setattr(library, "find", lambda: None)
    shapes = NETWORKS["pairs"].shapes(
        config_of().to_json() | {"layers": 1}, "gru", {"source": 7, "target": 6}
    )
    assert shapes == shapes_of(
        cell="gru", embedding=128, hidden=256, layers=1, attention=False, tied=True,
        sources=7, targets=6,
    )  # fmt: skip
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    made = build("pairs", config_of(layers=1), weights)
    assert type(made) is (NumpySeq2Seq if library.find() is None else NativeSeq2Seq)


def test_the_network_of_words_is_in_numpy() -> None:
    config = configure({"task": "next-word", "cell": "lstm", "hidden": 4, "embedding": 3})
    settings = config.to_json() | {"layers": 1}
    shapes = NETWORKS["next-word"].shapes(settings, "lstm", {"units": 9})
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    made = build("next-word", configure({"layers": 1}, base=config), weights)
    assert isinstance(made, NumpyNextWord)


def test_both_registries_have_the_same_networks() -> None:
    assert BUILDERS.keys() == NETWORKS.keys() == {"pairs", "next-word"}
