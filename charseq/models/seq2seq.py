"""source, inputs -> logits: the encoder-decoder of sheet E, for training.

The encoder reads the whole source before the decoder writes the first symbol:
    memory, final = BiRNN(E_s[source])            outputs at every source symbol
    state_0       = W_b final + b                 the bridge, the only link without attention
    h_t           = RNN(E_t[input_t], h_{t-1})
    r_t           = tanh(W_r h_t + c_t)           c_t: attention's context (absent without it)
    logits_t      = E_t r_t + b                   or a matrix of its own, if not tied
The decoder's recurrence does not depend on the contexts, so attention runs for all steps at once.

With hard monotonic attention (Aharoni & Goldberg 2017) the decoder writes actions (see
``data.text.alignment``), which advance a position p along the source. The memory m at p is read:
    h_t      = RNN(E_t[input_t] + P m_{p(t)}, h_{t-1})
    r_t      = tanh(W_r h_t + c_t + Q m_{p(t)})
and a row of a table, that of the source symbol at p, is added to the logits. The table is
initialised with the log-probabilities of the alignment (``Aligner.prior``), so that the network
learns the rest. In training all positions are known, since the inputs are given. Features have no
order and so no position: the sum of their n vectors over √n is added to every symbol's vector.

``decoding.seq2seq_numpy`` is the forward pass without torch; both have the same names of weights.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import EOS, PAD
from charseq.kernels.matmul import linear
from charseq.models.layers import Attention, Dropout, Pointer, embed
from charseq.models.loss import Loss, TensorBatch, TrainableModel, cross_entropy
from charseq.models.rnn import Recurrence

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class EncoderDecoder(TrainableModel):
    """Weights and forward pass; sizes are numbers of symbols (V), units (E, H) and layers."""

    def __init__(
        self,
        *,
        sources: int,
        targets: int,
        cell: str = "gru",
        embedding: int = 128,
        hidden: int = 256,
        layers: int = 1,
        attention: bool = True,
        pointer: bool = False,
        tied: bool = True,
        dropout: float = 0.3,
        prior: Float[Tensor, "S V"] | None = None,
    ) -> None:
        super().__init__()
        if attention and pointer:
            raise ValueError("attention is soft or hard, not both")
        if prior is not None and not pointer:
            raise ValueError("a prior is for hard attention")
        self.dropout = dropout
        self.source_embedding = nn.Parameter(torch.randn(sources, embedding))
        self.target_embedding = nn.Parameter(torch.randn(targets, embedding) / math.sqrt(embedding))
        self.encoder = Recurrence(cell, embedding, hidden, layers=layers, bidirectional=True)
        self.decoder = Recurrence(cell, embedding, hidden, layers=layers)
        self.bridge = nn.Linear(2 * hidden, hidden)
        self.attention = Attention(hidden, 2 * hidden, embedding) if attention else None
        self.pointer = Pointer(2 * hidden, embedding, Actions.of(targets)) if pointer else None
        self.prior = None if prior is None else nn.Parameter(prior.clone())
        self.readout = nn.Linear(hidden, embedding)
        self.output = None if tied else nn.Parameter(torch.empty(targets, embedding))
        self.output_bias = nn.Parameter(torch.zeros(targets))
        for weight in (self.bridge.weight, self.readout.weight, self.output):
            if weight is not None:
                nn.init.xavier_uniform_(weight)
        nn.init.zeros_(self.bridge.bias)
        nn.init.zeros_(self.readout.bias)

    def forward(
        self,
        source: Int[Tensor, "B S"],
        source_lengths: Int[Tensor, "B"],
        inputs: Int[Tensor, "B T"],
    ) -> Float[Tensor, "B T V"]:
        """Logits of the symbol after each of ``inputs``, which are given (teacher forcing)."""
        _, memory, final = self.read(source, source_lengths)
        # a row of the tied matrix has the output's scale; as an input its scale should be near 1
        scale = math.sqrt(self.target_embedding.shape[1])
        given = self._drop(embed(inputs.T, self.target_embedding) * scale)
        if self.attention is not None or self.pointer is not None:
            memory = self._drop(memory)
        positions, readout_input = None, None
        if self.pointer is not None:
            positions = self.pointer.positions(inputs, len(memory))
            decoder_input, readout_input = self.pointer(memory, positions)
            given = given + decoder_input
        hidden, _ = self.decoder(given, initial=_apply(self.bridge, final).to(given.dtype))
        mixed = _apply(self.readout, hidden)
        if readout_input is not None:
            mixed = mixed + readout_input
        if self.attention is not None:
            mixed = mixed + self.attention(hidden, memory, source != PAD)[0]
        matrix = self.target_embedding if self.output is None else self.output
        logits = linear(self._drop(torch.tanh(mixed)), matrix, self.output_bias)
        if self.prior is not None and positions is not None:
            logits = logits + embed(source.gather(1, positions).T, self.prior)
        return logits.transpose(0, 1)

    def read(
        self, source: Int[Tensor, "B S"], lengths: Int[Tensor, "B"]
    ) -> tuple[Float[Tensor, "T B E"], Float[Tensor, "T B M"], Float[Tensor, "L K B M"]]:
        """The encoder's inputs, its outputs and its final states."""
        vectors = embed(source.T, self.source_embedding)
        if self.pointer is not None:
            # trimming depends on values, and reading values synchronises a GPU
            trimmed = not source.is_cuda
            vectors, lengths = share_features(vectors, source, lengths, trimmed=trimmed)
        vectors = self._drop(vectors)
        return vectors, *self.encoder(vectors, lengths)

    def loss(self, given: TensorBatch, *, smoothing: float) -> Loss:
        """Cross-entropy of the labels."""
        logits = self(given.source, given.source_lengths, given.inputs)
        weights = given.weights
        return Loss(*cross_entropy(logits, given.labels, weights=weights, smoothing=smoothing))

    def _drop(self, values: Tensor) -> Tensor:
        """Dropout (Srivastava et al. 2014) in training, the identity otherwise."""
        if not self.training or not self.dropout:
            return values
        dropped: Tensor = Dropout.apply(values, self.dropout)
        return dropped


def share_features(
    vectors: Float[Tensor, "S B E"],
    source: Int[Tensor, "B S"],
    lengths: Int[Tensor, "B"],
    *,
    trimmed: bool = True,
) -> tuple[Float[Tensor, "T B E"], Int[Tensor, "B"]]:
    """The vectors of texts up to EOS, each plus those of the features behind EOS; the lengths.

    With ``trimmed`` the result ends with the longest text, else it is padded.
    """
    ends = (source == EOS).int().argmax(dim=1)
    positions = torch.arange(source.shape[1], device=source.device)
    behind = ((positions > ends[:, None]) & (positions < lengths[:, None])).to(vectors.dtype)
    shared = torch.einsum("bs,sbe->be", behind, vectors)
    shared = shared * behind.sum(dim=1).clamp(min=1).rsqrt()[:, None]
    steps = int(ends.max()) + 1 if trimmed else len(vectors)
    return vectors[:steps] + shared, ends + 1


def _apply(layer: nn.Linear, values: Tensor) -> Tensor:
    return linear(values, layer.weight, layer.bias)
