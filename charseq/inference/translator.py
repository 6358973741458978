"""Networks, vocabularies and limits: texts -> predictions, with probabilities.

A text that occurs several times is computed once. Texts of similar length are computed together,
which changes no answer (see :mod:`charseq.decoding.seq2seq_numpy`). How sure an answer is, is the
matter of :mod:`charseq.confidence`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from pathlib import Path

from charseq.confidence.calibration import Calibration
from charseq.confidence.confidence import Confidence, Source
from charseq.confidence.memory import Memory, key_of
from charseq.data.batches import buckets
from charseq.data.text.alignment import Actions, source_length
from charseq.data.text.vocabulary import EOS, UNK, Vocabulary
from charseq.decoding.ensemble import DirectionGroup
from charseq.decoding.search import (
    LENGTH_MARGIN,
    Hypothesis,
    LengthLimits,
    Searcher,
    beam,
    greedy,
    penalty,
)
from charseq.decoding.seq2seq_numpy import WIDTH
from charseq.errors import SettingError
from charseq.inference.prediction import Prediction, ScoredText, rank, remembered, require_numbers

MAX_POSITIONS = 2**17
"""Symbols of sources that are computed together: ten kilobytes each."""
MAX_ATTENDED = 2**28
"""Symbols of a source times symbols of its output, without hard attention: a minute of work."""


class Translator:
    """Vocabularies, length limits and networks: texts -> predictions.

    The networks are in one or two groups, those that write forward and those that write backward.
    Each group searches on its own. The probability of an output is the weighted mean over the
    groups; it is 0 in a group whose search did not find the output.
    """

    def __init__(
        self,
        direction_groups: Sequence[DirectionGroup],
        source: Vocabulary,
        target: Vocabulary,
        limits: LengthLimits,
        *,
        calibration: Calibration | None = None,
        confidence: Confidence | None = None,
        memory: Memory | None = None,
        length_penalty: float = 0.0,
        path: Path | None = None,
    ) -> None:
        self.direction_groups = tuple(direction_groups)
        self.source = source
        self.target = target
        self.limits = limits
        self.calibration = calibration
        self.confidence = confidence
        self.memory = memory
        self.length_penalty = length_penalty
        self.path = path
        """The run folder, for the messages of errors."""

    def predict(
        self, texts: Sequence[str], *, n: int = 1, width: int = 1, batch_size: int = 256
    ) -> list[Prediction]:
        """One prediction for each text, in order, with up to ``n`` candidates each.

        ``width`` is the beam width; it is raised to ``n`` where it is less. ``batch_size`` texts
        are computed together.

        Raises:
            CheckpointError: the weights are so large that no probability is a number.
        """
        distinct = list(dict.fromkeys(texts))
        split = [self.parts(text) for text in distinct]
        known = self._known([source for source, _ in split])
        ids = [self.encode(*parts) for parts in split]
        width = max(width, n)
        searches = [
            self._outputs(split, ids, group, width, batch_size) for group in self.direction_groups
        ]
        found = {}
        for text, parts, row, one, *outputs in zip(
            distinct, split, ids, known, *searches, strict=True
        ):
            unknown = self.source.unknown(*parts) if UNK in row else []
            answer = partial(
                self._prediction, text, outputs, unknown, searched=bool(row), known=one
            )
            found[text] = self._recalled(parts, answer, n)
        return [found[text] for text in texts]

    def having(
        self,
        *,
        calibration: Calibration | None = None,
        confidence: Confidence | None = None,
        memory: Memory | None = None,
    ) -> Translator:
        """The same networks with other probabilities; without any, the model's own."""
        other = copy(self)
        other.calibration, other.confidence, other.memory = calibration, confidence, memory
        return other

    def parts(self, text: str) -> tuple[str, str]:
        """Source and features of one text, which has a tab between them.

        Raises:
            SettingError: a text without its features, or with more than one tab.
        """
        if not self.source.features:
            return text, ""
        source, tab, features = text.partition("\t")
        if not tab or "\t" in features:
            raise SettingError(
                f"'{text}' has {text.count(chr(9))} tabs, expected one, between source and features"
            )
        return source, features

    @property
    def actions(self) -> Actions | None:
        """The actions that a network with hard attention writes; None where it writes symbols."""
        actions: Actions | None = self.direction_groups[0].network.actions
        return actions

    def encode(self, source: str, features: str, *, backward: bool = False) -> list[int]:
        """The ids that a network reads; an empty list for a text without symbols."""
        hard = self.actions is not None
        ids = self.source.encode(source, features, ended=hard, backward=backward)
        return [] if ids == [EOS] else ids

    def search(
        self, sources: Sequence[Sequence[int]], width: int, group: DirectionGroup | None = None
    ) -> list[list[Hypothesis]]:
        """Hypotheses of one group (by default the first) for each source, best first.

        ``sources`` are ids, of similar length. A hypothesis has ids, or actions with hard
        attention. For a group that writes backward both are in reversed order.

        Raises:
            CheckpointError: as :meth:`predict`.
        """
        limits = [self._limit(ids) for ids in sources]
        network = (self.direction_groups[0] if group is None else group).network
        strength = self.length_penalty
        silent = None if self.actions is None else self.actions.deletion
        if isinstance(network, Searcher):
            found = network.search(sources, limits, width=width, length_penalty=strength)
        elif width == 1:
            state = network.start(sources)
            found = [[best] for best in greedy(network, state, limits, silent=silent)]
        else:
            found = beam(
                network, network.start(sources), limits,
                width=width, length_penalty=strength, silent=silent,
            )  # fmt: skip
        for outputs in found:
            # where all probabilities are NaN, a search finds nothing
            require_numbers([one.score for one in outputs] or [math.nan], self.path)
        return found

    def _limit(self, ids: Sequence[int]) -> int:
        """Longest output for a source; with hard attention long enough to reach its end.

        Else each output symbol looks at the whole source: an output that would take more than
        ``MAX_ATTENDED`` looks is cut there, and so marked as truncated.
        """
        size = source_length(ids)
        limit = self.limits.of(size)
        if self.actions is None:
            return min(limit, MAX_ATTENDED // max(size, 1))
        return max(limit, math.ceil(LENGTH_MARGIN * size))

    def _outputs(
        self,
        texts: Sequence[tuple[str, str]],
        ids: Sequence[list[int]],
        group: DirectionGroup,
        width: int,
        batch_size: int,
    ) -> list[list[ScoredText]]:
        """The outputs that one group finds for each of ``texts``.

        ``ids`` are those of the texts, read forward.
        """
        if group.backward:
            ids = [self.encode(*parts, backward=True) for parts in texts]
        # a text without symbols, such as an empty line, has an empty output
        found = [[ScoredText("", 0.0)] for _ in ids]
        # a network that searches by itself also divides its input into batches
        size = max(len(ids), 1) if isinstance(group.network, Searcher) else batch_size
        for batch in buckets([len(row) for row in ids], width=WIDTH, size=size):
            length = len(ids[batch[0]])
            most = max(1, MAX_POSITIONS // max(length, 1))
            if isinstance(group.network, Searcher):
                most = size
            for first in range(0, len(batch) if length else 0, most):
                rows = batch[first : first + most]
                searched = self.search([ids[row] for row in rows], width, group)
                for row, hypotheses in zip(rows, searched, strict=True):
                    found[row] = self._texts(hypotheses, backward=group.backward)
        return found

    def _texts(self, hypotheses: Sequence[Hypothesis], *, backward: bool) -> list[ScoredText]:
        """Hypotheses as texts; the probabilities of those that spell the same text are added."""
        found: dict[str, ScoredText] = {}
        actions, strength = self.actions, self.length_penalty
        cut = hypotheses[0].ids if hypotheses[0].truncated else None
        for one in hypotheses:
            if one.ids == cut and not one.truncated:
                continue  # the truncated output with its end, which its score has
            ids = one.ids if actions is None else actions.target_ids(one.ids)
            text = self.target.decode(reversed(ids) if backward else ids)
            divisor = penalty(len(one.ids) + 1, strength) if strength else 1.0
            beginning = one.score if one.truncated else None
            scored = ScoredText(text, one.score + one.end, divisor, beginning)
            found[text] = found[text].merged(scored) if text in found else scored
        return list(found.values())

    def _recalled(
        self, parts: tuple[str, str], answer: Callable[[int], Prediction], n: int
    ) -> Prediction:
        """The ``n`` best answers of the memory and the model; ``answer(n)`` are the model's."""
        key = "" if self.memory is None else key_of(self.source, *parts)
        if self.memory is None or not self.memory.find(key):
            return answer(n)
        every = answer(sys.maxsize)
        ended = every.candidates[every.truncated :]
        mixed = self.memory.mixed(key, {one.prediction: one.probability for one in ended})
        return remembered(every, ended, mixed, self.memory.find(key), n)

    def _prediction(
        self,
        text: str,
        outputs: Sequence[Sequence[ScoredText]],
        unknown: list[str],
        n: int,
        *,
        searched: bool,
        known: Source | None,
    ) -> Prediction:
        """The ``n`` best of the outputs of all groups.

        Probabilities are calibrated by all outputs, not only by the ``n`` best, and by what goes on
        after truncated ones. Where nothing was ``searched`` they are not calibrated. A truncated
        output is the best or none.
        """
        merged = self._merge(outputs) if len(outputs) > 1 else {one.text: one for one in outputs[0]}
        merits: dict[str, float] | None = None
        calibrated: Callable[[Sequence[float]], Sequence[float]] | None = None
        if self.confidence and known and searched:
            calibrated = partial(self.confidence.probabilities, known.penalty)
        elif self.calibration and searched:
            calibrated = self.calibration.probabilities
        cut = [one for one in merged.values() if one.beginning is not None]
        if cut or self.length_penalty:
            merits = {one.text: one.merit for one in merged.values()}
        if cut and merits is not None:
            best = max(merits, key=merits.__getitem__)
            for one in cut:
                if one.text != best:
                    del merged[one.text]
            if calibrated is not None:
                continued = [one.continued for one in cut]
                calibrated = partial(_calibrated, calibrated, continued)
        candidates = rank(
            {one.text: one.score for one in merged.values()},
            n,
            merits=merits,
            calibrated=calibrated,
        )
        first = candidates[0]
        truncated = merged[first.prediction].truncated
        return Prediction(
            text,
            first.prediction,
            first.probability,
            unknown,
            truncated,
            candidates,
            None if known is None else known.familiarity,
        )

    def _known(self, sources: Sequence[str]) -> Sequence[Source | None]:
        """What is known of each source without its answers; None in a run that has no measure."""
        if self.confidence is None:
            return [None] * len(sources)
        return self.confidence.sources(sources)

    def _merge(self, outputs: Sequence[Sequence[ScoredText]]) -> dict[str, ScoredText]:
        """The outputs of several groups, each text once, with its mean probability."""
        merged: dict[str, ScoredText] = {}
        for group, found in zip(self.direction_groups, outputs, strict=True):
            share = math.log(group.weight)
            for one in found:
                beginning = None if one.beginning is None else one.beginning + share
                shared = one._replace(score=one.score + share, beginning=beginning)
                before = merged.get(one.text)
                merged[one.text] = shared if before is None else before.merged(shared)
        return merged


def _calibrated(
    probabilities: Callable[[Sequence[float]], Sequence[float]],
    continued: Sequence[float],
    scores: Sequence[float],
) -> Sequence[float]:
    """The calibrated probabilities of candidates beside outputs that go on beyond the limit."""
    return probabilities([*scores, *continued])[: len(scores)]
