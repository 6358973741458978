"""Perplexity of a model that goes on learning from what it has read, in two ways.

:func:`session_loss` is that of a session, which learns each line after it was scored, by a cache
(:mod:`charseq.inference.sessions.cache`).

:func:`adapted_loss` is dynamic evaluation, after Krause et al. (2018,
https://arxiv.org/abs/1709.07432). The text is read in its order, in segments. Each segment is
scored first; then the weights take one step on it:

    θ ← θ - η g / (R + ε) + min(λ R / mean(R), 1) (θ_0 - θ)

g is the gradient of the segment's loss per symbol, θ_0 the trained weights, and R the root mean
square of the gradient in training. R is taken from lines that the model itself writes, so that an
evaluation needs no training data; the published method takes the training data. No probability
depends on its own word or on a later one, since a step follows the scores of its segment.

The gradients need torch. The weights of the run stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.data.text.vocabulary import BOS, EOS, PAD
from charseq.errors import DataError, UsageError, require
from charseq.inference.sessions.cache import ContinuousCache

if TYPE_CHECKING:
    from jaxtyping import Int

    from charseq.inference.language_model import LanguageModel

RATE = 1e-3
"""η, the step of a weight whose gradient is as large as in training."""
DECAY = 2e-3
"""λ, the share by which an average weight goes back to where it was trained, per segment."""
DAMPING = 1.0
"""ε, as a multiple of the mean of R: rows of rare words have hardly any gradient in training."""
SEGMENT = 20
"""Symbols of a segment; of lines each for itself, as many whole lines as have so many."""
SAMPLED = 400
"""Lines that the model writes, for R."""
LONGEST = 512
"""Symbols up to which a line is one segment; the rest of it is a segment of its own."""

Segment = tuple["Int[np.ndarray, 'B T']", "Int[np.ndarray, 'B T']", bool]
"""Inputs, labels, and whether the state goes on from the segment before."""


class AdaptiveNetwork:
    """The network of a language model, whose weights follow the text that it reads."""

    def __init__(
        self,
        model: LanguageModel,
        *,
        rate: float = RATE,
        decay: float = DECAY,
        damping: float = DAMPING,
        segment: int = SEGMENT,
        sampled: Iterable[str] | None = None,
    ) -> None:
        """``sampled``: lines for R; by default the model writes them.

        Raises:
            MissingExtraError: torch is not installed.
        """
        require("torch", "dynamic evaluation")
        import torch

        from charseq.models.factory import build_next_word

        self.model, self.rate, self.segment = model, rate, segment
        symbols = len(model.tokenizer.vocabulary)
        self._network: Any = build_next_word(
            model.config, counts=np.zeros(symbols, dtype=np.int64), traits=None, samples=0
        )
        weights = {
            name: torch.from_numpy(np.array(value)) for name, value in model.network.named.items()
        }
        self._network.load_state_dict(weights)
        self._network.eval()
        self._weights = list(self._network.parameters())
        self._trained = [weight.detach().clone() for weight in self._weights]
        self._state: Any = None
        if sampled is None:
            sampled = model.generate([""], count=SAMPLED)[0]
        self._scales, self._pull = self._measure(sampled, decay, damping)

    def score(self, lines: Sequence[str]) -> Iterator[list[float]]:
        """The log-probabilities of the symbols of each segment, line ends counted, in order.

        The weights have then learnt all segments before.
        """
        for segment in self._segments(lines):
            logs = self._read(segment)
            yield [float(one) for one in logs.detach()]
            (-logs.mean()).backward()
            self._step()

    def _measure(
        self, lines: Iterable[str], decay: float, damping: float
    ) -> tuple[list[Any], list[Any]]:
        """R + ε of each weight, and the share by which it goes back."""
        squares = [weight.detach().new_zeros(weight.shape) for weight in self._weights]
        count = 0
        for segment in self._segments([line for line in lines if line.strip()]):
            (-self._read(segment).mean()).backward()
            for weight, square in zip(self._weights, squares, strict=True):
                if weight.grad is not None:
                    square.addcmul_(weight.grad, weight.grad)
                    weight.grad = None
            count += 1
        self._state = None
        if not count:
            raise DataError("the model writes empty lines only, so that nothing tells R")
        roots = [(square / count).sqrt_() for square in squares]
        mean = sum(float(root.sum()) for root in roots) / sum(root.numel() for root in roots)
        pulls = [(decay / mean * root).clamp_(max=1.0) for root in roots]
        return [root.add_(damping * mean) for root in roots], pulls

    def _step(self) -> None:
        """One step on the gradient of the segment."""
        import torch

        with torch.no_grad():
            parts = zip(self._weights, self._trained, self._scales, self._pull, strict=True)
            for weight, trained, scale, pull in parts:
                if weight.grad is None:
                    continue
                weight.addcdiv_(weight.grad, scale, value=-self.rate)
                weight.addcmul_(trained - weight, pull)
                weight.grad = None

    def _read(self, segment: Segment) -> Any:
        """The log-probabilities of the labels of a segment, with their gradient."""
        import torch

        inputs, labels, goes_on = segment
        network, wanted = self._network, torch.from_numpy(labels)
        state = self._state if goes_on else None
        matrix = network.vectors()
        outputs, final = network.read(network.enter(torch.from_numpy(inputs), matrix), state)
        self._state = final.detach()
        kept = wanted != PAD
        outputs = outputs.transpose(0, 1)[kept]
        output = matrix if network.output is None else network.output
        logits = torch.nn.functional.linear(outputs, output, network.output_bias)
        logits[:, [PAD, BOS]] = -math.inf
        found: Any = torch.log_softmax(logits, dim=1).gather(1, wanted[kept][:, None])[:, 0]
        return found

    def _segments(self, lines: Sequence[str]) -> Iterator[Segment]:
        """The segments of a text, in order."""
        encode: Callable[[str], list[int]] = self.model.tokenizer.encode
        if self.model.carries_state:
            ids = np.array([EOS, *(one for line in lines for one in (*encode(line), EOS))])
            for begin in range(0, len(ids) - 1, self.segment):
                part = ids[None, begin : begin + self.segment + 1]
                yield part[:, :-1], part[:, 1:], begin > 0
            return
        rows: list[list[int]] = []
        for line in lines:
            row = [BOS, *encode(line), EOS]
            if rows and len(row) > LONGEST + 1:  # it goes on from its own state alone
                yield (*_pad(rows), False)
                rows = []
            for begin in range(0, len(row) - 1, LONGEST):
                rows.append(row[begin : begin + LONGEST + 1])
                if len(row) > LONGEST + 1 or sum(map(len, rows)) - len(rows) >= self.segment:
                    yield (*_pad(rows), begin > 0)
                    rows = []
        if rows:
            yield (*_pad(rows), False)


def _pad(rows: Sequence[Sequence[int]]) -> tuple[Int[np.ndarray, "B T"], Int[np.ndarray, "B T"]]:
    """Inputs and labels of rows, padded."""
    filled = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    for number, row in enumerate(rows):
        filled[number, : len(row)] = row
    labels = filled[:, 1:].copy()
    return filled[:, :-1].copy(), labels


def adapted_loss(model: LanguageModel, lines: Sequence[str]) -> float:
    """Negative log-likelihood of all lines with their ends, in nats, by dynamic evaluation.

    Raises:
        MissingExtraError: torch is not installed.
    """
    network = AdaptiveNetwork(model)
    return -math.fsum(value for logs in network.score(lines) for value in logs)


def session_loss(model: LanguageModel, lines: Sequence[str]) -> float:
    """Negative log-likelihood of all lines with their ends, in nats, of a session that learns.

    Words that the model does not know are one symbol, as in the perplexity without a session.

    Raises:
        UsageError: the symbols of the model are not words.
    """
    if not model.has_word_symbols:
        raise UsageError(f"a session learns words, but {model.path} has other symbols")
    network, cache = model.network, ContinuousCache(model.network.readout[0].shape[0])
    symbols, state = first = network.start([[]])
    loss = 0.0
    for line in lines:
        ids = [*model.tokenizer.encode(line), EOS]
        if not model.carries_state:
            symbols, state = first
        symbols, state, (contexts,) = network.trace(symbols, state, [ids])
        for begin in range(0, len(ids), LONGEST):
            part = slice(begin, begin + LONGEST)
            logs = network.judge(contexts[part])
            for label, known, context in zip(ids[part], logs, contexts[part], strict=True):
                loss -= cache.mixed_one(float(known[label]), context, label)
        cache.add(contexts, ids)
    return loss
