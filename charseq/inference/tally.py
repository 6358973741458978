"""what was converted -> counts, and lines for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from charseq.display import describe

SHOWN = 20


@dataclass
class ConvertReport:
    """What was converted.

    ``rows``: rows written, without header and blank lines (plain text: lines).
    ``rejected``: those of them that could not be read, which are in the file ``rejects``.
    ``distinct``: texts computed, each once while it is remembered; ``kept``: those of them that an
    interrupted attempt had computed. ``empty``: rows without a text.
    ``flagged``: rows with an unseen symbol; ``unknown``: for each unseen symbol, the rows that
    have it. ``truncated``: rows whose prediction was cut. ``looked_up``: rows whose prediction
    stands in the lexicon. ``listed``, ``unlisted``: lines of plain text with a note that were
    reported, and that were only counted.
    """

    path: str
    out: str
    rows: int = 0
    rejected: int = 0
    rejects: str = ""
    distinct: int = 0
    kept: int = 0
    empty: int = 0
    flagged: int = 0
    truncated: int = 0
    looked_up: int = 0
    listed: int = 0
    unlisted: int = 0
    unknown: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> int:
        """Rows that could be read: ``ok + rejected == rows``."""
        return self.rows - self.rejected

    @property
    def refused(self) -> str:
        """How many rows could not be read, in words."""
        return f"{self.rejected:,} row{'s' * (self.rejected != 1)} rejected"


def summary(result: ConvertReport) -> list[str]:
    """The report as lines for people: counts, then what is to be known of some rows."""
    counts = f"{result.rows:,} rows, {result.distinct:,} strings computed"
    if result.kept:
        counts += f" ({result.kept:,} of them before it was interrupted)"
    lines = [f"{result.path}: {counts} -> {result.out}"]
    if result.rejected:
        lines.append(f"{result.path}: {result.refused}, {result.ok:,} ok -> {result.rejects}")
    if result.unlisted:
        lines.append(f"{result.path}: {result.unlisted:,} more lines with notes, not listed")
    if result.unknown:
        most = result.unknown.most_common(SHOWN)
        named = ", ".join(f"{describe(symbol)} ({count:,})" for symbol, count in most)
        more = len(result.unknown) - len(most)
        lines.append(
            f"{result.path}: unseen symbols in {result.flagged:,} rows: {named}"
            + (f" and {more:,} more" if more else "")
        )
    if result.truncated:
        lines.append(f"{result.path}: {result.truncated:,} predictions cut at the longest length")
    if result.looked_up:
        lines.append(f"{result.path}: {result.looked_up:,} predictions from the lexicon")
    return lines
