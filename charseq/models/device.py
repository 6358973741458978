"""Device, number of threads, precision and random seeds of a training.

The noise of a training step is a function of (seed, step), as the order of the data is: there is
no random state to save, and a resumed run draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch

from charseq.config import SETTINGS
from charseq.errors import SettingError, argument
from charseq.kernels import library

DEVICES: tuple[str, ...] = SETTINGS["device"].metadata["choices"]
_TRIAL_STEPS, _TRIAL_SECONDS = 16, 1.0
_HOLD, _LONGEST_HOLD = 10.0, 60.0


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one.

    Raises:
        SettingError: another name than auto, cpu or cuda; or cuda, and there is no GPU.
    """
    if name not in DEVICES:
        raise SettingError(f"device is {name!r:.60}, expected {', '.join(DEVICES)}")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        hint = f"use {argument('device', 'cpu')}"
        raise SettingError(f"device is cuda, but torch finds no CUDA device here: {hint}")
    if name == "cuda":
        # products that are the same in every run, and float32 that is float32
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(name)


def choose_threads(count: int, *, timed: bool = True) -> int:
    """Set torch's threads; 0 takes the cores this process may use, four at most.

    A training that is not ``timed``, one of so many epochs, takes one thread for 0. There the
    number of threads cannot follow the speed (:class:`Pace`), since it changes the last bits of a
    result, and more than one thread may be slower than one.
    """
    if not count:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        count = min(4, cores) if timed else 1
    torch.set_num_threads(count)
    return count


class Pace:
    """The number of threads of a training, one or all: the faster is measured from time to time.

    On an idle machine a second thread pays. Beside a busy neighbour the threads of these small
    products wait for each other, and two were measured at a twentieth of the speed of one. For runs
    with a budget in minutes only: the number of threads changes the last bits of a result.
    """

    def __init__(
        self,
        most: int,
        *,
        use: Callable[[int], None] = torch.set_num_threads,
        clock: Callable[[], float] = time.monotonic,
        hold: float = _HOLD,
    ) -> None:
        """``hold``: seconds from a trial to the next, where all won."""
        self.most = most
        self.threads = most
        self._use = use
        self._clock = clock
        self._shortest = self._hold = hold
        self._longest = max(hold, _LONGEST_HOLD)
        self._rates: dict[int, float] = {}
        self._begin(0.0)

    def note(self, examples: int) -> None:
        """Count the examples of one step, and change the number of threads when a trial is due."""
        if self.most == 1:
            return
        self._steps += 1
        self._examples += examples
        spent = self._clock() - self._begun
        if self._until:
            if spent >= self._until:
                self._try(self.most)
        elif self._steps >= _TRIAL_STEPS or (self._steps > 1 and spent >= _TRIAL_SECONDS):
            self._rates[self.threads] = self._examples / max(spent, 1e-9)
            if self.threads != 1:
                self._try(1)
            else:
                self._settle()

    @property
    def gain(self) -> float | None:
        """The speed of all by that of one, in the last trial; None before the first."""
        return self._rates[self.most] / self._rates[1] if len(self._rates) > 1 else None

    def _settle(self) -> None:
        """Continue with the faster number; the next trial is later each time one thread wins."""
        best = max(self._rates, key=self._rates.__getitem__)
        self._hold = min(2 * self._hold, self._longest) if best == 1 else self._shortest
        self._try(best)
        self._until = self._hold

    def _try(self, threads: int) -> None:
        self.threads = threads
        self._use(threads)
        self._begin(0.0)

    def _begin(self, until: float) -> None:
        self._begun, self._until = self._clock(), until
        self._steps = self._examples = 0


def describe(
    device: torch.device, precision: torch.dtype, threads: int, *, timed: bool, workers: int = 1
) -> str:
    """What a training is computed by, for people: device, kernels, precision, threads.

    With several ``workers`` there are processes instead of threads.
    """
    low = str(precision).removeprefix("torch.")
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)}), {low}"
    kernels = library.find()
    by = "torch alone" if kernels is None else f"compiled kernels ({kernels.level})"
    what, number = ("processes", workers) if workers > 1 else ("threads", threads)
    most = "up to " if timed and number > 1 else ""
    return f"cpu, {by}, {low}, {most}{number} {what if number > 1 else 'thread'}"


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """``auto`` takes bfloat16 products only where the processor has instructions for them."""
    if name == "auto":
        name = "bfloat16" if has_bfloat16(device) else "float32"
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def limit_compiled_products() -> None:
    """Let torch keep the compiled code of few products, for networks whose shapes are ever new.

    Each shape of a bfloat16 product on a CPU has its own code, and torch keeps 1,024 of them,
    gigabytes in all. The limit is read when the first is compiled; one that the user has set stays.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products are native: avx512_bf16 on a CPU, Ampere or later on CUDA."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    able = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(able is not None and able())


def seed_all(*parts: int) -> None:
    """Seed torch's generators from whole numbers, for example (seed, step); order matters."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = _mix(state ^ (part & _MASK))
    # torch.manual_seed seeds every kind of device, which takes 70 times as long; a training step
    # takes some milliseconds
    torch.default_generator.manual_seed(state >> 1)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(state >> 1)
    elif torch.cuda.is_available():
        torch.manual_seed(state >> 1)  # applied when the device is first used


_MASK = 2**64 - 1


def _mix(value: int) -> int:
    """The finaliser of splitmix64 (Steele et al. 2014): close inputs give distant outputs."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether an exception of NumPy or torch, on a CPU or a GPU, means that memory is short."""
    message = str(fault)
    return isinstance(fault, MemoryError | torch.OutOfMemoryError) or (
        isinstance(fault, RuntimeError)
        and ("can't allocate memory" in message or "CUBLAS_STATUS_ALLOC_FAILED" in message)
    )
