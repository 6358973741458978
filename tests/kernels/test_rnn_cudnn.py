"""Whole-sequence calls against the loop over steps: outputs, final states and gradients by value.

On a CPU torch answers the same calls by itself, so what is tested here is all but the library.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from charseq.kernels import rnn_cudnn
from charseq.kernels.cell_table import CELLS
from charseq.models.rnn import Recurrence

T, B, I, H = 6, 4, 5, 8  # noqa: E741
LENGTHS = torch.tensor([6, 3, 1, 4])
CUDNN = tuple(name for name, entry in CELLS.items() if entry.cudnn)


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's way is taken on a CPU as well."""
    monkeypatch.setattr(rnn_cudnn, "fits", lambda cell, _: rnn_cudnn.has_cell(cell))
    monkeypatch.setattr(rnn_cudnn, "number_format", lambda wanted: wanted)


def build(cell: str, **options: int | bool | float) -> Recurrence:
    torch.manual_seed(3)
    made = Recurrence(cell, I, H, **options).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made


def both(
    made: Recurrence,
    lengths: Tensor | None,
    initial: Tensor | None,
    monkeypatch: pytest.MonkeyPatch,
) -> list[list[Tensor]]:
    """Outputs before each row's end, final states, all gradients: by the loop, and not."""
    torch.manual_seed(4)
    inputs = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    wanted = [inputs, *made.parameters()]
    if initial is not None:
        wanted.append(initial)
    ends = torch.full((B,), T) if lengths is None else lengths
    inside = (torch.arange(T)[:, None] < ends)[:, :, None]
    found = []
    for fits in (lambda *_: False, lambda *_: True):
        monkeypatch.setattr(rnn_cudnn, "fits", fits)
        torch.manual_seed(5)
        outputs, final = made(inputs, lengths, initial)
        outputs = outputs * inside
        loss = (outputs * torch.randn_like(outputs)).sum() + (final * torch.randn_like(final)).sum()
        found.append([outputs, final, *torch.autograd.grad(loss, wanted)])
    return found


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CUDNN)
def test_rows_of_any_length_in_both_directions(
    cell: str, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a row's end the state is held, and no gradient comes from there."""
    loop, library = both(build(cell, layers=layers, bidirectional=True), LENGTHS, None, monkeypatch)
    for one, other in zip(loop, library, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cell", CUDNN)
def test_from_a_given_state(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = build(cell, layers=2)
    initial = torch.randn(2, made.states, B, H, dtype=torch.float64, requires_grad=True)
    loop, library = both(made, None, initial, monkeypatch)
    for one, other in zip(loop, library, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize("cell", CUDNN)
def test_weights_are_left_out_in_training_alone(cell: str) -> None:
    made = build(cell, recurrent_dropout=0.5)
    inputs = torch.randn(T, B, I, dtype=torch.float64)
    noisy = [made(inputs)[0] for _ in range(2)]
    assert not torch.equal(*noisy)
    made.eval()
    calm = [made(inputs)[0] for _ in range(2)]
    assert torch.equal(*calm)


def test_a_cpu_and_other_cells_take_the_loop() -> None:
    assert not rnn_cudnn.fits("gru", torch.zeros(1))
    assert rnn_cudnn.number_format(torch.float64) == torch.float64


def test_an_older_library_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: True)
    for version, low in ((90200, torch.float32), (91300, torch.bfloat16)):
        monkeypatch.setattr(torch.backends.cudnn, "version", lambda version=version: version)
        assert rnn_cudnn.number_format(torch.bfloat16) == low
