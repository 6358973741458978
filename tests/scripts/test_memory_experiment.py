"""The memory experiment: its task, its equal terms, its starts, and that its table repeats."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import line_plots
import pytest
import torch
from click.testing import CliRunner, Result

SCRIPT = Path(__file__).parents[2] / "scripts" / "memory_experiment.py"
SMALL = ("--lags", "2,4", "--steps", "3", "--seeds", "2", "--parameters", "400")


@pytest.fixture(scope="module")
def memory() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("memory_experiment", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["memory_experiment"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["memory_experiment"]


@pytest.fixture
def run(memory: ModuleType) -> Iterator[Callable[..., Result]]:
    def invoke(*words: str) -> Result:
        return CliRunner().invoke(memory.main, words)

    yield invoke
    torch.set_flush_denormal(False)  # the command's, not the other tests'


# --- the task


@pytest.mark.parametrize("lag", [1, 3, 30])
def test_the_answer_is_the_first_symbol_and_comes_nowhere_else(
    memory: ModuleType, lag: int
) -> None:
    ids, answers = memory.draw(memory.stream(0, lag), 500, lag)
    assert ids.shape == (lag + 2, 500)
    assert torch.equal(ids[0], answers)
    assert set(answers.tolist()) == set(range(1, 9))
    assert set(ids[1:-1].flatten().tolist()) == set(range(9, 17))
    assert set(ids[-1].tolist()) == {17}


def test_each_purpose_has_its_own_stream(memory: ModuleType) -> None:
    def symbols(*parts: int) -> list[int]:
        return memory.draw(memory.stream(*parts), 50, 3)[0].flatten().tolist()

    assert symbols(1, 3, 1) == symbols(1, 3, 1)
    assert symbols(1, 3, 1) != symbols(1, 3, 2)
    assert symbols(1, 3, 1) != symbols(2, 3, 1)


# --- equal terms


@pytest.mark.parametrize("budget", [5000, 10_000, 20_000])
def test_the_cells_have_equally_many_parameters(memory: ModuleType, budget: int) -> None:
    for name, form in memory.FORMS.items():
        hidden = memory.choose_hidden(form.cell, budget)
        (weights,) = memory.Networks(form, hidden, 3, [0]).weights()
        count = sum(weight.numel() for weight in weights)
        assert count == memory.parameters(form.cell, hidden)
        assert abs(count - budget) <= 0.02 * budget, name


def test_the_hidden_size_is_the_nearest(memory: ModuleType) -> None:
    for budget in (memory.parameters("gru", 7) - 1, memory.parameters("gru", 7) + 1):
        assert memory.choose_hidden("gru", budget) == 7


def test_a_network_learns_the_same_alone_and_beside_others(memory: ModuleType) -> None:
    def weights(seeds: list[int], rates: list[float]) -> list[torch.Tensor]:
        networks = memory.Networks(memory.FORMS["gru"], 6, 3, seeds)
        memory.train(networks, lag=3, seeds=seeds, rates=rates, steps=6, batch=4)
        return networks.weights()[-1]

    alone, beside = weights([2], [0.01]), weights([1, 2], [0.003, 0.01])
    for one, other in zip(alone, beside, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    assert not torch.equal(alone[0], weights([1], [0.01])[0])


def test_an_exploded_gradient_stops_one_network_only(memory: ModuleType) -> None:
    networks = memory.Networks(memory.FORMS["tanh"], 5, 3, [1, 2])
    with torch.no_grad():
        networks.cells[0].bias.fill_(float("nan"))
    before = [[weight.clone() for weight in one] for one in networks.weights()]
    memory.train(networks, lag=3, seeds=[1, 2], rates=[0.1, 0.1], steps=3, batch=4)
    still, moved = (
        [torch.equal(*pair) for pair in zip(old, new, strict=True)]
        for old, new in zip(before, networks.weights(), strict=True)
    )
    assert still == [True, False, True, True, True]  # the bias, no number, equals nothing
    assert not any(moved)
    assert all(weight.isfinite().all() for weight in networks.weights()[1])


def test_the_best_rate_of_the_tuning_seed_is_used(memory: ModuleType) -> None:
    found = memory.measure(
        "residual", lag=3, seeds=2, rates=[100.0, 0.01], steps=8, budget=1000, batch=32
    )
    assert found.rate == 0.01
    assert found.tuning["100"] < found.tuning["0.01"]
    networks = memory.Networks(memory.FORMS["residual"], found.hidden, 3, [1, 2])
    memory.train(networks, lag=3, seeds=[1, 2], rates=[0.01] * 2, steps=8, batch=32)
    accuracies = [accuracy for accuracy, _ in memory.examine(networks, lag=3, seeds=[1, 2])]
    assert found.accuracies == accuracies
    assert found.lowest == min(accuracies) < found.mean < max(accuracies) == found.highest


@pytest.mark.parametrize("name", ["gru", "residual"])
def test_a_short_lag_is_learnt_and_the_same_twice(memory: ModuleType, name: str) -> None:
    def accuracies() -> list[float]:
        found = memory.measure(name, lag=3, seeds=2, rates=[0.02], steps=150, budget=1500, batch=32)
        return found.accuracies

    first = accuracies()
    assert min(first) > 0.9
    assert accuracies() == first


# --- the forms


def matrix(memory: ModuleType, name: str, hidden: int = 16) -> torch.Tensor:
    cell = memory.Networks(memory.FORMS[name], hidden, 100, [1]).cells[0]
    return cell.recurrent.detach()


@pytest.mark.parametrize(
    ("name", "shift", "size"),
    [
        ("tanh", 0.0, 1.0),
        ("residual", 0.0, 1.0),
        ("residual, normalised", 0.0, 1.0),
        ("residual, scaled", 0.0, 0.1),
        ("residual, negative start", -0.5, 0.1),
    ],
)
def test_orthogonal_starts(memory: ModuleType, name: str, shift: float, size: float) -> None:
    rotation = (matrix(memory, name) - shift * torch.eye(16)) / size
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(16), rtol=0, atol=1e-4)


def test_the_uniform_start_shrinks(memory: ModuleType) -> None:
    start = matrix(memory, "tanh, uniform start", 64)
    assert 0.95 / 8 < float(start.abs().max()) <= 1 / 8
    assert 0.4 < float(torch.linalg.eigvals(start).abs().max()) < 0.75


def test_the_scaled_start_is_a_smaller_step(memory: ModuleType) -> None:
    networks = memory.Networks(memory.FORMS["residual, scaled"], 16, 5, [1])
    cell, readout = networks.cells[0], networks.readouts[0]
    ids, _ = memory.draw(memory.stream(0), 4, 5)
    with torch.no_grad():
        readout.weight.copy_(torch.eye(16)[:9])
        state = torch.zeros(4, 16)
        for given in cell.project(memory.encode(ids, memory.SYMBOLS)):
            state = state + 0.1 * torch.tanh(given + state @ (10 * cell.recurrent).T)
        (logits,) = networks([ids])
    torch.testing.assert_close(0.1 * logits[:, 0], state[:, :9])


def test_the_normalised_state_has_one_size(memory: ModuleType) -> None:
    networks = memory.Networks(memory.FORMS["residual, normalised"], 9, 5, [1])
    with torch.no_grad():
        networks.readouts[0].weight.copy_(torch.eye(9))
        (logits,) = networks([memory.draw(memory.stream(0), 4, 5)[0]])
    torch.testing.assert_close(logits.square().mean(dim=-1), torch.ones(4, 1))


def test_the_chrono_start_keeps_up_to_the_lag(memory: ModuleType) -> None:
    def biases(name: str) -> tuple[torch.Tensor, ...]:
        cell = memory.Networks(memory.FORMS[name], 50, 100, [1]).cells[0]
        return tuple(cell.bias.detach().chunk(cell.gates))

    enter, forget, new, leave = biases("lstm, chrono start")
    assert torch.equal(enter, -forget)
    reset, update, fresh = biases("gru, chrono start")
    for keep in (forget, update):
        steps = keep.exp()
        assert 1 <= steps.min() < 10
        assert 90 < steps.max() <= 101
    assert not any(part.any() for part in (new, leave, reset, fresh))
    assert torch.equal(biases("lstm")[1], torch.ones(50))


# --- the gradient


@pytest.mark.parametrize("kind", ["tanh", "residual", "gru", "lstm"])
def test_what_is_left_of_a_gradient_is_autograds(memory: ModuleType, kind: str) -> None:
    cell = memory.Networks(memory.FORMS[kind], 6, 4, [1]).cells[0]
    random = memory.stream(1, 4, 3)
    given = cell.project(memory.encode(memory.draw(random, 3, 4)[0], memory.SYMBOLS)).detach()
    first = cell(given[0], torch.zeros(cell.states, 3, 6)).detach().requires_grad_()
    state = first
    for step in range(1, 6):
        state = cell(given[step], state)
    arriving = torch.empty(1, 3, 6, dtype=torch.float64).normal_(generator=random)[0].float()
    (found,) = torch.autograd.grad(state[0], first, arriving)
    expected = float(found.norm() / arriving.norm())
    assert memory.reach(cell, kind, lag=4, batch=3) == pytest.approx(expected, rel=1e-4)


def test_the_identity_keeps_a_gradient_and_the_uniform_start_does_not(memory: ModuleType) -> None:
    def left(name: str) -> float:
        form = memory.FORMS[name]
        cell = memory.Networks(form, 40, 100, [1]).cells[0]
        return memory.reach(cell, form.cell, lag=100, batch=4)

    assert left("tanh, uniform start") < 1e-15
    assert 1e-7 < left("tanh") < 1e-2
    assert left("residual") > 1
    assert 0.03 < left("lstm, chrono start") < 1


# --- the command


def test_the_json_says_everything(run: Callable[..., Result]) -> None:
    done = run(*SMALL, "--cells", "tanh,gru", "--json")
    found = json.loads(done.stdout)
    assert found["steps"] == 3
    assert found["threads"] == 1
    assert found["chance"] == 0.125
    assert [(row["form"], row["lag"]) for row in found["results"]] == [
        (name, lag)
        for lag in (2, 4)
        for name in ("tanh", "tanh, uniform start", "gru", "gru, chrono start")
    ]
    assert set(found["results"][0]) == {
        "form", "cell", "hidden", "parameters", "lag", "tuning", "rate", "accuracies",
        "mean", "lowest", "highest", "gradient", "seconds",
    }  # fmt: skip
    assert [json.loads(line) for line in done.stderr.splitlines()] == found["results"]


def test_the_table_is_the_same_twice(run: Callable[..., Result]) -> None:
    first = run(*SMALL, "--cells", "lstm").stdout
    lines = first.splitlines()
    lstms = ["| lstm", "| lstm, chrono start"]
    assert lines[0] == "| accuracy in %, mean (range) | hidden | parameters | lag 2 | lag 4 |"
    assert [line.split(" | ")[0] for line in lines[2:4]] == lstms
    assert lines[4] == ""
    assert lines[5] == "| gradient left | hidden | parameters | lag 2 | lag 4 |"
    assert [line.split(" | ")[0] for line in lines[7:]] == lstms
    assert run(*SMALL, "--cells", "lstm").stdout == first


def test_the_figure_is_drawn(run: Callable[..., Result], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="charseq draws with matplotlib")
    done = run(*SMALL, "--cells", "tanh", "-o", str(tmp_path / "memory.png"))
    assert done.exit_code == 0
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")


def test_the_figure_has_no_more_lines_than_styles(
    memory: ModuleType, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {}
    monkeypatch.setattr(line_plots, "series", lambda path, named, **words: drawn.update(named))
    done = run(*SMALL, "--cells", "tanh,residual", "--json", "-o", "memory.png")
    rows = json.loads(done.stdout)["results"]
    assert set(drawn) == {"tanh", "residual", "residual, negative start"}
    for name, (xs, ys) in drawn.items():
        assert xs == [2, 4]
        assert ys == [100 * row["mean"] for row in rows if row["form"] == name]
    assert sum(form.drawn for form in memory.FORMS.values()) == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lags", "10,x"), "'10,x' is no list of positive whole numbers"),
        (("--lags", "2.5"), "'2.5' is no list of positive whole numbers"),
        (("--rates", "0"), "'0' is no list of positive numbers"),
        (("--rates", "inf"), "'inf' is no list of positive numbers"),
        (("--cells", "tanh,elman"), "no cell elman"),
    ],
)
def test_a_wrong_option_is_named(
    run: Callable[..., Result], words: tuple[str, ...], said: str
) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
