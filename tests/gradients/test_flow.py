"""Gradients through time against autograd, differences and what is known of linear recurrences.

What a wrong version would get wrong: a step too many or too few, the mean over rows, an overflow,
the memory of an LSTM, the direction of an encoder, two equal characters taken for one.
"""

from __future__ import annotations

import copy
import json
import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from charseq.data.text.vocabulary import BOS, EOS
from charseq.gradients import flow as rooms
from charseq.gradients.flow import (
    END,
    PROBES,
    START,
    Flow,
    character_gradients,
    character_lines,
    draw,
    flow,
    jacobian,
    lines,
    log_norms,
    shown,
    terms,
    trained_flow,
)
from charseq.kernels.bptt import Trace
from charseq.models.cells import CELLS as TRAINED
from charseq.models.cells import Cell
from charseq.models.seq2seq import EncoderDecoder


class SigmoidCell(Cell, name="tanh"):
    """Sheet F's recurrence for autograd; one gate and one state, as tanh."""

    def forward(self, projected: Tensor, state: Tensor) -> Tensor:
        return torch.sigmoid(projected + state @ self.recurrent.T)


CELLS = {**TRAINED, "sigmoid": SigmoidCell}
NAMES = tuple(CELLS)
SIZE = 4


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(6)


def build_cell(name: str, recurrent: Tensor) -> Cell:
    """A cell whose weights are ``recurrent`` H GH and whose input is already projected."""
    wide = recurrent.shape[1]
    cell = CELLS[name](wide, SIZE).double()
    with torch.no_grad():
        cell.recurrent.copy_(recurrent.T)
        cell.input.copy_(torch.eye(wide))
        cell.bias.zero_()
    return cell


def by_autograd(cell: Cell, projected: Tensor, start: Tensor, last: Tensor) -> Tensor:
    """log10 of the norms, T+1, without any rescaling: one state after the other, each kept."""
    states = [start.clone().requires_grad_()]
    for given in projected:
        states.append(cell(given, states[-1]))
        states[-1].retain_grad()
    (states[-1][0] * last).sum().backward()
    norms = [state.grad.square().sum(dim=(0, 2)).sqrt() for state in reversed(states)]
    return torch.stack(norms).log10().mean(dim=1)


def close(one: Tensor, other: Tensor, within: float = 1e-8) -> None:
    torch.testing.assert_close(one, other, rtol=within, atol=within)


# --- against autograd


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 6])
def test_norms_are_those_of_autograd(name: str, steps: int) -> None:
    gates, kept = CELLS[name].gates, CELLS[name].states
    projected, recurrent = normal(2, steps, 3, gates * SIZE), normal(2, SIZE, gates * SIZE)
    start, last = normal(kept, 2, 3, SIZE), nn.functional.normalize(normal(3, SIZE), dim=1)
    trace = rooms._run(name, projected, recurrent, start)
    found = log_norms(name, trace, recurrent, last)
    assert found.shape == (2, steps + 1)
    for way in range(2):
        cell = build_cell(name, recurrent[way])
        close(found[way], by_autograd(cell, projected[way], start[:, way], last))


@pytest.mark.parametrize("name", NAMES)
def test_a_jacobian_is_that_of_one_step_of_the_first_row(name: str) -> None:
    gates, kept = CELLS[name].gates, CELLS[name].states
    projected, recurrent = normal(1, 5, 2, gates * SIZE), normal(1, SIZE, gates * SIZE)
    trace = rooms._run(name, projected, recurrent, normal(kept, 1, 2, SIZE))
    cell = build_cell(name, recurrent[0])
    for step in (1, 4):

        def take(state: Tensor, given: Tensor = projected[0, step - 1, :1]) -> Tensor:
            return cell(given, state.view(kept, 1, SIZE)).flatten()

        before = trace.states[:, 0, step - 1, 0].flatten()
        wanted = torch.autograd.functional.jacobian(take, before)
        close(jacobian(name, trace, recurrent, step), wanted)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [None, 0.8])
def test_terms_are_those_of_a_copy_of_the_weights_per_step(
    name: str, scale: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, seen = rooms._run, []

    def record(*given: Any) -> Trace:
        seen.append(given)
        return run(*given)

    monkeypatch.setattr(rooms, "_run", record)
    found = terms(name, scale=scale, steps=6, hidden=SIZE, input_scale=0.7, seed=3)
    ((_, projected, recurrent, state),) = seen
    losses = rooms._directions(6, SIZE, 3)
    cell = build_cell(name, recurrent[0])
    copies = [recurrent[0].T.clone().requires_grad_() for _ in range(6)]
    state = state[:, 0]
    wanted = torch.zeros(6, 6, dtype=torch.float64)
    for t in range(6):
        state = torch.func.functional_call(cell, {"recurrent": copies[t]}, (projected[0, t], state))
        loss = (state[0, 0] * losses[t]).sum()
        gradients = torch.autograd.grad(loss, copies[: t + 1], retain_graph=True)
        wanted[t, : t + 1] = torch.stack([gradient.norm() for gradient in gradients])
    close(found, wanted)
    assert bool((found[:, 0] == 0).all())  # h_0 is
    assert bool((found[1:, 1] > 0).all())


# --- what is known of linear recurrences


def at_rest(weights: Tensor, steps: int) -> tuple[Trace, Tensor]:
    """A tanh recurrence that stays at zero, where its Jacobian is W_h; H H -> trace, D H H."""
    recurrent = weights.T[None].contiguous()
    projected, start = weights.new_zeros(1, steps, 1, len(weights)), weights.new_zeros(1, 1, 1, 4)
    return rooms._run("tanh", projected, recurrent, start), recurrent


@pytest.mark.parametrize("radius", [0.6, 1.3])
def test_at_rest_tanh_grows_by_the_spectral_radius(radius: float) -> None:
    weights = normal(SIZE, SIZE)
    weights = weights + weights.T
    weights *= radius / float(torch.linalg.eigvalsh(weights).abs().max())
    trace, recurrent = at_rest(weights, 400)
    logs = log_norms("tanh", trace, recurrent, rooms._directions(1, SIZE, 1))[0]
    assert float(10 ** ((logs[400] - logs[300]) / 100)) == pytest.approx(radius, rel=1e-6)
    one = rooms._measure("tanh", ["x"], trace, recurrent, rooms._directions(1, SIZE, 1))[0]
    assert (one.radius, one.jacobian) == (pytest.approx(radius), pytest.approx(radius))


@pytest.mark.parametrize("scale", [3.0, 0.01])
def test_beyond_the_range_of_numbers_logarithms_go_on(scale: float) -> None:
    trace, recurrent = at_rest(scale * torch.eye(SIZE, dtype=torch.float64), 700)
    logs = log_norms("tanh", trace, recurrent, rooms._directions(1, SIZE, 1))[0]
    close(logs, torch.arange(701, dtype=torch.float64) * math.log10(scale))
    assert abs(float(logs[-1])) > 308  # 10^this is no double


@pytest.mark.parametrize("name", NAMES)
def test_five_hundred_steps_stay_finite(name: str) -> None:
    for one in flow([name], scales=[0.01, 3.0], steps=500, hidden=8, batch=2):
        assert len(one.logs) == 501
        assert all(map(math.isfinite, one.logs))


def test_where_nothing_arrives_it_says_so() -> None:
    one = flow(["tanh"], scales=[0.0], steps=4, hidden=SIZE)[0]
    assert one.logs == (0.0, -math.inf, -math.inf, -math.inf, -math.inf)
    assert (one.growth, one.verdict, one.radius, one.jacobian) == (0.0, "vanishes", 0.0, 0.0)
    assert one.to_json()["logs"] == [0.0, None, None, None, None]
    assert "0 at 4  vanishes" in lines([one])[1]


# --- what is drawn


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_orthogonal_blocks_or_as_training_starts(name: str) -> None:
    gates = CELLS[name].gates
    trace, recurrent = draw(name, [0.5, 2.0, None], (400, 2, 8), input_scale=0.2, seed=4)
    assert trace.states.shape == (CELLS[name].states, 3, 401, 2, 8)
    assert not bool(trace.states[:, :, 0].any())
    close(recurrent[1], 4 * recurrent[0])
    for block in recurrent[1].split(8, dim=1):
        close(block @ block.T, 4 * torch.eye(8, dtype=torch.float64))
    torch.manual_seed(4)
    fresh = CELLS[name](8, 8).double()
    assert torch.equal(recurrent[2], fresh.recurrent.detach().T)
    assert len(recurrent[0].unique()) == gates * 64  # each gate has a block of its own


def test_inputs_are_noise_of_the_scale_that_is_asked_for() -> None:
    trace, _ = draw("tanh", [0.0, None], (2000, 2, 8), input_scale=0.2, seed=4)
    given = trace.states[0, 0, 1:].atanh()
    assert float(given.std()) == pytest.approx(0.2, rel=0.02)
    assert abs(float(given.mean())) < 0.01
    first = draw("tanh", [0.0, None], (1, 100, 64), input_scale=0.2, seed=4)[0].states[0, 1, 1]
    assert float(first.atanh().std()) == pytest.approx(1.0, rel=0.05)
    # an LSTM's forget gate, the second, starts open: its bias is 1
    gates = draw("lstm", [0.0], (2000, 2, 8), input_scale=0.2, seed=4)[0].gates
    biases = [float(gates[..., i * 8 : (i + 1) * 8].logit().mean()) for i in (0, 1, 3)]
    assert biases == pytest.approx([0, 1, 0], abs=0.01)


def test_scales_share_their_random_numbers_and_leave_those_of_others_alone() -> None:
    before = torch.get_rng_state()
    trace, _ = draw("gru", [0.5, 2.0], (3, 2, 8), input_scale=0.2, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(trace.states[:, 0, 1], trace.states[:, 1, 1])  # h_0 = 0
    assert not torch.equal(trace.states[:, 0, 2], trace.states[:, 1, 2])
    small = {"cells": ["gru"], "steps": 5, "hidden": 8}
    assert flow(**small) == flow(**small)
    assert flow(**small) != flow(**small, seed=2)
    assert not torch.equal(terms("gru", steps=5), terms("gru", steps=5, seed=2))


def test_every_cell_and_scale_has_its_flow() -> None:
    found = flow(scales=[0.5, 2.0], steps=20, hidden=8)
    assert [one.cell for one in found] == [name for name in NAMES for _ in range(3)]
    assert [one.name for one in found] == ["0.5", "2", START] * 5
    radii = {one.name: one.radius for one in found if one.cell != "residual"}
    assert [radii["0.5"], radii["2"], radii[START]] == pytest.approx([0.5, 2, 1])
    told = json.loads(json.dumps([one.to_json() for one in found], allow_nan=False))
    assert told[0] == {
        "cell": "tanh",
        "name": "0.5",
        "radius": found[0].radius,
        "jacobian": found[0].jacobian,
        "growth": found[0].growth,
        "verdict": found[0].verdict,
        "logs": list(found[0].logs),
    }


def test_the_radius_of_a_gated_cell_is_its_candidate_block() -> None:
    for name, place in (("gru", 2), ("lstm", 2)):
        _, recurrent = draw(name, [None], (3, 1, 8), input_scale=0.1, seed=1)
        recurrent[0, :, place * 8 : (place + 1) * 8] *= 3
        trace = rooms._run(
            name,
            normal(1, 2, 1, recurrent.shape[-1]),
            recurrent,
            normal(CELLS[name].states, 1, 1, 8),
        )
        one = rooms._measure(name, ["x"], trace, recurrent, rooms._directions(1, 8, 1))[0]
        assert one.radius == pytest.approx(3)


def test_the_sheets_claims_as_far_as_they_hold() -> None:
    """Small weights let the gradient of tanh vanish, large ones explode; residual stays alive."""
    found = {(one.cell, one.name): one for one in flow(["tanh", "residual"], steps=300)}
    assert [found["tanh", s].verdict for s in ("0.5", "0.9", "1.5")] == [
        "vanishes", "vanishes", "explodes",
    ]  # fmt: skip
    assert found["tanh", "0.5"].growth < found["tanh", "0.9"].growth < 0.9
    for scale in ("0.5", "0.9", "1", "1.1", "1.5"):
        assert all(abs(log) < 1 for log in found["residual", scale].logs[:150])
        assert found["residual", scale].jacobian == pytest.approx(1, abs=0.05)
    # as charseq starts it, I + diag(tanh') W contracts instead
    assert found["residual", START].verdict == "vanishes"


def test_a_sigmoid_shrinks_by_at_least_four() -> None:
    """σ' ≤ 1/4, so an orthogonal W_hh times S keeps less than S/4 of a gradient at each step."""
    for one in flow(["sigmoid"], scales=[1.0, 3.9], steps=60, hidden=16):
        if one.name != START:
            assert one.growth < float(one.name) / 4
            assert one.verdict == "vanishes"
    still = flow(["sigmoid"], scales=[1.0], steps=60, hidden=16, input_scale=1e-9)[0]
    assert 0.23 < still.growth < 0.25  # states near the middle, where σ' is nearly 1/4


# --- a trained model


def build(**options: Any) -> EncoderDecoder:
    """A small model whose biases are not zero."""
    sizes: dict[str, Any] = {"sources": 9, "targets": 8, "embedding": 5, "hidden": SIZE}
    model = EncoderDecoder(**(sizes | options)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return model


SOURCE, TARGET = [4, 6, 4, 8, 5], [5, 7, 5]
ENDED = [4, 6, 4, EOS, 8, 5]
"""The same with an end before two features: what hard attention reads."""
KINDS: dict[str, dict[str, Any]] = {
    "soft": {"attention": True},
    # four ids to stay and four to go on: TARGET goes on three times
    "hard": {"attention": False, "pointer": True, "targets": 9},
    "none": {"attention": False},
}


def expected_flows(model: EncoderDecoder) -> dict[str, Tensor]:
    """log10 norms by name, from the equations of ``seq2seq`` and autograd."""
    model = copy.deepcopy(model).double()
    last, found, ends = rooms._directions(PROBES, SIZE, 1), {}, []

    def measured(name: str, cell: Cell, read: Tensor, start: Tensor) -> Tensor:
        many = start[:, None].expand(-1, PROBES, -1)
        projected = cell.project(read).detach()[:, None].expand(-1, PROBES, -1)
        found[name] = by_autograd(cell, projected, many.detach(), last)
        states, state = [], start[:, None]
        for given in cell.project(read)[:, None]:
            state = cell(given, state)
            states.append(state)
        return torch.stack(states)[:, :, 0]  # T K H

    ways = model.source_embedding[SOURCE]
    if model.pointer is not None:
        vectors = model.source_embedding[ENDED]
        ways = vectors[:4] + (vectors[4] + vectors[5]) / math.sqrt(2)
    for layer in range(model.encoder.layers):
        zero = normal(model.encoder.states, SIZE) * 0
        forward, backward = model.encoder.cells[2 * layer : 2 * layer + 2]
        ahead = measured(f"encoder {layer + 1} forward", forward, ways, zero)
        turned = measured(f"encoder {layer + 1} backward", backward, ways.flip(0), zero)
        ways = torch.cat([ahead[:, 0], turned[:, 0].flip(0)], dim=-1)
        ends.append(torch.cat([ahead[-1], turned[-1]], dim=-1))
    given = model.target_embedding[[BOS, *TARGET]] * math.sqrt(5)
    if model.pointer is not None:
        given = given + ways[: len(TARGET) + 1] @ model.pointer.input.weight.T
    for layer, end in enumerate(ends):
        start = end @ model.bridge.weight.T + model.bridge.bias
        given = measured(f"decoder {layer + 1}", model.decoder.cells[layer], given, start)[:, 0]
    return found


@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", TRAINED)
def test_a_models_recurrences_are_those_of_its_equations(name: str, layers: int, kind: str) -> None:
    model = build(cell=name, layers=layers, **KINDS[kind])
    expected = expected_flows(model)
    found = trained_flow(model, ENDED if kind == "hard" else SOURCE, TARGET)
    assert [one.name for one in found] == list(expected)
    for one in found:
        assert one.cell == name
        close(torch.tensor(one.logs, dtype=torch.float64), expected[one.name])
    decoder = model.decoder.cells[-1].recurrent.detach().double()
    place = 2 if CELLS[name].gates > 1 else 0
    block = decoder[place * SIZE : (place + 1) * SIZE]
    assert found[-1].radius == pytest.approx(float(torch.linalg.eigvals(block).abs().max()))


def test_looking_leaves_a_model_as_it_was() -> None:
    model = build(dropout=0.5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    twice = [trained_flow(model, SOURCE, TARGET) for _ in range(2)]
    assert twice[0] == twice[1]  # nothing is dropped
    close(*(character_gradients(model, SOURCE, TARGET) for _ in range(2)), within=0)
    assert model.training
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.requires_grad
        assert parameter.grad is None


def chances(model: EncoderDecoder, source: list[int]) -> Tensor:
    """log p of every symbol of TARGET and of its end."""
    given = torch.tensor([source]), torch.tensor([len(source)]), torch.tensor([[BOS, *TARGET]])
    logits = model(*given)[0].log_softmax(-1)
    return logits[range(len(TARGET) + 1), [*TARGET, EOS]]


@pytest.mark.parametrize("kind", KINDS)
def test_character_gradients_are_central_differences(kind: str) -> None:
    model = build(**KINDS[kind]).double()
    text = ENDED if kind == "hard" else SOURCE
    found = character_gradients(model, text, TARGET)
    assert found.shape == (len(TARGET) + 1, len(text))
    with torch.no_grad():
        for place, symbol in enumerate(text):
            # a symbol of its own for this place, so that it alone is moved; EOS is alone anyway
            own = EOS if symbol == EOS else len(model.source_embedding)
            source = [*text[:place], own, *text[place + 1 :]]
            moved = copy.deepcopy(model)
            vector = model.source_embedding[symbol]
            slopes = []
            for unit in torch.eye(5, dtype=torch.float64):
                sides = []
                for step in (1e-5, -1e-5):
                    rows = torch.cat([model.source_embedding, vector[None]])
                    rows[own] += step * unit
                    moved.source_embedding = nn.Parameter(rows)
                    sides.append(chances(moved, source))
                slopes.append((sides[0] - sides[1]) / 2e-5)
            close(found[:, place], torch.stack(slopes).norm(dim=0), within=1e-7)
    assert not torch.allclose(found[:, 0], found[:, 2])  # one symbol at two places


def test_a_text_without_symbols_is_refused() -> None:
    model = build()
    with pytest.raises(ValueError, match="without symbols"):
        character_gradients(model, [], TARGET)
    with pytest.raises(ValueError, match="without symbols"):
        trained_flow(model, [], TARGET)
    assert character_gradients(model, SOURCE, []).shape == (1, 5)
    assert len(trained_flow(model, [4], [])) == 3


# --- lines for people


HEADED = ["farthest", "1.0e-400 at 20", "7.9e-1 at 100", "3.2e+3 at 1"]


def test_the_table_of_flows() -> None:
    steps = [-0.001 * n for n in range(101)]
    table = lines(
        [
            Flow("tanh", "0.5", 0.5, 0.496, (0.0, *(-400.0 + 4 * n for n in range(-19, 1)))),
            Flow("gru", "encoder 1 forward", 12.25, 1.0, tuple(steps)),
            Flow("lstm", START, 1.0, 1.1, (0.0, 3.5)),
        ]
    )
    cells = [[cell.strip() for cell in re.split(r"\s{2,}", line)] for line in table[:4]]
    assert cells == [
        ["cell", "weights", "radius", "one step", "growth", "at 1", "at 10", "at 50", "farthest"],
        ["tanh", "0.5", "0.500", "0.496", "0.0000", "1.0e-476", "1.0e-440", "1.0e-400 at 20",
         "vanishes"],
        ["gru", "encoder 1 forward", "12.250", "1.000", "0.9977", "1.0e+0", "9.8e-1", "8.9e-1",
         "7.9e-1 at 100", "holds"],
        ["lstm", "start", "1.000", "1.100", "3162.2777", "3.2e+3", "3.2e+3 at 1", "explodes"],
    ]  # fmt: skip
    ends = [line.index(cell) + len(cell) for line, cell in zip(table, HEADED, strict=False)]
    assert len(set(ends)) == 1  # one column, right-aligned
    assert all(len(line) <= 100 for line in table[4:])


@pytest.mark.parametrize(
    ("log", "verdict"),
    [(-3.01, "vanishes"), (-2.99, "holds"), (2.99, "holds"), (3.01, "explodes")],
)
def test_a_verdict_is_about_the_farthest_step(log: float, verdict: str) -> None:
    one = Flow("tanh", "1", 1.0, 1.0, (0.0, 9.0, log))
    assert one.verdict == verdict
    assert one.growth == pytest.approx(10 ** (log / 2))


def test_the_table_of_characters_is_in_percent_of_its_rows() -> None:
    gradients = torch.tensor([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [3e9, 1e9, 0.0]])
    assert character_lines(gradients, ["a", " ", "語"], ["x", "y"]) == [
        "        a   ␣  語",
        "    x  25  50  25",
        "    y   0   0   0",
        "<end>  75  25   0",
    ]


def test_a_wide_table_is_cut_into_blocks() -> None:
    inputs = [chr(97 + i % 26) for i in range(60)]
    table = character_lines(torch.rand(2, 60), inputs, ["x"])
    assert max(map(len, table)) <= 100
    heads = [line.split() for line in table if line and "x" not in line[:5] and END not in line]
    assert [head for block in heads for head in block] == inputs
    assert [line == "" for line in table] == [False] * 3 + ([True] + [False] * 3) * 2
    numbers = [line.split()[1:] for line in table if line.startswith(END)]
    assert sum(int(number) for block in numbers for number in block) == pytest.approx(100, abs=20)


def test_columns_stand_below_each_other_whatever_the_script() -> None:
    inputs = ["日", "Ａ", "\u0301", "e\u0301", "\n", "ع", "\ue000", "<V;PST;3;SG>"]
    head, row, _ = character_lines(torch.ones(2, 8), inputs, ["한"])
    assert head.replace("\u200e", "").split() == [
        "日", "Ａ", "◌\u0301", "e\u0301", "U+000A", "ع", "U+E000", "<V;PST;…",
    ]  # fmt: skip
    assert "\u200eع\u200e" in head
    wide = {"日": 2, "Ａ": 2, "한": 2, "\u0301": 0, "\u200e": 0}
    assert sum(wide.get(c, 1) for c in head) == sum(wide.get(c, 1) for c in row)


def test_what_cannot_be_seen_is_shown_by_its_number() -> None:
    for hidden in ("\0", "\t", "\u200d", "\u00a0", "\U0010ffff", "\ud800"):
        assert shown(hidden) == f"U+{ord(hidden):04X}"
    assert shown("a b") == "a␣b"
    assert shown("\u093f") == "◌\u093f"
    assert shown("क\u093f") == "क\u093f"
    assert shown("語" * 9) == "語語語…"
