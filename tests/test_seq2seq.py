"""The encoder-decoder of sheet E from its equations, and what may not change an answer."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from charseq import seq2seq
from charseq.batching import pad
from charseq.cells import CELLS
from charseq.recurrence import unroll_cell
from charseq.seq2seq import EncoderDecoder

NAMES = tuple(CELLS)
TEXTS = [[4, 5, 6], [7, 4, 4, 8, 5, 9, 6], [9], [6, 8, 7, 5]]
INPUTS = [[1, 4, 5], [1, 6], [1, 5, 5, 4, 6, 4], [1]]


def build(seed: int = 7, **options: Any) -> EncoderDecoder:
    """A small model, ready to be used, whose biases are not zero."""
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"sources": 10, "targets": 8, "embedding": 6, "hidden": 5}
    model = EncoderDecoder(**(sizes | options)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return model


def run(model: EncoderDecoder, rows: list[int], *, extra: int = 0, more: int = 0) -> list[Tensor]:
    """Logits T V of some of ``TEXTS`` in one batch, each cut at its own end."""
    source = torch.from_numpy(pad([torch.tensor(TEXTS[row]).numpy() for row in rows]))
    inputs = torch.from_numpy(pad([torch.tensor(INPUTS[row]).numpy() for row in rows]))
    source = nn.functional.pad(source, (0, extra))
    inputs = nn.functional.pad(inputs, (0, more))
    lengths = torch.tensor([len(TEXTS[row]) for row in rows])
    logits = model(source, lengths, inputs)
    assert logits.shape == (*inputs.shape, 8)
    return [logits[place, : len(INPUTS[row])] for place, row in enumerate(rows)]


def close(ones: list[Tensor], others: list[Tensor], *, within: float = 1e-5) -> None:
    for one, other in zip(ones, others, strict=True):
        torch.testing.assert_close(one, other, rtol=within, atol=within)


def on_paper(model: EncoderDecoder, row: int) -> Tensor:
    """One text by the equations in the module's head, one vector at a time."""
    ways, ends = torch.stack([model.source_embedding[k] for k in TEXTS[row]]), []
    for layer in range(model.encoder.layers):
        both = []
        for direction in range(2):
            cell = model.encoder.cells[2 * layer + direction]
            read = ways.flip(0) if direction else ways
            states = unroll_cell(cell, read[:, None], read.new_zeros(cell.kept, 1, 5))[:, :, 0]
            both.append((states[0].flip(0) if direction else states[0], states[:, -1]))
        ways = torch.cat([outputs for outputs, _ in both], dim=-1)
        ends.append(torch.cat([end for _, end in both], dim=-1))
    given = torch.stack([model.target_embedding[k] for k in INPUTS[row]]) * math.sqrt(6)
    for layer, end in enumerate(ends):
        start = end @ model.bridge.weight.T + model.bridge.bias
        given = unroll_cell(model.decoder.cells[layer], given[:, None], start[:, None])[0, :, 0]
    matrix = model.target_embedding if model.output is None else model.output
    logits = []
    for hidden in given:
        mixed = model.readout.weight @ hidden + model.readout.bias
        if model.attention is not None:
            scores = torch.stack([hidden @ (model.attention.key.weight @ m) for m in ways])
            shares = (scores / math.sqrt(5)).softmax(0)
            mixed = mixed + model.attention.value.weight @ (ways.T @ shares)
        logits.append(matrix @ torch.tanh(mixed) + model.output_bias)
    return torch.stack(logits)


@pytest.mark.parametrize(
    ("layers", "attention", "tied"), [(1, True, True), (2, True, False), (2, False, True)]
)
@pytest.mark.parametrize("name", NAMES)
def test_logits_and_gradients_are_those_of_the_equations(
    name: str, layers: int, attention: bool, tied: bool
) -> None:
    model = build(cell=name, layers=layers, attention=attention, tied=tied).double()
    logits = run(model, [0, 1, 2, 3])
    expected = [on_paper(model, row) for row in range(4)]
    close(logits, expected, within=1e-10)
    weights = [torch.randn_like(one) for one in logits]
    losses = [
        sum((one * weight).sum() for one, weight in zip(given, weights, strict=True))
        for given in (logits, expected)
    ]
    parameters = list(model.parameters())
    close(*(list(torch.autograd.grad(loss, parameters)) for loss in losses), within=1e-9)


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_padding_buckets_and_batches_of_one_give_the_same(name: str, attention: bool) -> None:
    model = build(cell=name, layers=2, attention=attention)
    with torch.no_grad():
        alone = [run(model, [row])[0] for row in range(4)]
        close(run(model, [0, 1, 2, 3]), alone)
        close(run(model, [0, 1, 2, 3], extra=3, more=2), alone)
        close(run(model, [3, 0]) + run(model, [2, 1]), [alone[row] for row in (3, 0, 2, 1)])


@pytest.mark.parametrize("attention", [True, False])
def test_the_whole_input_is_read_before_the_first_symbol_is_written(attention: bool) -> None:
    model = build(attention=attention)
    run(model, [1])[0][0].norm().backward()
    read = model.source_embedding.grad.abs().sum(1) > 0
    assert set(read.nonzero().flatten().tolist()) == set(TEXTS[1])


def test_a_step_sees_its_input_and_those_before_but_none_after() -> None:
    model = build(tied=False)
    run(model, [0])[0][1].sum().backward()
    seen = model.target_embedding.grad.abs().sum(1) > 0
    assert seen.nonzero().flatten().tolist() == sorted(INPUTS[0][:2])


@pytest.mark.parametrize("attention", [True, False])
def test_without_attention_only_the_final_state_crosses_over(attention: bool) -> None:
    model = build(attention=attention)
    with torch.no_grad():
        before = run(model, [1])[0]
        hook = model.encoder.register_forward_hook(
            lambda _, __, found: (torch.randn_like(found[0]), found[1])
        )
        assert torch.equal(run(model, [1])[0], before) is not attention
        hook.remove()
        model.encoder.register_forward_hook(lambda _, __, found: (found[0], -found[1]))
        assert not torch.allclose(run(model, [1])[0][0], before[0])


def test_tied_the_output_matrix_is_the_embedding() -> None:
    tied, untied = build(), build(tied=False)
    assert set(untied.state_dict()) - set(tied.state_dict()) == {"output"}
    hidden = {}
    for name, model in (("tied", tied), ("untied", untied)):
        run(model, [0])[0].square().sum().backward()
        hidden[name] = model.target_embedding.grad.abs().sum(1) > 0
    # as an input only the given symbols learn, as an output all do
    assert hidden["untied"].nonzero().flatten().tolist() == sorted(INPUTS[0])
    assert bool(hidden["tied"].all())


def test_embeddings_start_at_the_scales_they_are_used_at() -> None:
    model = build(sources=400, targets=400, embedding=64)
    assert float(model.source_embedding.detach().std()) == pytest.approx(1, rel=0.05)
    assert float(model.target_embedding.detach().std()) == pytest.approx(1 / 8, rel=0.05)


def test_other_weights_start_within_the_bound_of_their_size_and_biases_at_zero() -> None:
    torch.manual_seed(7)
    model = EncoderDecoder(sources=9, targets=40, embedding=30, hidden=20, tied=False)
    for weight in (model.bridge.weight, model.readout.weight, model.output):
        bound = math.sqrt(6 / sum(weight.shape))
        assert 0.97 * bound < float(weight.detach().abs().max()) <= bound
    for bias in (model.bridge.bias, model.readout.bias, model.output_bias):
        assert not bool(bias.any())


# --- dropout


@pytest.mark.parametrize("attention", [True, False])
def test_the_model_drops_in_training_only_and_where_it_should(
    attention: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(attention=attention, dropout=0.4)
    exact = run(model, [0, 1])
    places: list[tuple[tuple[int, ...], float]] = []

    class Recorded:
        """Notes what would be dropped and passes it on."""

        @staticmethod
        def apply(values: Tensor, probability: float) -> Tensor:
            places.append((tuple(values.shape), probability))
            return values

    monkeypatch.setattr(seq2seq, "Dropout", Recorded)
    close(run(model.train(), [0, 1]), exact)
    wanted = [(7, 2, 6), (3, 2, 6), *([(7, 2, 10)] if attention else []), (3, 2, 6)]
    assert places == [(shape, 0.4) for shape in wanted]
    monkeypatch.undo()
    assert not torch.allclose(run(model, [0])[0], exact[0])
    model.dropout = 0.0
    close(run(model, [0, 1]), exact)
