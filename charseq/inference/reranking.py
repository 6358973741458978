"""Outputs of a search, a list of words -> the outputs reweighed; and what the list has lifted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from charseq.confidence.calibration import MIN_REST
from charseq.confidence.word_prior import WordPrior
from charseq.inference.prediction import WORDS, FoundTexts, Prediction

PORTION = 4096
"""Texts whose outputs are looked up together; it changes no answer."""

Lifted = Mapping[str, int]
"""Listed output -> its rank by the model alone, from 0."""
NOTHING: Lifted = {}


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
