"""answers that are withheld -> a review file, which a person fills in and uses as it is.

    source,target,candidate_1,probability_1,candidate_2,probability_2,rows,line,note
    03/04/05,,2005-03-04,0.613204,2005-04-03,0.301288,12,5,unsure

Each source stands there once, with its features where the model has them; those of the most rows
come first, equal ones in the order of the file. ``target`` is empty, for the right answer, or for
the words "no answer" where none is right. The candidates stand beside it, best first; so does "no
answer" where the model says that. ``rows`` counts the rows of the source, and ``line`` is the line
of the first. The filled file is a lexicon, and data for a training: readers of pairs pass over the
sources that are not filled in (see :func:`charseq.data.formats.headers.is_review`).

CSV begins with a byte order mark, by which spreadsheet programs know UTF-8.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from charseq import files
from charseq.data.formats.headers import NO_ANSWER, review_names
from charseq.data.formats.lines import TextFormat
from charseq.data.formats.opening import BOM
from charseq.data.formats.reader import find_format
from charseq.data.formats.writer import replacing
from charseq.display import ONE_LINE
from charseq.display import count as counted
from charseq.errors import UsageError, argument
from charseq.inference import prediction
from charseq.inference.journal import JournalEntry

if TYPE_CHECKING:
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.pool import WorkerPool
    from charseq.inference.predictor import PairsModel

FORMATS = {".csv": "csv", ".tsv": "tsv"}
"""Ending of a review file -> name of its format."""
CANDIDATES = 3
"""Candidates of a source, at least, as far as the beam reaches."""
MAX_SOURCES = 1_000_000
"""Sources of a review file, at most; a sheet of a spreadsheet program has 1,048,576 rows."""


class Review:
    """The sources of one conversion whose answers a person should look at."""

    def __init__(self, path: Path, *, candidates: int, features: bool) -> None:
        """Nothing to review so far.

        Args:
            path: the file, whose ending decides its format.
            candidates: the number of candidates of a source, at most.
            features: whether a text has features, after a tab.

        Raises:
            UsageError: another ending.
        """
        self.path = path
        self.unfit = 0
        """Sources with a tab or a line end, which TSV cannot hold."""
        self.left_out = 0
        """Rows of sources beyond :data:`MAX_SOURCES`."""
        self._format = cast(TextFormat, find_format(_format_name(path)))
        self._names = review_names(candidates, features=features)
        self._candidates, self._features = candidates, features
        self._places: dict[str, int] = {}
        self._rows, self._lines = array("Q"), array("Q")
        self._cells: list[bytes] = []

    @classmethod
    def of(
        cls,
        model: PairsModel | LanguageModel | WorkerPool,
        path: str | Path | None,
        *,
        candidates: int,
    ) -> Review | None:
        """A review of the model's answers in the file ``path``; None without one."""
        if path is None:
            return None
        return cls(Path(path), candidates=candidates, features=model.has_features)

    def check(self, *, writes: Sequence[Path], reads: Sequence[str | Path], force: bool) -> None:
        """Check the name of the file before anything is computed.

        Args:
            writes: the other files that the conversion writes.
            reads: the files that it reads.
            force: whether an existing file may be overwritten.

        Raises:
            UsageError: it is one of the other files, no plain file, or as
                :func:`charseq.files.refuse`.
        """
        path = self.path
        if any(path.resolve() == other.resolve() for other in writes):
            raise UsageError(f"{path} is written as the output too: give the review another name")
        files.refuse(path, force=force, inputs=reads, what="review file")
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is {files.kind(path)}, expected a review file to write")

    def add(self, text: str, line: int, entry: JournalEntry, note: str) -> None:
        """Note a row, whose text has the answer ``entry`` with a ``note`` on it."""
        place = self._places.get(text)
        if place is not None:
            self._rows[place] += 1
        elif len(self._places) >= MAX_SOURCES:
            self.left_out += 1
        else:
            self._places[text] = len(self._places)
            self._rows.append(1)
            self._lines.append(line)
            self._cells.append(self._answer(entry, note))

    def add_again(self, texts: Iterable[str]) -> None:
        """Note more rows: those of their texts that are to be reviewed."""
        for place in map(self._places.get, texts):
            if place is not None:
                self._rows[place] += 1

    def write(self, file: BinaryIO) -> None:
        """Write the file, as it is described above."""
        file.write((BOM if self.path.suffix.lower() == ".csv" else b"") + self._line(self._names))
        texts = list(self._places)
        for place in sorted(range(len(texts)), key=lambda place: -self._rows[place]):
            text = texts[place]
            source, _, features = text.partition("\t") if self._features else (text, "", "")
            own = [source, *[features] * self._features]
            if self._format.one_line_cells and any(one != one.translate(ONE_LINE) for one in own):
                self.unfit += 1
                continue
            answers, note = self._cells[place].decode("utf-8", "surrogatepass").split("\n")
            numbers = [str(self._rows[place]), str(self._lines[place])]
            file.write(self._line([*own, "", *answers.split("\t"), *numbers, note]))

    def summary(self, path: str) -> Iterator[str]:
        """Lines for people on the file that was written; ``path`` is the input."""
        written = len(self._places) - self.unfit
        yield f"{path}: {counted(written, 'source')} to review -> {self.path}"
        if self.unfit:
            what = f"{counted(self.unfit, 'source')} with tabs or line ends left out"
            yield f"{path}: {what}: a review file named .csv has room for them"
        if self.left_out:
            yield f"{path}: {self.left_out:,} rows of further sources are not in the review file"

    def _answer(self, entry: JournalEntry, note: str) -> bytes:
        """The candidates with their probabilities, by tabs, and the note in a line of its own."""
        cells: list[str] = []
        for candidate, chance in zip(entry.texts, entry.probabilities, strict=True):
            # an empty answer as a person writes it, but for one that the limit has cut
            shown = candidate if candidate or (entry.truncated and not cells) else NO_ANSWER
            cells += [shown.translate(ONE_LINE), f"{chance:.6f}"]
        cells += [""] * (2 * self._candidates - len(cells))
        return f"{chr(9).join(cells)}\n{note}".encode("utf-8", "surrogatepass")

    def _line(self, cells: list[str]) -> bytes:
        """A row; the format puts a separator before each cell."""
        return self._format.encode(self._names, cells)[1:] + b"\n"


@contextmanager
def reviewing(review: Review | None, *, force: bool) -> Iterator[BinaryIO | None]:
    """The file of a review, which takes its name when the block ends well; None without one.

    Raises:
        UsageError, AccessError: as :func:`charseq.data.formats.writer.replacing`.
    """
    if review is None:
        yield None
        return
    with replacing(review.path, force=force) as file:
        yield file


def check_threshold(
    model: PairsModel | LanguageModel | WorkerPool,
    n: int,
    beam: int | None,
    threshold: float | None,
    review: str | Path | None,
) -> int:
    """The number of outputs to ask for: ``n``, and with a review file as many as it shows.

    They change no answer: no more are asked for than the beam has.

    Raises:
        UsageError: a threshold out of its limits or for a language model; a review without one.
    """
    if threshold is None:
        if review is not None:
            what = f"{argument('review')} is for {argument('threshold')}"
            raise UsageError(f"{what}, below which answers are withheld")
        return n
    prediction.check_threshold(threshold)
    if getattr(model, "append", None) is not None:
        what = f"{argument('threshold')} is for models that rewrite texts"
        raise UsageError(f"{what}, not for next words")
    if review is None:
        return n
    loaded: Any = getattr(model, "model", model)
    return max(n, min(CANDIDATES, loaded.beam if beam is None else beam))


def _format_name(path: Path) -> str:
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        expected = " or ".join(FORMATS)
        raise UsageError(f"the review file is '{path}', expected a name that ends in {expected}")
    return found
