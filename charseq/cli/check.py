"""The commands that look at data and runs: check, info, verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from charseq.config import Config, defaults
from charseq.data import corpus, statistics
from charseq.data import pairs as examples
from charseq.data.corpus import choose_task

if TYPE_CHECKING:
    pass


def inspect_data(
    data: str | Path, *, config: Config | None = None
) -> statistics.PairsReport | statistics.LinesReport:
    """Counts, inventories, duplicates, contradictions, leakage and odd characters of ``data``.

    Of text, which has no pairs: counts, duplicates, leakage and the words that are not known.
    """
    config = config or defaults(choose_task(data))
    if choose_task(data, config.task) == "next-word":
        return statistics.inspect_lines(
            corpus.load(data, running=config.running),
            case=config.case,
            punctuation=config.punctuation,
            limit=config.word_limit,
            min_count=config.min_count,
            form=config.target_form,
        )
    dataset = examples.load(
        data,
        columns=config.columns,
        header=config.header,
        feature_separator=config.feature_separator,
    )
    return statistics.inspect_pairs(dataset, feature_separator=config.feature_separator)
