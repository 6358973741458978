"""Device, threads and seeds."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
import torch

from charseq.errors import SettingError
from charseq.models.device import (
    Pace,
    choose_device,
    choose_precision,
    choose_threads,
    has_bfloat16,
    is_out_of_memory,
    limit_compiled_products,
    seed_all,
)

CPU = torch.device("cpu")


def drawn(*parts: int) -> int:
    seed_all(*parts)
    return int(torch.randint(2**62, ()))


def test_seeds_are_functions_of_every_part_and_their_order() -> None:
    sizes = (0, 1, 2, 3)
    parts = [p for size in sizes for p in itertools.product((0, 1, 2, 7, 2**40, -1), repeat=size)]
    assert len({drawn(*one) for one in parts}) == len(parts)
    assert [drawn(1, 2), drawn(1, 2)] == [drawn(1, 2)] * 2
    assert drawn(2**64 + 5) == drawn(5), "whole numbers of any size"


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == CPU
    with pytest.raises(SettingError, match="no CUDA device here: use device='cpu'"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == choose_device("cuda").type == "cuda"
    assert choose_device("cpu") == CPU


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        assert choose_threads(2) == torch.get_num_threads() == 2
        for cores, wanted in ((1, 1), (3, 3), (64, 4)):
            there = set(range(cores))
            monkeypatch.setattr(os, "sched_getaffinity", lambda _, there=there: there)
            assert choose_threads(0) == torch.get_num_threads() == wanted
            assert choose_threads(0, timed=False) == torch.get_num_threads() == 1
        assert choose_threads(3, timed=False) == torch.get_num_threads() == 3
        monkeypatch.delattr(os, "sched_getaffinity")
        assert choose_threads(0) == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("able", [True, False])
def test_precision_follows_the_processor(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: able)
    assert has_bfloat16(CPU) is able
    assert choose_precision("auto", CPU) == (torch.bfloat16 if able else torch.float32)
    assert choose_precision("float32", CPU) == torch.float32
    assert choose_precision("bfloat16", CPU) == torch.bfloat16


def test_torch_keeps_few_compiled_products(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.setenv(name, "")  # so that it is put back at the end
    monkeypatch.delenv(name)
    limit_compiled_products()
    assert 0 < int(os.environ[name]) < 100
    monkeypatch.setenv(name, "7")
    limit_compiled_products()
    assert os.environ[name] == "7", "a value of the user stays"


def test_precision_where_torch_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert choose_precision("auto", CPU) == torch.float32
    cuda = torch.device("cuda")
    for capability, wanted in (((7, 5), torch.float32), ((8, 0), torch.bfloat16)):
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda _, capability=capability: capability
        )
        assert choose_precision("auto", cuda) == wanted


# --- threads


class Machine:
    """A clock that steps move on, at a rate that depends on the number of threads."""

    def __init__(self, rates: dict[int, float], most: int = 2) -> None:
        self.rates, self.now, self.used = rates, 0.0, [most]
        self.pace = Pace(most, use=self.used.append, clock=lambda: self.now)

    def run(self, seconds: float) -> dict[int, float]:
        """Seconds spent with each number of threads, in steps of 64 examples."""
        spent = dict.fromkeys(self.rates, 0.0)
        end = self.now + seconds
        while self.now < end:
            took = 64 / self.rates[self.pace.threads]
            spent[self.pace.threads] += took
            self.now += took
            self.pace.note(64)
        return spent


@pytest.mark.parametrize(("rates", "better"), [({1: 1000, 2: 1700}, 2), ({1: 1000, 2: 50}, 1)])
def test_the_faster_number_of_threads_gets_the_time(rates: dict[int, float], better: int) -> None:
    machine = Machine(rates)
    spent = machine.run(300)
    assert spent[better] > 0.85 * 300
    assert machine.used[-1] == machine.pace.threads


def test_a_neighbour_that_comes_and_goes_is_noticed() -> None:
    machine = Machine({1: 1000, 2: 1700})
    machine.run(60)
    machine.rates[2] = 50
    machine.run(40)
    assert machine.run(60)[1] > 45
    machine.rates[2] = 1700
    machine.run(130)
    assert machine.run(60)[2] > 45


def test_a_single_thread_is_left_alone() -> None:
    machine = Machine({1: 1000}, most=1)
    machine.run(100)
    assert machine.used == [1]


@pytest.mark.parametrize(
    ("fault", "short"),
    [
        (MemoryError(), True),
        (np._core._exceptions._ArrayMemoryError((9,), np.dtype("f4")), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 byte"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_what_says_that_memory_is_short(fault: BaseException, short: bool) -> None:
    assert is_out_of_memory(fault) is short


def test_torch_says_it_as_we_know_it() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.float32)
    assert is_out_of_memory(caught.value)
