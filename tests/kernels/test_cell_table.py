"""A new cell through the doors of the package, with no fast path, from training to prediction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from charseq import config as settings
from charseq.data.text.vocabulary import BOS, PAD, UNK
from charseq.decoding import blocks, networks
from charseq.decoding.ensemble import direction_groups, join, member_of
from charseq.decoding.next_word_numpy import NumpyNextWord
from charseq.decoding.search import beam
from charseq.decoding.seq2seq_numpy import NumpySeq2Seq
from charseq.inference.predictor import load
from charseq.kernels import cell_table, library, rnn_cudnn, rnn_fused, rnn_native
from charseq.kernels.bptt import RECURRENCES
from charseq.models import cells
from charseq.models.factory import build
from charseq.models.rnn import Recurrence
from charseq.training.train import train

WORDS = [a + b + c for a in "abc" for b in "abcd" for c in "abcd"]


def step_in_numpy(
    product: np.ndarray, projected: np.ndarray, state: np.ndarray, after: np.ndarray
) -> None:
    """The minimal gated unit in blocks; W_f is halved, as ``sigmoid`` expects."""
    size = state.shape[2]
    forget = product[:, :size] + projected[:, :size]
    blocks.sigmoid(forget)
    new = np.tanh(projected[:, size:] + forget * product[:, size:])
    after[0] = state[0] + forget * (new - state[0])


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> str:
    """The minimal gated unit (Zhou et al. 2016), f = σ(·), h = (1 - f) h + f tanh(p + f W h)."""
    monkeypatch.setitem(cell_table.CELLS, "mgu", cell_table.CellEntry(2, sigmoid_gates=(0,)))

    class MinimalGatedCell(cells.Cell, name="mgu"):
        def forward(self, projected: Tensor, state: Tensor) -> Tensor:
            hidden = state[0]
            input_forget, input_new = projected.chunk(2, dim=-1)
            from_forget, from_new = (hidden @ self.recurrent.T).chunk(2, dim=-1)
            forget = torch.sigmoid(input_forget + from_forget)
            new = torch.tanh(input_new + forget * from_new)
            return (hidden + forget * (new - hidden))[None]

    monkeypatch.setitem(cells.CELLS, "mgu", MinimalGatedCell)
    monkeypatch.setitem(blocks.STEPS, "mgu", step_in_numpy)
    # the list of settings' choices is for users, and the last door
    monkeypatch.setattr(settings, "CELLS", (*settings.CELLS, "mgu"))
    facts = settings.SETTINGS["cell"].metadata
    choices = {**facts, "choices": (*facts["choices"], "mgu")}
    monkeypatch.setattr(settings.SETTINGS["cell"], "metadata", MappingProxyType(choices))
    return "mgu"


@pytest.fixture(params=["off", "auto"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The compiled library switched off, or used where it is there."""
    monkeypatch.setenv(library.VARIABLE, request.param)
    library.find.cache_clear()
    yield request.param
    library.find.cache_clear()


def config_of(**changes: Any) -> settings.Config:
    small = {
        "cell": "mgu", "epochs": 30, "threads": 1, "device": "cpu", "precision": "float32",
        "hidden": 16, "embedding": 8, "batch_size": 8, "evaluations": 2, "learning_rate": 0.02,
        "dropout": 0.0, "task": "pairs", "attention": "soft", "beam": 2,
    }  # fmt: skip
    return settings.configure(small | changes)


def data_in(folder: Path) -> Path:
    folder.mkdir()
    for name, words in (("train", WORDS[:40]), ("dev", WORDS[40:])):
        rows = "".join(f"{word}\t{word.upper()}\n" for word in words)
        (folder / f"{name}.tsv").write_text(rows, encoding="utf-8")
    return folder


@pytest.mark.parametrize("attention", ["soft", "hard"])
def test_a_new_cell_trains_saves_loads_and_predicts(
    cell: str, kernels: str, attention: str, tmp_path: Path
) -> None:
    data = data_in(tmp_path / "data")
    train(data, run=tmp_path / "run", config=config_of(attention=attention))
    model: Any = load(tmp_path / "run")
    assert model.config.cell == cell
    assert isinstance(model.translator.direction_groups[0].network, NumpySeq2Seq)
    found = model.predict(WORDS)
    right = sum(one.prediction == word.upper() for one, word in zip(found, WORDS, strict=True))
    assert right > len(WORDS) * 0.8


def test_an_ensemble_mixes_a_new_cell_with_a_compiled_one(cell: str, kernels: str) -> None:
    config = config_of(ensemble=2, cells="mgu,gru", direction="forward", layers=1)
    made = [build(member_of(config, number), sources=9, targets=8) for number in range(2)]
    weights = [{name: value.numpy() for name, value in one.state_dict().items()} for one in made]
    (group,) = direction_groups(config, join(weights))
    assert [type(one) is NumpySeq2Seq for one in group.network.members] == [
        True,
        library.find() is None,
    ]
    (found,) = beam(group.network, group.network.start([[4, 5]]), [3], width=2)
    assert found


def test_a_new_cell_predicts_words(cell: str, kernels: str, tmp_path: Path) -> None:
    folder = tmp_path / "lines"
    folder.mkdir()
    for name in ("train", "dev"):
        (folder / f"{name}.txt").write_text("one two three four\n" * 20, encoding="utf-8")
    changes = {"task": "next-word", "min_count": 1, "epochs": 40}
    train(folder, run=tmp_path / "run", config=config_of(**changes))
    model: Any = load(tmp_path / "run")
    assert isinstance(model.network, NumpyNextWord)
    assert model.config.cell == cell
    assert [one.prediction for one in model.predict(["one two", "one two three"])] == [
        "three",
        "four",
    ]


@pytest.mark.parametrize("layers", [1, 2])
def test_a_new_cell_in_numpy_is_the_one_in_torch(cell: str, layers: int) -> None:
    torch.manual_seed(1)
    config = config_of(layers=layers)
    model = build(config, sources=9, targets=8).eval()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    network = networks.build("pairs", config, weights)
    state, inputs = network.start([[4, 5, 6], [7, 4, 8]]), np.array([[BOS, 5, 6], [BOS, 7, 4]])
    with torch.no_grad():
        source, lengths = torch.tensor([[4, 5, 6], [7, 4, 8]]), torch.tensor([3, 3])
        logits = model(source, lengths, torch.from_numpy(inputs))
    logits[..., [PAD, BOS, UNK]] = -torch.inf
    expected = logits.log_softmax(-1).numpy()
    for step in range(3):
        logs, state = network.step(inputs[:, step], state)
        np.testing.assert_allclose(logs, expected[:, step], rtol=0, atol=1e-5)


def test_a_new_cell_has_dropout_of_its_recurrent_weights(cell: str) -> None:
    torch.manual_seed(1)
    layer, inputs = Recurrence(cell, 3, 8, recurrent_dropout=0.5), torch.randn(4, 2, 3)
    first, second = layer(inputs)[0], layer(inputs)[0]
    assert not torch.equal(first, second)
    first.sum().backward()
    assert float(layer.cells[0].recurrent.grad.abs().sum()) > 0
    layer.eval()
    assert torch.equal(layer(inputs)[0], layer(inputs)[0])


def test_no_fast_path_takes_a_cell_that_it_does_not_have(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cell not in RECURRENCES
    state = torch.zeros(1, 1, 2, 8)
    assert not rnn_native.fits(cell, state, torch.zeros(3, 2, 4))
    assert not rnn_cudnn.has_cell(cell)
    monkeypatch.setattr(rnn_fused, "is_installed", lambda: True)
    monkeypatch.setattr(rnn_fused, "shared", lambda _: rnn_fused.SHARED)
    assert not rnn_fused.fits(cell, 8, 4096, torch.device("cuda"), torch.bfloat16)
    with pytest.raises(ValueError, match="has no cell mgu"):
        library.number_of(cell)
    with pytest.raises(ValueError, match="no Triton kernel of the cell mgu"):
        rnn_fused.plan(cell, 16, 1, 8, processors=1, shared_memory=rnn_fused.SHARED)


def test_the_tables_have_the_cells_that_users_can_set() -> None:
    assert tuple(cell_table.CELLS) == tuple(cells.CELLS) == settings.CELLS
    assert set(RECURRENCES) == set(blocks.STEPS) == set(cell_table.CELLS)
    for name, kind in cells.CELLS.items():
        assert (kind.gates, kind.states) == cell_table.CELLS[name][:2]
