"""settings, weights -> direction groups: one network, or the mean of several.

Members of an ensemble differ in their seed and perhaps in their cell, and share all symbols.
Members that write in one direction are a group. At each step their probabilities are averaged
(Hansen & Salamon 1990; for step-by-step decoding Sutskever et al. 2014), so that search sees one
distribution:

    log p(y_t | y_<t, x) = log 1/M sum_m exp log p_m(y_t | y_<t, x)

Members of the other direction write the symbols in another order. The groups are searched apart,
and the probabilities of whole outputs are averaged (see ``inference.predictor``; Liu et al. 2016
add logarithms instead), with the share of members as the weight of a group g:

    log p(y | x) = log sum_g weight_g p_g(y | x)

Same text, same answer: the mean is taken element by element over whole blocks, and members are
added in their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charseq.config import Config, cells_of
from charseq.decoding import networks
from charseq.decoding.blocks import BLOCK

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float32, Int

    from charseq.decoding.networks import Weights
    from charseq.decoding.search import Searcher

MAX_SEED = 2**32


class DirectionGroup(NamedTuple):
    """The network of all members that write in one direction, and its weight among the groups."""

    network: Any
    """A :class:`charseq.decoding.search.StepModel` with ``start``, or a ``Searcher``."""
    backward: bool = False
    """Whether texts are read, and outputs written, from the end."""
    weight: float = 1.0


class Ensemble:
    """Several networks of the same symbols as one; a state is the tuple of the members' states."""

    def __init__(self, members: Sequence[Any]) -> None:
        self.members = tuple(members)
        self.actions = self.members[0].actions

    def start(self, sources: Sequence[Sequence[int]]) -> tuple[Any, ...]:
        """As :meth:`charseq.decoding.seq2seq_numpy.NumpySeq2Seq.start`, by every member."""
        return tuple(member.start(sources) for member in self.members)

    def step(
        self, symbols: Int[np.ndarray, "N"], state: tuple[Any, ...]
    ) -> tuple[Float32[np.ndarray, "N V"], tuple[Any, ...]]:
        """The logarithms of the members' mean probabilities, and their next states."""
        pairs = zip(self.members, state, strict=True)
        logs, states = zip(*(member.step(symbols, one) for member, one in pairs), strict=True)
        return mean_of(logs), states

    def select(
        self, state: tuple[Any, ...], rows: Int[np.ndarray, "M"], width: int
    ) -> tuple[Any, ...]:
        """As ``NumpySeq2Seq.select``, of every member's state."""
        pairs = zip(self.members, state, strict=True)
        return tuple(member.select(one, rows, width) for member, one in pairs)

    def attended(self, state: tuple[Any, ...]) -> Float32[np.ndarray, "N S"] | None:
        """The mean of the members' weights of soft attention; None without."""
        found = [member.attended(one) for member, one in zip(self.members, state, strict=True)]
        if any(one is None for one in found):
            return None
        mean: np.ndarray = np.mean(found, axis=0)
        return mean


def mean_of(logs: Sequence[Float32[np.ndarray, "N V"]]) -> Float32[np.ndarray, "N V"]:
    """The logarithm of the mean probability of some log-probabilities, -inf among them.

    Rows are padded to whole blocks, so that NumPy takes the same code path for every element.
    """
    rows, symbols = logs[0].shape
    padded = np.zeros((len(logs), -(-rows // BLOCK) * BLOCK, symbols), dtype=np.float32)
    for member, one in enumerate(logs):
        padded[member, :rows] = one
    highest = padded.max(axis=0)
    highest[highest == -np.inf] = 0.0  # impossible for all members: the difference below stays -inf
    padded -= highest
    np.exp(padded, out=padded)
    total = padded[0]
    for one in padded[1:]:
        total += one
    with np.errstate(divide="ignore"):  # log 0 = -inf is right where a symbol is impossible
        np.log(total, out=total)
    total += highest
    total -= np.float32(math.log(len(logs)))
    np.minimum(total, 0.0, out=total)  # rounding must not give a probability above 1
    mean: np.ndarray = total[:rows]
    return mean


def direction_groups(
    config: Config,
    weights: Mapping[str, np.ndarray],
    combine: Callable[[Sequence[Config], Sequence[Weights]], Any] | None = None,
) -> tuple[DirectionGroup, ...]:
    """The networks of a run of pairs, one for each direction.

    ``combine`` makes one network of a group's members; by default on the CPU.
    """
    combine = _combine if combine is None else combine
    if config.ensemble == 1:
        network = combine([config], [weights])
        return (DirectionGroup(network, backward=direction_of(config) == "backward"),)
    groups = []
    for direction in ("forward", "backward"):
        members = range(config.ensemble)
        own = [number for number in members if direction_of(config, number) == direction]
        if own:
            configs = [member_of(config, number) for number in own]
            network = combine(configs, [part(weights, number) for number in own])
            weight = len(own) / config.ensemble
            groups.append(DirectionGroup(network, backward=direction == "backward", weight=weight))
    return tuple(groups)


def direction_of(config: Config, number: int = 0) -> str:
    """The direction of a member, counted from 0: as set, else backward and forward in turn.

    With soft attention or none the first member is forward instead. ``training.prepare`` has set
    the direction of a single model of many pairs before.
    """
    if config.direction != "auto":
        return config.direction
    order = ["backward", "forward"]
    if config.attention in ("soft", "none"):
        order.reverse()
    return order[number % 2]


def _combine(configs: Sequence[Config], weights: Sequence[Weights]) -> Any:
    """The members of a group as one network on the CPU."""
    members = [networks.build("pairs", *one) for one in zip(configs, weights, strict=True)]
    return members[0] if len(members) == 1 else Ensemble(members)


def member_of(config: Config, number: int) -> Config:
    """The settings of one member, counted from 0: an ordinary run with a seed and a cell."""
    return replace(
        config,
        ensemble=1,
        cells="",
        cell=cells_of(config)[number],
        direction=direction_of(config, number),
        seed=(config.seed + number) % MAX_SEED,
        threads=1,
        workers=1,
    )


def name_of(number: int, name: str = "") -> str:
    """The name of a member's weight among those of the ensemble."""
    return f"members.{number}.{name}"


def join(members: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The weights of all members, each under its own names."""
    return {
        name_of(number, name): value
        for number, weights in enumerate(members)
        for name, value in weights.items()
    }


def part(weights: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    """The weights of one member; the inverse of :func:`join`."""
    prefix = name_of(number)
    return {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }


def direction_groups_on(
    device: str, config: Config, weights: Mapping[str, np.ndarray]
) -> tuple[DirectionGroup, ...]:
    """The networks of a run of pairs on the CPU, without torch, or on a GPU.

    A network without a GPU class stays on the CPU.

    Raises:
        SettingError: ``device`` is cuda, and there is no GPU.
    """
    if device == "cpu":
        return direction_groups(config, weights)
    from charseq.models.device import choose_device

    chosen = choose_device(device)
    on_gpu = networks.NETWORKS["pairs"].gpu
    if on_gpu is None:
        return direction_groups(config, weights)
    return direction_groups(config, weights, partial(_on_device, on_gpu, chosen))


def _on_device(
    on_gpu: Callable[[Sequence[Config], Sequence[Weights], torch.device], Searcher],
    device: torch.device,
    configs: Sequence[Config],
    weights: Sequence[Weights],
) -> Searcher:
    return on_gpu(configs, weights, device)
