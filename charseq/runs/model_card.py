"""about -> model card: what a run folder's README.md says to people.

After Mitchell et al. (2019), as far as a program can know: what goes in and out, on which data and
how the model was trained, what it scored, and how it is used. The licence is the owner's to add.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def render(name: str, about: Mapping[str, Any]) -> str:
    """The card, as Markdown, of a run called ``name``."""
    data, settings = about["data"], about["settings"]
    counts = ", ".join(f"{count:,} {split}" for split, count in data["examples"].items())
    state = (
        ""
        if about["finished"]
        else "\n**Training is not finished; these are its best weights so far.**\n"
    )
    if settings.get("task") == "next-word":
        return _next_word(name, about, counts, state)
    return f"""# {name}
{state}
A character-level sequence-to-sequence model made by charseq. With this folder below `checkpoints`:

    charseq predict -m checkpoints/{name} "…"

| | |
|---|---|
| input | {_side(about["source"])} |
| output | {_side(about["target"])} |
| network | {_network(settings, about)}, {about["parameters"]:,} parameters |
| data | {data["name"]}: {counts}; sha256 {data["fingerprint"][:16]} |
| training | {about["epochs"]} epochs in {about["seconds"]:.0f} s, \
seed {settings["seed"]}{_made(about)} |
| scores | {_scores(about["scores"])}{_chosen(about)} |

Symbols that are not in the inventory are reported when they are met. {_trust(about)} The scores
say nothing about texts of another kind than the data's. All settings are in `about.json`; licence
and origin of the data are for its owner to state.
"""


def _next_word(name: str, about: Mapping[str, Any], counts: str, state: str) -> str:
    """The card of a run that predicts words."""
    data, settings, units = about["data"], about["settings"], about["units"]
    vocabulary = units["vocabulary"]
    kind = "words" if vocabulary["kind"] == "spaced" else vocabulary["kind"]
    cell = settings["cell"]
    if cell == "mlp":
        cell = f"mlp over {settings['context']} {kind}"
    lines = "running text" if settings["running"] else "each for itself"
    scores = about["scores"]
    scored = f"dev perplexity {scores['perplexity']:.1f} per word" if scores else "not scored yet"
    return f"""# {name}
{state}
A next-word predictor made by charseq. With this folder below `checkpoints`:

    charseq predict -m checkpoints/{name} -n 5 "…"

| | |
|---|---|
| input | the beginning of a line of text |
| output | the likeliest next words |
| symbols | {len(vocabulary["symbols"]):,} {kind}; capitals: {units["case"]}; \
punctuation: {units["punctuation"]}; Unicode form {vocabulary["form"]} |
| network | {cell}, hidden {settings["hidden"]}, embedding {settings["embedding"]}, \
layers {settings["layers"]}, {about["parameters"]:,} parameters |
| data | {data["name"]}: {counts} lines, {lines}; sha256 {data["fingerprint"][:16]} |
| training | {about["epochs"]} epochs in {about["seconds"]:.0f} s, \
seed {settings["seed"]}{_made(about)} |
| scores | {scored}{_chosen(about)} |

It says what is likely in texts like those it was trained on, whether true or not, and it repeats
what stands there, names and prejudices included. All settings are in `about.json`; licence and
origin of the data are for its owner to state.
"""


def _trust(about: Mapping[str, Any]) -> str:
    """What probabilities are worth."""
    found = about.get("calibration")
    if found is None:
        return "Probabilities are the\nmodel's own and are not calibrated."
    return (
        f"Probabilities are\ncalibrated by {found['examples']:,} dev examples; on such, held out, "
        f"they are {found['ece_after']:.1f} % off on average\n(expected calibration error), "
        f"{found['ece_before']:.1f} % without."
    )


def _side(vocabulary: Mapping[str, Any]) -> str:
    features = len(vocabulary["features"])
    tail = f" and {features} features" if features else ""
    return (
        f"{vocabulary['kind']}, {len(vocabulary['symbols'])} symbols{tail}, "
        f"Unicode form {vocabulary['form']}"
    )


def _network(settings: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    looks = f"with {settings['attention']} attention"
    if settings["attention"] == "none":
        looks = "without attention"
    cells = [member["cell"] for member in about.get("members", ())]
    what = f"encoder-decoder {looks}, cell {settings['cell']}"
    if cells:
        what = f"mean of {len(cells)} encoder-decoders {looks}, cells {', '.join(cells)}"
    return (
        f"{what}, hidden {settings['hidden']}, embedding {settings['embedding']}, "
        f"layers {settings['layers']}"
    )


def _made(about: Mapping[str, Any]) -> str:
    """Which other runs had a part in this one."""
    averaged = f"; the mean of {about['averaged']['of']}" if "averaged" in about else ""
    taught = f"; taught by {about['distilled']['teacher']}" if "distilled" in about else ""
    return averaged + taught


def _chosen(about: Mapping[str, Any]) -> str:
    """Of a search over settings: that the scores had a say in them, and are too good for that."""
    tuned = about.get("tuned")
    return f"; the best of {tuned['trials']} trials by these scores" if tuned else ""


def _scores(scores: Mapping[str, float]) -> str:
    if not scores:
        return "not scored yet"
    return (
        f"dev exact match {scores['exact_match']:.2f} %, "
        f"symbol error rate {scores['ser']:.2f} %, {scores['examples']:.0f} examples, greedy"
    )
