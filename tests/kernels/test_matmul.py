"""Products of bfloat16 against float64, at sizes that fill no tile and lie in every way."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from charseq.kernels import library, matmul
from charseq.kernels.matmul import Linear, linear, multiply

LIBRARY = library.find()
UNITS = [
    name
    for name in (() if LIBRARY is None else library.LEVELS[: LIBRARY.number + 1])
    if LIBRARY is not None and LIBRARY.library.charseq_has_bf16(library.LEVELS.index(name))
]
each_unit = pytest.mark.parametrize("unit", UNITS or [None], indirect=True)
SIZES = st.tuples(*[st.integers(1, 70)] * 3)
FORMATS = st.sampled_from([torch.float32, torch.bfloat16])


def lay(matrix: Tensor, way: str) -> Tensor:
    """The same values, otherwise in memory."""
    if way == "turned":
        return matrix.T.contiguous().T
    if way == "apart":
        return torch.cat([matrix, matrix + 1], dim=1)[:, : matrix.shape[1]]
    return matrix.contiguous()


WAYS = st.sampled_from(["whole", "turned", "apart"])


@pytest.fixture
def unit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every way in which this processor multiplies bfloat16: in pairs, on a matrix unit."""
    if LIBRARY is None or request.param is None:
        pytest.skip("the processor does not multiply bfloat16, or the library is not built")
    found = library.Kernels(LIBRARY.library, request.param)
    monkeypatch.setattr(library, "find", lambda: found)
    assert matmul.available()
    name: str = request.param
    return name


@each_unit
@pytest.mark.usefixtures("unit")
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 99), SIZES, st.tuples(FORMATS, FORMATS, FORMATS), st.tuples(WAYS, WAYS))
def test_a_product_is_that_of_the_rounded_values(
    seed: int,
    sizes: tuple[int, int, int],
    kinds: tuple[torch.dtype, torch.dtype, torch.dtype],
    ways: tuple[str, str],
) -> None:
    torch.manual_seed(seed)
    high, deep, wide = sizes
    left = lay(torch.randn(high, deep).to(kinds[0]), ways[0])
    right = lay(torch.randn(deep, wide).to(kinds[1]), ways[1])
    bias = torch.randn(wide) if seed % 2 else None
    room = torch.full((high + 2, wide + 3), 7.0).to(kinds[2])
    found = multiply(left, right, room[1 : high + 1, 1 : wide + 1], bias)
    wanted = left.bfloat16().double() @ right.bfloat16().double()
    wanted += 0 if bias is None else bias
    bound = 1e-5 if kinds[2] == torch.float32 else 0.01
    torch.testing.assert_close(found.double(), wanted, rtol=bound, atol=bound)
    room[1 : high + 1, 1 : wide + 1] = 7.0
    assert bool((room == 7.0).all()), "nothing is written beside it"


@each_unit
@pytest.mark.usefixtures("unit")
@pytest.mark.parametrize("shape", [(1, 1), (5, 33), (100, 16)])
def test_rows_are_added(shape: tuple[int, int]) -> None:
    whole = torch.randn(shape[0], shape[1] + 3).bfloat16()
    found = matmul.add_rows(whole[:, 1:-2])
    torch.testing.assert_close(found, whole.float().sum(0)[1:-2], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="cannot be added"):
        matmul.add_rows(whole.float())


@each_unit
@pytest.mark.usefixtures("unit")
def test_products_of_others_stay_right_beside_it() -> None:
    """torch uses the same unit, and both leave it set up for themselves."""
    left, right = torch.randn(64, 64).bfloat16(), torch.randn(64, 64).bfloat16()
    before = left @ right
    for _ in range(3):
        multiply(left[:5], right, torch.empty(5, 64))
        assert torch.equal(left @ right, before)


@each_unit
@pytest.mark.usefixtures("unit")
@pytest.mark.parametrize("shape", [(4, 6, 40), (33, 40)])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_layer_and_its_gradients_are_those_of_torch(
    shape: tuple[int, ...], kind: torch.dtype
) -> None:
    torch.manual_seed(1)
    weight, bias = torch.randn(50, 40, requires_grad=True), torch.randn(50, requires_grad=True)
    inputs = torch.randn(shape).to(kind).requires_grad_()
    arriving = torch.randn(*shape[:-1], 50)
    found = []
    for layer in (linear, torch.nn.functional.linear):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = layer(inputs, weight, bias)
        assert outputs.dtype == torch.bfloat16
        of_all = torch.autograd.grad((outputs * arriving).sum(), (inputs, weight, bias))
        assert [one.dtype for one in of_all] == [kind, torch.float32, torch.float32]
        found.append([outputs.detach(), *of_all])
    for one, other in zip(*found, strict=True):
        assert float((one - other).float().norm()) < 0.01 * float(other.float().norm())


@each_unit
@pytest.mark.usefixtures("unit")
def test_what_needs_no_gradient_gets_none() -> None:
    inputs, weight = torch.randn(3, 4), torch.randn(5, 4, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = linear(inputs, weight)
    outputs.sum().backward()
    assert inputs.grad is None
    assert weight.grad is not None


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 64, 100, 700])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_rows_are_shared_by_threads_each_once(
    rows: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    parts: list[tuple[int, int]] = []
    matmul.share(lambda *part: parts.append(part), rows)
    assert [row for part in sorted(parts) for row in range(*part)] == list(range(rows))
    assert all(first % 32 == 0 for first, _ in parts)
    assert len(parts) == min(threads, -(-rows // 32))


def test_what_a_part_raises_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(first: int, _end: int) -> None:
        if first:
            raise MemoryError("of the second")

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(MemoryError, match="of the second"):
        matmul.share(work, 64)


@each_unit
@pytest.mark.usefixtures("unit")
def test_a_second_thread_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "_SHARED", 0)
    left, right = torch.randn(130, 50), torch.randn(50, 40)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(multiply(left, right, torch.empty(130, 40)))
        found.append(multiply(right.T, left.T, torch.empty(40, 130)).T)
    assert all(torch.equal(one, found[0]) for one in found[::2])
    assert all(torch.equal(one, found[1]) for one in found[1::2])


def test_without_autocast_or_the_library_a_layer_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_given: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Linear, "apply", never)
    inputs, weight = torch.randn(3, 4), torch.randn(5, 4)
    assert torch.equal(linear(inputs, weight), torch.nn.functional.linear(inputs, weight))
    double = linear(inputs.double(), weight.double())
    assert double.dtype == torch.float64
    monkeypatch.setattr(library, "find", lambda: None)
    assert not matmul.available()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(inputs, weight).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="no compiled library"):
        multiply(inputs, weight.T, torch.empty(3, 5))


@pytest.mark.parametrize(
    ("left", "right", "out"),
    [
        (torch.ones(2, 3), torch.ones(4, 5), torch.ones(2, 5)),
        (torch.ones(2, 3), torch.ones(3, 5), torch.ones(5, 2)),
        (torch.ones(2, 3), torch.ones(3, 5), torch.ones(5, 2).T),
        (torch.ones(2, 3).double(), torch.ones(3, 5), torch.ones(2, 5)),
        (torch.ones(2, 3), torch.ones(3, 5), torch.ones(2, 5).double()),
        (torch.ones(1).expand(2, 3), torch.ones(3, 5), torch.ones(2, 5)),
    ],
)
def test_what_does_not_fit_is_refused(left: Tensor, right: Tensor, out: Tensor) -> None:
    with pytest.raises(ValueError, match=r"times|cannot be|no compiled"):
        multiply(left, right, out)
