"""Prepared data and evaluations -> lines for people in two columns; the progress bar.

Nothing is printed: the lines are returned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING

from charseq.data.text.features import describe_separator
from charseq.display import field

if TYPE_CHECKING:
    from charseq.data.corpus import Corpus
    from charseq.data.text.tokenizer import Tokenizer
    from charseq.data.text.vocabulary import Vocabulary
    from charseq.runs.training_state import Progress
    from charseq.training.prepare import PreparedPairs
    from charseq.training.trainer import Step

SHOWN_PAIRS = 3
REDRAW = 0.1
"""Seconds between two drawings of the progress bar, at least."""


def describe_pairs(prepared: PreparedPairs) -> list[str]:
    """Counts, the first three pairs as understood, and the symbols of both sides."""
    data = prepared.dataset
    files = ", ".join(str(path) for path in dict.fromkeys(data.files.values()))
    lines = [
        field("data", f"{len(data.train):,} train, {len(data.dev):,} dev, from {files}"),
        field("columns", data.columns),
        *(field("note", problem) for problem in data.problems),
    ]
    if features := prepared.source.features:
        how = describe_separator(prepared.source.feature_separator)
        lines.append(field("features", f"{len(features):,}, {how}"))
    for number, one in enumerate(data.train[:SHOWN_PAIRS], 1):
        source = prepared.source.split(one.source) + [
            f"<{part}>" for part in prepared.source.split_features(one.features)
        ]
        target = prepared.target.split(one.target)
        lines.append(field(f"pair {number}", f"{_spaced(source)}  =>  {_spaced(target)}"))
    sides = (("source", prepared.source), ("target", prepared.target))
    for (side, vocabulary), why in zip(sides, prepared.why[:2], strict=True):
        lines.append(field(side, f"{_inventory(vocabulary)}; {why}"))
    return [*lines, field("attention", f"{prepared.config.attention}: {prepared.why[2]}")]


def describe_lines(corpus: Corpus, units: Tokenizer, why: str, *, running: bool) -> list[str]:
    """Counts, the first lines as understood, and the symbols of a training on text."""
    files = ", ".join(dict.fromkeys(str(lines.path) for lines in (corpus.train, corpus.dev)))
    lines = [
        field("data", f"{len(corpus.train):,} lines train, {len(corpus.dev):,} dev, from {files}"),
        *(field("note", problem) for problem in corpus.problems),
    ]
    known = units.encode
    for number, text in enumerate(islice(corpus.train, SHOWN_PAIRS), 1):
        lines.append(field(f"line {number}", " ".join(map(units.spelling, known(text)))))
    state = "carried on from line to line (running)" if running else "begun anew at each line"
    return [*lines, field("symbols", f"{units.kind}: {why}"), field("state", state)]


def describe_scores(
    done: float, so_far: Progress, loss: float | None, summary: str, *, best: bool
) -> str:
    """The line of an evaluation in training, with the ``summary`` of its scores.

    ``done`` is the progress from 0 to 1; ``loss`` is None before the first step.
    """
    mark = "  best so far" if best else ""
    shown = "" if loss is None else f"loss {loss:.3f}  "
    return (
        f"{100 * done:3.0f} %  {so_far.seconds:5.0f} s  epoch {so_far.epochs:6.2f}  {shown}"
        f"{summary}{mark}"
    )


def _spaced(symbols: Sequence[str]) -> str:
    """Symbols separated by spaces; a symbol that is a space is shown as an open box."""
    return " ".join(symbol.replace(" ", "␣") for symbol in symbols)


def _inventory(vocabulary: Vocabulary) -> str:
    features = f" and {len(vocabulary.features)} features" if vocabulary.features else ""
    return f"{len(vocabulary.symbols)} symbols{features}"


@contextmanager
def progress_bar(
    clock: Callable[[], float], *, shown: bool
) -> Iterator[Callable[[float, Step], None]]:
    """``show(progress, step)`` for a bar on stderr, if ``shown`` and stderr is a terminal.

    The time spent, and the time left at this pace, are those of ``clock``. Where stderr is lost,
    there is no bar any more.
    """
    if not shown:
        yield lambda _progress, _step: None
        return
    from tqdm import tqdm

    begun, drawn = clock(), -math.inf
    line = tqdm(total=1.0, disable=None, leave=False, bar_format="{percentage:3.0f} % {bar} {desc}")

    def show(progress: float, step: Step) -> None:
        nonlocal drawn
        spent = clock() - begun
        if spent - drawn < REDRAW or line.disable:
            return
        drawn, line.n = spent, progress
        left = spent * (1 - progress) / progress if progress else math.inf
        times = "<".join(
            tqdm.format_interval(one) if one < math.inf else "?" for one in (spent, left)
        )
        text = f"{times}, epoch {step.epoch:.1f}, loss {step.loss:.3f}"
        try:
            line.set_description_str(text)
        except OSError:  # the terminal was closed: the training goes on without a bar
            line.disable = True

    try:
        yield show
    finally:
        with suppress(OSError):
            line.close()
