"""Lines of text -> whether they continue each other, as in a book with lines of even width.

Two measures decide, and a text must pass both.

- *Open* lines begin inside a sentence, by their looks: the line before ends without a mark that
  ends a sentence, and the first letter is not a capital (in scripts without case, any letter).
  Lists, tweets and sentences without punctuation look like that as well.
- *Seams*: the last word of a line and the first word of the next, as a pair. In a text that runs on
  such pairs also occur inside lines, as often as if the line did not end there. The control are the
  same words at a distance of several lines, which only chance brings together. In a list, or in
  lines in any other order, seams are no more frequent inside lines than the control.

Sentences and paragraphs on lines of their own fail the first measure, whatever their order. Verses
that begin with capitals fail it, too. In scripts without spaces the words are single characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

MAX_LINES = 3000
"""Lines that are looked at."""
MAX_CHARACTERS = 2_000_000
"""Characters that are looked at; lines may be very long."""
MIN_OPEN = 0.4
"""Share of open lines from which on lines may continue each other."""
MIN_RATIO = 2.0
"""Seams that occur inside lines, as a multiple of those of the control."""
MIN_EXCESS = 10
"""Seams that occur inside lines, beyond those of the control: fewer may be chance."""
DISTANCES = (2, 3, 5, 7, 11, 13, 17, 19)
"""Distances of the lines of the control."""
SCRIPT_LINES = 200
"""Lines by which the script is found."""
MIN_REFUTING = 500
"""Open lines without seams from which on lines surely do not continue each other."""

_FINAL = frozenset(".!?…。．！？؟۔।॥။។։።")
_CLOSING = frozenset("\"'”’»›)]}」』）*_")
# Thai, Lao, Tibetan, Burmese, Khmer, Japanese kana, Chinese characters
_NO_SPACES = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


@dataclass(frozen=True)
class Continuity:
    """Counts of lines, in the order of the text, and the verdict that follows from them."""

    lines: int = 0
    """Lines that follow another."""
    open: int = 0
    """Those of them that look as if they begin inside a sentence."""
    seams: int = 0
    """Those whose first word, after the last word before, also occurs inside of a line."""
    expected: float = 0.0
    """The number of seams that chance alone would make, by the control."""

    @property
    def share(self) -> float:
        """The share of open lines."""
        return self.open / self.lines if self.lines else 0.0

    @property
    def continues(self) -> bool:
        """Whether the lines continue each other."""
        has_seams = self.seams >= MIN_RATIO * self.expected
        return self.share >= MIN_OPEN and has_seams and self.seams - self.expected >= MIN_EXCESS

    @property
    def refutes(self) -> bool:
        """Whether the lines are enough to say that they do not continue each other."""
        return self.lines >= MIN_REFUTING and not self.continues


def continuity(lines: Iterable[str]) -> Continuity:
    """The continuity of a text by its first lines, without those of white space alone."""
    texts, characters = [], 0
    for line in lines:
        if text := line.strip():
            texts.append(text)
            characters += len(text)
        if len(texts) == MAX_LINES or characters > MAX_CHARACTERS:
            break
    follow = len(texts) - 1
    if follow < 1:
        return Continuity()
    spaced = not lacks_spaces(texts[:SCRIPT_LINES])
    rows = [text.split() if spaced else list("".join(text.split())) for text in texts]
    inside = {pair for row in rows for pair in pairwise(row)}

    def meet(distance: int) -> int:
        """Pairs of a last word and the first word some lines later that occur inside a line."""
        pairs = zip(rows, rows[distance:], strict=False)
        return sum((before[-1], after[0]) in inside for before, after in pairs)

    control = [meet(step) * follow / (len(rows) - step) for step in DISTANCES if step < len(rows)]
    return Continuity(
        lines=follow,
        open=sum(_is_open(before, after) for before, after in pairwise(texts)),
        seams=meet(1),
        expected=sum(control) / len(control) if control else 0.0,
    )


def lacks_spaces(lines: Sequence[str]) -> bool:
    """Whether most letters are of a script that has no spaces between words."""
    text = "".join(lines)
    return len(_NO_SPACES.findall(text)) > sum(map(str.isalpha, text)) / 2


def _is_open(before: str, after: str) -> bool:
    """Whether a line looks as if it begins inside the sentence in which the one before ends."""
    end = len(before)
    while end and before[end - 1] in _CLOSING:
        end -= 1
    if end and before[end - 1] in _FINAL:
        return False
    first = next(filter(str.isalnum, after), "")
    return first.isalpha() and first == first.lower()
