"""The encoder-decoder of sheet E from its equations, and what may not change an answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from charseq.data.batches import pad
from charseq.data.text.vocabulary import EOS
from charseq.models import seq2seq
from charseq.models.cells import CELLS
from charseq.models.rnn import unroll_cell
from charseq.models.seq2seq import EncoderDecoder

NAMES = tuple(CELLS)
TEXTS = [[4, 5, 6], [7, 4, 4, 8, 5, 9, 6], [9], [6, 8, 7, 5]]
INPUTS = [[1, 4, 5], [1, 6], [1, 5, 5, 4, 6, 4], [1]]
# of six symbols: 6 + k writes k and goes on, 12 only goes on; behind a text's end, its features
FEATURES = [[7, 9], [4], [9, 5, 9], []]
WALKS = [[1, 4, 11, 12, 10], [1, 10, 5], [1, 5, 4, 12, 5, 4], [1]]
KINDS: dict[str, dict[str, Any]] = {
    "soft": {"attention": True},
    "hard": {"attention": False, "pointer": True, "targets": 13},
    "none": {"attention": False},
    "prior": {
        "attention": False, "pointer": True, "targets": 13, "prior": torch.randn(10, 13) * 2,
    },
}  # fmt: skip

each_kind = pytest.mark.parametrize("kind", KINDS)


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


def given_to(model: EncoderDecoder, row: int) -> tuple[list[int], list[int]]:
    """A text and what is written for it."""
    if model.pointer is None:
        return TEXTS[row], INPUTS[row]
    return [*TEXTS[row], EOS, *FEATURES[row]], WALKS[row]


def run(model: EncoderDecoder, rows: list[int], *, extra: int = 0, more: int = 0) -> list[Tensor]:
    """Logits T V of some of ``TEXTS`` in one batch, each cut at its own end."""
    texts, written = zip(*[given_to(model, row) for row in rows], strict=True)
    source = torch.from_numpy(pad([np.array(text) for text in texts]))
    inputs = torch.from_numpy(pad([np.array(ids) for ids in written]))
    source = nn.functional.pad(source, (0, extra))
    inputs = nn.functional.pad(inputs, (0, more))
    lengths = torch.tensor([len(text) for text in texts])
    logits = model(source, lengths, inputs)
    assert logits.shape == (*inputs.shape, len(model.output_bias))
    return [logits[place, : len(ids)] for place, ids in enumerate(written)]


def close(ones: list[Tensor], others: list[Tensor], *, within: float = 1e-5) -> None:
    for one, other in zip(ones, others, strict=True):
        torch.testing.assert_close(one, other, rtol=within, atol=within)


def on_paper(model: EncoderDecoder, row: int) -> Tensor:
    """One text by the equations in the module's head, one vector at a time."""
    text, written = given_to(model, row)
    ways, ends = torch.stack([model.source_embedding[k] for k in text]), []
    if model.pointer is not None:
        end = text.index(EOS) + 1
        ways, behind = ways[:end], ways[end:]
        ways = ways + sum(behind) / math.sqrt(max(len(behind), 1))
    for layer in range(model.encoder.layers):
        both = []
        for direction in range(2):
            cell = model.encoder.cells[2 * layer + direction]
            read = ways.flip(0) if direction else ways
            states = unroll_cell(cell, read[:, None], read.new_zeros(cell.states, 1, 5))[:, :, 0]
            both.append((states[0].flip(0) if direction else states[0], states[:, -1]))
        ways = torch.cat([outputs for outputs, _ in both], dim=-1)
        ends.append(torch.cat([end for _, end in both], dim=-1))
    given = torch.stack([model.target_embedding[k] for k in written]) * math.sqrt(6)
    if model.pointer is not None:
        places = [sum(k >= 6 for k in written[: step + 1]) for step in range(len(written))]
        read = torch.stack([ways[place] for place in places])
        given = given + torch.stack([model.pointer.input.weight @ m for m in read])
    for layer, end in enumerate(ends):
        start = end @ model.bridge.weight.T + model.bridge.bias
        given = unroll_cell(model.decoder.cells[layer], given[:, None], start[:, None])[0, :, 0]
    matrix = model.target_embedding if model.output is None else model.output
    logits = []
    for step, hidden in enumerate(given):
        mixed = model.readout.weight @ hidden + model.readout.bias
        if model.pointer is not None:
            mixed = mixed + model.pointer.output.weight @ read[step]
        if model.attention is not None:
            scores = torch.stack([hidden @ (model.attention.key.weight @ m) for m in ways])
            shares = (scores / math.sqrt(5)).softmax(0)
            mixed = mixed + model.attention.value.weight @ (ways.T @ shares)
        likely = 0.0 if model.prior is None else model.prior[text[places[step]]]
        logits.append(matrix @ torch.tanh(mixed) + model.output_bias + likely)
    return torch.stack(logits)


@pytest.mark.parametrize(
    ("layers", "kind", "tied"),
    [
        (1, "soft", True),
        (2, "soft", False),
        (2, "none", True),
        (1, "hard", True),
        (2, "hard", False),
        (1, "prior", True),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_logits_and_gradients_are_those_of_the_equations(
    name: str, layers: int, kind: str, tied: bool
) -> None:
    model = build(cell=name, layers=layers, tied=tied, **KINDS[kind]).double()
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


@each_kind
@pytest.mark.parametrize("name", NAMES)
def test_padding_buckets_and_batches_of_one_give_the_same(name: str, kind: str) -> None:
    model = build(cell=name, layers=2, **KINDS[kind])
    with torch.no_grad():
        alone = [run(model, [row])[0] for row in range(4)]
        close(run(model, [0, 1, 2, 3]), alone)
        close(run(model, [0, 1, 2, 3], extra=3, more=2), alone)
        close(run(model, [3, 0]) + run(model, [2, 1]), [alone[row] for row in (3, 0, 2, 1)])


@each_kind
def test_the_whole_input_is_read_before_the_first_symbol_is_written(kind: str) -> None:
    model = build(**KINDS[kind])
    run(model, [1])[0][0].norm().backward()
    read = model.source_embedding.grad.abs().sum(1) > 0
    assert set(read.nonzero().flatten().tolist()) == set(given_to(model, 1)[0])


def test_a_step_sees_its_input_and_those_before_but_none_after() -> None:
    model = build(tied=False)
    run(model, [0])[0][1].sum().backward()
    seen = model.target_embedding.grad.abs().sum(1) > 0
    assert seen.nonzero().flatten().tolist() == sorted(INPUTS[0][:2])


@each_kind
def test_without_attention_only_the_final_state_crosses_over(kind: str) -> None:
    model = build(**KINDS[kind])
    with torch.no_grad():
        before = run(model, [1])[0]
        hook = model.encoder.register_forward_hook(
            lambda _, __, found: (torch.randn_like(found[0]), found[1])
        )
        assert torch.equal(run(model, [1])[0], before) is (kind == "none")
        hook.remove()
        model.encoder.register_forward_hook(lambda _, __, found: (found[0], -found[1]))
        assert not torch.allclose(run(model, [1])[0][0], before[0])


def test_features_have_no_order_but_a_number() -> None:
    model = build(**KINDS["hard"])
    with torch.no_grad():
        plain, one, other, twice = (
            model(
                torch.tensor([[4, EOS, *behind]]),
                torch.tensor([2 + len(behind)]),
                torch.ones(1, 1).long(),
            )
            for behind in ([], [5, 7], [7, 5], [5, 5, 7, 7])
        )
    assert torch.equal(one, other)
    assert not torch.allclose(one, plain)
    assert not torch.allclose(one, twice)


def test_attention_is_not_soft_and_hard_at_once() -> None:
    with pytest.raises(ValueError, match="soft or hard, not both"):
        build(attention=True, pointer=True, targets=13)
    with pytest.raises(ValueError, match="a prior is for hard attention"):
        build(prior=torch.zeros(10, 8))


def test_with_hard_attention_a_step_looks_at_its_place_alone() -> None:
    """Of the memory: the first state and its gates have seen everything."""
    model = build(**KINDS["hard"])
    held: list[Tensor] = []

    def hold(_: Any, __: Any, found: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        held.append(found[0].detach().requires_grad_())
        return held[-1], found[1].detach()

    model.encoder.register_forward_hook(hold)
    logits = run(model, [0])[0]  # 1 4 11 12 10
    for step, places in enumerate([[0], [0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]):
        (gradient,) = torch.autograd.grad(logits[step].norm(), held, retain_graph=True)
        assert (gradient[:, 0].abs().sum(-1) > 0).nonzero().flatten().tolist() == places


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


@each_kind
def test_the_model_drops_in_training_only_and_where_it_should(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(dropout=0.4, **KINDS[kind])
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
    steps, most = (8, 5) if kind in ("hard", "prior") else (7, 3)
    wanted = [(steps, 2, 6), (most, 2, 6), (steps, 2, 10), (most, 2, 6)]
    if kind == "none":
        del wanted[2]
    assert places == [(shape, 0.4) for shape in wanted]
    monkeypatch.undo()
    assert not torch.allclose(run(model, [0])[0], exact[0])
    model.dropout = 0.0
    close(run(model, [0, 1]), exact)
