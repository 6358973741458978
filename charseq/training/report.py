"""Prepared data, plan, evaluations and verdict -> lines for people; the progress bar.

Nothing is printed: the lines are returned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from charseq.data.text.features import describe_separator
from charseq.display import count, field
from charseq.errors import require

if TYPE_CHECKING:
    from pathlib import Path

    from charseq.config import Config
    from charseq.data.corpus import Corpus
    from charseq.data.text.tokenizer import Tokenizer
    from charseq.data.text.vocabulary import Vocabulary
    from charseq.runs.training_state import Progress
    from charseq.training.prepare import PreparedPairs
    from charseq.training.trainer import Step

SHOWN_PAIRS = 3
REDRAW = 0.1
"""Seconds between two drawings of the progress bar, at least."""
SPEED_AFTER = 3.0
"""Seconds of steps after which people are told of the speed."""
EARLY = 0.75
"""Share of a run before which the best evaluation is early: what came later was worse."""
LATE = 2 / 3
"""Share of a run from which on a gain says that the training is not at its end."""
GAIN = 0.05
"""Share of the error that a training still gains at its end."""


def describe_pairs(prepared: PreparedPairs) -> list[str]:
    """Counts, the first three pairs as understood, and the symbols of both sides."""
    data = prepared.dataset
    files = ", ".join(str(path) for path in dict.fromkeys(data.files.values()))
    rows = data.rows or len(data.train)
    merged = [
        field(
            "counts",
            f"{rows:,} rows are {count(len(data.train), 'distinct pair')}, learnt by the square "
            "roots of their counts",
        )
    ][: bool(data.rows)]
    lines = [
        field("data", f"{rows:,} train, {len(data.dev):,} dev, from {files}"),
        field("columns", data.columns),
        *merged,
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


def describe_lines(corpus: Corpus, units: Tokenizer, why: str) -> list[str]:
    """Counts, the first lines as understood, and the symbols of a training on text."""
    files = ", ".join(dict.fromkeys(str(lines.path) for lines in (corpus.train, corpus.dev)))
    lines = [
        field("data", f"{len(corpus.train):,} lines train, {len(corpus.dev):,} dev, from {files}"),
        *(field("note", problem) for problem in corpus.problems),
    ]
    known = units.encode
    for number, text in enumerate(islice(corpus.train, SHOWN_PAIRS), 1):
        lines.append(field(f"line {number}", " ".join(map(units.spelling, known(text)))))
    state = "carried from line to line" if corpus.running else "begun anew at each line"
    lines.append(field("lines", f"{corpus.reason or 'as set'}: the state is {state}"))
    return [*lines, field("symbols", f"{units.kind}: {why}")]


def describe_plan(
    config: Config, folder: Path, *, parameters: int, examples: int, device: str
) -> list[str]:
    """Network, budget, device and folder of a training, before its first step.

    ``parameters`` are those of one network, ``examples`` those of train; ``device`` says by what
    is computed.
    """
    kind = f", {config.attention} attention" if config.task == "pairs" else ""
    each = f"{config.ensemble} networks, each " if config.ensemble > 1 else ""
    cells = config.cells or config.cell
    size = f"{cells}, {count(config.layers, 'layer')} of {config.hidden} units{kind}"
    budget = f"{config.minutes:g} min"
    if config.epochs:
        budget = count(config.epochs, "epoch")
    batches = f"batches of {min(config.batch_size, examples)}"
    return [
        field("network", f"{each}{size}: {parameters:,} parameters"),
        field("budget", f"{budget}, {batches}, {count(config.evaluations, 'evaluation')} of dev"),
        field("device", device),
        field("folder", str(folder)),
    ]


class Speed:
    """The line on the speed of a training, once its first seconds are over."""

    def __init__(self, clock: Callable[[], float], report: Callable[[str], None]) -> None:
        self._clock = clock
        self._report = report
        self._first: tuple[float, float] | None = None
        self._examples = 0
        self._told = False

    def note(self, step: Step, done: float) -> None:
        """Count a step, after which the progress is ``done``; report the line when it is due.

        The first step, in which memory is fetched and code is loaded, is not counted.
        """
        if self._told:
            return
        if self._first is None:
            self._first = self._clock(), done
            return
        begun, at = self._first
        self._examples += step.examples
        spent = self._clock() - begun
        if spent < SPEED_AFTER or done <= at:
            return
        self._told = True
        rate = self._examples / spent
        left = spent * (1 - done) / (done - at)
        whole = f"about {step.epoch / done:.1f} epochs in all, {left / 60:.1f} min to go"
        self._report(field("speed", f"{rate:,.0f} examples a second, {whole}"))


def describe_end(
    so_far: Progress, errors: Sequence[float], config: Config, *, examples: int
) -> list[str]:
    """Speed, verdict and left out evaluations of a training that has come to its end.

    ``errors`` are those of the evaluations in ``so_far``, the lower the better; NaN where there
    was none.
    """
    trained = max(so_far.seconds - so_far.prepared - so_far.scoring, 1e-9)
    speed = f"{so_far.epochs * examples / trained:,.0f} examples a second"
    lines = [field("trained", f"{so_far.epochs:.2f} epochs, {speed}, scoring not counted")]
    steps = [line["step"] for line in so_far.metrics]
    shares = [step / max(steps[-1], 1) for step in steps]
    if said := verdict(errors, shares, epochs=so_far.epochs):
        lines.append(field("verdict", said))
    left = config.evaluations - len(steps)
    if left > 0 and not config.epochs:
        each = so_far.scoring / len(steps)
        why = f"one takes {each:.1f} s, and all may take a small share of the time"
        if each * config.evaluations < 0.05 * so_far.seconds:
            why = "steps, or the time, were too few for more"
        lines.append(field("note", f"{left} of {config.evaluations} evaluations left out: {why}"))
    return lines


def describe_members_end(
    lines: Sequence[Mapping[str, Any]], errors: Sequence[float], *, epochs: float
) -> list[str]:
    """Length and verdict of the training of an ensemble.

    The verdict is on the mean of the members' errors, at those evaluations that all members have.

    Args:
        lines: evaluations, with ``member``, ``evaluation``, ``step`` and ``epoch``.
        errors: those of the evaluations, the lower the better.
        epochs: the mean of the members.
    """
    curves: dict[int, dict[int, tuple[float, float]]] = {}
    last = {line["member"]: line for line in lines}
    for line, error in zip(lines, errors, strict=True):
        share = line["step"] / max(last[line["member"]]["step"], 1)
        curves.setdefault(line["member"], {})[line["evaluation"]] = error, share
    common = sorted(set.intersection(*(set(curve) for curve in curves.values())) if curves else ())
    means = [
        [
            sum(values) / len(curves)
            for values in zip(*(curve[one] for curve in curves.values()), strict=True)
        ]
        for one in common
    ]
    passes = [line["epoch"] for line in last.values()]
    span = f", {min(passes):.2f} to {max(passes):.2f}" if passes else ""
    told = [field("trained", f"{epochs:.2f} epochs a member{span}")]
    if said := verdict([mean[0] for mean in means], [mean[1] for mean in means], epochs=epochs):
        told.append(field("verdict", f"the mean of the members: {said}"))
    return told


def verdict(errors: Sequence[float], shares: Sequence[float], *, epochs: float) -> str:
    """What the errors on dev say about a training, and what would help; empty for too few.

    ``shares`` are the parts of the run after which the errors were measured, from 0 to 1.
    """
    known = [one for one in zip(errors, shares, strict=True) if math.isfinite(one[0])]
    least, at = min(known, default=(math.nan, 0.0))
    if known and least <= 0:
        return "all of dev is right: there is nothing more to gain on it"
    if epochs < 1:
        return f"only {epochs:.2f} passes over the data: more time will help"
    before = min((error for error, share in known if share <= LATE), default=math.nan)
    if math.isnan(before) or len(known) < 3:
        return ""
    if at < EARLY and known[-1][0] > least * (1 + GAIN):
        return f"best at {at:.0%} of the run, worse since: more data or more dropout will help"
    if least <= before * (1 - GAIN):
        return "still improving at the end: more time will help"
    return "levelled off: more data or a larger network may help, more time hardly"


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
    require("tqdm", "a progress bar")
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
