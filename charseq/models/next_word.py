"""inputs -> logits: what comes next in a text, after sheet B, for training.

    x_t      = M[input_t]                   a row of the embedding M: the symbol's own, or with
                                            traits the sum of its own and theirs
    h_t      = RNN(x_t, h_{t-1})            tanh (sheet B2), residual (B3), GRU or LSTM
      or     = tanh(W [x_{t-n+1}; ...; x_t] + b)    cell "mlp": n symbols of context, zero before
                                            the first (Bengio et al. 2003; B1 is n = 1, no tanh)
    r_t      = W_r h_t + b_r
    logits_t = M r_t + b                    or a matrix of its own, if not tied
Padding and the beginning of a text are no outcomes: their logits are -inf. Its forward-only twin
for use without torch is ``language``; both share the names of the weights.

In training, x and the outputs of every layer are thinned with one mask for all steps of a row, the
rows of M and the weights W_h with one mask for the batch (Gal & Ghahramani 2016; Merity et al.
2018).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from charseq.data.text.vocabulary import PAD
from charseq.kernels.matmul import linear
from charseq.models.layers import Dropout, drop_locked, embed
from charseq.models.loss import (
    OUTCOMES,
    Loss,
    TensorBatch,
    TrainableModel,
    chances_of,
    draw,
    room_for,
    softmax_loss,
)
from charseq.models.rnn import Recurrence

if TYPE_CHECKING:
    from jaxtyping import Float, Int


START = 0.05
"""Standard deviation of an embedding's first values. Inputs are small on purpose: AdamW moves every
entry by the learning rate, and where they are scaled up, those moves are noise."""


class NextWord(TrainableModel):
    """Weights, forward pass and loss; sizes are numbers of symbols (V), units (E, H) and layers.

    ``context``: the symbols that the cell "mlp" sees; it has one layer. ``samples``: the symbols
    that the right one is compared with in training, on average; 0 takes all. ``counts``: how often
    each symbol occurs, ends of lines included; the bias starts there, and samples follow it.
    ``traits``: of every symbol, rows of a table of vectors that symbols share, the weights
    ``traits``; a symbol's row of M is its own plus these (see the module ``traits``).
    """

    recurrence: Recurrence
    """Of every cell but "mlp"."""
    hidden: nn.Linear
    """Of the cell "mlp"."""
    chances: Tensor | None
    trait_rows: Tensor | None

    def __init__(
        self,
        *,
        symbols: int,
        cell: str = "lstm",
        embedding: int = 256,
        hidden: int = 512,
        layers: int = 1,
        context: int = 3,
        tied: bool = True,
        dropout: float = 0.3,
        embedding_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        samples: int = 0,
        counts: Int[Tensor, "V"] | None = None,
        traits: Int[Tensor, "K V"] | None = None,
    ) -> None:
        super().__init__()
        self.cell, self.context, self.samples = cell, context, samples
        self.dropout, self.embedding_dropout = dropout, embedding_dropout
        self.embedding = nn.Parameter(torch.randn(symbols, embedding) * START)
        self.traits = None
        if traits is not None:
            values = int(traits.max()) + 1
            self.traits = nn.Parameter(torch.randn(values, embedding) * START)
        self.register_buffer("trait_rows", traits, persistent=False)
        if cell == "mlp":
            self.hidden = _linear(context * embedding, hidden)
        else:
            self.recurrence = Recurrence(
                cell,
                embedding,
                hidden,
                layers=layers,
                dropout=dropout,
                recurrent_dropout=recurrent_dropout,
            )
        self.readout = _linear(hidden, embedding)
        self.output = None
        if not tied:
            self.output = nn.Parameter(nn.init.xavier_uniform_(torch.empty(symbols, embedding)))
        known = torch.zeros(symbols, dtype=torch.int64) if counts is None else counts
        # log p up to a constant, which a softmax does not see
        self.output_bias = nn.Parameter(torch.log1p(known.float()))
        chances = chances_of(known, samples) if samples else None
        self.register_buffer("chances", chances, persistent=False)

    def forward(
        self, inputs: Int[Tensor, "B T"], state: Float[Tensor, "L K B H"] | None = None
    ) -> Float[Tensor, "B T V"]:
        """Logits of the symbol after each of ``inputs``; ``state`` as :meth:`read` gives it."""
        matrix = self.vectors()
        outputs, _ = self.read(self.enter(inputs, matrix), state)
        matrix = matrix if self.output is None else self.output
        logits = nn.functional.linear(outputs, matrix[OUTCOMES:], self.output_bias[OUTCOMES:])
        return nn.functional.pad(logits, (OUTCOMES, 0), value=-math.inf).transpose(0, 1)

    def loss(self, given: TensorBatch, *, smoothing: float) -> Loss:
        """Cross-entropy of the labels, over all outcomes or over a sample."""
        inputs, labels = given.inputs, given.labels
        known = labels.T.flatten() != PAD
        # what lies behind the ends is left out, or where no shape may change counts for nothing
        kept = None if given.fixed else known.nonzero()[:, 0]
        output: Tensor | None = self.output
        bias: Tensor = self.output_bias
        correction: Tensor | None = None
        if self.chances is not None:
            # a small vocabulary for this batch: its own symbols and the sample
            own = torch.cat([inputs, labels], dim=1)
            size = room_for(self.samples, own.numel(), len(bias)) if given.fixed else None
            chosen, correction, places = draw(self.chances, own, size=size)
            inputs, labels = places[inputs], places[labels]
            matrix, bias = self.vectors(chosen), bias.index_select(0, chosen)
            output = None if output is None else embed(chosen, output)
        else:
            matrix = self.vectors()
        outputs, final = self.read(self.enter(inputs, matrix), given.carried)
        weights = given.weights.expand(labels.shape[::-1]).flatten()
        outputs, rows = outputs.flatten(0, 1), labels.T.flatten()
        if kept is None:
            weights = weights * known
        else:
            outputs, rows, weights = outputs.index_select(0, kept), rows[kept], weights[kept]
        total = softmax_loss(
            outputs,
            matrix if output is None else output,
            bias,
            rows,
            weights=weights,
            correction=correction,
            smoothing=smoothing,
        )
        return Loss(total, weights.sum(), final)

    def vectors(self, chosen: Int[Tensor, "N"] | None = None) -> Float[Tensor, "N E"]:
        """The rows of M, of all symbols or of those ``chosen``: each its own and its traits'."""
        matrix: Tensor = self.embedding if chosen is None else embed(chosen, self.embedding)
        if self.traits is not None and self.trait_rows is not None:
            rows = self.trait_rows if chosen is None else self.trait_rows[:, chosen]
            matrix = matrix + nn.functional.embedding_bag(rows.T, self.traits, mode="sum")
        return matrix

    def enter(
        self, inputs: Int[Tensor, "B T"], matrix: Float[Tensor, "K E"]
    ) -> Float[Tensor, "T B E"]:
        """The vectors x."""
        vectors = embed(inputs.T, matrix)
        if self.training and self.embedding_dropout:
            factors = Dropout.apply(vectors.new_ones(len(matrix)), self.embedding_dropout)
            vectors = vectors * factors[inputs.T][..., None]
        return drop_locked(vectors, self.dropout, training=self.training)

    def read(
        self, vectors: Float[Tensor, "T B E"], state: Float[Tensor, "L K B H"] | None = None
    ) -> tuple[Float[Tensor, "T B E"], Float[Tensor, "L K B H"]]:
        """The vectors r, and the state after the last step.

        A state is that of the recurrence, or for "mlp" the last n - 1 vectors (L = 1, K = n - 1).
        """
        if self.cell == "mlp":
            hidden, state = self._look_back(vectors, state)
        else:
            hidden, state = self.recurrence(vectors, initial=state)
        hidden = drop_locked(hidden, self.dropout, training=self.training)
        return linear(hidden, self.readout.weight, self.readout.bias), state

    def _look_back(self, vectors: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """The vectors h of the cell "mlp", and its next state."""
        steps, batch, size = vectors.shape
        before = vectors.new_zeros(self.context - 1, batch, size) if state is None else state[0]
        known = torch.cat([before, vectors])
        seen = torch.cat([known[k : k + steps] for k in range(self.context)], dim=-1)
        return torch.tanh(linear(seen, self.hidden.weight, self.hidden.bias)).to(
            vectors.dtype
        ), known[None, steps:]


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """A matrix as Glorot and Bengio (2010) start it, and a bias of zero."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
