"""inputs -> logits of the next symbol of a text: the network of sheet B, for training.

    x_t      = M[input_t]                   a row of the embedding M: the symbol's own, or with
                                            traits the sum of its own and theirs
    h_t      = RNN(x_t, h_{t-1})            tanh (sheet B2), residual (B3), GRU or LSTM
      or     = tanh(W [x_{t-n+1}; ...; x_t] + b)    cell "mlp": n symbols of context, zero before
                                            the first (Bengio et al. 2003; B1 is n = 1, no tanh)
    r_t      = W_r h_t + b_r
    logits_t = M r_t + b                    or a matrix of its own, if not tied
Padding and BOS are never predicted: their logits are -inf. ``decoding.next_word_numpy`` is the
forward pass without torch; both have the same names of weights.

In training, dropout applies to x and to the outputs of every layer with one mask for all steps of a
row (Gal & Ghahramani 2016), and to the rows of M and the weights W_h with one mask for the batch
(Merity et al. 2018).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from charseq.data.text.vocabulary import PAD
from charseq.kernels.matmul import linear
from charseq.models.layers import Dropout, embed, select, sum_rows, variational_dropout
from charseq.models.loss import (
    OUTCOMES,
    Loss,
    TensorBatch,
    TrainableModel,
    draw,
    sample_size,
    sampling_probabilities,
    softmax_loss,
)
from charseq.models.rnn import Recurrence

if TYPE_CHECKING:
    from jaxtyping import Float, Int


START = 0.05
"""Standard deviation of an embedding's initial values. Inputs are small on purpose: AdamW moves
each entry by about the learning rate, and scaling the inputs up would turn those moves into
noise."""


class NextWord(TrainableModel):
    """Weights, forward pass and loss; sizes are numbers of symbols (V), units (E, H) and layers.

    ``context``: symbols of context of the cell "mlp", which has one layer. ``samples``: expected
    size of the softmax sample in training; 0 takes all symbols. ``counts``: occurrences of each
    symbol, ends of lines included, for the initial bias and the sampling. ``traits``: for every
    symbol, rows of a table of shared vectors (the weights ``traits``); a symbol's row of M is its
    own vector plus these (see ``training.next_word``).
    """

    recurrence: Recurrence
    """Of every cell but "mlp"."""
    hidden: nn.Linear
    """Of the cell "mlp"."""
    sampling: Tensor | None
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
        sampling = sampling_probabilities(known, samples) if samples else None
        self.register_buffer("sampling", sampling, persistent=False)

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
        # padding is left out, or has weight 0 where shapes must not change
        kept = None if given.fixed else known.nonzero()[:, 0]
        output: Tensor | None = self.output
        bias: Tensor = self.output_bias
        correction: Tensor | None = None
        if self.sampling is not None:
            # sampled softmax: the vocabulary of this step is the batch's symbols and the sample
            own = torch.cat([inputs, labels], dim=1)
            size = sample_size(self.samples, own.numel(), len(bias)) if given.fixed else None
            chosen, correction, indices = draw(self.sampling, own, size=size)
            inputs, labels = indices[inputs], indices[labels]
            matrix, bias = self.vectors(chosen), bias.index_select(0, chosen)
            output = None if output is None else select(chosen, output)
        else:
            matrix = self.vectors()
        outputs, final = self.read(self.enter(inputs, matrix), given.state)
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
        matrix: Tensor = self.embedding if chosen is None else select(chosen, self.embedding)
        if self.traits is not None and self.trait_rows is not None:
            rows = self.trait_rows if chosen is None else self.trait_rows[:, chosen]
            matrix = matrix + sum_rows(rows.T, self.traits)
        return matrix

    def enter(
        self, inputs: Int[Tensor, "B T"], matrix: Float[Tensor, "K E"]
    ) -> Float[Tensor, "T B E"]:
        """The vectors x of the inputs."""
        vectors = embed(inputs.T, matrix)
        if self.training and self.embedding_dropout:
            factors = Dropout.apply(vectors.new_ones(len(matrix)), self.embedding_dropout)
            vectors = vectors * factors[inputs.T][..., None]
        return variational_dropout(vectors, self.dropout, training=self.training)

    def read(
        self, vectors: Float[Tensor, "T B E"], state: Float[Tensor, "L K B H"] | None = None
    ) -> tuple[Float[Tensor, "T B E"], Float[Tensor, "L K B H"]]:
        """The vectors r, and the state after the last step.

        A state is that of the recurrence, or for "mlp" the last n - 1 vectors (L = 1, K = n - 1).
        """
        if self.cell == "mlp":
            hidden, state = self._feed_forward(vectors, state)
        else:
            hidden, state = self.recurrence(vectors, initial=state)
        hidden = variational_dropout(hidden, self.dropout, training=self.training)
        return linear(hidden, self.readout.weight, self.readout.bias), state

    def _feed_forward(self, vectors: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """The vectors h of the cell "mlp" from its last n inputs, and its next state."""
        steps, batch, size = vectors.shape
        past = vectors.new_zeros(self.context - 1, batch, size) if state is None else state[0]
        known = torch.cat([past, vectors])
        window = torch.cat([known[k : k + steps] for k in range(self.context)], dim=-1)
        return torch.tanh(linear(window, self.hidden.weight, self.hidden.bias)).to(
            vectors.dtype
        ), known[None, steps:]


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer with the matrix of Glorot & Bengio (2010) and a bias of zero."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
