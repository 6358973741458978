"""two models' scored rows -> which is better, by how much, and whether chance explains it.

It knows neither models nor files. Differences are those from the first model to the second, in
percentage points. The p-value of exact match counts every way to exchange the two results of a
source; where a source is one row, that is McNemar's exact test. For the symbol error rate, where
they are too many, some are drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.evaluation import bootstrap
from charseq.evaluation.analysis import counts, exact_match, symbol_error_rate

if TYPE_CHECKING:
    from jaxtyping import Int

    from charseq.evaluation.bootstrap import Statistic
    from charseq.evaluation.scoring import Outcome

SIGNIFICANT = (100 - bootstrap.CONFIDENCE) / 100


def compare(first: Outcome, second: Outcome, *, same_symbols: bool) -> dict[str, Any]:
    """Two outcomes of the same rows.

    ``same_symbols``: both cut targets alike; otherwise their symbol error rates are not compared.

    Returns:
        both_right, only_first, only_second, both_wrong (rows); exact_match and ser (or None), each
        with difference, interval (None: nothing differs) and p; better ("first", "second" or
        None: exact match does not tell them apart); confidence, sources, resamples, seed.
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
        "better": better if exact["p"] < SIGNIFICANT else None,
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
    """Of a score, from one to the other, with its interval."""
    totals = (one.sum(axis=0, keepdims=True), other.sum(axis=0, keepdims=True))
    spread = statistic(drawn[:, 4:]) - statistic(drawn[:, :4])
    varies = np.ptp(spread) > bootstrap.ROUNDING
    return {
        "difference": float((statistic(totals[1]) - statistic(totals[0]))[0]),
        "interval": bootstrap.interval(spread) if varies else None,
    }
