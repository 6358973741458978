"""run, data -> scores; two runs, data -> a comparison.

The two functions behind ``charseq evaluate``. The task of the model decides how it is scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq.data.corpus import is_text, task_of, trained_reading
from charseq.decoding.rules import is_given
from charseq.errors import UsageError, argument
from charseq.evaluation import next_word, pairs
from charseq.inference.hub.download import choose
from charseq.inference.language_model import LanguageModel
from charseq.inference.predictor import load
from charseq.version import __version__

if TYPE_CHECKING:
    from charseq.inference.predictor import PairsModel


def evaluate(
    data: str | Path,
    *,
    model: PairsModel | LanguageModel | str | Path | None = None,
    split: str | None = None,
    beam: int | None = None,
    errors: str | Path | None = None,
    strangers: str | Path | None = None,
    strangers_column: str | int | None = None,
    plot: str | Path | None = None,
    force: bool = False,
    adapt: bool = False,
    reading: Mapping[str, str] | None = None,
    pattern: str | None = None,
    within: str | Path | None = None,
    check: str | Iterable[str] = (),
    report: Callable[[str], None] = lambda _: None,
    watch: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Score ``model`` on a split of ``data``; its columns are read as in the model's training.

    Args:
        data: a folder or one file, whose ``charseq.toml`` overrides the model's settings; for
            ``charseq.evaluate`` also a DataFrame.
        model: from :func:`charseq.load`, or the folder of a run; by default the run that ``load``
            chooses.
        split: train, dev, test, or all. By default test, or every row of one file that the model
            was not trained on.
        beam: width of the beam; by default the model's.
        errors: a file for the wrong rows: source, prediction, references, separated by tabs.
        strangers: a file of texts that have no right answer, one a line, or in a column.
        strangers_column: its name, or its number from 1; by default the one named source, else the
            first. With features two: ``lemma,features``.
        plot: a .png or .svg file for the risk-coverage curve, the reliability diagram, the
            probabilities of right and wrong answers, the error by length, and the wrong symbols.
        force: overwrite these files if they exist.
        adapt: for a model of text also the perplexities of a model that learns from what it has
            read, by a session and by dynamic evaluation, which needs torch.
        reading: settings that say how ``data`` is read (columns, header, delimiter, encoding,
            bad_rows); they override those of the model and of ``data``.
        pattern: a rule that all answers keep, like ``within`` and ``check``; see ``charseq.load``.
            A row without such an answer is wrong.
        within: the same, a file of answers.
        check: the same, names of checks.
        report: gets lines on how pairs were read, and on scripts that no font of a picture has.
        watch: gets the rows that are answered, and the share of the work that they are, 0 to 1.

    Returns:
        run, parameters, seconds (of training), epochs, data, split, signature, and the scores:
        see ``evaluate`` of ``evaluation.pairs`` and of ``evaluation.next_word``.

    Raises:
        UsageError: pairs for a model that predicts words, or text for a model of pairs; or a file
            to write that exists.
        DataError: with path and line: the data cannot be read.
        MissingExtraError: a package that reads the data, or draws, is not installed.
    """
    if strangers_column is not None and strangers is None:
        raise UsageError(f"{argument('strangers_column')} is for {argument('strangers')}")
    task = task_of(data, reading)
    if model is None or isinstance(model, str | Path):
        model = load(choose(model, task=task).path)
    _check_kind(model, data, reading)
    if isinstance(model, LanguageModel):
        ruled = is_given(pattern, within, check) or None
        given = {"beam": beam, "errors": errors, "strangers": strangers, "plot": plot}
        given |= {"a rule": ruled}
        if named := [name for name, value in given.items() if value is not None]:
            are = " and ".join(named) + (" is" if len(named) == 1 else " are")
            raise UsageError(f"{are} for runs of pairs; this run predicts words")
        encoding = (reading or {}).get("encoding", "auto")
        return next_word.evaluate(
            model, data, split=split, encoding=encoding, adapt=adapt, watch=watch,
            version=__version__,
        )  # fmt: skip
    if adapt:
        raise UsageError(f"{argument('adapt')} is for models of text; this run rewrites strings")
    return pairs.evaluate(
        model.constrained(pattern=pattern, within=within, check=check),
        data,
        split=split,
        beam=beam,
        errors=errors,
        strangers=strangers,
        strangers_column=strangers_column,
        plot=plot,
        force=force,
        reading=reading,
        report=report,
        watch=watch,
        version=__version__,
    )


def _check_kind(
    model: PairsModel | LanguageModel, path: str | Path, reading: Mapping[str, str] | None
) -> None:
    """Raise UsageError for pairs where the model predicts words, and the other way round."""
    words, data = isinstance(model, LanguageModel), Path(path)
    if not words:
        reading, _ = trained_reading(path, model.config.to_json(), reading)
    task = task_of(path, reading)
    texts = data.is_dir() and any(is_text(file) for file in data.iterdir())
    if data.exists() and words != (task == "next-word") and not (words and texts):
        does, there = ("predicts words", "pairs") if words else ("rewrites strings", "text")
        raise UsageError(f"{model.path} {does}, but {data} holds {there}: name another model")


def compare(
    data: str | Path,
    *,
    models: tuple[PairsModel | LanguageModel, PairsModel | LanguageModel],
    split: str | None = None,
    beam: int | None = None,
    plot: str | Path | None = None,
    force: bool = False,
    reading: Mapping[str, str] | None = None,
    report: Callable[[str], None] = lambda _: None,
    watch: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Score two models of pairs on the same rows of ``data``, and test which is better.

    The default ``split`` is that of :func:`evaluate`, and test if ``data`` is one file that either
    model was trained on. The default ``beam`` is each model's own. ``reading`` is that of
    :func:`evaluate`; ``report`` gets a line where the data are read as in a model's training, and
    on each script that no font has. ``plot`` is a .png or .svg file for a picture of where the
    models differ, which ``force`` overwrites. ``watch`` is that of :func:`evaluate`.

    Returns:
        the report of :func:`charseq.evaluation.pairs.compare`.

    Raises:
        UsageError: the same run twice, a run of sentences, or features in only one of the runs.
    """
    first, second = models
    if first.path.resolve() == second.path.resolve():
        raise UsageError(f"{first.path} is given twice, expected two runs to compare")
    if isinstance(first, LanguageModel) or isinstance(second, LanguageModel):
        words = first if isinstance(first, LanguageModel) else second
        raise UsageError(f"runs of pairs can be compared; {words.path} predicts words")
    for model in (first, second):
        reading, notes = trained_reading(data, model.config.to_json(), reading)
        for line in notes:
            report(line)
    return pairs.compare(
        first, second, data, split=split, beam=beam, plot=plot, force=force, reading=reading,
        report=report, watch=watch, version=__version__,
    )  # fmt: skip
