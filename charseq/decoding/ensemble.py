"""settings, weights -> voices: one encoder-decoder, or the mean of what several say; in NumPy.

Members of an ensemble differ in their seed, and maybe in their cell; they share every symbol. At
each step the probabilities of the members are averaged (Hansen & Salamon 1990; for decoding step by
step Sutskever et al. 2014), so that search meets one network with one distribution:

    log p(y_t | y_<t, x) = log 1/M sum_m exp log p_m(y_t | y_<t, x)

Members that write from the other end take other steps. They are a voice of their own, and what is
averaged is what the voices find in the end, output by output (see ``predictor``;
Liu et al. 2016 add up logarithms instead):

    log p(y | x) = log sum_v share_v p_v(y | x)

Same text, same answer: the mean is taken number by number, over whole blocks of lanes, and the
members are added in their order. It knows no search and no texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charseq.config import CELLS, Config
from charseq.decoding.blocks import BLOCK
from charseq.decoding.search import Searcher
from charseq.decoding.seq2seq_native import NativeSeq2Seq
from charseq.decoding.seq2seq_numpy import NumpySeq2Seq
from charseq.errors import SettingError
from charseq.kernels import library

if TYPE_CHECKING:
    from jaxtyping import Float32, Int

    from charseq.config import Config

    Weights = Mapping[str, np.ndarray]
    import numpy as np


MAX_SEED = 2**32


class DirectionGroup(NamedTuple):
    """What answers in one direction, and its share in the answers of all."""

    network: NumpySeq2Seq | NativeSeq2Seq | Ensemble | Searcher
    backward: bool = False
    """Whether texts are read, and outputs written, from the end."""
    share: float = 1.0


class Ensemble:
    """Several networks of the same symbols as one; a state is the tuple of theirs."""

    def __init__(self, members: Sequence[NumpySeq2Seq | NativeSeq2Seq]) -> None:
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


def mean_of(logs: Sequence[Float32[np.ndarray, "N V"]]) -> Float32[np.ndarray, "N V"]:
    """The logarithm of the mean of probabilities that are given by their logarithms.

    -inf, a probability of 0, is a number like others. Rows are filled up to whole blocks, so that
    no number is left over to a kernel of its own.
    """
    rows, symbols = logs[0].shape
    padded = np.zeros((len(logs), -(-rows // BLOCK) * BLOCK, symbols), dtype=np.float32)
    for place, one in enumerate(logs):
        padded[place, :rows] = one
    highest = padded.max(axis=0)
    highest[highest == -np.inf] = 0.0  # nobody's symbol: the difference below stays -inf
    padded -= highest
    np.exp(padded, out=padded)
    total = padded[0]
    for one in padded[1:]:
        total += one
    with np.errstate(divide="ignore"):  # log 0 is what is wanted of nobody's symbol
        np.log(total, out=total)
    total += highest
    total -= np.float32(math.log(len(logs)))
    np.minimum(total, 0.0, out=total)  # rounding must not make a probability of more than 1
    mean: np.ndarray = total[:rows]
    return mean


def direction_groups(
    config: Config,
    weights: Mapping[str, np.ndarray],
    unite: Callable[[Sequence[Config], Sequence[Weights]], Any] | None = None,
) -> tuple[DirectionGroup, ...]:
    """The networks of a run of pairs for use: the one place that builds them.

    The members that write in one direction are one voice, since they agree on every step.
    ``unite`` makes one network of a voice's members; by default those of this room and of
    ``inference``.
    """
    unite = _unite if unite is None else unite
    if config.ensemble == 1:
        network = unite([config], [weights])
        return (DirectionGroup(network, backward=direction_of(config) == "backward"),)
    voices = []
    for direction in ("forward", "backward"):
        members = range(config.ensemble)
        own = [number for number in members if direction_of(config, number) == direction]
        if own:
            configs = [member_of(config, number) for number in own]
            network = unite(configs, [part(weights, number) for number in own])
            share = len(own) / config.ensemble
            voices.append(DirectionGroup(network, backward=direction == "backward", share=share))
    return tuple(voices)


def direction_of(config: Config, number: int = 0) -> str:
    """The direction of a member, counted from 0: as set, else one and the other in turn.

    The first is backward, but for soft attention and none, where it is forward. A single model of
    many pairs has been set before (see ``task.prepare``).
    """
    if config.direction != "auto":
        return config.direction
    ways = ["backward", "forward"]
    if config.attention in ("soft", "none"):
        ways.reverse()
    return ways[number % 2]


def _unite(
    configs: Sequence[Config], weights: Sequence[Weights]
) -> NumpySeq2Seq | NativeSeq2Seq | Ensemble:
    """The members of a voice as one network."""
    networks = [_single(*one) for one in zip(configs, weights, strict=True)]
    return networks[0] if len(networks) == 1 else Ensemble(networks)


def _single(config: Config, weights: Weights) -> NumpySeq2Seq | NativeSeq2Seq:
    network = NumpySeq2Seq(weights, cell=config.cell, layers=config.layers)
    found = library.find()
    return network if found is None else NativeSeq2Seq(network, found)


def cells_of(config: Config) -> tuple[str, ...]:
    """The cell of each member: those of the setting ``cells`` in turn, else ``cell``.

    Raises:
        SettingError: ``cells`` names what is no cell, more than there are members, or is given
            without an ensemble.
    """
    if not config.cells:
        return (config.cell,) * config.ensemble
    named = [cell.strip() for cell in config.cells.split(",")]
    for cell in named:
        if cell not in CELLS:
            raise SettingError(
                f"cells has '{cell[:40]}', expected some of {', '.join(CELLS)}, with commas between"
            )
    if config.ensemble == 1:
        raise SettingError("cells is for an ensemble: give --ensemble 2 or more, or --cell")
    if len(named) > config.ensemble:
        raise SettingError(f"cells has {len(named)} cells for {config.ensemble} members")
    return tuple(named[number % len(named)] for number in range(config.ensemble))


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
    )


def name_of(number: int, name: str = "") -> str:
    """How a member's weight is called among those of the ensemble."""
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

    Raises:
        SettingError: ``device`` is cuda, and there is no GPU.
    """
    if device == "cpu":
        return direction_groups(config, weights)
    from charseq.decoding.seq2seq_gpu import GpuEnsemble
    from charseq.models.device import choose_device

    there = choose_device(device)
    return direction_groups(
        config, weights, lambda configs, parts: GpuEnsemble(configs, parts, there)
    )
