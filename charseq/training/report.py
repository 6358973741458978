"""data sets, tasks and runs -> lines for people.

It knows no flow and prints nothing: the lines are returned, aligned in two columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from charseq.display import field

if TYPE_CHECKING:
    from charseq.data.corpus import Corpus
    from charseq.data.text.tokenizer import Tokenizer
    from charseq.data.text.vocabulary import Vocabulary
    from charseq.runs.training_state import Progress
    from charseq.training.prepare import PreparedPairs
    from charseq.training.trainer import Step

SHOWN_PAIRS = 3


def describe_task(task: PreparedPairs) -> list[str]:
    """Counts, the first three pairs as understood, and the symbols of both sides."""
    data = task.dataset
    files = ", ".join(str(path) for path in dict.fromkeys(data.files.values()))
    lines = [
        field("data", f"{len(data.train):,} train, {len(data.dev):,} dev, from {files}"),
        field("columns", data.columns),
        *(field("note", problem) for problem in data.problems),
    ]
    for number, one in enumerate(data.train[:SHOWN_PAIRS], 1):
        read = task.source.split(one.source) + [
            f"<{part}>" for part in task.source.split_features(one.features)
        ]
        written = task.target.split(one.target)
        lines.append(field(f"pair {number}", f"{_spelt(read)}  =>  {_spelt(written)}"))
    for side, vocabulary, why in zip(
        ("source", "target"), (task.source, task.target), task.why[:2], strict=True
    ):
        lines.append(field(side, f"{_inventory(vocabulary)}; {why}"))
    return [*lines, field("attention", f"{task.config.attention}: {task.why[2]}")]


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
    done: float, state: Progress, loss: float | None, told: str, *, best: bool
) -> str:
    """One evaluation in training, whose scores are ``told``; ``loss`` is None before any step."""
    mark = "  best so far" if best else ""
    shown = "" if loss is None else f"loss {loss:.3f}  "
    return (
        f"{100 * done:3.0f} %  {state.seconds:5.0f} s  epoch {state.epochs:6.2f}  {shown}"
        f"{told}{mark}"
    )


def _spelt(symbols: Sequence[str]) -> str:
    """Symbols apart from each other; a space among them is shown as an open box."""
    return " ".join(symbol.replace(" ", "␣") for symbol in symbols)


def _inventory(vocabulary: Vocabulary) -> str:
    features = f" and {len(vocabulary.features)} features" if vocabulary.features else ""
    return f"{len(vocabulary.symbols)} symbols{features}"


@contextmanager
def bar(*, shown: bool) -> Iterator[Callable[[float, Step], None]]:
    """``show(progress, step)``: a bar on stderr, where that is a terminal, or nothing."""
    if not shown:
        yield lambda _progress, _step: None
        return
    from tqdm import tqdm

    form = "{percentage:3.0f} % {bar} {elapsed}<{remaining}{postfix}"
    with tqdm(total=1.0, disable=None, leave=False, bar_format=form) as line:

        def show(progress: float, step: Step) -> None:
            line.set_postfix_str(f"epoch {step.epoch:.1f}, loss {step.loss:.3f}", refresh=False)
            line.update(progress - line.n)

        yield show
