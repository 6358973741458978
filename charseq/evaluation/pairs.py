"""Evaluation of models of pairs: scores on a split, comparison of two models on the same rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq import files
from charseq.confidence.memory import Memory, key_of
from charseq.data import pairs, settings_file
from charseq.data.columns import column_names, column_reader
from charseq.data.corpus import data_files, trained_reading
from charseq.data.formats.reader import read_table
from charseq.data.formats.writer import Rejected
from charseq.data.text.vocabulary import SUBWORDS
from charseq.display import count as counted
from charseq.display import describe
from charseq.errors import DataError, SettingError, UsageError, argument, require
from charseq.evaluation import analysis, risk
from charseq.evaluation.metrics import measure_all, signature, summarise
from charseq.evaluation.pictures import error_plots, risk_plots
from charseq.evaluation.scoring import choose_rows, run_facts, score_examples, write_errors
from charseq.inference.pool import files_read
from charseq.inference.predictor import PairsModel

if TYPE_CHECKING:
    import numpy as np

    from charseq.data.text.vocabulary import Vocabulary
    from charseq.evaluation.scoring import Outcome, TimeLimit, Watch

    Weights = Mapping[str, np.ndarray]

MAX_UNKNOWN = 3
"""Unknown symbols that are named, the most frequent ones."""


def evaluate(
    model: PairsModel,
    data: str | Path,
    *,
    split: str | None = None,
    beam: int | None = None,
    errors: str | Path | None = None,
    strangers: str | Path | None = None,
    strangers_column: str | int | None = None,
    plot: str | Path | None = None,
    force: bool = False,
    reading: Mapping[str, str] | None = None,
    report: Callable[[str], None] = lambda _: None,
    watch: Watch | None = None,
    version: str,
) -> dict[str, Any]:
    """Score ``model`` on a split of ``data``; its columns are read as in the model's training.

    ``reading``: settings of :data:`charseq.data.pairs.SETTINGS` that override those of the model.
    ``report`` gets lines on how the data were read. ``watch`` gets the rows that are answered, and
    the share of the work that they are.
    ``version`` is the program's, for the signature.

    Returns:
        run, parameters, seconds (of training), epochs, data, split, examples, exact_match, wer,
        ser, standard_error, ece, aurc, excess_aurc, auroc (in percent; None: undefined), intervals,
        top_k, by_length, confusions, of a run with a memory by_memory (see
        :mod:`charseq.evaluation.analysis`), coverage,
        risk_coverage (see :func:`charseq.evaluation.risk.assess`), beam, signature; with
        ``strangers`` also strangers (see :func:`charseq.evaluation.risk.assess_strangers`).
    """
    require("rapidfuzz", "evaluating pairs")
    given = [] if strangers is None else [strangers]
    for path in (errors, plot):
        if path is not None:
            reads = chain(data_files(data), files_read(model), given)
            files.refuse(path, force=force, inputs=reads)
    if plot is not None:
        risk_plots.check(plot, force=force)
        if errors is not None and Path(errors) == Path(plot):
            both = f"{argument('errors')} and of {argument('plot')}"
            raise UsageError(f"{plot} is the file of {both}: give two names")
    texts = []
    if strangers is not None:
        texts = read_strangers(model, strangers, strangers_column, report)
    rows, split = rows_of(model, data, split, reading, report)
    outcome, width = answer(model, rows, beam, watch=watch)
    for line in unknown_lines(outcome):
        report(f"{data}: {line}")
    if errors is not None:
        write_errors(errors, outcome, force=force)
    found = facts(model, data, split, outcome, width, version=version)
    if model.memory is not None:
        found["by_memory"] = by_memory(model, model.memory, outcome, width, watch=watch)
    answers = model.translator.predict(texts, width=width)
    answered = zip(rows, outcome.predictions, strict=True)
    if known := {one.source for row, one in answered if row.target}.intersection(texts):
        have = "has a target" if len(known) == 1 else "have targets"
        report(f"{strangers}: {counted(len(known), 'text')} of it {have} in {data}")
    if strangers is not None:
        told = risk.assess_strangers(outcome, answers, found["coverage"])
        found["strangers"] = {"data": str(strangers), **told}
    if plot is not None:
        title = f"{model.path}: {len(rows):,} rows of {data}"
        edits = analysis.edit_counts(outcome, model.translator.target.pieces)
        risk_plots.draw(
            plot, outcome, answers, coverage=found["coverage"], lengths=found["by_length"],
            edits=edits, title=title, force=force, report=report,
        )  # fmt: skip
    return found


def unknown_lines(outcome: Outcome) -> list[str]:
    """A line on the rows with symbols that the model does not know; none where all are known."""
    counts = Counter(symbol for one in outcome.predictions for symbol in one.unknown)
    if not counts:
        return []
    rows = sum(bool(one.unknown) for one in outcome.predictions)
    named = ", ".join(describe(symbol) for symbol, _ in counts.most_common(MAX_UNKNOWN))
    more = f" and {len(counts) - MAX_UNKNOWN:,} more" if len(counts) > MAX_UNKNOWN else ""
    have = "has a symbol" if rows == 1 else "have symbols"
    these = f"{rows:,} of {counted(len(outcome.rows), 'row')} {have}"
    return [f"{these} that the model does not know: {named}{more}"]


def read_strangers(
    model: PairsModel,
    path: str | Path,
    column: str | int | None,
    report: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """The texts of a file, one a row; blank lines and empty cells are left out.

    ``column`` is that of a conversion, see :mod:`charseq.data.columns`. ``report`` gets a line on
    how they were read.

    Raises:
        DataError: with path and line: a row cannot be read, or there is no text.
    """
    table = read_table(path, names=column_names(column, features=model.has_features))
    read = column_reader(
        table,
        column,
        features=model.has_features,
        separator=model.feature_separator,
        report=lambda text: report(f"{path}: strangers = {text}") if text else None,
    )
    texts = []
    for row in table.rows:
        try:
            texts.append(read(row))
        except Rejected as fault:
            raise fault.at(path, row.line) from None
    found = [text for text in texts if text and text.strip()]
    if not found:
        raise DataError("there is no text in it, expected strangers, one a line", path=path)
    return found


def compare(
    first: PairsModel,
    second: PairsModel,
    data: str | Path,
    *,
    split: str | None = None,
    beam: int | None = None,
    plot: str | Path | None = None,
    force: bool = False,
    reading: Mapping[str, str] | None = None,
    report: Callable[[str], None] = lambda _: None,
    watch: Watch | None = None,
    version: str,
) -> dict[str, Any]:
    """Score two models on the same rows; without ``split``, on test if one was trained on the file.

    ``plot`` is a .png or .svg file for a picture of where they differ. ``report`` gets a line on
    each script that no installed font has. ``watch`` is that of :func:`evaluate`.

    Returns:
        data, split, examples, models (what :func:`evaluate` returns of each) and comparison (see
        :func:`charseq.evaluation.analysis.compare_outcomes`).

    Raises:
        MissingExtraError: rapidfuzz is not installed.
        UsageError: only one of the models has features, so their inputs are not the same.
        DataError: the models' columns read other rows from ``data``.
    """
    require("rapidfuzz", "evaluating pairs")
    if first.has_features != second.has_features:
        without = second if first.has_features else first
        raise UsageError(f"{without.path} takes no features, the other model does")
    if plot is not None:
        reads = chain(data_files(data), files_read(first), files_read(second))
        files.refuse(plot, force=force, inputs=reads)
        risk_plots.check(plot, force=force)
    models = (first, second)
    found = [rows_of(model, data, split, reading) for model in models]
    if found[0][1] != found[1][1]:
        found = [rows_of(model, data, "test", reading) for model in models]
    (rows, split), (others, _) = found
    if [compared_cells(row, first) for row in rows] != [
        compared_cells(row, second) for row in others
    ]:
        raise DataError(
            f"{first.path} reads other columns of it than {second.path}; what is compared must "
            "have been trained on the same columns",
            path=data,
        )
    outcomes = [answer(model, rows, beam, watch=watch) for model in models]
    alike = _cut_alike(first.translator.target, second.translator.target)
    told = analysis.compare_outcomes(outcomes[0][0], outcomes[1][0], same_symbols=alike)
    if plot is not None:
        title = f"{first.path} and {second.path}: {len(rows):,} rows of {data}"
        _draw_comparison(plot, models, (outcomes[0][0], outcomes[1][0]), told, title, report)
    return {
        "data": str(data),
        "split": split,
        "examples": len(rows),
        "models": [
            facts(model, data, split, *outcome, version=version)
            for model, outcome in zip(models, outcomes, strict=True)
        ],
        "comparison": told,
    }


def _draw_comparison(
    path: str | Path,
    models: tuple[PairsModel, PairsModel],
    outcomes: tuple[Outcome, Outcome],
    told: Mapping[str, Any],
    title: str,
    report: Callable[[str], None],
) -> None:
    """Draw where two models differ; both by the lengths that the first one reads."""
    cut, write = models[0].translator.source.pieces, models[0].translator.target.pieces
    first, second = outcomes
    edits = None
    if told["ser"] is not None:
        edits = (analysis.edit_counts(first, write), analysis.edit_counts(second, write))
    error_plots.draw_comparison(
        path,
        told,
        (models[0].name, models[1].name),
        lengths=(analysis.by_length(first, cut), analysis.by_length(second, cut)),
        edits=edits,
        title=title,
        report=report,
    )


def compared_cells(row: pairs.Example, model: PairsModel) -> tuple[str, ...]:
    """The cells of a row that the scores of ``model`` depend on."""
    return (row.source, row.target, *([row.features] if model.has_features else []))


def _cut_alike(one: Vocabulary, other: Vocabulary) -> bool:
    """Whether two vocabularies cut a text into the same symbols to count errors."""
    same = one.piece_kind == other.piece_kind
    if one.form != other.form:  # phones that Unicode calls equal are the same in either form
        same = same and one.piece_kind == "spaced" and {one.form, other.form} == {"NFC", "NFD"}
    learnt = one.kind in SUBWORDS
    return same and (not learnt or (one.symbols, one.scores) == (other.symbols, other.scores))


def rows_of(
    model: PairsModel,
    data: str | Path,
    split: str | None,
    reading: Mapping[str, str] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[Sequence[pairs.Example], str]:
    """The rows to score and their split, read by the model's settings and those of ``data``.

    The delimiter and the encoding are those of ``data``, see
    :func:`charseq.data.corpus.trained_reading`. ``reading`` overrides all of them.
    """
    reading, notes = trained_reading(data, model.config.to_json(), reading)
    for line in notes:
        report(line)
    own = {"delimiter": "auto", "encoding": "auto", **settings_file.settings_of(data)}
    settings = {**model.config.to_json(), **own, **reading}
    fingerprint = model.metadata["data"]["fingerprint"]
    return choose_rows(data, settings, split, fingerprint, report=report)


def answer(
    model: PairsModel,
    rows: Sequence[pairs.Example],
    beam: int | None = None,
    *,
    limit: TimeLimit | None = None,
    watch: Watch | None = None,
) -> tuple[Outcome, int]:
    """The scored predictions for ``rows``, with candidates, and the width of the beam.

    ``limit``, ``watch``: see :func:`charseq.evaluation.scoring.score_examples`.

    Raises:
        SettingError: the beam is narrower than 1.
    """
    width = model.beam if beam is None else beam
    if width < 1:
        raise SettingError(f"beam is {width}, expected 1 or more")
    n = min(width, max(analysis.TOP_K))
    found = score_examples(model.translator, rows, width=width, n=n, limit=limit, watch=watch)
    return found, width


def by_memory(
    model: PairsModel,
    memory: Memory,
    outcome: Outcome,
    width: int,
    *,
    watch: Watch | None = None,
) -> list[dict[str, Any]]:
    """The result of :func:`charseq.evaluation.analysis.by_memory` for scored rows.

    Rows whose source is in the memory are answered again, without it.
    """
    known = model.translator
    keys = [key_of(known.source, row.source, row.features) for row in outcome.rows]
    targets = [len(memory.find(key)) for key in keys]
    rows = [row for row, count in zip(outcome.rows, targets, strict=True) if count]
    predictions, judgements = list(outcome.predictions), list(outcome.judgements)
    if rows:
        without = known.having(
            calibration=known.calibration, confidence=known.confidence, words=known.words
        )
        alone = score_examples(without, rows, width=width, watch=watch)
        seen = [number for number, count in enumerate(targets) if count]
        for number, one, judged in zip(seen, alone.predictions, alone.judgements, strict=True):
            predictions[number], judgements[number] = one, judged
    scores = summarise(judgements)
    model_alone = replace(outcome, predictions=predictions, judgements=judgements, scores=scores)
    return analysis.by_memory(outcome, model_alone, targets)


def facts(
    model: PairsModel,
    data: str | Path,
    split: str,
    outcome: Outcome,
    width: int,
    *,
    version: str,
) -> dict[str, Any]:
    """The report that :func:`evaluate` returns, from predictions that are there already."""
    source, target = model.translator.source, model.translator.target
    trust = risk.assess(outcome)
    return {
        **run_facts(model, data, split),
        "examples": outcome.scores.examples,
        **measure_all("pairs", outcome),
        "intervals": {**analysis.intervals(outcome), **trust.pop("intervals")},
        "top_k": analysis.top_k_accuracy(outcome, width),
        "by_length": analysis.by_length(outcome, source.pieces),
        "confusions": analysis.confusions(outcome, target.pieces),
        **trust,
        "beam": width,
        "signature": signature(
            charseq=version,
            split=split,
            n=outcome.scores.examples,
            unit="row",
            references="any",
            match="NFC",
            ser=target.piece_kind,
            beam=width,
            length_penalty=model.translator.length_penalty or None,
            words=None if model.word_prior is None else model.word_prior.words.fingerprint[:8],
            rule=None if model.rule is None else model.rule.fingerprint[:8],
        ),
    }
