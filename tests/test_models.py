"""Every setting of a model reaches it, and no weight of it is idle."""

from __future__ import annotations

import itertools

import pytest
import torch

from charseq.config import CELLS, configure
from charseq.models import build
from charseq.seq2seq import EncoderDecoder


def made(**settings: object) -> EncoderDecoder:
    torch.manual_seed(1)
    small: dict[str, object] = {"embedding": 6, "hidden": 5}
    return build(configure(small | settings), sources=9, targets=8)


def test_the_defaults() -> None:
    model = build(configure({}), sources=30, targets=20)
    assert model.source_embedding.shape == (30, 128)
    assert model.target_embedding.shape == (20, 128)
    assert (model.encoder.cell, model.encoder.hidden, model.encoder.layers) == ("gru", 256, 1)
    assert (model.encoder.directions, model.decoder.directions) == (2, 1)
    assert model.attention is not None
    assert model.output is None
    assert model.dropout == 0.3


def test_every_setting_reaches_the_model() -> None:
    model = made(cell="lstm", layers=3, attention=False, tied=False, dropout=0.1)
    for recurrence in (model.encoder, model.decoder):
        assert (recurrence.cell, recurrence.hidden, recurrence.layers) == ("lstm", 5, 3)
    assert (len(model.encoder.cells), len(model.decoder.cells)) == (6, 3)
    assert model.source_embedding.shape == (9, 6)
    assert model.target_embedding.shape == (8, 6)
    assert model.attention is None
    assert model.output is not None
    assert model.output.shape == (8, 6)
    assert model.dropout == 0.1


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("attention", "tied"), list(itertools.product([True, False], repeat=2)))
def test_every_weight_learns(cell: str, attention: bool, tied: bool) -> None:
    model = made(cell=cell, layers=2, attention=attention, tied=tied, dropout=0.0)
    source = torch.tensor([[4, 5, 6], [7, 8, 0]])
    logits = model(source, torch.tensor([3, 2]), torch.tensor([[1, 4], [1, 5]]))
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert bool(torch.isfinite(parameter).all()), name
        assert parameter.grad is not None, name
        assert bool((parameter.grad != 0).any()), name


def test_the_seed_decides_the_first_weights() -> None:
    one, other = made(), made()
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
