"""Metadata of a run -> its model card, the README.md of a run folder.

The card follows Mitchell et al. (2019) as far as a program knows the facts: input and output, data
and training, scores, and use. It begins with the YAML head of the Hugging Face Hub
(:mod:`charseq.runs.card_head`). The licence is for the owner to add.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from charseq.display import printable
from charseq.runs.card_head import Owner, head

MAX_NAME = 200
"""Characters of a name, of data or of a run, in a card."""
_MARKUP = re.compile(r"[\\`*\[\]<>|&~$!]|(?<!\w)_|_(?!\w)")


def render(
    name: str,
    metadata: Mapping[str, Any],
    *,
    address: str = "",
    owner: Owner | None = None,
    with_head: bool = True,
) -> str:
    """The card of the run ``name``, as Markdown with a YAML head.

    Names, which may come from a stranger, are plain text in it: without line breaks, links, HTML
    or other markup.

    Args:
        name: of the run, for people.
        metadata: the object of the run's ``about.json``.
        address: the address of the run, if it is on the Hub; by default it is a folder below
            ``checkpoints``.
        owner: the facts that the owner of the run states.
        with_head: whether it has its head, which is for programs.
    """
    told = f"{head(name, metadata, owner or Owner())}\n" if with_head else ""
    use = f"-m {_word(name)}"
    place = "With this folder below `checkpoints`"
    if address:
        use = f"-m {shlex.quote(address)}"
        place = "With charseq and its extra `hub`"
    return f"{told}{_body(name, metadata, place, use)}"


def _body(name: str, metadata: Mapping[str, Any], place: str, use: str) -> str:
    """The card below its head; ``place``: where the run is, ``use``: the option that names it."""
    data, settings = metadata["data"], metadata["settings"]
    counts = _plain(example_counts(data))
    state = (
        ""
        if metadata["finished"]
        else "\n**Training is not finished; these are its best weights so far.**\n"
    )
    if settings.get("task") == "next-word":
        return _next_word(name, metadata, counts, state, f"{place}:\n\n    charseq predict {use}")
    return f"""# {_plain(name)}
{state}
A character-level sequence-to-sequence model made by charseq. {place}:

    charseq predict {use} "…"

| | |
|---|---|
| input | {_side(metadata["source"])} |
| output | {_side(metadata["target"])} |
| network | {_network(settings, metadata)}, {metadata["parameters"]:,} parameters |
| data | {_plain(data["name"])}: {counts}; sha256 {_plain(data["fingerprint"][:16])} |
| training | {metadata["epochs"]} epochs in {metadata["seconds"]:.0f} s, \
seed {settings["seed"]}{_made(metadata)} |
| scores | {_scores(metadata["scores"])}{_chosen(metadata)} |

Symbols that are not in the inventory are reported when they are met. {_calibration(metadata)}\
{_memory(metadata)}{_words(metadata)} The scores
say nothing about texts of another kind than the data's. All settings are in `about.json`; licence
and origin of the data are for its owner to state.
"""


def _next_word(name: str, metadata: Mapping[str, Any], counts: str, state: str, use: str) -> str:
    """The card of a next-word run below its head; ``use``: how the model is called."""
    data, settings, units = metadata["data"], metadata["settings"], metadata["units"]
    vocabulary = units["vocabulary"]
    kind = "words" if vocabulary["kind"] == "spaced" else vocabulary["kind"]
    cell = settings["cell"]
    if cell == "mlp":
        cell = f"mlp over {settings['context']} {kind}"
    lines = "running text" if settings["stateful"] == "yes" else "each for itself"
    return f"""# {_plain(name)}
{state}
A next-word predictor made by charseq. {use} -n 5 "…"

| | |
|---|---|
| input | the beginning of a line of text |
| output | the likeliest next words |
| symbols | {len(vocabulary["symbols"]):,} {kind}; capitals: {units["case"]}; \
punctuation: {units["punctuation"]}; Unicode form {vocabulary["form"]} |
| network | {cell}, hidden {settings["hidden"]}, embedding {settings["embedding"]}, \
layers {settings["layers"]}, {metadata["parameters"]:,} parameters |
| data | {_plain(data["name"])}: {counts} lines, {lines}; \
sha256 {_plain(data["fingerprint"][:16])} |
| training | {metadata["epochs"]} epochs in {metadata["seconds"]:.0f} s, \
seed {settings["seed"]}{_made(metadata)} |
| scores | {_scores(metadata["scores"])}{_chosen(metadata)} |

It says what is likely in texts like those it was trained on, whether true or not, and it repeats
what stands there, names and prejudices included. All settings are in `about.json`; licence and
origin of the data are for its owner to state.
"""


def _calibration(metadata: Mapping[str, Any]) -> str:
    """Whether the probabilities are calibrated, in a sentence."""
    found = metadata.get("calibration")
    if found is None:
        return "Probabilities are the\nmodel's own and are not calibrated."
    judged = metadata.get("confidence")
    strange = judged and (
        f" Of {judged['strangers']:,} made-up texts of other kinds {judged['sure_after']:.1f} % "
        "have\nan answer with more than a half."
    )
    return (
        f"Probabilities are\ncalibrated by {found['examples']:,} dev examples; on such, held out, "
        f"they are {found['ece_after']:.1f} % off on average\n(expected calibration error), "
        f"{found['ece_before']:.1f} % without.{strange or ''}"
    )


def example_counts(data: Mapping[str, Any]) -> str:
    """The number of examples of each split, and of the rows of train that were merged to them."""
    merged = f" (distinct pairs of {data['rows']:,} rows)" if data.get("rows") else ""
    return ", ".join(
        f"{count:,} {split}{merged if split == 'train' else ''}"
        for split, count in data["examples"].items()
    )


def source_count(memory: Mapping[str, Any]) -> int:
    """The number of sources in the memory of a run, from its metadata."""
    return int(memory["entries"].count("\n")) + 1


def word_count(words: Mapping[str, Any]) -> int:
    """The number of words in the list of a run, from its metadata: one byte each, in base64."""
    codes = str(words["list"]["codes"])
    return 3 * len(codes) // 4 - codes.count("=", len(codes) - 2)


def _memory(metadata: Mapping[str, Any]) -> str:
    """The memory of the run, in a sentence that tells what is disclosed with it."""
    memory = metadata.get("memory")
    if memory is None:
        return ""
    return (
        f"\nThe run holds {source_count(memory):,} sources of the training data word for word, "
        "with the counts of\ntheir targets, which are weighed against the model's answers: of "
        f"{memory['rows']:,} dev examples\nwith such sources {memory['right_after']:.1f} % are "
        f"right, {memory['right_before']:.1f} % without. The scores above are without it, and the\n"
        "calibration is for other sources, where dev has enough of them."
    )


def _words(metadata: Mapping[str, Any]) -> str:
    """The list of words of the run, in a sentence that tells what is disclosed with it."""
    words = metadata.get("words")
    if words is None:
        return ""
    return (
        f"\nThe run holds a list of {word_count(words):,} words as hashes with counts, by which "
        f"answers are weighed: of\n{words['rows']:,} dev examples {words['right_after']:.1f} % are "
        f"right, {words['right_before']:.1f} % without."
    )


def _side(vocabulary: Mapping[str, Any]) -> str:
    """The symbols of a side in a few words."""
    features = len(vocabulary["features"])
    tail = f" and {features} features" if features else ""
    return (
        f"{vocabulary['kind']}, {len(vocabulary['symbols'])} symbols{tail}, "
        f"Unicode form {vocabulary['form']}"
    )


def _network(settings: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """The network of a run of pairs in a few words."""
    attention = f"with {settings['attention']} attention"
    if settings["attention"] == "none":
        attention = "without attention"
    cells = [member["cell"] for member in metadata.get("members", ())]
    what = f"encoder-decoder {attention}, cell {settings['cell']}"
    if cells:
        what = f"mean of {len(cells)} encoder-decoders {attention}, cells {', '.join(cells)}"
    return (
        f"{what}, hidden {settings['hidden']}, embedding {settings['embedding']}, "
        f"layers {settings['layers']}"
    )


def _made(metadata: Mapping[str, Any]) -> str:
    """The runs that this one was averaged or distilled from, if any."""
    averaged = ""
    if "averaged" in metadata:
        averaged = f"; the mean of {_plain(metadata['averaged']['of'])}"
    if "distilled" not in metadata:
        return averaged
    return f"{averaged}; taught by {_plain(metadata['distilled']['teacher'])}"


def _plain(text: str) -> str:
    """A name as text of Markdown: one line, and no character begins markup."""
    return _MARKUP.sub(r"\\\g<0>", printable(text, most=MAX_NAME))


def _word(name: str) -> str:
    """The path of a run below ``checkpoints`` as one word of a shell, on one line."""
    return shlex.quote(f"checkpoints/{printable(name, most=MAX_NAME)}")


def _chosen(metadata: Mapping[str, Any]) -> str:
    """For the best run of a search: a note that its settings were chosen by these scores."""
    tuned = metadata.get("tuned")
    return f"; the best of {tuned['trials']} trials by these scores" if tuned else ""


def _scores(scores: Mapping[str, float]) -> str:
    """The scores of a run, as in the card."""
    return score_text(scores, ser="symbol error rate") if scores else "not scored yet"


def score_text(scores: Mapping[str, float], *, ser: str) -> str:
    """Dev scores in a few words; ``ser`` is the name of the symbol error rate there."""
    if "perplexity" in scores:
        return f"dev perplexity {scores['perplexity']:.1f} per word"
    return (
        f"dev exact match {scores['exact_match']:.2f} %, {ser} {scores['ser']:.2f} %, "
        f"{scores['examples']:.0f} examples, greedy"
    )
