"""source ids -> best outputs, on a GPU: the encoder-decoder in use, in torch.

The modules of training, in float32 and without noise, under the searches of ``search``. Its twin
for a CPU, which needs no torch, is ``inference`` with ``decoding``; both give the same outputs but
where two are almost equally probable (see docs/measured/speed-inference.md).

Same text, same answer: a library picks its kernel by the shape of a product, and another kernel
adds in another order. So shapes are fixed. There are always as many rows as ``ROWS`` allows for a
width of the beam and a rounded length, idle ones included; no text leaves before all are done. What
is computed for a text then depends on that text alone, whatever it is batched with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from charseq.data.batches import pad
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import BOS, EOS, PAD, SPECIALS, UNK
from charseq.decoding.gpu_search import beam, greedy, limits_of
from charseq.decoding.search import Hypothesis
from charseq.kernels.cuda_graphs import GraphCache
from charseq.models.factory import build

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from charseq.config import Config

ROWS = 4096
"""Rows that are computed at once, idle ones included."""
PLACES = 2**18
"""Rows times symbols of a source; longer sources have fewer rows."""
WIDTH = 4
"""Lengths are rounded up to a multiple of this; texts that share the result are read together."""


class GpuMemory(NamedTuple):
    """What N texts are remembered by, W rows for each; it does not change in a search."""

    keys: Tensor | None
    """N H S, of soft attention."""
    values: Tensor | None
    """N S E."""
    mask: Tensor | None
    """N 1 S: where there is no symbol."""
    heard: Tensor | None
    """N S E, of hard attention: what the decoder hears at each place."""
    said: Tensor | None
    """N S E: what the readout is told there."""
    ids: Tensor
    """N S, of the source."""
    ends: Tensor
    """R: the place behind each text's last symbol, before its features."""


class GpuState(NamedTuple):
    """Where the rows of a search are, text by text."""

    hidden: Float[Tensor, "L K R H"]
    places: Int[Tensor, "R"]
    """Where hard attention stands, before the next symbol is read; else 0."""


class GpuSeq2Seq:
    """One network on a device."""

    def __init__(
        self, config: Config, weights: Mapping[str, np.ndarray], device: torch.device
    ) -> None:
        sources, targets = (len(weights[f"{side}_embedding"]) for side in ("source", "target"))
        hard = config.attention == "hard"
        self.actions = Actions.of(targets) if hard else None
        prior = weights.get("prior")
        model = build(config, sources=sources, targets=targets, prior=prior)
        self.model = model.to(device).eval()
        named = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
        self.model.load_state_dict(named)
        forbidden = [PAD, BOS, UNK]
        if self.actions is not None:
            first = self.actions.symbols
            forbidden += range(first, first + SPECIALS)
        self._never = torch.zeros(targets, device=device)
        self._never[forbidden] = -math.inf

    def start(
        self, source: Int[Tensor, "N S"], lengths: Int[Tensor, "N"], width: int
    ) -> tuple[GpuMemory, GpuState]:
        """Read texts; ``width`` rows each."""
        model = self.model
        _, memory, final = model.read(source, lengths)
        hidden = model.bridge(final).repeat_interleave(width, dim=2)
        ends = (source == EOS).int().argmax(dim=1).repeat_interleave(width)
        keys, values, mask, heard, said = None, None, None, None, None
        if model.attention is not None:
            keys = model.attention.key(memory).permute(1, 2, 0).contiguous()
            values = model.attention.value(memory).transpose(0, 1).contiguous()
            mask = (source == PAD)[:, None]
        if model.pointer is not None:
            heard = model.pointer.input(memory).transpose(0, 1).contiguous()
            said = model.pointer.output(memory).transpose(0, 1).contiguous()
        memories = GpuMemory(keys, values, mask, heard, said, source, ends)
        return memories, GpuState(hidden, torch.zeros_like(ends))

    def step(
        self, symbols: Int[Tensor, "R"], memory: GpuMemory, state: GpuState
    ) -> tuple[Tensor, GpuState]:
        """Log-probabilities of the symbol after ``symbols``, and the next state."""
        model, embedding = self.model, self.model.target_embedding
        given = embedding[symbols] * math.sqrt(embedding.shape[1])
        places = state.places
        told: Tensor | float = 0.0
        if memory.heard is not None and memory.said is not None and self.actions is not None:
            places = places + (symbols >= self.actions.symbols)
            # what is impossible may fill a beam: it stays within its text
            places = torch.minimum(places, memory.ends)
            given = given + _at(memory.heard, places)
            told = _at(memory.said, places)
        layers: list[Tensor] = []
        cells: Any = model.decoder.cells
        for cell, before in zip(cells, state.hidden, strict=True):
            layers.append(cell(cell.project(given), before))
            given = layers[-1][0]
        mixed = model.readout(given) + told + self._context(given, memory)
        matrix = embedding if model.output is None else model.output
        logits = torch.nn.functional.linear(torch.tanh(mixed), matrix, model.output_bias)
        if model.prior is not None:
            here = memory.ids.gather(1, places.view(len(memory.ids), -1)).flatten()
            logits = logits + model.prior[here]
        logits = logits + self._never
        if self.actions is not None:
            ended = (places == memory.ends)[:, None]
            going = logits[:, self.actions.symbols :].masked_fill(ended, -math.inf)
            logits = torch.cat([logits[:, : self.actions.symbols], going], dim=1)
            logits[:, EOS : EOS + 1].masked_fill_(~ended, -math.inf)
        return logits.log_softmax(dim=1), GpuState(torch.stack(layers), places)

    def reorder(self, state: GpuState, rows: Int[Tensor, "R"]) -> GpuState:
        """The state of other rows of the same texts."""
        return GpuState(state.hidden.index_select(2, rows), state.places[rows])

    def _context(self, hidden: Tensor, memory: GpuMemory) -> Tensor | float:
        """What soft attention brings to each row."""
        attention = self.model.attention
        keys, values, mask = memory.keys, memory.values, memory.mask
        if attention is None or keys is None or values is None or mask is None:
            return 0.0
        count = len(keys)
        queries = hidden.view(count, -1, hidden.shape[1]) * attention.scale
        scores = (queries @ keys).masked_fill(mask, -math.inf)
        return (scores.softmax(dim=-1) @ values).flatten(0, 1)


class GpuEnsemble:
    """One network or several as one, with their searches: what a CPU has in three rooms.

    Several say the logarithm of their mean probability, as in ``ensemble``.
    """

    def __init__(
        self,
        configs: Sequence[Config],
        weights: Sequence[Mapping[str, np.ndarray]],
        device: torch.device,
    ) -> None:
        self.device = device
        pairs = zip(configs, weights, strict=True)
        self.members = [GpuSeq2Seq(one, named, device) for one, named in pairs]
        self.actions = self.members[0].actions
        self._player = GraphCache(device)

    @torch.inference_mode()
    def search(
        self,
        sources: Sequence[Sequence[int]],
        limits: Sequence[int],
        *,
        width: int,
        length_penalty: float = 0.0,
    ) -> list[list[Hypothesis]]:
        """Up to ``width`` outputs for each text, the best first; a width of 1 is greedy.

        Raises ValueError for texts whose lengths do not round up to one multiple of ``WIDTH``.
        """
        lengths = [len(ids) for ids in sources]
        room = -(-max(lengths) // WIDTH) * WIDTH
        if min(lengths) <= room - WIDTH:
            raise ValueError(f"lengths {min(lengths)} to {room} do not round up to one length")
        size = max(1, min(ROWS // width, PLACES // room))
        found: list[list[Hypothesis]] = []
        for first in range(0, len(sources), size):
            group = sources[first : first + size]
            bounds = limits_of(limits[first : first + size], size, self.device)
            begun = *self._start(group, size, room, width), bounds, self._player
            if width == 1:
                answers = [[best] for best in greedy(self, *begun)]
            else:
                answers = beam(self, *begun, width=width, length_penalty=length_penalty)
            found += answers[: len(group)]
        return found

    def step(
        self, symbols: Int[Tensor, "R"], memory: tuple[GpuMemory, ...], state: tuple[GpuState, ...]
    ) -> tuple[Tensor, tuple[GpuState, ...]]:
        """The logarithms of the members' mean probabilities, and their next states."""
        each = zip(self.members, memory, state, strict=True)
        answers = [one.step(symbols, known, place) for one, known, place in each]
        logs, after = zip(*answers, strict=True)
        if len(logs) == 1:
            return logs[0], after
        mean = torch.logsumexp(torch.stack(logs), dim=0) - math.log(len(logs))
        return mean.clamp_(max=0.0), after  # rounding must not make a probability of more than 1

    def reorder(self, state: tuple[GpuState, ...], rows: Int[Tensor, "R"]) -> tuple[GpuState, ...]:
        """The states of other rows of the same texts."""
        pairs = zip(self.members, state, strict=True)
        return tuple(member.reorder(one, rows) for member, one in pairs)

    def _start(
        self, group: Sequence[Sequence[int]], size: int, room: int, width: int
    ) -> tuple[tuple[GpuMemory, ...], tuple[GpuState, ...]]:
        """Read texts, and as many idle ones as there is room for."""
        idle = np.full((size, room), PAD, dtype=np.int64)
        given = pad([np.asarray(ids, dtype=np.int64) for ids in group])
        idle[: len(group), : given.shape[1]] = given
        idle[len(group) :, 0] = EOS
        lengths = np.ones(size, dtype=np.int64)
        lengths[: len(group)] = [len(ids) for ids in group]
        source = torch.from_numpy(idle).to(self.device)
        sizes = torch.from_numpy(lengths).to(self.device)
        begun = [member.start(source, sizes, width) for member in self.members]
        return tuple(memory for memory, _ in begun), tuple(state for _, state in begun)


def _at(values: Tensor, places: Tensor) -> Tensor:
    """N S E at R places, W for each text: R E."""
    count, _, size = values.shape
    rows = places.view(count, -1, 1).expand(-1, -1, size)
    return values.gather(1, rows).flatten(0, 1)
