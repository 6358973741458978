"""The next-word network from its equations, its loss and noise, and that all five kinds learn."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from charseq.data.batches import LineBatches, StreamBatches, pad
from charseq.data.text.vocabulary import BOS, EOS, PAD
from charseq.models import next_word
from charseq.models.device import seed_all
from charseq.models.loss import TensorBatch
from charseq.models.next_word import START, NextWord
from charseq.models.rnn import unroll_cell
from charseq.training.trainer import OptimizerSettings, Trainer

NAMES = ("tanh", "residual", "gru", "lstm", "mlp")
LINES = [[4, 5, 6], [7, 4, 4, 8, 5, 9, 6], [9], [6, 8, 7, 5], []]
V, E, H = 11, 6, 5
COUNTS = torch.tensor([0, 0, 5, 1, 9, 9, 4, 4, 2, 1, 0])
TRAITS = torch.tensor([[0, 1, 2, 3, 4, 5, 4, 5, 4, 5, 4], [6, 6, 6, 7, 7, 7, 8, 8, 8, 8, 9]])


def build(seed: int = 7, **options: Any) -> NextWord:
    """A small model at rest whose biases are not zero."""
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"symbols": V, "embedding": E, "hidden": H, "dropout": 0.0}
    model = NextWord(**(sizes | options)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return model


def given_of(
    lines: list[list[int]], *, extra: int = 0, weights: list[float] | None = None
) -> TensorBatch:
    """A batch of lines, with some columns of padding more than needed."""
    inputs = torch.from_numpy(pad([np.array([BOS, *line]) for line in lines]))
    labels = torch.from_numpy(pad([np.array([*line, EOS]) for line in lines]))
    inputs, labels = (torch.nn.functional.pad(ids, (0, extra)) for ids in (inputs, labels))
    given = torch.tensor(weights or [1.0] * len(lines))
    return TensorBatch(labels[:, :0], given.long() * 0, inputs, labels, given)


def segment(ids: Tensor, carried: Tensor | None = None) -> TensorBatch:
    """A piece of running text: the labels are the inputs, a symbol later."""
    rows = torch.ones(len(ids))
    return TensorBatch(ids[:, :0], rows.long() * 0, ids[:, :-1], ids[:, 1:], rows, carried)


def close(ones: Any, others: Any, *, within: float = 1e-10) -> None:
    for one, other in zip(ones, others, strict=True):
        torch.testing.assert_close(one, other, rtol=within, atol=within)


def on_paper(model: NextWord, line: list[int]) -> Tensor:
    """Logits T V of one line by the equations in the module's head, one vector at a time."""
    table = model.embedding
    if model.traits is not None:
        table = table + sum(model.traits[rows] for rows in TRAITS)
    vectors = [table[k] for k in [BOS, *line]]
    if model.cell == "mlp":
        before = [torch.zeros(E, dtype=torch.float64)] * (model.context - 1)
        known = before + vectors
        seen = [torch.cat(known[t : t + model.context]) for t in range(len(vectors))]
        hidden = [torch.tanh(model.hidden.weight @ x + model.hidden.bias) for x in seen]
    else:
        inputs = torch.stack(vectors)[:, None]
        for cell in model.recurrence.cells:
            inputs = unroll_cell(cell, inputs, inputs.new_zeros(cell.states, 1, H))[0]
        hidden = list(inputs[:, 0])
    matrix = table if model.output is None else model.output
    read = [model.readout.weight @ h + model.readout.bias for h in hidden]
    return torch.stack([matrix @ r + model.output_bias for r in read])


def loss_on_paper(model: NextWord, lines: list[list[int]], weights: list[float]) -> Tensor:
    """Σ -log p over symbols and ends, weighted by line, where only outcomes have a p."""
    total = torch.zeros(())
    for line, weight in zip(lines, weights, strict=True):
        shares = on_paper(model, line)[:, EOS:].log_softmax(-1)
        labels = torch.tensor([*line, EOS]) - EOS
        total = total - weight * shares[torch.arange(len(labels)), labels].sum()
    return total


# --- the equations


@pytest.mark.parametrize(
    ("layers", "context", "tied", "traits"),
    [(1, 3, True, None), (2, 1, False, None), (1, 2, True, TRAITS), (1, 1, False, TRAITS)],
)
@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradients_are_those_of_the_equations(
    name: str, layers: int, context: int, tied: bool, traits: Tensor | None
) -> None:
    sizes = {"layers": layers, "context": context, "tied": tied, "traits": traits}
    model = build(cell=name, **sizes).double()
    weights = [1.0, 0.5, 2.0, 1.0, 3.0]
    given = given_of(LINES, weights=weights)
    found = model.loss(given, smoothing=0.0)
    expected = loss_on_paper(model, LINES, weights)
    close([found.total], [expected])
    symbols = sum(w * (len(line) + 1) for w, line in zip(weights, LINES, strict=True))
    assert float(found.count) == pytest.approx(symbols)
    parameters = list(model.parameters())
    close(*(torch.autograd.grad(total, parameters) for total in (found.total, expected)))


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_the_equations_and_only_outcomes_have_any(name: str) -> None:
    model = build(cell=name, layers=2, traits=TRAITS).double()
    logits = model(given_of(LINES).inputs)
    assert logits.shape == (5, 8, V)
    assert bool((logits[..., [PAD, BOS]] == -math.inf).all())
    for row, line in enumerate(LINES):
        close([logits[row, : len(line) + 1, EOS:]], [on_paper(model, line)[:, EOS:]])


@pytest.mark.parametrize("samples", [0, V])
@pytest.mark.parametrize("name", NAMES)
def test_padding_and_neighbours_change_nothing(name: str, samples: int) -> None:
    model = build(cell=name, layers=2, samples=samples, counts=COUNTS).double()
    alone = [model.loss(given_of([line]), smoothing=0.1) for line in LINES]
    together = [model.loss(given_of(LINES, extra=extra), smoothing=0.1) for extra in (0, 3)]
    parameters = list(model.parameters())
    for found in together:
        close([found.total], [sum(one.total for one in alone)])
        assert float(found.count) == sum(len(line) + 1 for line in LINES)
    one, other = (torch.autograd.grad(found.total, parameters) for found in together)
    close(one, other)


def test_the_loss_is_that_of_the_logits() -> None:
    model, given = build().double(), given_of(LINES)
    kept = given.labels != PAD
    logits, labels = model(given.inputs)[kept][:, EOS:], given.labels[kept] - EOS
    for smoothing in (0.0, 0.3):
        expected = torch.nn.functional.cross_entropy(
            logits, labels, label_smoothing=smoothing, reduction="sum"
        )
        close([model.loss(given, smoothing=smoothing).total], [expected])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["lstm", "mlp"])
@pytest.mark.parametrize("traits", [None, TRAITS])
def test_a_sample_of_all_symbols_is_the_whole(name: str, tied: bool, traits: Tensor | None) -> None:
    whole = build(cell=name, tied=tied, traits=traits).double()
    sampled = build(cell=name, tied=tied, traits=traits, samples=V, counts=COUNTS).double()
    sampled.load_state_dict(whole.state_dict())
    found = [model.loss(given_of(LINES), smoothing=0.1) for model in (whole, sampled)]
    close([found[0].total, found[0].count], [found[1].total, found[1].count])
    close(
        *(
            torch.autograd.grad(one.total, list(model.parameters()))
            for one, model in zip(found, (whole, sampled), strict=True)
        )
    )


def test_a_smaller_sample_is_an_estimate_that_touches_few_symbols() -> None:
    torch.manual_seed(1)
    counts = torch.full((400,), 3)
    model = build(symbols=400, samples=20, counts=counts)
    exact = build(symbols=400).loss(given_of(LINES), smoothing=0.0).total.item()
    touched, values = set(), []
    for _ in range(200):
        model.zero_grad()
        found = model.loss(given_of(LINES), smoothing=0.0).total
        found.backward()
        rows = int((model.embedding.grad != 0).any(1).sum())
        assert 9 <= rows <= 9 + 45
        touched.add(rows)
        values.append(found.item())
    assert len(touched) > 5
    assert np.mean(values) == pytest.approx(exact, rel=0.05)


# --- running text


@pytest.mark.parametrize("context", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_two_pieces_with_what_is_carried_are_one_long_text(name: str, context: int) -> None:
    model = build(cell=name, layers=2, context=context).double()
    ids = torch.randint(EOS, V, (3, 10))
    whole = model.loss(segment(ids), smoothing=0.0)
    first = model.loss(segment(ids[:, :2]), smoothing=0.0)
    second = model.loss(segment(ids[:, 1:6], first.state), smoothing=0.0)
    third = model.loss(segment(ids[:, 5:], second.state), smoothing=0.0)
    parts = [first, second, third]
    close([whole.total], [sum(part.total for part in parts)])
    close([whole.state], [third.state])
    assert sum(float(part.count) for part in parts) == float(whole.count) == 27
    if name != "mlp" or context > 1:
        lost = model.loss(segment(ids[:, 5:]), smoothing=0.0)
        assert not torch.allclose(lost.total, third.total, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_logits_go_on_from_a_state(name: str) -> None:
    model = build(cell=name).double()
    ids = torch.randint(EOS, V, (2, 7))
    _, state = model.read(model.enter(ids[:, :4], model.embedding))
    close([model(ids)[:, 4:, EOS:]], [model(ids[:, 4:], state)[..., EOS:]])


# --- weights


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tied", [True, False])
def test_weights_have_the_names_and_shapes_that_others_read(name: str, tied: bool) -> None:
    gates = {"tanh": 1, "residual": 1, "gru": 3, "lstm": 4}
    wanted = {
        "embedding": (V, E),
        "readout.weight": (E, H),
        "readout.bias": (E,),
        "output_bias": (V,),
    }
    if not tied:
        wanted["output"] = (V, E)
    if name == "mlp":
        wanted |= {"hidden.weight": (H, 4 * E), "hidden.bias": (H,)}
    else:
        for layer, inputs in enumerate([E, H]):
            wide, cell = gates[name] * H, f"recurrence.cells.{layer}"
            wanted |= {f"{cell}.input": (wide, inputs), f"{cell}.bias": (wide,)}
            wanted[f"{cell}.recurrent"] = (wide, H)
    model = build(cell=name, tied=tied, layers=2, context=4, samples=5)
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == wanted


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tied", [True, False])
def test_every_weight_learns(name: str, tied: bool) -> None:
    model = build(cell=name, tied=tied, layers=2, context=3, traits=TRAITS)
    model.loss(given_of(LINES), smoothing=0.1).total.backward()
    for parameter in model.parameters():
        assert bool(torch.isfinite(parameter.grad).all())
        assert bool((parameter.grad != 0).any())


def test_weights_start_at_the_scales_they_are_used_at() -> None:
    torch.manual_seed(1)
    model = NextWord(symbols=900, embedding=64, hidden=30, tied=False)
    assert model.embedding.detach().std().item() == pytest.approx(START, rel=0.05)
    ids = torch.arange(900)[None]
    assert torch.equal(model.eval().enter(ids, model.embedding)[:, 0], model.embedding)
    perceptron = NextWord(symbols=9, cell="mlp", embedding=20, hidden=50, context=3)
    for weight in (model.output, model.readout.weight, perceptron.hidden.weight):
        bound = math.sqrt(6 / sum(weight.shape))
        assert 0.95 * bound < weight.detach().abs().max().item() <= bound
    for bias in (model.readout.bias, perceptron.hidden.bias, model.output_bias):
        assert not bool(bias.any())


def test_once_learnt_the_vectors_of_traits_can_be_added_to_those_of_symbols() -> None:
    parted = build(traits=TRAITS)
    weights = parted.state_dict()
    weights["embedding"] = parted.vectors().detach()
    assert weights.pop("traits").shape == (10, E)
    whole = build()
    whole.load_state_dict(weights)
    ids = given_of(LINES).inputs
    assert torch.equal(whole(ids), parted(ids))


def test_every_trait_has_a_vector() -> None:
    torch.manual_seed(2)
    model = NextWord(symbols=900, embedding=64, hidden=8, traits=torch.randint(300, (4, 900)))
    assert model.traits.shape == (300, 64)
    assert model.traits.detach().std().item() == pytest.approx(START, rel=0.05)
    assert model.vectors().detach().std().item() == pytest.approx(START * 5**0.5, rel=0.05)


def test_with_counts_the_first_guess_is_how_often_a_symbol_occurs() -> None:
    model = NextWord(symbols=V, embedding=E, hidden=H, counts=1000 * COUNTS)
    torch.nn.init.zeros_(model.readout.weight)
    shares = model(torch.tensor([[BOS, 5]]))[0].softmax(-1)
    expected = COUNTS / COUNTS.sum()
    torch.testing.assert_close(shares, expected.expand(2, -1), atol=1e-3, rtol=1e-3)


# --- noise


def test_noise_is_for_training_and_at_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(layers=2, dropout=0.4, embedding_dropout=0.2, recurrent_dropout=0.1)
    given = given_of(LINES[:3])
    exact = model.loss(given, smoothing=0.0).total
    assert (model.recurrence.dropout, model.recurrence.recurrent_dropout) == (0.4, 0.1)
    places = []

    def noted(values: Tensor, probability: float, *, training: bool) -> Tensor:
        places.append((tuple(values.shape), probability, training))
        return values

    monkeypatch.setattr(next_word, "variational_dropout", noted)
    model.train()
    model.recurrence.eval()
    model.embedding_dropout = 0.0
    assert torch.equal(model.loss(given, smoothing=0.0).total, exact)
    assert places == [((8, 3, size), 0.4, True) for size in (E, H)]
    monkeypatch.undo()
    assert not torch.allclose(model.loss(given, smoothing=0.0).total, exact)
    assert torch.equal(model.eval().loss(given, smoothing=0.0).total, exact)


def test_whole_symbols_are_dropped_from_the_input_wherever_they_stand() -> None:
    torch.manual_seed(2)
    model = build(symbols=300, embedding_dropout=0.25).train()
    ids = torch.randint(EOS, 300, (40, 50))
    vectors = model.enter(ids, model.embedding)
    whole = model.eval().enter(ids, model.embedding)
    factors = (vectors / whole).detach().transpose(0, 1)
    one = factors[..., 0].round(decimals=4)
    torch.testing.assert_close(factors, one[..., None].expand_as(factors), atol=1e-4, rtol=0)
    pairs = set(zip(ids.flatten().tolist(), one.flatten().tolist(), strict=True))
    assert len(pairs) == len(ids.unique()), "a symbol is dropped everywhere or nowhere"
    values = np.array([factor for _, factor in pairs])
    assert np.unique(values).tolist() == pytest.approx([0, 4 / 3], abs=1e-4)
    assert (values == 0).mean() == pytest.approx(0.25, abs=0.08)
    # another symbol, another batch, another draw
    again = model.train().enter(ids, model.embedding)
    assert not torch.equal(again, vectors)


@pytest.mark.parametrize("samples", [0, 4])
def test_a_dropped_symbol_is_dropped_as_an_input_only(samples: int) -> None:
    torch.manual_seed(3)
    model = build(tied=False, embedding_dropout=0.5, samples=samples, counts=COUNTS).train()
    given = given_of(LINES)
    dropped = 0
    for _ in range(30):
        model.zero_grad()
        model.loss(given, smoothing=0.0).total.backward()
        used = sorted(set(given.inputs.flatten().tolist()) - {PAD})
        dropped += int((model.embedding.grad[used] == 0).all(1).sum())
        assert bool((model.output.grad[[2, 4, 5, 6, 7, 8, 9]] != 0).any(1).all())
    assert dropped / (30 * len(used)) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("samples", [0, 6])
@pytest.mark.parametrize("name", NAMES)
def test_low_precision_rounds_products_and_keeps_sums(name: str, samples: int) -> None:
    sizes = {"symbols": 200, "embedding": 16, "hidden": 24, "counts": torch.ones(200).long()}
    model = build(cell=name, layers=2, samples=30 * samples, **sizes)
    given = given_of([torch.randint(4, 200, (9,)).tolist() for _ in range(12)])
    found = []
    for enabled in (False, True):
        torch.manual_seed(5)
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = model.loss(given, smoothing=0.1)
        loss.total.backward()
        gradient = torch.cat([value.grad.flatten() for value in model.parameters()])
        found.append((loss.total, loss.state, gradient))
    (exact, _, wanted), (rough, carried, gradient) = found
    assert rough.dtype == carried.dtype == gradient.dtype == torch.float32
    assert 0 < abs(rough.item() / exact.item() - 1) < 5e-3
    assert float((gradient - wanted).norm() / wanted.norm()) < 0.05


# --- learning

TEXT = """I love machine learning
you love machine learning too
we love old trains
they read machine code
old trains love no machine"""


@pytest.mark.parametrize("samples", [0, 8])
@pytest.mark.parametrize("name", NAMES)
def test_every_kind_learns_what_follows_i_love_machine(name: str, samples: int) -> None:
    lines = [line.split() for line in TEXT.split("\n")]
    words = sorted(set(itertools.chain(*lines)))
    rows = [[4 + words.index(word) for word in line] for line in lines]
    ids = np.array(list(itertools.chain(*rows)), dtype=np.int32)
    offsets = np.cumsum([0, *map(len, rows)])
    counts = torch.bincount(torch.from_numpy(ids).long(), minlength=4 + len(words))
    counts[EOS] = len(rows)
    seed_all(1)
    sizes: dict[str, Any] = {"embedding": 16, "hidden": 32, "samples": samples, "dropout": 0.1}
    model = NextWord(symbols=4 + len(words), cell=name, counts=counts, **sizes)
    kind = {"label_smoothing": 0.0, "learning_rate": 0.03, "weight_decay": 0.0}
    lines_of = LineBatches(ids, offsets, batch_size=5)
    trainer = Trainer(model, lines_of, OptimizerSettings(**kind), device=torch.device("cpu"))
    steps = list(trainer.steps(lambda step: step / 150))
    assert steps[-1].loss < 0.3 * steps[0].loss
    asked = torch.tensor([[BOS, *rows[0][:3]]])
    shares = model.eval()(asked)[0, -1].detach().softmax(-1)
    assert words[int(shares.argmax()) - 4] == "learning"
    assert float(shares.max()) > 0.8


@pytest.mark.parametrize("name", ["gru", "mlp"])
def test_running_text_is_learnt_across_lines(name: str) -> None:
    """Which line comes next is decided by the line before."""
    rows = [[4, 5], [6], [7, 8, 9], [5, 7]] * 30
    ids = np.array(list(itertools.chain(*rows)), dtype=np.int32)
    stream = StreamBatches(ids, np.cumsum([0, *map(len, rows)]), batch_size=4, steps=6)
    seed_all(1)
    model = NextWord(symbols=10, cell=name, embedding=8, hidden=24, context=4, dropout=0.0)
    recipe = OptimizerSettings(label_smoothing=0.0, learning_rate=0.02)
    trainer = Trainer(model, stream, recipe, device=torch.device("cpu"))
    losses = [step.loss for step in trainer.steps(lambda step: step / 100)]
    assert np.median(losses[-10:]) < 0.02  # nothing is known at the start of an epoch
