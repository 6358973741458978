"""Every setting of a model reaches it, and no weight of it is idle."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from charseq.config import CELLS, configure, defaults
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import EOS
from charseq.errors import SettingError
from charseq.models.factory import build, build_next_word
from charseq.models.loss import TensorBatch
from charseq.models.next_word import NextWord
from charseq.models.seq2seq import EncoderDecoder


def made(**settings: object) -> EncoderDecoder:
    torch.manual_seed(1)
    small: dict[str, object] = {"embedding": 6, "hidden": 5, "layers": 1}
    return build(configure(small | settings), sources=9, targets=7)


def test_the_defaults() -> None:
    model = build(configure({"layers": 1}), sources=30, targets=20)
    assert model.source_embedding.shape == (30, 128)
    assert model.target_embedding.shape == (20, 128)
    assert (model.encoder.cell, model.encoder.hidden, model.encoder.layers) == ("gru", 256, 1)
    assert (model.encoder.directions, model.decoder.directions) == (2, 1)
    assert model.output is None
    assert model.dropout == 0.3


def test_every_setting_reaches_the_model() -> None:
    model = made(cell="lstm", layers=3, attention="none", tied=False, dropout=0.1)
    for recurrence in (model.encoder, model.decoder):
        assert (recurrence.cell, recurrence.hidden, recurrence.layers) == ("lstm", 5, 3)
    assert (len(model.encoder.cells), len(model.decoder.cells)) == (6, 3)
    assert model.source_embedding.shape == (9, 6)
    assert model.target_embedding.shape == (7, 6)
    assert model.attention is None
    assert model.pointer is None
    assert model.output is not None
    assert model.output.shape == (7, 6)
    assert model.dropout == 0.1
    soft, hard = (made(attention=kind) for kind in ("soft", "hard"))
    assert soft.attention is not None
    assert soft.pointer is None
    assert hard.attention is None
    assert hard.pointer is not None
    assert hard.pointer.actions == Actions(3)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("attention", "tied"), list(itertools.product(["hard", "soft", "none"], [True, False]))
)
def test_every_weight_learns(cell: str, attention: str, tied: bool) -> None:
    model = made(cell=cell, layers=2, attention=attention, tied=tied, dropout=0.0)
    source = torch.tensor([[4, 5, 6, EOS, 4], [7, 8, EOS, 0, 0]])
    logits = model(source, torch.tensor([5, 3]), torch.tensor([[1, 4], [1, 5]]))
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert bool(torch.isfinite(parameter).all()), name
        assert parameter.grad is not None, name
        assert bool((parameter.grad != 0).any()), name


def test_the_seed_decides_the_first_weights() -> None:
    one, other = made(), made()
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_the_cell_that_only_predicts_words_is_refused() -> None:
    with pytest.raises(SettingError, match=r"cell mlp predicts words, .* task='next-word'"):
        made(cell="mlp")


# --- next words

COUNTS = (0, 0, 3, 1, 5, 4, 2, 1)
TRAITS = ((0, 0, 0, 0, 1, 2, 1, 2), (3, 3, 3, 3, 4, 4, 5, 6))


def words(
    traits: Sequence[Sequence[int]] | None = TRAITS, samples: int = 0, **settings: object
) -> NextWord:
    torch.manual_seed(1)
    small: dict[str, object] = {"embedding": 6, "hidden": 5}
    return build_next_word(
        configure(small | settings, base=defaults("next-word")),
        counts=np.array(COUNTS),
        traits=None if traits is None else np.array(traits),
        samples=samples,
    )


def test_the_defaults_for_words() -> None:
    model = build_next_word(
        defaults("next-word"), counts=np.ones(30, np.int64), traits=None, samples=0
    )
    assert model.embedding.shape == (30, 256)
    assert (model.recurrence.cell, model.recurrence.hidden) == ("lstm", 512)
    assert model.recurrence.directions == 1
    assert model.output is None
    assert model.traits is None
    assert model.sampling is None


def test_every_setting_reaches_the_model_of_words() -> None:
    model = words(
        cell="gru", layers=3, tied=False, dropout=0.1, embedding_dropout=0.4,
        recurrent_dropout=0.7, samples=4,
    )  # fmt: skip
    recurrence = model.recurrence
    assert (recurrence.cell, recurrence.hidden, recurrence.layers) == ("gru", 5, 3)
    assert (model.dropout, recurrence.dropout) == (0.1, 0.1)
    assert (model.embedding_dropout, recurrence.recurrent_dropout) == (0.4, 0.7)
    assert model.embedding.shape == (8, 6)
    assert model.output is not None
    assert model.output.shape == (8, 6)
    assert model.traits is not None
    assert model.traits.shape == (7, 6)
    assert model.sampling is not None
    assert torch.equal(model.output_bias, torch.log1p(torch.tensor(COUNTS).float()))
    mlp = words(cell="mlp", context=4)
    assert mlp.hidden.weight.shape == (5, 4 * 6)
    assert not hasattr(mlp, "recurrence")


def test_a_vector_is_a_words_own_and_those_of_its_traits() -> None:
    model = words()
    assert model.traits is not None
    rows = torch.tensor(TRAITS)
    expected = model.embedding + model.traits[rows[0]] + model.traits[rows[1]]
    assert torch.allclose(model.vectors(), expected)


@pytest.mark.parametrize("cell", [*CELLS, "mlp"])
@pytest.mark.parametrize(("tied", "traits"), list(itertools.product([True, False], repeat=2)))
def test_every_weight_of_a_model_of_words_learns(cell: str, tied: bool, traits: bool) -> None:
    model = words(TRAITS if traits else None, cell=cell, tied=tied, dropout=0.0)
    ids = torch.tensor([[1, 4, 5, 6, 7], [1, 5, 6, 4, 3]])
    given = TensorBatch(
        source=torch.empty(2, 0, dtype=torch.int64),
        source_lengths=torch.zeros(2, dtype=torch.int64),
        inputs=ids,
        labels=torch.cat([ids[:, 1:], torch.full((2, 1), 2)], dim=1),
        weights=torch.ones(2),
    )
    model.loss(given, smoothing=0.0).total.backward()
    names = [name for name, _ in model.named_parameters()]
    assert ("traits" in names, "output" in names) == (traits, not tied)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool((parameter.grad != 0).any()), name


def test_a_number_of_layers_that_is_left_open_is_refused() -> None:
    """It is resolved before a network is built: a guess here could differ from what is saved."""
    with pytest.raises(SettingError, match="layers is 0, expected 1 or more"):
        made(layers=0)
    with pytest.raises(SettingError, match="layers is 0, expected 1 or more"):
        words(layers=0)
