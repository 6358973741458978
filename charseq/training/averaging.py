"""Weight averaging: evaluations of one run, or several runs -> a run with their mean weights.

Stochastic weight averaging of the last evaluations of a training (Izmailov et al. 2018), or a model
soup of runs that were fine-tuned from the same weights (Wortsman et al. 2022). Such weights are so
close to each other that their mean is a network too, often a better one, at the price of one. Runs
from different random weights are refused: their weights do not correspond to each other. Ensembles
are for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq import files
from charseq.data.corpus import data_files
from charseq.errors import CheckpointError, UsageError, argument
from charseq.inference.hub.download import find
from charseq.inference.loading import LoadedRun, read_run, shapes_of
from charseq.runs.folder import WEIGHTS, is_finished, lock, names, read, refuse_inputs
from charseq.runs.training_state import TrainingState, kept_evaluations, kept_name
from charseq.runs.untrusted import parse_object
from charseq.runs.weights import load_weights
from charseq.training.train import task_type

if TYPE_CHECKING:
    Weights = Mapping[str, np.ndarray]

Report = Callable[[str], None]


def average(
    runs: Sequence[str | Path],
    output: str | Path,
    *,
    last: int | None = None,
    best: int | None = None,
    data: str | Path | None = None,
    force: bool = False,
    report: Report,
) -> dict[str, Any]:
    """Average kept evaluations of one run, or the models of several, into the run ``output``.

    Args:
        runs: one run that kept evaluations (the setting ``keep_checkpoints``), or several from
            one start.
        output: the folder to make.
        last: of one run, the number of the last kept evaluations; by default all that are kept.
        best: of one run, the number of kept evaluations with the best dev scores.
        data: data on whose dev split the mean is scored; by default it is not scored.
        force: whether to replace a run in ``output``.
        report: callback for each line for people.

    Returns:
        run, parameters, scores, and averaged: the origin of the mean.

    Raises:
        UsageError: counts that do not go together.
        CheckpointError: a run is missing or damaged, kept nothing, or does not fit the others.
    """
    files.check_name(output)
    folders = [find(run) for run in runs]
    if any(folder.resolve() == Path(output).resolve() for folder in folders):
        raise UsageError(f"{output} is one of the runs to average, expected another folder")
    refuse_inputs(output, [*folders, *([] if data is None else data_files(data))])
    contents = [read_run(folder) for folder in folders]
    for folder, found in zip(folders, contents, strict=True):
        if found.config.ensemble > 1:
            raise CheckpointError("is an ensemble: its members are not averaged", path=folder)
    if len(folders) == 1:
        weights, made = _of_evaluations(folders[0], contents[0], last=last, best=best)
    elif last is not None or best is not None:
        raise UsageError(
            f"{argument('last')} and {argument('best')} choose among the evaluations of one run, "
            "not of many"
        )
    else:
        weights, made = _of_runs(folders, contents)
    first = contents[0]
    report(f"averaged   {made['of']}")
    with lock(output, force=force):
        if is_finished(output) and not force:
            what = (
                f"is finished already: {argument('force', True)} replaces it, {argument('output')} "
                "names another folder"
            )
            raise CheckpointError(what, path=output)
        state = TrainingState(Path(output), {**_inherited(first.metadata), "averaged": made})
        state.reset()
        state.best = weights
        state.progress.seconds = sum(one.metadata["seconds"] for one in contents)
        state.progress.epochs = sum(one.metadata["epochs"] for one in contents)
        if data is not None:
            _score(state, first, weights, data, report)
            now, before = (
                _summary(first, scores)
                for scores in (state.progress.scores, first.metadata["scores"])
            )
            report(f"scores     {now}; {folders[0]} had {before}")
        state.finish()
    report(f"kept       {output}")
    return {
        "run": str(output),
        "parameters": state.metadata["parameters"],
        "scores": state.progress.scores,
        "averaged": made,
    }


def mean(parts: Sequence[Weights]) -> dict[str, np.ndarray]:
    """The mean of weights by name, summed in float64, so that it does not depend on the order."""
    found: dict[str, np.ndarray] = {}
    for name in parts[0]:
        stacked = np.stack([part[name] for part in parts])
        found[name] = np.asarray(stacked.mean(axis=0, dtype=np.float64), dtype=np.float32)
    return found


def _of_evaluations(
    folder: Path, found: LoadedRun, *, last: int | None, best: int | None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The mean of evaluations that a run kept, and its origin for the metadata."""
    kept = kept_evaluations(folder)
    if not kept:
        what = f"kept no evaluations to average: train with {argument('keep_checkpoints', 5)}"
        raise CheckpointError(what, path=folder)
    if last is not None and best is not None:
        raise UsageError(f"{argument('last')} and {argument('best')} exclude each other: give one")
    count = last or best or len(kept)
    if count > len(kept):
        raise CheckpointError(f"kept {len(kept)} evaluations, not {count}", path=folder)
    chosen = kept[-count:]
    if best is not None:
        chosen = sorted(_ranked(folder, found, kept)[:count])
    shapes = shapes_of(found.metadata)
    parts = []
    for number in chosen:
        path = folder / kept_name(number)
        parts.append(load_weights(read(folder, path.name), path, shapes))
    of = f"evaluations {', '.join(map(str, chosen))} of {folder}"
    return mean(parts), {"of": of, "runs": [_fingerprint(folder)], "evaluations": chosen}


def _ranked(folder: Path, found: LoadedRun, kept: Sequence[int]) -> list[int]:
    """Kept evaluations, the best first; of equals the later."""
    rank, path = task_type(found.config.task).rank, folder / "metrics.jsonl"
    try:
        lines = [parse_object(line, path) for line in read(folder, path.name).splitlines()]
        scores = {number: rank(lines[number - 1]) for number in kept}
        return sorted(kept, key=lambda number: (scores[number], number), reverse=True)
    except (LookupError, TypeError) as error:
        what = "does not tell the scores of its evaluations"
        raise CheckpointError(what, path=path) from error


def _of_runs(
    folders: Sequence[Path], contents: Sequence[LoadedRun]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The mean of runs that started from the same weights, and its origin for the metadata."""
    first, start = contents[0], contents[0].metadata.get("start")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("a run is named twice among those to average")
    for folder, found in zip(folders[1:], contents[1:], strict=True):
        if not start or found.metadata.get("start") != start:
            raise UsageError(
                f"{folders[0]} and {folder} did not start from the same weights "
                f"({argument('init_from')}), so their mean is no network"
            )
        symbols = [(one.source, one.target, one.tokenizer) for one in (first, found)]
        if symbols[0] != symbols[1] or shapes_of(found.metadata) != shapes_of(first.metadata):
            raise UsageError(f"{folders[0]} and {folder} differ in their symbols or shapes")
    made = {"of": ", ".join(map(str, folders)), "runs": [_fingerprint(one) for one in folders]}
    return mean([one.weights for one in contents]), made


def _score(
    state: TrainingState, found: LoadedRun, weights: Weights, data: str | Path, report: Report
) -> None:
    """Score the mean on dev as in a training, and calibrate its probabilities."""
    task = task_type(found.config.task).of_run(found, data)
    state.metadata |= task.calibrate(weights, report)
    state.progress.scores = task.score(weights)
    state.record(state.progress.scores)


def _inherited(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a run that hold for the mean as well: settings, symbols, data."""
    kept = ("settings", "source", "target", "units", "limits", "start", "distilled", "data")
    return {name: metadata[name] for name in kept if name in metadata}


def _fingerprint(folder: Path) -> str:
    """The sha256 of a run's weights."""
    return hashlib.sha256(read(folder, WEIGHTS)).hexdigest() if WEIGHTS in names(folder) else ""


def _summary(found: LoadedRun, scores: Mapping[str, float]) -> str:
    """Dev scores of a run in a few words."""
    return " ".join(task_type(found.config.task).summary(scores).split()) if scores else "none"
