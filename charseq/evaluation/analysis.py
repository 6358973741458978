"""Error analysis: confidence intervals, top-k accuracy, accuracy by length, confusions, comparison.

Each function takes the scored rows of an evaluation and returns values for JSON. ``split`` cuts a
text into symbols.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.data.text.normalise import normalise
from charseq.evaluation import bootstrap, metrics

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from charseq.evaluation.bootstrap import Statistic
    from charseq.evaluation.scoring import Outcome

TOP_K = (1, 2, 3, 5)
"""The k of top-k accuracy."""
BUCKETS = 8
"""Ranges of source lengths that are aimed at."""
MAX_CONFUSIONS = 20
"""Different edits of a kind that are reported, the most frequent ones."""
SIGNIFICANCE = (100 - bootstrap.CONFIDENCE) / 100
"""Significance level: the largest p-value of a difference that is called real."""
SEEN = ("unseen", "one target", "several targets")
"""Kinds of sources: those that are not in a run's memory, and those with one target there or more,
which are ambiguous."""
EDIT_KINDS = ("substitutions", "deletions", "insertions")


def counts(outcome: Outcome) -> Int[np.ndarray, "C 4"]:
    """Counts of each source: rows, right rows, edits, gold symbols.

    Rows that differ in features or in the Unicode form of their source are of one source.
    """
    rows = [(1, one.right, one.edits, one.symbols) for one in outcome.judgements]
    names = [normalise(row.source, "NFC") for row in outcome.rows]
    return bootstrap.gather(names, np.array(rows, dtype=np.int64))


def exact_match(totals: Int[np.ndarray, "R 4"]) -> Float[np.ndarray, "R"]:
    """Exact match in percent, from sums of :func:`counts`."""
    return np.asarray(100 * totals[:, 1] / totals[:, 0])


def symbol_error_rate(totals: Int[np.ndarray, "R 4"]) -> Float[np.ndarray, "R"]:
    """Symbol error rate in percent, from sums of :func:`counts`."""
    return np.asarray(100 * totals[:, 2] / np.maximum(1, totals[:, 3]))


def intervals(outcome: Outcome) -> dict[str, Any]:
    """Confidence intervals of ``exact_match``, ``wer`` and ``ser`` in percent, and their settings.

    If every row is right, or none is, the bounds of ``exact_match`` are those of Clopper and
    Pearson. None stands for bounds that resampling cannot find.
    """
    found = counts(outcome)
    totals = bootstrap.bootstrap(found)
    rows, right, edits, _ = found.sum(axis=0).tolist()
    several = len(found) > 1
    exact = bootstrap.interval(exact_match(totals)) if several else None
    unseen = 100 * bootstrap.largest_unseen(len(found))
    if right == rows:
        exact = [100 - unseen, 100.0]
    elif not right:
        exact = [0.0, unseen]
    return {
        "exact_match": exact,
        "wer": exact and [100 - bound for bound in reversed(exact)],
        "ser": bootstrap.interval(symbol_error_rate(totals)) if several and edits else None,
        "confidence": bootstrap.CONFIDENCE,
        "sources": len(found),
        "resamples": bootstrap.RESAMPLES,
        "seed": bootstrap.SEED,
    }


def top_k_accuracy(outcome: Outcome, width: int) -> list[dict[str, Any]]:
    """Top-k accuracy: rows in percent with a right answer among the first k candidates.

    ``width`` is the number of candidates; larger k of :data:`TOP_K` are left out.
    """
    ranks = []
    for prediction, references in zip(outcome.predictions, outcome.references, strict=True):
        texts = [one.prediction for one in prediction.candidates]
        found = (k for k, text in enumerate(texts, 1) if metrics.is_right(text, references))
        ranks.append(next(found, width + 1))
    return [
        {"k": k, "exact_match": 100 * sum(rank <= k for rank in ranks) / len(ranks)}
        for k in TOP_K
        if k <= width
    ]


def by_length(
    outcome: Outcome, split: Callable[[str], Sequence[str]]
) -> list[dict[str, int | float]]:
    """Exact match by source length in symbols; every range of lengths has about as many rows."""
    lengths = {row.source: len(split(row.source)) for row in outcome.rows}
    rows: Counter[int] = Counter()
    right: Counter[int] = Counter()
    for row, judged in zip(outcome.rows, outcome.judgements, strict=True):
        rows[lengths[row.source]] += 1
        right[lengths[row.source]] += judged.right
    share = rows.total() / BUCKETS
    groups: list[list[int]] = []
    for length in sorted(rows):
        if not groups or sum(rows[one] for one in groups[-1]) >= share:
            groups.append([])
        groups[-1].append(length)
    if len(groups) > 1 and sum(rows[one] for one in groups[-1]) < share / 2:
        rest = groups.pop()
        groups[-1] += rest
    return [_length_range(group, rows, right) for group in groups]


def by_memory(outcome: Outcome, alone: Outcome, targets: Sequence[int]) -> list[dict[str, Any]]:
    """Exact match with and without the memory of a run, by what it has of the source.

    Args:
        outcome: the rows with the answers of the run.
        alone: the same rows with those of the model without the memory.
        targets: for each row, the number of targets that the source has in the memory.

    Returns:
        For each of :data:`SEEN`: seen, examples, exact_match, interval (None: it cannot be found),
        model_exact_match, model_interval. Kinds without rows are left out.
    """
    kinds = np.minimum(targets, len(SEEN) - 1)
    found = []
    for number, kind in enumerate(SEEN):
        chosen = np.flatnonzero(kinds == number).tolist()
        if not chosen:
            continue
        line: dict[str, Any] = {"seen": kind, "examples": len(chosen)}
        for prefix, one in (("", outcome), ("model_", alone)):
            part = _part(one, chosen)
            line[f"{prefix}exact_match"] = part.scores.exact_match
            line[f"{prefix}interval"] = intervals(part)["exact_match"]
        found.append(line)
    return found


def _part(outcome: Outcome, chosen: Sequence[int]) -> Outcome:
    """The chosen rows of an outcome."""
    judgements = [outcome.judgements[number] for number in chosen]
    return replace(
        outcome,
        rows=[outcome.rows[number] for number in chosen],
        predictions=[outcome.predictions[number] for number in chosen],
        references=[outcome.references[number] for number in chosen],
        judgements=judgements,
        scores=metrics.summarise(judgements),
    )


def confusions(outcome: Outcome, split: Callable[[str], Sequence[str]]) -> dict[str, Any]:
    """Substitutions, deletions and insertions between nearest references and predictions.

    They are those of :func:`edit_counts`. ``share`` is in percent of all edits.
    """
    found: dict[str, Counter[tuple[str, str]]] = {kind: Counter() for kind in EDIT_KINDS}
    for (reference, written), count in edit_counts(outcome, split).items():
        kind = "deletions" if not written else "substitutions" if reference else "insertions"
        found[kind][reference, written] = count
    edits = sum(counter.total() for counter in found.values())
    return {
        "edits": edits,
        **{
            kind: {"count": counter.total(), "most": _most_frequent(counter, edits)}
            for kind, counter in found.items()
        },
    }


def edit_counts(
    outcome: Outcome, split: Callable[[str], Sequence[str]]
) -> Counter[tuple[str, str]]:
    """How often a symbol of a reference (or none, "") was written as another one (or none).

    A reference and a prediction are aligned with the fewest edits, those that ``ser`` counts; of
    several such alignments one is taken.
    """
    from rapidfuzz.distance import Levenshtein

    found: Counter[tuple[str, str]] = Counter()
    rows = zip(outcome.predictions, outcome.references, outcome.judgements, strict=True)
    for prediction, references, judged in rows:
        if not judged.edits:
            continue
        guess, gold = metrics.nearest_reference(prediction.prediction, references, split)
        for edit in Levenshtein.editops(gold, guess):
            reference = "" if edit.tag == "insert" else gold[edit.src_pos]
            written = "" if edit.tag == "delete" else guess[edit.dest_pos]
            found[reference, written] += 1
    return found


def _length_range(
    lengths: Sequence[int], rows: Mapping[int, int], right: Mapping[int, int]
) -> dict[str, int | float]:
    """Rows and exact match of a range of source lengths."""
    examples = sum(rows[length] for length in lengths)
    return {
        "shortest": lengths[0],
        "longest": lengths[-1],
        "examples": examples,
        "exact_match": 100 * sum(right[length] for length in lengths) / examples,
    }


def _most_frequent(counter: Counter[tuple[str, str]], edits: int) -> list[dict[str, Any]]:
    """The most frequent edits; equally frequent ones in the order of their symbols."""
    ranked = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"reference": reference, "written": written, "count": count, "share": 100 * count / edits}
        for (reference, written), count in ranked[:MAX_CONFUSIONS]
    ]


def compare_outcomes(first: Outcome, second: Outcome, *, same_symbols: bool) -> dict[str, Any]:
    """Paired comparison of two models on the same rows.

    Args:
        first: the first model's scored rows.
        second: the second model's, in the same order.
        same_symbols: whether both models cut targets into the same symbols; if not, their symbol
            error rates are not compared.

    Returns:
        both_right, only_first, only_second, both_wrong (numbers of rows); exact_match and ser (or
        None), each with difference, interval (None: nothing differs) and p; better ("first",
        "second", or None if the difference of exact match is not significant); confidence,
        sources, resamples, seed.
    """
    rights = [one.right for one in first.judgements]
    others = [one.right for one in second.judgements]
    table = [
        sum(pair == wanted for pair in zip(rights, others, strict=True))
        for wanted in ((True, True), (True, False), (False, True), (False, False))
    ]
    one, other = counts(first), counts(second)
    drawn = bootstrap.bootstrap(np.hstack([one, other]))
    p = bootstrap.exchange_all(other[:, 1] - one[:, 1])
    exact = _difference(one, other, drawn, exact_match) | {"p": p}
    ser = None
    if same_symbols:
        p = bootstrap.exchange(one, other, symbol_error_rate)
        ser = _difference(one, other, drawn, symbol_error_rate) | {"p": p}
    better = "second" if exact["difference"] > 0 else "first"
    return {
        **dict(zip(("both_right", "only_first", "only_second", "both_wrong"), table, strict=True)),
        "exact_match": exact,
        "ser": ser,
        "better": better if exact["p"] < SIGNIFICANCE else None,
        "confidence": bootstrap.CONFIDENCE,
        "sources": len(one),
        "resamples": bootstrap.RESAMPLES,
        "seed": bootstrap.SEED,
    }


def _difference(
    one: Int[np.ndarray, "C 4"],
    other: Int[np.ndarray, "C 4"],
    drawn: Int[np.ndarray, "R 8"],
    statistic: Statistic,
) -> dict[str, Any]:
    """The difference of a score, second model minus first, with its confidence interval."""
    totals = (one.sum(axis=0, keepdims=True), other.sum(axis=0, keepdims=True))
    spread = statistic(drawn[:, 4:]) - statistic(drawn[:, :4])
    varies = np.ptp(spread) > bootstrap.ROUNDING
    return {
        "difference": float((statistic(totals[1]) - statistic(totals[0]))[0]),
        "interval": bootstrap.interval(spread) if varies else None,
    }
