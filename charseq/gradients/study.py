"""cells, or a run and a text -> a study of gradient flow: numbers, tables, figures.

The gradients are computed by ``flow`` and the figures are drawn by :mod:`charseq.plots`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from charseq import files
from charseq.data.text.vocabulary import SPECIALS
from charseq.display import shown
from charseq.errors import DataError, UsageError, require
from charseq.inference.hub.download import find
from charseq.inference.loading import LoadedRun, read_run
from charseq.inference.predictor import PairsModel, load

if TYPE_CHECKING:
    from torch import Tensor

    from charseq.data.text.vocabulary import Vocabulary
    from charseq.gradients.flow import Flow
    from charseq.models.seq2seq import EncoderDecoder

TERM_STEPS = 30
"""Steps of the t x k heat map: enough for a gradient to vanish, few enough for large cells."""
TERM_SCALE = 1.0

Picture = Callable[[Path], None]


@dataclass(frozen=True)
class Study:
    """Results of a study, for programs and for people, and its figures."""

    facts: dict[str, Any]
    lines: list[str]
    pictures: Mapping[str, Picture]
    """Functions by file name, each of which draws its figure into a path."""

    def draw(self, folder: Path, *, force: bool = False) -> list[Path]:
        """Draw every figure into ``folder``, which is created if it does not exist; the paths.

        Raises:
            UsageError: the folder is a link, or a figure is there and ``force`` is false.
            DataError: the folder or a figure cannot be written.
        """
        paths = {folder / name: picture for name, picture in self.pictures.items()}
        try:
            files.make_folder(folder, parents=True)
            for path in paths:
                files.refuse(path, force=force, what="picture")
            for path, picture in paths.items():
                with files.drawing(path) as part:
                    picture(part)
        except OSError as fault:
            what = f"cannot be written: {fault.strerror or fault}"
            raise DataError(what, path=folder) from None
        return list(paths)


def require_plots() -> None:
    """Check for matplotlib before the work begins.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "drawing pictures")


def study_cells(
    cells: Sequence[str] = (),
    *,
    scales: Sequence[float] = (),
    steps: int = 500,
    hidden: int = 64,
    seed: int = 1,
) -> Study:
    """Study of random recurrences: ‖∂L_T/∂h_k‖ by distance, and the t x k terms of sheet C.

    Without ``cells`` all recurrences of :mod:`charseq.gradients.flow`; ``scales`` are factors of an
    orthogonal W_hh, by default those of the same module.
    """
    from charseq import plots
    from charseq.gradients import flow as flows

    cells = cells or tuple(flows.RECURRENCES)
    found = flows.flow(cells, scales=scales or flows.SCALES, steps=steps, hidden=hidden, seed=seed)
    tables = {
        cell: flows.terms(
            cell, scale=TERM_SCALE, steps=min(steps, TERM_STEPS), hidden=hidden, seed=seed
        ).numpy()
        for cell in cells
    }

    def curves(path: Path) -> None:
        panels = {cell: {one.name: one.logs for one in found if one.cell == cell} for cell in cells}
        plots.curves(
            path,
            panels,
            xlabel="distance n = T - k between loss and state, in steps",
            ylabel="gradient norm ‖∂L_T/∂h_k‖, 1 at n = 0",
            title="What is left of a gradient after n steps, by the scale of W_hh",
            legend="scale of W_hh",
        )

    def heat(path: Path) -> None:
        plots.heat_maps(
            path,
            tables,
            xlabel="step k at which W_hh acted",
            ylabel="step t of the loss",
            title="What step k adds to the gradient of L_t (W_hh orthogonal)",
            scale="norm of the term, ‖∂L_t/∂h_t · ∂h_t/∂h_k · ∂⁺h_k/∂W_hh‖",
        )

    facts = {
        "steps": steps,
        "hidden": hidden,
        "seed": seed,
        "flows": [one.to_json() for one in found],
        "terms": {cell: table.tolist() for cell, table in tables.items()},
    }
    pictures: dict[str, Picture] = {"flow.png": curves, "terms.png": heat}
    return Study(facts, flows.lines(found), pictures)


def study_run(run: str | Path | None, text: str) -> Study:
    """Study of a trained run on ``text``: saliency of input symbols, flow in its recurrences.

    The outputs are the run's own prediction, as ``charseq predict`` computes it.

    Raises:
        CheckpointError: the run does not exist or cannot be read.
        UsageError: the text has no symbols, or the run is not one network for pairs.
    """
    from charseq import plots
    from charseq.gradients import flow as flows

    path = find(run)
    contents = _one_network(path)
    translator = cast("PairsModel", load(path)).translator
    source, target = contents.source, contents.target
    spelling, features = translator.parts(text)
    backward = translator.direction_groups[0].backward
    ids = translator.encode(spelling, features, backward=backward)
    if not ids:
        raise UsageError("the text has no symbols, so there are no gradients to look at")
    answer = translator.predict([text])[0].prediction
    written: Sequence[int] = target.encode(answer, backward=backward)
    inputs, outputs = source.split(spelling), target.split(answer)
    if backward:
        inputs.reverse()
        outputs.reverse()
    if translator.actions is not None:
        written = translator.search([ids], 1)[0][0].ids
        spelt = translator.actions.target_ids(written)
        answer = target.decode(reversed(spelt) if backward else spelt)
        outputs = _actions(written, target)
        inputs.append(flows.END)
    inputs += source.split_features(features)
    model = trainable(contents)
    received = flows.character_gradients(model, ids, written)
    found = flows.trained_flow(model, ids, written)

    def curves(path_of_figure: Path) -> None:
        plots.curves(
            path_of_figure,
            _panels(found),
            xlabel="distance n = T - k between loss and state, in steps",
            ylabel="gradient norm ‖∂L_T/∂h_k‖, 1 at n = 0",
            title=f"{path.name}: what is left of a gradient",
        )

    facts = {
        "run": str(path),
        "source": text,
        "prediction": answer,
        "inputs": inputs,
        "outputs": [*outputs, flows.END],
        "gradients": received.tolist(),
        "flows": [one.to_json() for one in found],
    }
    lines = [
        f"{text} => {answer}",
        "",
        "share of each input (columns) in the gradient of each output (rows), in percent",
        *flows.character_lines(received, inputs, outputs),
        "",
        *flows.lines(found),
    ]
    characters = _characters(path.name, received, inputs, [*outputs, flows.END])
    return Study(facts, lines, {"run-characters.png": characters, "run-flow.png": curves})


def _characters(
    name: str, received: Tensor, inputs: Sequence[str], outputs: Sequence[str]
) -> Picture:
    """Heat map of the share of each input (a column) in the gradient of each output (a row)."""
    from charseq import plots

    total = received.sum(dim=1, keepdim=True)
    return lambda path: plots.heat_map(
        path,
        (100 * received / total.where(total > 0, 1.0)).numpy(),
        xlabel="input",
        ylabel="output",
        title=f"{name}: which inputs each output's gradient reaches",
        scale="share of ‖∂ log p(output) / ∂ input‖, in percent",
        rows=[shown(symbol) for symbol in outputs],
        columns=[shown(symbol) for symbol in inputs],
    )


def _actions(written: Sequence[int], target: Vocabulary) -> list[str]:
    """The actions of hard attention as text: a symbol to write, an arrow to advance."""
    size = len(target)
    names = [""] * SPECIALS + list(target.symbols)
    return [
        "→" if action == 2 * size else names[action % size] + "→" * (action >= size)
        for action in written
    ]


def _one_network(path: Path) -> LoadedRun:
    """The loaded run of one network for pairs.

    Raises:
        UsageError: the run predicts words, or is an ensemble.
    """
    contents = read_run(path)
    if contents.tokenizer is not None:
        raise UsageError(f"{path} predicts words; this shows runs that rewrite pairs")
    if contents.config.ensemble > 1:
        raise UsageError(f"{path} is an ensemble; this shows one network")
    return contents


def trainable(contents: LoadedRun) -> EncoderDecoder:
    """The torch model of a run, with its weights."""
    import torch

    from charseq.models.factory import build

    targets = contents.weights["target_embedding"].shape[0]
    prior = contents.weights.get("prior")
    sources = len(contents.source)
    model: EncoderDecoder = build(contents.config, sources=sources, targets=targets, prior=prior)
    state = {name: torch.from_numpy(value.copy()) for name, value in contents.weights.items()}
    model.load_state_dict(state)
    return model


def _panels(found: Sequence[Flow]) -> dict[str, dict[str, Sequence[float]]]:
    """Curves in one panel, a line for each recurrence."""
    return {found[0].cell: {one.name: one.logs for one in found}}
