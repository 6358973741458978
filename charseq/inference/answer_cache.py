"""texts -> the new cells of their rows: every text is put to the model once, as far as memory goes.

What is kept of an answer is what a row needs of it, and no more than :data:`ROOM` bytes of that: in
running text the frequent words stay, and a file of any length takes no more memory.

    shards(read, replies)       windows of rows that are answered together
    replies.of(texts)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from charseq.data.formats.rows import Window
from charseq.data.formats.writer import Rejected
from charseq.display import ONE_LINE, code_points, describe
from charseq.inference.journal import JournalEntry
from charseq.inference.prediction import LEXICON
from charseq.lru import ByteLru

ROOM = 16 * 2**20
SHARD = 2**15
"""Rows that are answered together at most; they are in memory together."""
ENOUGH = 2048
"""Texts that the model is asked at once where there are so many: its batches are full then."""

LETTER = 4
"""Bytes of a letter, at most: what is forgotten must not depend on how Python holds a text."""

Texts = Sequence[str | Rejected | None]
"""Those of the rows of a window; None for a blank line."""
Shard = list[tuple[Window, Texts]]


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """What is written to the rows of one text, and told of them.

    ``cells``: the new cells; but for plain text with the note. ``note``: that of plain text, which
    is for people.
    """

    cells: tuple[str, ...]
    note: str = ""
    unknown: tuple[str, ...] = ()
    truncated: bool = False
    looked_up: bool = False

    @property
    def plain(self) -> bool:
        """Whether there is nothing to tell of it."""
        return not (self.unknown or self.note or self.truncated or self.looked_up)


class Replies:
    """A model's answers to texts, remembered."""

    def __init__(
        self,
        seek: Callable[[list[str]], Mapping[str, JournalEntry]],
        *,
        kind: str,
        n: int,
        append: Callable[[str, str], str] | None = None,
    ) -> None:
        """``seek`` gives the answers to texts, up to ``n`` for each; ``kind``: the file's format.

        ``append``: an answer goes on from its text, and the cell holds both.
        """
        self.computed = 0
        """Texts that were sought."""
        self._seek = seek
        self._n = n
        self._append = append
        self._text = kind == "text"
        self._flat = kind in ("text", "tsv")
        self._memory: ByteLru[str, Reply] = ByteLru(ROOM)
        self.empty = Reply(("",) if self._text else (*[""] * n, "empty"))
        self.rejected = Reply(("",) if self._text else (*[""] * n, "rejected"))

    def of(self, texts: Iterable[str]) -> dict[str, Reply]:
        """The reply to each of the texts, none of which is empty.

        What is sought depends on the texts asked for so far and on nothing else, so the answers
        of an interrupted attempt are met again in their order.
        """
        known: dict[str, Reply] = {}
        new: list[str] = []
        for text in dict.fromkeys(texts):
            found = self._memory.get(text)
            if found is None:
                new.append(text)
            else:
                known[text] = found
        if new:
            self.computed += len(new)
            answers = self._seek(new)
            for text in new:
                reply = known[text] = self._reply(text, answers[text])
                self._memory.put(text, reply, LETTER * (len(text) + sum(map(len, reply.cells))))
        return known

    def lacks(self, text: str) -> bool:
        """Whether it would have to be sought."""
        return text not in self._memory

    def _reply(self, text: str, answer: JournalEntry) -> Reply:
        cells = list(answer.texts)
        if self._append is not None:
            cells = [self._append(text, cell) for cell in cells]
        cells += [""] * (self._n - len(cells))
        flattened = self._flat and any(cell != cell.translate(ONE_LINE) for cell in cells)
        looked_up = answer.origin == LEXICON
        facts = (answer.unknown, answer.truncated, looked_up)
        if self._text:
            return Reply(tuple(cells), _note(answer, flattened, describe), *facts)
        said = (LEXICON if looked_up else "", _note(answer, flattened, code_points))
        return Reply((*cells, "; ".join(filter(None, said))), "", *facts)


def shards(read: Iterable[tuple[Window, Texts]], replies: Replies) -> Iterator[Shard]:
    """Windows with the texts of their rows, until together they have much to ask, or many rows."""
    held: Shard = []
    rows, new = 0, 0
    for window, texts in read:
        held.append((window, texts))
        rows += len(texts)
        new += sum(replies.lacks(text) for text in some(texts))
        if new >= ENOUGH or rows + len(texts) > SHARD:
            yield held
            held, rows, new = [], 0, 0
    if held:
        yield held


def bounds() -> list[int]:
    """What decides besides the rows in which order texts are sought."""
    return [ROOM, SHARD, ENOUGH]


def some(texts: Texts) -> Iterator[str]:
    """The different texts among those of rows, which may be empty, rejected, or None."""
    return (text for text in dict.fromkeys(texts) if text and isinstance(text, str))


def _note(outcome: JournalEntry, flattened: bool, name: Callable[[str], str]) -> str:
    unknown = f"unknown {' '.join(map(name, outcome.unknown))}" if outcome.unknown else ""
    cut = "truncated" if outcome.truncated else ""
    return "; ".join(filter(None, (unknown, cut, "flattened" if flattened else "")))
