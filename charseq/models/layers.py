"""query, memory, mask -> context, weights: where in the input an output step looks.

Soft, by a mean over all places, or hard, at one place. Scaled dot-product attention (Luong et al.
2015; Vaswani et al. 2017, eq. 1), for all output steps at once, since the queries are states of a
recurrence that does not see the contexts:
    weights_t = softmax_s(q_t · k_s / √H)      context_t = Σ_s weights_{t,s} v_s
Keys and values are made from the memory once per text. Masked positions get exactly zero weight.

Hard monotonic attention (Aharoni & Goldberg 2017) looks at the place that the actions written so
far have moved to; see ``alignment``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from charseq.data.text.alignment import Actions
from charseq.kernels.matmul import linear
from charseq.models.onehot import embed

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class Attention(nn.Module):
    """Key and value matrices over a memory of size ``memory``."""

    def __init__(self, query: int, memory: int, value: int) -> None:
        super().__init__()
        self.key = nn.Linear(memory, query, bias=False)
        self.value = nn.Linear(memory, value, bias=False)
        self.scale = 1.0 / math.sqrt(query)
        for layer in (self.key, self.value):
            nn.init.xavier_uniform_(layer.weight)

    def forward(
        self,
        queries: Float[Tensor, "T B H"],
        memory: Float[Tensor, "S B M"],
        mask: Bool[Tensor, "B S"],
    ) -> tuple[Float[Tensor, "T B E"], Float[Tensor, "B T S"]]:
        """Contexts of all steps, and the weights. ``mask`` is true where there is a symbol."""
        keys = linear(memory, self.key.weight).permute(1, 2, 0)
        values = linear(memory, self.value.weight).transpose(0, 1)
        scores = (queries.transpose(0, 1) * self.scale) @ keys
        scores = scores.to(self.key.weight.dtype).masked_fill(~mask[:, None], -math.inf)
        weights = scores.softmax(dim=-1)
        contexts = weights.to(values.dtype) @ values
        return contexts.transpose(0, 1), weights


class Pointer(nn.Module):
    """What the decoder hears, and what the readout is told, of the place that actions move to."""

    def __init__(self, memory: int, value: int, actions: Actions) -> None:
        super().__init__()
        self.actions = actions
        self.input = nn.Linear(memory, value, bias=False)
        self.output = nn.Linear(memory, value, bias=False)
        for layer in (self.input, self.output):
            nn.init.xavier_uniform_(layer.weight)

    def forward(
        self, memory: Float[Tensor, "S B M"], places: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "T B E"], Float[Tensor, "T B E"]]:
        """For the input and for the readout of every step, by where it stands."""
        both = linear(memory, torch.cat([self.input.weight, self.output.weight]))
        if memory.is_cuda:
            heard, said = look_up(both, places.T).chunk(2, dim=-1)
            return heard, said
        rows = places.T * memory.shape[1] + torch.arange(memory.shape[1], device=places.device)
        heard, said = embed(rows, both.flatten(0, 1)).chunk(2, dim=-1)
        return heard, said

    def places(self, inputs: Int[Tensor, "B T"], steps: int) -> Int[Tensor, "B T"]:
        """Where each step stands, from 0 to ``steps`` - 1; ``inputs`` are the actions before it."""
        return (inputs >= self.actions.symbols).cumsum(dim=1).clamp(max=steps - 1)


def look_up(values: Float[Tensor, "S B E"], places: Int[Tensor, "T B"]) -> Float[Tensor, "T B E"]:
    """Each row's values at its places: a product with one-hot rows.

    On a GPU its gradient adds in a fixed order, which that of a gather does not.
    """
    rows = torch.arange(len(values), device=places.device) == places.T[:, :, None]
    return (rows.to(values.dtype) @ values.transpose(0, 1)).transpose(0, 1)
