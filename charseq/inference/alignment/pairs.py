"""texts and answers -> which symbols of a text each symbol of its answer looked at.

    k→k ae→æ t→t

:mod:`charseq.inference.alignment.forced` gives the weights of attention. Here they become symbols
and pairs that a person can read. Several networks are averaged by the weights of their groups;
those that read from the end are turned round first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.data.text.vocabulary import SPACED
from charseq.display import visible
from charseq.inference.alignment.forced import attention

if TYPE_CHECKING:
    from jaxtyping import Float

    from charseq.decoding.ensemble import DirectionGroup
    from charseq.inference.translator import Translator

DIGITS = 4
"""Decimal places of a weight in JSON."""


@dataclass(frozen=True)
class Alignment:
    """The source symbols that each symbol of an answer looked at."""

    source: list[str]
    """The symbols of the text in the Unicode form of the model, then its features."""
    target: list[str]
    """The symbols of the answer."""
    weights: list[list[float]]
    """For each target symbol a weight for each source symbol. They sum to 1, or, with hard
    attention, to 0 where a symbol was written at the end of the text."""
    letters: int
    """The number of source symbols that are no features."""
    joiners: tuple[str, str] = ("", "")
    """Between the symbols of source and target in a text."""

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Parts of source and target that belong together, in the order of the target.

        A target symbol belongs to the source symbol with the largest weight, and neighbours of the
        same one are one part. Where the order of the source is kept, the symbols that none looked
        at are joined to the part that comes next, at the end to the last; elsewhere they are left
        out. A part that was written at the end of the text has no source.
        """
        if not self.target:
            return []
        places = [
            max(range(len(row)), key=row.__getitem__) if any(row) else self.letters
            for row in self.weights
        ]
        runs: list[tuple[int, list[str]]] = []
        for place, symbol in zip(places, self.target, strict=True):
            if not runs or runs[-1][0] != place:
                runs.append((place, []))
            runs[-1][1].append(symbol)
        spans = [self.source[place : place + 1] for place, _ in runs]
        if all(one <= two for one, two in pairwise(places)):
            begin = 0
            for number, (place, _) in enumerate(runs):
                spans[number] = self.source[begin : place + 1] if place < self.letters else []
                begin = place + 1 if place < self.letters else begin
            inside = [number for number, span in enumerate(spans) if span]
            if inside:
                spans[inside[-1]] = [*spans[inside[-1]], *self.source[begin : self.letters]]
        one, two = self.joiners
        return [
            (one.join(span), two.join(part)) for span, (_, part) in zip(spans, runs, strict=True)
        ]

    @property
    def text(self) -> str:
        """The pairs as a line, ``k→k ae→æ t→t``; spaces and what is invisible can be seen."""
        return " ".join(f"{_seen(one)}→{_seen(two)}" for one, two in self.pairs)

    def to_json(self) -> dict[str, Any]:
        """The alignment as values of JSON."""
        return {
            "source": self.source,
            "target": self.target,
            "weights": [[round(weight, DIGITS) for weight in row] for row in self.weights],
            "pairs": [list(pair) for pair in self.pairs],
        }


def _seen(part: str) -> str:
    """A part of a text in which spaces can be seen; ∅ for none."""
    return "".join(visible(part)) or "∅"


def align(
    translator: Translator, texts: Sequence[str], answers: Sequence[str]
) -> list[Alignment | None]:
    """The alignment of each text with its answer; None where there is none.

    Raises:
        SettingError: a text without its features.
    """
    split = [translator.parts(text) for text in texts]
    tables = [
        list(_weights(translator, group, split, answers)) for group in translator.direction_groups
    ]
    shares = [group.weight for group in translator.direction_groups]
    return [
        _alignment(translator, parts, answer, one, shares)
        for parts, answer, *one in zip(split, answers, *tables, strict=True)
    ]


def _weights(
    translator: Translator,
    group: DirectionGroup,
    split: Sequence[tuple[str, str]],
    answers: Sequence[str],
) -> Iterator[Float[np.ndarray, "T S"] | None]:
    """The weights of one group for each text, in the order of text and answer."""
    sources = [translator.encode(*parts, backward=group.backward) for parts in split]
    targets = [translator.target.encode(text, backward=group.backward) for text in answers]
    hard = translator.actions is not None
    for parts, table in zip(split, attention(group.network, sources, targets), strict=True):
        if table is None or not group.backward:
            yield table
            continue
        letters = len(translator.source.encode(parts[0]))
        behind = table[::-1, letters:]  # the features, or the end
        yield np.concatenate([table[::-1, :letters][:, ::-1], behind * (not hard)], axis=1)


def _alignment(
    translator: Translator,
    parts: tuple[str, str],
    answer: str,
    tables: Sequence[Float[np.ndarray, "T S"] | None],
    shares: Sequence[float],
) -> Alignment | None:
    found = [
        share * table for share, table in zip(shares, tables, strict=True) if table is not None
    ]
    if len(found) < len(tables):
        return None
    source, target = translator.source, translator.target
    symbols = source.split(parts[0])
    letters = len(symbols)
    if parts[1]:
        symbols = [*symbols, *source.split_features(parts[1])]
    weights = np.zeros((len(found[0]), len(symbols)))
    seen = letters if translator.actions is not None else len(symbols)  # without the end
    for table in found:
        weights[:, :seen] += table[:, :seen]
    spaced = [" " if side.kind in SPACED else "" for side in (source, target)]
    return Alignment(
        symbols, target.split(answer), weights.tolist(), letters, (spaced[0], spaced[1])
    )
