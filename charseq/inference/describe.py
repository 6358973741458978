"""Run folder -> its metadata as an object, and as lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charseq.confidence.confidence import UNCHANGED
from charseq.confidence.familiarity import TABLES
from charseq.confidence.rescoring import DIRECTIONS
from charseq.confidence.word_prior import BEAM
from charseq.config import in_use
from charseq.display import SHOWN_SYMBOLS, field
from charseq.inference.hub.download import find
from charseq.inference.loading import is_next_word, read_run, shapes_of
from charseq.runs.lookup import TRAINED_AT
from charseq.runs.model_card import example_counts, score_text, source_count, word_count


def info(run: str | Path | None = None) -> tuple[dict[str, Any], list[str]]:
    """The metadata of a run with the shapes of its weights, and the same as lines for people.

    Args:
        run: a run folder; by default the one that :func:`charseq.load` chooses.

    Raises:
        CheckpointError: the run is missing, damaged or of a foreign format.
    """
    metadata = read_run(find(run)).metadata
    shapes = {name: list(shape) for name, shape in shapes_of(metadata).items()}
    return {**_without_tables(metadata), "shapes": shapes}, describe_run(metadata)


def _without_tables(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata without the counts of n-grams and of targets, which are nothing to read."""
    found = dict(metadata)
    if judged := metadata.get("confidence"):
        kept = {name: x for name, x in judged["familiarity"].items() if name not in TABLES}
        found["confidence"] = {**judged, "familiarity": kept}
    if words := metadata.get("words"):
        count = word_count(words)
        found["words"] = {**words, "list": {"words": count, "left_out": words["list"]["left_out"]}}
    if ngrams := metadata.get("ngrams"):
        found["ngrams"] = {**ngrams, **{name: _ngram_count(ngrams, name) for name in DIRECTIONS}}
    if memory := metadata.get("memory"):
        kept = {name: x for name, x in memory.items() if name != "entries"}
        found["memory"] = {**kept, "sources": source_count(memory)}
    return found


def describe_run(metadata: Mapping[str, Any]) -> list[str]:
    """Settings, shapes (as on sheet C), parameters, scores and the data of a run."""
    state = "finished" if metadata["finished"] else "not finished"
    lines = [
        field(
            "training",
            f"{state}; {metadata['epochs']} epochs, {metadata['seconds']:.0f} s"
            + (f", {metadata[TRAINED_AT]}" if TRAINED_AT in metadata else ""),
        ),
        field("scores", _scores(metadata["scores"])),
        field("data", f"{metadata['data']['name']}, {example_counts(metadata['data'])}"),
        field("", f"sha256 {metadata['data']['fingerprint']}"),
        field(
            "versions",
            ", ".join(f"{name} {version}" for name, version in metadata["versions"].items()),
        ),
    ]
    lines[2:2] = [*_members(metadata), *describe_calibration(metadata), *_origins(metadata)]
    sides = {side: metadata[side] for side in ("source", "target") if side in metadata}
    if is_next_word(metadata):
        sides = {"symbols": metadata["units"]["vocabulary"]}
    for side, known in sides.items():
        symbols = known["symbols"]
        shown = " ".join(symbols[:SHOWN_SYMBOLS]) + (" …" if len(symbols) > SHOWN_SYMBOLS else "")
        kind = "words" if side == "symbols" and known["kind"] == "spaced" else known["kind"]
        count = f"{len(symbols):,} {kind}, {known['form']}"
        if known["features"]:
            count += f", {len(known['features'])} features"
        lines.append(field(side, f"{count}: {shown}"))
    lines.append("settings")
    lines += [f"  {name:18} {value}" for name, value in _settings_in_use(metadata).items()]
    shapes = _distinct_shapes(metadata, shapes_of(metadata))
    width = max(map(len, shapes))
    lines.append("shapes")
    lines += [f"  {name:{width}}  {'×'.join(map(str, shape))}" for name, shape in shapes.items()]
    lines.append(field("parameters", f"{metadata['parameters']:,}"))
    return lines


def _settings_in_use(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that did something in the run, with what "auto" came to as far as it is kept."""
    settings = dict(metadata["settings"])
    settings["task"] = "next-word" if is_next_word(metadata) else "pairs"
    for side in ("source", "target"):
        if side in metadata:
            settings[f"{side}_symbols"] = metadata[side]["kind"]
            settings[f"{side}_form"] = metadata[side]["form"]
    if is_next_word(metadata):
        settings["target_form"] = metadata["units"]["vocabulary"]["form"]
    unset = ("minutes", "epochs", "columns", "cells", "target_words")
    idle = {name for name in unset if not settings[name]}
    return {
        name: str(settings[name]).lower() if isinstance(settings[name], bool) else settings[name]
        for name in in_use(settings)
        if name not in idle
    }


def _members(metadata: Mapping[str, Any]) -> list[str]:
    """A line for each member of an ensemble."""
    return [
        field(
            f"member {number}",
            f"{one['cell']}, seed {one['seed']}, {one['epochs']} epochs, {_scores(one['scores'])}",
        )
        for number, one in enumerate(metadata.get("members", ()), 1)
    ]


def _origins(metadata: Mapping[str, Any]) -> list[str]:
    """A line for each kind of runs that this run was made from: averaged runs, a teacher."""
    lines = []
    if "averaged" in metadata:
        lines.append(field("averaged", metadata["averaged"]["of"]))
    if "distilled" in metadata:
        texts = "" if metadata["distilled"].get("unlabelled") is None else ", with unlabelled texts"
        lines.append(field("teacher", metadata["distilled"]["teacher"] + texts))
    return lines


def _distinct_shapes(metadata: Mapping[str, Any], shapes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The shapes of a run; of an ensemble only those of the first member with each cell."""
    cells = [one["cell"] for one in metadata.get("members", ())]
    first = {cells.index(cell) for cell in cells}
    return {
        name: shape
        for name, shape in shapes.items()
        if not cells or int(name.split(".")[1]) in first
    }


def describe_calibration(metadata: Mapping[str, Any]) -> list[str]:
    """Lines on the calibration of a run's probabilities, on strangers and on its memory, if any."""
    lines = []
    if found := metadata.get("calibration"):
        lines.append(
            field(
                "calibrated",
                f"temperature {found['temperature']:.2f}, rest {found['rest']:.2f}; error of "
                f"probabilities {found['ece_before']:.1f} -> {found['ece_after']:.1f} %, "
                f"{found['examples']:,} examples",
            )
        )
    if judged := metadata.get("confidence"):
        before, after = (f"{judged[name]:.1f}" for name in ("sure_before", "sure_after"))
        change = f"; answers above a half {before} -> {after} %"
        if tuple(judged["weights"]) == UNCHANGED:
            change = " change no probability, but tell how familiar one is"
        lines.append(field("strangers", f"{judged['strangers']:,} texts unlike the data{change}"))
    if ngrams := metadata.get("ngrams"):
        size = sum(_ngram_count(ngrams, name) for name in DIRECTIONS)
        lines.append(
            field(
                "ngrams",
                f"{size:,} joint n-grams of train, weight {ngrams['weight']:.2f}; right "
                f"{ngrams['right_before']:.1f} -> {ngrams['right_after']:.1f} %, "
                f"{ngrams['rows']:,} examples",
            )
        )
    if words := metadata.get("words"):
        left_out = words["list"]["left_out"]
        lines.append(
            field(
                "words",
                f"a list of {word_count(words):,}"
                + (f" ({left_out:,} rarer ones left out)" if left_out else "")
                + f"; right {words['right_before']:.1f} -> {words['right_after']:.1f} %, "
                f"{words['rows']:,} examples, beam {BEAM}",
            )
        )
    if memory := metadata.get("memory"):
        left_out = memory["left_out"]
        lines.append(
            field(
                "memory",
                f"{source_count(memory):,} sources of train"
                + (f" ({left_out:,} rarer ones left out)" if left_out else "")
                + f", strength {memory['strength']:.2f}; right {memory['right_before']:.1f} -> "
                f"{memory['right_after']:.1f} %, {memory['rows']:,} examples with such sources",
            )
        )
    return lines


def _ngram_count(ngrams: Mapping[str, Any], direction: str) -> int:
    """The number of n-grams of a direction, from the metadata: one byte each, in base64."""
    tables = ngrams[direction]["chances"] if ngrams[direction] else []
    return sum(3 * len(one) // 4 - one.count("=", max(len(one) - 2, 0)) for one in tables)


def _scores(scores: Mapping[str, float]) -> str:
    return score_text(scores, ser="ser") if scores else "none yet"
