"""source ids -> best outputs, on a GPU: the encoder-decoder in torch.

The modules of ``models.seq2seq``, in float32 and without dropout, under the searches of
``gpu_search``. ``seq2seq_numpy`` is the same on a CPU; outputs agree unless two are almost equally
probable (see docs/measured/speed-inference.md).

Same text, same answer: cuBLAS chooses its kernel by the shape of a product, and another kernel sums
in another order. So shapes are fixed: every batch has as many rows as ``MAX_ROWS`` allows for its
beam and rounded length, padding rows included, and no text leaves before all are done. Then a
text's answer depends on that text alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from charseq.data.batches import pad
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import BOS, EOS, PAD, SPECIALS, UNK
from charseq.decoding.gpu_search import Edges, beam, constrained, greedy, limits_of
from charseq.decoding.search import Hypothesis
from charseq.kernels.cuda_graphs import GraphCache
from charseq.models.factory import build

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from charseq.config import Config
    from charseq.data.text.automaton import Automaton
    from charseq.decoding.constrained import Outputs

MAX_ROWS = 4096
"""Rows in a batch, padding rows included."""
MAX_SYMBOLS = 2**18
"""Rows times source symbols in a batch; longer sources have fewer rows."""
WIDTH = 4
"""Lengths are rounded up to a multiple of this; texts of one rounded length are batched."""


class GpuMemory(NamedTuple):
    """The encoded sources of N texts, constant during a search; R = N W rows."""

    keys: Tensor | None
    """N H S, soft attention."""
    values: Tensor | None
    """N S E."""
    mask: Tensor | None
    """N 1 S: true in the padding."""
    decoder_input: Tensor | None
    """N S E, hard attention: added to the decoder's input at each position."""
    readout_input: Tensor | None
    """N S E: what the readout is readout there."""
    ids: Tensor
    """N S, source symbols."""
    ends: Tensor
    """R: the position of each text's EOS, the last that actions can reach."""


class GpuState(NamedTuple):
    """State of the rows of a search, text by text."""

    hidden: Float[Tensor, "L K R H"]
    positions: Int[Tensor, "R"]
    """Hard attention's position of each row before the next symbol is read; else 0."""


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
        self._forbidden = torch.zeros(targets, device=device)
        self._forbidden[forbidden] = -math.inf

    def start(
        self, source: Int[Tensor, "N S"], lengths: Int[Tensor, "N"], width: int
    ) -> tuple[GpuMemory, GpuState]:
        """Encode texts; the state has ``width`` rows for each."""
        model = self.model
        _, memory, final = model.read(source, lengths)
        hidden = model.bridge(final).repeat_interleave(width, dim=2)
        ends = (source == EOS).int().argmax(dim=1).repeat_interleave(width)
        keys, values, mask, decoder_input, readout_input = None, None, None, None, None
        if model.attention is not None:
            keys = model.attention.key(memory).permute(1, 2, 0).contiguous()
            values = model.attention.value(memory).transpose(0, 1).contiguous()
            mask = (source == PAD)[:, None]
        if model.pointer is not None:
            decoder_input = model.pointer.input(memory).transpose(0, 1).contiguous()
            readout_input = model.pointer.output(memory).transpose(0, 1).contiguous()
        memories = GpuMemory(keys, values, mask, decoder_input, readout_input, source, ends)
        return memories, GpuState(hidden, torch.zeros_like(ends))

    def step(
        self, symbols: Int[Tensor, "R"], memory: GpuMemory, state: GpuState
    ) -> tuple[Tensor, GpuState]:
        """Log-probabilities of the symbol after ``symbols``, and the next state."""
        model, embedding = self.model, self.model.target_embedding
        inputs = embedding[symbols] * math.sqrt(embedding.shape[1])
        positions = state.positions
        readout_input: Tensor | float = 0.0
        if (
            memory.decoder_input is not None
            and memory.readout_input is not None
            and self.actions is not None
        ):
            positions = positions + (symbols >= self.actions.symbols)
            # impossible actions may fill a beam: their positions stay within the text
            positions = torch.minimum(positions, memory.ends)
            inputs = inputs + _at_positions(memory.decoder_input, positions)
            readout_input = _at_positions(memory.readout_input, positions)
        layers: list[Tensor] = []
        cells: Any = model.decoder.cells
        for cell, before in zip(cells, state.hidden, strict=True):
            layers.append(cell(cell.project(inputs), before))
            inputs = layers[-1][0]
        mixed = model.readout(inputs) + readout_input + self._context(inputs, memory)
        matrix = embedding if model.output is None else model.output
        logits = torch.nn.functional.linear(torch.tanh(mixed), matrix, model.output_bias)
        if model.prior is not None:
            here = memory.ids.gather(1, positions.view(len(memory.ids), -1)).flatten()
            logits = logits + model.prior[here]
        logits = logits + self._forbidden
        if self.actions is not None:
            ended = (positions == memory.ends)[:, None]
            advancing = logits[:, self.actions.symbols :].masked_fill(ended, -math.inf)
            logits = torch.cat([logits[:, : self.actions.symbols], advancing], dim=1)
            logits[:, EOS : EOS + 1].masked_fill_(~ended, -math.inf)
        return logits.log_softmax(dim=1), GpuState(torch.stack(layers), positions)

    def reorder(self, state: GpuState, rows: Int[Tensor, "R"]) -> GpuState:
        """The state of other rows of the same texts."""
        return GpuState(state.hidden.index_select(2, rows), state.positions[rows])

    def _context(self, hidden: Tensor, memory: GpuMemory) -> Tensor | float:
        """Soft attention's context of each row; 0 without it."""
        attention = self.model.attention
        keys, values, mask = memory.keys, memory.values, memory.mask
        if attention is None or keys is None or values is None or mask is None:
            return 0.0
        count = len(keys)
        queries = hidden.view(count, -1, hidden.shape[1]) * attention.scale
        scores = (queries @ keys).masked_fill(mask, -math.inf)
        context: Tensor = (scores.softmax(dim=-1) @ values).flatten(0, 1)
        return context


class GpuEnsemble:
    """One network or several as one, with searches of its own.

    The distribution of several is their mean, as in ``ensemble``.
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
        self._graphs = GraphCache(device)
        self._edges: tuple[Automaton, Edges] | None = None
        """The last automaton, and its edges on the device."""

    @torch.inference_mode()
    def search(
        self,
        sources: Sequence[Sequence[int]],
        limits: Sequence[int],
        *,
        width: int,
        length_penalty: float = 0.0,
        empty: bool = False,
    ) -> list[list[Hypothesis]]:
        """Up to ``width`` outputs for each text, the best first; a width of 1 is greedy.

        Raises ValueError for texts whose lengths do not round up to one multiple of ``WIDTH``.
        """
        found: list[list[Hypothesis]] = []
        for count, begun in self._batches(sources, limits, width):
            if width == 1:
                best = greedy(self, *begun, silent=self._silent, empty=empty)
                answers = [[one] for one in best]
            else:
                answers = beam(
                    self, *begun,
                    width=width, length_penalty=length_penalty, silent=self._silent, empty=empty,
                )  # fmt: skip
            found += answers[:count]
        return found

    @torch.inference_mode()
    def constrained_search(
        self,
        sources: Sequence[Sequence[int]],
        limits: Sequence[int],
        automaton: Automaton,
        *,
        width: int,
        length_penalty: float = 0.0,
    ) -> Outputs:
        """As :func:`charseq.decoding.constrained.constrained`; raises as :meth:`search`."""
        if self._edges is None or self._edges[0] is not automaton:
            self._edges = automaton, Edges.of(automaton, self.device)
        found: list[list[Hypothesis]] = []
        removed: list[float] = []
        for count, begun in self._batches(sources, limits, width):
            outputs, lost = constrained(
                self, *begun, self._edges[1],
                width=width, length_penalty=length_penalty, silent=self._silent,
                empty=automaton.empty,
            )  # fmt: skip
            found += outputs[:count]
            removed += lost[:count]
        return found, removed

    @property
    def _silent(self) -> int | None:
        """The symbol that writes nothing."""
        return None if self.actions is None else self.actions.deletion

    def _batches(
        self, sources: Sequence[Sequence[int]], limits: Sequence[int], width: int
    ) -> Iterator[tuple[int, tuple[Any, Any, Tensor, GraphCache]]]:
        """Encoded groups of texts: their number, and the first arguments of a search."""
        lengths = [len(ids) for ids in sources]
        width_of_source = -(-max(lengths) // WIDTH) * WIDTH
        if min(lengths) <= width_of_source - WIDTH:
            raise ValueError(
                f"lengths {min(lengths)} to {width_of_source} do not round up to one length"
            )
        size = max(1, min(MAX_ROWS // width, MAX_SYMBOLS // width_of_source))
        for first in range(0, len(sources), size):
            group = sources[first : first + size]
            bounds = limits_of(limits[first : first + size], size, self.device)
            memory, state = self._start(group, size, width_of_source, width)
            yield len(group), (memory, state, bounds, self._graphs)

    def step(
        self, symbols: Int[Tensor, "R"], memory: tuple[GpuMemory, ...], state: tuple[GpuState, ...]
    ) -> tuple[Tensor, tuple[GpuState, ...]]:
        """The logarithms of the members' mean probabilities, and their next states."""
        each = zip(self.members, memory, state, strict=True)
        answers = [one.step(symbols, sources, rows) for one, sources, rows in each]
        logs, after = zip(*answers, strict=True)
        if len(logs) == 1:
            return logs[0], after
        mean = torch.logsumexp(torch.stack(logs), dim=0) - math.log(len(logs))
        return mean.clamp_(max=0.0), after  # rounding must not give a probability above 1

    def reorder(self, state: tuple[GpuState, ...], rows: Int[Tensor, "R"]) -> tuple[GpuState, ...]:
        """The states of other rows of the same texts."""
        pairs = zip(self.members, state, strict=True)
        return tuple(member.reorder(one, rows) for member, one in pairs)

    def _start(
        self, group: Sequence[Sequence[int]], size: int, width_of_source: int, width: int
    ) -> tuple[tuple[GpuMemory, ...], tuple[GpuState, ...]]:
        """Encode a group of texts, padded to ``size`` texts."""
        idle = np.full((size, width_of_source), PAD, dtype=np.int64)
        inputs = pad([np.asarray(ids, dtype=np.int64) for ids in group])
        idle[: len(group), : inputs.shape[1]] = inputs
        idle[len(group) :, 0] = EOS
        lengths = np.ones(size, dtype=np.int64)
        lengths[: len(group)] = [len(ids) for ids in group]
        source = torch.from_numpy(idle).to(self.device)
        sizes = torch.from_numpy(lengths).to(self.device)
        begun = [member.start(source, sizes, width) for member in self.members]
        return tuple(memory for memory, _ in begun), tuple(state for _, state in begun)


def _at_positions(values: Tensor, positions: Tensor) -> Tensor:
    """The values N S E at R positions, W for each text: R E."""
    count, _, size = values.shape
    rows = positions.view(count, -1, 1).expand(-1, -1, size)
    return values.gather(1, rows).flatten(0, 1)
