"""a run folder -> lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq.display import SHOWN_SYMBOLS, field
from charseq.inference.loading import is_next_word, read_run, shapes_of
from charseq.runs.folder import find
from charseq.runs.model_card import score_text

if TYPE_CHECKING:
    pass


def info(run: str | Path | None = None) -> tuple[dict[str, Any], list[str]]:
    """What a run says of itself, with the shapes of its weights, and the same in lines."""
    about = read_run(find(run)).about
    shapes = {name: list(shape) for name, shape in shapes_of(about).items()}
    return {**about, "shapes": shapes}, describe_run(about)


def describe_run(about: Mapping[str, Any]) -> list[str]:
    """Settings, shapes (as on sheet C), parameters, scores and the data of a run."""
    settings = about["settings"]
    state = "finished" if about["finished"] else "not finished"
    lines = [
        field("training", f"{state}; {about['epochs']} epochs, {about['seconds']:.0f} s"),
        field("scores", _scores(about["scores"])),
        field("data", f"{about['data']['name']}, {_counts(about['data']['examples'])}"),
        field("", f"sha256 {about['data']['fingerprint']}"),
        field("versions", ", ".join(f"{name} {is_}" for name, is_ in about["versions"].items())),
    ]
    lines[2:2] = [*_members(about), *describe_calibration(about), *_made(about)]
    sides = {side: about[side] for side in ("source", "target") if side in about}
    if is_next_word(about):
        sides = {"symbols": about["units"]["vocabulary"]}
    for side, known in sides.items():
        symbols = known["symbols"]
        shown = " ".join(symbols[:SHOWN_SYMBOLS]) + (" …" if len(symbols) > SHOWN_SYMBOLS else "")
        kind = "words" if side == "symbols" and known["kind"] == "spaced" else known["kind"]
        count = f"{len(symbols):,} {kind}, {known['form']}"
        if known["features"]:
            count += f", {len(known['features'])} features"
        lines.append(field(side, f"{count}: {shown}"))
    lines.append("settings")
    lines += [f"  {name:18} {value}" for name, value in settings.items()]
    shapes = _distinct(about, shapes_of(about))
    width = max(map(len, shapes))
    lines.append("shapes")
    lines += [f"  {name:{width}}  {'×'.join(map(str, shape))}" for name, shape in shapes.items()]
    lines.append(field("parameters", f"{about['parameters']:,}"))
    return lines


def _members(about: Mapping[str, Any]) -> list[str]:
    """A line for each member of an ensemble."""
    return [
        field(
            f"member {number}",
            f"{one['cell']}, seed {one['seed']}, {one['epochs']} epochs, {_scores(one['scores'])}",
        )
        for number, one in enumerate(about.get("members", ()), 1)
    ]


def _made(about: Mapping[str, Any]) -> list[str]:
    """Of a run that was made from others: which ones."""
    lines = []
    if "averaged" in about:
        lines.append(field("averaged", about["averaged"]["of"]))
    if "distilled" in about:
        texts = "" if about["distilled"].get("unlabelled") is None else ", with unlabelled texts"
        lines.append(field("teacher", about["distilled"]["teacher"] + texts))
    return lines


def _distinct(about: Mapping[str, Any], shapes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The shapes that differ: of an ensemble those of the first member of each cell."""
    cells = [one["cell"] for one in about.get("members", ())]
    first = {cells.index(cell) for cell in cells}
    return {
        name: shape
        for name, shape in shapes.items()
        if not cells or int(name.split(".")[1]) in first
    }


def describe_calibration(about: Mapping[str, Any]) -> list[str]:
    """How a run's probabilities were calibrated, in one line; none where they were not."""
    found = about.get("calibration")
    if found is None:
        return []
    return [
        field(
            "calibrated",
            f"temperature {found['temperature']:.2f}, rest {found['rest']:.2f}; error of "
            f"probabilities {found['ece_before']:.1f} -> {found['ece_after']:.1f} %, "
            f"{found['examples']:,} examples",
        )
    ]


def _scores(scores: Mapping[str, float]) -> str:
    return score_text(scores, ser="ser") if scores else "none yet"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
