"""Networks, vocabularies and limits: texts -> predictions, with probabilities.

A text that occurs several times is computed once. Texts of similar length are computed together,
which changes no answer (see :mod:`charseq.decoding.seq2seq_numpy`). How sure an answer is, is the
matter of :mod:`charseq.confidence`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from charseq.confidence.calibration import MIN_REST, Calibration
from charseq.confidence.confidence import Confidence, Source
from charseq.confidence.memory import Memory, Targets, key_of, mix
from charseq.confidence.rescoring import Rescoring
from charseq.confidence.word_prior import WordPrior
from charseq.data.batches import buckets
from charseq.data.text.alignment import Actions, source_length
from charseq.data.text.vocabulary import EOS, UNK, Vocabulary
from charseq.decoding import rules
from charseq.decoding.constrained import Outputs, search_within
from charseq.decoding.ensemble import DirectionGroup
from charseq.decoding.search import LENGTH_MARGIN, Hypothesis, LengthLimits, Searcher, beam, greedy
from charseq.decoding.seq2seq_numpy import WIDTH
from charseq.errors import SettingError
from charseq.inference.prediction import (
    WORDS,
    Calibrated,
    FoundTexts,
    Prediction,
    ScoredText,
    best_of,
    merge,
    remembered,
    require_numbers,
    texts_of,
)

MAX_POSITIONS = 2**17
"""Symbols of sources that are computed together: ten kilobytes each."""
MAX_ATTENDED = 2**28
"""Symbols of a source times symbols of its output, without hard attention: a minute of work."""

PORTION = 4096
"""Texts whose outputs are looked up together; it changes no answer."""

Lifted = Mapping[str, int]
"""Listed output -> its rank by the model alone, from 0."""
NOTHING: Lifted = {}


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
        words: WordPrior | None = None,
        rescoring: Rescoring | None = None,
        length_penalty: float = 0.0,
        empty: bool = False,
        path: Path | None = None,
    ) -> None:
        self.direction_groups = tuple(direction_groups)
        self.source = source
        self.target = target
        self.limits = limits
        self.calibration = calibration
        self.confidence = confidence
        self.memory = memory
        self.words = words
        """A list of words that reweighs the outputs; None without."""
        self.rescoring = rescoring
        """Joint n-grams that the outputs of a beam search are weighed by; None without."""
        self.length_penalty = length_penalty
        self.empty = empty  # whether an output may be empty, which says that there is no answer
        self.path = path
        """The run folder, for the messages of errors."""
        self.rule: rules.TargetRule | None = None
        """The rule that all answers keep; an answer that does not is never given."""

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
        weights, found = [group.weight for group in self.direction_groups], {}
        merged_all = [merge(outputs, weights) for outputs in zip(*searches, strict=True)]
        weighed = [(one, NOTHING) for one in merged_all]
        if self.words is not None and any(self.words.weights):
            changed = iter(
                reranked([one for one, row in zip(merged_all, ids, strict=True) if row], self.words)
            )
            weighed = [next(changed) if row else one for one, row in zip(weighed, ids, strict=True)]
        for text, parts, row, one, (merged, lifted) in zip(
            distinct, split, ids, known, weighed, strict=True
        ):
            counts = self._remembered(parts)
            answer = best_of(
                text,
                merged,
                self.source.unknown(*parts) if UNK in row else [],
                sys.maxsize if counts else n,
                calibrated=self._calibrated(one) if row else None,
                by_merit=bool(self.length_penalty),
                familiarity=None if one is None else one.familiarity,
            )
            answer = marked(answer, lifted)
            found[text] = self._recalled(answer, counts, n) if counts else answer
        return [found[text] for text in texts]

    def having(
        self,
        *,
        calibration: Calibration | None = None,
        confidence: Confidence | None = None,
        memory: Memory | None = None,
        words: WordPrior | None = None,
    ) -> Translator:
        """The same networks and n-grams with other probabilities; without any, the model's own."""
        other = copy(self)
        other.calibration, other.confidence, other.memory = calibration, confidence, memory
        other.words = words
        return other

    def rescored(self, rescoring: Rescoring | None) -> Translator:
        """The same with other joint n-grams, or without."""
        other = copy(self)
        other.rescoring = rescoring
        return other

    def _remembered(self, parts: tuple[str, str]) -> Targets:
        """The targets that a source had in training and that keep the rule, with their counts."""
        if self.memory is None:
            return {}
        counts = self.memory.find(key_of(self.source, *parts))
        if self.rule is None or not counts:
            return counts
        kept: dict[str, float] = {}
        for text, count in counts.items():
            answer = self.rule.answer(text)
            if answer is not None:
                kept[answer] = kept.get(answer, 0.0) + count
        return kept

    def _recalled(self, answer: Prediction, counts: Targets, n: int) -> Prediction:
        """The ``n`` best answers of the memory and the model, of which ``answer`` has all."""
        strength = 0.0 if self.memory is None else self.memory.strength
        ended = answer.candidates[answer.truncated :]
        mixed = mix(counts, {one.prediction: one.probability for one in ended}, strength)
        return remembered(answer, ended, mixed, counts, n)

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
        return self._search(sources, width, self.direction_groups[0] if group is None else group)[0]

    def _search(
        self, sources: Sequence[Sequence[int]], width: int, group: DirectionGroup
    ) -> Outputs:
        """As :meth:`search`; and for each source the probability that the rule removes."""
        limits, removed = [self._limit(ids) for ids in sources], [0.0] * len(sources)
        network, empty = group.network, self.empty
        how: dict[str, Any] = {"width": width, "length_penalty": self.length_penalty}
        silent = None if self.actions is None else self.actions.deletion
        if self.rule is not None:
            found, removed = _within(self.rule, group, sources, limits, silent=silent, **how)
        elif isinstance(network, Searcher):
            found = network.search(sources, limits, empty=empty, **how)
        elif width == 1:
            state = network.start(sources)
            found = [[one] for one in greedy(network, state, limits, silent=silent, empty=empty)]
        else:
            found = beam(network, network.start(sources), limits, silent=silent, empty=empty, **how)
        for outputs, lost in zip(found, removed, strict=True):
            # where all probabilities are NaN, a search without a rule finds nothing
            scores = [one.score for one in outputs]
            require_numbers(scores or [lost if self.rule else math.nan], self.path)
        return found, removed

    def _limit(self, ids: Sequence[int]) -> int:
        """Longest output for a source; with hard attention long enough to reach its end.

        A rule has room for its longest line, or for the shortest text of its pattern. Without hard
        attention each output symbol looks at the whole source: an output that would take more than
        ``MAX_ATTENDED`` looks is cut there, and so marked as truncated.
        """
        size = source_length(ids)
        limit = self.limits.of(size)
        if self.rule is not None:
            limit = self.rule.limit(limit, size)
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
    ) -> list[FoundTexts]:
        """The outputs that one group finds for each of ``texts``.

        ``ids`` are those of the texts, read forward.
        """
        if group.backward:
            ids = [self.encode(*parts, backward=True) for parts in texts]
        # a text without symbols, such as an empty line, has an empty output
        allows = None if self.rule is None else self.rule.answer
        found = [FoundTexts.of([ScoredText("", 0.0)], allows)] * len(ids)
        write = partial(self._written, backward=group.backward)
        # a network that searches by itself also divides its input into batches
        size = max(len(ids), 1) if isinstance(group.network, Searcher) else batch_size
        for batch in buckets([len(row) for row in ids], width=WIDTH, size=size):
            length = len(ids[batch[0]])
            most = max(1, MAX_POSITIONS // max(length, 1))
            if isinstance(group.network, Searcher):
                most = size
            for first in range(0, len(batch) if length else 0, most):
                rows = batch[first : first + most]
                sources = [ids[row] for row in rows]
                searched, lost = self._search(sources, width, group)
                if self.rescoring is not None:
                    searched = _rescored(self.rescoring, sources, searched, group.backward)
                for row, hypotheses, removed in zip(rows, searched, lost, strict=True):
                    outputs = texts_of(hypotheses, write, self.length_penalty)
                    found[row] = FoundTexts.of(outputs, allows, removed)
        return found

    def _written(self, ids: Sequence[int], *, backward: bool) -> str:
        """The text of an output."""
        written = ids if self.actions is None else self.actions.target_ids(ids)
        return self.target.decode(reversed(written) if backward else written)

    def _known(self, sources: Sequence[str]) -> Sequence[Source | None]:
        """The facts on each source without its answers; None in a run that has no measure."""
        if self.confidence is None:
            return [None] * len(sources)
        return self.confidence.sources(sources)

    def _calibrated(self, known: Source | None) -> Calibrated | None:
        """The function from scores to probabilities for a source that was searched."""
        if self.confidence and known:
            return partial(self.confidence.probabilities, known.penalty)
        return self.calibration.probabilities if self.calibration else None


def _within(
    rule: rules.TargetRule,
    group: DirectionGroup,
    sources: Sequence[Sequence[int]],
    limits: Sequence[int],
    **how: Any,
) -> Outputs:
    """A search under a rule, in which a model that was taught to may also refuse a text.

    It does where its empty output is likelier than all others together, also those that the
    rule excludes: not only because the answer that it would have given is excluded. Other texts
    are searched again without the empty output.
    """
    guide = rule.automaton(backward=group.backward)
    found, removed = search_within(group.network, sources, limits, guide, **how)
    empty = [
        next((math.exp(one.score) for one in outputs if _is_empty(one, group)), 0.0)
        for outputs in found
    ]
    again = [i for i, share in enumerate(empty) if rule.only_refuses and 0 < share < 0.5]
    if again:
        guide = rule.automaton(backward=group.backward, refusing=False)
        texts, bounds = [sources[i] for i in again], [limits[i] for i in again]
        searched = search_within(group.network, texts, bounds, guide, **how)
        for i, one, share in zip(again, *searched, strict=True):
            found[i], removed[i] = one, share + empty[i]
    return found, removed


def _is_empty(one: Hypothesis, group: DirectionGroup) -> bool:
    """Whether an output that ended writes nothing."""
    actions = group.network.actions
    return not one.truncated and not (one.ids if actions is None else actions.target_ids(one.ids))


def _rescored(
    rescoring: Rescoring,
    sources: Sequence[Sequence[int]],
    outputs: Sequence[Sequence[Hypothesis]],
    backward: bool,
) -> list[list[Hypothesis]]:
    """The outputs of each source with scores by the joint n-grams, best first.

    An output that was cut at the length limit is no whole one, and keeps its score and its place.
    """
    ended = [[one for one in found if _is_possible(one)] for found in outputs]
    actions = [[(one.ids, one.score) for one in found] for found in ended]
    weighed: list[list[Hypothesis]] = []
    for found, new in zip(
        outputs, rescoring.scores(sources, actions, backward=backward), strict=True
    ):
        scores = iter(new)
        own = [replace(one, score=next(scores)) if _is_possible(one) else one for one in found]
        weighed.append(sorted(own, key=lambda one: (not one.truncated, -one.score)))
    return weighed


def _is_possible(one: Hypothesis) -> bool:
    return not one.truncated and one.score > -math.inf


def reranked(found: Sequence[FoundTexts], prior: WordPrior) -> Iterator[tuple[FoundTexts, Lifted]]:
    """The outputs of each source with the list, see :mod:`charseq.confidence.word_prior`.

    An output that was cut at the length limit is no whole word: it counts like those that were not
    found.
    """
    for first in range(0, len(found), PORTION):
        portion = found[first : first + PORTION]
        ended = [[one.text for one in texts.texts if not one.truncated] for texts in portion]
        gains, listed = prior.gains([text for texts in ended for text in texts])
        begin = 0
        for texts, words in zip(portion, ended, strict=True):
            part = slice(begin, begin + len(words))
            begin += len(words)
            own = dict(zip(words, gains[part].tolist(), strict=True))
            known = {text for text, one in zip(words, listed[part].tolist(), strict=True) if one}
            yield _reweighed(texts, own, prior.rest), _ranks(texts, known)


def marked(answer: Prediction, lifted: Lifted) -> Prediction:
    """The answer with the origin ``words`` at the candidates that a list has moved up."""
    if not lifted:
        return answer
    candidates = [
        replace(one, origin=WORDS) if lifted.get(one.prediction, rank) > rank else one
        for rank, one in enumerate(answer.candidates)
    ]
    return replace(answer, candidates=candidates)


def _reweighed(found: FoundTexts, gains: Mapping[str, float], rest: float) -> FoundTexts:
    """Scores that sum, with what was not found, to the probability 1 again."""
    masses = [one.score if one.beginning is None else one.beginning for one in found.texts]
    left = max(1.0 - math.fsum(map(math.exp, masses)), MIN_REST)
    # an output that was cut has no gain of its own
    gained = [gains.get(one.text, rest) if not one.truncated else rest for one in found.texts]
    powers = [mass + gain for mass, gain in zip(masses, gained, strict=True)]
    other = math.log(left) + rest
    top = max([*powers, other])
    total = top + math.log(math.fsum(math.exp(power - top) for power in [*powers, other]))
    texts = [
        one._replace(
            score=one.score + gain - total,
            beginning=None if one.beginning is None else one.beginning + gain - total,
        )
        for one, gain in zip(found.texts, gained, strict=True)
    ]
    share = min(found.removed, left)
    removed = math.exp(math.log(share) + rest - total) if share > 0 else 0.0
    return FoundTexts(texts, removed)


def _ranks(found: FoundTexts, known: set[str]) -> Lifted:
    merits = sorted(found.texts, key=lambda one: -one.merit)
    return {one.text: rank for rank, one in enumerate(merits) if one.text in known}
